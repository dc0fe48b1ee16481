import numpy as np
import pytest
from helpers.synthetic_scores import rows, table
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from benchmark.base.records import InputError
from benchmark.stats.compare import compare
from benchmark.stats.paired import OneSided, holm_one_sided, tost

BETTER = {"dice": "higher", "hd95": "lower"}
RANDOM = np.random.default_rng(21)
BASE = RANDOM.normal(0.8, 0.1, 40)
NOISE = RANDOM.normal(0, 0.01, 40)
NOISE -= NOISE.mean()
WAVE = np.linspace(-1.7, 1.7, 40)
"""Symmetric about 0, SD 1."""


def compared(metric="dice", margin=0.02, models=None, **values):
    own = [rows(name, {f"P{i}": v for i, v in enumerate(own)}, metric=metric) for name, own in values.items()]
    declared = {"metrics": [metric], "pairs": [["a", "b"]]} | ({} if margin is None else {"margin": margin})
    return compare(table(*own), declared, BETTER, models=models)


def test_tost_is_statsmodels():
    a, b = BASE + NOISE, BASE + 0.004
    p, lower, upper = ttost_paired(a, b, -0.01, 0.01)
    found = tost(a - b, 0.01)
    assert (found.above, found.below, found.equivalent) == pytest.approx((lower[1], upper[1], p))
    assert found.equivalent == pytest.approx(DescrStatsW(a - b).ttost_mean(-0.01, 0.01)[0])


def test_tost_of_many_rows_and_of_the_other_order_of_models():
    differences = RANDOM.normal(0.002, 0.01, (5, 20))
    found, swapped = tost(differences, 0.01), tost(-differences, 0.01)
    assert found.above == pytest.approx([float(tost(row, 0.01).above) for row in differences])
    assert (found.above == pytest.approx(swapped.below)) and (found.below == pytest.approx(swapped.above))


def test_differences_that_are_all_equal_say_what_as_many_signs_say():
    assert tost(np.zeros(5), 0.01).equivalent == 0.5**5
    assert tost(np.full(5, 0.02), 0.01) == (0.5**5, 1.0)
    assert tost(np.array([0.001]), 0.01).equivalent == 1
    assert np.isnan(tost(np.zeros(5), float("nan")).above)


def test_a_model_that_loses_one_patient_in_ten_is_not_called_no_worse():
    differences = np.array([*np.linspace(-0.002, 0.004, 90), *np.linspace(-0.55, -0.45, 10)])
    assert differences.mean() < -0.045
    assert scipy_stats.wilcoxon(differences + 0.01, alternative="greater").pvalue < 1e-6
    assert tost(differences, 0.01).above > 0.9


def test_a_family_is_corrected_by_rows_as_one_of_two_sides_at_most_is_wrong():
    # 0.01 x 2 rows; 0.03 x 2 as both rows are still open; the first row is settled: 0.04 x 1 (held at 0.06), 0.2 x 1.
    found = holm_one_sided(OneSided(np.array([0.01, 0.04]), np.array([0.03, 0.2])))
    assert found.above == pytest.approx([0.02, 0.06])
    assert found.below == pytest.approx([0.06, 0.2])
    alone = holm_one_sided(OneSided(np.array([0.01, np.nan]), np.array([0.03, np.nan])))
    assert alone.above[0] == 0.01 and np.isnan(alone.below[1])


def test_false_claims_are_held_to_alpha_in_the_family():
    random, wrong = np.random.default_rng(6), 0
    for _ in range(1000):
        # Ten pairs whose true difference is the margin itself: every claim from below it is false.
        found = holm_one_sided(tost(random.normal(0.02, 0.03, (10, 25)), 0.02))
        wrong += (found.below < 0.05).any()
    assert wrong / 1000 == pytest.approx(0.05, abs=0.02)


def test_three_answers_where_no_difference_is_shown():
    both = compared(a=BASE, b=BASE + NOISE)
    assert both["verdict"].tolist() == ["equivalent"]
    # 40 patients without one of a kind that is 7.2 % of all are one sample in twenty.
    assert both["note"].tolist() == ["equivalent or no worse on 40 patients: a kind of patient that is up to 7 % of "
                                     "all may not be among them"]  # fmt: skip
    assert both["p_equivalent"][0] == pytest.approx(ttost_paired(BASE, BASE + NOISE, -0.02, 0.02)[0])
    # A lead of 0.6 standard errors: no difference; 2.6 from one end of the margin, 1.4 from the other.
    lead = 0.006 + 0.063 * WAVE
    assert compared(a=BASE + lead, b=BASE)["verdict"].tolist() == ["a no worse"]
    assert compared(a=BASE, b=BASE + lead)["verdict"].tolist() == ["b no worse"]
    assert compared(a=BASE, b=BASE + 20 * NOISE)["verdict"].tolist() == ["no difference shown"]


def test_of_distances_the_lower_is_no_worse():
    lead = -0.6 - 6.3 * WAVE
    found = compared(metric="hd95", margin={"hd95": 2.0}, a=10 + lead, b=np.full(40, 10.0))
    assert found["verdict"].tolist() == ["a no worse"]
    assert found["p_a_no_worse"][0] < 0.01 < 0.05 < found["p_b_no_worse"][0]
    found = compared(metric="hd95", margin={"hd95": 2.0}, a=10 - lead, b=np.full(40, 10.0))
    assert found["verdict"].tolist() == ["b no worse"]


def test_a_difference_outranks_equivalence_and_says_that_it_is_small():
    found = compared(a=BASE + 0.005 + NOISE / 10, b=BASE)
    assert found["verdict"].tolist() == ["a better"]
    assert found["note"].tolist() == ["a difference is shown, and shown to be within the margin of 0.02"]


def test_without_a_margin_nothing_is_said_of_equivalence():
    for found in (compared(a=BASE, b=BASE + NOISE, margin=None), compared(a=BASE, b=BASE + NOISE, margin={"hd95": 2})):
        assert found["verdict"].tolist() == ["no difference shown"]
        assert found[["margin", "p_equivalent", "p_a_no_worse_holm", "p_equivalent_holm"]].isna().all(axis=None)


def test_a_pair_without_scores_stays_in_the_family_of_equivalence():
    scores = table(*(rows(name, {f"P{i}": v for i, v in enumerate(own)})
                     for name, own in (("a", BASE), ("b", BASE + NOISE))))  # fmt: skip
    declared = {"metrics": ["dice"], "pairs": [["a", "b"], ["a", "gone"]], "margin": 0.02}
    found = compare(scores, declared, BETTER, models=["a", "b", "gone"])
    assert found["p_a_no_worse_holm"][0] == pytest.approx(2 * found["p_a_no_worse"][0])
    assert found["verdict"].tolist() == ["equivalent", "not tested"]


@pytest.mark.parametrize("margin", [0, -0.01, "wide", True, {"dice": 0}])
def test_a_margin_that_is_no_number_above_zero_is_refused(margin):
    with pytest.raises(InputError, match=r"compare\.margin for dice is .*: expected a number above 0"):
        compared(a=BASE, b=BASE, margin=margin)


def test_from_fifty_patients_on_equivalence_carries_no_note():
    base = RANDOM.normal(0.8, 0.1, 50)
    found = compared(a=base, b=base + RANDOM.normal(0, 0.01, 50))
    assert found["verdict"].tolist() == ["equivalent"] and found["note"].tolist() == [""]


def test_the_note_on_few_patients_stands_beside_what_was_noted_before():
    base = np.array([0.8, 0.7, 0.9, 0.6])
    (note,) = compared(a=base, b=base + np.array([0.001, -0.001, 0.002, -0.002]))["note"]
    assert note.startswith("n too small: smallest possible p is 0.125; equivalent or no worse on 4 patients:")
