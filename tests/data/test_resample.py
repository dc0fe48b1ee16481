"""Resampling: block means where voxels become larger, linear where smaller, in the space that the affine says."""

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from benchmark.data.resample import new_affine, new_shape, resample, steps


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape)


def test_twice_the_size_is_the_mean_of_blocks_and_the_last_block_that_of_what_is_there():
    volume = noise(6, 8, 5)
    found = resample(volume, (2, 2, 2), new_shape(volume.shape, (2, 2, 2)))
    assert found.shape == (3, 4, 3)
    blocks = volume[..., :4].reshape(3, 2, 4, 2, 2, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(found[..., :2], blocks, atol=1e-6)
    np.testing.assert_allclose(found[..., 2], volume[..., 4].reshape(3, 2, 4, 2).mean(axis=(1, 3)), atol=1e-6)


def test_other_sizes_weigh_each_voxel_by_its_share():
    np.testing.assert_allclose(resample(np.array([1.0, 2, 4]), [1.5], [2]), [(1 + 2 / 2) / 1.5, (2 / 2 + 4) / 1.5])


def test_smaller_voxels_are_linear_between_centres():
    volume = noise(5, 4, 3)
    found = resample(volume, (0.5, 0.25, 1), (10, 16, 3))
    expected = ndimage.zoom(volume, (2, 4, 1), order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_axes_beyond_those_of_space_are_kept():
    volume = noise(4, 4, 4, 2)
    found = resample(volume, (2, 2, 2), (2, 2, 2))
    np.testing.assert_array_equal(found[..., 1], resample(volume[..., 1], (2, 2, 2), (2, 2, 2)))


@pytest.mark.parametrize("step", [(2, 1.6, 0.5), (0.75, 1, 3.1)])
def test_a_slope_keeps_its_place_in_space(step):
    """Within a tenth of a voxel, as a part of a voxel has the value of its centre."""
    affine = nibabel.affines.from_matvec([[0, -1.5, 0], [1.0, 0, 0], [0, 0, 2.0]], [5, -3, 7])

    def place(shape, matrix):
        return nibabel.affines.apply_affine(matrix, np.moveaxis(np.indices(shape), 0, -1)) @ [1, 2, 3]

    shape = new_shape((12, 13, 14), step)
    found = resample(place((12, 13, 14), affine), step, shape)
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(found[inner], place(shape, new_affine(affine, step))[inner], atol=0.3)
    np.testing.assert_allclose(nibabel.affines.voxel_sizes(new_affine(affine, step)), np.array([1, 1.5, 2]) * step)


def test_a_difference_that_is_rounding_is_none():
    assert steps((1.0, 0.999, 2.0), (1.0, 1.0, 1.0)) == (1.0, 1.0, 0.5)
    assert new_shape((240, 155, 9), (2, 2, 3 * (1 + 1e-12))) == (120, 78, 3)
