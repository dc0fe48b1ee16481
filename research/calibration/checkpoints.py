"""Measure the two-level test's power as planned, and its errors where a run is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from candidates import two_level
from drawing import modelled
from promises import planted_shift
from rates import ALPHA, LABELS, NEW_SEEDS, SHOWN, row, two_sides
from sources import Seeds

from benchmark.stats.power import PLAN, POWER, method_sample_size
from benchmark.stats.seeds import Components, ScoreBlock, estimate

PLANTED = {"dice WT": (0.02, 0.04, 0.08), "dice ET": (0.05, 0.1, 0.2)}
"""True mean differences of Dice between methods to find, by outcome."""
FOLDS, SEEDS = (1, 3), (2, 3, 5)
MOST = 1000
"""Patients at most in a simulated study."""


def power_rows(real: Seeds, trials: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Share of studies of the planned size that find what was planted between methods, at alpha on one comparison.

    The plan is made from the variances that one very large study shows, so that what is judged is the plan and not a
    pilot's luck. All patients are under the first of the real models, since a plan is for one pair.
    """
    models = real.centres.shape[1]
    one = replace(real, centres=np.repeat(real.centres[:, :1], models, axis=1))
    for outcome, differences in PLANTED.items():
        for difference in differences:
            shift = planted_shift(one, outcome, difference)
            parts = _components(one, outcome, shift)
            for folds in FOLDS:
                for seeds in SEEDS:
                    n = _planned(difference, parts, folds, seeds)
                    if n > MOST:
                        continue
                    hits = np.concatenate([
                        two_level(*_sides(one, random, part, int(n), seeds, folds, shift, outcome), folds) < ALPHA
                        for part in np.diff(np.linspace(0, trials, 11).astype(int))
                    ])  # fmt: skip
                    scope = f"{outcome} +{difference:g}, methods, {folds} fold{'s' if folds > 1 else ''}"
                    yield row("planned", NEW_SEEDS, "two_level", scope, (int(n), seeds), hits, POWER, at_least=True)


def missing_rows(real: Seeds, trials: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """False differences of one method under two names, three folds and two seeds, where one run of one name is gone."""
    for n in (18, 250):
        drawn = np.round(modelled(random, real, real.rho, trials, n, 2, 2, folds=3), 12)
        folds = [np.flatnonzero(np.arange(n) % 3 == fold) for fold in range(3)]
        for outcome in SHOWN:
            values = drawn[..., LABELS.index(outcome)]
            p = np.empty(trials)
            for trial in range(trials):
                first, second = ([ScoreBlock(own, values[trial, own, name]) for own in folds] for name in (0, 1))
                first[0] = ScoreBlock(folds[0], first[0].values[:, :1])
                p[trial] = estimate(first, second)[0].p
            yield row("shift_folds_gap", NEW_SEEDS, "two_level", outcome, (n, 2), p < ALPHA, ALPHA)


def _planned(difference: float, parts: Components, folds: int, seeds: int) -> float:
    plan = pd.DataFrame([(difference, *parts, folds, seeds)], columns=PLAN)
    return float(method_sample_size(plan, ALPHA)[0])


def _components(real: Seeds, outcome: str, shift: np.ndarray) -> Components:
    """Mean variances of 40 studies of 400 patients and 12 checkpoints a method."""
    found = []
    random = np.random.default_rng(8)
    for _ in range(40):
        sides = _sides(real, random, 1, 400, 12, 1, shift, outcome)
        pair = [[ScoreBlock(np.arange(400), side[0])] for side in sides]
        found.append(estimate(*pair)[1])
    return Components(*np.mean(found, axis=0))


def _sides(
    real: Seeds, random: np.random.Generator, trials: int, n: int, seeds: int, folds: int, shift: np.ndarray,
    outcome: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Scores of both methods, (trials, patients, seeds)."""
    drawn = modelled(random, real, real.rho, trials, n, 2, seeds, folds, shift=shift)
    return two_sides(drawn[..., [LABELS.index(outcome)]])
