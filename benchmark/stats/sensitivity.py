"""Ask each declared comparison by other methods too: a mixed model, a Bayesian test, and intervals of effect sizes.

None of these decides a verdict. Where they point elsewhere than the declared test, the answer depends on the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from benchmark.stats.compare import declared_pairs
from benchmark.stats.intervals import BOOTSTRAP_SEED, CONFIDENCE
from benchmark.stats.paired import cohen_dz, margin_of, paired_differences, rank_biserial
from benchmark.stats.patients import outcomes, with_models
from benchmark.stats.seeds import model_runs, pair_runs, set_means

SENSITIVITY_COLUMNS = (
    *("metric", "region", "model_a", "model_b", "n_patients", "n_sets", "mixed_difference", "mixed_low", "mixed_high"),
    *("mixed_p", "margin", "p_a_better", "p_within", "p_b_better", "effect_size", "effect_low", "effect_high"),
    *("d_z", "d_z_low", "d_z_high"),
)
"""Columns of every ``sensitivity.csv``, in order. Differences and effect sizes are model a minus model b."""
PRIOR = 0.5
"""Weight of the one imagined patient without a difference, as in baycomp; a real patient has 1."""
DRAWS = 5_000
"""Draws from the posterior: a probability of 0.5 is then known to 0.007, one standard error."""
_BLOCK = 1_000_000
_TAIL = (1 - CONFIDENCE) / 2


class Mixed(NamedTuple):
    """Mean of a mixed model with its 95% interval, p and variances; NaN where there is no second training set."""

    mean: float
    low: float
    high: float
    p: float
    patient: float
    training_set: float
    rest: float


def sensitivity(
    scores: pd.DataFrame, declared: Mapping[str, Any], better: Mapping[str, str], models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Compare every declared pair whose models have scores by ``mixed_model`` and ``signed_rank``, with effect sizes.

    It is done for the first of the declared metrics, the primary one. Arguments are those of ``compare.compare``; the
    result has SENSITIVITY_COLUMNS. The mixed model is of methods, over patients and training sets; all else is over
    patients, of these trained networks. ``p_a_better`` is the probability that a is better by more than the margin, or
    at all where none is declared.
    """
    table, found = with_models(scores), []
    pairs = declared_pairs(list(models or pd.unique(table["model"])), declared)
    for metric, region, rows, values in outcomes(table, declared["metrics"][:1]):
        runs, margin = model_runs(rows, values.index), margin_of(declared.get("margin"), metric)
        for a, b in (pair for pair in pairs if set(pair) <= set(values)):
            differences, by_set = paired_differences(values[a], values[b]).to_numpy(), pair_runs(runs[a], runs[b])
            mixed = mixed_model(by_set.differences())
            sides = signed_rank(differences if better[metric] == "higher" else -differences, margin)
            row = {"metric": metric, "region": region, "model_a": a, "model_b": b, "n_patients": len(values)}
            row |= {"n_sets": len(set_means(by_set)), "margin": margin}
            row |= dict(zip(("mixed_difference", "mixed_low", "mixed_high", "mixed_p"), mixed[:4], strict=True))
            row |= dict(zip(("p_b_better", "p_within", "p_a_better"), sides, strict=True))
            row |= dict(zip(("effect_low", "effect_high"), rank_biserial_interval(differences), strict=True))
            row |= dict(zip(("d_z_low", "d_z_high"), cohen_dz_interval(differences), strict=True))
            found.append(row | {"effect_size": float(rank_biserial(differences)), "d_z": float(cohen_dz(differences))})
    return pd.DataFrame(found, columns=[*SENSITIVITY_COLUMNS])


def mixed_model(values: np.ndarray) -> Mixed:
    """Fit values (patients, training sets), NaN where not tested, by REML with crossed random patients and sets.

    value = mean + patient + set + rest. The interval is Student's t with one degree of freedom less than there are
    sets, the containment rule of SAS; the normal interval that most programs print takes the variances as known. Where
    no patient was tested twice, what is left of a patient is in the rest.
    """
    values = values[~np.isnan(values).all(axis=1)][:, ~np.isnan(values).all(axis=0)]
    if values.shape[1] < 2 or len(values) < 3 or np.nanmax(values) - np.nanmin(values) == 0:
        mean = float(np.nanmean(values)) if values.size else np.nan
        return Mixed(mean, *[np.nan] * 6)
    repeated = (~np.isnan(values)).sum(axis=1).max() > 1
    bounds = [(0.0, 1e3 if repeated else 0.0), (0.0, 1e3)]
    starts = [(float(repeated), start) for start in (0.1, 1.0)]
    fits = [
        optimize.minimize(lambda sds: _reml(values, sds)[0], start, bounds=bounds, method="L-BFGS-B")
        for start in starts
    ]
    best = min(fits, key=lambda fit: fit.fun).x
    _, mean, variance, rest = _reml(values, best)
    error, df = np.sqrt(variance), values.shape[1] - 1
    half = special.stdtrit(df, 1 - _TAIL) * error
    p = 2 * stats.t.sf(abs(mean) / error, df)
    return Mixed(mean, mean - half, mean + half, float(p), rest * best[0] ** 2, rest * best[1] ** 2, rest)


def _reml(values: np.ndarray, sds: Sequence[float]) -> tuple[float, float, float, float]:
    """Return -2 log of the restricted likelihood, the mean, its variance and the residual variance.

    ``sds`` are those of patients and sets in residual standard deviations. The covariance of N values is inverted
    patient by patient, then set by set (Woodbury), so that no matrix is larger than sets x sets.
    """
    there = ~np.isnan(values)
    filled, tests, count = np.where(there, values, 0.0), there.sum(axis=1), int(there.sum())
    by_patient, by_set = sds[0] ** 2, sds[1] ** 2
    shrink = by_patient / (1 + by_patient * tests)
    # Columns: the mean's ones, and the values.
    whole = np.stack([tests, filled.sum(axis=1)], axis=1)
    plain = np.array([[count, filled.sum()], [filled.sum(), (filled**2).sum()]]) - whole.T @ (shrink[:, None] * whole)
    sets = np.stack([there.sum(axis=0), filled.sum(axis=0)], axis=1) - there.T @ (shrink[:, None] * whole)
    crossed = np.diag(there.sum(axis=0)) - there.T @ (shrink[:, None] * there)
    inner = np.eye(len(crossed)) + by_set * crossed
    inverse = plain - by_set * sets.T @ np.linalg.solve(inner, sets)
    mean = inverse[0, 1] / inverse[0, 0]
    squares = max(inverse[1, 1] - mean * inverse[0, 1], 1e-300)
    rest = squares / (count - 1)
    determinant = np.log1p(by_patient * tests).sum() + np.linalg.slogdet(inner)[1]
    return (count - 1) * np.log(rest) + determinant + np.log(inverse[0, 0]), mean, rest / inverse[0, 0], rest


def signed_rank(differences: np.ndarray, margin: float) -> tuple[float, float, float]:
    """Return the probabilities that differences are typically below -margin, within it, or above it (they add to 1).

    The Bayesian signed-rank test (Benavoli et al. 2014, 2017): the Dirichlet process puts random weights on the
    patients and on one imagined patient without a difference; each draw is won by the side with most weight of pairs of
    patients, by their mean difference. Seeded. With no margin (NaN) the middle is empty.
    """
    values = np.sort(np.append(differences, 0.0))
    prior = np.ones(len(values))
    prior[np.searchsorted(values, 0.0)] = PRIOR
    rope, random = 0.0 if np.isnan(margin) else margin, np.random.default_rng(BOOTSTRAP_SEED)
    won, step = np.zeros(3), max(1, _BLOCK // len(values))
    for at in range(0, DRAWS, step):
        weights = random.standard_gamma(prior[:, None], (len(values), min(step, DRAWS - at)))
        weights /= weights.sum(axis=0)
        sums = np.concatenate([np.zeros((1, weights.shape[1])), weights.cumsum(axis=0)])
        below = _weight_below(values, weights, sums, -2 * rope)
        above = 1 - _weight_below(values, weights, sums, 2 * rope)
        within = 1 - above - below if rope else np.full_like(above, -1.0)
        won += np.bincount(np.stack([below, within, above]).argmax(axis=0), minlength=3)
    low, middle, high = won / DRAWS
    return float(low), float(middle), float(high)


def _weight_below(values: np.ndarray, weights: np.ndarray, sums: np.ndarray, bound: float) -> np.ndarray:
    """Weight, per draw (column), of the pairs of sorted ``values`` whose sum is below ``bound``; ties count half."""
    rounded, partners = np.round(values, 9), np.round(bound - values, 9)
    first, last = (np.searchsorted(rounded, partners, side) for side in ("left", "right"))
    below = np.einsum("ij,ij->j", weights, sums[first])
    tied = first != last
    if tied.any():
        below += np.einsum("ij,ij->j", weights[tied], sums[last[tied]] - sums[first[tied]]) / 2
    return np.asarray(below)


def cohen_dz_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of d_z, from the noncentral t distribution (Cumming and Finch 2001).

    It takes the differences as normal. NaN where d_z is undefined, or too large for the distribution's precision.
    """
    effect, count = float(cohen_dz(differences)), len(differences)
    if not np.isfinite(effect) or np.ptp(differences) == 0:
        return np.nan, np.nan
    t = effect * np.sqrt(count)
    # Five standard errors of t; further out the distribution has no value in floating point.
    reach = 5 * np.sqrt(1 + t**2 / (2 * (count - 1)))
    ends = stats.nct.cdf(t, count - 1, [t - reach, t + reach])
    if not (ends[0] > 1 - _TAIL and ends[1] < _TAIL):
        return np.nan, np.nan
    try:
        low, high = (
            optimize.brentq(lambda shift, share=share: stats.nct.cdf(t, count - 1, shift) - share, t - reach, t + reach)
            for share in (1 - _TAIL, _TAIL)
        )
    except ValueError:
        # Of two or three patients who differ alike, the distribution has values at both ends and none between.
        return np.nan, np.nan
    return low / np.sqrt(count), high / np.sqrt(count)


def rank_biserial_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the rank-biserial correlation; NaN with fewer than two non-zero differences.

    The correlation is the mean sign of sums of two patients' differences: a U statistic, whose variance follows from
    how far single patients' mean signs differ (Hoeffding 1948). The interval is Student's t after Fisher's transform.
    (The R package effectsize takes the variance that equal models have: in simulations its 95% interval missed a
    correlation of 0.9 in a quarter of samples of 18 patients, and this one in 4%.)

    Where the sums of all pairs of patients have one sign (all differences have it, or all but the smallest), that
    variance is 0, which says nothing of the next patient: the interval is then the bound of n equal signs.
    """
    values = differences[differences != 0]
    effect, n = float(rank_biserial(values)), len(values)
    if n < 2:
        return np.nan, np.nan
    own = (np.sign(values[:, None] + values).sum(axis=1) - np.sign(values)) / (n - 1)
    if (own == own[0]).all() and abs(own[0]) == 1:
        bound = 2 * _TAIL ** (1 / n) - 1
        return (bound, 1.0) if own[0] > 0 else (-1.0, -bound)
    variance = (4 * (n - 2) * own.var(ddof=1) + 2 * (1 - own.mean() ** 2)) / (n * (n - 1))
    half = special.stdtrit(n - 1, 1 - _TAIL) * np.sqrt(variance) / (1 - effect**2)
    return float(np.tanh(np.arctanh(effect) - half)), float(np.tanh(np.arctanh(effect) + half))
