import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark.stats import paired
from benchmark.stats.paired import TESTS, cohen_dz, permutation, rank_biserial, signed_ranks, tost, wilcoxon

RANDOM = np.random.default_rng(11)
ROWS = np.round(RANDOM.normal(0.02, 0.05, (6, 12)), 12)
WITH_TIES = np.round(RANDOM.normal(0.3, 1, (8, 40)), 1)


def by_scipy(row):
    return scipy_stats.permutation_test(
        (row,), lambda own, axis: own.mean(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue


def test_permutation_is_scipys_where_all_swaps_are_tried():
    assert permutation(ROWS).p == pytest.approx([by_scipy(row) for row in ROWS], abs=1e-12)
    with_zeros = ROWS.copy()
    with_zeros[:, :4] = 0
    assert permutation(with_zeros).p == pytest.approx([by_scipy(row) for row in with_zeros], abs=1e-12)


def test_permutation_of_a_hand_worked_example():
    # Sums of (±1 ±2 ±4) as far from zero as 1 + 2 + 4 = 7: two of eight. As far as -1 + 2 + 4 = 5: four.
    assert permutation(np.array([1.0, 2, 4])).p == 2 / 8
    assert permutation(np.array([-1.0, 2, 4])).p == 4 / 8
    assert permutation(np.array([0.5, 0, 0])).p == 1
    assert permutation(np.array([1.0, 2, 4])).p_smallest == 2 / 8


def test_random_swaps_count_the_observed_one_and_come_near_the_exact_p():
    rows = np.round(np.random.default_rng(3).normal(0.02, 0.05, (3, 15)), 12)
    exact = np.array([by_scipy(row) for row in rows])
    found = permutation(rows).p
    error = np.sqrt(exact * (1 - exact) / paired.FLIPS)
    assert (np.abs(found - exact) < 4 * error + 1 / paired.FLIPS).all()
    # No swap in 2^60 is likely to be met that is as far from zero as all patients gaining.
    assert permutation(np.arange(1.0, 61)).p == pytest.approx(1 / (paired.FLIPS + 1))
    assert permutation(rows).p.tolist() == found.tolist()


def test_permutation_holds_its_level_on_skewed_sizes():
    random = np.random.default_rng(8)
    rows = random.lognormal(0, 1.5, (2000, 30)) * random.choice([-1, 1], (2000, 30))
    # Binomial with 2000 trials at 5%: an SD of 0.5%.
    assert (permutation(rows).p < 0.05).mean() == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("rows", [ROWS, WITH_TIES, WITH_TIES[:2, :11], RANDOM.normal(0.1, 1, (3, 70))])
def test_wilcoxon_of_many_rows_is_scipys_of_each(rows):
    found = wilcoxon(rows)
    for index, row in enumerate(rows):
        expected = scipy_stats.wilcoxon(row[row != 0])
        assert found.p[index] == pytest.approx(expected.pvalue, abs=1e-12)
        assert found.statistic[index] == expected.statistic


def test_the_smallest_p_is_that_of_all_patients_on_one_side():
    assert wilcoxon(np.array([1.0, -2, 3, 0])).p_smallest == 2 / 2**3
    tied = np.repeat([1.0, -1.0], 10)
    assert wilcoxon(tied).p_smallest == pytest.approx(scipy_stats.wilcoxon(np.abs(tied)).pvalue)
    assert wilcoxon(np.abs(tied)).p == wilcoxon(tied).p_smallest


def test_wilcoxon_holds_its_level_with_many_zeros_and_ties():
    # Dice to two digits, and three of ten patients where both models find the reference empty.
    random = np.random.default_rng(9)
    rows = np.round(random.normal(0, 0.03, (3000, 40)), 2) * (random.random((3000, 40)) > 0.3)
    for alpha, slack in ((0.05, 0.012), (0.005, 0.004)):
        assert (wilcoxon(rows).p < alpha).mean() <= alpha + slack


def test_rank_biserial_is_the_two_shares_of_ranks_apart():
    assert signed_ranks(np.array([0.0, -3, 1, 3, 0])).tolist() == [0, -2.5, 1, 2.5, 0]
    assert rank_biserial(np.array([[0.0, -3, 1, 3, 0], [1, 2, 3, 4, 5], [0] * 5])).tolist() == pytest.approx(
        [1 / 6, 1, 0]
    )


def test_cohens_dz_is_the_mean_in_standard_deviations():
    # 1, 2, 3: mean 2, SD 1.
    assert cohen_dz(np.array([[1.0, 2, 3], [-1, -2, -3], [0, 0, 0]])).tolist() == [2, -2, 0]
    assert np.isnan(cohen_dz(np.array([0.5, 0.5]))) and np.isnan(cohen_dz(np.array([0.5])))
    t = scipy_stats.ttest_1samp(ROWS[0], 0).statistic
    assert cohen_dz(ROWS[0]) == pytest.approx(t / np.sqrt(12))


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("rows", [ROWS, WITH_TIES, RANDOM.normal(0.05, 0.2, (5, 30))])
def test_swapping_models_and_reordering_patients_leaves_p(name, rows):
    test = TESTS[name]
    found = test(rows)
    order = np.random.default_rng(2).permutation(rows.shape[1])
    assert ((found.p >= 0) & (found.p <= 1) & (found.p >= found.p_smallest * (1 - 1e-9))).all()
    assert test(-rows).p == pytest.approx(found.p, rel=1e-9)
    assert test(rows[:, order]).p == pytest.approx(found.p, rel=1e-9)
    assert [float(test(row).p) for row in rows] == pytest.approx(found.p, rel=1e-9)
    assert rank_biserial(-rows) == pytest.approx(-rank_biserial(rows))
    assert cohen_dz(-rows) == pytest.approx(-cohen_dz(rows))


@pytest.mark.parametrize("name", TESTS)
def test_p_grows_with_the_noise_and_falls_with_the_difference(name):
    noise = np.random.default_rng(4).normal(0, 1, 40)
    noise -= noise.mean()
    by_noise = TESTS[name](np.array([0.1 + size * noise for size in (0.05, 0.2, 0.5, 1.0)])).p
    by_difference = TESTS[name](np.array([size + noise for size in (0.0, 0.1, 0.3, 0.8)])).p
    assert (np.diff(by_noise) >= 0).all() and by_noise[-1] > by_noise[0]
    assert (np.diff(by_difference) <= 0).all() and by_difference[-1] < by_difference[0]


@pytest.mark.parametrize("name", TESTS)
def test_a_model_against_itself_has_p_one(name):
    found = TESTS[name](np.zeros((2, 20)))
    assert found.p.tolist() == [1, 1] == found.p_smallest.tolist()


@pytest.mark.parametrize("patients", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("name", TESTS)
def test_an_equal_difference_in_every_patient_has_the_p_of_equal_signs(name, patients):
    # By hand: of the 2^n ways to give n equal differences their signs two are as far from zero as what was seen.
    found = TESTS[name](np.array([np.full(patients, 0.25), np.full(patients, -1.0)]))
    assert found.p == pytest.approx(2 / 2**patients) and found.p_smallest == pytest.approx(2 / 2**patients)
    assert tost(np.full(patients, 0.25), 0.5).equivalent == pytest.approx(1 / 2**patients)


@pytest.mark.parametrize("name", TESTS)
def test_one_patient_shows_nothing(name):
    found = TESTS[name](np.array([[0.25], [0.0]]))
    assert found.p.tolist() == [1, 1] == found.p_smallest.tolist()
    assert tost(np.array([0.0]), 0.5).equivalent == 1


@pytest.mark.parametrize("name", TESTS)
def test_zeros_beside_equal_differences_give_no_certainty(name):
    found = TESTS[name](np.array([0.25, 0.25, 0.0]))
    assert found.p > 0.1
