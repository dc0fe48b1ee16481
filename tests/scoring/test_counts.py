import numpy as np
import pytest
from helpers.synthetic_scores import counted, rows, table, wide
from sklearn import metrics as sk

from benchmark.base.records import InputError
from benchmark.scoring.counts import (
    Counted,
    mean_iou,
    measure_of,
    merge_parts,
    of_slices,
    report_cells,
    tversky,
    weighted_iou,
)
from benchmark.scoring.metrics import COUNTS, METRICS, score_case
from benchmark.scoring.score_table import tidy


@pytest.fixture(scope="module")
def masks():
    random = np.random.default_rng(4)
    truth = random.random(5000) < 0.2
    guess = np.where(random.random(5000) < 0.1, ~truth, truth)
    return truth, guess


def counts_of(truth, guess):
    return np.array([(truth & guess).sum(), (~truth & guess).sum(), (truth & ~guess).sum(), (~truth & ~guess).sum()])


def test_the_report_is_that_of_scikit_learn(masks):
    found = report_cells(counts_of(*masks))
    known = sk.classification_report(*masks, output_dict=True)
    names = {"0": "False", "1": "True", "macro": "macro avg", "weighted": "weighted avg"}
    for row, name in names.items():
        for measure, column in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score"), ("support",) * 2):
            assert float(found[row, measure]) == pytest.approx(known[name][column])
    assert float(found["micro", "f1"]) == pytest.approx(sk.f1_score(*masks, average="micro"))
    assert float(found["accuracy", "accuracy"]) == pytest.approx(known["accuracy"])


def test_measures_of_segmentation_are_those_of_scikit_learn(masks):
    counts = counts_of(*masks)
    known = {
        "GlobalAccuracy": sk.accuracy_score(*masks),
        "MeanAccuracy": sk.balanced_accuracy_score(*masks),
        "MeanIoU": sk.jaccard_score(*masks, average="macro"),
        "WeightedIoU": sk.jaccard_score(*masks, average="weighted"),
        "MeanFScore": sk.f1_score(*masks, average="macro"),
        "Dice": sk.f1_score(*masks),
        "IoU": sk.jaccard_score(*masks),
    }
    found = {name: float(measure_of(name)(counts)) for name in known}
    assert found == pytest.approx(known)


def test_tversky_weighs_false_positives_by_alpha():
    counts = np.array([8.0, 4.0, 2.0, 100.0])
    weights = {"alpha": 0.3, "beta": 0.7}
    assert float(measure_of("Tversky", weights)(counts)) == pytest.approx(8 / (8 + 0.3 * 4 + 0.7 * 2))
    with pytest.raises(InputError, match="no pooled metric 'BF'"):
        measure_of("BF")


def test_a_class_that_is_nowhere_counts_as_right():
    empty = np.array([0.0, 0.0, 0.0, 50.0])
    assert float(mean_iou(empty)) == float(weighted_iou(empty)) == float(tversky(empty)) == 1.0


def test_parts_of_a_case_become_one():
    parts = {0: (6, 1, 2, 91), 1: (2, 1, 0, 97)}
    made = [row for fold, values in parts.items() for name, value in zip(COUNTS, values, strict=True)
            for row in rows("m", {"A/1": float(value)}, metric=name, fold=fold)]  # fmt: skip
    made += [row for fold in parts for name in ("dice", "hd95", "accuracy")
             for row in rows("m", {"A/1": 0.1}, metric=name, fold=fold)]  # fmt: skip
    whole = rows("m", {"B/1": 0.7}, metric="hd95", fold=0)
    found = tidy(merge_parts(wide(table(made, whole)), ["m"])).set_index(["case_id", "metric"])["value"]
    assert found["A/1", "dice"] == pytest.approx(2 * 8 / (2 * 8 + 2 + 2))
    assert found["A/1", "accuracy"] == pytest.approx((8 + 188) / 200)
    assert [found["A/1", name] for name in COUNTS] == [8, 2, 2, 188]
    assert ("A/1", "hd95") not in found.index and found["B/1", "hd95"] == 0.7


def test_rules_for_empty_masks_hold_for_joined_parts():
    parts = [row for fold in (0, 1) for name, value in zip(COUNTS, (0, 0, 0, 50), strict=True)
             for row in rows("m", {"A/1": float(value)}, metric=name, fold=fold)]  # fmt: skip
    parts += [row for fold in (0, 1) for row in rows("m", {"A/1": 0.0}, fold=fold)]
    found = tidy(merge_parts(wide(table(parts)), ["m"]))
    dice = found[found["metric"] == "dice"].iloc[0]
    assert (dice["value"], dice["note"]) == (1.0, "both empty")


def test_cases_of_one_fold_are_left_as_they_are():
    scores = wide(counted(patients=3))
    assert merge_parts(scores, ["unet"]) is scores
    # Under a split by patient a case in two folds was tested whole in each: a sum of both is no score of it.
    whole = wide(counted(patients=3, variant_folds=2))
    assert merge_parts(whole, ["other"]) is whole
    joined = merge_parts(wide(counted(patients=3, variant_folds=2)), ["unet"])
    assert len(joined) == len(scores)
    assert not joined.duplicated("case_id").any()


def test_parts_without_counts_are_refused():
    parts = [row for fold in (0, 1) for row in rows("m", {"A/1": 0.5}, fold=fold)]
    with pytest.raises(InputError, match="case A/1 of m/default is in several folds without counts"):
        merge_parts(wide(table(parts)), ["m"])


def test_counts_stand_for_masks():
    assert Counted(1, 2, 3, 4).shape == (10,)


def test_slices_that_no_fold_tests_are_no_true_negatives():
    """Scores of some slices in an else empty volume are those of these slices alone."""
    truth, guess = (np.random.default_rng(seed).integers(0, 2, (6, 7, 5)) for seed in (1, 2))
    tested = [1, 3]
    for volume in (truth, guess):
        volume[..., [0, 2, 4]] = 0
    (whole,) = score_case(truth, guess, (1.0, 1.0, 1.0), {"WT": [1]})
    (alone,) = score_case(truth[..., tested], guess[..., tested], (1.0, 1.0, 1.0), {"WT": [1]})
    found = of_slices(whole, 6 * 7 * 3)
    names = [*COUNTS, *(name for name, metric in METRICS.items() if metric.needs == "counts"), "note"]
    assert {name: found[name] for name in names} == {name: alone[name] for name in names}
    assert found["accuracy"] < whole["accuracy"] and found["specificity"] < whole["specificity"]
    assert found["hd95"] == whole["hd95"]
