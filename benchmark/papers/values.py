"""Compute our counterpart of a printed number: the paper's measure with its 95% interval over patients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.papers.comparable import Made, conditions, forbidding
from benchmark.papers.published import COUNTED, Interval, PrintedTable, Published, Value, cell, models_of, role
from benchmark.report.tables import of_pair
from benchmark.scoring.counts import SLICE, ReportCell, measure_of, report_cell
from benchmark.scoring.metrics import EVERY
from benchmark.stats import estimates
from benchmark.stats.patients import with_models

Ours = estimates.Measured
WIDEST = {"": 0.05, "mm": 1.0}
"""Largest half-width of our 95% interval that can show a number to be reproduced, by the measure's unit ("" is a share
of one): a wider one meets nearly any printed number."""


@dataclass(frozen=True)
class Paper:
    """What a report sets beside its own numbers: what the paper printed, and all scores that the study has.

    ``scores`` holds every row, counts and slices included; ``comparisons`` is the study's and ``costs`` its
    ``costs.csv``. ``settings`` maps a model to its configs' values by id, ``made`` to how its numbers were made, and
    ``histories`` a run's id to its training history. ``not_comparable`` is a reason of the study's own why no number is
    a verdict on the paper, or empty.
    """

    published: Published
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made: Mapping[str, Made] = field(default_factory=dict)
    not_comparable: str = ""
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    costs: pd.DataFrame | None = None

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The scores, checked, with the name of each row's model."""
        return with_models(self.scores) if len(self.scores) else self.scores.assign(model="")

    @property
    def models(self) -> list[str]:
        """Models with scores."""
        return list(pd.unique(self.rows["model"]))

    def forbidding(self, model: str, table: PrintedTable | None = None) -> list[str]:
        """Facts that forbid a verdict on a table's numbers, or on the paper as a whole, from those of a model."""
        found = forbidding(self.published.facts(table), self.made.get(model))
        return found + [self.not_comparable] * bool(self.not_comparable)

    def conditions(self, model: str, table: PrintedTable | None = None) -> list[str]:
        """What a verdict on a table's numbers, or any, takes for granted, as the paper does not state it."""
        return conditions(self.published.facts(table), self.made.get(model))


class Place(NamedTuple):
    """A cell of a printed table with text in it, by its row and column, and our model that it is set beside, or "".

    A row that several models stand beside has its cells once for each of them.
    """

    row: Mapping[str, Any]
    column: Mapping[str, Any]
    model: str
    text: str

    @property
    def printed(self) -> Value | None:
        """The number that is printed there, None where it is none."""
        return cell(self.column, self.text)

    @property
    def scale(self) -> float:
        """100 where numbers are printed in percent, else 1."""
        printed = self.printed
        return 100.0 if (printed.percent if printed else self.column.get("unit") == "%") else 1.0

    @property
    def decimals(self) -> int:
        """Decimals of ours: as many as the paper prints, at least three of shares, one of percent, none of counts."""
        if role(self.column) in COUNTED:
            return 0
        digits = self.text.split("±")[0].strip(" %") if self.printed else ""
        return max(1 if self.scale == 100 else 3, len(digits.partition(".")[2]))

    @property
    def report_cell(self) -> ReportCell:
        """Line and column of a classifier's report that the number stands for, by the roles of its row and column."""
        kind, name = self.row.get("role", ""), role(self.column)
        if kind == "class":
            return str(self.row["class"]), name
        # The accuracy of a report stands in one of the columns of its measures.
        return (kind, "accuracy") if kind == "accuracy" and name in ("precision", "recall", "f1") else (kind, name)


def places(table: Mapping[str, Any]) -> Iterator[Place]:
    """All cells of a printed table with text in them, row by row; one of two readings twice, the second after it."""
    for row in table["rows"]:
        for model in models_of(row, table) or [""]:
            for column, text in zip(table["columns"], row["values"], strict=True):
                if text is not None:
                    yield Place(row, column, model, text)
                    if "or" in column:
                        yield Place(row, {**column, **column["or"]}, model, text)


def ours(paper: Paper, model: str, column: Mapping[str, Any], of: ReportCell = ("", "")) -> Ours | None:
    """Return a model's counterpart of a column; None where the scores do not hold it.

    ``of`` is the row and measure of a classification report. A column of a history and a count of a test set have no
    interval.
    """
    if "history" in column:
        return estimates.kept_epoch(paper.histories, model, column["history"])
    if column.get("aggregate", "patients") == "patients":
        metric, regions = column.get("metric"), regions_of(column)
        found = estimates.mean(estimates.patient_scores(paper.rows, model, metric, regions))
        if found is not None and column.get("spread") == "runs":
            found = replace(found, sd=estimates.spread_over_seeds(paper.rows, model, metric, regions))
        return found
    counts, measure = estimates.region_counts(paper.rows, model, regions_of(column)), _measure(column, of)
    if not len(counts) or measure is None:
        return None
    if of[1] == "support":
        return Ours(float(np.squeeze(measure(counts.sum(axis=0)))), patients=len(counts))
    return estimates.pooled_measure(counts, measure)


def is_accuracy(place: Place) -> bool:
    """Whether a printed number is a share of voxels or slices that are right."""
    return role(place.column) in ("accuracy", "global_accuracy") or place.report_cell == ("accuracy", "accuracy")


def majority(paper: Paper, place: Place) -> tuple[str, float] | None:
    """What an accuracy has to beat: the more frequent class, and how often always naming it would have been right.

    It is taken over what the model was tested on as the accuracy itself is; None where there are no counts.
    """
    counts = estimates.region_counts(paper.rows, place.model, regions_of(place.column))
    if not len(counts):
        return None
    pooled = counts if place.column.get("aggregate", "patients") == "patients" else counts.sum(axis=0)
    tp, fp, fn, tn = np.moveaxis(pooled, -1, 0)
    tumour = float(((tp + fn) / (tp + fp + fn + tn)).mean())
    return ("tumour", tumour) if tumour > 0.5 else ("no tumour", 1 - tumour)


def _measure(column: Mapping[str, Any], of: ReportCell) -> Any:
    if column.get("aggregate") == "slices":
        return partial(report_cell, cell=of)
    return measure_of(column["metric"], column.get("weights")) if "metric" in column else None


def regions_of(column: Mapping[str, Any]) -> list[str] | None:
    """Regions that a column is over; None for all but slices."""
    if column.get("aggregate") == "slices":
        return [SLICE]
    wanted = column.get("regions")
    return wanted if isinstance(wanted, list) else None


def difference(rows: pd.DataFrame, first: str, second: str, column: Mapping[str, Any]) -> Ours | None:
    """Second model's value less the first's on the patients of both, with its interval; None where there are none.

    ``rows`` are scores with the name of each row's model.
    """
    if column.get("aggregate", "patients") == "patients":
        return estimates.mean_difference(rows, first, second, column.get("metric"), regions_of(column))
    measure = _measure(column, ("", ""))
    counts = estimates.shared_counts(rows, first, second, regions_of(column))
    return measure and estimates.pooled_difference(counts, measure)


def column_beside(published: Published | None, model: str, metric: str) -> Mapping[str, Any]:
    """The column of a paper's tables that a model's number stands beside, by the number's name; empty if there is none.

    The name is a column of a history, a metric or a pooled measure.
    """
    for table in published.tables if published else ():
        for _, column, of, _ in places(table) if table["kind"] in ("scores", "significance") else ():
            if of == model and role(column) != "p" and metric == (column.get("history") or column.get("metric")):
                return column
    return {}


def declared_tests(comparisons: pd.DataFrame, first: str, second: str, column: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of a study's comparisons on a pair of models and a column's measure, one per region; empty if not declared.

    A declared test is on means over patients, so it says nothing of a measure that is pooled.
    """
    if comparisons.empty or column.get("aggregate", "patients") != "patients":
        return comparisons.iloc[:0]
    own = comparisons[(comparisons["metric"] == column["metric"]) & (comparisons["n_patients"] > 0)]
    if isinstance(column.get("regions"), list):
        own = own[own["region"].isin(column["regions"])]
    return of_pair(own, first, second)


def verdict(printed: Value, found: Ours, column: Mapping[str, Any]) -> str:
    """``lower`` or ``higher`` where our 95% interval lies wholly below or above the printed number's rounding interval.

    Else ``reproduced``, or not comparable where our interval is wider than WIDEST.
    """
    if math.isnan(found.low):
        return "not comparable: fewer than two patients"
    if not printed.interval.meets(Interval(found.low, found.high)):
        return "lower" if found.high < printed.interval.low else "higher"
    unit = EVERY[column["metric"]].unit if column.get("metric") in EVERY else ""
    if (found.high - found.low) / 2 <= WIDEST[unit] + 1e-9:
        return "reproduced"
    widest = f"{100 * WIDEST[unit]:g} points" if printed.percent else f"{WIDEST[unit]:g} {unit}".strip()
    return f"not comparable: our interval is wider than ±{widest}"
