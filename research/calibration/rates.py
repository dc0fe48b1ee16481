"""Count how often a test finds a difference in simulated studies, and say whether its promise is kept."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from candidates import two_level
from several import friedman, holm, iman_davenport, nemenyi
from sources import OUTCOMES
from statsmodels.stats.proportion import proportion_confint

from benchmark.stats import paired
from benchmark.stats.paired import TESTS

ALPHA = 0.05
SURE = 0.01
"""A promise is broken where the Wilson interval of the rate, at 1 - SURE, lies wholly on the wrong side of it."""
LABELS = [" ".join(outcome) for outcome in OUTCOMES]
SHOWN = ("dice WT", "dice ET", "hd95 ET")
"""Outcomes with rows of their own, smooth, tied and broken; a family holds all six."""
ASSUMED = ("shift_seeds",)
"""Designs that break what the two-level test assumes: their rates say what that would cost."""
NEW_PATIENTS, NEW_SEEDS = "new patients", "new patients and new seeds"

# 1999 flips instead of 19999: p stays exact as a test, (b + 1) / (m + 1), with the smallest p below alpha / 18.
paired.FLIPS = 1999


def row(
    design: str, answers: str, test: str, scope: str, sizes: tuple[int, int], hits: np.ndarray, promise: float,
    at_least: bool = False, held: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """One line of the table, from one boolean per trial.

    ``held`` says whether the test makes this promise; where it does not, its rate is shown for what it is.
    """
    low, high = proportion_confint(hits.sum(), hits.size, alpha=SURE, method="wilson")
    kept = high >= promise if at_least else low <= promise
    return {
        "design": design, "question": answers, "test": test, "scope": scope, "n_patients": sizes[0],
        "n_seeds": sizes[1], "trials": hits.size, "rate": round(float(hits.mean()), 4), "wilson_low": round(low, 4),
        "wilson_high": round(high, 4), "promise": round(promise, 4), "kind": "at least" if at_least else "at most",
        "promised": held, "passes": bool(kept),
    }  # fmt: skip


def two_sides(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of every pair of names, (trials x pairs x outcomes, patients, seeds), from what ``drawing`` gives."""
    pairs = [*combinations(range(scores.shape[2]), 2)]
    rows = np.moveaxis(scores, (2, 4), (1, 2))
    shape = (-1, scores.shape[1], scores.shape[3])
    return tuple(rows[:, [pair[side] for pair in pairs]].reshape(shape) for side in (0, 1))  # type: ignore[return-value]


def pair_tests(scores: np.ndarray, folds: np.ndarray) -> dict[str, np.ndarray]:
    """P values (trials, pairs, outcomes) of every declared test, from (trials, patients, names, seeds, outcomes)."""
    first, second = two_sides(scores)
    differences = np.round(first.mean(axis=2) - second.mean(axis=2), 12)
    found = {name: test(differences).p for name, test in TESTS.items()} | {"two_level": two_level(first, second, folds)}
    return {name: p.reshape(len(scores), -1, len(OUTCOMES)) for name, p in found.items()}


def null_rows(design: str, answers: str, scores: np.ndarray, folds: np.ndarray) -> Iterator[dict[str, Any]]:
    """False positives per test (first pair), of Friedman's and Nemenyi's tests, and over the Holm family.

    ``folds`` (seeds, patients) are those of the two-level test.
    """
    sizes = scores.shape[1], scores.shape[3]
    averaged = np.round(np.moveaxis(scores.mean(axis=3), 3, 1), 12)  # trials, outcomes, patients, names
    found = pair_tests(scores, folds)
    first = {name: p[:, 0] for name, p in found.items()}
    if scores.shape[2] > 2:
        rows = averaged.reshape(-1, *averaged.shape[2:])
        first |= {test.__name__: test(rows).reshape(averaged.shape[:2]) for test in (friedman, iman_davenport, nemenyi)}
    for test, p in first.items():
        held = answers == NEW_PATIENTS or (test == "two_level" and design not in ASSUMED)
        for scope in SHOWN:
            hits = p[:, LABELS.index(scope)] < ALPHA
            yield row(design, answers, test, scope, sizes, hits, ALPHA, held=held)
        if test in found:
            false = (holm(found[test].reshape(len(p), -1)) < ALPHA).any(axis=1)
            yield row(design, answers, test, "family", sizes, false, ALPHA, held=held)


def partial_rows(design: str, answers: str, scores: np.ndarray, folds: np.ndarray) -> Iterator[dict[str, Any]]:
    """Family-wise errors on the first pair, one method, while the third name is another: Holm holds there too."""
    for test, p in pair_tests(scores, folds).items():
        adjusted = holm(p.reshape(len(p), -1)).reshape(p.shape)
        held, sizes = answers == NEW_PATIENTS or test == "two_level", (scores.shape[1], scores.shape[3])
        false = (adjusted[:, 0] < ALPHA).any(axis=1)
        yield row(design, answers, test, "family", sizes, false, ALPHA, held=held)
