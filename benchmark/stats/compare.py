"""A score table to comparisons: every declared pair of models tested on patients, corrected over the family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError, model_name
from benchmark.stats.equivalence import OneSided, margin_of, tost
from benchmark.stats.intervals import difference_intervals
from benchmark.stats.paired import TESTS, cohen_dz, paired_differences, rank_biserial
from benchmark.stats.patients import pivot_patients, seed_sd, with_models
from benchmark.stats.power import NEEDED
from benchmark.stats.ranking import friedman
from benchmark.stats.two_level import TWO_LEVEL, two_level
from benchmark.stats.verdicts import judge

COMPARISON_COLUMNS = (
    *("metric", "region", "model_a", "model_b", "n_patients", "mean_a", "sd_a", "mean_b", "sd_b"),
    *("difference", "sd_difference", "ci_low", "ci_high", "test", "statistic", "p", "p_holm", "significant"),
    *("effect_size", "d_z", "margin", "p_a_no_worse", "p_b_no_worse", "p_equivalent", "p_a_no_worse_holm"),
    *("p_b_no_worse_holm", "p_equivalent_holm", "n_ties", "n_empty", "seed_sd_a", "seed_sd_b", "friedman_p"),
    *("p_smallest", "verdict", "note"),
)
"""Columns of every ``comparisons.csv``, in order. Differences and effect sizes are model a minus model b."""


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

    ``compare`` is that part of ``study.json``: metrics, pairs, test (a name of TESTS), alpha and margin (a number, or
    one by metric, in its unit). ``better`` maps a metric to "higher" or "lower". ``models`` are the declared models
    where some have no scores yet: their pairs stay in the Holm family with p = 1. The family is all regions x metrics
    x pairs. Without a margin the columns of equivalence are NaN, and no verdict speaks of it.

    Raises:
        InputError: if a declared metric, pair, test or margin is unknown, or the models were scored on different
            cases.
    """
    name, alpha = compare.get("test", "wilcoxon"), float(compare.get("alpha", 0.05))
    if name not in (*TESTS, TWO_LEVEL):
        raise InputError(f"compare.test is {name}: expected one of {', '.join((*TESTS, TWO_LEVEL))}.")
    table = with_models(scores)
    pairs = declared_pairs(list(models or pd.unique(table["model"])), compare)
    parts: list[pd.DataFrame] = []
    for metric in compare["metrics"]:
        own = table[table["metric"] == metric]
        if own.empty or metric not in better:
            known = ", ".join(pd.unique(table["metric"]))
            raise InputError(f"compare.metrics names {metric}: expected one of the scored metrics, {known}.")
        margin = margin_of(compare.get("margin"), metric)
        for region, part in own.groupby("region", sort=False) if pairs else ():
            base = {"metric": metric, "region": str(region), "test": name, "margin": margin}
            parts.append(_compare_region(part, pairs, base, better[metric] == "higher"))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return judge(found.reindex(columns=[*COMPARISON_COLUMNS]), alpha, better)


def paired_spreads(
    scores: pd.DataFrame, metrics: Sequence[str], pairs: Sequence[tuple[str, str]], test: str
) -> pd.DataFrame:
    """What ``patients_needed`` asks of a comparison, for any metric, declared or not, and without testing anything."""
    rows = with_models(scores)
    parts = []
    for metric in metrics:
        for region, own in rows[rows["metric"] == metric].groupby("region", sort=False):
            values = pivot_patients(own, metric, str(region))
            first, second = (values[[pair[side] for pair in pairs]].to_numpy().T for side in (0, 1))
            part = pd.DataFrame(pairs, columns=["model_a", "model_b"])
            spread = _spread(paired_differences(first, second))
            parts.append(
                part.assign(metric=metric, region=region, test=test, n_patients=len(values), sd_difference=spread)
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*NEEDED])


def _compare_region(
    rows: pd.DataFrame, pairs: list[tuple[str, str]], base: dict[str, Any], higher: bool
) -> pd.DataFrame:
    """Rows of COMPARISON_COLUMNS for one metric and region, before anything is corrected or judged."""
    values = pivot_patients(rows, base["metric"], base["region"])
    names, table = list(values.columns), values.to_numpy().T
    result = pd.DataFrame(pairs, columns=["model_a", "model_b"]).assign(**base, friedman_p=friedman(table.T).p)
    known = result["model_a"].isin(names) & result["model_b"].isin(names)
    result.loc[~known, ["n_patients", "p", "p_smallest"]] = [0.0, 1.0, 1.0]
    if base["margin"] > 0:
        result.loc[~known, ["p_a_no_worse", "p_b_no_worse", "p_equivalent"]] = 1.0
    result["note"] = ["" if there else _absent(pair, names) for pair, there in zip(pairs, known, strict=True)]
    if not known.any():
        return result
    a, b = (np.array([names.index(model) for model in result.loc[known, side]]) for side in ("model_a", "model_b"))
    differences = paired_differences(table[a], table[b])
    spread, means, seeds = _spread(table), table.mean(axis=1), seed_sd(rows).reindex(names).to_numpy()
    found = {
        "n_patients": table.shape[1], "mean_a": means[a], "sd_a": spread[a], "mean_b": means[b], "sd_b": spread[b],
        "difference": differences.mean(axis=1), "sd_difference": _spread(differences),
        "effect_size": rank_biserial(differences), "d_z": cohen_dz(differences),
        "n_ties": (differences == 0).sum(axis=1), "n_empty": _noted(rows, result[known]),
        "seed_sd_a": seeds[a], "seed_sd_b": seeds[b],
    }  # fmt: skip
    if base["test"] == TWO_LEVEL:
        chosen = [pair for pair, there in zip(pairs, known, strict=True) if there]
        found |= two_level(rows, values.index, chosen, base["margin"])
    else:
        found |= TESTS[base["test"]](differences)._asdict() | tost(differences, base["margin"])._asdict()
        found["ci_low"], found["ci_high"] = difference_intervals(table, a, b, differences)
    one_sided = OneSided(found.pop("above"), found.pop("below"))
    found["p_a_no_worse"], found["p_b_no_worse"] = one_sided if higher else one_sided[::-1]
    found["p_equivalent"] = one_sided.equivalent
    for column, column_values in found.items():
        result.loc[known, column] = column_values
    return result


def _absent(pair: tuple[str, str], names: Sequence[str]) -> str:
    return f"no scores of {' and '.join(model for model in pair if model not in names)}"


def _noted(rows: pd.DataFrame, pairs: pd.DataFrame) -> list[int]:
    """Number of cases whose score carries a note under either model of each pair."""
    noted = {model: set(part["case_id"]) for model, part in rows[rows["note"] != ""].groupby("model")}
    models = zip(pairs["model_a"], pairs["model_b"], strict=True)
    return [len(noted.get(a, set()) | noted.get(b, set())) for a, b in models]


def _spread(table: np.ndarray) -> np.ndarray:
    """Standard deviation (n - 1) of each row; NaN below two values."""
    return table.std(axis=1, ddof=1) if table.shape[1] > 1 else np.full(len(table), np.nan)
