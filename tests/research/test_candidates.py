"""The simulation's own tests, many studies a call, against the libraries and the package's one study a call."""

import warnings

import candidates
import designs
import numpy as np
import pandas as pd
import pytest
from candidates import by_runs, fold_means, mixed_crossed, mixed_shared, p_values, parts, reject, two_level
from drawing import by_run, modelled, partitions, shuffled
from helpers.project import REPOSITORY
from scipy import stats
from several import friedman, holm, iman_davenport, nemenyi
from sources import EMPTY_HD95, Seeds, from_latent, to_latent
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests

RANDOM = np.random.default_rng(3)


def test_every_study_of_the_designs_is_in_their_table():
    table = pd.read_csv(REPOSITORY / "research/calibration/designs.csv")
    keys = ["n_patients", "k", "n_seeds", "fold", "acts"]
    found = {*table.loc[table["scores"] == "normal", keys].itertuples(index=False, name=None)}
    assert found == {(one.patients, one.k, one.seeds, one.fold, one.acts) for one in designs.STUDIES}


def scores(rows, patients, seeds):
    return tuple(RANDOM.normal(size=(rows, patients, seeds)) + RANDOM.normal(size=(rows, patients, 1)) for _ in "ab")


@pytest.mark.slow(reason="every simulated study is tested by scipy and statsmodels, one by one")
def test_friedman_and_holm_are_scipys_and_statsmodels():
    values = np.round(RANDOM.normal(size=(20, 12, 4)), 1)  # rounding makes ties
    assert friedman(values) == pytest.approx([stats.friedmanchisquare(*rows.T).pvalue for rows in values])
    assert friedman(np.ones((1, 5, 3))) == [1.0]
    chi = np.array([stats.friedmanchisquare(*rows.T).statistic for rows in values])
    assert iman_davenport(values) == pytest.approx(stats.f.sf(11 * chi / (12 * 3 - chi), 3, 33))
    p = RANDOM.random((30, 7)) ** 3
    assert holm(p) == pytest.approx(np.array([multipletests(row, method="holm")[1] for row in p]))


def test_nemenyi_is_at_its_published_critical_difference():
    # Demsar (2006), table 5: q 0.05 for 3 classifiers is 2.343, so that CD = q sqrt(3 * 4 / (6 * 100)) = 0.331.
    def ahead(count):
        return np.array([[[1.0, 2.0, 3.0]] * count + [[3.0, 2.0, 1.0]] * (100 - count)])

    # 58 of 100 patients the one way: mean ranks 0.32 apart; 59: 0.36.
    assert nemenyi(ahead(58))[0] > 0.05 > nemenyi(ahead(59))[0]


@pytest.mark.parametrize("shared", [False, True])
def test_two_level_is_the_packages(shared):
    package = pytest.importorskip("benchmark.stats.seeds")
    first, second = scores(10, 11, 3)
    folds = partitions(RANDOM, 11, 3, 3, shared)
    found, over_runs = two_level(first, second, folds), p_values(by_runs(first, second, folds))
    assert (reject(by_runs(first, second, folds), 0.3) == (over_runs < 0.3)).all()
    shifted = p_values(by_runs(first + 0.2, second, folds))
    assert (reject(by_runs(first, second, folds), 0.3, 0.2) == (shifted < 0.3)).all()
    for row in range(len(first)):
        own = package.pair_runs(by_run(first[row], folds), by_run(second[row], folds))
        assert found[row] == pytest.approx(package.estimate(own.differences(), own.runs()).p, abs=1e-6)
        assert over_runs[row] == pytest.approx(package.estimate_runs(own.runs()).p, abs=1e-6)


def test_one_training_set_gives_no_verdict_on_methods():
    first, second = scores(4, 9, 3)
    assert (two_level(first, second + 9, np.zeros((3, 9), dtype=int)) == 1).all()


def test_shared_folds_of_one_size_are_compared_by_scipys_t():
    first, second = scores(5, 12, 2)
    folds = partitions(RANDOM, 12, 3, 2, shared=True)
    means = np.stack([(first - second)[:, folds[0] == fold].mean(axis=(1, 2)) for fold in range(3)], axis=1)
    assert p_values(fold_means(first, second, folds)) == pytest.approx(stats.ttest_1samp(means, 0, axis=1).pvalue)


@pytest.mark.slow(reason="statsmodels takes seconds to fit crossed effects")
@pytest.mark.parametrize(("test", "shared"), [(mixed_shared, True), (mixed_crossed, False)])
def test_mixed_models_are_statsmodels_on_a_finer_grid(test, shared, monkeypatch):
    monkeypatch.setattr(candidates, "GRID", np.geomspace(0.01, 100, 40))
    folds = partitions(RANDOM, 20, 4, 3, shared)
    patient, seed = np.meshgrid(np.arange(20), np.arange(3), indexing="ij")
    fold = folds[seed, patient]
    for _ in range(2):
        # Every source has its part: at the edge of zero variances statsmodels stops short of the best.
        values = 0.5 + RANDOM.normal(size=(20, 1)) + RANDOM.normal(size=(20, 3)) / 2
        values = values + RANDOM.normal(size=(4, 3))[fold, seed] + shared * RANDOM.normal(0, 2, 4)[fold]
        own = pd.DataFrame({"value": values.ravel(), "patient": patient.ravel(), "fold": fold.ravel(), "all": 1})
        own["run"] = own["fold"] + 4 * seed.ravel()
        parts = {name: f"0 + C({name})" for name in ("patient", "run", *(("fold",) if shared else ()))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = MixedLM.from_formula("value ~ 1", groups="all", re_formula="0", vc_formula=parts, data=own).fit()
        found = p_values(test(values[None], 0 * values[None], folds))[0]
        assert found == pytest.approx(fit.pvalues["Intercept"], abs=0.03)


def test_two_methods_that_are_not_paired_have_both_their_variances():
    # Method a: patients 1 and 3 under seeds that shift both by 0 and 2; method b: 0 and 0 under shifts 0 and 4.
    first, second = np.array([[[1.0, 3.0], [3.0, 5.0]]]), np.array([[[0.0, 4.0], [0.0, 4.0]]])
    found = parts([first, second], np.zeros((2, 2), dtype=int))
    # Seeds' means: a 2, 4 (variance 2); b 0, 4 (variance 8), each over two seeds: 1 + 4. No residual is left.
    assert (found.mean[0], found.runs[0], found.runs_df) == (1.0, pytest.approx(5.0), 2)
    # Patients' differences: 2 - 2 = 0 and 4 - 2 = 2, of variance 2, over 2 patients.
    assert (found.patients[0], found.patients_df) == (pytest.approx(1.0), 1)


def test_latent_scale_gives_real_scores_back():
    real = np.array([[0.9, 0.4, 0.0, 3.0, 40.5, EMPTY_HD95], [0.5, 0.1, 0.7, 1.0, 90.0, 12.0]])
    assert from_latent(to_latent(real)) == pytest.approx(real)
    # Far off but with overlap: not empty, and no farther than a head is wide.
    far = to_latent(np.array([0.5, 0.5, 0.5, 80.0, 80.0, EMPTY_HD95]))
    assert from_latent(far) == pytest.approx([0.5, 0.5, 0.5, 80.0, 80.0, 106.0])


def test_names_of_a_shuffled_study_hold_the_real_scores_of_a_patient():
    runs = RANDOM.random((5, 6, 6))
    drawn = shuffled(RANDOM, runs, 3, 40, 3, 2)
    pool = {tuple(sorted(patient[:, 0])) for patient in runs}
    assert {tuple(sorted(values.ravel())) for values in drawn[..., 0].reshape(-1, 6)} <= pool


def test_a_checkpoints_shift_is_shared_by_the_patients_of_its_fold():
    # No noise of one patient is left where the seeds' differences are zero: only the checkpoint moves a score.
    centres, still = np.zeros((4, 2, 6)), np.zeros((4, 2, 6))
    centres[..., 3:] = 2.0
    real = Seeds(centres, still, np.eye(6) * 0.01, 1.0, 0.0, 1.0, 1.0)
    folds = np.tile(np.arange(12) % 3, (2, 1))
    drawn = modelled(RANDOM, real, 1.0, 5, 12, 2, 2, folds)[..., 0]
    assert np.ptp(drawn.reshape(5, 4, 3, 2, 2), axis=1).max() == pytest.approx(0)
    assert (np.ptp(drawn[:, :3], axis=1) > 1e-3).all()


def test_a_training_sets_shift_is_that_of_every_seed_with_the_same_folds():
    centres, still = np.zeros((4, 2, 6)), np.zeros((4, 2, 6))
    centres[..., 3:] = 2.0
    real = Seeds(centres, still, np.eye(6) * 1e-4, 1.0, 0.0, 1.0, 1.0)
    for shared, like in ((True, True), (False, False)):
        folds = partitions(RANDOM, 12, 3, 2, shared)
        # A set's shift has a hundred times the SD of a run's.
        drawn = modelled(RANDOM, real, 1.0, 50, 12, 2, 2, folds, 1e4)[..., 0, :, 0]
        assert (np.corrcoef(drawn[..., 0].ravel(), drawn[..., 1].ravel())[0, 1] > 0.9) == like
