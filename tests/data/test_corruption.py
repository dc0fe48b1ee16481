"""Corrupted images: what each level means, that nothing else changes, and that labels go back where they belong."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmark.data.corruption import CorruptedSet
from benchmark.data.prepare import DataSet


@pytest.fixture
def clean(project):
    return DataSet("phantom").part(0, "test")[0]


def corrupted(kind, level):
    return CorruptedSet("phantom", kind=kind, level=level).part(0, "test")[0]


def inside(image):
    return image[image != 0].astype(float)


def test_a_bias_field_of_no_size_gives_the_prepared_image(clean):
    # Read from the files, cropped and normalised: all of that is as preparation did it.
    np.testing.assert_allclose(corrupted("bias_field", 1e-9).image, clean.image, atol=2e-3)
    changed = corrupted("bias_field", 0.3).image
    np.testing.assert_array_equal(changed, corrupted("bias_field", 0.3).image)
    assert np.abs(changed.astype(float) - clean.image).max() > 0.1
    assert not changed[clean.image == 0].any()


@pytest.mark.parametrize("level", [0.5, 1.0, 2.0])
def test_noise_is_in_standard_deviations_of_the_sequence(clean, level):
    changed = corrupted("noise", level).image
    for before, after in zip(clean.image.swapaxes(0, 1), changed.swapaxes(0, 1), strict=True):
        there = before != 0
        assert not after[~there].any()
        assert inside(after).mean() == pytest.approx(0, abs=1e-2) and inside(after).std() == pytest.approx(1, abs=1e-2)
        # Of x + level * e, normalised anew.
        correlation = np.corrcoef(before[there].astype(float), after[there].astype(float))[0, 1]
        assert correlation == pytest.approx(1 / np.sqrt(1 + level**2), abs=0.02)


def test_noise_is_the_same_for_every_network_and_grows_with_the_level(clean):
    np.testing.assert_array_equal(corrupted("noise", 1.0).image, corrupted("noise", 1.0).image)
    there = clean.image != 0
    noise = {}
    for level in (1.0, 2.0):
        values, before = corrupted("noise", level).image[there].astype(float), clean.image[there].astype(float)
        noise[level] = values * np.sqrt(1 + level**2) - before
    assert np.corrcoef(noise[1.0], noise[2.0])[0, 1] > 0.99


def test_blur_is_scipys_over_voxels_inside_the_brain(clean):
    # 6 mm is one voxel of this phantom.
    assert clean.spacing == (6.0, 6.0, 6.0)
    changed = corrupted("blur", 6.0).image
    for before, after in zip(clean.image.swapaxes(0, 1), changed.swapaxes(0, 1), strict=True):
        there = before != 0
        smooth = [gaussian_filter(values.astype(float), 1.0, mode="constant") for values in (before, there)]
        expected = smooth[0][there] / smooth[1][there]
        expected = (expected - expected.mean()) / expected.std()
        assert np.corrcoef(expected, after[there].astype(float))[0, 1] > 0.9999
        np.testing.assert_allclose(after[there], expected, atol=0.05)


def test_a_missing_sequence_is_zero_and_the_others_are_as_they_were(clean):
    changed = corrupted("missing", "T1c").image
    assert DataSet("phantom").manifest.modalities[1] == "T1c" and not changed[:, 1].any()
    np.testing.assert_array_equal(changed[:, [0, 2, 3]], clean.image[:, [0, 2, 3]])


def test_a_shifted_image_lies_off_the_middle_and_its_labels_go_back(clean):
    case = corrupted("shift", 3)
    rows, columns = clean.image.shape[2:]
    assert case.image.shape[2:] == (rows + 6, columns + 6)
    np.testing.assert_array_equal(case.image[:, :, 6:, 6:], clean.image)
    assert not case.image[:, :, :6].any() and not case.image[:, :, :, :6].any()
    predicted = np.pad(np.array(clean.label), [(0, 0), (6, 0), (6, 0)])
    np.testing.assert_array_equal(case.restore(predicted), clean.original_label())
