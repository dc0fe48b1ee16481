"""Recall by the volume of a lesion, and its interval where patients have several."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark.stats.recall import recall_by_volume, share_interval


def lesions(*rows):
    """Rows of patient, volume, share of runs that found it, Dice; of model a in ET."""
    table = pd.DataFrame(rows, columns=["patient_id", "volume", "found", "dice"])
    return table.assign(model="a", region="ET")


def test_lesions_are_sorted_by_their_own_volume():
    table = lesions(
        ("P1", 0.06, 0, 0), ("P1", 0.1, 1, 0.4), ("P2", 0.5, 0.5, 0.2), ("P1", 25, 1, 0.8), ("P2", 12, 1, 1)
    )
    found = recall_by_volume(pd.concat([table, table[table["volume"] > 1].assign(model="b", found=0, dice=0)]))
    rows = found[["volume", "model", "n_lesions", "n_patients", "recall", "dice"]].to_numpy().tolist()
    assert rows == [
        ["up to 0.1", "a", 2, 1, 0.5, 0.2],
        ["0.1 to 1", "a", 1, 1, 0.5, 0.2],
        ["above 10", "a", 2, 2, 1.0, 0.9],
        ["above 10", "b", 2, 2, 0.0, 0.0],
    ]
    assert found[["low", "high"]].isna().all(axis=1).tolist() == [True, True, False, False]


def test_the_interval_of_patients_with_one_lesion_each_is_wilsons():
    values = np.array([1.0, 1, 1, 0, 1, 0, 1, 1])
    low, high = share_interval(values, np.arange(8))
    # The same with t for z and n - 1 for n in the variance, as the design effect is n / (n - 1).
    t, n, p = stats.t.ppf(0.975, 7), 7.0, 0.75
    for bound in (low, high):
        assert (bound - p) ** 2 == pytest.approx(t**2 * bound * (1 - bound) / n)
    # Lesions that only repeat their patient say no more than one of them.
    assert share_interval(np.repeat(values, 5), np.repeat(np.arange(8), 5)) == pytest.approx((low, high))
    # Where all are found the patients count, and with one patient nothing is known.
    low, high = share_interval(np.ones(20), np.repeat(np.arange(4), 5))
    assert high == 1 and 0.2 < low < 0.35
    assert np.isnan(share_interval(np.ones(3), np.zeros(3))).all()


@pytest.mark.parametrize(
    ("patients", "mean", "alike"), [(8, 0.8, 0.3), (18, 0.5, 0.8), (18, 0.95, 0.3), (60, 0.8, 0.0)]
)
def test_the_interval_holds_the_share_of_lesions_that_are_alike_within_a_patient(patients, mean, alike):
    random, held, binomial = np.random.default_rng(5), 0, 0
    for _ in range(400):
        odds = (mean * (1 - alike) / alike, (1 - mean) * (1 - alike) / alike) if alike else None
        share = random.beta(*odds, patients) if odds else np.full(patients, mean)
        own = np.repeat(np.arange(patients), 1 + random.poisson(2, patients))
        values = (random.random(len(own)) < share[own]).astype(float)
        low, high = share_interval(values, own)
        naive = stats.binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
        held, binomial = held + (low <= mean <= high), binomial + (naive.low <= mean <= naive.high)
    assert held / 400 > 0.92
    if alike > 0.5:
        assert binomial / 400 < 0.85
