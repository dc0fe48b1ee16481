import numpy as np
import pytest
from helpers.synthetic_scores import rows, table

from benchmark.scoring.counts import tversky
from benchmark.scoring.metrics import COUNTS
from benchmark.stats.estimates import patient_counts, pooled_interval


def test_counts_average_seeds_and_add_up_cases():
    made = [row for seed, tp in ((1, 10), (2, 14)) for name, value in zip(COUNTS, (tp, 1, 2, 3), strict=True)
            for row in rows("m", {"A/1": value, "A/2": value, "B/1": value}, metric=name, seed=seed)]  # fmt: skip
    assert patient_counts(table(made), "m", "WT").tolist() == [[24, 2, 4, 6], [12, 1, 2, 3]]
    assert patient_counts(table(made), "other", "WT").shape == (0, 4)


def test_the_interval_resamples_patients():
    random = np.random.default_rng(0)
    counts = random.integers(20, 200, (15, 4)).astype(float)
    value, low, high = pooled_interval(counts, tversky)
    assert value == pytest.approx(float(tversky(counts.sum(axis=0))))
    one = np.random.default_rng(9)
    direct = [float(tversky(counts[one.integers(0, 15, 15)].sum(axis=0))) for _ in range(4000)]
    assert (low, high) == pytest.approx(np.quantile(direct, [0.025, 0.975]), abs=0.005)
    assert pooled_interval(counts, tversky) == (value, low, high)


def test_equal_patients_leave_no_doubt_and_one_patient_gives_no_interval():
    same = np.tile([8.0, 2.0, 2.0, 88.0], (5, 1))
    assert pooled_interval(same, tversky) == pytest.approx((0.8, 0.8, 0.8))
    assert np.isnan(pooled_interval(same[:1], tversky)[1:]).all()


def test_regions_are_averaged_after_pooling():
    counts = np.array([[[8.0, 2, 2, 88], [4, 4, 4, 88]]] * 3)
    assert pooled_interval(counts, tversky)[0] == pytest.approx((0.8 + 0.5) / 2)
