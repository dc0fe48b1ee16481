"""Compute Friedman's and Nemenyi's tests over several names, for many studies in one call."""

from __future__ import annotations

import numpy as np
from scipy import stats


def friedman(values: np.ndarray) -> np.ndarray:
    """P values of (rows, patients, names): ties corrected; 1 where no patient tells the names apart."""
    return stats.chi2.sf(_chi_squared(values), values.shape[2] - 1)


def iman_davenport(values: np.ndarray) -> np.ndarray:
    """P values of the F that sharpens Friedman's chi-squared (Iman and Davenport 1980)."""
    chi, (_, patients, names) = _chi_squared(values), values.shape
    with np.errstate(divide="ignore"):
        f = (patients - 1) * chi / np.maximum(patients * (names - 1) - chi, 0)
    return stats.f.sf(f, names - 1, (names - 1) * (patients - 1))


def _chi_squared(values: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(values, axis=2)
    _, patients, names = values.shape
    spread = ((ranks - (names + 1) / 2) ** 2).sum(axis=(1, 2))
    between = patients * ((ranks.mean(axis=1) - (names + 1) / 2) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, patients * (names - 1) * between / spread, 0.0)


def nemenyi(values: np.ndarray) -> np.ndarray:
    """Smallest Nemenyi p over all pairs of names, for each of (rows, patients, names)."""
    ranks = stats.rankdata(values, axis=2).mean(axis=1)
    _, patients, names = values.shape
    width = np.ptp(ranks, axis=1) / np.sqrt(names * (names + 1) / (6 * patients))
    found, back = np.unique(np.round(width, 9), return_inverse=True)
    return stats.studentized_range.sf(found * np.sqrt(2), names, np.inf)[back]


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p values within each row of (rows, hypotheses)."""
    order = np.argsort(p, axis=1, kind="stable")
    steps = np.arange(p.shape[1], 0, -1) * np.take_along_axis(p, order, axis=1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(1, np.maximum.accumulate(steps, axis=1)), axis=1)
    return adjusted
