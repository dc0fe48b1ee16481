"""Set one model's scores under a split by patient beside those under another split, on the patients of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.report.document import Block, Cell, Heading, Key, Table, Text, cells_of
from benchmark.report.tables import NONE, gap_cells
from benchmark.scoring.counts import POOLED_MEASURES, SLICE, report_cell
from benchmark.scoring.metrics import COUNTS
from benchmark.stats import estimates
from benchmark.stats.estimates import Measured
from benchmark.stats.patients import with_models
from benchmark.studies.study import Study, split_of

POOLED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dice": POOLED_MEASURES["Dice"],
    "iou": POOLED_MEASURES["IoU"],
    "accuracy": POOLED_MEASURES["GlobalAccuracy"],
    "sensitivity": partial(report_cell, cell=("1", "recall")),
    "specificity": partial(report_cell, cell=("0", "recall")),
    "precision": partial(report_cell, cell=("1", "precision")),
}
"""Metrics as measures of counts that are summed over patients."""
OF_NEGATIVES = ("accuracy", "specificity")
"""Metrics of true negatives: under a split by slice the rest of a volume is empty in both masks and counts as such."""
NO_TUMOUR = ("both empty", "reference empty")
"""Notes of a case without tumour in what was tested: there a rule decides the score, 1 or 0, and no overlap does."""
HEADER = ("Measure", "Region", "By patient", "By {split}", "Difference", "95% CI", "Verdict", "n")
NOTES = (
    "By {split}: patients may be on both sides of the split. All rows are on patients who were tested under both "
    "splits, but not on the same slices of them: by {split} {share}.",
    "Pooled: counts summed over these patients, then the measure, with a percentile bootstrap over patients; a patient "
    "of whom little was tested weighs little. Mean: of each patient's own score; patients without tumour in what was "
    "tested of them under either split are left out, as a rule decides their score.",
    "A difference here does not say what it comes from: the two trainings differ in what they saw, the tests in their "
    "slices, and each is one training or few. To see what the split alone does, the model of the split by patient "
    "would have to be scored on the other's slices, and scores by slice are not kept. Such pairs are in no family of "
    "declared comparisons.",
)


class SplitPair(NamedTuple):
    """One model under two splits, by the names of its two trainings: by patient, and by ``split``."""

    honest: str
    other: str
    split: str

    @property
    def models(self) -> tuple[str, str]:
        """Both names, the one by patient first."""
        return self.honest, self.other


def split_pairs(study: Study) -> list[SplitPair]:
    """Pairs of models of the same bundle, track and settings but for the split, one of which is by patient."""
    by_recipe: dict[str, list[tuple[str, str]]] = {}
    for model in study.models:
        recipe = json.dumps([model.bundle, model.track, model.joins, model.by, model.set], sort_keys=True)
        by_recipe.setdefault(recipe, []).append((split_of(study, model), model.name))
    return [
        SplitPair(honest, name, split)
        for models in by_recipe.values()
        for honest in [name for split, name in models if split == "patient"][:1]
        for split, name in models
        if split != "patient"
    ]


def split_blocks(scores: pd.DataFrame, study: Study, metrics: Sequence[str], titles: Mapping[str, str]) -> list[Block]:
    """A section with one table per model under two splits, or a sentence on who was not run; nothing without such."""
    run, found = set(with_models(scores)["model"]), list[Block]()
    for pair in split_pairs(study):
        if absent := [name for name in pair.models if name not in run]:
            found.append(Text(f"{pair.honest} and {pair.other}, by {pair.split}: {' and '.join(absent)} not run."))
        else:
            found.append(split_table(scores, pair, metrics, titles))
    return [Heading("One model under two splits"), *found] if found else []


def split_table(scores: pd.DataFrame, pair: SplitPair, metrics: Sequence[str], titles: Mapping[str, str]) -> Table:
    """One model under a split by patient and under another, on patients tested under both: pooled, and as a mean.

    ``scores`` holds both models with their counts; a classifier is compared by its accuracy over slices.
    """
    table = with_models(scores)
    own = table[table["model"].isin(pair.models)]
    rows: list[list[str | Cell]] = []
    for metric, region in _measures(own, metrics):
        name = titles.get(metric, metric.capitalize())
        if pair.split == SLICE and region != SLICE and metric in OF_NEGATIVES:
            why = "not comparable: slices that are not tested count as right"
            rows.append([name, region, *[NONE] * 4, why, "0"])
            continue
        for kind, cells in (("pooled", _pooled_cells), ("mean", _mean_cells)):
            texts = cells(own, pair, metric, region)
            rows.append([f"{name}, {kind}", region, *_keyed(texts, pair, metric, region, kind)])
    if not rows:
        rows = [[*[NONE] * 6, "not comparable: not scored", "0"]]
    return Table(
        f"{pair.honest} under two splits ({pair.other}: by {pair.split}).",
        [name.format(split=pair.split) for name in HEADER],
        rows,
        notes=[*(note.format(split=pair.split, share=_share(own, pair)) for note in NOTES), *_always(own, pair)],
        name=f"{pair.honest} under two splits",
    )


def _keyed(texts: Sequence[str], pair: SplitPair, metric: str, region: str, kind: str) -> list[Cell]:
    """Cells of a row after measure and region, each with what it shows; differences are the other's less the honest."""
    honest = Key(pair.honest, metric, region, kind, pair.other)
    other = Key(pair.other, metric, region, kind, pair.honest)
    statistics = (kind, "difference", "ci", "verdict", "n_patients")
    return [Cell(texts[0], key=honest), *cells_of(other, dict(zip(statistics, texts[1:], strict=True)))]


def _measures(own: pd.DataFrame, metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Metrics and regions that the models were scored by; of slices the accuracy only."""
    regions = own[own["region"] != SLICE].groupby("metric")["region"].unique()
    found = [(metric, region) for metric in metrics for region in regions.get(metric, ())]
    return [*found, *([("accuracy", SLICE)] if (own["region"] == SLICE).any() else [])]


def _shared_counts(own: pd.DataFrame, pair: SplitPair, region: str) -> np.ndarray:
    """Counts of the patients tested under both splits, shape (patients, 2, 4); empty where there are none."""
    return estimates.shared_counts(own, *pair.models, [region])[:, :, 0]


def _always(own: pd.DataFrame, pair: SplitPair) -> list[str]:
    """What a classifier's accuracy has to beat: always naming the more frequent class, under each of the splits."""
    counts = _shared_counts(own, pair, SLICE).sum(axis=0)
    if not counts.any():
        return []
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    honest, other = np.maximum(tp + fn, fp + tn) / (tp + fp + fn + tn)
    said = f"{honest:.3f} by patient and {other:.3f} by {pair.split}"
    return [f"Always naming the more frequent class has this accuracy over slices, pooled: {said}."]


def _share(own: pd.DataFrame, pair: SplitPair) -> str:
    """How much of the tumour of the same patients the other split tests, in words."""
    for region in pd.unique(own["region"]):
        counts = _shared_counts(own, pair, region).sum(axis=0)
        first, second = (counts[:, COUNTS.index("tp")] + counts[:, COUNTS.index("fn")]).tolist()
        if first and second:
            what = "slices with tumour" if region == SLICE else "tumour's voxels"
            return f"{second / first:.0%} of the {what} are tested that are tested by patient"
    return "how many of them are tested is not known"


def _pooled_cells(own: pd.DataFrame, pair: SplitPair, metric: str, region: str) -> list[str]:
    counts, measure = _shared_counts(own, pair, region), POOLED[metric]
    gap = estimates.pooled_difference(counts, measure)
    if gap is None:
        return [NONE] * 4 + ["not comparable: no counts of a patient under both", "0"]
    sides = [_side(estimates.pooled_measure(counts[:, index], measure)) for index in (0, 1)]
    return [*sides, *gap_cells(gap, f"by {pair.split}"), str(gap.patients)]


def _mean_cells(own: pd.DataFrame, pair: SplitPair, metric: str, region: str) -> list[str]:
    rows = own[(own["region"] == region) & (own["metric"] == metric)]
    tested = [set(rows.loc[rows["model"] == model, "patient_id"]) for model in pair.models]
    both = tested[0] & tested[1]
    ruled = set() if metric in OF_NEGATIVES else set(rows.loc[rows["note"].isin(NO_TUMOUR), "patient_id"])
    kept = both - ruled
    count = f"{len(kept)}" + (f" ({len(both) - len(kept)} left out)" if len(kept) < len(both) else "")
    rows = rows[rows["patient_id"].isin(kept)]
    gap = estimates.mean_difference(rows, *pair.models, metric, [region])
    if gap is None:
        return [NONE] * 4 + ["not comparable: no patient with tumour tested under both", count]
    sides = [estimates.mean(estimates.patient_scores(rows, model, metric, [region])) for model in pair.models]
    return [*map(_side, sides), *gap_cells(gap, f"by {pair.split}"), count]


def _side(found: Measured | None) -> str:
    if found is None:
        return NONE
    return f"{found.value:.3f}" + ("" if np.isnan(found.low) else f" ({found.low:.3f} to {found.high:.3f})")
