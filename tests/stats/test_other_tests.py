"""How much scores change in other tests: by hand, by scipy, and over the runs that took the test only."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark.stats.intervals import mean_interval
from benchmark.stats.other_tests import changes
from benchmark.stats.patients import with_models

HERE = {"P1": 0.9, "P2": 0.8, "P3": 0.7, "P4": 0.85, "P5": 0.6}
THERE = {"Q1": 0.5, "Q2": 0.7, "Q3": 0.3, "Q4": 0.55}


def scores(values, seed=1, fold=0, **changed):
    rows = [
        {
            "bundle": "unet", "variant": "default", "fold": fold, "seed": seed, "patient_id": patient,
            "case_id": f"{patient}_1", "region": "WT", "metric": "dice", "metric_version": "1", "value": value,
            "note": "", **changed,
        }
        for patient, value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_two_samples_are_compared_by_welchs_interval_as_scipy_gives_it():
    row = changes(with_models(scores(HERE)), with_models(scores(THERE)), ["dice"], paired=False).iloc[0]
    found = stats.ttest_ind(list(THERE.values()), list(HERE.values()), equal_var=False).confidence_interval()
    low, high = found.low, found.high
    assert row["mean"] == pytest.approx(0.77) and row["mean_there"] == pytest.approx(0.5125)
    assert row["change"] == pytest.approx(-0.2575)
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))
    assert (row["n_patients"], row["n_patients_there"], row["interval"]) == (5, 4, "two samples")


def test_the_same_patients_are_paired():
    there = {patient: value - 0.1 * index for index, (patient, value) in enumerate(HERE.items())}
    row = changes(with_models(scores(HERE)), with_models(scores(there)), ["dice"], paired=True).iloc[0]
    low, high = mean_interval(-0.1 * np.arange(5))
    assert row["change"] == pytest.approx(-0.2) and row["interval"] == "paired"
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low[0]), pytest.approx(high[0]))


def test_seeds_and_folds_are_averaged_within_a_patient():
    # All networks are tested on each patient there; two seeds of it are no two patients.
    there = pd.concat([scores(THERE, seed=seed, fold=fold) for seed in (1, 2) for fold in (0, 1)])
    own = pd.concat(
        [scores(dict(list(HERE.items())[fold::2]), seed=seed, fold=fold) for seed in (1, 2) for fold in (0, 1)]
    )
    several = changes(with_models(own), with_models(there), ["dice"], paired=False)
    one = changes(with_models(scores(HERE)), with_models(scores(THERE)), ["dice"], paired=False)
    pd.testing.assert_frame_equal(several, one)


def test_own_scores_of_runs_that_did_not_take_the_test_do_not_count():
    own = pd.concat([scores(HERE), scores(dict.fromkeys(HERE, 0.0), seed=2)])
    row = changes(with_models(own), with_models(scores(THERE)), ["dice"], paired=False).iloc[0]
    assert row["mean"] == pytest.approx(0.77)


def test_one_patient_has_no_interval_and_equal_scores_no_width():
    one = changes(with_models(scores(HERE)), with_models(scores({"Q1": 0.5})), ["dice"], paired=False).iloc[0]
    assert math.isnan(one["ci_low"]) and one["change"] == pytest.approx(-0.27)
    equal = [with_models(scores(dict.fromkeys(who, value))) for who, value in ((HERE, 0.5), (THERE, 0.25))]
    row = changes(*equal, ["dice"], paired=False).iloc[0]
    assert row["ci_low"] == row["ci_high"] == row["change"] == -0.25
    empty = changes(with_models(scores(HERE)), with_models(scores(THERE, note="empty")), ["dice"], paired=False)
    assert empty["n_empty"].tolist() == [4]
