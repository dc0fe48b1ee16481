"""Spread of the paired differences at hand to the number of patients that would show a difference of a given size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.scoring.metrics import METRICS

TARGETS: dict[str, tuple[float, ...]] = {"": (0.005, 0.01, 0.02), "mm": (0.5, 1.0, 2.0), "ml": (0.5, 1.0, 2.0)}
"""Differences asked about, by a metric's unit: half a Dice point, one and two; or millimetres, or millilitres."""
POWER = 0.8
NEEDED = ("metric", "region", "model_a", "model_b", "test", "n_patients", "sd_difference")
EFFICIENCY = {"wilcoxon": 3 / np.pi}
"""Patients of the t test over those of another test for the same power, on normal differences (Pitman)."""
BY_SIGNS = ("wilcoxon", "permutation")
"""Tests whose smallest possible p is 2 / 2^n."""


def patients_needed(
    comparisons: pd.DataFrame,
    alpha: float = 0.05,
    targets: Mapping[str, Sequence[float]] | None = None,
    power: float = POWER,
    family: int | None = None,
) -> pd.DataFrame:
    """Patients that the declared test would need to show a given true mean difference, for each compared pair.

    ``comparisons`` is what ``compare`` gave; ``targets`` maps a metric to the differences to ask about, in its unit
    (where it is absent, ``TARGETS`` by its unit). One row per comparison and target: metric, region, model_a, model_b,
    test, n_patients, sd_difference, target, power, alpha, patients, alpha_family, patients_family. ``patients`` is for
    a pair that is tested alone; ``patients_family`` for the worst case of Holm, where the pair has to reach alpha / m
    in the family of m that was declared: ``family``, or all rows of ``comparisons``. Both are as sure as the SD of the
    differences that they come from, which on n patients is itself off by about 1 / sqrt(2 n) of its size. NaN where
    there is no such SD. Of the test ``two_level`` they are for these checkpoints alone: patients do not average out the
    luck of training (``methods_needed``).
    """
    asked = [targets_of(metric, targets) for metric in comparisons["metric"]]
    result = (
        comparisons[[*NEEDED]]
        .assign(target=pd.Series(asked, index=comparisons.index, dtype=object))
        .explode("target", ignore_index=True)
        .dropna(subset="target")
    )
    result = result.astype({"target": float}).assign(power=power)
    levels = {"": alpha, "_family": alpha / max(1, family or len(comparisons))}
    for ending, level in levels.items():
        result[f"alpha{ending}"], result[f"patients{ending}"] = level, np.nan
        for test, part in result.groupby("test"):
            with np.errstate(divide="ignore"):
                effect = part["target"].to_numpy() / part["sd_difference"].to_numpy()
            result.loc[part.index, f"patients{ending}"] = sample_size(effect, level, power, str(test))
    return result


def targets_of(metric: str, targets: Mapping[str, Sequence[float]] | None = None) -> tuple[float, ...]:
    """Differences to ask about a metric: its own in ``targets``, else ``TARGETS`` by its unit."""
    return tuple((targets or {}).get(metric, TARGETS.get(METRICS[metric].unit if metric in METRICS else "", ())))


def sample_size(effect: Any, alpha: float, power: float = POWER, test: str = "paired_t") -> np.ndarray:
    """Smallest number of patients with which a two-sided paired test at ``alpha`` has ``power``, for each ``effect``.

    ``effect`` is the true mean difference in standard deviations of the differences. Exact for the t test on normal
    differences (noncentral t); the Wilcoxon test needs pi / 3 times as many on normal
    differences (its asymptotic relative efficiency), fewer where tails are heavier; the permutation test of the mean
    as many as the t test, asymptotically. Never below the number whose smallest possible p is under ``alpha``. NaN
    where ``effect`` is.
    """
    effect = np.abs(np.asarray(effect, dtype=float))
    floor = float(np.floor(np.log2(2 / alpha)) + 1) if test in BY_SIGNS else 2.0
    result = np.full(effect.shape, np.nan)
    result[np.isinf(effect)] = floor
    at = np.isfinite(effect) & (effect > 0)
    if at.any():
        result[at] = _t_size(effect[at], alpha, power)
        result[at] = np.maximum(floor, np.ceil(result[at] / EFFICIENCY.get(test, 1.0) - 1e-9))
    return result


def _t_size(effect: np.ndarray, alpha: float, power: float) -> np.ndarray:
    """Smallest n of the two-sided one-sample t test, by bisection between 2 and twice the normal approximation."""
    z = stats.norm.isf(alpha / 2)
    normal = ((z + stats.norm.ppf(power)) / effect) ** 2
    low, high = np.full(effect.shape, 1.0), np.ceil(2 * normal + z**2 + 10)
    # Far beyond any study the normal approximation is exact to the patient and the noncentral t is not.
    large = normal > 1e6
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        count = np.maximum(middle, 2)
        # Only the right side counts: to be significant on the wrong one is no success.
        enough = stats.nct.sf(stats.t.isf(alpha / 2, count - 1), count - 1, effect * np.sqrt(count)) >= power
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return np.where(large, np.ceil(normal), high)
