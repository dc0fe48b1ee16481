"""Where the variance of methods' differences comes from to the patients and seeds that would show a small one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from benchmark.stats.patients import pivot_patients, with_models
from benchmark.stats.power import POWER, targets_of
from benchmark.stats.seeds import Block, estimate, model_blocks, patient_differences

SEEDS = (2, 3, 5, 10)
"""Seeds that are planned for, from the number at hand on."""
PLANS = 3
"""Numbers of seeds in a plan."""
MOST = 2**20
"""Patients from which on no number of them is said to be enough."""


def methods_needed(
    scores: pd.DataFrame,
    metrics: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    alpha: float = 0.05,
    power: float = POWER,
    targets: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """Patients that the two-level test would need to show a true mean difference of methods, by the number of seeds.

    One row per metric, region, pair, number of seeds and target: metric, region, model_a, model_b, n_patients,
    n_folds (folds whose patients were tested apart), seeds, patient, seed, patient_seed (variances by
    ``seeds.estimate``), target, power, alpha, patients. ``patients`` is infinite where no number of them is enough with
    so few seeds, and the row is absent where a pair's variances cannot be estimated. Folds are as at hand. The
    variances of a few seeds are themselves rough: with 6 degrees of freedom that of checkpoints is off by a factor of
    2 or more once in four times.
    """
    rows = with_models(scores)
    parts: list[dict[str, Any]] = []
    for metric in metrics:
        for region, own in rows[rows["metric"] == metric].groupby("region", sort=False):
            patients = pivot_patients(own, metric, str(region)).index
            found = model_blocks(own, patients)
            seeds = own.groupby("model")["seed"].nunique()
            for a, b in pairs:
                if a in found and b in found:
                    base = {"metric": metric, "region": region, "model_a": a, "model_b": b}
                    parts += _plans(found[a], found[b], int(max(seeds[a], seeds[b])), targets_of(metric, targets), base)
    columns = ("metric", "region", "model_a", "model_b", "n_patients", "n_folds", "seeds", "patient", "seed")
    table = pd.DataFrame(parts, columns=[*columns, "patient_seed", "target", "checkpoints"])
    size = method_sample_size(
        *(table[name].to_numpy(float) for name in ("target", "patient", "seed", "patient_seed")),
        folds=table["n_folds"].to_numpy(int), checkpoints=table["checkpoints"].to_numpy(int), alpha=alpha, power=power,
    )  # fmt: skip
    return table.drop(columns="checkpoints").assign(power=power, alpha=alpha, patients=size)


def method_sample_size(
    target: np.ndarray,
    patient: np.ndarray,
    seed: np.ndarray,
    patient_seed: np.ndarray,
    *,
    folds: np.ndarray,
    checkpoints: np.ndarray,
    alpha: float = 0.05,
    power: float = POWER,
) -> np.ndarray:
    """Smallest number of patients with which the two-level test has ``power``, for each row; infinite where none has.

    ``patient``, ``seed`` and ``patient_seed`` are ``seeds.Components`` and ``checkpoints`` are those of a model in each
    of ``folds`` blocks of equally many patients.
    """
    low, high = np.maximum(2, 2 * folds) - 1, np.full(len(target), MOST)
    while (high - low > 1).any():
        # By the logarithm: most plans are far below the most.
        middle = np.clip(np.sqrt(low * high).astype(int), low + 1, np.maximum(high - 1, low + 1))
        enough = method_power(middle, target, patient, seed, patient_seed, folds, checkpoints, alpha) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(high >= MOST, np.inf, high)


def method_power(
    patients: np.ndarray, target: np.ndarray, patient: np.ndarray, seed: np.ndarray, patient_seed: np.ndarray,
    folds: np.ndarray, checkpoints: np.ndarray, alpha: float,
) -> np.ndarray:  # fmt: skip
    """Chance that the two-level test shows a true ``target`` on the right side, for normal scores.

    With k checkpoints of a model in a fold of n / folds patients the mean difference has the variance
    patient / n + 2 V / (folds k), where 2 V = seed + patient_seed folds / n. The test asks it to be above the square
    root of max(0, S - M / k) t(n - 1)^2 / n + 2 V t(2 folds (k - 1))^2 / (folds k), as in ``seeds.estimate``: S is
    estimated from n patients, M from their 2 (n - folds) (k - 1) residuals and V from the checkpoints, each times
    chi-squared over its degrees of freedom. The chance is averaged over all three.
    """
    few, residuals = 2 * folds * (checkpoints - 1), 2 * (patients - folds) * (checkpoints - 1)
    rest = patient_seed / checkpoints
    luck = (seed + patient_seed * folds / patients) / (folds * checkpoints)
    spread, of_spread = _chi_squared(patients - 1, 7)
    noise, of_noise = _chi_squared(residuals, 3)
    a = (patient + rest)[:, None, None] * spread[:, :, None] - rest[:, None, None] * noise[:, None, :]
    a = np.maximum(a, 0) * (special.stdtrit(patients - 1, alpha / 2) ** 2 / patients)[:, None, None]
    # Quantiles where a normal approximation would not do.
    degrees, which = np.unique(few, return_inverse=True)
    quantiles = 2 * special.gammaincinv(degrees[:, None] / 2, (np.arange(15) + 0.5) / 15) / degrees[:, None]
    b = quantiles[which] * (luck * special.stdtrit(few, alpha / 2) ** 2)[:, None]
    needed = np.sqrt(a[..., None] + b[:, None, None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (target[:, None, None, None] - needed) / np.sqrt(patient / patients + luck)[:, None, None, None]
    return np.einsum("rsn,s,n->r", special.ndtr(away).mean(axis=3), of_spread, of_noise)


def _chi_squared(degrees: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of chi-squared over its degrees of freedom (rows, nodes) and their weights (Wilson and Hilferty 1931)."""
    z, weights = np.polynomial.hermite_e.hermegauss(count)
    share = 2 / (9 * degrees[:, None])
    return np.maximum(1 - share + z * np.sqrt(share), 0) ** 3, weights / weights.sum()


def _plans(
    first: list[Block], second: list[Block], seeds: int, targets: Sequence[float], base: dict[str, Any]
) -> list[dict[str, Any]]:
    """Rows of one pair, before anything is planned; none where its variances cannot be estimated."""
    differences = patient_differences(first, second)
    found, parts = estimate(first, second, differences)
    if not found.seeds_df:
        return []
    most = max(block.values.shape[1] for block in (*first, *second))
    base |= {"n_patients": len(differences), "n_folds": len(first), **parts._asdict()}
    return [
        {**base, "seeds": count, "checkpoints": round(most / seeds * count), "target": target}
        for count in [count for count in SEEDS if count >= seeds][:PLANS]
        for target in targets
    ]
