import tracemalloc

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark.stats import intervals
from benchmark.stats.intervals import difference_intervals, mean_interval


def by_scipy(rows):
    return scipy_stats.bootstrap(
        (rows,), np.mean, axis=-1, n_resamples=intervals.RESAMPLES, confidence_level=0.95, method="BCa",
        rng=np.random.default_rng(intervals.BOOTSTRAP_SEED),
    ).confidence_interval  # fmt: skip


@pytest.mark.parametrize("count", [3, 18, 60])
def test_bca_of_many_rows_is_scipys_on_the_same_resamples(count):
    random = np.random.default_rng(count)
    rows = np.concatenate([random.normal(0.8, 0.1, (3, count)), random.lognormal(0, 1, (3, count))])
    # Multiples of 2^-20 add up without rounding: scipy too then sees which resamples have the sample's own mean.
    rows = np.round(rows * 2**20) / 2**20
    expected = by_scipy(rows)
    low, high = mean_interval(rows)
    assert low == pytest.approx(expected.low, abs=1e-10)
    assert high == pytest.approx(expected.high, abs=1e-10)


def test_intervals_of_pairs_are_those_of_their_differences():
    values = np.random.default_rng(1).normal(0.8, 0.1, (5, 30))
    a, b = np.triu_indices(5, 1)
    differences = np.round(values[a] - values[b], 12)
    found, expected = difference_intervals(values, a, b, differences), mean_interval(differences)
    assert found[0] == pytest.approx(expected[0], abs=1e-11)
    assert found[1] == pytest.approx(expected[1], abs=1e-11)


def test_differences_with_many_ties_are_resampled_as_they_are():
    # Where a resample has the sample's own mean, rounding must not say on which side it is.
    row = np.array([0.1, 0.1, 0.1, -0.1, -0.1, 0.0, 0.0, 0.0])
    low, high = mean_interval(np.array([row, row * 3]))
    assert (low[1], high[1]) == (pytest.approx(3 * low[0]), pytest.approx(3 * high[0]))


def test_blocks_bound_memory_and_change_nothing(monkeypatch):
    rows = np.random.default_rng(2).normal(0, 1, (40, 50))
    expected = mean_interval(rows)
    monkeypatch.setattr(intervals, "_BLOCK", 50_000)
    tracemalloc.start()
    found = mean_interval(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Sums of a block are of another order on some processors.
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # 40 rows of 9999 means at once would take 3.2 MB, all resamples of 50 patients 4 MB, kept as 1 MB of counts.
    assert peak < 3_100_000


def test_the_interval_covers_a_skewed_mean_about_as_often_as_it_says():
    rows = np.random.default_rng(3).exponential(1.0, (1000, 50))
    low, high = mean_interval(rows)
    assert ((low <= 1) & (high >= 1)).mean() == pytest.approx(0.94, abs=0.02)
