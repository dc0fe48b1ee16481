"""Judge from a training's history, or a classifier's counts, whether a network has learned what it can."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.stats.estimates import watched

TOLERANCE = 0.01
"""Change of the validation score between two fifths of the epochs up to which a training is on its plateau."""

LEAST_EPOCHS = 10
"""Fewer epochs have no plateau: two fifths of them would be single epochs."""


RISING = "the schedule ended while validation Dice was still rising"
"""The rule by which such a training counts: its schedule's end alone."""


@dataclass(frozen=True)
class Plateau:
    """Whether a training was on its plateau when it ended, by which of the rules (``kind``), and what shows it.

    ``kind`` is "early stopping", "flat curve", "schedule ended", ``RISING``, or empty where none holds.
    """

    kind: str
    reason: str

    @property
    def reached(self) -> bool:
        """Whether one of the rules holds."""
        return bool(self.kind)


def plateau(history: pd.DataFrame, max_epochs: int) -> Plateau:
    """Judge a complete training by its history, one row per epoch as in ``history.csv``.

    It was on its plateau where early stopping ended it, where the mean validation score of the last fifth of the epochs
    is within ``TOLERANCE`` of that of the fifth before, or where its learning rate had decayed to zero when it ended.
    """
    count = len(history)
    if 0 < count < max_epochs:
        return Plateau("early stopping", f"early stopping after {count} of {max_epochs} epochs")
    change, shown = _change(history)
    if count >= LEAST_EPOCHS and abs(change) <= TOLERANCE:
        return Plateau("flat curve", shown)
    if count and float(history["learning_rate"].iloc[-1]) == 0:
        kind = RISING if "val_dice" in history and change > TOLERANCE else "schedule ended"
        return Plateau(kind, f"the learning rate reached zero after {count} epochs; {shown}")
    if count < LEAST_EPOCHS:
        return Plateau("", f"{count} epochs; at least {LEAST_EPOCHS} are needed to see a plateau")
    return Plateau("", shown)


def _change(history: pd.DataFrame) -> tuple[float, str]:
    """Change of the mean validation score from the last fifth but one to the last, NaN where unknown, and in words."""
    score = watched(history)
    if not score:
        return np.nan, "no validation score was recorded"
    count = len(history)
    fifth = count // 5
    # Epochs between two validations have no score.
    last, before = (history[score].iloc[count - end : count - end + fifth].mean() for end in (fifth, 2 * fifth))
    if np.isnan(last) or np.isnan(before):
        return np.nan, f"no {score} in one of the last two fifths of {count} epochs"
    change = float(last - before)
    return change, f"{score} changed by {change:+.3f} from the fifth of the epochs before to the last"


def beats_majority(counts: np.ndarray) -> bool:
    """Return whether a classifier is right more often than always saying the more frequent class would be.

    ``counts`` are tp, fp, fn and tn of all slices.
    """
    tp, fp, fn, tn = (float(value) for value in counts)
    return tp + tn > max(tp + fn, fp + tn)
