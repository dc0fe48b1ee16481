"""Check a printed classification report, and a printed table of p values, by trying every count behind them.

A report is held against every confusion matrix with its supports, p values against every number of runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmark.papers.implied.relations import graded
from benchmark.papers.implied.rows import Finding, under
from benchmark.papers.published import Interval, Value, cell, role
from benchmark.scoring.counts import ReportCell, report_cells

TESTS = {**{f"paired t, r = {r:g}": r for r in (-0.5, 0.0, 0.25, 0.5, 0.75, 0.9)}, "Welch's t": None}
"""Tests that are tried, with the correlation of paired runs, which no paper prints."""
MOST_RUNS = 1000
"""Largest number of runs that is tried."""
MATRIX = "a confusion matrix"
"""Relation of all cells of a report at once."""
Fitting = dict[str, np.ndarray]
"""Numbers of runs that fit, by the name of the test."""
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


class Matrices(NamedTuple):
    """What an enumeration of confusion matrices found.

    ``fitting`` are the matrices (n, 4) that give every cell; ``missed`` the cells that the first of those that give
    most cells does not give, and ``best`` all that give all others. ``alone`` are cells that no matrix gives, ``pairs``
    the other pairs of cells that no matrix gives together.
    """

    fitting: np.ndarray
    best: np.ndarray
    missed: list[ReportCell]
    alone: list[ReportCell]
    pairs: list[tuple[ReportCell, ReportCell]]


def matrices(negatives: int, positives: int, printed: Mapping[ReportCell, Value]) -> Matrices:
    """Try every binary confusion matrix with these supports against the printed cells of a classification report."""
    right = np.array(list(product(range(negatives + 1), range(positives + 1))))
    every = np.column_stack([right[:, 0], negatives - right[:, 0], positives - right[:, 1], right[:, 1]])
    tn, fp, fn, tp = every.T
    values = report_cells(np.stack([tp, fp, fn, tn], axis=-1))
    cells = [cell for cell in printed if cell[1] != "support" and cell in values]
    fits = np.array([_within(values[cell], printed[cell].interval) for cell in cells])
    alone = [cell for cell, fit in zip(cells, fits, strict=True) if not fit.any()]
    pairs = [
        (cells[a], cells[b])
        for a, b in combinations(range(len(cells)), 2)
        if cells[a] not in alone and cells[b] not in alone and not (fits[a] & fits[b]).any()
    ]
    of_first = fits[:, fits.sum(axis=0).argmax()]
    missed = [cell for cell, fit in zip(cells, of_first, strict=True) if not fit]
    return Matrices(every[fits.all(axis=0)], every[fits[of_first].all(axis=0)], missed, alone, pairs)


def _within(values: np.ndarray, interval: Interval) -> np.ndarray:
    return (values >= interval.low - 1e-9) & (values <= interval.high + 1e-9)


def report(table: Mapping[str, Any], cells: Mapping[ReportCell, Value]) -> list[Finding]:
    """Whether any confusion matrix with the printed supports gives all cells, and which cells are in conflict."""
    negatives, positives = (int(cells[name, "support"].number) for name in ("0", "1"))
    found = matrices(negatives, positives, cells)
    count, where = len([cell for cell in cells if cell[1] != "support"]), table["id"]
    supports = f"supports {negatives} and {positives}"
    follows = f"{len(found.fitting)} of {(negatives + 1) * (positives + 1)} matrices give all {count} cells"
    if not len(found.fitting):
        tn, fp, fn, tp = found.best[0]
        follows += (
            f"; without {len(found.missed)} of these, {', '.join(map(_name, found.missed))}, "
            f"{'one does:' if len(found.best) == 1 else f'{len(found.best)} do, such as'} "
            f"TN {tn}, FP {fp}, FN {fn}, TP {tp}"
        )
    said = "Every confusion matrix with these supports was compared with all printed cells, within rounding."
    verdict = graded(len(found.fitting), False)
    findings = [Finding(MATRIX, where, f"{count} cells, {supports}", follows, verdict, said)]
    said = "No confusion matrix with these supports gives this cell, whatever the others are."
    for one in found.alone:
        printed = f"{_name(one)} {cells[one].text}, {supports}"
        findings.append(Finding("a cell alone", where, printed, "no matrix gives it", "contradiction", said))
    for a, b in found.pairs:
        if not {a, b} & _echoes(cells):
            printed = f"{_name(a)} {cells[a].text}, {_name(b)} {cells[b].text}"
            findings.append(Finding("two cells", where, printed, "no matrix gives both", "contradiction", _why(a, b)))
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
        return "Accuracy, every micro average and the weighted recall are the same number."
    return "No confusion matrix with these supports gives both cells."


def _totals(where: str, cells: Mapping[ReportCell, Value], total: int) -> list[Finding]:
    totals = {name: int(value.number) for (name, measure), value in cells.items() if measure == "support"}
    printed = {name: number for name, number in totals.items() if name not in ("0", "1")}
    if not printed:
        return []
    shown = ", ".join(f"{name} {number}" for name, number in printed.items())
    verdict = graded(set(printed.values()) == {total}, False)
    said = "The support of a total is the sum over the classes."
    return [Finding("supports add up", where, shown, f"{total}", verdict, said)]


def p_paired(difference: float, first: float, second: float, correlation: float, runs: np.ndarray) -> np.ndarray:
    """Two-sided p of a paired t test for each number of runs, from a mean difference, two SDs and their correlation."""
    spread = np.sqrt(max(first**2 + second**2 - 2 * correlation * first * second, 1e-18))
    return np.asarray(2 * stats.t.sf(abs(difference) / (spread / np.sqrt(runs)), runs - 1))


def p_welch(difference: float, first: float, second: float, runs: np.ndarray) -> np.ndarray:
    """Two-sided p of Welch's t test for each number of runs of both models, from a difference of means and two SDs."""
    a, b = (np.maximum(sd, 1e-9) ** 2 / runs for sd in (first, second))
    freedom = (a + b) ** 2 / (a**2 / (runs - 1) + b**2 / (runs - 1))
    return np.asarray(2 * stats.t.sf(abs(difference) / np.sqrt(a + b), freedom))


def runs_for(row: Value, reference: Value, bounds: Interval, rounding: bool) -> Fitting:
    """Numbers of runs, from 2 to MOST_RUNS, under which a test's p is in ``bounds``, by the test's name.

    ``row`` and ``reference`` are printed as mean ± SD. With ``rounding`` every mean and SD that rounds to the printed
    one is allowed: p is then a range, between the corners of these intervals.
    """
    runs = np.arange(2, MOST_RUNS + 1)
    assert row.spread and reference.spread
    corners = [(reference.number - row.number, row.spread[0], reference.spread[0])]
    if rounding:
        ends = product(row.interval, reference.interval, row.spread[1], reference.spread[1])
        corners = [(high - low, first, second) for low, high, first, second in ends]
        if row.interval.meets(reference.interval):
            corners += [(0.0, first, second) for _, first, second in corners]
    found = {}
    for name, correlation in TESTS.items():
        p = np.array([p_welch(*c, runs) if correlation is None else p_paired(*c, correlation, runs) for c in corners])
        low, high = p.min(axis=0), p.max(axis=0)
        found[name] = runs[(low < bounds.high) & (high >= bounds.low)]
    return found


def runs(table: Mapping[str, Any]) -> list[Finding]:
    """Which numbers of runs make printed p values come out of printed means and SDs, per row and for all rows.

    The reference is the row without a p.
    """
    columns = {role(column): column for column in table["columns"]}
    spread = next((name for name in columns if name not in ("p", "")), None)
    if spread is None:
        return []
    rows = []
    for row in table["rows"]:
        texts = {role(column): text for column, text in zip(table["columns"], row["values"], strict=True)}
        value, p = (cell(columns[name], texts[name]) for name in (spread, "p"))
        if value and value.spread:
            rows.append((row["label"], value, p))
    reference = next((value for _, value, p in rows if p is None), None)
    tested = [(label, value, p) for label, value, p in rows if p is not None]
    if reference is None or not tested:
        return []
    findings: list[Finding] = []
    found: list[dict[bool, Fitting]] = []
    for label, value, p in tested:
        bounds = _bounds(p)
        found.append({rounding: runs_for(value, reference, bounds, rounding) for rounding in (False, True)})
        printed = f"{value.text} against {reference.text}, p {p.text}"
        findings.append(_finding("runs behind p", f"{table['id']}, {label}", printed, found[-1]))
    if len(tested) > 1:
        printed = ", ".join(f"{label} p {p.text}" for label, _, p in tested)
        joint = {rounding: _joint([fitting[rounding] for fitting in found]) for rounding in (False, True)}
        findings.append(_finding("runs behind all p", table["id"], printed, joint))
    return findings


def _bounds(p: Value) -> Interval:
    if p.bound == ">":
        return Interval(p.number, math.inf)
    return Interval(0.0, p.number) if p.bound == "<" else p.interval


def _joint(rows: Sequence[Fitting]) -> Fitting:
    """Numbers that fit every row: under one test with one correlation, and with a correlation per row."""
    joint = {name: reduce(np.intersect1d, [row[name] for row in rows]) for name in rows[0]}
    paired = [np.concatenate([row[name] for name in row if name.startswith("paired")]) for row in rows]
    return {**joint, "paired t, r different per row": reduce(np.intersect1d, paired)}


def _finding(relation: str, where: str, printed: str, fitting: Mapping[bool, Fitting]) -> Finding:
    exact, rounded = (any(len(n) for n in fitting[rounding].values()) for rounding in (False, True))
    follows = "no number of runs fits"
    if exact or rounded:
        shown = [(name, _numbers(fitting[False][name]), _numbers(wide)) for name, wide in fitting[True].items()]
        follows = "; ".join(f"{name}: {one}{f' (before rounding {wide})' * (wide != one)}" for name, one, wide in shown)
    sentence = (
        f"Numbers of runs per model, from 2 to {MOST_RUNS}, for which a test gives the printed p from means and SDs as "
        "printed, and in brackets from what they may have been before rounding, where that differs."
    )
    found = Finding(relation, where, printed, follows, graded(exact, rounded), sentence)
    return under(found, "p comes from a t test on equally many runs of each model, with one of these correlations")


def _numbers(numbers: np.ndarray) -> str:
    if not len(numbers):
        return "none"
    if len(numbers) == 1:
        return str(numbers[0])
    end = "or more" if numbers[-1] == MOST_RUNS else f"to {numbers[-1]}"
    return f"{numbers[0]} {end}"
