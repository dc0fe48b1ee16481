"""Scores to our counterpart of a printed number: the paper's measure, with its 95% interval over patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark import pooled
from benchmark.metrics import COUNTS
from benchmark.published import Interval, Published, Value, role
from benchmark.stats import mean_interval, with_models


@dataclass(frozen=True)
class Paper:
    """What a report sets beside its own numbers: what the paper printed, and all scores that the study has.

    ``scores`` holds every row, counts and slices included; ``comparisons`` is the study's. ``settings`` maps a model
    to its configs' values by id, ``layers`` lists our network's layers (columns layer, type, shape, parameters).
    ``why_not`` is the study's reason why no number is a verdict on the paper, empty where there is none.
    """

    published: Published
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: pd.DataFrame | None = None
    why_not: str = ""

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
    """Our counterpart of a printed number; the ends are NaN where there are fewer than two patients."""

    value: float
    low: float
    high: float
    sd: float = math.nan
    patients: int = 0


def ours(paper: Paper, model: str, column: Mapping[str, Any], cell: pooled.Cell = ("", "")) -> Ours | None:
    """Return a model's counterpart of a column; None where the scores do not hold it.

    ``cell`` is the row and measure of a classification report. Means over patients have BCa intervals, pooled
    measures percentile ones; both resample patients.
    """
    aggregate = column.get("aggregate", "patients")
    if aggregate == "patients":
        values = patient_values(paper, model, column)
        if values.empty:
            return None
        low, high = mean_interval(values.to_numpy())
        sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return Ours(float(values.mean()), float(low[0]), float(high[0]), sd, len(values))
    counts, measure = _counts(paper, model, column), _measure(column, cell)
    if not len(counts) or measure is None:
        return None
    return Ours(*pooled.estimate(counts, measure), patients=len(counts))


def _measure(column: Mapping[str, Any], cell: pooled.Cell) -> Any:
    if column.get("aggregate") == "slices":
        return lambda counts: pooled.classification_report(counts)[cell]
    return pooled.measure_of(column["metric"], column.get("weights")) if "metric" in column else None


def patient_values(paper: Paper, model: str, column: Mapping[str, Any]) -> pd.Series:
    """Value of each patient under a model: the mean over a column's regions, seeds and cases averaged before."""
    rows = paper.rows
    rows = rows[(rows["model"] == model) & (rows["metric"] == column.get("metric")) & (rows["region"] != pooled.SLICE)]
    if isinstance(column.get("regions"), list):
        rows = rows[rows["region"].isin(column["regions"])]
    if rows.empty:
        return pd.Series(dtype=float)
    cases = rows.groupby(["patient_id", "case_id", "region"])["value"].mean()
    return cases.groupby(level=["patient_id", "region"]).mean().groupby(level="patient_id").mean()


def _counts(paper: Paper, model: str, column: Mapping[str, Any]) -> np.ndarray:
    """Counts of shape (patients, regions, 4) of a column's regions; of slices, one region."""
    if column.get("aggregate") == "slices":
        return pooled.patient_counts(paper.rows, model, pooled.SLICE)[:, None]
    rows = paper.rows[paper.rows["metric"].isin(COUNTS) & (paper.rows["region"] != pooled.SLICE)]
    wanted = column.get("regions", "mean")
    regions = [r for r in pd.unique(rows["region"]) if wanted == "mean" or r in wanted]
    found = [pooled.patient_counts(rows, model, region) for region in regions]
    if not found or any(not len(counts) for counts in found):
        return np.zeros((0, 1, len(COUNTS)))
    return np.stack(found, axis=1)


def difference(paper: Paper, first: str, second: str, column: Mapping[str, Any]) -> Ours | None:
    """Second model's value less the first's on the patients of both, with its interval; None where one has none."""
    if column.get("aggregate", "patients") == "patients":
        values = patient_values(paper, second, column) - patient_values(paper, first, column)
        values = values.dropna()
        if values.empty:
            return None
        low, high = mean_interval(values.to_numpy())
        return Ours(float(values.mean()), float(low[0]), float(high[0]), patients=len(values))
    counts, measure = [_counts(paper, model, column) for model in (first, second)], _measure(column, ("", ""))
    if measure is None or not len(counts[0]) or len(counts[0]) != len(counts[1]):
        return None
    both = np.stack(counts, axis=1)
    return Ours(
        *pooled.estimate(both, lambda summed: measure(summed[:, 1]) - measure(summed[:, 0])), patients=len(both)
    )


def verdict(printed: Interval, found: Ours) -> str:
    """``reproduced`` where the printed interval of rounding meets our 95% interval, else ``lower`` or ``higher``."""
    if math.isnan(found.low):
        return "not comparable: fewer than two patients"
    if printed.meets(Interval(found.low, found.high)):
        return "reproduced"
    return "lower" if found.high < printed.low else "higher"


def decimals(printed: Value | None, column: Mapping[str, Any]) -> int:
    """Decimals to print ours with: as many as the paper, at least three for shares and one for percent."""
    least = 1 if (printed.percent if printed else column.get("unit") == "%") else 3
    digits = printed.text.split("±")[0].strip(" %") if printed else ""
    return max(least, len(digits.partition(".")[2]))


def columns_of(table: Mapping[str, Any]) -> Sequence[tuple[int, Mapping[str, Any], str]]:
    """Columns of a printed table with their place and role."""
    return [(index, column, role(column)) for index, column in enumerate(table["columns"])]
