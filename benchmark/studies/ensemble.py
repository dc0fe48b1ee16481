"""Join what several networks predict of a case: the runs of a declared ensemble, and for a report a model's seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.base import project
from benchmark.base.files import read_json, read_table, write_json, write_text
from benchmark.base.progress import reporting
from benchmark.base.records import Case, InputError, Run, model_name
from benchmark.data.manifest import CaseList, Manifest
from benchmark.data.prepare import PreparedCase, stored_case
from benchmark.data.probabilities import CUT, FOLDER, read_probabilities
from benchmark.data.scan import parallel
from benchmark.data.volumes import read_volume
from benchmark.scoring import calibration, score_table
from benchmark.scoring.metrics import score_case
from benchmark.studies import store

if TYPE_CHECKING:
    from benchmark.studies.study import Model

NAME = "ensemble"
STAPLE_ITERATIONS = 100
"""Most iterations of STAPLE: a few where masks differ little, and thousands where only two of three are told apart."""

RUN = {"fold": 0, "seed": 0}
"""Under these an ensemble's rows stand: it is one trained system. Each part is of several runs, and where each seed has
folds of its own these share training patients, so that no test may take an ensemble's folds for trainings."""
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "calibration": (score_table.KEYS, calibration.ERRORS),
    "reliability": (calibration.OF_MODEL, ("bin", "n", "probability", "share")),
    "disagreement": ((*calibration.OF_MODEL, "patient_id", "case_id"), ("n_seeds", "disagreement")),
}
"""Tables of a study's folder, beside ``ensembles.csv``: their columns of texts and keys, and those of numbers."""


class Kept(NamedTuple):
    """What follows from kept probabilities: errors and pooled counts as ``scoring.calibration`` writes them and, of
    ensembles, scores as in a file of scores, and per case and region 1 less the mean Dice of two seeds' masks."""

    errors: pd.DataFrame
    counts: pd.DataFrame
    scores: pd.DataFrame
    disagreement: pd.DataFrame


def variant_of(variant: str) -> str:
    """Variant under which the ensemble of a model's seeds is listed."""
    return NAME if variant == "default" else f"{variant}-{NAME}"


def name_of(model: Model | Run) -> str:
    """Name in every table of the ensemble over the seeds of a model, or of a run's model."""
    return model_name(model.bundle, variant_of(model.variant))


def gather(done: Sequence[Run], cases: CaseList) -> Kept:
    """Collect what finished runs counted of their probabilities, and the ensemble of each model with several seeds.

    An ensemble is made once and stays in ``runs/<study>/<bundle>/<variant>/ensemble``; that takes about as long as
    scoring one run of each fold.

    Raises:
        InputError: if probabilities are not those that a run kept.
    """
    for run in done:
        store.check_probabilities(store.folder(run))
    made, models = [], dict.fromkeys(run.model for run in done)
    for model in models:
        runs = [run for run in done if run.model == model]
        if (by_case := members(runs)) and name_of(runs[0]) not in models:
            made.append(_once(runs, by_case, cases))
    of_runs = [Kept(*calibration.read(store.folder(run)), pd.DataFrame(), pd.DataFrame()) for run in done if kept(run)]
    parts = zip(*of_runs, *(one for one in made if one is not None), strict=True)
    return Kept(*map(_joined, parts)) if of_runs else Kept(*[pd.DataFrame()] * 4)


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    there = [table for table in tables if len(table)]
    return pd.concat(there, ignore_index=True) if there else pd.DataFrame()


def tables(found: Kept) -> dict[str, pd.DataFrame | None]:
    """The tables of a study's folder by the names of their files, None for one that would have no row."""
    made: dict[str, pd.DataFrame | None] = dict.fromkeys([*TABLES, "ensembles"])
    if len(found.errors):
        curves = calibration.reliability(calibration.pooled(found.counts))
        made |= {"calibration": found.errors, "reliability": curves}
    if len(found.scores):
        made |= {"ensembles": found.scores, "disagreement": found.disagreement}
    return made


def kept(run: Run) -> bool:
    """Whether a run kept the probabilities of its test cases and counted them."""
    return (store.folder(run) / "calibration.csv").exists()


def members(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of one model that tested each case; none where not every case was tested once per seed.

    Seeds may have other folds, as each run was tested on patients that it was not trained on. At least two are needed.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        if not kept(run) or store.read_record(store.folder(run)).identity["fold"].get("by") == "slice":
            return {}
        for case in sorted((store.folder(run) / FOLDER).glob("*.nii.gz")):
            found.setdefault(case.name.removesuffix(".nii.gz"), []).append(run)
    seeds = {run.seed for run in runs}
    once = all(sorted(run.seed for run in several) == sorted(seeds) for several in found.values())
    return found if once and len(seeds) > 1 else {}


def average(codes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of 8-bit probabilities in 8 bits; exactly what lies above one half has ``CUT`` or more."""
    total, count = np.stack(codes).sum(axis=0, dtype=np.uint32), len(codes)
    # Halves are rounded down: a mean of 127.5 is one half.
    mean: np.ndarray = ((2 * total + count - 1) // (2 * count)).astype(np.uint8)
    return mean


def label_map(codes: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Cut probabilities (x, y, z, regions) to the label map that ``training.handlers.LabelMapWriter`` writes."""
    labels = np.zeros(codes.shape[:-1], np.uint8)
    for value, region in zip(order, np.moveaxis(codes, -1, 0), strict=True):
        labels[region >= CUT] = value
    return labels


def join(by: str, places: Sequence[Path], case: str, manifest: Manifest) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the label map of a case that the runs in some folders make together, and its probabilities if it has any.

    ``by`` is "mean", of the 8-bit probabilities (x, y, z, regions) that the runs kept, or, of each region's masks,
    "majority", of more than half of the runs, or "staple".

    Raises:
        InputError: if a run kept no probabilities of the case, or its prediction cannot be read.
    """
    order, name = manifest.regions_class_order, f"{case}.nii.gz"
    if by == "mean":
        for path in (place / FOLDER / name for place in places):
            if not path.exists():
                raise InputError(
                    f"{path} does not exist: expected the probabilities of a run that is joined by their mean; join "
                    "label maps, by majority or staple, or let that run predict again with keep_probabilities."
                )
        codes = average([read_probabilities(place / FOLDER / name) for place in places])
        return label_map(codes, order), codes
    labels = [read_volume(place / "predictions" / name)[0] for place in places]
    joined = majority if by == "majority" else staple
    masks = [joined([np.isin(one, values) for one in labels]) for values in manifest.regions.values()]
    return label_map(np.stack(masks, axis=-1).astype(np.uint8) * CUT, order), None


def majority(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return where more than half of some masks hold; of two, where both do."""
    counted: np.ndarray = 2 * np.sum(masks, axis=0) > len(masks)
    return counted


def staple(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return where STAPLE (Warfield et al. 2004) finds a region more probable than not, by ITK's filter.

    It weighs each mask (x, y, z) by the sensitivity and specificity that expectation and maximisation find for it, with
    the masks' mean share of the whole volume as the prior. Masks that are all equal are returned as they are, for which
    ITK has no number where they are empty.
    """
    if all(np.array_equal(mask, masks[0]) for mask in masks):
        return masks[0]
    import itk

    kind = itk.Image[itk.D, 3]
    found = itk.STAPLEImageFilter[kind, kind].New(ForegroundValue=1, MaximumIterations=STAPLE_ITERATIONS)
    for place, mask in enumerate(masks):
        found.SetInput(place, itk.image_from_array(mask.astype(np.float64)))
    found.Update()
    # One half itself is no tumour, also where sums of floating point are a little more.
    probable: np.ndarray = itk.array_from_image(found.GetOutput()) > 0.5 + 1e-6
    return probable


def disagreement(masks: Sequence[np.ndarray]) -> float:
    """Return 1 less the mean Dice over all pairs of masks (Roy et al. 2019); two empty masks agree."""
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    pairs = list(combinations(range(len(masks)), 2))
    shared = [int(np.count_nonzero(masks[a] & masks[b])) for a, b in pairs]
    dice = [
        2 * n / (sizes[a] + sizes[b]) if sizes[a] + sizes[b] else 1.0 for n, (a, b) in zip(shared, pairs, strict=True)
    ]
    return 1 - sum(dice) / len(dice)


def _once(runs: Sequence[Run], by_case: Mapping[str, Sequence[Run]], cases: CaseList) -> Kept | None:
    """Make an ensemble, or read it where it was made from these runs by these definitions before.

    None where it is to be made and a case is not prepared on this machine.
    """
    folder = project.runs() / runs[0].study / runs[0].bundle / runs[0].variant / NAME
    made_from = {run.id: store.read_record(store.folder(run)).scores_sha256 for run in runs}
    origin = {"runs": made_from, "columns": list(score_table.COLUMNS), "bins": calibration.BINS, **RUN}
    if not (folder / "made_from.json").exists() or read_json(folder / "made_from.json", "an origin") != origin:
        prepared = _prepared(by_case, cases)
        if not all(case.folder.is_dir() for case in prepared.values()):
            return None
        (folder / "made_from.json").unlink(missing_ok=True)
        _make(folder, by_case, prepared, cases.manifest)
        write_json(folder / "made_from.json", origin)
    columns, numbers = TABLES["disagreement"]
    path, types = folder / "disagreement.csv", score_table.TYPES
    uncertain = read_table(path, "a table of disagreement", [*columns, *numbers], numbers, dtype=types)
    return Kept(*calibration.read(folder), score_table.read(folder / "scores.csv"), uncertain)


def _prepared(names: Collection[str], cases: CaseList) -> dict[str, PreparedCase]:
    return {case.case_id: stored_case(case, cases) for case in cases.cases if case.case_id in names}


def _make(
    folder: Path, by_case: Mapping[str, Sequence[Run]], prepared: Mapping[str, PreparedCase], manifest: Manifest
) -> None:
    """Write the three tables of an ensemble into its folder."""

    def join(case: Case) -> tuple[list[dict[str, Any]], ...]:
        return _join(prepared[case.case_id], by_case[case.case_id], manifest)

    with reporting("scoring an ensemble") as progress:
        rows = zip(*parallel(join, [case.case for case in prepared.values()], progress), strict=True)
    bins, scores, uncertain = ([row for of_case in part for row in of_case] for part in rows)
    score_table.write(folder / "scores.csv", score_table.frame(scores))
    calibration.write(folder, bins)
    write_text(folder / "disagreement.csv", pd.DataFrame(uncertain).to_csv(index=False, lineterminator="\n"))


def _join(case: PreparedCase, runs: Sequence[Run], manifest: Manifest) -> tuple[list[dict[str, Any]], ...]:
    """Rows of bins, scores and disagreement of the mean of some runs' probabilities of a case."""
    name = case.case.case_id
    several = [read_probabilities(store.folder(run) / FOLDER / f"{name}.nii.gz") for run in runs]
    joined = average(several)
    labels = label_map(joined, manifest.regions_class_order)
    model = {"bundle": runs[0].bundle, "variant": variant_of(runs[0].variant)}
    whose = {"patient_id": case.case.patient_id, "case_id": name}
    who = {**model, **RUN, **whose}
    codes = [case.crop(region) for region in np.moveaxis(joined, -1, 0)]
    bins = calibration.bins_of_case(codes, np.asarray(case.label), manifest.regions)
    scores = score_case(case.original_label(), labels, case.spacing, manifest.regions, lesions=manifest.lesions)
    masks = {region: [one[..., place] >= CUT for one in several] for place, region in enumerate(manifest.regions)}
    apart = [
        {**model, "region": region, **whose, "n_seeds": len(runs), "disagreement": disagreement(of_region)}
        for region, of_region in masks.items()
    ]
    return [{**who, **row} for row in bins], [{**who, **row} for row in scores], apart
