"""Whether an uncertainty finds failed cases, against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.stats.uncertainty import FAILED, FEWEST, finds_failures


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_that_of_scikit_learn_with_ties(seed):
    random = np.random.default_rng(seed)
    dice, uncertainty = random.random(40), random.integers(0, 6, 40) / 6
    found = finds_failures(uncertainty, dice)
    assert found.cases == 40 and found.failed == (dice < FAILED).sum()
    assert found.auroc == pytest.approx(roc_auc_score(dice < FAILED, uncertainty))


def test_too_few_failures_or_successes_have_no_area():
    for failed in (0, FEWEST - 1, 20 - FEWEST + 1, 20):
        dice = np.where(np.arange(20) < failed, 0.1, 0.9)
        found = finds_failures(1 - dice, dice)
        assert found[:2] == (20, failed) and math.isnan(found.auroc)
    dice = np.where(np.arange(20) < FEWEST, 0.1, 0.9)
    assert finds_failures(1 - dice, dice).auroc == 1
    # Half a Dice is no failure.
    assert finds_failures(dice, np.full(20, FAILED)).failed == 0
