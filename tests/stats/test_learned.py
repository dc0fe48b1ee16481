"""Tests of benchmark.stats.learned."""

import numpy as np
import pandas as pd
import pytest

from benchmark.stats.learned import beats_majority, plateau


def history(scores, rate=0.001, name="val_dice"):
    return pd.DataFrame({"epoch": range(1, len(scores) + 1), name: scores, "learning_rate": rate})


@pytest.mark.parametrize(
    ("scores", "max_epochs", "reached"),
    [
        ([0.1 * epoch for epoch in range(5)], 10, True),  # early stopping
        ([0.1 * epoch for epoch in range(10)], 10, False),
        ([0.0] * 3, 3, False),  # nothing learned in three epochs is no plateau
        ([0.0] * 6 + [0.5, 0.6, 0.56, 0.558], 10, True),  # 0.55 and 0.559
        ([0.0] * 6 + [0.5, 0.6, 0.57, 0.56], 10, False),  # 0.55 and 0.565
        ([0.0] * 6 + [0.5, 0.6, 0.53, 0.53], 10, False),  # a fall is no plateau either
        ([0.0] * 6 + [np.nan, 0.6, np.nan, 0.605], 10, True),  # validated every second epoch
        ([0.6] * 8 + [np.nan, np.nan], 10, False),
        ([], 10, False),
    ],
)
def test_a_plateau_is_early_stopping_or_two_equal_fifths(scores, max_epochs, reached):
    assert plateau(history(scores), max_epochs).reached is reached
    assert plateau(history(scores, name="val_accuracy"), max_epochs).reached is reached


def test_a_schedule_that_ended_at_zero_counts_and_says_whether_the_score_still_rose():
    rates = [0.01 * (1 - epoch / 5) ** 0.9 for epoch in range(1, 6)]
    ended = plateau(history([0.1, 0.2, 0.3, 0.4, 0.41], rates), 5)
    assert ended.reached and ended.kind == "schedule ended"
    assert ended.reason.startswith("the learning rate reached zero after 5 epochs; val_dice changed by +0.010")
    rising = plateau(history([0.1, 0.2, 0.3, 0.4, 0.411], rates), 5)
    assert rising.reached and rising.kind == "the schedule ended while validation Dice was still rising"
    assert plateau(history([0.1, 0.2, 0.3, 0.4, 0.2], rates), 5).kind == "schedule ended"
    assert plateau(history([0.1, 0.2, np.nan, 0.4, np.nan], rates), 5).kind == "schedule ended"
    flat = plateau(history([0.0] * 6 + [0.5, 0.6, 0.56, 0.558], [0.01] * 9 + [0]), 10)
    assert flat.kind == "flat curve" and flat.reason.startswith("val_dice changed by +0.009")
    assert plateau(history([0.1] * 5, rates), 6).reason == "early stopping after 5 of 6 epochs"
    assert "changed by +0.015" in plateau(history([0.0] * 6 + [0.5, 0.6, 0.57, 0.56]), 10).reason


def test_a_history_without_scores_has_no_plateau():
    assert plateau(history([np.nan] * 10), 10).reason == "no validation score was recorded"


@pytest.mark.parametrize(
    ("counts", "beats"),
    [([84, 16, 0, 0], False), ([80, 5, 4, 11], True), ([16, 84, 0, 0], False), ([0, 0, 16, 84], False)],
)
def test_a_classifier_is_compared_with_the_more_frequent_class(counts, beats):
    assert beats_majority(np.array(counts)) is beats
