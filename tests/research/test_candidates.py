"""The simulation's own tests, many studies a call, against the libraries and the package's one study a call."""

import numpy as np
import pytest
from candidates import parts, satterthwaite, two_level
from drawing import modelled, shuffled
from scipy import stats
from several import friedman, holm, iman_davenport, nemenyi
from sources import EMPTY_HD95, Seeds, from_latent, to_latent
from statsmodels.stats.multitest import multipletests

RANDOM = np.random.default_rng(3)


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


def test_variance_of_a_worked_example_is_split_by_hand():
    # Method a: patients 1 and 3 under seeds that shift both by 0 and 2; method b: 0 and 0 under shifts 0 and 4.
    first, second = np.array([[[1.0, 3.0], [3.0, 5.0]]]), np.array([[[0.0, 4.0], [0.0, 4.0]]])
    found = parts(first, second)
    # Seeds' means: a 2, 4 (variance 2); b 0, 4 (variance 8): V = 5, twice V / S = 5. No residual is left.
    assert (found.mean[0], found.seeds[0], found.df_seeds) == (1.0, 5.0, 2)
    # Patients' differences: 2 - 2 = 0 and 4 - 2 = 2, of variance 2, over 2 patients.
    assert (found.patients[0], found.df_patients) == (1.0, 1)


@pytest.mark.parametrize("folds", [1, 3])
def test_two_level_is_the_packages(folds):
    package = pytest.importorskip("benchmark.stats.seeds")
    first, second = scores(10, 11, 3)
    place = [np.flatnonzero(np.arange(11) % folds == fold) for fold in range(folds)]
    found = two_level(first, second, folds)
    for row in range(len(first)):
        sides = [[package.ScoreBlock(at, side[row, at]) for at in place] for side in (first, second)]
        own, _ = package.estimate(*sides)
        assert found[row] == pytest.approx(own.p, abs=1e-6)


def test_one_seed_gives_no_verdict_on_methods():
    first, second = scores(4, 9, 1)
    assert (two_level(first, second + 9) == 1).all()
    assert (satterthwaite(first, second + 9) == 1).all()


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
    drawn = modelled(RANDOM, real, 1.0, 5, 12, 2, 2, folds=3)[..., 0]
    assert np.ptp(drawn.reshape(5, 4, 3, 2, 2), axis=1).max() == pytest.approx(0)
    assert (np.ptp(drawn[:, :3], axis=1) > 1e-3).all()
