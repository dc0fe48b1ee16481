"""Scores to comparisons: patient-level summaries, intervals and paired tests, as pure functions on tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.patients import (
    patient_means,
    patient_values,
    pivot_patients,
    seed_sd,
    shared_patients,
    with_models,
)
from benchmark.records import InputError, model_name

__all__ = ["compare", "declared_pairs", "mean_interval", "patient_values", "shared_patients", "summarise"]

BOOTSTRAP_SEED = 20260
RESAMPLES = 9999
CONFIDENCE = 0.95
COMPARISON_COLUMNS = (
    *("metric", "region", "model_a", "model_b", "n_patients", "mean_a", "sd_a", "mean_b", "sd_b"),
    *("difference", "ci_low", "ci_high", "test", "statistic", "p", "p_holm", "significant", "effect_size"),
    *("n_ties", "n_empty", "seed_sd_a", "seed_sd_b", "friedman_p", "p_smallest", "verdict", "note"),
)
"""Columns of every ``comparisons.csv``, in order. Differences and effect sizes are model a minus model b."""


class Outcome(NamedTuple):
    """What a paired test says: its statistic, its p, and the smallest p it could have given on as many patients."""

    statistic: float
    p: float
    p_smallest: float


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% bootstrap interval (BCa, seeded) of the mean along the last axis, for each row of ``values``.

    Where all values of a row are equal BCa is undefined and the interval is that value; with fewer than two values
    it is NaN.
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    if values.shape[-1] < 2:
        return low, high
    constant = np.ptp(values, axis=-1) == 0
    low[constant] = high[constant] = values[constant, 0]
    if not constant.all():
        varied = values[~constant]
        # A batch bounds memory: resamples x rows x patients doubles are alive at once.
        batch = max(1, min(RESAMPLES, 20_000_000 // varied.size))
        interval = stats.bootstrap(
            (varied,), np.mean, axis=-1, n_resamples=RESAMPLES, batch=batch, confidence_level=CONFIDENCE,
            method="BCa", rng=np.random.default_rng(BOOTSTRAP_SEED),
        ).confidence_interval  # fmt: skip
        low[~constant], high[~constant] = interval.low, interval.high
    return low, high


def wilcoxon(differences: np.ndarray) -> Outcome:
    """Two-sided Wilcoxon signed-rank test; zero differences are dropped (Wilcoxon's own rule), ties share ranks.

    Exact up to 50 patients without ties and up to 13 with ties, the normal approximation beyond (scipy's choice). The
    smallest exact p on n non-zero differences is 2 / 2^n. Without any non-zero difference p is 1.
    """
    left = differences[differences != 0]
    if not len(left):
        return Outcome(0.0, 1.0, 1.0)
    found = stats.wilcoxon(left, zero_method="wilcox", alternative="two-sided", method="auto")
    return Outcome(float(found.statistic), float(found.pvalue), min(1.0, 2.0 / 2.0 ** len(left)))


def paired_t(differences: np.ndarray) -> Outcome:
    """Two-sided paired t test; p is 1 where it is undefined (fewer than two patients, or all differences equal)."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return Outcome(float("nan"), 1.0, 1.0)
    found = stats.ttest_1samp(differences, 0.0)
    return Outcome(float(found.statistic), float(found.pvalue), 0.0)


TESTS: dict[str, Callable[[np.ndarray], Outcome]] = {"wilcoxon": wilcoxon, "paired_t": paired_t}


def rank_biserial(differences: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation: (R+ - R-) / (R+ + R-) over the ranks of non-zero |differences|."""
    left = differences[differences != 0]
    if not len(left):
        return 0.0
    ranks = stats.rankdata(np.abs(left))
    return float((ranks[left > 0].sum() - ranks[left < 0].sum()) / ranks.sum())


def friedman(values: np.ndarray) -> float:
    """P value of Friedman's test over models (columns) with patients as blocks; NaN below three models."""
    if values.shape[1] < 3 or values.shape[0] < 2:
        return float("nan")
    if (np.ptp(values, axis=1) == 0).all():
        return 1.0
    return float(stats.friedmanchisquare(*values.T).pvalue)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per model, region and metric: patients, cases, mean, SD, median and interval over patients, seed SD.

    ``n_empty`` counts cases whose score carries a note (an empty mask or a missing prediction) under any seed.
    """
    result = []
    for (metric, region), rows in with_models(scores).groupby(["metric", "region"], sort=False):
        spread, groups = seed_sd(rows), dict(iter(rows.groupby("model", sort=False)))
        for model, own in groups.items():
            values = patient_means(own).to_numpy()
            low, high = mean_interval(values)
            result.append(
                {"model": model, "region": region, "metric": metric, "n_patients": len(values),
                 "n_cases": own["case_id"].nunique(), "n_seeds": own["seed"].nunique(), "mean": values.mean(),
                 "sd": _sd(values), "median": np.median(values), "ci_low": low[0], "ci_high": high[0],
                 "seed_sd": spread[model], "n_empty": own.loc[own["note"] != "", "case_id"].nunique()}
            )  # fmt: skip
    return pd.DataFrame(result)


def declared_pairs(models: Sequence[str], compare: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of model names that ``study.json`` declares; "all" means each with each, in the order of ``models``.

    Raises:
        InputError: if a pair is not two different known models.
    """
    declared = compare.get("pairs", "all")
    if declared == "all":
        return list(combinations(models, 2))
    pairs = [tuple(model_name(*name.split("/", 1)) if "/" in name else name for name in pair) for pair in declared]
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(models):
            raise InputError(
                f"compare.pairs names {' and '.join(pair)}: expected two different models of {', '.join(models)}."
            )
    return [(first, second) for first, second in pairs]


def compare(
    scores: pd.DataFrame, compare: Mapping[str, Any], better: Mapping[str, str], models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Test every declared pair of models in every region and metric on patients, as COMPARISON_COLUMNS.

    ``compare`` is that part of ``study.json``: metrics, pairs, test (wilcoxon or paired_t) and alpha. ``better`` maps
    a metric to "higher" or "lower". ``models`` are the declared models where some have no scores yet: their pairs
    stay in the Holm family with p = 1. The family is all regions x metrics x pairs.

    Raises:
        InputError: if a declared metric, pair or test is unknown, or the models were scored on different cases.
    """
    name, alpha = compare.get("test", "wilcoxon"), float(compare.get("alpha", 0.05))
    if name not in TESTS:
        raise InputError(f"compare.test is {name}: expected one of {', '.join(TESTS)}.")
    table = with_models(scores)
    pairs = declared_pairs(list(models or pd.unique(table["model"])), compare)
    rows: list[dict[str, Any]] = []
    for metric in compare["metrics"]:
        own = table[table["metric"] == metric]
        if own.empty or metric not in better:
            known = ", ".join(pd.unique(table["metric"]))
            raise InputError(f"compare.metrics names {metric}: expected one of the scored metrics, {known}.")
        for region, part in own.groupby("region", sort=False):
            rows += _compare_region(part, pairs, {"metric": metric, "region": region, "test": name})
    return _judge(pd.DataFrame(rows, columns=[*COMPARISON_COLUMNS]), alpha, better)


def _compare_region(rows: pd.DataFrame, pairs: list[tuple[str, str]], base: dict[str, str]) -> list[dict[str, Any]]:
    values = pivot_patients(rows, base["metric"], base["region"])
    spread, overall = seed_sd(rows), friedman(values.to_numpy())
    noted = {model: set(part["case_id"]) for model, part in rows[rows["note"] != ""].groupby("model")}
    known = [pair for pair in pairs if set(pair) <= set(values.columns)]
    # Rounding makes ties of averages that differ by floating point alone.
    differences = {(a, b): np.round((values[a] - values[b]).to_numpy(), 12) for a, b in known}
    low, high = mean_interval(np.array([*differences.values()])) if known else (np.empty(0), np.empty(0))
    bounds = dict(zip(known, zip(low, high, strict=True), strict=True))
    result = []
    for a, b in pairs:
        row: dict[str, Any] = {**base, "model_a": a, "model_b": b, "friedman_p": overall}
        if (a, b) not in differences:
            absent = " and ".join(model for model in (a, b) if model not in values)
            result.append({**row, "n_patients": 0, "p": 1.0, "p_smallest": 1.0, "note": f"no scores of {absent}"})
            continue
        d = differences[a, b]
        row |= TESTS[base["test"]](d)._asdict() | {
            "n_patients": len(d), "mean_a": values[a].mean(), "sd_a": _sd(values[a]), "mean_b": values[b].mean(),
            "sd_b": _sd(values[b]), "difference": d.mean(), "ci_low": bounds[a, b][0], "ci_high": bounds[a, b][1],
            "effect_size": rank_biserial(d), "n_ties": int((d == 0).sum()), "seed_sd_a": spread[a],
            "seed_sd_b": spread[b], "n_empty": len(noted.get(a, set()) | noted.get(b, set())), "note": "",
        }  # fmt: skip
        result.append(row)
    return result


def _judge(table: pd.DataFrame, alpha: float, better: Mapping[str, str]) -> pd.DataFrame:
    if table.empty:
        return table
    table["p_holm"] = multipletests(table["p"], alpha=alpha, method="holm")[1]
    table["significant"] = table["p_holm"] < alpha
    # Where even the smallest p times the size of the family misses alpha, no test of it can come out.
    floor = min(1.0, table["p_smallest"].min() * len(table))
    table["note"] = [_note(row, alpha, floor, len(table)) for row in table.to_dict("records")]
    table["verdict"] = [_verdict(row, better[row["metric"]]) for row in table.to_dict("records")]
    return table


def _direction(row: Mapping[Any, Any]) -> float:
    return row["effect_size"] if row["test"] == "wilcoxon" else row["difference"]


def _verdict(row: Mapping[Any, Any], better: str) -> str:
    if not row["significant"]:
        return "no difference shown"
    return "a better" if (_direction(row) > 0) == (better == "higher") else "b better"


def _note(row: Mapping[Any, Any], alpha: float, floor: float, family: int) -> str:
    if row["note"]:
        return row["note"]
    if row["n_ties"] == row["n_patients"]:
        return "all differences are zero"
    if row["p_smallest"] >= alpha:
        few = f"only {row['n_patients'] - row['n_ties']} non-zero differences" if row["n_ties"] else "n too small"
        return f"{few}: smallest possible p is {row['p_smallest']:.3g}"
    if floor >= alpha:
        return (
            f"n too small: smallest possible p is {row['p_smallest']:.3g}, {floor:.3g} after Holm over {family} tests"
        )
    if row["ci_low"] == row["ci_high"]:
        return "all differences are equal: the interval is that one value"
    if row["significant"] and _direction(row) * row["difference"] < 0:
        return "ranks and mean point in opposite directions"
    return ""


def _sd(values: Any) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
