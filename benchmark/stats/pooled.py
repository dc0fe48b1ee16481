"""Estimate measures pooled over a test set, with intervals from resampled patients, whose counts stay together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmark.scoring.metrics import COUNTS
from benchmark.stats.intervals import BOOTSTRAP_SEED, CONFIDENCE, RESAMPLES
from benchmark.stats.patients import with_models

PooledValue = tuple[float, float, float]
"""A value with the ends of its 95% interval, which are NaN with fewer than two patients."""


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


def resampled(counts: np.ndarray) -> np.ndarray:
    """Sum counts over resampled patients, shape (RESAMPLES, ...) for counts of shape (patients, ...); seeded."""
    random = np.random.default_rng(BOOTSTRAP_SEED)
    weights = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    return np.tensordot(weights.astype(float), counts, axes=1)


def estimate(counts: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> PooledValue:
    """Compute a measure of the counts summed over patients, with its percentile bootstrap interval over patients.

    ``counts`` has shape (patients, ..., 4); ``measure`` maps shape (..., 4) to values, and the
    values of further axes (regions) are averaged.
    """

    def mean(summed: np.ndarray) -> np.ndarray:
        values = measure(summed)
        return np.asarray(values.reshape(len(values), -1).mean(axis=1))

    value = float(mean(counts.sum(axis=0)[None])[0])
    if len(counts) < 2:
        return value, math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(mean(resampled(counts)), [tail, 1 - tail])
    return value, float(low), float(high)
