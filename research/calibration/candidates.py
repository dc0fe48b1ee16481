"""Compute p values of two names under several seeds, by each design that was considered for new seeds.

Every function takes ``first`` and ``second`` of shape (rows, patients, seeds): seeds are crossed with patients and
nested in the method, so that seed 1 of one method has nothing to do with seed 1 of the other. P is 1 with one seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats


class Parts(NamedTuple):
    """Difference of means, and its variance in the parts that the designs put together, each one value per row."""

    mean: np.ndarray
    seeds: np.ndarray
    patients: np.ndarray
    df_seeds: int
    df_patients: int


def parts(first: np.ndarray, second: np.ndarray, folds: int = 1) -> Parts:
    """Split the variance of a difference of means over n patients and S seeds a method by its expected mean squares.

    Patients of one fold share their checkpoints, as ``benchmark.stats.seeds`` has it; patient i is of fold i modulo
    ``folds``. With V the variance over a fold's checkpoints of their means and M the mean square of patient x
    checkpoint, each pooled over folds (V over both methods too), and w a fold's share of patients:
    Var = [Var(patients' differences) - (M_first + M_second) / S]+ / n + 2 V sum w^2 / S.
    """
    _, n, seeds = first.shape
    between = squares = weight = 0.0
    fold = np.arange(n) % folds
    for one in range(folds):
        for side in (first, second):
            own = side[:, fold == one]
            means = own.mean(axis=1, keepdims=True)
            between = between + means.var(axis=(1, 2)) * seeds
            left = own - means - own.mean(axis=2, keepdims=True) + own.mean(axis=(1, 2), keepdims=True)
            squares = squares + (left**2).sum(axis=(1, 2))
        weight += (np.mean(fold == one) ** 2) / seeds
    df = 2 * folds * (seeds - 1)
    spread = (first.mean(axis=2) - second.mean(axis=2)).var(axis=1, ddof=1)
    # Both methods have the same folds, so that the sum of their two M is twice the pooled one.
    residual = 2 * squares / (2 * (n - folds) * (seeds - 1))
    patients = np.maximum(spread - residual / seeds, 0) / n
    mean = first.mean(axis=(1, 2)) - second.mean(axis=(1, 2))
    return Parts(mean, between / df * 2 * weight, patients, df, n - 1)


def satterthwaite(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """T test on that variance, with degrees of freedom after Hillis (2014, doi:10.1002/sim.5926)."""
    if first.shape[2] < 2:
        return np.ones(len(first))
    found = parts(first, second)
    total = found.seeds + found.patients
    with np.errstate(invalid="ignore", divide="ignore"):
        return _t(found.mean, total, found.df_seeds * (total / found.seeds) ** 2)


def seeds_only(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """T test on the means of the seeds, as if the patients were all there are."""
    if first.shape[2] < 2:
        return np.ones(len(first))
    found = parts(first, second)
    return _t(found.mean, found.seeds, np.full(len(first), found.df_seeds))


def two_level(first: np.ndarray, second: np.ndarray, folds: int = 1) -> np.ndarray:
    """P at which d^2 = t(df of seeds)^2 Var(seeds) + t(n-1)^2 Var(patients): half-widths added in squares.

    Each part of the variance keeps the quantile of its own degrees of freedom. A few seeds then cannot pass for many
    where the part of the patients is large, or by chance looks so, which is where ``satterthwaite`` goes wrong.
    """
    if first.shape[2] < 2:
        return np.ones(len(first))
    found = parts(first, second, folds)
    low, high = np.zeros(len(first)), np.ones(len(first))
    for _ in range(24):
        middle = (low + high) / 2
        wide = special.stdtrit(found.df_seeds, middle / 2) ** 2 * found.seeds
        reached = found.mean**2 > wide + special.stdtrit(found.df_patients, middle / 2) ** 2 * found.patients
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def hierarchical_bootstrap(
    first: np.ndarray, second: np.ndarray, random: np.random.Generator, resamples: int = 1999
) -> np.ndarray:
    """Percentile p of the difference of means when patients, and within each method seeds, are drawn anew."""
    rows, n, seeds = first.shape
    if seeds < 2:
        return np.ones(rows)
    patients = random.multinomial(n, np.full(n, 1 / n), resamples) / n
    below = np.zeros(rows)
    drawn = [random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds for _ in range(2)]
    for start in range(0, rows, 500):
        part = slice(start, start + 500)
        means = [np.einsum("bs,rbs->rb", weights, np.matmul(patients, one[part]))
                 for weights, one in zip(drawn, (first, second), strict=True)]  # fmt: skip
        below[part] = (means[0] < means[1]).mean(axis=1) + (means[0] == means[1]).mean(axis=1) / 2
    return np.maximum(2 * np.minimum(below, 1 - below), 1 / (resamples + 1))


def _t(mean: np.ndarray, variance: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(mean) / np.sqrt(variance), freedom)
    return np.where(np.isfinite(p), p, 1.0)
