"""Measure the two-level test's power as planned, and its errors where a run is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from candidates import two_level
from drawing import by_run, modelled, partitions
from promises import planted_shift
from rates import ALPHA, LABELS, NEW_SEEDS, SHOWN, row, two_sides
from sources import Seeds

from benchmark.stats.power import PLAN, POWER, method_sample_size
from benchmark.stats.seeds import Components, components, estimate, pair_runs

PLANTED = {"dice WT": (0.02, 0.04, 0.08), "dice ET": (0.05, 0.1, 0.2)}
"""True mean differences of Dice between methods to find, by outcome."""
FOLDS, SEEDS = (3, 5), (2, 3, 5)
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
                    hits = []
                    for part in np.diff(np.linspace(0, trials, 11).astype(int)):
                        own = partitions(random, int(n), folds, seeds)
                        hits.append(two_level(*_sides(one, random, part, own, shift, outcome), own) < ALPHA)
                    scope = f"{outcome} +{difference:g}, methods, {folds} folds"
                    yield row(
                        "planned", NEW_SEEDS, "two_level", scope, (int(n), seeds), np.concatenate(hits), POWER, True
                    )


def missing_rows(real: Seeds, trials: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """False differences of one method under two names, three folds and two seeds, where one run of one name is gone."""
    for n in (18, 250):
        folds = partitions(random, n, 3, 2)
        drawn = np.round(modelled(random, real, real.rho, trials, n, 2, 2, folds), 12)
        for outcome in SHOWN:
            values = drawn[..., LABELS.index(outcome)]
            p = np.empty(trials)
            for trial in range(trials):
                # Of the first name the run of the first fold and seed is missing.
                runs = by_run(values[trial, :, 0] - values[trial, :, 1], folds).to_numpy()
                p[trial] = estimate(runs[:, 1:]).p
            yield row("shift_gap", NEW_SEEDS, "two_level", outcome, (n, 2), p < ALPHA, ALPHA)


def _planned(difference: float, parts: Components, folds: int, seeds: int) -> float:
    plan = pd.DataFrame([(difference, *parts, folds, seeds)], columns=PLAN)
    return float(method_sample_size(plan, ALPHA)[0])


def _components(real: Seeds, outcome: str, shift: np.ndarray) -> Components:
    """Mean variances of 40 studies of 400 patients, three folds and four seeds."""
    found, random = [], np.random.default_rng(8)
    for _ in range(40):
        folds = partitions(random, 400, 3, 4)
        first, second = (by_run(side[0], folds) for side in _sides(real, random, 1, folds, shift, outcome))
        found.append(components(pair_runs(first, second)))
    return Components(*np.mean(found, axis=0))


def _sides(
    real: Seeds, random: np.random.Generator, trials: int, folds: np.ndarray, shift: np.ndarray, outcome: str
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both methods, (trials, patients, seeds)."""
    drawn = modelled(random, real, real.rho, trials, folds.shape[1], 2, len(folds), folds, shift=shift)
    return two_sides(drawn[..., [LABELS.index(outcome)]])
