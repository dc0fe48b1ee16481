"""Plan how many patients, and for methods how many seeds, would show a difference of a given size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.power import TTestPower

from benchmark.scoring.metrics import METRICS
from benchmark.stats.patients import outcomes
from benchmark.stats.seeds import Pair, components, model_runs, pair_runs

TARGETS: dict[str, tuple[float, ...]] = {"": (0.005, 0.01, 0.02), "mm": (0.5, 1.0, 2.0), "ml": (0.5, 1.0, 2.0)}
"""Differences to plan for, by a metric's unit: half a Dice point, one and two; or millimetres, or millilitres."""
POWER = 0.8
NEEDED = ("metric", "region", "model_a", "model_b", "test", "n_patients", "sd_difference")
PLAN = ("target", "patient", "seed", "patient_seed", "n_folds", "checkpoints")
EFFICIENCY = {"wilcoxon": 3 / np.pi}
"""Patients that the t test needs, relative to another test of the same power on normal differences (Pitman)."""
BY_SIGNS = ("wilcoxon", "permutation")
"""Tests whose smallest possible p is 2 / 2^n."""
SEEDS = (2, 3, 5, 10)
"""Numbers of seeds to plan for; smaller ones than the study has are left out."""
PLANS = 3
"""Numbers of seeds shown per plan."""
MOST = 2**20
"""Number of patients beyond which no number is called enough."""


def patients_needed(
    comparisons: pd.DataFrame,
    alpha: float = 0.05,
    targets: Mapping[str, Sequence[float]] | None = None,
    power: float = POWER,
    family: int | Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Return how many patients the declared test would need to show a given true mean difference, per compared pair.

    ``comparisons`` is a result of ``compare``; ``targets`` maps a metric to the differences to plan for, in its unit
    (else ``TARGETS``). One row per comparison and target, with the columns NEEDED, target, power, alpha, patients,
    alpha_family and patients_family. ``patients`` is for a pair that is tested alone; ``patients_family`` for the worst
    case of Holm's correction, in which the pair has to reach alpha / m in a family of m: ``family``, perhaps one per
    metric, or all rows of ``comparisons``. Both depend on the observed SD of the differences, whose own relative error
    on n patients is about 1 / sqrt(2 n). NaN where there is no SD. For the test ``two_level`` they hold for these
    checkpoints alone, since more patients do not average out the luck of training (``methods_needed``).
    """
    asked = [targets_of(metric, targets) for metric in comparisons["metric"]]
    result = (
        comparisons[[*NEEDED]]
        .assign(target=pd.Series(asked, index=comparisons.index, dtype=object))
        .explode("target", ignore_index=True)
        .dropna(subset="target")
    )
    result = result.astype({"target": float}).assign(power=power, alpha=alpha)
    result["alpha_family"] = alpha / sizes(result["metric"], family or len(comparisons))
    for ending in ("", "_family"):
        result[f"patients{ending}"] = np.nan
        for test, level in set(zip(result["test"], result[f"alpha{ending}"], strict=True)):
            at = (result["test"] == test) & (result[f"alpha{ending}"] == level)
            with np.errstate(divide="ignore"):
                effect = (result["target"] / result["sd_difference"])[at].to_numpy()
            result.loc[at, f"patients{ending}"] = sample_size(effect, float(level), power, str(test))
    return result


def sizes(metrics: pd.Series, family: int | Mapping[str, int]) -> pd.Series:
    """Return the number of comparisons in the family of each metric, at least 1."""
    found = metrics.map(dict(family)) if isinstance(family, Mapping) else pd.Series(family, metrics.index)
    return found.fillna(1).clip(lower=1)


def targets_of(metric: str, targets: Mapping[str, Sequence[float]] | None = None) -> tuple[float, ...]:
    """Return the differences to plan for: the metric's own in ``targets``, else ``TARGETS`` by its unit."""
    return tuple((targets or {}).get(metric, TARGETS.get(METRICS[metric].unit if metric in METRICS else "", ())))


def sample_size(effect: Any, alpha: float, power: float = POWER, test: str = "paired_t") -> np.ndarray:
    """Return the smallest number of patients with which a two-sided paired test has ``power``, for each ``effect``.

    ``effect`` is the true mean difference in standard deviations of the differences. Exact for the t test on normal
    differences (noncentral t). The Wilcoxon test needs pi / 3 times as many on normal
    differences (its asymptotic relative efficiency), fewer where tails are heavier; the permutation test of the mean
    asymptotically as many as the t test. Never fewer than the number whose smallest possible p is below ``alpha``,
    which is that of equal signs for every test where the differences have no spread. NaN where ``effect`` is.
    """
    effect = np.abs(np.asarray(effect, dtype=float))
    signs = _by_signs(alpha)
    floor = signs if test in BY_SIGNS else 2.0
    result = np.full(effect.shape, np.nan)
    result[np.isinf(effect)] = signs
    at = np.isfinite(effect) & (effect > 0)
    if at.any():
        result[at] = _t_size(effect[at], alpha, power)
        result[at] = np.maximum(floor, np.ceil(result[at] / EFFICIENCY.get(test, 1.0) - 1e-9))
    return result


def _by_signs(alpha: float) -> float:
    """Return the smallest number n of equal signs whose p, 2 / 2^n, is below ``alpha``."""
    return float(np.floor(np.log2(2 / alpha)) + 1)


def _t_size(effect: np.ndarray, alpha: float, power: float) -> np.ndarray:
    """Return the smallest n of the two-sided one-sample t test."""
    z = stats.norm.isf(alpha / 2)
    normal = ((z + stats.norm.ppf(power)) / effect) ** 2

    def enough(count: np.ndarray) -> np.ndarray:
        # Only the right side counts: to be significant on the wrong one is no success.
        found = TTestPower().power(effect, np.maximum(count, 2), alpha / 2, alternative="larger")
        return np.asarray(found >= power)

    size = _smallest(np.ones(effect.shape), np.ceil(2 * normal + z**2 + 10), enough)
    # Far beyond any study the normal approximation is exact to the patient and the noncentral t is not.
    return np.where(normal > 1e6, np.ceil(normal), size)


def _smallest(low: np.ndarray, high: np.ndarray, enough: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the smallest whole number above ``low`` that is ``enough``, for each row; ``high`` where none below is."""
    # By bisection of all rows at once: TTestPower.solve_power takes one row at a time, 20 times as long.
    while (high - low > 1).any():
        # By the logarithm: most sizes are far below the bound.
        middle = np.clip(np.floor(np.sqrt(low * high)), low + 1, np.maximum(high - 1, low + 1))
        found = enough(middle)
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return high


def methods_needed(
    scores: pd.DataFrame,
    metrics: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    alpha: float = 0.05,
    power: float = POWER,
    targets: Mapping[str, Sequence[float]] | None = None,
    family: int | Mapping[str, int] = 1,
) -> pd.DataFrame:
    """Return how many patients the two-level test would need to show a true mean difference of methods, per seeds.

    One row per metric, region, pair, number of seeds and target: metric, region, model_a, model_b, n_patients,
    n_folds (folds whose patients were tested apart), seeds, patient, seed, patient_seed (variances by
    ``seeds.components``), target, power, alpha, patients, alpha_family, patients_family, the last two as in
    ``patients_needed``. ``patients`` is infinite where no number of patients is enough with so few seeds, and the row
    is absent where a pair's variances cannot be estimated. The plan is of as many folds as the study has, in a
    partition of its own for each seed. Variances from a few seeds are rough: with 5 degrees of freedom, that of
    trainings is off by a factor of 2 or more in one case of four.
    """
    parts: list[dict[str, Any]] = []
    for metric, region, rows, values in outcomes(scores, metrics):
        found = model_runs(rows, values.index)
        seeds = rows.groupby("model")["seed"].nunique()
        for a, b in pairs:
            if a in found and b in found:
                base = {"metric": metric, "region": region, "model_a": a, "model_b": b}
                own = pair_runs(found[a], found[b])
                parts += _plans(own, int(max(seeds[a], seeds[b])), targets_of(metric, targets), base)
    columns = ("metric", "region", "model_a", "model_b", "n_patients", "n_folds", "seeds", "patient", "seed")
    table = pd.DataFrame(parts, columns=[*columns, "patient_seed", "target", "checkpoints"])
    table = table.assign(power=power, alpha=alpha, patients=method_sample_size(table, alpha, power))
    table["alpha_family"], table["patients_family"] = alpha / sizes(table["metric"], family), np.nan
    for level in set(table["alpha_family"]):
        at = table["alpha_family"] == level
        table.loc[at, "patients_family"] = method_sample_size(table[at], float(level), power)
    return table.drop(columns="checkpoints")


def method_sample_size(plans: pd.DataFrame, alpha: float = 0.05, power: float = POWER) -> np.ndarray:
    """Return the smallest number of patients with which the two-level test has ``power``, per row; infinite if none.

    ``plans`` has the columns target; patient, seed and patient_seed (``seeds.Components``); and checkpoints, the runs
    of a model that test each patient, one in each of as many partitions of the patients into n_folds.
    """
    spread = plans[["patient", "seed", "patient_seed"]].sum(axis=1).to_numpy(float)
    # Without any spread what is left are the signs, as in ``seeds.Estimate``.
    fewest = np.where(spread > 0, 2.0, _by_signs(alpha))
    size = _smallest(
        np.maximum(fewest, 2 * plans["n_folds"].to_numpy(float)) - 1.0,
        np.full(len(plans), float(MOST)),
        lambda patients: method_power(plans, patients, alpha) >= power,
    )
    return np.where(size >= MOST, np.inf, size)


def method_power(plans: pd.DataFrame, patients: np.ndarray, alpha: float) -> np.ndarray:
    """Return the chance that the two-level test shows the true target on the right side, for normal scores.

    With s runs of a model on each of n patients, and k folds of each seed, the mean difference has the variance
    patient / n + seed / (k s) + patient_seed / (n s). The test requires it to exceed the square root of
    max(0, S - q (V - r M) - n r M / (k s)) t(n - 1)^2 / n + V t(k s - 1)^2 / (k s), as in ``seeds.estimate``: S, whose
    mean is patient + q seed + patient_seed / s, is estimated from n patients, M, whose mean is patient_seed, from
    n (s - 1) - (k s - 1) residuals, and V, whose mean is seed + r patient_seed, from k s training sets, each times
    chi-squared over its degrees of freedom, over which the chance is averaged (V in S has its mean).
    """
    target, patient, seed, patient_seed, folds, checkpoints = (plans[name].to_numpy(float) for name in PLAN)
    runs = folds * checkpoints
    few, free = runs - 1, patients * (checkpoints - 1)
    extra = few / free
    mixed = patients / (patients - 1) * (1 / checkpoints - 1 / runs) * seed
    rest = patient_seed * extra * patients / runs
    spread, of_spread = _chi_squared(patients - 1, 7)
    noise, of_noise = _chi_squared(np.maximum(1, free - few), 3)
    a = (patient + mixed + patient_seed / checkpoints)[:, None, None] * spread[:, :, None]
    a = np.maximum(a - mixed[:, None, None] - rest[:, None, None] * noise[:, None, :], 0)
    a *= (special.stdtrit(patients - 1, alpha / 2) ** 2 / patients)[:, None, None]
    # Quantiles where a normal approximation would not do.
    degrees, which = np.unique(few, return_inverse=True)
    quantiles = 2 * special.gammaincinv(degrees[:, None] / 2, (np.arange(15) + 0.5) / 15) / degrees[:, None]
    luck = (seed + patient_seed * extra) / runs
    b = quantiles[which] * (luck * special.stdtrit(few, alpha / 2) ** 2)[:, None]
    needed = np.sqrt(a[..., None] + b[:, None, None, :])
    error = np.sqrt(patient / patients + seed / runs + patient_seed / (patients * checkpoints))
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (target[:, None, None, None] - needed) / error[:, None, None, None]
    return np.asarray(np.einsum("rsn,s,n->r", special.ndtr(away).mean(axis=3), of_spread, of_noise))


def _chi_squared(degrees: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of chi-squared over its degrees of freedom (rows, nodes) and their weights (Wilson and Hilferty 1931)."""
    z, weights = np.polynomial.hermite_e.hermegauss(count)
    share = 2 / (9 * degrees[:, None])
    return np.maximum(1 - share + z * np.sqrt(share), 0) ** 3, weights / weights.sum()


def _plans(own: Pair, seeds: int, targets: Sequence[float], base: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one pair before sizes are planned; none where its variances cannot be estimated."""
    parts = components(own)
    if np.isnan(parts.seed):
        return []
    # A patient is tested once under each seed, or by every fold where all folds test the same patients.
    tests = np.round(own.first.notna().sum(axis=1).mean())
    folds = max(1, round(own.first.shape[1] / tests))
    base |= {"n_patients": len(own.first), "n_folds": folds, **parts._asdict()}
    return [
        {**base, "seeds": count, "checkpoints": max(2, round(tests / seeds * count)), "target": target}
        for count in [count for count in SEEDS if count >= seeds][:PLANS]
        for target in targets
    ]
