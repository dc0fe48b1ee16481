import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import realistic, rows, table
from scipy import stats as scipy_stats
from statsmodels.regression.mixed_linear_model import MixedLM

from benchmark.stats.compare import METHOD_COLUMNS, compare, compare_methods
from benchmark.stats.seeds import Estimate, ScoreBlock, blocks, estimate, patient_differences, superiority

BETTER = {"dice": "higher", "hd95": "lower"}


def model(random, patients, seeds, *, seed=0.01, noise=0.03, folds=1, shift=0.0):
    """Blocks of one model whose patients' own values are given."""

    def rest(count):
        return random.normal(0, noise, (count, seeds))

    return [
        ScoreBlock(own, patients[own, None] + shift + random.normal(0, seed, seeds) + rest(len(own)))
        for own in np.array_split(np.arange(len(patients)), folds)
    ]


def by_reml(block):
    """Variances of checkpoints and of the rest, by statsmodels' mixed model with crossed random effects."""
    count, seeds = block.values.shape
    own = pd.DataFrame({"value": block.values.ravel(), "patient": np.repeat(np.arange(count), seeds),
                        "seed": np.tile(np.arange(seeds), count), "all": 1})  # fmt: skip
    parts = {"patient": "0 + C(patient)", "seed": "0 + C(seed)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLM.from_formula("value ~ 1", groups="all", re_formula="0", vc_formula=parts, data=own).fit(reml=True)
    return dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))["seed"], fit.scale


def test_variances_are_those_of_a_mixed_model():
    random = np.random.default_rng(1)
    patients = random.normal(0.8, 0.1, 12)
    pair = [model(random, patients, 4, seed=0.05), model(random, patients, 3, seed=0.08)]
    expected = np.array([by_reml(own[0]) for own in pair]).sum(axis=0)
    found = estimate(*pair)[1]
    assert (found.seed, found.patient_seed) == pytest.approx(expected, rel=2e-3)


def test_an_estimate_of_a_hand_worked_example():
    # Model a: patients (1, 3), (3, 5), (5, 7): seeds' means 3 and 5, V = 2, no rest. Model b: (0, 0), (0, 2), (0, 1):
    # means 0 and 1, V = 1/2; patients' means 0, 1, 1/2; rest ±1/2, ±1/2, 0: M = 4 x 1/4 / 2 = 1/2.
    a = [ScoreBlock(np.arange(3), np.array([[1.0, 3], [3, 5], [5, 7]]))]
    b = [ScoreBlock(np.arange(3), np.array([[0.0, 0], [0, 2], [0, 1]]))]
    differences = patient_differences(a, b)
    assert differences.tolist() == [2, 3, 5.5]
    found, parts = estimate(a, b)
    assert found.mean == 3.5
    spread = np.var([2, 3, 5.5], ddof=1)
    assert found.patients == pytest.approx((spread - 0.5 / 2) / 3)
    assert found.seeds == pytest.approx((2 + 0.5) / 2 * (1 / 2 + 1 / 2))
    assert (found.patients_df, found.seeds_df) == (2, 2)
    assert parts == pytest.approx((spread - 0.25, 2 + (0.5 - 0.5 / 3), 0.5))
    t = scipy_stats.t.isf(0.025, 2)
    half = t * np.sqrt(found.patients + found.seeds)
    assert found.interval() == pytest.approx((3.5 - half, 3.5 + half))


def test_a_missing_run_leaves_the_others_to_speak():
    # Three patients as above; two more of another fold, where a has one run: V = (1 x 2 + 2 x 1/4) / 3 = 5/6 with
    # 3 degrees of freedom, in the mean by a: .6^2 / 2 + .4^2 and b: .6^2 / 2 + .4^2 / 2; M of b = 1 / 3.
    rest = np.arange(3, 5)
    a = [ScoreBlock(np.arange(3), np.array([[1.0, 3], [3, 5], [5, 7]])), ScoreBlock(rest, np.array([[1.0], [1]]))]
    b = [ScoreBlock(np.arange(3), np.array([[0.0, 0], [0, 2], [0, 1]])), ScoreBlock(rest, np.zeros((2, 2)))]
    found, parts = estimate(a, b)
    assert found.mean == 2.5 and (found.patients_df, found.seeds_df) == (4, 3)
    assert found.seeds == pytest.approx(5 / 6 * (0.34 + 0.26))
    assert found.patients == pytest.approx((3.5 - 1 / 3 / 2) / 5) and parts.patient_seed == pytest.approx(1 / 3)
    alone = [ScoreBlock(block.places, block.values[:, :1]) for block in a]
    assert np.isnan(estimate(alone, b)[0].seeds) and estimate(alone, b)[0].p == 1


def test_p_and_interval_say_the_same():
    found = Estimate(mean=0.02, patients=1e-5, patients_df=199, seeds=2e-5, seeds_df=2)
    low, high = found.interval()
    assert found.p_above(low) == pytest.approx(0.025)
    assert found.p_below(high) == pytest.approx(0.025)
    assert found.p == pytest.approx(2 * found.p_above(0.0)) and 0.05 < found.p < 0.2
    assert found.p_above(0.03) == pytest.approx(1 - found.p_below(0.03))
    alone = Estimate(mean=0.02, patients=4e-5, patients_df=30, seeds=0.0, seeds_df=2)
    assert alone.p == pytest.approx(2 * scipy_stats.t.sf(0.02 / np.sqrt(4e-5), 30))
    assert Estimate(0.02, 1e-12, 300, 0.0, 2).p < 1e-200


@pytest.mark.parametrize(
    ("seeds", "folds", "spread", "missing"),
    [(2, 1, 0.0, 0), (2, 1, 0.02, 0), (3, 1, 0.02, 0), (2, 5, 0.02, 0), (2, 3, 0.02, 1), (2, 3, 0.02, 2)],
)
def test_two_names_of_one_method_differ_in_no_more_than_one_of_twenty_trials(seeds, folds, spread, missing):
    random, wrong, trials = np.random.default_rng(9), [0, 0], 500
    for _ in range(trials):
        patients = random.normal(0.8, 0.1, 60)
        pair = [model(random, patients, seeds, seed=spread, folds=folds) for _ in range(2)]
        pair[0] = [ScoreBlock(own.places, own.values[:, at < missing :]) for at, own in enumerate(pair[0])]
        wrong[0] += estimate(*pair)[0].p < 0.05
        wrong[1] += scipy_stats.ttest_1samp(patient_differences(*pair), 0).pvalue < 0.05
    # The SD of 5% in 500 trials is 1%.
    assert wrong[0] / trials < 0.08
    if spread and folds == 1:
        assert wrong[1] / trials > 0.3


def test_superiority_counts_pairs_of_seeds_on_each_patient():
    a = [ScoreBlock(np.arange(2), np.array([[1.0, 3], [3, 5]]))]
    b = [ScoreBlock(np.arange(2), np.array([[0.0, 2], [5, 5]]))]
    # Patient 0: 1 and 3 against 0 and 2: three of four. Patient 1: 3 loses twice, 5 ties twice: one of four.
    assert superiority(a, b, True)[0] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert superiority(a, b, False)[0] == pytest.approx(0.5)
    always = superiority(a, [ScoreBlock(np.arange(2), np.zeros((2, 2)))], True)
    assert always == (1.0, pytest.approx(0.025**0.5), 1.0)
    never = superiority(a, [ScoreBlock(np.arange(2), np.zeros((2, 2)))], False)
    assert never == (0.0, 0.0, pytest.approx(1 - 0.025**0.5))


def test_the_interval_of_superiority_holds_the_truth():
    random, held, trials = np.random.default_rng(4), 0, 300
    # The difference of two runs on a patient is normal with mean 0.05 and variance 0.02^2 + 2 (0.02^2 + 0.03^2).
    truth = scipy_stats.norm.cdf(0.05 / np.sqrt(0.02**2 + 2 * (0.02**2 + 0.03**2)))
    for _ in range(trials):
        patients = random.normal(0.8, 0.1, 50)
        a = model(random, patients + random.normal(0, 0.02, 50), 4, seed=0.02, shift=0.05)
        share, low, high = superiority(a, model(random, patients, 4, seed=0.02), True)
        assert 0 <= low <= share <= high <= 1
        held += low <= truth <= high
    assert held / trials > 0.92


def test_swapping_models_flips_signs_and_the_order_of_patients_has_no_say():
    random = np.random.default_rng(5)
    patients = random.normal(0.8, 0.1, 20)
    a, b = model(random, patients, 3), model(random, patients, 2, shift=0.02)
    one, two = estimate(a, b)[0], estimate(b, a)[0]
    assert (one.mean, one.p) == (-two.mean, pytest.approx(two.p))
    assert superiority(a, b, True)[0] == pytest.approx(1 - superiority(b, a, True)[0])
    order = random.permutation(20)
    mixed = [[ScoreBlock(np.arange(20), own[0].values[order])] for own in (a, b)]
    assert estimate(*mixed)[0].p == pytest.approx(one.p)


def scored(name, seeds=(1, 2), folds=3, fold_of=None, patients=12, gain=0.0):
    random = np.random.default_rng(len(name) + int(1000 * gain))
    base = np.random.default_rng(0).normal(0.8, 0.05, patients) + gain
    parts = []
    for patient in range(patients):
        for fold in range(folds) if fold_of is None else [fold_of(patient)]:
            parts += [rows(name, {f"P{patient:02d}": base[patient] + random.normal(0, 0.01)}, seed=seed, fold=fold)
                      for seed in seeds]  # fmt: skip
    return table(*parts)


def test_a_checkpoint_is_a_fold_with_a_seed():
    cross = scored("unet", fold_of=lambda patient: patient % 3)
    patients = pd.Index(sorted(pd.unique(cross["patient_id"])))
    found = blocks(cross, patients)
    assert [block.values.shape for block in found] == [(4, 2)] * 3
    assert sorted(place for block in found for place in block.places) == list(range(12))
    fixed = blocks(scored("unet"), patients)
    assert [block.values.shape for block in fixed] == [(12, 6)]
    partly = cross[~((cross["fold"] == 1) & (cross["seed"] == 2) & (cross["patient_id"] == "P01"))]
    assert sorted(block.values.shape for block in blocks(partly, patients)) == [(4, 1), (4, 2), (4, 2)]


def test_methods_are_compared_with_their_family():
    scores = pd.concat([scored("unet"), scored("other", gain=0.05), scored("third")], ignore_index=True)
    found = compare_methods(scores, {"metrics": ["dice"]}, BETTER)
    assert tuple(found.columns) == METHOD_COLUMNS
    row = found.iloc[0]
    assert (row["model_a"], row["model_b"], row["verdict"]) == ("unet", "other", "b better")
    assert (row["n_patients"], row["n_checkpoints_a"]) == (12, 6)
    assert row["p_superior"] < 0.1
    assert row[["share_patient", "share_seed", "share_patient_seed"]].sum() == pytest.approx(1)
    assert found["p_holm"].iloc[0] == pytest.approx(3 * row["p"])


def test_one_seed_says_nothing_of_methods():
    scores = pd.concat([scored("unet", seeds=(1,), folds=1), scored("other", gain=0.05, folds=1)], ignore_index=True)
    row = compare_methods(scores, {"metrics": ["dice"]}, BETTER, models=["unet", "other", "gone"]).iloc[0]
    assert row["note"].startswith("a model has no fold with two seeds") and row["verdict"] == "not tested"
    assert np.isnan(row["ci_low"]) and np.isnan(row["p_superior_low"]) and np.isnan(row["share_seed"])
    assert row["difference"] < -0.03 and row["p_superior"] < 0.1 and row["p"] == 1
    found = compare(scores, {"metrics": ["dice"], "test": "two_level", "margin": 0.1}, BETTER).iloc[0]
    assert (found["verdict"], found["p"], found["p_equivalent"]) == ("not tested", 1, 1)
    assert found["note"].startswith("a model has no fold with two seeds")


def test_equal_scores_are_equivalent_by_the_signs_of_the_patients():
    alike = pd.concat([scored(name) for name in ("unet", "other")])
    alike["value"] = alike.groupby("patient_id")["value"].transform("mean")
    found = compare(alike, {"metrics": ["dice"], "test": "two_level", "margin": 0.02}, BETTER).iloc[0]
    assert (found["verdict"], found["p"]) == ("equivalent", 1)
    assert found["p_equivalent"] == 0.5 ** found["n_patients"]


def test_a_run_that_lacks_a_score_is_left_out_and_said_to_be():
    scores = pd.concat([scored("unet"), scored("other", gain=0.05)], ignore_index=True)
    declared = {"metrics": ["dice"], "test": "two_level"}
    assert compare(scores, declared, BETTER)["note"].tolist() == [""]
    found = compare(scores.drop(0), declared, BETTER).iloc[0]
    assert found["note"].startswith("a run that lacks scores of some patients is left out")


def test_the_two_level_test_can_be_the_declared_one():
    scores = realistic()
    declared = {"metrics": ["dice", "hd95"], "test": "two_level", "margin": {"dice": 0.05}}
    found, methods = compare(scores, declared, BETTER), compare_methods(scores, declared, BETTER)
    for column in ("difference", "ci_low", "ci_high", "p", "p_holm", "verdict"):
        if column != "verdict":
            assert found[column].tolist() == pytest.approx(methods[column].tolist()), column
    shown = methods["verdict"] != "no difference shown"
    assert found.loc[shown, "verdict"].tolist() == methods.loc[shown, "verdict"].tolist()
    assert shown.any() and "equivalent" in set(found["verdict"])
