"""Write our number beside a printed one into the cells of a row, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmark.papers.published import Interval, Value, role
from benchmark.papers.values import Ours, Paper, decimals, verdict
from benchmark.report.document import Cell, Key
from benchmark.scoring.counts import SLICE

NOT_RUN = "not run"
NONE = "none"
"""Stands where there can be nothing because there is no number of ours; the row says why."""
INLINE = 34
"""Longest reason that stands in a cell; longer ones are numbered and stand below the table."""


class Reasons:
    """Reasons why numbers are not comparable, numbered below a table where they are long."""

    def __init__(self, why_not: str) -> None:
        self.why_not, self.long = why_not, list[str]()

    def cell(self, reason: str, would_be: str = "") -> str:
        """Verdict of a number that is not comparable; ``would_be`` is what the rule says of it."""
        also = would_be.removeprefix("not comparable: ")
        rule = "" if not would_be else f" (would be: {would_be})" if also == would_be else f" (and {also})"
        if reason == self.why_not:
            return f"not comparable{rule}"
        short = self.short(reason)
        return f"not comparable{': ' if short == reason else ' '}{short}{rule}"

    def short(self, reason: str) -> str:
        """The reason, or where it is long its number."""
        if len(reason) <= INLINE:
            return reason
        if reason not in self.long:
            self.long.append(reason)
        return f"[{self.long.index(reason) + 1}]"

    @property
    def notes(self) -> list[str]:
        """Sentences for below the table."""
        found = [f"not comparable, all of this study: {self.why_not}"] if self.why_not else []
        return [*found, *(f"[{number}] {reason}." for number, reason in enumerate(self.long, 1))]


def place_of(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Line and column of a classifier's report that a number stands for, by its row's role and its column ``name``."""
    kind = row.get("role", "")
    if kind == "class":
        return str(row["class"]), name
    # The accuracy of a report stands in one of the columns of its measures.
    return (kind, "accuracy") if kind == "accuracy" and name in ("precision", "recall", "f1") else (kind, name)


def name_of(column: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Name of our number beside a printed one: a column of a history, a metric, or a measure of slices."""
    if column.get("aggregate") == "slices":
        return place_of(row, role(column))[1]
    return str(column.get("history") or column.get("metric") or "")


def regions_of(paper: Paper, model: str, column: Mapping[str, Any]) -> list[str]:
    """Regions that a model's number in a column is over."""
    wanted = column.get("regions", "mean")
    return [region for region in paper.regions.get(model, ()) if wanted == "mean" or region in wanted]


def key_of(paper: Paper, model: str, column: Mapping[str, Any], row: Mapping[str, Any]) -> Key:
    """What our number in a cell shows: a mean over patients or runs, or a measure of pooled counts.

    The region is that of a number over one region, None where it is over several or is of a training.
    """
    statistic = "pooled" if column.get("aggregate") in ("pooled", "slices") else "mean"
    regions = [SLICE] if column.get("aggregate") == "slices" else regions_of(paper, model, column)
    region = regions[0] if len(regions) == 1 and "history" not in column else None
    return Key(model, name_of(column, row), region, statistic)


def keyed(text: str, key: Key, statistic: str, against: str = "") -> Cell:
    """A cell that shows another statistic of the number of ``key``."""
    return Cell(text, key=replace(key, statistic=statistic, against=against))


def value_cells(
    printed: Value | None, column: Mapping[str, Any], found: Ours | None, why: str, reasons: Reasons, key: Key
) -> list[str | Cell]:
    """Ours, its interval, the difference and the verdict, each with the reason where there is none.

    ``why`` is the reason why the two are not comparable, empty where they are; ``key`` says which number ours is.
    """
    if found is None:
        return [reasons.short(why), NONE, NONE, reasons.cell(why)]
    would_be = verdict(printed, found, column) if printed and "none" not in column else ""
    percent = printed.percent if printed else column.get("unit") == "%"
    scale, digits = (100.0 if percent else 1.0), decimals(printed, column)
    gap = "nothing printed" if printed is None else f"{(found.value - printed.number) * scale:+.{digits}f}"
    said = reasons.cell(why, would_be) if why else would_be
    ours = f"{found.value * scale:.{digits}f}"
    if "±" in (printed.text if printed else "") and not math.isnan(found.sd):
        ours += f" ± {found.sd * scale:.{digits}f}"
    return [
        Cell(ours, key=key), keyed(interval_cell(found, column, scale, digits), key, "ci"),
        keyed(gap, key, "difference_from_printed"), keyed(said, key, "verdict"),
    ]  # fmt: skip


def interval_cell(found: Ours, column: Mapping[str, Any], scale: float, digits: int) -> str:
    """Our 95% interval, or why there is none."""
    if not math.isnan(found.low):
        return f"{found.low * scale:.{digits}f} to {found.high * scale:.{digits}f}"
    if "history" in column:
        return "none: one value per training"
    return "none: a count" if digits == 0 else "none: fewer than two patients"


def gap_cells(gap: Ours, name: str, scale: float = 1.0, digits: int = 3) -> list[str]:
    """A difference, its interval, and whether the interval shows that ``name`` is higher or lower."""
    if math.isnan(gap.low):
        return [f"{gap.value * scale:+.{digits}f}", NONE, "no interval: fewer than two patients"]
    shown = "no difference shown"
    if not Interval(gap.low, gap.high).meets(Interval(0.0, 0.0)):
        shown = f"{name} higher" if gap.low > 0 else f"{name} lower"
    interval = f"{gap.low * scale:+.{digits}f} to {gap.high * scale:+.{digits}f}"
    return [f"{gap.value * scale:+.{digits}f}", interval, shown]
