"""Surface voxels, surface elements and distances, against scipy, surface-distance and hand-made shapes."""

import math

import numpy as np
import pytest
from helpers.synthetic_masks import ANISOTROPIC, ISOTROPIC, volume
from scipy import ndimage
from surface_distance import lookup_tables

from benchmark.scoring.surfaces import area_percentile, distances, element_areas, elements, surface


@pytest.mark.parametrize("seed", range(3))
def test_surface_equals_scipys_erosion(seed):
    mask = np.random.default_rng(seed).random((6, 7, 5)) < 0.7
    mask[:, :3] = True
    assert (surface(mask) == (mask & ~ndimage.binary_erosion(mask))).all()
    assert surface(np.ones((1, 1, 1), bool)).all()


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC, (0.3, 0.7, 1.9)])
def test_element_areas_are_those_of_surface_distance(spacing):
    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    for code in range(256):
        corners = (code >> np.arange(8) & 1).reshape(2, 2, 2)
        assert element_areas(spacing)[code] == pytest.approx(
            theirs[int((corners * lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL).sum())]
        )


def test_contour_lengths_are_those_of_surface_distance():
    theirs = lookup_tables.create_table_neighbour_code_to_contour_length((0.5, 3.0))
    for code in range(16):
        corners = (code >> np.arange(4) & 1).reshape(2, 2)
        assert element_areas((0.5, 3.0))[code] == pytest.approx(
            theirs[int((corners * lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL).sum())]
        )


def test_a_box_has_the_area_of_its_faces_less_its_bevelled_edges():
    # A single voxel's surface is an octahedron of edge 1 / sqrt 2, with eight triangles of sqrt 3 / 8.
    areas = element_areas(ISOTROPIC)
    assert areas[elements(volume(np.s_[4, 4, 4]) > 0)].sum() == pytest.approx(math.sqrt(3))
    # 4 x 4 x 4: six faces of 3 x 3 whole cells, twelve edges of 3 bevels sqrt 1/2 wide, eight corners.
    expected = 6 * 9 + 12 * 3 * math.sqrt(0.5) + 8 * math.sqrt(3) / 8
    assert areas[elements(volume(np.s_[0:4, 0:4, 0:4]) > 0)].sum() == pytest.approx(expected)


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC, (2.0, 0.3, 0.31), (1.0, 1.0, 12.0)])
@pytest.mark.parametrize("density", [0.3, 0.01, 0.0005])
def test_distances_equal_scipys_distance_transform(spacing, density):
    random = np.random.default_rng(5)
    start, goal = random.random((30, 20, 25)) < 0.1, random.random((30, 20, 25)) < density
    goal[3, 4, 5] = True
    expected = ndimage.distance_transform_edt(~goal, sampling=spacing)[start]
    assert distances(start, goal, spacing) == pytest.approx(expected, abs=1e-9)


def test_distances_in_a_picture_and_on_a_line():
    picture = np.zeros((5, 6), bool)
    picture[0, 0] = True
    assert distances(np.ones((5, 6), bool), picture, (3.0, 1.0)).max() == pytest.approx(math.hypot(12, 5))
    line = np.arange(9) == 8
    assert distances(line[::-1], line, (0.5,)) == pytest.approx([4.0])


def test_percentile_of_area_is_the_value_at_which_the_share_is_reached():
    values, areas = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert [area_percentile(values, areas, percent) for percent in (0, 50, 51, 75, 76, 100)] == [1, 1, 2, 2, 3, 3]
