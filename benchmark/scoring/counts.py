"""Compute measures of agreement from counts of voxels or slices: tp, fp, fn and tn, summed over any set of cases.

Papers that score all images at once print these: scikit-learn's classification report, and the measures of MATLAB's
``evaluateSemanticSegmentation``. Arrays of counts have shape (..., 4), in the order of ``metrics.COUNTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.base.records import InputError
from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS, mask_note, score_pair

SLICE = "slice"
"""Region of a classifier's scores: its counts are slices, not voxels."""

ReportCell = tuple[str, str]
"""A cell of a classification report: its row ("0", "1", "accuracy", "micro", ...) and its measure."""


class Counted(NamedTuple):
    """Counts in place of two masks, for metrics that need nothing but counts."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def shape(self) -> tuple[int, ...]:
        """All voxels, as one axis."""
        return (sum(self),)


def merge_parts(scores: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Join the scores of a case that several folds of one of ``models`` tested in parts, as a split by slice does.

    Other models tested a case that is in several folds whole in each; these rows stay. ``scores`` is a table as
    ``score_table.read`` gives it. Counts of a seed's case and region are summed over folds, metrics that need only
    counts are computed from the sums, and all others are dropped. The row keeps the lowest fold.

    Raises:
        InputError: if a case to be joined has no counts.
    """
    keys = ["bundle", "variant", "seed", "case_id", "region"]
    several = scores.groupby(keys, sort=False)["fold"].transform("nunique") > 1
    several &= score_table.model_names(scores).isin(models)
    if not several.any():
        return scores
    if lacking := [name for name in COUNTS if name not in scores or scores.loc[several, name].isna().any()]:
        first = scores[several].iloc[0]
        raise InputError(
            f"case {first['case_id']} of {first['bundle']}/{first['variant']} is in several folds without counts: "
            f"expected {', '.join(COUNTS)}, found no {lacking[0]}; run and score it again."
        )
    merged = pd.DataFrame([_merged(rows) for _, rows in scores[several].groupby(keys, sort=False)])
    return pd.concat([scores[~several], merged], ignore_index=True)[list(scores.columns)]


def _merged(rows: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {key: rows[key].iloc[0] for key in score_table.KEYS} | {"fold": rows["fold"].min()}
    row |= {name: float(rows[name].sum()) for name in COUNTS}
    pair: Any = Counted(**{name: round(row[name]) for name in COUNTS})
    row["note"] = mask_note(pair)
    for metric in METRICS.values():
        name = score_table.column(metric.name, metric.version)
        if metric.needs == "counts" and name in rows:
            row[name] = score_pair(metric, pair)
    return row


def of_slices(row: Mapping[str, Any], left_out: int) -> dict[str, Any]:
    """Return a row of ``metrics.score_case`` of some slices of a case, whose other ``left_out`` voxels are not tested.

    They are 0 in both masks, and no true negatives: what needs counts only follows from the rest.
    """
    pair: Any = Counted(row["tp"], row["fp"], row["fn"], row["tn"] - left_out)
    metrics = [metric for metric in METRICS.values() if metric.needs == "counts"]
    return {**row, "tn": pair.tn, "note": mask_note(pair), **{one.name: score_pair(one, pair) for one in metrics}}


def report_cells(counts: np.ndarray) -> dict[ReportCell, np.ndarray]:
    """Return every cell of a binary classification report, as scikit-learn's ``classification_report`` defines it.

    Precision, recall, F1 and support of both classes, accuracy, and micro, macro and weighted averages. A measure
    whose denominator is zero is 0.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    total = tn + fp + fn + tp
    cells: dict[ReportCell, np.ndarray] = {}
    for name, right, wrong, missed in (("0", tn, fn, fp), ("1", tp, fp, fn)):
        precision, recall = _share(right, right + wrong), _share(right, right + missed)
        f1 = _share(2 * right, 2 * right + wrong + missed)
        measures = {"precision": precision, "recall": recall, "f1": f1, "support": right + missed}
        cells |= {(name, measure): values for measure, values in measures.items()}
    accuracy = _share(tn + tp, total)
    for measure in ("precision", "recall", "f1"):
        first, second = cells["0", measure], cells["1", measure]
        cells["micro", measure] = accuracy
        cells["macro", measure] = (first + second) / 2
        cells["weighted", measure] = _share(first * (tn + fp) + second * (fn + tp), total)
    cells["accuracy", "accuracy"] = accuracy
    for name in ("accuracy", "micro", "macro", "weighted"):
        cells[name, "support"] = total
    return cells


def report_cell(counts: np.ndarray, cell: ReportCell) -> np.ndarray:
    """Return one of ``report_cells``."""
    return report_cells(counts)[cell]


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Return the IoU of background and tumour, shape (2, ...); 1 for a class that neither mask has."""
    return np.stack([tversky(own, alpha=1.0, beta=1.0) for own in (counts[..., ::-1], counts)])


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Return the mean IoU of the two classes: MATLAB's MeanIoU."""
    return np.asarray(class_iou(counts).mean(axis=0))


def weighted_iou(counts: np.ndarray) -> np.ndarray:
    """Return the IoU of both classes, weighted by their pixels in the reference: MATLAB's WeightedIoU."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(float), -1, 0)
    background, tumour = class_iou(counts)
    return _share(background * (tn + fp) + tumour * (tp + fn), tp + fp + fn + tn, 1.0)


def mean_f_score(counts: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the two classes; MATLAB's MeanBFScore is another measure, of contours."""
    return np.asarray((tversky(counts[..., ::-1]) + tversky(counts)) / 2)


def tversky(counts: np.ndarray, alpha: float = 0.5, beta: float = 0.5) -> np.ndarray:
    """Return the Tversky index TP / (TP + alpha FP + beta FN), by default Dice; 1 where both masks are empty."""
    tp, fp, fn, _ = np.moveaxis(counts.astype(float), -1, 0)
    return _share(tp, tp + alpha * fp + beta * fn, 1.0)


def _share(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), empty), where=whole != 0))


POOLED_MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "GlobalAccuracy": partial(report_cell, cell=("accuracy", "accuracy")),
    "MeanAccuracy": partial(report_cell, cell=("macro", "recall")),
    "MeanIoU": mean_iou,
    "WeightedIoU": weighted_iou,
    "MeanFScore": mean_f_score,
    "Dice": tversky,
    "IoU": partial(tversky, alpha=1.0, beta=1.0),
    "Tversky": tversky,
}
"""Pooled measures of a segmentation, by the name that a published table gives as a column's ``metric``."""


def measure_of(name: str, weights: Mapping[str, float] | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Return a pooled measure by its name, with the weights of the Tversky index where it is that.

    Raises:
        InputError: for an unknown name.
    """
    if name not in POOLED_MEASURES:
        raise InputError(f"There is no pooled metric {name!r}: expected one of {', '.join(POOLED_MEASURES)}.")
    return partial(POOLED_MEASURES[name], **weights) if weights else POOLED_MEASURES[name]
