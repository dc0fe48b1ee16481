import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import realistic, rows, table
from scipy import stats as scipy_stats
from statsmodels.regression.mixed_linear_model import MixedLM

from benchmark.stats.compare import METHOD_COLUMNS, compare, compare_methods
from benchmark.stats.seeds import (
    Estimate,
    components,
    estimate,
    estimate_runs,
    model_runs,
    pair_runs,
    set_means,
    superiority,
)

BETTER = {"dice": "higher", "hd95": "lower"}


def partition(random, patients, folds):
    return random.permutation(np.arange(patients) % folds)


def by_run(values, folds):
    """Spread values (patients, seeds) over runs (patients, folds x seeds), NaN where a run did not test the patient."""
    there = folds[:, None] == np.arange(folds.max() + 1)[:, None]
    return np.where(there, values[:, None], np.nan).reshape(len(values), -1)


def by_set(values, folds, shared):
    """Spread values over training sets: one per run, or per fold where all seeds share one partition."""
    return by_run(values.mean(axis=1, keepdims=True), folds[:, :1]) if shared else by_run(values, folds)


def runs(values, folds):
    """Runs of a model as ``model_runs`` gives them."""
    names = pd.MultiIndex.from_product([range(folds.max() + 1), range(1, folds.shape[1] + 1)], names=["fold", "seed"])
    return pd.DataFrame(by_run(values, folds), columns=names)


def drawn(random, patients, folds, *, seed=0.02, noise=0.03, own=0.02, sets=0.0, shared=False):
    """Scores of one method: its effect on each patient, the luck of each run, the training sets' effect, noise."""
    luck = random.normal(0, seed, (folds.max() + 1, folds.shape[1]))
    luck = luck + random.normal(0, sets, (len(luck), 1 if shared else folds.shape[1]))
    values = patients[:, None] + random.normal(0, own, (len(patients), 1)) + random.normal(0, noise, folds.shape)
    return values + np.take_along_axis(luck, folds, axis=0)


def study(random, patients, folds, seeds, shared, **spread):
    """Scores (patients, seeds) of two names of one method, and folds: each seed has its own partition, or all one."""
    own = [partition(random, patients, folds) for _ in range(seeds)]
    places = np.stack([own[0]] * seeds if shared else own, axis=1)
    level = random.normal(0.8, 0.1, patients)
    return *(drawn(random, level, places, shared=shared, **spread) for _ in range(2)), places


def two(random, patients=60, folds=3, seeds=2, shared=False, **spread):
    """Pair two names of one method, as ``study`` draws them."""
    first, second, places = study(random, patients, folds, seeds, shared, **spread)
    return pair_runs(runs(first, places), runs(second, places))


def by_reml(differences):
    """Variances of patients, training sets and the rest, by statsmodels' mixed model with crossed random effects."""
    patient, run = np.nonzero(~np.isnan(differences))
    own = pd.DataFrame({"value": differences[patient, run], "patient": patient, "set": run, "all": 1})
    parts = {"patient": "0 + C(patient)", "set": "0 + C(set)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLM.from_formula("value ~ 1", groups="all", re_formula="0", vc_formula=parts, data=own).fit(reml=True)
    return *(fit.vcomp[fit.model.exog_vc.names.index(name)] for name in parts), fit.scale


def test_variances_of_a_balanced_table_are_those_of_a_mixed_model():
    random = np.random.default_rng(1)
    differences = random.normal(0, 0.1, (12, 1)) + random.normal(0, 0.05, (1, 4)) + random.normal(0, 0.03, (12, 4))
    found = by_reml(differences)
    # Every patient was tested by every run: the analysis of variance is the likelihood's, and the mean's variance too.
    mine = estimate_runs(differences)
    assert mine.patients + mine.sets == pytest.approx(found[0] / 12 + found[1] / 4 + found[2] / 48, rel=2e-3)
    first = pd.DataFrame(differences, columns=pd.MultiIndex.from_product([[0], range(4)], names=["fold", "seed"]))
    assert components(pair_runs(first, first * 0)) == pytest.approx(found, rel=2e-3)


def test_variances_of_new_partitions_are_near_those_of_a_mixed_model():
    own = two(np.random.default_rng(3), 40, 4, 4, seed=0.05, own=0.06)
    assert components(own) == pytest.approx(by_reml(own.differences()), rel=0.15)


def test_an_estimate_of_a_hand_worked_example():
    # Patients are tested by (first seed, second seed): sets a and b of seed 1, c and d of seed 2.
    nan = np.nan
    d = np.array([[1, nan, 3, nan], [2, nan, nan, 6], [nan, 3, 3, nan], [nan, 4, nan, 12]])
    found = estimate(d)
    # Halved differences of seeds: -1, -2, 0, -4; a fit of all four sets leaves one contrast of the eight values: with
    # x = second minus first = 2, 4, 0, 8, that is (2 - 4 - 0 + 8) / 4 = 1.5 in each of x, so 4 x 1.5^2 / 2 = 4.5 left
    # of the squares within patients, (4 + 16 + 0 + 64) / 2 = 42: 37.5 with 3 degrees of freedom.
    assert found.sets_df == 3 and found.mean == 4.25
    assert found.sets == pytest.approx(37.5 / 4 * 4 / 16)
    # Patients' means 2, 4, 3, 8 of variance 20.75 / 3. Each set has a quarter of the mean: 4 / 3 x (1 / 2 - 1 / 4) of a
    # set's variance (37.5 / 4 - 0.75 x 4.5) is in that of patients, and of the noise what is in the part of sets.
    spread, noise = 20.75 / 3, 0.75 * 4.5
    expected = spread - (37.5 / 4 - noise) / 3 - noise
    assert found.patients == pytest.approx(expected / 4) and found.patients_df == 3


def test_folds_that_seeds_share_are_compared_by_student_t_on_their_means():
    # Three folds of two patients, two seeds: patients' differences (1, 3), (0, 2), (7, 11), fold means 2, 1 and 9.
    values = np.array([[1.0, 1], [4, 2], [0, 0], [1, 3], [6, 8], [11, 11]])
    places = np.repeat([0, 0, 1, 1, 2, 2], 2).reshape(6, 2)
    own = pair_runs(runs(values, places), runs(values * 0, places))
    assert set_means(own).tolist() == [2, 1, 9]
    found, expected = estimate(own.differences()), scipy_stats.ttest_1samp([2, 1, 9], 0)
    assert (found.mean, found.sets_df) == (4, 2)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))
    assert estimate(own.differences(), own.runs()).p == found.p


def test_folds_with_like_means_say_no_more_than_patients_and_runs():
    values = np.random.default_rng(8).normal(0.5, 1, (12, 2))
    places = np.repeat(np.arange(3), 4)[:, None] + np.zeros((1, 2), dtype=int)
    means = np.array([values[places[:, 0] == fold].mean() for fold in range(3)])
    values += (0.5 + np.array([0.0, 0.02, -0.02]) - means)[places]
    own = pair_runs(runs(values, places), runs(values * 0, places))
    alone, both, over = estimate(own.differences()), estimate(own.differences(), own.runs()), estimate_runs(own.runs())
    assert alone.p < 1e-3 < 0.01 < over.p == pytest.approx(both.p)
    assert both.interval() == pytest.approx(over.interval())
    # Far in the tail two degrees of freedom are the wider all the same.
    assert both.half_width(1e-13) == alone.half_width(1e-13) > over.half_width(1e-13)


def test_what_a_shared_fold_adds_is_luck_of_training():
    # Expected: patient 2 x 0.02^2, training 2 (0.02^2 + 0.04^2), rest 2 x 0.03^2; two hundred folds tell them apart.
    for shared in (True, False):
        own = two(np.random.default_rng(2), 2000, 200, 2, shared, sets=0.04)
        assert components(own) == pytest.approx((0.0008, 0.004, 0.0018), abs=0.0004)


def test_a_missing_run_leaves_the_others_to_speak():
    own = two(np.random.default_rng(6), 30, 3, 3)
    less = pair_runs(own.first.drop(columns=[(0, 2)]), own.second)
    assert estimate(own.differences()).sets_df == 8 and own.whole
    found = estimate(less.differences())
    assert found.sets_df == 7 and not less.whole
    assert found.mean == pytest.approx(np.nanmean(own.runs()[:, [run != (0, 2) for run in own.first]], axis=1).mean())


def test_a_lost_score_makes_no_training_set_of_its_own():
    own = two(np.random.default_rng(6), 30, 3, 2, shared=True)
    lost = own.first.copy()
    lost.iloc[lost[(0, 1)].notna().argmax(), lost.columns.get_loc((0, 1))] = np.nan
    assert estimate(pair_runs(lost, own.second).differences()).sets_df == 2


def test_one_training_set_says_nothing_of_methods():
    own = two(np.random.default_rng(6), 30, 1, 5)
    found = estimate(own.differences())
    assert found.sets_df == 0 and np.isnan(found.sets) and found.p == 1
    # Trained on the same sets once and three times, or under other seeds: what counts are the sets.
    folds = two(np.random.default_rng(6), 30, 3, 3, shared=True)
    once = folds.second[[(0, 2), (1, 2), (2, 2)]].rename(columns={2: 7}, level="seed")
    assert estimate(pair_runs(folds.first, once).differences()).sets_df == 2
    assert np.isnan(components(pair_runs(folds.first, once)).seed)


def test_p_and_interval_say_the_same():
    found = Estimate(mean=0.02, patients=1e-5, patients_df=199, sets=2e-5, sets_df=2)
    low, high = found.interval()
    assert found.p_above(low) == pytest.approx(0.025)
    assert found.p_below(high) == pytest.approx(0.025)
    assert found.p == pytest.approx(2 * found.p_above(0.0)) and 0.05 < found.p < 0.2
    assert found.p_above(0.03) == pytest.approx(1 - found.p_below(0.03))
    alone = Estimate(mean=0.02, patients=4e-5, patients_df=30, sets=0.0, sets_df=2)
    assert alone.p == pytest.approx(2 * scipy_stats.t.sf(0.02 / np.sqrt(4e-5), 30))
    assert Estimate(0.02, 1e-12, 300, 0.0, 2).p < 1e-200


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("patients", "folds", "seeds", "sets"), [(60, 3, 2, 0.0), (18, 3, 2, 0.03), (150, 5, 3, 0.04)])
def test_two_names_of_one_method_differ_in_no_more_than_one_of_twenty_trials(shared, patients, folds, seeds, sets):
    random, wrong, trials = np.random.default_rng(9), [0, 0], 400
    for _ in range(trials):
        first, second, places = study(random, patients, folds, seeds, shared, sets=sets)
        every = by_run(first - second, places)
        wrong[0] += estimate(by_set(first - second, places, shared), every).p < 0.05
        wrong[1] += estimate_runs(every).p < 0.05
    # The SD of 5% in 400 trials is 1.1%.
    assert wrong[0] / trials < 0.085
    if shared and patients == 150:
        # Runs of one fold are not independent where their training set matters.
        assert wrong[1] / trials > 0.2


@pytest.mark.slow(reason="2,000 simulated studies of up to 1,000 patients, with effects of training sets")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("patients", "folds"), [(18, 3), (250, 5), (1000, 5)])
def test_training_sets_that_favour_a_method_by_chance_are_no_finding(shared, patients, folds):
    # Drawn without ``two``: scores between 0 and 1, patients that fail now and then, sets that favour one method.
    random, trials, wrong = np.random.default_rng(17), 2000, 0
    for _ in range(trials):
        own = [random.permutation(np.arange(patients) % folds) for _ in range(3)]
        places = np.stack([own[0]] * 3 if shared else own, axis=1)
        hard = random.normal(1.5, 1, (patients, 1)) - 4 * (random.random((patients, 1)) < 0.1)
        sides = []
        for _ in range(2):
            favoured = random.normal(0, 0.7, (folds, 1 if shared else 3)) * np.sqrt(0.5)
            luck = random.normal(0, 0.7, (folds, 3)) + favoured
            latent = hard + np.take_along_axis(luck, places, axis=0) + random.standard_t(4, (patients, 3))
            sides.append(1 / (1 + np.exp(-latent)))
        wrong += estimate(by_set(sides[0] - sides[1], places, shared)).p < 0.05
    # The SD of 5% in 2000 trials is 0.5%.
    assert wrong / trials < 0.065


def test_superiority_counts_pairs_of_runs_on_each_patient():
    places = np.zeros((2, 2), dtype=int)
    a, b = runs(np.array([[1.0, 3], [3, 5]]), places), runs(np.array([[0.0, 2], [5, 5]]), places)
    # Patient 0: 1 and 3 against 0 and 2: three of four. Patient 1: 3 loses twice, 5 ties twice: one of four.
    assert superiority(pair_runs(a, b), True)[0] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert superiority(pair_runs(a, b), False)[0] == pytest.approx(0.5)
    apart = np.array([[0, 1], [1, 0]])
    always = pair_runs(runs(np.array([[1.0, 3], [3, 5]]), apart), runs(np.zeros((2, 2)), apart))
    assert superiority(always, True) == (1.0, pytest.approx(0.025**0.5), 1.0)
    assert superiority(always, False) == (0.0, 0.0, pytest.approx(1 - 0.025**0.5))


def test_the_interval_of_superiority_holds_the_truth():
    random, held, trials = np.random.default_rng(4), 0, 150
    # The difference of two runs on a patient is normal with mean 0.05 and variance 2 (0.02^2 + 0.02^2 + 0.03^2).
    truth = scipy_stats.norm.cdf(0.05 / np.sqrt(2 * (0.02**2 + 0.02**2 + 0.03**2)))
    for _ in range(trials):
        own = two(random, 50, 3, 3)
        share, low, high = superiority(own._replace(first=own.first + 0.05), True)
        assert 0 <= low <= share <= high <= 1
        held += low <= truth <= high
    assert held / trials > 0.91


def test_swapping_models_flips_signs_and_the_order_of_patients_has_no_say():
    own = two(np.random.default_rng(5), 20, 3, 3)
    turned = pair_runs(own.second, own.first)
    one, other = estimate(own.differences()), estimate(turned.differences())
    assert (one.mean, one.p) == (-other.mean, pytest.approx(other.p))
    assert superiority(own, True)[0] == pytest.approx(1 - superiority(turned, True)[0])
    order = np.random.default_rng(1).permutation(20)
    assert estimate(own.differences()[order]).p == pytest.approx(one.p)
    assert components(turned) == pytest.approx(components(own))


def scored(name, seeds=(1, 2), folds=3, fold_of=None, patients=12, gain=0.0):
    """Scores where all folds test all patients, or each those that ``fold_of`` (patient, seed) gives it."""
    random = np.random.default_rng(len(name) + int(1000 * gain))
    base = np.random.default_rng(0).normal(0.8, 0.05, patients) + gain
    parts = []
    for patient in range(patients):
        for seed in seeds:
            for fold in range(folds) if fold_of is None else [fold_of(patient, seed)]:
                value = base[patient] + random.normal(0, 0.01)
                parts.append(rows(name, {f"P{patient:02d}": value}, seed=seed, fold=fold))
    return table(*parts)


def new_partition(patient, seed):
    return (patient // 2 if seed == 1 else patient) % 3


def test_a_training_set_is_a_fold_with_the_patients_that_it_tested():
    patients = pd.Index([f"P{place:02d}" for place in range(12)])

    def sets(fold_of):
        scores = pd.concat([scored("unet", fold_of=fold_of), scored("other", fold_of=fold_of)])
        runs = model_runs(scores.assign(model=scores["bundle"]), patients)
        return pair_runs(runs["unet"], runs["other"]).differences()

    assert (~np.isnan(sets(lambda patient, seed: patient % 3))).sum(axis=0).tolist() == [4] * 3
    assert (~np.isnan(sets(new_partition))).sum(axis=0).tolist() == [4] * 6
    assert (~np.isnan(sets(None))).sum(axis=0).tolist() == [12] * 3


def test_methods_are_compared_with_their_family():
    own = {"fold_of": new_partition}
    scores = pd.concat([scored("unet", **own), scored("other", gain=0.05, **own), scored("third", **own)])
    found = compare_methods(scores, {"metrics": ["dice"]}, BETTER)
    assert tuple(found.columns) == METHOD_COLUMNS
    row = found.iloc[0]
    assert (row["model_a"], row["model_b"], row["verdict"]) == ("unet", "other", "b better")
    assert (row["n_patients"], row["n_checkpoints_a"], row["n_sets"], row["df"]) == (12, 6, 6, 5)
    assert row["set_low"] < row["difference"] < row["set_high"] < 0
    assert row["p_superior"] < 0.1
    assert row[["share_patient", "share_seed", "share_patient_seed"]].sum() == pytest.approx(1)
    assert found["p_holm"].iloc[0] == pytest.approx(3 * row["p"])


def test_a_study_on_one_training_set_says_nothing_of_methods():
    scores = pd.concat([scored("unet", folds=1), scored("other", gain=0.05, folds=1)], ignore_index=True)
    row = compare_methods(scores, {"metrics": ["dice"]}, BETTER, models=["unet", "other", "gone"]).iloc[0]
    assert row["note"].startswith("the models share fewer than two training sets") and row["verdict"] == "not tested"
    assert np.isnan(row["ci_low"]) and np.isnan(row["p_superior_low"])
    assert row["difference"] < -0.03 and row["p_superior"] < 0.1 and row["p"] == 1
    found = compare(scores, {"metrics": ["dice"], "test": "two_level", "margin": 0.1}, BETTER).iloc[0]
    assert (found["verdict"], found["p"], found["p_equivalent"]) == ("not tested", 1, 1)
    assert found["note"].startswith("the models share fewer than two training sets") and found["difference"] < -0.03


def test_equal_scores_are_equivalent_by_the_signs_of_the_patients():
    alike = pd.concat([scored(name) for name in ("unet", "other")])
    alike["value"] = alike.groupby("patient_id")["value"].transform("mean")
    found = compare(alike, {"metrics": ["dice"], "test": "two_level", "margin": 0.02}, BETTER).iloc[0]
    assert (found["verdict"], found["p"]) == ("equivalent", 1)
    assert found["p_equivalent"] == 0.5 ** found["n_patients"]


def test_a_run_that_lacks_a_score_is_said_to():
    own = {"fold_of": new_partition}
    scores = pd.concat([scored("unet", **own), scored("other", gain=0.05, **own)], ignore_index=True)
    declared = {"metrics": ["dice"], "test": "two_level"}
    assert compare(scores, declared, BETTER)["note"].tolist() == [""]
    found = compare(scores.drop(0), declared, BETTER).iloc[0]
    assert found["note"].startswith("what only one of the two models was trained or tested on is left out")


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


def test_folds_of_one_number_with_other_patients_are_no_common_training_set():
    random = np.random.default_rng(5)
    first, second, places = study(random, 30, 3, 2, shared=False)
    ours, same = runs(first, places), runs(second, places)
    other = runs(second, (places + 1) % 3)
    assert estimate(pair_runs(ours, same).differences()).sets_df == 5
    apart = pair_runs(ours, other)
    assert apart.sets.nunique() == 12 and np.isnan(apart.differences()).all()
    assert estimate(apart.differences()).p == 1
    lost = same.copy()
    lost.iloc[:10] = np.nan
    assert pair_runs(ours, lost).sets.nunique() == 6
