"""Follow counts of voxels, slices and lesions like scores, and write formulas of measures pooled from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Literal

import pandas as pd

from benchmark.base.records import SCORE_COLUMNS
from benchmark.results.results import Results
from benchmark.scoring import score_table
from benchmark.scoring.counts import POOLED_MEASURES, SLICE
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS, Metric

ALL = "(tp + fp + fn + tn)"
RIGHT = f"(tp + tn) / {ALL}"
OF_CLASS = {
    "1": {"precision": "tp / (tp + fp)", "recall": "tp / (tp + fn)", "f1": "2 * tp / (2 * tp + fp + fn)",
          "support": "tp + fn"},
    "0": {"precision": "tn / (tn + fn)", "recall": "tn / (tn + fp)", "f1": "2 * tn / (2 * tn + fp + fn)",
          "support": "tn + fp"},
}  # fmt: skip
"""Measures of a classification report by class, 1 the one with tumour."""

FORMULAS = {
    "GlobalAccuracy": RIGHT,
    "MeanAccuracy": "(tn / (tn + fp) + tp / (tp + fn)) / 2",
    "MeanIoU": "(tn / (tn + fp + fn) + tp / (tp + fp + fn)) / 2",
    "WeightedIoU": f"(tn / (tn + fp + fn) * (tn + fp) + tp / (tp + fp + fn) * (tp + fn)) / {ALL}",
    "MeanFScore": "(2 * tn / (2 * tn + fp + fn) + 2 * tp / (2 * tp + fp + fn)) / 2",
    "Dice": "2 * tp / (2 * tp + fp + fn)",
    "IoU": "tp / (tp + fp + fn)",
    "Tversky": "tp / (tp + alpha * fp + beta * fn)",
}
"""Formulas of ``POOLED_MEASURES``; a share of nothing is what the function says."""

REPORT = ("accuracy", "precision", "recall", "f1", "support")
"""Measures of a classifier's report on slices."""


def measures_in(results: Results, region: str | None) -> tuple[str, ...]:
    """Measures of pooled counts that a report prints: of slices those of a classifier's report, else its paper's.

    Elsewhere "Dice" is a mistyped "dice", and not the Dice of all cases together.
    """
    if region == SLICE:
        return REPORT
    return tuple(POOLED_MEASURES) if results.published else ()


def count_metric(name: str, region: str) -> Metric:
    """Return a count as a metric without rules, its unit being what is counted."""
    rule, _, part = name.rpartition("_")
    unit = "lesions" if rule else "slices" if region == SLICE else "voxels"
    place = {"lesion": "lesions.", "instance": "instances."}.get(rule, "") + part
    better: Literal["higher", "lower"] = "lower" if part in ("fp", "fn") else "higher"
    return Metric(name, name, better, unit, "1", attrgetter(place), "formula", "formula", "formula")


def count_rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of SCORE_COLUMNS and ``model`` with a count of a table as ``score_table.read`` gives it."""
    if name not in table:
        return pd.DataFrame(columns=[*SCORE_COLUMNS, "model"])
    rows = table[[*score_table.HEAD]].assign(
        metric=name, metric_version="1", value=table[name], model=score_table.model_names(table)
    )
    return rows[rows["value"].notna()][[*SCORE_COLUMNS, "model"]]


def count_names(table: pd.DataFrame) -> list[str]:
    """Counts that a table has."""
    return [name for name in (*COUNTS, *LESION_COUNTS) if name in table and table[name].notna().any()]


def report_formula(row: str, measure: str) -> str:
    """Formula of a cell of a binary classification report, by its row and measure."""
    if measure == "support":
        return OF_CLASS[row][measure] if row in OF_CLASS else ALL
    if row in OF_CLASS:
        return OF_CLASS[row][measure]
    zero, one = (OF_CLASS[name].get(measure, "") for name in ("0", "1"))
    if row == "macro":
        return f"({zero} + {one}) / 2"
    return f"({zero} * (tn + fp) + {one} * (tp + fn)) / {ALL}" if row == "weighted" else RIGHT


def filled(formula: str, numbers: Mapping[str, Any]) -> str:
    """Write a formula followed by itself with numbers for the names."""
    names = "|".join(numbers)
    shown = re.sub(rf"\b({names})\b", lambda found: f"{plain(numbers[found[1]]):.12g}", formula)
    return f"{formula} = {shown}"


def plain(count: Any) -> Any:
    """Return a count without a fraction as a whole number; averaged seeds may leave a fraction."""
    return int(count) if float(count).is_integer() else float(count)


def case_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts of each case by patient, case and region (index), seeds averaged, from tidy rows of one model."""
    rows = rows[rows["metric"].isin(COUNTS)]
    keys = ["patient_id", "case_id", "region"]
    if rows.empty:
        return pd.DataFrame(columns=list(COUNTS))
    return rows.groupby([*keys, "metric"], sort=False)["value"].mean().unstack("metric")[list(COUNTS)]
