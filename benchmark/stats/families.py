"""Correct p values over a study's declared families: the primary one by Holm, the rest behind its gate.

A study that asks many questions pays for each. One that names the few that it is about, its primary family, corrects
these for their own number alone. The rest is tested only if the gate opens, that is if every hypothesis of the primary
family was rejected, and is then corrected for its own number: serial gatekeeping (Westfall and Krishen 2001;
Dmitrienko and Tamhane 2007), with Holm's procedure in each family. The risk of any false claim in both families
together is at most alpha: where the primary family holds a true hypothesis, the gate opens only by rejecting it, which
is an error that Holm's procedure has counted there.

Where the declared test is of methods, pairs with a model that was trained elsewhere, and only once, cannot take it.
They are compared as the networks that they are, in a family of their own, and make no other correction stricter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from benchmark.base.records import InputError
from benchmark.stats.paired import OneSided, holm_one_sided

PRIMARY, GATED = "primary", "gated"
"""Names of the two families; without a declared primary family every comparison is primary."""

NETWORKS = "networks"
"""Name of the family of pairs that cannot be compared as methods, and are compared as networks instead."""


def families(table: pd.DataFrame, declared: Mapping[str, Any]) -> np.ndarray:
    """Return the family of each comparison, PRIMARY or GATED, from ``compare`` of study.json.

    ``table`` has columns metric, region, model_a and model_b. An entry ``primary`` names metrics (by default the first
    declared one), pairs (by default all declared ones) and regions (by default all); without it there is one family.

    Raises:
        InputError: if the primary family names a metric, region or pair that is not compared.
    """
    if "primary" not in declared or table.empty:
        return np.full(len(table), PRIMARY, dtype=object)
    primary = declared["primary"]
    there = pd.Series([frozenset(pair) for pair in zip(table["model_a"], table["model_b"], strict=True)], table.index)
    pairs = [frozenset(name.removesuffix("/default") for name in pair) for pair in primary.get("pairs", ())]
    chosen = pd.Series(True, table.index)
    for entry, column, named in (
        ("metrics", table["metric"], primary.get("metrics", declared["metrics"][:1])),
        ("regions", table["region"], primary.get("regions")),
        ("pairs", there, pairs or None),
    ):
        if unknown := [one for one in named or () if one not in set(column)]:
            lost = unknown[0] if isinstance(unknown[0], str) else " and ".join(sorted(unknown[0]))
            raise InputError(f"compare.primary.{entry} names {lost}: expected what the study compares.")
        chosen &= column.isin(list(named)) if named else True
    if not chosen.any():
        raise InputError("compare.primary names no comparison: expected a metric, pair and region compared together.")
    return np.where(chosen, PRIMARY, GATED).astype(object)


def family_sizes(table: pd.DataFrame) -> dict[str, int]:
    """Map each metric of a table of comparisons to the number that are corrected with it: primary ones if it has any.

    The gated ones are corrected together once their gate is open. NETWORKS count where a metric has no others.
    """
    counts = table["family"].value_counts()
    own = {str(metric): set(rows["family"]) for metric, rows in table.groupby("metric", sort=False)}
    order = (PRIMARY, GATED, NETWORKS)
    return {metric: int(counts[next(name for name in order if name in names)]) for metric, names in own.items()}


def holm(p: np.ndarray, family: np.ndarray, alpha: float) -> np.ndarray:
    """Adjust the p values of two families, so that the risk of any false rejection is at most ``alpha``.

    A gated p is at least the largest adjusted p of the primary family, and 1 where that is not below ``alpha``. The
    family NETWORKS is adjusted by itself.
    """
    adjusted = np.array(p, dtype=float)
    for own in (family == PRIMARY, family == GATED, family == NETWORKS):
        adjusted[own] = multipletests(adjusted[own], method="holm")[1] if own.any() else 1.0
    return _behind(adjusted, adjusted[family == PRIMARY], family, alpha)


def holm_claims(found: OneSided, family: np.ndarray, alpha: float) -> OneSided:
    """Adjust the one-sided p values of two families, each as ``paired.holm_one_sided`` does.

    The gate opens where every primary comparison was shown to be equivalent, as only then are all of its hypotheses
    rejected. NaN, of a metric without a margin, stays NaN.
    """
    sides = np.array([found.above, found.below], dtype=float)
    for own in (family == PRIMARY, family == GATED, family == NETWORKS):
        sides[:, own] = holm_one_sided(OneSided(*sides[:, own]))
    gate = sides[:, family == PRIMARY].max(axis=0)
    return OneSided(*(_behind(side, gate, family, alpha) for side in sides))


def _behind(adjusted: np.ndarray, gate: np.ndarray, family: np.ndarray, alpha: float) -> np.ndarray:
    """Raise the adjusted p of gated rows to the largest of the gate's, or to 1 where that is not below ``alpha``."""
    largest = float(np.max(gate, initial=0.0, where=~np.isnan(gate)))
    return np.where(family == GATED, np.maximum(adjusted, largest if largest < alpha else 1.0), adjusted)
