import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import realistic
from statsmodels.stats.power import TTestPower

from benchmark.stats.compare import compare
from benchmark.stats.paired import wilcoxon
from benchmark.stats.power import PLAN, TARGETS, method_sample_size, methods_needed, patients_needed, sample_size
from benchmark.stats.seeds import estimate

BETTER = {"dice": "higher", "hd95": "lower"}


def test_sizes_of_the_paired_t_test_are_the_ones_in_textbooks():
    # Cohen's small, medium and large effect, two-sided at 5%, power 80%.
    assert sample_size([0.2, 0.5, 0.8], 0.05).tolist() == [199, 34, 15]


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 54])
def test_sizes_are_statsmodels_rounded_up(alpha):
    effects = np.array([0.04, 0.11, 0.3, 0.75, 1.4])
    expected = [TTestPower().solve_power(effect, alpha=alpha, power=0.8) for effect in effects]
    assert sample_size(effects, alpha).tolist() == np.ceil(expected).tolist()


def test_other_tests_and_the_ends_of_the_scale():
    assert sample_size(0.2, 0.05, test="wilcoxon") == np.ceil(199 * np.pi / 3)
    assert sample_size(0.2, 0.05, test="permutation") == 199
    # 2 / 2^6 is the first below 0.05; the t test needs two patients whose differences are equal but for rounding.
    assert sample_size(np.inf, 0.05, test="wilcoxon") == 6 == sample_size(50.0, 0.05, test="wilcoxon")
    # Without spread a t test has the p of equal signs.
    assert sample_size(np.inf, 0.05) == 6
    assert sample_size(-0.5, 0.05) == 34
    assert np.isnan(sample_size([np.nan, 0.0], 0.05)).all()
    assert sample_size(1e-4, 0.05) == pytest.approx(7.849e8, rel=1e-3)


def test_a_planted_difference_is_found_with_the_promised_power():
    count = int(sample_size(0.4, 0.05, test="wilcoxon"))
    rows = np.random.default_rng(12).normal(0.4, 1, (2000, count))
    # The SD of a share of 80% in 2000 trials is 0.9%.
    assert (wilcoxon(rows).p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_every_comparison_is_planned_for_alone_and_in_its_family():
    compared = compare(realistic(), {"metrics": ["dice", "hd95"]}, BETTER)
    found = patients_needed(compared)
    assert len(found) == 18 * 3
    first, row = compared.iloc[0], found.iloc[1]
    assert (row["target"], row["region"], row["model_a"], row["n_patients"]) == (0.01, "WT", "unet", 18)
    assert row["sd_difference"] == pytest.approx(first["difference"] / first["d_z"])
    effect = 0.01 / first["sd_difference"]
    assert row["patients"] == sample_size(effect, 0.05, test="wilcoxon")
    assert row["patients_family"] == sample_size(effect, 0.05 / 18, test="wilcoxon") > row["patients"]
    assert set(found.loc[found["metric"] == "hd95", "target"]) == set(TARGETS["mm"])
    own = patients_needed(compared, targets={"dice": (0.05,), "hd95": ()})
    assert own["target"].tolist() == [0.05] * 9


def test_a_pair_without_scores_has_no_plan():
    scores = realistic(models=(("unet", 0.0), ("la_resunet", 0.03)))
    compared = compare(scores, {"metrics": ["dice"]}, BETTER, models=["unet", "la_resunet", "gone"])
    found = patients_needed(compared).groupby("model_b")["patients"].count()
    assert (found["la_resunet"], found["gone"]) == (9, 0)


def methods_sample(target, patient, seed, patient_seed, folds, checkpoints):
    plan = pd.DataFrame([(target, patient, seed, patient_seed, folds, checkpoints)], columns=PLAN)
    return float(method_sample_size(plan)[0])


def test_without_luck_of_training_methods_need_what_the_t_test_needs():
    assert [methods_sample(effect, 1, 0, 0, 1, 5) for effect in (0.1, 0.2, 0.5)] == sample_size(
        [0.1, 0.2, 0.5], 0.05
    ).tolist()


def test_methods_without_any_spread_need_as_many_patients_as_equal_signs():
    assert methods_sample(0.01, 0, 0, 0, 1, 2) == 6


def test_no_number_of_patients_averages_out_the_luck_of_few_trainings():
    # With ever more patients the mean of two trainings of either keeps the variance .02^2 / 2: .02 is 1.4 errors.
    assert methods_sample(0.02, 0.01, 0.02**2, 0, 1, 2) == np.inf
    assert methods_sample(0.02, 0.01, 0.02**2, 0, 1, 20) < 1000
    sizes = [methods_sample(0.03, 0.01, 0.02**2, 0.01, 3, checkpoints) for checkpoints in (2, 3, 5, 10)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("folds", "checkpoints", "target"), [(1, 5, 0.07), (3, 3, 0.03)])
def test_a_planted_difference_of_methods_is_found_with_the_promised_power(folds, checkpoints, target):
    random, variances, trials = np.random.default_rng(3), (0.01, 0.0006, 0.01), 600
    count, hits = int(methods_sample(target, *variances, folds, checkpoints)), 0
    patient, seed, rest = np.sqrt(variances)
    for _ in range(trials):
        # Differences by training set: each seed has a partition of its own.
        found = np.full((count, folds, checkpoints), np.nan)
        level = target + random.normal(0, patient, (count, 1)) + random.normal(0, rest, (count, checkpoints))
        places = np.stack([random.permutation(np.arange(count) % folds) for _ in range(checkpoints)], axis=1)
        level = level + np.take_along_axis(random.normal(0, seed, (folds, checkpoints)), places, axis=0)
        np.put_along_axis(found, places[:, None], level[:, None], axis=1)
        hits += estimate(found.reshape(count, -1)).p < 0.05
    # The SD of a share of 80% in 600 trials is 1.6%.
    assert hits / trials == pytest.approx(0.8, abs=0.05)


def test_methods_are_planned_from_the_seeds_at_hand_on():
    found = methods_needed(realistic(), ["dice"], [("unet", "la_resunet")], targets={"dice": (0.05, 0.1)})
    assert len(found) == 3 * 3 * 2 and set(found["seeds"]) == {2, 3, 5}
    row = found.iloc[0]
    own = methods_sample(0.05, row["patient"], row["seed"], row["patient_seed"], row["n_folds"], 2)
    assert (row["patients"], row["target"]) == (own, 0.05)
    one_seed = realistic()
    one_seed = one_seed[one_seed["seed"] == 1]
    assert methods_needed(one_seed, ["dice"], [("unet", "la_resunet")]).empty


def test_plans_for_methods_have_the_strictest_level_of_their_family():
    pair, targets = [("unet", "la_resunet")], {"dice": (0.02,)}
    alone, found = (
        methods_needed(realistic(), ["dice"], pair, targets=targets, **more) for more in ({}, {"family": {"dice": 6}})
    )
    assert (alone["patients_family"] == alone["patients"]).all()
    assert (found["alpha_family"] == 0.05 / 6).all()
    strict = methods_needed(realistic(), ["dice"], pair, alpha=0.05 / 6, targets=targets)
    assert found["patients_family"].tolist() == strict["patients"].tolist()
    assert (found["patients_family"] > found["patients"]).any()
