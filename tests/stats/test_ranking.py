import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from helpers.synthetic_scores import realistic, rows, table
from scipy import stats as scipy_stats

from benchmark.base.records import InputError
from benchmark.stats.ranking import (
    RANKING_COLUMNS,
    _tau,
    critical_difference,
    friedman,
    nemenyi,
    patient_ranks,
    rank_models,
    resampled_ranks,
)

BETTER = {"dice": "higher", "hd95": "lower", "iou": "higher"}
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)  # fmt: skip
"""Table 6 of Demsar (2006), AUC on 14 data sets. In its row "voting" two values print as 0.975 but rank as 2 and 3."""


def test_mean_ranks_and_friedman_are_those_of_demsar():
    found = nemenyi(DEMSAR)
    assert found.ranks[DEMSAR.columns].round(3).tolist() == [3.143, 2.000, 2.893, 1.964]
    # The paper's chi-squared is not corrected for the ties.
    ranks = found.ranks.to_numpy()
    assert 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 5**2 / 4) == pytest.approx(9.28, abs=0.005)
    expected = scipy_stats.friedmanchisquare(*DEMSAR.to_numpy().T)
    assert friedman(DEMSAR.to_numpy()) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.friedman_p == pytest.approx(expected.pvalue)


def test_nemenyis_groups_are_those_of_demsar():
    found = nemenyi(DEMSAR, alpha=0.05)
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert found.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")]
    found = nemenyi(DEMSAR, alpha=0.1)
    assert found.critical == pytest.approx(1.12, abs=0.005)
    # C4.5 is significantly worse than C4.5+m and C4.5+m+cf; C4.5+cf belongs to either group.
    assert found.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5")]


@pytest.mark.parametrize(
    ("models", "alpha", "q"), [(2, 0.05, 1.960), (3, 0.05, 2.343), (10, 0.05, 3.164), (4, 0.1, 2.291)]
)
def test_critical_values_are_those_of_demsars_table_5(models, alpha, q):
    assert critical_difference(models, 6, alpha) / np.sqrt(models * (models + 1) / 36) == pytest.approx(q, abs=1e-3)


def test_nemenyis_verdicts_are_those_of_scikit_posthocs():
    values = np.random.default_rng(0).normal(0, 1, (20, 5)) + np.arange(5) / 3
    expected = scikit_posthocs.posthoc_nemenyi_friedman(values).to_numpy()
    found = nemenyi(pd.DataFrame(values))
    # Whether p is below alpha and whether ranks are a critical difference apart is one thing.
    ranks = found.ranks.sort_index().to_numpy()
    apart = np.abs(ranks[:, None] - ranks) > found.critical
    assert apart.any() and not apart[~np.eye(5, dtype=bool)].all()
    assert ((expected < 0.05) == apart).all()
    lower = nemenyi(pd.DataFrame(-values), higher=False)
    assert lower.ranks.to_dict() == found.ranks.to_dict() and lower.groups == found.groups


def test_friedman_of_rounding_and_of_too_few():
    rounding = np.array([[0.1 + 0.2, 0.3, 0.3], [0.15, (0.1 + 0.2) / 2, 0.15]])
    assert friedman(rounding)[1] == 1
    assert np.isnan(friedman(np.ones((5, 2)))).all()
    # All agree: chi-squared is n (k - 1).
    assert friedman(np.tile([1.0, 2, 3], (4, 1)))[0] == pytest.approx(8)
    with pytest.raises(InputError, match="1 models"):
        nemenyi(pd.DataFrame({"a": [1.0, 2.0]}))


def test_brats_ranks_are_averaged_over_regions_and_metrics_for_each_patient():
    # P0: dice WT 1, 2, 3; hd95 WT 2, 1, 3 (lower is better); dice ET 1.5, 1.5, 3: means 1.5, 1.5, 3.
    # P1: dice WT 3, 2, 1; hd95 WT all tied 2; dice ET 1, 2, 3: means 2, 2, 2.
    scores = table(
        *(rows(model, {"P0": first, "P1": second}, metric=metric, region=region)
          for metric, region, values in (
              ("dice", "WT", {"a": (0.9, 0.5), "b": (0.8, 0.6), "c": (0.7, 0.7)}),
              ("hd95", "WT", {"a": (5.0, 1.0), "b": (4.0, 1.0), "c": (6.0, 1.0)}),
              ("dice", "ET", {"a": (1.0, 0.9), "b": (1.0, 0.8), "c": (0.0, 0.7)}),
          ) for model, (first, second) in values.items())
    )  # fmt: skip
    found = patient_ranks(scores, ["dice", "hd95"], BETTER)
    assert found.loc["P0"].tolist() == pytest.approx([1.5, 1.5, 3])
    assert found.loc["P1"].tolist() == pytest.approx([2, 2, 2])
    ranking = rank_models(found)
    assert tuple(ranking.columns) == RANKING_COLUMNS
    assert ranking[["rank", "model", "mean_rank"]].to_numpy().tolist() == [
        [1, "a", 1.75],
        [1, "b", 1.75],
        [3, "c", 2.5],
    ]
    # P0 is won by a and b, P1 by all three alike.
    assert ranking["patients_first"].tolist() == pytest.approx([(1 / 2 + 1 / 3) / 2] * 2 + [1 / 6])
    # Only the quarter of resamples with P1 twice has c level with the others.
    assert ranking["p_first"].tolist() == pytest.approx([0.375 + 1 / 12, 0.375 + 1 / 12, 1 / 12], abs=0.02)
    with pytest.raises(InputError, match="names iou"):
        patient_ranks(scores, ["iou"], BETTER)


def test_a_clear_order_is_stable_and_an_order_of_chance_is_not():
    scores = realistic(models=(("worst", 0.0), ("middle", 0.03), ("best", 0.07)))
    clear = rank_models(patient_ranks(scores, ["dice", "hd95"], BETTER))
    assert clear["model"].tolist() == ["best", "middle", "worst"]
    assert clear["p_first"].tolist() == [1, 0, 0] and set(clear["kendall_tau"]) == {1.0}
    random = np.random.default_rng(1)
    for _ in range(3):
        orders = random.permuted(np.tile([1.0, 2, 3, 4], (30, 1)), axis=1)
        found = rank_models(pd.DataFrame(orders, columns=[*"abcd"]))
        assert found["kendall_tau"][0] < 0.9 and found["p_first"].max() < 0.9
        assert found["p_first"].sum() == pytest.approx(1)
        assert (found["rank_low"] <= found["rank"]).all() and (found["rank"] <= found["rank_high"]).all()
        assert (found["rank_high"] - found["rank_low"]).max() >= 2


def test_one_patient_has_an_order_and_no_stability():
    found = rank_models(pd.DataFrame({"a": [1.0], "b": [2.0], "c": [3.0]}))
    assert found["rank"].tolist() == [1, 2, 3]
    assert (found["rank_low"].tolist(), found["rank_high"].tolist()) == ([1, 1, 1], [3, 3, 3])
    assert found[["p_first", "kendall_tau"]].isna().all(axis=None)


def test_stability_counts_resamples():
    ranks = patient_ranks(realistic(), ["dice"], BETTER)
    drawn = resampled_ranks(ranks)
    assert set(drawn.to_numpy().ravel()) <= {1, 2, 3} and (drawn.min(axis=1) == 1).all()
    mean = ranks.mean().to_numpy()
    taus = [scipy_stats.kendalltau(mean, row).statistic for row in drawn.to_numpy()[:200]]
    assert _tau(mean, drawn.to_numpy()[:200]) == pytest.approx(taus, nan_ok=True)
