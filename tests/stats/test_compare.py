import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import realistic, rows, table
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from benchmark.base.records import InputError
from benchmark.stats.compare import COMPARISON_COLUMNS, compare, compare_methods
from benchmark.stats.intervals import BOOTSTRAP_SEED, mean_interval
from benchmark.stats.paired import TESTS, rank_biserial
from benchmark.stats.patients import patient_table, shared_patients, summarise
from benchmark.stats.power import patients_needed

BETTER = {"dice": "higher", "hd95": "lower", "iou": "higher"}
A = [0.91, 0.80, 0.77, 0.85, 0.90, 0.64, 0.88, 0.79]
B = [0.86, 0.81, 0.70, 0.82, 0.79, 0.60, 0.82, 0.77]
C = [0.70, 0.72, 0.69, 0.71, 0.75, 0.50, 0.61, 0.78]


def patients(values):
    return {f"P{index}": value for index, value in enumerate(values)}


def models(**values):
    return table(*(rows(name, patients(own)) for name, own in values.items()))


def test_seeds_are_averaged_within_cases_and_cases_within_patients_over_pooled_folds():
    # P0: case a has seeds 0.2 and 0.4 (0.3), case b 0.9 and 0.9: patient (0.3 + 0.9) / 2 = 0.6. P1 is in another fold.
    scores = table(
        rows("unet", {"P0/a": 0.2, "P0/b": 0.9, "P0/c": 0.6}, seed=1),
        rows("unet", {"P0/a": 0.4, "P0/b": 0.9, "P0/c": 0.6}, seed=2),
        rows("unet", {"P1/a": 0.5}, seed=1, fold=1),
        rows("unet", {"P1/a": 0.7}, seed=2, fold=1),
    )
    values = patient_table(scores, "dice", "WT")
    assert values.index.tolist() == ["P0", "P1"]
    assert values["unet"].tolist() == pytest.approx([0.6, 0.6])
    # Rows are not the unit: the plain mean of all eight would be 0.6125.
    summary = summarise(scores).iloc[0]
    assert (summary["n_patients"], summary["n_cases"], summary["mean"]) == (2, 4, pytest.approx(0.6))


def test_seed_sd_is_that_of_the_means_over_patients():
    scores = table(
        rows("unet", {"P0": 0.5, "P1": 0.7}, seed=1),
        rows("unet", {"P0": 0.7, "P1": 0.9}, seed=2),
        rows("one_seed", {"P0": 0.7, "P1": 0.9}, seed=1),
    )
    found = summarise(scores).set_index("model")["seed_sd"]
    assert found["unet"] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert np.isnan(found["one_seed"])


def test_a_seed_that_did_not_run_on_every_patient_is_left_out_of_the_seed_sd():
    scores = table(rows("unet", {"P0": 0.5, "P1": 0.7}, seed=1), rows("unet", {"P0": 0.1}, seed=2))
    assert np.isnan(summarise(scores)["seed_sd"].iloc[0])


def test_wilcoxon_holm_and_friedman_are_scipys_and_statsmodels():
    found = compare(models(a=A, b=B, c=C), {"metrics": ["dice"], "pairs": "all"}, BETTER)
    assert tuple(found.columns) == COMPARISON_COLUMNS
    expected = [scipy_stats.wilcoxon(np.round(np.subtract(x, y), 12)) for x, y in ((A, B), (A, C), (B, C))]
    assert found["p"].tolist() == pytest.approx([test.pvalue for test in expected])
    assert found["statistic"].tolist() == pytest.approx([test.statistic for test in expected])
    holm = multipletests([test.pvalue for test in expected], method="holm")[1]
    assert found["p_holm"].tolist() == pytest.approx(holm)
    assert found["friedman_p"].tolist() == pytest.approx([scipy_stats.friedmanchisquare(A, B, C).pvalue] * 3)
    assert found["difference"].iloc[0] == pytest.approx(np.mean(A) - np.mean(B))
    assert found["sd_a"].iloc[0] == pytest.approx(np.std(A, ddof=1))


def test_wilcoxon_p_of_eight_patients_that_all_gain_is_two_of_two_to_the_eight():
    found = compare(models(a=A, c=np.subtract(A, np.arange(1, 9) / 100)), {"metrics": ["dice"]}, BETTER).iloc[0]
    assert found["p"] == found["p_smallest"] == pytest.approx(2 / 2**8)
    assert found["verdict"] == "a better"
    assert found["effect_size"] == 1.0
    assert np.isnan(found["friedman_p"])


def test_paired_t_is_scipys():
    found = compare(models(a=A, b=B), {"metrics": ["dice"], "test": "paired_t"}, BETTER).iloc[0]
    expected = scipy_stats.ttest_rel(A, B)
    assert (found["statistic"], found["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


@pytest.mark.parametrize("test", [*TESTS, "two_level"])
def test_a_model_that_is_better_by_the_same_in_every_patient_is_called_so_by_every_test(test):
    scores = table(*(rows(m, patients([v] * 8), seed=s, fold=s) for m, v in (("a", 0.75), ("b", 0.5)) for s in (1, 2)))
    found = compare(scores, {"metrics": ["dice"], "test": test}, BETTER).iloc[0]
    assert (found["p"], found["ci_low"], found["ci_high"]) == (pytest.approx(2 / 2**8), 0.25, 0.25)
    assert found["verdict"] == "a better"
    few = compare(scores[scores["patient_id"] < "P2"], {"metrics": ["dice"], "test": test}, BETTER).iloc[0]
    assert (few["p"], few["verdict"]) == (pytest.approx(0.5), "no difference shown")


def test_rank_biserial_of_a_hand_worked_example():
    # |d| = 1, 2, 3, 4 have ranks 1 to 4; positive 1 + 3 + 4 = 8, negative 2: (8 - 2) / 10.
    assert rank_biserial(np.array([1.0, -2.0, 3.0, 4.0, 0.0])) == pytest.approx(0.6)


def test_interval_is_scipys_bca_and_repeats():
    differences = np.subtract(A, B)
    low, high = mean_interval(differences)
    again = scipy_stats.bootstrap(
        (differences,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(BOOTSTRAP_SEED)
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx((again.low, again.high))
    assert mean_interval(differences)[0][0] == low[0]


def test_interval_of_a_row_does_not_depend_on_the_rows_beside_it():
    first, second = np.subtract(A, B), np.subtract(A, C)
    together = mean_interval(np.array([first, np.full(8, 0.25), second]))
    assert together[0].tolist() == pytest.approx([mean_interval(first)[0][0], 0.25, mean_interval(second)[0][0]])
    assert together[1][1] == 0.25
    assert np.isnan(mean_interval(np.array([0.3]))[0][0])


def test_swapping_models_flips_signs_and_nothing_else():
    scores = realistic()
    pair, swapped = [["unet", "la_resunet/default"]], [["la_resunet", "unet"]]
    one = compare(scores, {"metrics": ["dice", "hd95"], "pairs": pair}, BETTER)
    two = compare(scores, {"metrics": ["dice", "hd95"], "pairs": swapped}, BETTER)
    for column in ("difference", "effect_size"):
        assert one[column].tolist() == pytest.approx((-two[column]).tolist())
    assert one["ci_low"].tolist() == pytest.approx((-two["ci_high"]).tolist(), abs=2e-3, rel=0.05)
    assert one["p"].tolist() == pytest.approx(two["p"].tolist())
    flip = {"a better": "b better", "b better": "a better"}
    assert one["verdict"].tolist() == [flip.get(verdict, verdict) for verdict in two["verdict"]]


def test_lower_hd95_is_better():
    near, far = [3.0, 4, 5, 6, 7, 8, 9, 10], [13.0, 15, 17, 19, 21, 23, 25, 27]
    scores = table(rows("near", patients(near), metric="hd95"), rows("far", patients(far), metric="hd95"))
    found = compare(scores, {"metrics": ["hd95"]}, BETTER).iloc[0]
    assert (found["difference"] < 0, found["verdict"]) == (True, "a better")


def test_a_model_against_itself_has_p_one_and_no_difference():
    found = compare(models(a=A, again=A), {"metrics": ["dice"]}, BETTER).iloc[0]
    assert (found["p"], found["p_holm"], found["effect_size"], found["n_ties"]) == (1, 1, 0, 8)
    assert (found["ci_low"], found["ci_high"]) == (0, 0)
    assert (found["verdict"], found["note"]) == ("no difference shown", "all differences are zero")


def test_averages_that_differ_by_floating_point_only_are_ties():
    scores = table(*(rows("a", patients([0.1]), seed=1), rows("a", patients([0.2]), seed=2)),
                   *(rows("b", patients([0.15]), seed=1), rows("b", patients([0.15]), seed=2)))  # fmt: skip
    assert compare(scores, {"metrics": ["dice"]}, BETTER)["n_ties"].iloc[0] == 1


def test_zero_differences_are_dropped_and_counted():
    b = [*A[:3], *B[3:]]
    found = compare(models(a=A, b=b), {"metrics": ["dice"]}, BETTER).iloc[0]
    expected = scipy_stats.wilcoxon(np.round(np.subtract(A[3:], B[3:]), 12))
    assert (found["n_ties"], found["p"]) == (3, pytest.approx(expected.pvalue))
    assert found["p_smallest"] == pytest.approx(2 / 2**5)
    assert found["note"] == "only 5 non-zero differences: smallest possible p is 0.0625"


def test_too_few_patients_are_named_before_and_after_correction():
    few = compare(models(a=A[:4], b=C[:4]), {"metrics": ["dice"]}, BETTER).iloc[0]
    assert few["note"] == "n too small: smallest possible p is 0.125"
    better = {f"m{index}": np.subtract(A, np.arange(1, 9) * (index + 1) / 1000) for index in range(5)}
    family = compare(models(**better), {"metrics": ["dice"]}, BETTER)
    assert not family["significant"].any()
    assert family["note"].iloc[0] == "n too small: smallest possible p is 0.00781, 0.0781 after Holm over 10 tests"


def test_the_family_is_regions_times_metrics_times_pairs():
    found = compare(realistic(), {"metrics": ["dice", "hd95"], "pairs": "all"}, BETTER)
    assert len(found) == 3 * 2 * 3
    assert found["p_holm"].tolist() == pytest.approx(multipletests(found["p"], method="holm")[1])
    assert found["p_holm"].between(0, 1).all() and (found["p_holm"] >= found["p"]).all()
    best = found[(found["model_b"] == "la_resunet") & (found["region"] == "WT") & (found["metric"] == "dice")]
    assert set(best["verdict"]) == {"b better"}
    assert set(found.loc[found["region"] == "ET", "n_empty"]) == {3}


def test_ranks_and_mean_that_disagree_are_noted():
    b = np.subtract(A, [0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, -0.9])
    found = compare(models(a=A, b=b), {"metrics": ["dice"], "alpha": 0.2}, BETTER).iloc[0]
    assert found["difference"] < 0 < found["effect_size"]
    assert (found["verdict"], found["note"]) == ("a better", "ranks and mean point in opposite directions")


def test_a_declared_model_without_scores_stays_in_the_family():
    declared = {"metrics": ["dice"], "pairs": [["a", "b"], ["a", "gone"]]}
    found = compare(models(a=A, b=B), declared, BETTER, models=["a", "b", "gone"])
    assert found["note"].tolist()[1] == "no scores of gone"
    assert found["p_holm"].iloc[0] == pytest.approx(2 * found["p"].iloc[0])
    assert found["verdict"].tolist()[1] == "not tested"


def test_one_model_has_nothing_to_be_compared_with():
    for found in (
        compare(models(a=A), {"metrics": ["dice"], "margin": 0.01}, BETTER),
        patients_needed(compare(models(a=A), {"metrics": ["dice"]}, BETTER)),
        compare_methods(models(a=A), {"metrics": ["dice"]}, BETTER),
    ):
        assert len(found) == 0 and {"model_a", "model_b"} <= set(found.columns)
    with pytest.raises(InputError, match="names dise"):
        compare(models(a=A), {"metrics": ["dise"]}, BETTER)


def test_a_permutation_test_can_be_the_declared_one():
    found = compare(models(a=A, b=B), {"metrics": ["dice"], "test": "permutation"}, BETTER).iloc[0]
    exact = scipy_stats.permutation_test(
        (np.subtract(A, B),), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert found["p"] == pytest.approx(exact)
    assert (found["statistic"], found["verdict"]) == (pytest.approx(found["difference"]), "a better")
    assert found["d_z"] == pytest.approx(np.subtract(A, B).mean() / np.subtract(A, B).std(ddof=1))


def test_a_patient_absent_for_one_model_is_named():
    scores = table(rows("a", patients(A)), rows("b", patients(B[:-1])))
    with pytest.raises(InputError, match=r"b has no dice of WT for 1 of 8 cases \(patients P7\)"):
        patient_table(scores, "dice", "WT")
    with pytest.raises(InputError, match="P7"):
        compare(scores, {"metrics": ["dice"]}, BETTER)
    kept, limits = shared_patients(scores)
    assert patient_table(kept, "dice", "WT").index.tolist() == [f"P{index}" for index in range(7)]
    assert limits["b"].startswith("b limits all that is compared: it has complete scores of 7 of 8 patients only")
    assert shared_patients(models(a=A, b=B))[1] == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="note"), "lacks columns"),
        (lambda t: t.iloc[:0], "is empty"),
        (lambda t: t.assign(value=np.nan), "expected a finite value per run, .* found nan for dice of WT in case P0"),
        (lambda t: t.assign(value=np.inf), "expected a finite value per run, .* found inf for dice of WT in case P0"),
        (lambda t: pd.concat([t, t.iloc[1:2]]), "expected one value per run, .* for dice of WT in case P1"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        summarise(change(models(a=A, b=B)))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"metrics": ["dise"]}, "names dise"),
        ({"metrics": ["dice"], "test": "anova"}, "expected one of wilcoxon, paired_t, permutation, two_level"),
        ({"metrics": ["dice"], "pairs": [["a", "nobody"]]}, "names a and nobody"),
        ({"metrics": ["dice"], "pairs": [["a", "a/default"]]}, "two different models"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(declared, message):
    with pytest.raises(InputError, match=message):
        compare(models(a=A, b=B), declared, BETTER)
