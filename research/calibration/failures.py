"""Count how often `benchmark check` finds failed patients where a network was merely trained anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from drawing import modelled, shuffled
from rates import ALPHA, NEW_SEEDS, row
from sources import DICE, EMPTY_HD95, Seeds

from benchmark.results.check import FALL, TENTH, fewest_failed

PATIENTS, SEEDS = (8, 16, 24, 50, 250), (1, 2, 3, 5)
MODELS = 3


def failure_rows(
    real: Seeds, networks: np.ndarray, trials: int, random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Share of checks that fail by the rule on failed patients: three models, each trained twice, and three regions.

    The models' patients are drawn apart, which makes more false alarms than the same patients would. ``networks`` are
    several networks whose runs are handed out at random: more apart than two trainings of one, so no promise is made.
    """
    for design, rho in (("shift", real.rho), ("shift_upper", real.rho_high), ("shuffled_networks", None)):
        for n in PATIENTS:
            for seeds in SEEDS if rho is not None else SEEDS[:2]:
                hits = []
                for part in np.diff(np.linspace(0, trials, 11).astype(int)) * MODELS:
                    drawn = shuffled(random, networks, part, n, 2, seeds) if rho is None else modelled(
                        random, real, rho, part, n, 2, seeds
                    )  # fmt: skip
                    most = failed(drawn[:, :, 0], drawn[:, :, 1]).sum(axis=1).max(axis=1)  # studies x models, outcomes
                    hits.append((most >= fewest_failed(n)).reshape(-1, MODELS, len(DICE)).any(axis=1))
                for scope, of in (("dice, 9 comparisons", DICE), ("dice and hd95, 18 comparisons", DICE | ~DICE)):
                    fails = np.concatenate(hits)[:, of].any(axis=1)
                    yield row(design, NEW_SEEDS, "check_failed", scope, (n, seeds), fails, ALPHA, held=rho is not None)


def failed(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Say which scores (..., outcomes) failed altogether, as ``benchmark.results.check`` does for tables."""
    dice = (old - new > FALL[""]) | ((new <= TENTH * old) & (old >= TENTH))
    hd95 = (new - old > FALL["mm"]) | ((new == EMPTY_HD95) & (old != EMPTY_HD95))
    return np.where(DICE, dice, hd95)
