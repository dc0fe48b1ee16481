import numpy as np
import pytest
from helpers.synthetic_scores import realistic
from scipy import stats

from benchmark.stats.claims import RISK, difference_sd, false_claim, patients_to_support
from benchmark.stats.compare import compare
from benchmark.stats.patients import patient_table

BETTER = {"dice": "higher", "hd95": "lower"}


def test_a_false_claim_by_hand():
    # Two patients: 1 degree of freedom, where F(t) = 1/2 + arctan(t) / pi. SDs 0.3 and 0.4, r = 0: spread 0.5.
    # sqrt(2) 0.02 / 0.5 = 0.0566, so 1/2 - arctan(0.0566) / pi = 0.4820.
    spread = difference_sd(0.3, 0.4, 0.0)
    assert spread == pytest.approx(0.5)
    assert false_claim(0.02, spread, 2) == pytest.approx(0.5 - np.arctan(np.sqrt(2) * 0.04) / np.pi)
    # Three patients: 2 degrees, F(t) = 1/2 + t / (2 sqrt(2 + t^2)). SDs 0.2 and 0.2, r = 0.5: spread 0.2, t = 0.866.
    spread = difference_sd(0.2, 0.2, 0.5)
    t = np.sqrt(3) * 0.1 / 0.2
    assert spread == pytest.approx(0.2)
    assert false_claim(0.1, spread, 3) == pytest.approx(0.5 - t / (2 * np.sqrt(2 + t**2)))


def test_it_is_the_one_sided_p_of_the_paired_t_test_and_its_spread_that_of_the_differences():
    random = np.random.default_rng(3)
    a = random.normal(0.85, 0.1, 20)
    b = 0.7 * a + random.normal(0.22, 0.05, 20)
    first, second = (a, b) if a.mean() > b.mean() else (b, a)
    spread = difference_sd(a.std(ddof=1), b.std(ddof=1), np.corrcoef(a, b)[0, 1])
    assert spread == pytest.approx((a - b).std(ddof=1))
    expected = stats.ttest_rel(first, second, alternative="greater").pvalue
    assert false_claim(abs(a.mean() - b.mean()), spread, 20) == pytest.approx(expected)


def test_a_flat_prior_gives_it():
    # Of normal differences with unknown mean and SD, by drawing from the posterior: sigma^2 = (n - 1) s^2 / chi^2.
    random, gain, spread, n = np.random.default_rng(8), 0.02, 0.06, 12
    sigma = np.sqrt((n - 1) * spread**2 / random.chisquare(n - 1, 200_000))
    drawn = random.normal(gain, sigma / np.sqrt(n))
    assert false_claim(gain, spread, n) == pytest.approx((drawn <= 0).mean(), abs=0.003)


def test_edges():
    assert false_claim(0.0, 0.1, 10) == 0.5
    assert false_claim(0.0, 0.0, 10) == 0.5
    assert false_claim(0.1, 0.0, 10) == 0.5**10
    assert np.isnan(false_claim(0.1, 0.0, 1))


def test_the_number_of_patients_that_supports_a_claim_is_the_smallest():
    for gain, spread in ((0.01, 0.12), (0.03, 0.05), (0.2, 0.1)):
        count = patients_to_support(gain, spread)
        assert false_claim(gain, spread, count) <= RISK < false_claim(gain, spread, max(count - 1, 1.5))
    # A point of Dice with SDs of 0.12 and r = 0.5 needs about (1.645 x 12)^2 = 390 patients.
    assert patients_to_support(0.01, difference_sd(0.12, 0.12, 0.5)) == pytest.approx(391, abs=2)
    assert patients_to_support(0.0, 0.1) == np.inf


def test_every_comparison_has_one_for_whichever_model_has_the_better_mean():
    scores = realistic()
    found = compare(scores, {"metrics": ["dice", "hd95"]}, BETTER)
    for row in found.to_dict("records"):
        values = patient_table(scores, row["metric"], row["region"])
        a, b = values[row["model_a"]], values[row["model_b"]]
        p = stats.ttest_rel(a, b).pvalue / 2
        assert row["p_false"] == pytest.approx(p, rel=1e-6)
