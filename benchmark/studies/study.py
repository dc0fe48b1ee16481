"""A study's ``study.json`` to the list of its runs, and a selection of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark.base import project
from benchmark.base.files import read_json
from benchmark.base.records import InputError, Run, declared_name
from benchmark.studies import bundle

DEFAULT = "quickstart"
SELECTORS = ("bundle", "variant", "fold", "seed")
_WHOLE = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
_NAMES = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
_PAIR = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
_MODEL = {
    "type": "object",
    "properties": {
        "bundle": {"type": "string"},
        "variant": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$"},
        "track": {"enum": ["identical", "native"]},
        "folds": _WHOLE,
        "set": {"type": "object"},
        "stages": _PAIR,
    },
    "required": ["bundle"],
    "additionalProperties": False,
}


def _margins(least: float, exclusive: bool = False) -> dict[str, Any]:
    number = {"type": "number", "exclusiveMinimum" if exclusive else "minimum": least}
    return {"anyOf": [number, {"type": "object", "additionalProperties": number}]}


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "data": {"type": "string"},
        "folds": _WHOLE,
        "seeds": _WHOLE,
        "models": {"type": "array", "items": _MODEL, "minItems": 1},
        "set": {"type": "object"},
        "set_native": {"type": "object"},
        "deviations": {"type": "string"},
        "not_comparable": {"type": "string"},
        "compare": {
            "type": "object",
            "properties": {
                "metrics": _NAMES,
                "pairs": {"anyOf": [{"const": "all"}, {"type": "array", "items": _PAIR, "minItems": 1}]},
                "test": {"enum": ["wilcoxon", "paired_t", "permutation", "two_level"]},
                "margin": _margins(0, exclusive=True),
                "alpha": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            },
            "required": ["metrics"],
            "additionalProperties": False,
        },
        "check": {
            "type": "object",
            "properties": {"metrics": _NAMES, "margin": _margins(0)},
            "required": ["metrics", "margin"],
            "additionalProperties": False,
        },
        "notes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "data", "folds", "seeds", "models", "compare"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Study:
    """What ``reports/<name>/study.json`` declares before anything is run.

    ``models`` are bundles with an optional ``variant`` name and what it changes (``set``); ``set`` holds the declared
    deviations from the protocol for every model and ``deviations`` says why; ``compare`` declares metrics, pairs,
    test (by default ``two_level`` with several seeds and ``wilcoxon`` with one), alpha and the margin of equivalence;
    ``check`` the metrics and margin of a regression.

    A model of the track ``native`` follows its bundle's own recipe where that says anything, which ``set`` does not
    change; ``set_native`` and its own ``set`` do. A model may have ``folds`` of its own, as another split has another
    number of them. A model with ``stages``, the names of a classifier and a segmenter among ``models`` as tables show
    them, is trained nowhere: it is the segmenter's label maps in the slices that the classifier of the same fold and
    seed lets through. ``not_comparable`` says why no number here is a verdict on a paper. A ``study.json`` that
    ``extends`` another study takes from it each entry that it does not have.
    """

    name: str
    title: str
    data: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    models: tuple[dict[str, Any], ...]
    compare: dict[str, Any]
    set: dict[str, Any] = field(default_factory=dict)
    set_native: dict[str, Any] = field(default_factory=dict)
    deviations: str = ""
    not_comparable: str = ""
    check: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the study is declared and its report is written."""
        return project.reports() / self.name

    def runs(self, changes: Mapping[str, Any] | None = None) -> list[Run]:
        """Every run of the study, by model, fold and seed.

        ``changes`` are more ids to set in all of them, or as ``BUNDLE:ID`` in those of one bundle, which wins.

        Raises:
            InputError: if no model is of a bundle in ``changes``, or these set the split, which a study declares.
        """
        by_bundle = _by_bundle(changes or {}, [model["bundle"] for model in self.models])
        return [
            Run(
                study=self.name,
                bundle=model["bundle"],
                variant=model["variant"],
                fold=fold,
                seed=seed,
                overrides={**self._settings([model, *self.stages(model)][-1]), **by_bundle[model["bundle"]]},
                stages=tuple(
                    Run(self.name, stage["bundle"], stage["variant"], fold, seed).id for stage in self.stages(model)
                ),
            )
            for model in self.models
            for fold in model.get("folds", self.folds)
            for seed in self.seeds
        ]

    def stages(self, model: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The models that a model with ``stages`` joins, classifier and segmenter; none for any other."""
        known = {declared_name(other): other for other in self.models}
        return [known[name] for name in model.get("stages", ())]

    def _settings(self, model: Mapping[str, Any]) -> dict[str, Any]:
        own = {**bundle.native(model["bundle"]), **self.set_native} if model.get("track") == "native" else {}
        return {**self.set, **own, **model.get("set", {})}


def split_of(study: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """The split that a model of a study is trained and tested on; of one with ``stages``, that of its segmenter."""
    named = {declared_name(other): other for other in study["models"]}
    trained = named[model["stages"][-1]] if model.get("stages") else model
    native = study.get("set_native", {}) if trained.get("track") == "native" else {}
    return str({"split": "patient", **study.get("set", {}), **native, **trained.get("set", {})}["split"])


def apart(study: Mapping[str, Any]) -> list[str]:
    """Names of models under another split than the study's: they are compared with themselves only."""
    base = str(study.get("set", {}).get("split", "patient"))
    return [declared_name(m) for m in study["models"] if split_of(study, m) != base]


def _by_bundle(changes: Mapping[str, Any], bundles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what to set in the runs of each bundle; a key ``BUNDLE:ID`` is for one (MONAI writes ids with ``::``)."""
    addressed = {key: match for key in changes if (match := re.fullmatch(r"([^:#]+):(?!:)(.+)", key))}
    found = {name: {key: value for key, value in changes.items() if key not in addressed} for name in bundles}
    for key, match in addressed.items():
        if match[1] not in found:
            raise InputError(f"Cannot set {key!r}: expected a bundle of the study, one of {', '.join(found)}.")
        found[match[1]][match[2]] = changes[key]
    if any("split" in own for own in found.values()):
        # A report would call these scores those of the declared split, and compare them.
        raise InputError("Id 'split' cannot be set here: expected it in study.json, which its report goes by.")
    return found


def variant(model: Mapping[str, Any]) -> str:
    """Name of a declared model's variant: as given, else "native" for that track, else "default"."""
    return str(model.get("variant", "native" if model.get("track") == "native" else "default"))


def names() -> list[str]:
    """Names of all studies, sorted: the folders of ``reports/``, and those within them, with a ``study.json``."""
    found = (path for depth in ("*", "*/*") for path in project.reports().glob(f"{depth}/study.json"))
    return sorted(path.parent.relative_to(project.reports()).as_posix() for path in found)


def load(name: str) -> Study:
    """Read a study.

    >>> import benchmark
    >>> study = benchmark.read_study("quickstart")
    >>> study.data, len(study.runs()), study.runs()[0].id
    ('phantom', 6, 'unet/default/fold0-seed1')

    Raises:
        InputError: for an unknown study, a missing or mistyped entry, a model without a bundle or named twice.
    """
    path = project.reports() / name / "study.json"
    content = _content(name)
    import jsonschema

    error = next(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path)
        raise InputError(f"{path}: {where + ': ' if where else ''}{error.message}.")
    from benchmark.scoring.metrics import METRICS

    for unknown in {*content["compare"]["metrics"], *content.get("check", {}).get("metrics", [])} - set(METRICS):
        raise InputError(f"{path}: there is no metric {unknown!r}: expected one of {', '.join(METRICS)}.")
    for part in ("compare", "check"):
        _check_margin(path, part, content.get(part, {}))
    models = [(model["bundle"], variant(model)) for model in content["models"]]
    if len(set(models)) < len(models):
        raise InputError(f"{path}: models: bundle and variant together must differ; found {models}.")
    content["models"] = [{**model, "variant": variant(model)} for model in content["models"]]
    # Over patients alone, two trainings of one method differ far more often than alpha (research/calibration).
    content["compare"] = {"test": "two_level" if len(content["seeds"]) > 1 else "wilcoxon", **content["compare"]}
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    found = Study(name=name, **values)
    _check_stages(path, found)
    return found


def _check_margin(path: Path, part: str, declared: Mapping[str, Any]) -> None:
    """Refuse a margin of a metric that is not declared, and one number for metrics of several units."""
    from benchmark.scoring.metrics import METRICS

    margin, names = declared.get("margin"), declared.get("metrics", [])
    if isinstance(margin, Mapping):
        for name in set(margin) - set(names):
            raise InputError(f"{path}: {part}: margin: expected metrics of {part}, {', '.join(names)}; found {name!r}.")
    elif margin is not None and len({METRICS[name].unit for name in names}) > 1:
        raise InputError(f"{path}: {part}: margin: expected one by metric, as they differ in unit; found {margin}.")


def _check_stages(path: Path, study: Study) -> None:
    """Refuse a model that joins others unless these are a classifier and a segmenter of one split that it trains."""
    trained = {declared_name(model): model for model in study.models if "stages" not in model}
    for model in (model for model in study.models if "stages" in model):
        where = f"{path}: models: {declared_name(model)}: stages"
        if unknown := [name for name in model["stages"] if name not in trained]:
            raise InputError(f"{where}: expected two of {', '.join(trained)}, found {unknown[0]!r}.")
        gate, segmenter = (trained[name]["bundle"] for name in model["stages"])
        tasks = [bundle.compose(name)["inference"]["task"] for name in (gate, segmenter)]
        if tasks != ["classification", "segmentation"]:
            raise InputError(f"{where}: expected bundles for classification and segmentation, found {tasks}.")
        if model["bundle"] != segmenter or {"set", "track"} & set(model):
            raise InputError(f"{where}: expected bundle {segmenter!r} and no settings of its own, found others.")
        splits = [split_of(asdict(study), stage) for stage in study.stages(model)]
        if splits[0] != splits[1]:
            raise InputError(f"{where}: expected two models of one split, found {' and '.join(splits)}.")


def _content(name: str, extending: tuple[str, ...] = ()) -> Any:
    """Read a study's file, and for what it lacks the one that it extends; ``extending`` are those that led here."""
    if name not in names():
        raise InputError(f"There is no study {name!r}: expected one of {', '.join(names())} (folders of reports/).")
    path = project.reports() / name / "study.json"
    content = read_json(path, "a study")
    if not isinstance(content, dict) or "extends" not in content:
        return content
    parent = content.pop("extends")
    if parent not in names() or parent in (name, *extending):
        chain = f" which extends it ({' → '.join((*extending, name, parent))})" if parent in extending else ""
        raise InputError(f"{path}: extends: expected another study, found {parent!r}{chain}.")
    return {**_content(parent, (*extending, name)), **content}


def select(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """Keep the runs that meet every condition ``key=value``; conditions on one key are alternatives.

    Raises:
        InputError: for a condition that is not of that form or that no run meets.
    """
    wanted: dict[str, set[str]] = {}
    for condition in conditions:
        key, _, value = condition.partition("=")
        if key not in SELECTORS or not value:
            raise InputError(f"Cannot select by {condition!r}: expected {', '.join(f'{key}=…' for key in SELECTORS)}.")
        if value not in (known := sorted({str(getattr(run, key)) for run in runs})):
            raise InputError(f"No run has {condition}: expected {key} to be one of {', '.join(known)}.")
        wanted.setdefault(key, set()).add(value)
    chosen = [run for run in runs if all(str(getattr(run, key)) in values for key, values in wanted.items())]
    if not chosen:
        raise InputError(f"No run meets {' and '.join(conditions)} together: expected at least one.")
    return chosen
