"""Tested comparisons to verdicts: p values corrected over the declared family, and what may be said of each pair.

``a better`` and ``b better``: a difference is shown. Where none is, and a margin was declared, three more answers:
``equivalent`` (the mean difference is shown to be within the margin), ``a no worse`` or ``b no worse`` (that model is
shown not to be worse by the margin or more; it may be better), and ``no difference shown``, which shows nothing.
``not tested``: the pair has no scores of both, or too few runs for the declared test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from statsmodels.stats.multitest import multipletests

from benchmark.stats.equivalence import OneSided, holm_one_sided

NOT_TESTED = "not tested"
COUNTS = ("n_patients", "n_ties", "n_empty")


def judge(table: pd.DataFrame, alpha: float, better: Mapping[str, str]) -> pd.DataFrame:
    """Correct the p values of all rows as one family by Holm, and write notes and verdicts.

    False differences and false claims of equivalence or of being no worse are each held to ``alpha`` in the family.
    ``better`` maps a metric to "higher" or "lower".
    """
    if table.empty:
        return table
    table = table.astype({column: int for column in COUNTS if table[column].notna().all()})
    table["p_holm"] = multipletests(table["p"], alpha=alpha, method="holm")[1]
    table["significant"] = table["p_holm"] < alpha
    one_sided = holm_one_sided(OneSided(table["p_a_no_worse"].to_numpy(), table["p_b_no_worse"].to_numpy()))
    table["p_a_no_worse_holm"], table["p_b_no_worse_holm"] = one_sided
    table["p_equivalent_holm"] = one_sided.equivalent
    # Where even the smallest p times the size of the family misses alpha, no test of it can come out.
    floor = min(1.0, table["p_smallest"].min() * len(table))
    table["note"] = [_note(row, alpha, floor, len(table)) for row in table.to_dict("records")]
    table["verdict"] = [_verdict(row, alpha, better[row["metric"]]) for row in table.to_dict("records")]
    return table


def winner(difference: float, better: str) -> str:
    """Say which of two models a shown difference, a minus b, is in favour of."""
    return "a better" if (difference > 0) == (better == "higher") else "b better"


def _direction(row: Mapping[Any, Any]) -> float:
    return row["effect_size"] if row["test"] == "wilcoxon" else row["difference"]


def _verdict(row: Mapping[Any, Any], alpha: float, better: str) -> str:
    if row["p_smallest"] >= 1 and pd.isna(row["ci_low"]):
        return NOT_TESTED
    if row["significant"]:
        return winner(_direction(row), better)
    if row["p_equivalent_holm"] < alpha:
        return "equivalent"
    if row["p_a_no_worse_holm"] < alpha:
        return "a no worse"
    return "b no worse" if row["p_b_no_worse_holm"] < alpha else "no difference shown"


def _note(row: Mapping[Any, Any], alpha: float, floor: float, family: int) -> str:
    if row["note"]:
        return row["note"]
    if row["n_ties"] == row["n_patients"]:
        return "all differences are zero"
    if row["p_smallest"] >= alpha:
        few = f"only {row['n_patients'] - row['n_ties']:.0f} non-zero differences" if row["n_ties"] else "n too small"
        return f"{few}: smallest possible p is {row['p_smallest']:.3g}"
    if floor >= alpha:
        return (
            f"n too small: smallest possible p is {row['p_smallest']:.3g}, {floor:.3g} after Holm over {family} tests"
        )
    if row["ci_low"] == row["ci_high"]:
        return "all differences are equal: the interval is that one value"
    if row["significant"] and _direction(row) * row["difference"] < 0:
        return "ranks and mean point in opposite directions"
    if row["significant"] and row["p_equivalent_holm"] < alpha:
        return f"a difference is shown, and shown to be within the margin of {row['margin']:g}"
    return ""
