"""Lesions by both rules: hand-made masks, and the published rule of 2023 carried out lesion by lesion."""

import numpy as np
import pytest
from helpers.other_scores import brats_2023
from helpers.synthetic_masks import ANISOTROPIC, ISOTROPIC, blobs
from scipy import ndimage

from benchmark.scoring.lesions import Lesion, dilate, match_instances, match_lesions
from benchmark.scoring.metrics import LESION_COUNTS, METRICS, score_case

SHAPE = (40, 30, 20)
BIG = np.s_[2:6, 2:6, 2:6]
NONE = np.zeros(SHAPE, bool)


def mask(*boxes):
    array = NONE.copy()
    for box in boxes:
        array[box] = True
    return array


def row(reference, prediction, spacing=ISOTROPIC):
    metrics = {name: metric for name, metric in METRICS.items() if metric.needs == "lesions"}
    labels = (array.astype(np.uint8) for array in (reference, prediction))
    return score_case(*labels, spacing, {"ET": [1]}, metrics)[0]


def counts(found):
    return found.tp, found.fp, found.fn


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dilation_equals_scipys(dims):
    array = np.random.default_rng(0).random((13, 11, 12)[:dims]) < 0.02
    array[(0,) * dims] = True
    structure = ndimage.generate_binary_structure(dims, min(2, dims))
    for times in (1, 3):
        assert (dilate(array, times) == ndimage.binary_dilation(array, structure, times)).all()


def test_reference_components_are_one_lesion_where_their_dilations_touch():
    # Each dilation reaches 3 voxels, and adjoining counts as touching: 6 voxels between are bridged, 7 are not.
    near, far = mask(BIG, np.s_[12:16, 2:6, 2:6]), mask(BIG, np.s_[13:17, 2:6, 2:6])
    assert counts(match_lesions(near, NONE, 1.0)) == (0, 0, 1)
    assert counts(match_lesions(far, NONE, 1.0)) == (0, 0, 2)
    # Panoptica dilates nothing.
    assert counts(match_instances(near, NONE)) == (0, 0, 2)


def test_every_lesion_that_counts_is_listed_with_its_volume_the_largest_first():
    # 80, 128 and 48 voxels of 1 mm³, of which the last does not count.
    reference = mask(np.s_[0:4, 0:4, 0:5], np.s_[0:4, 12:20, 0:4], np.s_[20:24, 20:24, 0:3])
    touching = mask(np.s_[0:4, 0:4, 7:9])
    found = match_lesions(reference, touching, 1.0)
    assert found.reference == (Lesion(0.128, False, 0.0), Lesion(0.08, True, 0.0))
    assert counts(found) == (1, 0, 1)
    # The box that both masks are cropped to changes with the prediction; the order does not.
    assert match_lesions(reference, reference, 2.0).reference == (
        Lesion(0.256, True, 1.0), Lesion(0.16, True, 1.0), Lesion(0.096, True, 1.0),
    )  # fmt: skip


def test_corners_connect():
    chain = mask(np.s_[0:4, 0:4, 0:4], np.s_[4:8, 4:8, 4:8])
    assert counts(match_instances(NONE, chain)) == (0, 1, 0)
    assert counts(match_lesions(NONE, chain, 1.0)) == (0, 1, 0)


def test_lesion_scores_by_hand():
    # Lesion A is found with half of it, lesion B is missed, and of two false components one is a single voxel.
    reference = mask(BIG, np.s_[20:24, 20:24, 2:6])
    prediction = mask(np.s_[2:4, 2:6, 2:6], np.s_[35:39, 2:6, 12:16], np.s_[0, 29, 19])
    found = row(reference, prediction)
    assert [found[name] for name in LESION_COUNTS] == [1, 2, 1, 1, 2, 1]
    half = 2 * 32 / (64 + 32)
    assert found["lesion_dice"] == pytest.approx(half / 4)
    # The surface elements of the block's far face are 2 mm from those of its half, and hold over 5 % of the area.
    assert found["lesion_hd95"] == pytest.approx((2 + 3 * 374) / 4)
    assert found["lesion_pq"] == pytest.approx(half / (1 + 1 / 2 + 2 / 2))


def test_small_lesions_are_left_out_with_what_matches_them():
    # 48 voxels: at 1 mm³ no more than 50 mm³, at 1.875 mm³ a lesion like any other.
    small = mask(np.s_[2:6, 2:6, 2:5])
    for prediction in (NONE, small):
        found = row(small, prediction)
        assert [found[name] for name in LESION_COUNTS[:3]] == [0, 0, 0]
        assert (found["lesion_dice"], found["lesion_hd95"]) == (1.0, 0.0)
    assert [row(small, NONE)[name] for name in ("instance_fn", "lesion_pq")] == [1, 0.0]
    assert [row(small, NONE, ANISOTROPIC)[name] for name in ("lesion_dice", "lesion_hd95", "lesion_fn")] == [0, 374, 1]
    assert row(small, small, ANISOTROPIC)["lesion_tp"] == 1
    # Exactly 50 mm³ is left out too.
    assert row(mask(np.s_[2:7, 2:7, 2:4]), NONE)["lesion_fn"] == 0


def test_a_prediction_beside_a_lesion_matches_it_without_overlap():
    beside, beyond = mask(np.s_[8, 2:6, 2:6]), mask(np.s_[9, 2:6, 2:6])
    found = row(mask(BIG), beside)
    assert (found["lesion_tp"], found["lesion_fp"], found["lesion_dice"]) == (1, 0, 0.0)
    assert found["lesion_hd95"] < 10
    assert found["instance_tp"] == 0
    found = row(mask(BIG), beyond)
    assert (found["lesion_tp"], found["lesion_fp"], found["lesion_hd95"]) == (0, 1, 374.0)


def test_one_component_matches_every_lesion_it_touches_by_the_rule_of_2023_and_one_by_panopticas():
    reference = mask(BIG, np.s_[20:24, 2:6, 2:6])
    prediction = mask(np.s_[2:24, 2:6, 2:6])
    found = row(reference, prediction)
    assert [found[name] for name in LESION_COUNTS] == [2, 0, 0, 1, 0, 1]
    each = 2 * 64 / (64 + 352)
    assert found["lesion_dice"] == pytest.approx(each)
    assert found["lesion_pq"] == pytest.approx(each / 1.5)


def test_instances_are_matched_for_the_largest_sum_of_dice_not_best_first():
    # On a line, A is 0-9 and B is 11-16. P, 3-13, has Dice 14/21 with A and 6/17 with B; Q, 0-1, has 4/12 with A.
    # Best first would match A with P alone, 0.667; A with Q and B with P is 0.686.
    found = match_instances(mask(np.s_[0:10, 5, 5], np.s_[11:17, 5, 5]), mask(np.s_[3:14, 5, 5], np.s_[0:2, 5, 5]))
    assert counts(found) == (2, 0, 0)
    assert sorted(found.dice) == pytest.approx([4 / 12, 6 / 17])


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC])
@pytest.mark.parametrize("level", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_random_lesions_equal_the_published_rule(seed, level, spacing):
    truth, guess = (labels == level for labels in blobs(seed + 10, (44, 40, 26)))
    guess[seed::17, 3::11, 5::9] = True
    found = row(truth, guess, spacing)
    expected = brats_2023(truth, guess, spacing)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_picture_of_one_slice_has_lesions_too():
    flat = np.zeros((60, 60, 1), bool)
    reference, prediction = flat.copy(), flat.copy()
    reference[2:12, 2:12] = prediction[2:12, 2:7] = prediction[40:50, 40:50] = True
    found = row(reference, prediction)
    assert [found[name] for name in LESION_COUNTS] == [1, 1, 0, 1, 1, 0]
    assert found["lesion_dice"] == pytest.approx(2 * 50 / 150 / 2)


def test_lesions_of_pictures_are_those_of_scipy():
    """On many sizes: in two dimensions a compiled library was found to count 8-connected components wrongly."""
    random = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(random.integers(1, 40, 2))
        truth, guess = (random.random(shape) < share for share in random.choice([0.02, 0.1, 0.3, 0.6], 2))
        counts = [ndimage.label(mask, np.ones((3, 3)))[1] for mask in (truth, guess)]
        found = match_instances(truth, guess)
        assert (found.tp + found.fn, found.tp + found.fp) == tuple(counts)
        assert match_lesions(truth, guess, 1.0).components.max() == counts[1]
