"""Known answers for every metric and rule, and equality with MONAI and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from scipy import ndimage

from benchmark.metrics import COUNTS, METRICS, MaskPair, bounding_box, score_case, surface
from benchmark.records import InputError

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
ONE = {"ET": (4,)}
OVERLAP = ("dice", "iou", "sensitivity", "specificity", "precision", "accuracy")
ISOTROPIC, ANISOTROPIC = (1.0, 1.0, 1.0), (0.5, 1.25, 3.0)


def volume(*boxes, shape=(8, 9, 10), label=4):
    array = np.zeros(shape, np.uint8)
    for box in boxes:
        array[box] = label
    return array


def scores(reference, prediction, spacing=ISOTROPIC, regions=ONE):
    return {row["region"]: row for row in score_case(reference, prediction, spacing, regions)}


def only_metrics(row):
    return {name: row[name] for name in METRICS}


def values(reference, prediction, spacing=ISOTROPIC):
    return only_metrics(scores(reference, prediction, spacing)["ET"])


def blobs(seed, shape=(24, 20, 16)):
    """Nested random blobs with labels 2 (outside), 1 and 4 (inside), and a prediction that is off by noise."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=shape), 2.5)
    other = field + 0.5 * ndimage.gaussian_filter(random.normal(size=shape), 2.5)
    return [
        np.array([0, 2, 1, 4])[np.digitize(f / field.std(), [0.5, 1.0, 1.4])].astype(np.uint8) for f in (field, other)
    ]


def monai_hd95(reference, prediction, spacing):
    from monai.metrics import compute_hausdorff_distance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = compute_hausdorff_distance(
            prediction[None, None], reference[None, None], include_background=True, percentile=95, spacing=spacing
        )
    return float(result[0, 0])


def monai_dice(reference, prediction):
    import torch
    from monai.metrics.meandice import compute_dice

    masks = [torch.from_numpy(mask[None, None].astype("float32")) for mask in (prediction, reference)]
    return float(compute_dice(*masks)[0, 0])


def test_the_table_is_complete_and_in_order():
    assert list(METRICS) == ["dice", "iou", "sensitivity", "specificity", "precision", "accuracy", "hd95"]
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.title and metric.version
        assert (metric.better, metric.unit) == (("lower", "mm") if name == "hd95" else ("higher", ""))


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
    }
    assert {name: got[name] for name in OVERLAP} == pytest.approx(expected, abs=1e-15)


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
        assert only_metrics(row) == dict.fromkeys(METRICS, 1.0) | {"hd95": 0.0}


def test_regions_unite_labels_and_other_labels_are_background():
    reference, prediction = volume(np.s_[0:2, 0, 0], label=1), volume(np.s_[0:2, 0, 0], label=4)
    reference[5, 5, 5] = prediction[7, 7, 7] = 3
    got = {region: row["dice"] for region, row in scores(reference, prediction, regions=REGIONS).items()}
    assert got == {"WT": 1.0, "TC": 1.0, "ET": 0.0}


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC])
def test_empty_masks_follow_each_metrics_rule(spacing):
    empty, some = volume(), volume(np.s_[0:2, 0:2, 0:2])
    diagonal = math.sqrt(sum((n * s) ** 2 for n, s in zip(some.shape, spacing, strict=True)))
    # 8 of 720 voxels: predicting none of them leaves 712 right; the reference's background is then untouched.
    share = 712 / 720
    expected = {
        "both empty": (empty, empty, [1, 1, 1, 1, 1, 1, 0]),
        "prediction empty": (some, empty, [0, 0, 0, 1, 0, share, diagonal]),
        "reference empty": (empty, some, [0, 0, 0, share, 0, share, diagonal]),
    }
    for note, (reference, prediction, wanted) in expected.items():
        row = scores(reference, prediction, spacing)["ET"]
        assert list(only_metrics(row).values()) == pytest.approx(wanted)
        assert row["note"] == note


def test_no_negatives_follow_specificitys_rule():
    full, some = np.full((3, 4, 5), 4), volume(np.s_[0:2, 0:2, 0:2], shape=(3, 4, 5))
    for reference, prediction, value, note in [
        (full, full, 1.0, "both full"),
        (full, some, 0.0, "reference full"),
        (some, full, 0.0, "prediction full"),
        (full, np.zeros_like(full), 0.0, "prediction empty, reference full"),
    ]:
        row = scores(reference, prediction)["ET"]
        assert (row["specificity"], row["note"]) == (value, note)
    assert values(full, full)["dice"] == 1.0


def test_worst_hd95_on_a_brats_volume_is_the_challenges_penalty():
    rows = score_case(np.zeros((240, 240, 155), np.uint8), None, ISOTROPIC, ONE, {"hd95": METRICS["hd95"]})
    assert [round(row["hd95"], 2) for row in rows] == [373.13]


@pytest.mark.parametrize("reference", [volume(), volume(np.s_[0:2, 0:2, 0:2])])
def test_a_missing_prediction_has_the_worst_value_of_each_metric(reference):
    rows = score_case(reference, None, ANISOTROPIC, REGIONS)
    diagonal = math.sqrt(sum((n * s) ** 2 for n, s in zip(reference.shape, ANISOTROPIC, strict=True)))
    assert [row["region"] for row in rows] == list(REGIONS)
    for row in rows:
        assert row["note"] == "missing prediction"
        assert only_metrics(row) == pytest.approx(dict.fromkeys(METRICS, 0.0) | {"hd95": diagonal})


def test_rows_are_dense_ordered_and_finite_whatever_is_empty():
    random = np.random.default_rng(3)
    maps = [volume(), np.full((8, 9, 10), 2), random.choice([0, 1, 2, 4], (8, 9, 10)), volume(np.s_[0, 0, 0], label=1)]
    for reference in maps:
        for prediction in [*maps, None]:
            rows = score_case(reference, prediction, ANISOTROPIC, REGIONS)
            assert [row["region"] for row in rows] == list(REGIONS)
            for row in rows:
                assert list(row) == ["region", "note", *COUNTS, *METRICS]
                assert all(type(row[name]) is int for name in COUNTS)
                assert all(type(row[name]) is float and math.isfinite(row[name]) for name in METRICS)
                assert all(0 <= row[name] <= 1 for name in METRICS if name != "hd95")


@pytest.mark.parametrize("prediction", [volume(np.s_[0:2, 0:3, 0:2], label=2), None])
def test_counts_are_voxels_of_the_whole_volume(prediction):
    rows = scores(volume(np.s_[0:2, 0:2, 0:2], label=4), prediction, regions=REGIONS)
    # 8 voxels of 720; the prediction has 12, all 8 of them among these, labelled as oedema, which is WT alone.
    wt, et = ((8, 4, 0, 708), (0, 0, 8, 712)) if prediction is not None else ((0, 0, 8, 712), (0, 0, 8, 712))
    assert tuple(rows["WT"][name] for name in COUNTS) == wt
    assert tuple(rows["ET"][name] for name in COUNTS) == et


SHAPES = {
    "single voxels": (volume(np.s_[4, 4, 4]), volume(np.s_[6, 2, 9])),
    "one voxel in a block": (volume(np.s_[4, 4, 4]), volume(np.s_[2:7, 2:7, 2:7])),
    "touching the border": (volume(np.s_[0:3, 0:4, 0:5]), volume(np.s_[5:8, 6:9, 7:10])),
    "whole volume against a corner": (volume(np.s_[:, :, :]), volume(np.s_[0:2, 0:2, 0:2])),
    "whole volume twice": (volume(np.s_[:, :, :]), volume(np.s_[:, :, :])),
    "one slice": (volume(np.s_[2:6, 3:7, 4]), volume(np.s_[3:8, 3:7, 5])),
    "volume of one slice": (
        volume(np.s_[2:6, 3:7], shape=(8, 9, 1)),
        volume(np.s_[3:8, 3:7], np.s_[0, 0], shape=(8, 9, 1)),
    ),
    "far islands": (volume(np.s_[0:2, 0:2, 0:2]), volume(np.s_[0:2, 0:2, 0:2], np.s_[7, 8, 9])),
}


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC])
@pytest.mark.parametrize("shape", SHAPES)
def test_hd95_of_degenerate_shapes_equals_monai(shape, spacing):
    reference, prediction = SHAPES[shape]
    # A picture of one slice has two dimensions; given three, MONAI takes all of a mask for its surface.
    used = [axis for axis, size in enumerate(reference.shape) if size > 1]
    flat = [(array > 0).squeeze() for array in (reference, prediction)]
    expected = monai_hd95(*flat, tuple(spacing[axis] for axis in used))
    assert values(reference, prediction, spacing)["hd95"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC])
@pytest.mark.parametrize("seed", range(4))
def test_random_blobs_equal_monai_and_scikit_learn(seed, spacing):
    from sklearn import metrics as sklearn_metrics

    reference, prediction = blobs(seed)
    got = scores(reference, prediction, spacing, REGIONS)
    for region, labels in REGIONS.items():
        truth, guess = np.isin(reference, labels), np.isin(prediction, labels)
        assert truth.any() and guess.any()
        flat = truth.ravel(), guess.ravel()
        expected = {
            "dice": monai_dice(truth, guess),
            "iou": sklearn_metrics.jaccard_score(*flat),
            "sensitivity": sklearn_metrics.recall_score(*flat),
            "specificity": sklearn_metrics.recall_score(*flat, pos_label=False),
            "precision": sklearn_metrics.precision_score(*flat),
            "accuracy": sklearn_metrics.accuracy_score(*flat),
        }
        assert {name: got[region][name] for name in OVERLAP} == pytest.approx(expected, abs=1e-6)
        assert got[region]["hd95"] == pytest.approx(monai_hd95(truth, guess, spacing), abs=1e-3)


def test_memory_order_and_type_of_the_label_maps_do_not_matter():
    reference, prediction = blobs(1)
    expected = score_case(reference, prediction, ANISOTROPIC, REGIONS)
    for kind in (np.int16, np.int64, np.uint64, np.float32, ">i2"):
        assert score_case(np.asfortranarray(reference), prediction.astype(kind), ANISOTROPIC, REGIONS) == expected
    flipped = score_case(reference[::-1], prediction[::-1], ANISOTROPIC, REGIONS)
    assert [only_metrics(row) for row in flipped] == [pytest.approx(only_metrics(row)) for row in expected]


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


@pytest.mark.parametrize("seed", range(3))
def test_surface_equals_scipys_erosion(seed):
    mask = np.random.default_rng(seed).random((6, 7, 5)) < 0.7
    mask[:, :3] = True
    assert (surface(mask) == (mask & ~ndimage.binary_erosion(mask))).all()
    assert surface(np.ones((1, 1, 1), bool)).all()


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
