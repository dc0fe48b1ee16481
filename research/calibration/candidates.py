"""Compare two methods by each test that was considered, for many simulated studies in one call.

Every test returns a ``Found``, of which ``p_values`` makes p. It takes ``first`` and ``second`` of shape (rows,
patients, seeds) and ``folds`` (seeds, patients), the fold of each patient under each seed: equal rows where seeds share
their folds. Folds count from 0 and none is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special, stats


class Found(NamedTuple):
    """Mean difference, one value per row, and the variances with degrees of freedom that a test sets it against.

    Adding a number to all scores of the first method adds it to the mean and leaves the variances.
    """

    mean: np.ndarray
    variances: tuple[tuple[np.ndarray, float], ...]


class Parts(NamedTuple):
    """Mean difference and the variances that the two-level test joins, one value per row, with degrees of freedom."""

    mean: np.ndarray
    patients: np.ndarray
    patients_df: int
    runs: np.ndarray
    runs_df: int


NORMAL = 1e9
"""Degrees of freedom at which Student's t is normal."""


def p_values(found: Found) -> np.ndarray:
    """P at which the squared mean is the sum of the variances times their own squared t quantiles; 1 without any."""
    if len(found.variances) == 1:
        ((variance, df),) = found.variances
        with np.errstate(invalid="ignore", divide="ignore"):
            p = 2 * stats.t.sf(np.abs(found.mean) / np.sqrt(variance), df)
        return np.where(np.isfinite(p), p, 1.0)
    low, high = np.zeros(len(found.mean)), np.ones(len(found.mean))
    for _ in range(24):
        middle = (low + high) / 2
        reached = found.mean**2 > sum(special.stdtrit(df, middle / 2) ** 2 * part for part, df in found.variances)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def reject(found: Found, alpha: float, shift: float = 0.0) -> np.ndarray:
    """Say which p are below ``alpha``, were the first method better by ``shift``."""
    wide = sum(special.stdtrit(df, alpha / 2) ** 2 * variance for variance, df in found.variances)
    return np.asarray((found.mean + shift) ** 2 > wide)


def is_shared(folds: np.ndarray) -> bool:
    """Say whether all seeds have the same folds."""
    return len(folds) < 2 or bool((folds == folds[0]).all())


def two_level(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """P values as of ``benchmark.stats.seeds``: over patients and training sets, or folds where seeds share them."""
    if folds.max() == 0:
        return np.ones(len(first))
    tests = (by_runs,) if not is_shared(folds) else (fold_means, by_runs) if len(folds) > 1 else (fold_means,)
    return np.asarray(np.max([p_values(test(first, second, folds)) for test in tests], axis=0))


def by_runs(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Test over patients and runs, on differences of the runs with one fold and seed."""
    return _two_parts(parts([first - second], folds))


def unpaired(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Test over patients and runs, without pairs of runs: the suite's before training sets were seen to matter."""
    return _two_parts(parts([first, second], folds))


def satterthwaite(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Student's t on the variance of ``by_runs``, with degrees of freedom after Satterthwaite."""
    found = parts([first - second], folds)
    total = found.patients + found.runs
    df = total**2 / (found.runs**2 / found.runs_df + found.patients**2 / found.patients_df)
    return Found(found.mean, ((total, df),))


def fold_means(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Student's t on the means of shared folds, each with the weight of its patients."""
    means, weights = run_means(first - second, folds).mean(axis=1), np.bincount(folds[0]) / folds.shape[1]
    mean = means @ weights
    share = (weights**2).sum()
    variance = ((means - mean[:, None]) ** 2 @ weights) * share / (1 - share)
    return Found(mean, ((variance, len(weights) - 1),))


def fold_part(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """``by_runs`` with a third part, by what the means of shared folds vary more than the other two explain."""
    found = parts([first - second], folds)
    means = run_means(first - second, folds).mean(axis=1)
    k = means.shape[1]
    between = np.maximum(means.var(axis=1, ddof=1) / k - found.runs - found.patients, 0)
    return Found(found.mean, (*_two_parts(found).variances, (between, k - 1)))


def resampled_t(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Corrected resampled t over runs, or over folds where seeds share them (Nadeau and Bengio 2003)."""
    means = run_means(first - second, folds)
    means = means.mean(axis=1) if is_shared(folds) else means.reshape(len(means), -1)
    count, k = means.shape[1], int(folds.max()) + 1
    return Found(means.mean(axis=1), ((means.var(axis=1, ddof=1) * (1 / count + 1 / (k - 1)), count - 1),))


def overlap_t(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Student's t on shared folds' means, taken to be correlated by the patients they train on, (k - 2) / (k - 1)."""
    means = run_means(first - second, folds).mean(axis=1)
    k = means.shape[1]
    return Found(means.mean(axis=1), ((means.var(axis=1, ddof=1) * (1 / k + k - 2), k - 1),))


def seed_means(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Student's t on the means of seeds."""
    return _one_sample((first - second).mean(axis=1))


def patient_means(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Student's t on the means of patients."""
    return _one_sample((first - second).mean(axis=2))


def mixed_shared(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Wald's z of a mixed model with fold, seed in fold and patient in fold, by restricted likelihood.

    For equally large folds the likelihood needs four mean squares only. It is the highest on a grid of variances.
    """
    values = first - second
    n, s = values.shape[1:]
    k = int(folds.max()) + 1
    size, means = n / k, run_means(values, folds)
    own, patient = means.mean(axis=1), values.mean(axis=2)
    away = patient - own[:, folds[0]]
    within = ((values - patient[..., None]) ** 2).sum(axis=(1, 2))
    seed = ((means - own[:, None]) ** 2).sum(axis=(1, 2)) * size
    squares = np.stack([within - seed, s * (away**2).sum(axis=1), seed, own.var(axis=1, ddof=1) * (k - 1) * size * s])
    free = np.array([(n - k) * (s - 1), n - k, k * (s - 1), k - 1])
    best, variance = np.full(len(values), np.inf), np.ones(len(values))
    for a in GRID:
        for b in GRID:
            for c in GRID:
                # Variances of patient, seed and fold over that of noise.
                terms = np.array([1, 1 + s * a, 1 + size * b, 1 + s * a + size * b + s * size * c])
                scale = (squares / terms[:, None]).sum(axis=0) / free.sum()
                minus = free.sum() * np.log(scale) + (free * np.log(terms)).sum()
                better = minus < best
                best, variance = np.where(better, minus, best), np.where(better, scale * terms[3] / (n * s), variance)
    return Found(own.mean(axis=1), ((variance, NORMAL),))


def mixed_crossed(first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> Found:
    """Wald's z of a mixed model with patients and runs crossed, by restricted likelihood on a grid of variances."""
    values = first - second
    rows, n, s = values.shape
    hot, member = _incidence(folds)
    across, sizes = member.T @ member / s, member.sum(axis=0)
    patient = values.mean(axis=2)
    within = (values - patient[..., None]).reshape(rows, -1)
    squares, level = (within**2).sum(axis=1), s * (patient**2).sum(axis=1)
    by_run = within @ hot, patient @ member
    best, mean, variance = np.full(rows, np.inf), np.zeros(rows), np.ones(rows)
    for a in GRID:
        shrink = 1 / (1 + s * a)
        inner, own, ones = np.diag(sizes) - across + shrink * across, by_run[0] + shrink * by_run[1], shrink * sizes
        for b in GRID:
            core = np.eye(len(sizes)) + b * inner
            inverse = b * np.linalg.inv(core)
            weight = shrink * n * s - ones @ inverse @ ones
            found = (shrink * values.sum(axis=(1, 2)) - own @ (inverse @ ones)) / weight
            rest = squares + shrink * level - np.einsum("tc,cd,td->t", own, inverse, own) - weight * found**2
            scale = rest / (n * s - 1)
            minus = (n * s - 1) * np.log(scale) - n * np.log(shrink) + np.linalg.slogdet(core)[1] + np.log(weight)
            better = minus < best
            best, mean = np.where(better, minus, best), np.where(better, found, mean)
            variance = np.where(better, scale / weight, variance)
    return Found(mean, ((variance, NORMAL),))


GRID = np.concatenate([[0], np.geomspace(3e-3, 30, 16)])
"""Variances over that of noise that the mixed models try."""

Test = Callable[[np.ndarray, np.ndarray, np.ndarray], Found]
SHARED: tuple[Test, ...] = (
    *(unpaired, by_runs, fold_part, fold_means, resampled_t, overlap_t, mixed_shared, patient_means),
)
"""Tests for seeds that share their folds; the suite asks ``fold_means`` and ``by_runs`` to reject."""
NEW: tuple[Test, ...] = (unpaired, by_runs, satterthwaite, resampled_t, mixed_crossed, seed_means, patient_means)
"""Tests for seeds with a partition of their own; ``by_runs`` is the suite's."""


def parts(sides: list[np.ndarray], folds: np.ndarray) -> Parts:
    """Split the variance of a mean difference: of one side that holds paired differences, or of two sides.

    As ``benchmark.stats.seeds`` has it: runs adjusted for patients by least squares. Two sides pool their runs.
    """
    _, n, s = sides[0].shape
    k = int(folds.max()) + 1
    hot, member = _incidence(folds)
    normal = np.diag(member.sum(axis=0)) - member.T @ member / s
    rank, inverse, free = int(np.linalg.matrix_rank(normal)), np.linalg.pinv(normal), n * (s - 1)
    weight, extra = float(((member.sum(axis=0) / (n * s)) ** 2).sum()), rank / free
    luck, rest = np.zeros(len(sides[0])), np.zeros(len(sides[0]))
    for side in sides:
        within = (side - side.mean(axis=2, keepdims=True)).reshape(len(side), -1)
        totals = within @ hot
        adjusted = np.einsum("tc,cd,td->t", totals, inverse, totals)
        luck += adjusted / free
        if free > rank:
            rest += ((within**2).sum(axis=1) - adjusted) / (free - rank)
    patient = sides[0].mean(axis=2) - (sides[1].mean(axis=2) if len(sides) > 1 else 0.0)
    mean, groups, mixed = patient.mean(axis=1), 1, n / (n - 1) * (1 / s - weight)
    if is_shared(folds):
        centre = np.stack([patient[:, folds[0] == fold].mean(axis=1) for fold in range(k)], axis=1)
        patient, groups, mixed = patient - centre[:, folds[0]], k, 0.0
    spread = ((patient - patient.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (n - groups)
    left = spread - mixed * (luck - rest * extra) - rest * n * weight * extra
    return Parts(mean, np.maximum(left, 0) / n, n - groups, luck * weight, rank * len(sides))


def run_means(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Mean over the patients of each run, (rows, seeds, folds)."""
    hot, member = _incidence(folds)
    totals = values.reshape(len(values), -1) @ hot / member.sum(axis=0)
    return totals.reshape(len(values), len(folds), -1)


def _incidence(folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which run each score is of, (patients x seeds, runs), and which runs tested each patient, (patients, runs)."""
    s, n = folds.shape
    k = int(folds.max()) + 1
    hot = np.zeros((n * s, k * s))
    hot[np.arange(n * s), (folds + k * np.arange(s)[:, None]).T.ravel()] = 1
    return hot, hot.reshape(n, s, -1).sum(axis=1)


def _two_parts(found: Parts) -> Found:
    return Found(found.mean, ((found.runs, found.runs_df), (found.patients, found.patients_df)))


def _one_sample(values: np.ndarray) -> Found:
    count = values.shape[1]
    return Found(values.mean(axis=1), ((values.var(axis=1, ddof=1) / count, count - 1),))
