"""Compute our counterpart of a printed number: the paper's measure with its 95% interval over patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import model_name
from benchmark.papers.published import COUNTED, Interval, Published, Value, role
from benchmark.scoring.counts import SLICE, ReportCell, measure_of, report_cells
from benchmark.scoring.metrics import COUNTS, METRICS
from benchmark.stats import mean_interval, pooled, with_models

WIDEST = {"": 0.05, "mm": 1.0}
"""Largest half-width of our 95% interval that can show a number to be reproduced, by the measure's unit ("" is a share
of one): a wider one meets nearly any printed number."""
WATCHED = ("val_dice", "val_accuracy")
"""What a training keeps its weights by: a segmenter's column of a history, else a classifier's."""


@dataclass(frozen=True)
class Paper:
    """What a report sets beside its own numbers: what the paper printed, and all scores that the study has.

    ``scores`` holds every row, counts and slices included; ``comparisons`` is the study's. ``settings`` maps a model
    to its configs' values by id, ``histories`` maps a run's id to its training history.
    ``why_not`` is the study's reason why no number is a verdict on the paper, empty where there is none.
    """

    published: Published
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    why_not: str = ""
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The scores, checked, with the name of each row's model."""
        return with_models(self.scores) if len(self.scores) else self.scores.assign(model="")

    @property
    def models(self) -> list[str]:
        """Models with scores."""
        return list(pd.unique(self.rows["model"]))


@dataclass(frozen=True)
class Ours:
    """Our counterpart of a printed number; the ends are NaN with fewer than two patients, and of what is no sample."""

    value: float
    low: float
    high: float
    sd: float = math.nan
    patients: int = 0


def ours(paper: Paper, model: str, column: Mapping[str, Any], cell: ReportCell = ("", "")) -> Ours | None:
    """Return a model's counterpart of a column; None where the scores do not hold it.

    ``cell`` is the row and measure of a classification report. Means over patients have BCa intervals, pooled
    measures percentile ones; both resample patients. A column of a history and a count of a test set have none.
    """
    if "history" in column:
        return kept_epoch(paper.histories, model, column["history"])
    if column.get("aggregate", "patients") == "patients":
        values = patient_values(paper.rows, model, column)
        if values.empty:
            return None
        low, high = mean_interval(values.to_numpy())
        sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return Ours(float(values.mean()), float(low[0]), float(high[0]), sd, len(values))
    counts, measure = _counts(paper.rows, model, column), _measure(column, cell)
    if not len(counts) or measure is None:
        return None
    if cell[1] == "support":
        return Ours(float(np.squeeze(measure(counts.sum(axis=0)))), math.nan, math.nan, patients=len(counts))
    return Ours(*pooled.estimate(counts, measure), patients=len(counts))


def _measure(column: Mapping[str, Any], cell: ReportCell) -> Any:
    if column.get("aggregate") == "slices":
        return lambda counts: report_cells(counts)[cell]
    return measure_of(column["metric"], column.get("weights")) if "metric" in column else None


def kept_epoch(histories: Mapping[str, pd.DataFrame], model: str, name: str) -> Ours | None:
    """A column of a model's histories at the epoch whose weights were kept, mean over runs; None without any.

    That is the first of the epochs with the highest validation score (WATCHED).
    """
    found = []
    for run, history in histories.items():
        watched = next((key for key in WATCHED if key in history and history[key].notna().any()), None)
        if model_name(*run.split("/")[:2]) == model and watched and name in history:
            found.append(float(history[name].to_numpy()[int(np.nanargmax(history[watched].to_numpy()))]))
    return Ours(float(np.mean(found)), math.nan, math.nan) if found and not np.isnan(found).any() else None


def patient_values(rows: pd.DataFrame, model: str, column: Mapping[str, Any]) -> pd.Series:
    """Value of each patient under a model: the mean over a column's regions, seeds and cases averaged before.

    ``rows`` are scores with the name of each row's model. Slices are left out unless the column names them.
    """
    rows = rows[(rows["model"] == model) & (rows["metric"] == column.get("metric"))]
    wanted = column.get("regions")
    rows = rows[rows["region"].isin(wanted) if isinstance(wanted, list) else rows["region"] != SLICE]
    if rows.empty:
        return pd.Series(dtype=float)
    cases = rows.groupby(["patient_id", "case_id", "region"])["value"].mean()
    return cases.groupby(level=["patient_id", "region"]).mean().groupby(level="patient_id").mean()


def _counts(rows: pd.DataFrame, model: str, column: Mapping[str, Any]) -> np.ndarray:
    """Counts of shape (patients, regions, 4) of a column's regions; of slices, one region."""
    if column.get("aggregate") == "slices":
        return pooled.patient_counts(rows, model, SLICE)[:, None]
    rows = rows[rows["metric"].isin(COUNTS) & (rows["region"] != SLICE)]
    wanted = column.get("regions", "mean")
    regions = [r for r in pd.unique(rows["region"]) if wanted == "mean" or r in wanted]
    found = [pooled.patient_counts(rows, model, region) for region in regions]
    if not found or any(not len(counts) for counts in found):
        return np.zeros((0, 1, len(COUNTS)))
    return np.stack(found, axis=1)


def difference(rows: pd.DataFrame, first: str, second: str, column: Mapping[str, Any]) -> Ours | None:
    """Second model's value less the first's on the patients of both, with its interval; None where there are none.

    ``rows`` are scores with the name of each row's model.
    """
    if column.get("aggregate", "patients") == "patients":
        values = patient_values(rows, second, column) - patient_values(rows, first, column)
        values = values.dropna()
        if values.empty:
            return None
        low, high = mean_interval(values.to_numpy())
        return Ours(float(values.mean()), float(low[0]), float(high[0]), patients=len(values))
    rows = rows[rows["metric"].isin(COUNTS)]
    of = [set(rows.loc[rows["model"] == model, "patient_id"]) for model in (first, second)]
    shared = rows[rows["patient_id"].isin(of[0] & of[1])]
    counts, measure = [_counts(shared, model, column) for model in (first, second)], _measure(column, ("", ""))
    if measure is None or not len(counts[0]) or len(counts[0]) != len(counts[1]):
        return None
    both = np.stack(counts, axis=1)
    return Ours(
        *pooled.estimate(both, lambda summed: measure(summed[:, 1]) - measure(summed[:, 0])), patients=len(both)
    )


def declared_tests(comparisons: pd.DataFrame, first: str, second: str, column: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of a study's comparisons on a pair of models and a column's measure, one per region; empty if not declared.

    A declared test is on means over patients, so it says nothing of a measure that is pooled.
    """
    if comparisons.empty or column.get("aggregate", "patients") != "patients":
        return comparisons.iloc[:0]
    own = comparisons[(comparisons["metric"] == column["metric"]) & (comparisons["n_patients"] > 0)]
    if isinstance(column.get("regions"), list):
        own = own[own["region"].isin(column["regions"])]
    pairs = [{a, b} == {first, second} for a, b in zip(own["model_a"], own["model_b"], strict=True)]
    found: pd.DataFrame = own[pd.Series(pairs, index=own.index, dtype=bool)]
    return found


def verdict(printed: Value, found: Ours, column: Mapping[str, Any]) -> str:
    """``lower`` or ``higher`` where our 95% interval lies wholly below or above the printed number's rounding interval.

    Else ``reproduced``, or not comparable where our interval is wider than WIDEST.
    """
    if math.isnan(found.low):
        return "not comparable: fewer than two patients"
    if not printed.interval.meets(Interval(found.low, found.high)):
        return "lower" if found.high < printed.interval.low else "higher"
    unit = METRICS[column["metric"]].unit if column.get("metric") in METRICS else ""
    if (found.high - found.low) / 2 <= WIDEST[unit] + 1e-9:
        return "reproduced"
    widest = f"{100 * WIDEST[unit]:g} points" if printed.percent else f"{WIDEST[unit]:g} {unit}".strip()
    return f"not comparable: our interval is wider than ±{widest}"


def decimals(printed: Value | None, column: Mapping[str, Any]) -> int:
    """Decimals to print ours with: as many as the paper, at least three of shares, one of percent, none of counts."""
    if role(column) in COUNTED:
        return 0
    least = 1 if (printed.percent if printed else column.get("unit") == "%") else 3
    digits = printed.text.split("±")[0].strip(" %") if printed else ""
    return max(least, len(digits.partition(".")[2]))


def columns_of(table: Mapping[str, Any]) -> Sequence[tuple[int, Mapping[str, Any], str]]:
    """Columns of a printed table with their place and role."""
    return [(index, column, role(column)) for index, column in enumerate(table["columns"])]
