"""Known answers for every metric and for every rule of empty, full and missing masks."""

import math

import numpy as np
import pytest
from helpers.synthetic_masks import ANISOTROPIC, ISOTROPIC, ONE, REGIONS, blobs, volume

from benchmark.base.boxes import bounding_box
from benchmark.base.records import InputError
from benchmark.scoring.masks import MaskPair
from benchmark.scoring.metrics import AREA_METRICS, COUNTS, LESION_COUNTS, METRICS, score_case, score_pair

DISTANCES = ("hd95", "hd95_pooled", "hd100", "assd", "lesion_hd95")
ERRORS = (*DISTANCES, "volume_error")
PERFECT = {name: 0.0 if name in ERRORS else 1.0 for name in METRICS}


def scores(reference, prediction, spacing=ISOTROPIC, regions=ONE):
    return {row["region"]: row for row in score_case(reference, prediction, spacing, regions)}


def only_metrics(row):
    return {name: row[name] for name in METRICS}


def values(reference, prediction, spacing=ISOTROPIC):
    return only_metrics(scores(reference, prediction, spacing)["ET"])


def test_the_table_is_complete_and_in_order():
    assert list(METRICS) == [
        *("dice", "iou", "sensitivity", "specificity", "precision", "accuracy", "balanced_accuracy"),
        *("hd95", "hd95_pooled", "hd100", "assd", "nsd", "volume_error", "lesion_dice", "lesion_hd95", "lesion_pq"),
    ]
    for name, metric in (METRICS | AREA_METRICS).items():
        assert metric.name == name
        assert metric.title and metric.version
        assert metric.better == ("lower" if metric.unit else "higher")
    assert {name for name, metric in METRICS.items() if metric.unit == "mm"} == set(DISTANCES)
    assert {name for name, metric in METRICS.items() if metric.unit == "ml"} == {"volume_error"}


def test_a_metric_of_counts_needs_nothing_else():
    class Counted:
        tp, fp, fn, tn, shape, spacing = 4, 8, 4, 704, (720,), (1.0,)

    pair = MaskPair(volume(np.s_[2:4, 2:4, 2:4]) > 0, volume(np.s_[3:6, 2:4, 2:4]) > 0, (8, 9, 10), ISOTROPIC)
    names = [name for name, metric in METRICS.items() if metric.needs == "counts"]
    assert names == list(METRICS)[:7]
    for name in names:
        assert score_pair(METRICS[name], Counted()) == score_pair(METRICS[name], pair)


def test_counts_of_hand_made_masks_give_the_textbook_values():
    # 8 voxels against 12, 4 of them shared, in a volume of 720: TP 4, FP 8, FN 4, TN 704.
    reference = volume(np.s_[2:4, 2:4, 2:4])
    prediction = volume(np.s_[3:6, 2:4, 2:4])
    got = values(reference, prediction)
    expected = {
        "dice": 8 / 20,
        "iou": 4 / 16,
        "sensitivity": 4 / 8,
        "specificity": 704 / 712,
        "precision": 4 / 12,
        "accuracy": 708 / 720,
        "balanced_accuracy": (4 / 8 + 704 / 712) / 2,
        "volume_error": 0.004,
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-15)
    assert values(reference, prediction, (0.5, 2.0, 3.0))["volume_error"] == pytest.approx(0.012)


def test_surface_scores_of_two_bars_by_hand():
    # Bars of one voxel's width, so that all is surface: 1 voxel at 0, and 4 at 0 to 3; distances 0, and 0 to 3 mm.
    got = values(volume(np.s_[0, 4, 4]), volume(np.s_[0:4, 4, 4]))
    expected = {
        "hd100": 3.0,
        "hd95": 0.95 * 3,
        # The five distances 0, 0, 1, 2, 3: rank 0.95 * 4 lies four fifths of the way from 2 to 3.
        "hd95_pooled": 2.8,
        "assd": 6 / 5,
        # 0, 0 and exactly 1 mm are within 1 mm.
        "nsd": 3 / 5,
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected)
    wide = values(volume(np.s_[0, 4, 4]), volume(np.s_[0:4, 4, 4]), (1.5, 1.0, 1.0))
    assert (wide["nsd"], wide["assd"]) == (pytest.approx(2 / 5), pytest.approx(1.5 * 6 / 5))


def test_hd95_of_shifted_points_is_their_distance_in_mm():
    reference, prediction = volume(np.s_[1, 1, 1]), volume(np.s_[4, 1, 3])
    assert values(reference, prediction)["hd95"] == pytest.approx(math.sqrt(9 + 4))
    assert values(reference, prediction, (2.0, 1.0, 0.5))["hd95"] == pytest.approx(math.sqrt(36 + 1))


def test_hd95_is_the_larger_direction_and_interpolates_between_ranks():
    # Two predicted points at 0 and 7 mm from the one reference point: directed percentiles are 0 and 0.95 * 7;
    # pooling the three distances would give 6.3.
    reference, prediction = volume(np.s_[0, 0, 0]), volume(np.s_[0, 0, 0], np.s_[7, 0, 0])
    assert values(reference, prediction)["hd95"] == pytest.approx(0.95 * 7)
    assert values(prediction, reference)["hd95"] == pytest.approx(0.95 * 7)


def test_identical_masks_are_perfect():
    reference, _ = blobs(0)
    for row in scores(reference, reference, ANISOTROPIC, REGIONS).values():
        assert row["note"] == ""
        assert only_metrics(row) == PERFECT


def test_regions_unite_labels_and_other_labels_are_background():
    reference, prediction = volume(np.s_[0:2, 0, 0], label=1), volume(np.s_[0:2, 0, 0], label=4)
    reference[5, 5, 5] = prediction[7, 7, 7] = 3
    got = {region: row["dice"] for region, row in scores(reference, prediction, regions=REGIONS).items()}
    assert got == {"WT": 1.0, "TC": 1.0, "ET": 0.0}


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC])
def test_empty_full_and_missing_masks_follow_each_metrics_rule(spacing):
    empty, some, full = volume(), volume(np.s_[0:4, 0:4, 0:4]), volume(np.s_[:, :, :])
    diagonal = math.sqrt(sum((n * s) ** 2 for n, s in zip(some.shape, spacing, strict=True)))
    voxel = math.prod(spacing) / 1000
    # 64 of 720 voxels: predicting none of them leaves 656 right; the reference's background is then untouched.
    share = 656 / 720
    worst = dict.fromkeys(METRICS, 0.0) | dict.fromkeys(DISTANCES, diagonal) | {"lesion_hd95": 374.0}
    right = {"specificity": 1.0, "accuracy": share, "balanced_accuracy": 0.5}
    wrong = {"specificity": share, "accuracy": share, "balanced_accuracy": share / 2}
    cases = {
        "both empty": (empty, empty, PERFECT),
        "prediction empty": (some, empty, worst | right | {"volume_error": 64 * voxel}),
        "reference empty": (empty, some, worst | wrong | {"volume_error": 64 * voxel}),
        "missing prediction": (some, None, worst | {"volume_error": 720 * voxel}),
        "both full": (full, full, PERFECT),
        "prediction empty, reference full": (full, empty, worst | {"volume_error": 720 * voxel}),
        "reference empty, prediction full": (empty, full, worst | {"volume_error": 720 * voxel}),
    }
    for note, (reference, prediction, wanted) in cases.items():
        row = scores(reference, prediction, spacing)["ET"]
        assert only_metrics(row) == pytest.approx(wanted), note
        assert row["note"] == note


def test_a_mask_that_fills_the_volume_is_scored_against_a_corner():
    full, some = volume(np.s_[:, :, :]), volume(np.s_[0:4, 0:4, 0:4])
    expected = {
        "dice": 128 / 784,
        "iou": 64 / 720,
        "sensitivity": 64 / 720,
        "specificity": 0.0,
        "precision": 1.0,
        "accuracy": 64 / 720,
        "balanced_accuracy": 32 / 720,
        # From the far corner (7, 8, 9) to (3, 3, 3).
        "hd100": math.sqrt(16 + 25 + 36),
        "volume_error": 0.656,
        "lesion_dice": 128 / 784,
        "lesion_pq": 128 / 784,
    }
    for reference, prediction, note, changed in (
        (full, some, "reference full", {}),
        (some, full, "prediction full", {"sensitivity": 1.0, "precision": 64 / 720, "balanced_accuracy": 0.5}),
    ):
        row = scores(reference, prediction)["ET"]
        assert {name: row[name] for name in expected} == pytest.approx(expected | changed)
        assert row["note"] == note


def test_worst_hd95_on_a_brats_volume_is_the_challenges_penalty():
    rows = score_case(np.zeros((240, 240, 155), np.uint8), None, ISOTROPIC, ONE, {"hd95": METRICS["hd95"]})
    assert [round(row["hd95"], 2) for row in rows] == [373.13]


@pytest.mark.parametrize("reference", [volume(), volume(np.s_[0:2, 0:2, 0:2])])
def test_a_missing_prediction_has_the_worst_value_of_each_metric(reference):
    rows = score_case(reference, None, ANISOTROPIC, REGIONS)
    assert [row["region"] for row in rows] == list(REGIONS)
    for row in rows:
        assert row["note"] == "missing prediction"
        assert row["hd95"] == pytest.approx(math.hypot(8 * 0.5, 9 * 1.25, 10 * 3.0))
        assert (row["dice"], row["specificity"], row["lesion_dice"]) == (0.0, 0.0, 0.0)


def test_rows_are_dense_ordered_and_finite_whatever_is_empty():
    random = np.random.default_rng(3)
    maps = [volume(), np.full((8, 9, 10), 2), random.choice([0, 1, 2, 4], (8, 9, 10)), volume(np.s_[0, 0, 0], label=1)]
    for reference in maps:
        for prediction in [*maps, None]:
            rows = score_case(reference, prediction, ANISOTROPIC, REGIONS)
            assert [row["region"] for row in rows] == list(REGIONS)
            for row in rows:
                assert list(row) == ["region", "note", *COUNTS, *LESION_COUNTS, *METRICS]
                assert all(type(row[name]) is int for name in (*COUNTS, *LESION_COUNTS))
                assert all(type(row[name]) is float and math.isfinite(row[name]) for name in METRICS)
                assert all(0 <= row[name] <= 1 for name in METRICS if name not in ERRORS)


@pytest.mark.parametrize("prediction", [volume(np.s_[0:2, 0:3, 0:2], label=2), None])
def test_counts_are_voxels_of_the_whole_volume(prediction):
    rows = scores(volume(np.s_[0:2, 0:2, 0:2], label=4), prediction, regions=REGIONS)
    # 8 voxels of 720; the prediction has 12, all 8 of them among these, labelled as oedema, which is WT alone.
    wt, et = ((8, 4, 0, 708), (0, 0, 8, 712)) if prediction is not None else ((0, 0, 8, 712), (0, 0, 8, 712))
    assert tuple(rows["WT"][name] for name in COUNTS) == wt
    assert tuple(rows["ET"][name] for name in COUNTS) == et


def test_lesions_are_counted_where_a_metric_needs_them():
    few = {name: metric for name, metric in METRICS.items() if metric.needs == "counts"}
    (row,) = score_case(volume(), volume(), ISOTROPIC, ONE, few)
    assert list(row) == ["region", "note", *COUNTS, *few]


def test_memory_order_and_type_of_the_label_maps_do_not_matter():
    reference, prediction = blobs(1)
    expected = score_case(reference, prediction, ANISOTROPIC, REGIONS)

    def same(reference, prediction):
        rows = score_case(reference, prediction, ANISOTROPIC, REGIONS)
        assert [row.pop("note") for row in rows] == [row["note"] for row in expected]
        for row, wanted in zip(rows, expected, strict=True):
            assert {name: row[name] for name in (*COUNTS, *LESION_COUNTS)}.items() <= wanted.items()
            assert only_metrics(row) == pytest.approx(only_metrics(wanted), rel=1e-12)

    for kind in (np.int16, np.int64, np.uint64, np.float32, ">i2"):
        same(np.asfortranarray(reference), prediction.astype(kind))
    same(reference[::-1], prediction[::-1])


def test_the_inputs_are_left_as_they_were():
    reference, prediction = blobs(2)
    before = reference.copy(), prediction.copy()
    score_case(reference, prediction, ISOTROPIC, REGIONS)
    assert (reference == before[0]).all() and (prediction == before[1]).all()


def test_masks_need_not_be_cropped():
    reference, prediction = (array > 0 for array in blobs(5))
    whole = MaskPair(reference, prediction, reference.shape, ANISOTROPIC)
    cropped = values(*(mask * np.uint8(4) for mask in (reference, prediction)), ANISOTROPIC)
    assert {name: metric.function(whole) for name, metric in METRICS.items()} == pytest.approx(cropped)


def test_bounding_box_is_tight_and_empty_where_nothing_is_set():
    array = volume(np.s_[1, 2, 3], np.s_[4, 2, 6])
    for order in (np.ascontiguousarray, np.asfortranarray):
        assert bounding_box(order(array)) == np.s_[1:5, 2:3, 3:7]
    assert array[bounding_box(volume())].size == 0


@pytest.mark.parametrize(
    ("reference", "prediction", "spacing", "sentence"),
    [
        (volume(), volume(shape=(8, 9, 11)), ISOTROPIC, r"shape \(8, 9, 11\), expected the reference's \(8, 9, 10\)"),
        (volume(), volume() + 0.5, ISOTROPIC, "prediction holds fractions"),
        (volume() * np.nan, volume(), ISOTROPIC, "reference holds fractions, NaN"),
        (volume(), volume(), (1.0, 1.0), "must be 3 positive lengths"),
        (volume(), volume(), (1.0, 0.0, 1.0), "must be 3 positive lengths"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), ISOTROPIC, "at least one voxel"),
    ],
)
def test_input_that_cannot_be_scored_is_named(reference, prediction, spacing, sentence):
    with pytest.raises(InputError, match=sentence):
        score_case(reference, prediction, spacing, ONE)


def test_background_cannot_be_part_of_a_region():
    with pytest.raises(InputError, match="above 0"):
        score_case(volume(), volume(), ISOTROPIC, {"all": (0, 1)})
