"""Printed reports to the counts behind them: every confusion matrix, and every number of runs, that gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmark.papers.published import Interval, Value
from benchmark.scoring.counts import ReportCell, report_cells

CORRELATIONS = (-0.5, 0.0, 0.25, 0.5, 0.75, 0.9)
"""Correlations of paired runs that are tried where a paper prints none."""
MOST_RUNS = 1000
"""Largest number of runs that is tried."""


class Matrices(NamedTuple):
    """What an enumeration of confusion matrices found.

    ``fitting`` are the matrices (n, 4) that give every cell; ``best`` those that give most cells and ``missed`` the
    cells that the first of these does not give. ``alone`` are cells that no matrix gives, ``pairs`` the other pairs of
    cells that no matrix gives together.
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
    count = fits.sum(axis=0)
    best = count == count.max()
    missed = [cell for cell, fit in zip(cells, fits[:, best.argmax()], strict=True) if not fit]
    return Matrices(every[fits.all(axis=0)], every[best], missed, alone, pairs)


def _within(values: np.ndarray, interval: Interval) -> np.ndarray:
    return (values >= interval.low - 1e-9) & (values <= interval.high + 1e-9)


def p_paired(difference: float, first: float, second: float, correlation: float, runs: np.ndarray) -> np.ndarray:
    """Two-sided p of a paired t test for each number of runs, from a mean difference, two SDs and their correlation."""
    spread = np.sqrt(max(first**2 + second**2 - 2 * correlation * first * second, 1e-18))
    return np.asarray(2 * stats.t.sf(abs(difference) / (spread / np.sqrt(runs)), runs - 1))


def p_welch(difference: float, first: float, second: float, runs: np.ndarray) -> np.ndarray:
    """Two-sided p of Welch's t test for each number of runs of both models, from a difference of means and two SDs."""
    a, b = (np.maximum(sd, 1e-9) ** 2 / runs for sd in (first, second))
    freedom = (a + b) ** 2 / (a**2 / (runs - 1) + b**2 / (runs - 1))
    return np.asarray(2 * stats.t.sf(abs(difference) / np.sqrt(a + b), freedom))


def tests() -> list[str]:
    """Names of the tests that are tried, in order."""
    return [*(f"paired t, r = {correlation:g}" for correlation in CORRELATIONS), "Welch's t"]


def runs_for(row: Value, reference: Value, bounds: Interval, rounding: bool) -> dict[str, np.ndarray]:
    """Numbers of runs, from 2 to MOST_RUNS, under which a test's p is in ``bounds``, by the test's name.

    ``row`` and ``reference`` are printed as mean ± SD. With ``rounding`` every mean and SD that rounds to the printed
    one is allowed: p is then a range, between the corners of these intervals.
    """
    runs = np.arange(2, MOST_RUNS + 1)
    assert row.spread and reference.spread
    if rounding:
        corners = [
            (high - low, first, second)
            for low, high, first, second in product(
                row.interval, reference.interval, row.spread[1], reference.spread[1]
            )
        ]
        if row.interval.meets(reference.interval):
            corners += [(0.0, first, second) for _, first, second in corners]
    else:
        corners = [(reference.number - row.number, row.spread[0], reference.spread[0])]
    found = {}
    for name, correlation in zip(tests(), [*CORRELATIONS, None], strict=True):
        p = np.array([p_welch(*c, runs) if correlation is None else p_paired(*c, correlation, runs) for c in corners])
        low, high = p.min(axis=0), p.max(axis=0)
        found[name] = runs[(low < bounds.high) & (high >= bounds.low)]
    return found


def ladder(bounds: Sequence[float]) -> dict[float, Interval]:
    """Map each printed upper bound on p to what it says where a smaller one would have been printed if it held."""
    ordered = sorted({*bounds})
    return {bound: Interval(below, bound) for below, bound in zip([0.0, *ordered], ordered, strict=False)}
