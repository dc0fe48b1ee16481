"""Counts of agreement (tp, fp, fn, tn rows of a score table) to measures pooled over a test set, with intervals.

Papers that score all images at once print these: scikit-learn's classification report, and the measures of MATLAB's
``evaluateSemanticSegmentation``. Counts of a patient stay together when patients are resampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError
from benchmark.papers.implied.enumerated import Cell, report_values
from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS, mask_note, score_pair
from benchmark.stats import BOOTSTRAP_SEED, CONFIDENCE, RESAMPLES, with_models

SLICE = "slice"
"""Region of a classifier's scores: its counts are slices, not voxels."""

Estimate = tuple[float, float, float]
"""A value with the ends of its 95% interval, which are NaN with fewer than two patients."""


@dataclass(frozen=True)
class Counted:
    """Counts in the place of two masks, for the metrics that need no more than counts."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def shape(self) -> tuple[int, ...]:
        """All voxels, in a row."""
        return (self.tp + self.fp + self.fn + self.tn,)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Of no use to a metric of counts."""
        return (1.0,)


def merge_parts(scores: pd.DataFrame) -> pd.DataFrame:
    """Join what several folds of one model say of one case, where a split by slice tests a case in parts.

    ``scores`` is a table as ``score_table.read`` gives it. Counts of (bundle, variant, seed, case, region) are summed
    over folds, the metrics that need no more follow from the sums by the functions and rules of
    ``scoring.metrics``, and all others are dropped, as they do not follow. The first of the folds is filed. A table
    without such cases is returned as it is.

    Raises:
        InputError: if a case to be joined has no counts.
    """
    keys = ["bundle", "variant", "seed", "case_id", "region"]
    several = scores.groupby(keys, sort=False)["fold"].transform("nunique") > 1
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


def patient_counts(scores: pd.DataFrame, model: str, region: str) -> np.ndarray:
    """Counts of each patient under one model, shape (patients, 4) in the order of COUNTS.

    Seeds are averaged within a case, cases are summed within a patient. Empty where the model has no such rows.
    """
    if scores.empty:
        return np.zeros((0, len(COUNTS)))
    rows = with_models(scores)
    rows = rows[(rows["model"] == model) & (rows["region"] == region) & rows["metric"].isin(COUNTS)]
    if rows.empty:
        return np.zeros((0, len(COUNTS)))
    cases = rows.groupby(["patient_id", "case_id", "metric"])["value"].mean().unstack("metric")
    return cases[list(COUNTS)].groupby(level="patient_id").sum().to_numpy()


def resampled(counts: np.ndarray) -> np.ndarray:
    """Sums of counts over resampled patients, shape (RESAMPLES, ...) for counts of shape (patients, ...); seeded."""
    random = np.random.default_rng(BOOTSTRAP_SEED)
    weights = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    return np.tensordot(weights.astype(float), counts, axes=1)


def estimate(counts: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """Measure of the counts summed over patients, with its percentile bootstrap interval over patients.

    ``counts`` has shape (patients, ..., 4); ``measure`` maps shape (..., 4) to values, and values of further axes
    (regions) are averaged.
    """

    def mean(summed: np.ndarray) -> np.ndarray:
        values = measure(summed)
        return values.reshape(len(values), -1).mean(axis=1)

    value = float(mean(counts.sum(axis=0)[None])[0])
    if len(counts) < 2:
        return value, math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(mean(resampled(counts)), [tail, 1 - tail])
    return value, float(low), float(high)


def classification_report(counts: np.ndarray) -> dict[Cell, np.ndarray]:
    """Cells of a binary classification report from counts of shape (..., 4) in the order of COUNTS.

    Precision, recall, F1 and support of both classes, accuracy, and micro, macro and weighted averages, as
    scikit-learn's ``classification_report`` gives them.
    """
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    return report_values(np.stack([tn, fp, fn, tp], axis=-1))


def global_accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of pixels that are right: MATLAB's GlobalAccuracy."""
    return classification_report(counts)["accuracy", "accuracy"]


def mean_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean over the two classes of the share of a class's pixels that are right: MATLAB's MeanAccuracy."""
    return classification_report(counts)["macro", "recall"]


def class_iou(counts: np.ndarray) -> np.ndarray:
    """IoU of background and tumour, shape (2, ...); 1 for a class that neither mask has."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(float), -1, 0)
    wrong = fp + fn
    return np.stack([_share(tn, tn + wrong, 1.0), _share(tp, tp + wrong, 1.0)])


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU of the two classes: MATLAB's MeanIoU."""
    return class_iou(counts).mean(axis=0)


def weighted_iou(counts: np.ndarray) -> np.ndarray:
    """IoU of the two classes weighted by their pixels in the reference: MATLAB's WeightedIoU."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(float), -1, 0)
    background, tumour = class_iou(counts)
    return _share(background * (tn + fp) + tumour * (tp + fn), tp + fp + fn + tn, 1.0)


def mean_f_score(counts: np.ndarray) -> np.ndarray:
    """Mean F1 of the two classes over regions; MATLAB's MeanBFScore is of contours and another measure."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(float), -1, 0)
    wrong = fp + fn
    return (_share(2 * tn, 2 * tn + wrong, 1.0) + _share(2 * tp, 2 * tp + wrong, 1.0)) / 2


def tversky(counts: np.ndarray, alpha: float = 0.5, beta: float = 0.5) -> np.ndarray:
    """Tversky index TP / (TP + alpha FP + beta FN) of the tumour, Dice by default; 1 where both are empty."""
    tp, fp, fn, _ = np.moveaxis(counts.astype(float), -1, 0)
    return _share(tp, tp + alpha * fp + beta * fn, 1.0)


def _share(part: np.ndarray, whole: np.ndarray, empty: float) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), empty), where=whole != 0)


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "GlobalAccuracy": global_accuracy,
    "MeanAccuracy": mean_accuracy,
    "MeanIoU": mean_iou,
    "WeightedIoU": weighted_iou,
    "MeanFScore": mean_f_score,
    "Dice": tversky,
    "IoU": partial(tversky, alpha=1.0, beta=1.0),
    "Tversky": tversky,
}
"""Pooled measures of a segmentation, by the name a published table's column gives as ``metric``."""


def measure_of(name: str, weights: Mapping[str, float] | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Return a pooled measure by its name, with the weights of the Tversky index where it is that.

    Raises:
        InputError: for an unknown name.
    """
    if name not in MEASURES:
        raise InputError(f"There is no pooled metric {name!r}: expected one of {', '.join(MEASURES)}.")
    return partial(MEASURES[name], **weights) if weights else MEASURES[name]
