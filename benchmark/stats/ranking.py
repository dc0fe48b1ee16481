"""Rank several models over patients: Friedman's and Nemenyi's tests, a BraTS-style ranking and its stability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.base.records import InputError
from benchmark.stats.intervals import CONFIDENCE, resampled_means
from benchmark.stats.patients import check_metrics, outcomes

RANKING_COLUMNS = (
    *("rank", "model", "mean_rank", "n_patients", "rank_low", "rank_high", "p_first", "patients_first"),
    "kendall_tau",
)


class CriticalDifference(NamedTuple):
    """Content of a critical-difference diagram (Demsar 2006).

    ``ranks`` are mean ranks by model, best first; ``critical`` is the difference from which two of them differ at
    alpha; ``groups`` are the longest runs of neighbours that do not, joined by a bar in the diagram; ``friedman_p`` is
    the p of Friedman's test.
    """

    ranks: pd.Series
    critical: float
    groups: list[tuple[str, ...]]
    friedman_p: float


def friedman(values: np.ndarray) -> tuple[float, float]:
    """Return chi-squared and p of Friedman's test of models (columns) over patients (rows).

    NaN below three models or two patients. Values that differ by rounding alone are ties; they share ranks, and
    chi-squared is corrected for them.
    """
    values = np.round(values, 12)
    if values.shape[1] < 3 or len(values) < 2:
        return float("nan"), float("nan")
    if (np.ptp(values, axis=1) == 0).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*values.T)
    return float(found.statistic), float(found.pvalue)


def nemenyi(values: pd.DataFrame, higher: bool = True, alpha: float = 0.05) -> CriticalDifference:
    """Return mean ranks of models (columns) over patients (rows), 1 the best, and which differ by Nemenyi's test.

    Two models differ where their mean ranks are q sqrt(k (k + 1) / (6 n)) or more apart, with q the studentised range
    at ``alpha`` over sqrt 2. The test keeps alpha over all pairs of these models on one metric and region; ties share
    ranks and are not corrected for, which makes it conservative.

    Raises:
        InputError: for fewer than two models or no patient.
    """
    count, models = values.shape
    if models < 2 or count < 1:
        raise InputError(f"ranks need at least two models and one patient, found {models} models and {count} patients.")
    ranks = pd.Series(_ranks(values.to_numpy(), higher).mean(axis=0), index=values.columns).sort_values(kind="stable")
    critical = critical_difference(models, count, alpha)
    return CriticalDifference(ranks, critical, _groups(ranks, critical), friedman(values.to_numpy())[1])


def critical_difference(models: int, count: int, alpha: float = 0.05) -> float:
    """Return Nemenyi's critical difference of the mean ranks of ``models`` over ``count`` patients."""
    q = stats.studentized_range.isf(alpha, models, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(models * (models + 1) / (6 * count)))


def _groups(ranks: pd.Series, critical: float) -> list[tuple[str, ...]]:
    """Return the longest runs of neighbours in sorted ``ranks`` whose ends are less than ``critical`` apart."""
    found: list[tuple[str, ...]] = []
    reached = 0
    for start, rank in enumerate(ranks):
        end = int((ranks < rank + critical).sum())
        if end > max(reached, start + 1):
            found.append(tuple(map(str, ranks.index[start:end])))
            reached = end
    return found


def patient_ranks(scores: pd.DataFrame, metrics: Sequence[str], better: Mapping[str, str]) -> pd.DataFrame:
    """Rank models (columns) per patient (rows), averaged over regions and ``metrics``, as the BraTS challenge does.

    Models are ranked on each patient, region and metric, 1 the best and ties sharing ranks; a patient's ranks are then
    averaged. Ranks have no unit, so that Dice and millimetres weigh the same; they also hide how large a difference is,
    and several metrics of one kind outvote one of another.

    Raises:
        InputError: if a metric has no scores, or models were scored on different cases.
    """
    check_metrics(scores, metrics, better)
    parts = []
    for metric, _, _, values in outcomes(scores, metrics):
        ranks = _ranks(values.to_numpy(), better[metric] == "higher")
        parts.append(pd.DataFrame(ranks, index=values.index, columns=values.columns))
    return pd.concat(parts).groupby(level=0, sort=False).mean()


def rank_models(ranks: pd.DataFrame) -> pd.DataFrame:
    """Order models by their mean of ``patient_ranks``, with the stability of the order when patients are resampled.

    One row per model, best first, as RANKING_COLUMNS: final rank (ties share the better one), mean rank, the interval
    that holds 95% of its ranks in resamples of patients, the share of resamples in which it is first (ties shared),
    the share of patients on whom it is first, and the mean of Kendall's tau-b between the resampled orders and this one
    (one value for the whole ranking). It is 1 if all resamples give this order. Resamples resemble the sample, so an
    order by chance alone does not reach 0: for four equal models on 30 patients it was 0.55 on average, and 0.76 or
    more once in twenty. Resamples of one patient are that patient: its ranks may be any, and the shares are NaN.
    """
    table = ranks.to_numpy()
    mean = np.round(table.mean(axis=0), 12)
    final, drawn = stats.rankdata(mean, method="min"), resampled_ranks(ranks).to_numpy()
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0, method="nearest")
    taus = _tau(mean, drawn)
    tau, first = np.nanmean(taus) if np.isfinite(taus).any() else np.nan, _first(drawn)
    if len(table) < 2:
        low, high, tau = np.ones(len(mean)), np.full(len(mean), len(mean)), np.nan
        first = np.full(len(mean), np.nan)
    result = pd.DataFrame(
        {"rank": final.astype(int), "model": ranks.columns, "mean_rank": mean, "n_patients": len(ranks),
         "rank_low": low.astype(int), "rank_high": high.astype(int), "p_first": first,
         "patients_first": _first(table), "kendall_tau": tau}
    )  # fmt: skip
    return result.sort_values("mean_rank", kind="stable", ignore_index=True)


def resampled_ranks(ranks: pd.DataFrame) -> pd.DataFrame:
    """Return each model's final rank (columns) in ``RESAMPLES`` seeded resamples of patients; ties share the best."""
    means = np.round(resampled_means(ranks.to_numpy().T), 12)
    return pd.DataFrame(stats.rankdata(means.T, method="min", axis=1), columns=ranks.columns).astype(int)


def _ranks(values: np.ndarray, higher: bool) -> np.ndarray:
    """Rank the columns within each row, 1 the best; values that differ by rounding alone share ranks."""
    rounded = np.round(values, 12)
    return np.asarray(stats.rankdata(-rounded if higher else rounded, axis=1))


def _first(ranks: np.ndarray) -> np.ndarray:
    """Return the share of rows in which each column has the lowest rank, divided among those that share it."""
    best = ranks == ranks.min(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def _tau(mean: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of one order of models with each row of ``drawn``; NaN where either is all tied."""
    first, second = np.triu_indices(len(mean), 1)
    own = np.sign(mean[first] - mean[second])
    signs = np.sign(drawn[:, first] - drawn[:, second])
    untied = np.sqrt((own != 0).sum() * (signs != 0).sum(axis=1))
    return np.asarray(np.divide(signs @ own, untied, out=np.full(len(drawn), np.nan), where=untied > 0))
