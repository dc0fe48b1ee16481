"""Gather how each model's numbers were made from what its runs recorded, for a verdict beside a paper's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.base.records import Run
from benchmark.data.folds import of_partition
from benchmark.papers.comparable import Made
from benchmark.studies import bundle
from benchmark.studies.study import Model

if TYPE_CHECKING:
    from benchmark.results.results import Results

IMAGENET = ("0676ba61", "11ad3fa6", "19c8e357")
"""How the sha256 of torchvision's files of ResNet-50 for ImageNet begin, as their names say (resnet50-0676ba61.pth)."""
PLACES = ("spatial_size", "split", "weights")
"""Ids that say on what a run was trained and from where, and are compared as such."""


def made(results: Results) -> dict[str, Made]:
    """How the numbers of each declared model were made, by its name."""
    return {model.name: _made(results, model) for model in results.study.models}


def _made(results: Results, model: Model) -> Made:
    study, parts = results.study, results.study.trained(model)
    runs = {part.name: [run for run in results.runs if run.model == part.name] for part in parts}
    recorded = [_recorded(results, run) for part in parts for run in runs[part.name]]
    ids = [run.id for part in parts for run in runs[part.name]]
    ended = [results.plateaus[id_].reached for id_ in ids if id_ in results.plateaus]
    changed = {id_ for part in parts for run in runs[part.name] for id_ in _changed(results, part, run)}
    # Of two stages, the segmenter's is the last.
    last, config = recorded[-1], results.configs.get(parts[-1].name, {})
    size, split = ({**config, **last}.get(id_) for id_ in ("spatial_size", "split"))
    own = [run.id for run in results.runs if run.model == model.name]
    return Made(
        data=study.data,
        cases=len(results.cases.cases),
        published=results.manifest.expected_cases,
        size=tuple(size) if isinstance(size, list) else (),
        split=of_partition(str(split or "patient"))[0],
        weights=_weights(results, [run for part in parts for run in runs[part.name]], config),
        track=parts[-1].track,
        changed=tuple(sorted(changed)),
        learning=ended.count(False),
        trainings=len(ended),
        missing=len({*own} & {*results.missing}),
        runs=len(own),
        assumed=tuple(dict.fromkeys(name for part in (*parts, model) for name in part.assumes)),
    )


def _recorded(results: Results, run: Run) -> Mapping[str, Any]:
    """What a run was set to, as it noted; as declared where it noted nothing."""
    noted = results.provenance.runs.get(run.id)
    return noted.overrides if noted else run.overrides


def _weights(results: Results, runs: Sequence[Run], config: Mapping[str, Any]) -> str:
    """What the trainings of some runs began from: "ImageNet", "another file", or nothing for a random start."""
    if not all({**config, **_recorded(results, run)}.get("weights") for run in runs):
        return ""
    noted = [results.provenance.runs.get(run.id) for run in runs]
    return "ImageNet" if all(one and one.started_from.startswith(IMAGENET) for one in noted) else "another file"


def _changed(results: Results, model: Model, run: Run) -> list[str]:
    """Ids in which a run left its recipe: not by what its model declares, and not by where it was trained."""
    found = _recorded(results, run)
    native = bundle.compose(model.bundle).get("native", {}) if model.track == "native" else {}
    recipe = {**bundle.chosen(native, found.get("spatial_dims", 2)), **model.set}
    return [id_ for id_, value in found.items() if id_ not in PLACES and (id_ not in recipe or recipe[id_] != value)]
