"""A printed classification report, and a printed table of p values, to what they imply together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.papers.implied import enumerated
from benchmark.papers.implied.rows import Finding, under
from benchmark.papers.published import Interval, Value, cell, role
from benchmark.scoring.counts import ReportCell

MEASURES = ("precision", "recall", "f1", "accuracy", "support")
"""Roles of the columns of a classification report."""


def printed_report(table: Mapping[str, Any]) -> dict[ReportCell, Value]:
    """Cells of a printed binary classification report by row and measure; empty for any other table."""
    cells: dict[ReportCell, Value] = {}
    for row in table["rows"]:
        name = str(row["class"]) if row.get("role") == "class" else row.get("role")
        for column, printed in zip(table["columns"], row["values"], strict=True):
            value, measure = cell(column, printed), role(column)
            if name and value is not None and measure in MEASURES:
                cells[name, "accuracy" if name == "accuracy" and measure != "support" else measure] = value
    binary = all(row.get("class", 0) in (0, 1) for row in table["rows"])
    return cells if binary and {("0", "support"), ("1", "support")} <= set(cells) else {}


def report(table: Mapping[str, Any], cells: Mapping[ReportCell, Value]) -> list[Finding]:
    """Whether any confusion matrix with the printed supports gives all cells, and which cells are in conflict."""
    negatives, positives = (int(cells[name, "support"].number) for name in ("0", "1"))
    found = enumerated.matrices(negatives, positives, cells)
    count, where = len([cell for cell in cells if cell[1] != "support"]), table["id"]
    supports = f"supports {negatives} and {positives}"
    follows = f"{len(found.fitting)} of {(negatives + 1) * (positives + 1)} matrices give all {count} cells"
    if not len(found.fitting):
        tn, fp, fn, tp = found.best[0]
        follows += (
            f"; at most {count - len(found.missed)} fit, as with TN {tn}, FP {fp}, FN {fn}, TP {tp}, which misses "
            f"{', '.join(map(_name, found.missed))}"
        )
    findings = [
        Finding("a confusion matrix", where, f"{count} cells, {supports}", follows,
                "consistent" if len(found.fitting) else "contradiction",
                "Every confusion matrix with these supports was tried against all printed cells under rounding.")
    ]  # fmt: skip
    findings += [
        Finding("a cell alone", where, f"{_name(one)} {cells[one].text}, {supports}", "no matrix gives it",
                "contradiction", "No confusion matrix with these supports gives this cell, whatever the others are.")
        for one in found.alone
    ]  # fmt: skip
    findings += [
        Finding("two cells", where, f"{_name(a)} {cells[a].text}, {_name(b)} {cells[b].text}",
                "no matrix gives both", "contradiction", _why(a, b))
        for a, b in found.pairs
        if not {a, b} & _echoes(cells)
    ]  # fmt: skip
    return [*findings, *_totals(where, cells, negatives + positives)]


ONE_NUMBER = ("micro", "precision"), ("micro", "recall"), ("micro", "f1")
"""Cells that are the accuracy under another name, whatever the matrix."""


def _echoes(cells: Mapping[ReportCell, Value]) -> set[ReportCell]:
    """Micro averages that are printed like the accuracy: what is in conflict with it is in conflict with them."""
    accuracy = cells.get(("accuracy", "accuracy"))
    return {cell for cell in ONE_NUMBER if accuracy and cell in cells and cells[cell].interval == accuracy.interval}


def _name(one: ReportCell) -> str:
    row, measure = one
    if row == "accuracy":
        return "accuracy"
    return f"{measure} of class {row}" if row in ("0", "1") else f"{row} average of {measure}"


def _why(a: ReportCell, b: ReportCell) -> str:
    if {a, b} <= {("accuracy", "accuracy"), ("weighted", "recall"), *ONE_NUMBER}:
        return "Accuracy, every micro average and the weighted recall are one number."
    return "No confusion matrix with these supports gives the two cells together."


def _totals(where: str, cells: Mapping[ReportCell, Value], total: int) -> list[Finding]:
    printed = {name: int(value.number) for (name, measure), value in cells.items()
               if measure == "support" and name not in ("0", "1")}  # fmt: skip
    if not printed:
        return []
    return [
        Finding("supports add up", where, ", ".join(f"{name} {number}" for name, number in printed.items()),
                f"{total}", "consistent" if set(printed.values()) == {total} else "contradiction",
                "The support of a total is the sum over classes.")
    ]  # fmt: skip


def runs(table: Mapping[str, Any]) -> list[Finding]:
    """Which numbers of runs make printed p values come out of printed means and SDs, per row and for all rows.

    The reference is the row without a p. A bound is read twice: literally (p < 0.05), and as a ladder, where a smaller
    bound of the table would have been printed if it had been met (0.01 <= p < 0.05).
    """
    place = {role(column): index for index, column in enumerate(table["columns"])}
    spread = next((i for r, i in place.items() if r not in ("p", "")), None)
    if spread is None:
        return []
    rows = [
        (row["label"], cell(table["columns"][spread], row["values"][spread]),
         cell(table["columns"][place["p"]], row["values"][place["p"]]))
        for row in table["rows"]
    ]  # fmt: skip
    reference = next((value for _, value, p in rows if p is None and value and value.spread), None)
    tested = [(label, value, p) for label, value, p in rows if p is not None and value and value.spread]
    if reference is None or not tested:
        return []
    steps = enumerated.ladder([p.number for _, _, p in tested if p.bound == "<"])
    findings: list[Finding] = []
    found: dict[str, dict[bool, list[dict[str, np.ndarray]]]] = {"p as printed": {}, "p as a ladder": {}}
    for label, value, p in tested:
        for reading in found:
            bounds = _bounds(p, steps, ladder=reading == "p as a ladder")
            fitting = {rounding: enumerated.runs_for(value, reference, bounds, rounding) for rounding in (False, True)}
            for rounding, numbers in fitting.items():
                found[reading].setdefault(rounding, []).append(numbers)
            where = f"{table['id']}, {label}"
            printed = f"{value.text} against {reference.text}, p {p.text}"
            findings.append(_finding(f"runs, {reading}", where, printed, fitting))
    if len(tested) > 1:
        printed = ", ".join(f"{label} p {p.text}" for label, _, p in tested)
        for reading, by_rounding in found.items():
            joint = {rounding: _joint(rows) for rounding, rows in by_rounding.items()}
            findings.append(_finding(f"all rows, {reading}", table["id"], printed, joint))
    return findings


def _bounds(p: Value, steps: Mapping[float, Interval], ladder: bool) -> Interval:
    if p.bound == ">":
        return Interval(p.number, math.inf)
    if p.bound == "<":
        return steps[p.number] if ladder else Interval(0.0, p.number)
    return p.interval


def _joint(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Numbers that fit every row: under one test with one correlation, and with a correlation of its own a row."""
    joint = {name: rows[0][name] for name in rows[0]}
    free = _any(rows[0])
    for row in rows[1:]:
        joint = {name: np.intersect1d(numbers, row[name]) for name, numbers in joint.items()}
        free = np.intersect1d(free, _any(row))
    return {**joint, "paired t, r of its own a row": free}


def _any(row: dict[str, np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([numbers for name, numbers in row.items() if name.startswith("paired")]))


def _finding(relation: str, where: str, printed: str, fitting: dict[bool, dict[str, np.ndarray]]) -> Finding:
    exact, rounded = (any(len(n) for n in fitting[rounding].values()) for rounding in (False, True))
    shown = fitting[not exact]
    follows = "; ".join(f"{name}: {_numbers(numbers)}" for name, numbers in shown.items())
    if not exact and rounded:
        follows = f"with means and SDs as they may have been before rounding: {follows}"
    sentence = f"Numbers of runs of each model for which the p of a test fits, of 2 to {enumerated.MOST_RUNS}."
    found = Finding(
        relation, where, printed, follows if exact or rounded else "no number of runs fits",
        "consistent" if exact else "only by rounding" if rounded else "contradiction", sentence,
    )  # fmt: skip
    return under(found, "p is of a t test on as many runs of each model, with one of these correlations")


def _numbers(numbers: np.ndarray) -> str:
    if not len(numbers):
        return "none"
    if len(numbers) == 1:
        return str(numbers[0])
    end = "or more" if numbers[-1] == enumerated.MOST_RUNS else f"to {numbers[-1]}"
    return f"{numbers[0]} {end}"
