"""Estimate a measure of a model, or how much two models differ in it, over patients with a 95% interval.

A measure is either a mean over patients of their scores (BCa interval) or computed from counts that are summed over
patients (percentile interval); both resample patients. Tables of rows are score tables with a column ``model``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.base.records import model_name
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import COUNTS
from benchmark.stats.intervals import BOOTSTRAP_SEED, CONFIDENCE, RESAMPLES, mean_interval
from benchmark.stats.patients import with_models

Measure = Callable[[np.ndarray], np.ndarray]
WATCHED = {"val_dice": "Dice", "val_accuracy": "accuracy"}
"""What a training keeps its weights by: a segmenter's column of a history, else a classifier's, and its name."""


@dataclass(frozen=True)
class Measured:
    """A value with its 95% interval, NaN with fewer than two patients and of what is no sample."""

    value: float
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan
    patients: int = 0

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below 0, else 0."""
        return int(self.low > 1e-9) - int(self.high < -1e-9)


def patient_scores(
    rows: pd.DataFrame, model: str, metric: str | None, regions: Sequence[str] | None = None
) -> pd.Series:
    """Value of each patient under a model: the mean over ``regions``, seeds and cases averaged before.

    Without ``regions`` these are all but slices.
    """
    rows = rows[(rows["model"] == model) & (rows["metric"] == metric)]
    rows = rows[rows["region"] != SLICE if regions is None else rows["region"].isin(list(regions))]
    if rows.empty:
        return pd.Series(dtype=float)
    cases = rows.groupby(["patient_id", "case_id", "region"])["value"].mean()
    return cases.groupby(level=["patient_id", "region"]).mean().groupby(level="patient_id").mean()


def patient_counts(scores: pd.DataFrame, model: str, region: str) -> np.ndarray:
    """Return the counts of each patient under one model, shape (patients, 4) in the order of COUNTS.

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


def region_counts(rows: pd.DataFrame, model: str, regions: Sequence[str] | None = None) -> np.ndarray:
    """Counts of shape (patients, regions, 4) of a model; no patients where one of the regions has none.

    Without ``regions`` these are all but slices.
    """
    rows = rows[rows["metric"].isin(COUNTS)]
    there = [str(region) for region in pd.unique(rows["region"])]
    wanted = [name for name in there if (name != SLICE if regions is None else name in regions)]
    found = [patient_counts(rows, model, region) for region in wanted]
    if not found or any(not len(counts) for counts in found):
        return np.zeros((0, 1, len(COUNTS)))
    return np.stack(found, axis=1)


def mean(values: pd.Series) -> Measured | None:
    """Mean of patients' values with its interval and SD; None without any."""
    if values.empty:
        return None
    low, high = mean_interval(values.to_numpy())
    sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Measured(float(values.mean()), float(low[0]), float(high[0]), sd, len(values))


def spread_over_seeds(
    rows: pd.DataFrame, model: str, metric: str | None, regions: Sequence[str] | None = None
) -> float:
    """SD over seeds of the mean over patients, as papers print it "over runs"; NaN with one seed."""
    seeds = rows[rows["model"] == model].groupby("seed")
    means = pd.Series([patient_scores(own, model, metric, regions).mean() for _, own in seeds])
    return float(means.std(ddof=1))


def mean_difference(
    rows: pd.DataFrame, first: str, second: str, metric: str | None, regions: Sequence[str] | None = None
) -> Measured | None:
    """Mean over the patients of both models of the second's value less the first's; None where there are none."""
    ours, theirs = (patient_scores(rows, model, metric, regions) for model in (first, second))
    return mean((theirs - ours).dropna())


def pooled_interval(counts: np.ndarray, measure: Measure) -> tuple[float, float, float]:
    """Compute a measure of the counts summed over patients, with its percentile bootstrap interval over patients.

    ``counts`` has shape (patients, ..., 4); ``measure`` maps shape (..., 4) to values, and those of further axes
    (regions) are averaged. The interval is NaN with fewer than two patients; a patient's counts stay together.
    """

    def mean(summed: np.ndarray) -> np.ndarray:
        values = measure(summed)
        return np.asarray(values.reshape(len(values), -1).mean(axis=1))

    value, count = float(mean(counts.sum(axis=0)[None])[0]), len(counts)
    if count < 2:
        return value, math.nan, math.nan
    times = np.random.default_rng(BOOTSTRAP_SEED).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(mean(np.tensordot(times.astype(float), counts, axes=1)), [tail, 1 - tail])
    return value, float(low), float(high)


def pooled_measure(counts: np.ndarray, measure: Measure) -> Measured | None:
    """A measure of counts (patients, ..., 4) summed over patients, regions averaged; None without patients."""
    return Measured(*pooled_interval(counts, measure), patients=len(counts)) if len(counts) else None


def pooled_difference(counts: np.ndarray, measure: Measure) -> Measured | None:
    """The second model's pooled measure less the first's, of ``shared_counts``; None without patients."""
    return pooled_measure(counts, lambda summed: measure(summed[:, 1]) - measure(summed[:, 0]))


def shared_counts(rows: pd.DataFrame, first: str, second: str, regions: Sequence[str] | None = None) -> np.ndarray:
    """Counts of the patients of two models, shape (patients, 2, regions, 4); no patients where there are none."""
    rows = rows[rows["metric"].isin(COUNTS)]
    if regions is not None:
        rows = rows[rows["region"].isin(list(regions))]
    tested = [set(rows.loc[rows["model"] == model, "patient_id"]) for model in (first, second)]
    rows = rows[rows["patient_id"].isin(tested[0] & tested[1])]
    one, other = (region_counts(rows, model, regions) for model in (first, second))
    if not len(one) or one.shape != other.shape:
        return np.zeros((0, 2, 1, len(COUNTS)))
    return np.stack([one, other], axis=1)


def watched(*histories: pd.DataFrame) -> str:
    """Column of WATCHED that histories of one model have values in; "" where they have none."""
    return next((name for name in WATCHED if any(name in one and one[name].notna().any() for one in histories)), "")


def kept_epoch(histories: Mapping[str, pd.DataFrame], model: str, name: str) -> Measured | None:
    """A column of a model's histories at the epoch whose weights were kept, mean over runs; None without any.

    That is the first of the epochs with the highest validation score (WATCHED). ``histories`` are by a run's id.
    """
    found = []
    for run, history in histories.items():
        score = watched(history)
        if model_name(*run.split("/")[:2]) == model and score and name in history:
            found.append(float(history[name].to_numpy()[int(np.nanargmax(history[score].to_numpy()))]))
    return Measured(float(np.mean(found))) if found and not np.isnan(found).any() else None
