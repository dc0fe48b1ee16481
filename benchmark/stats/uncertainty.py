"""Say how well an uncertainty finds the cases in which a segmentation failed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

FAILED = 0.5
"""Dice below which a case counts as failed."""

FEWEST = 5
"""Failed cases, and cases that did not fail, below which no area under the curve is given: it would be chance."""


class Found(NamedTuple):
    """Cases, how many of them failed, and the area under the ROC curve; NaN where either kind is too rare."""

    cases: int
    failed: int
    auroc: float


def finds_failures(uncertainty: np.ndarray, dice: np.ndarray) -> Found:
    """Return the probability that a failed case is more uncertain than another one, ties counting half."""
    failed = dice < FAILED
    count = int(failed.sum())
    if min(count, len(dice) - count) < FEWEST:
        return Found(len(dice), count, math.nan)
    above = stats.mannwhitneyu(uncertainty[failed], uncertainty[~failed], method="asymptotic").statistic
    return Found(len(dice), count, float(above / (count * (len(dice) - count))))
