"""Find the surfaces of masks, as voxels or as elements with an area, and the distances between two surfaces.

Two definitions of a surface are in use, and the choice changes scores more than most models do:

- *voxels*: those of the mask with a neighbour across a face outside of it (MONAI, panoptica, medpy);
- *elements*: the cells between 2x2x2 voxel centres that are neither all inside nor all outside, each with the area of
  the marching cubes' triangles in it (Lorensen and Cline, SIGGRAPH 1987), as in DeepMind's surface-distance and with it
  the BraTS challenges of 2023 and 2024.

Beyond an array's edge is background, for both.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import KDTree

TRIANGLES = {
    1: {0b01: "8"},
    2: {0b0001: "44", 0b0011: "80", 0b0110: "44 44"},
    3: {
        0b00000001: "111",
        0b00000011: "220 220",
        0b00000110: "111 111",
        0b00011000: "111 111",
        0b00000111: "111 222 400",
        0b00010110: "111 111 111",
        0b00011001: "022 022 111",
        0b00001111: "400 400",
        0b00010111: "111 111 222 222",
        0b00011011: "022 111 202 333",
        0b00011110: "111 111 222 400",
        0b00111100: "220 220 220 220",
        0b01101001: "111 111 111 111",
    },
}
"""Triangles of a cell (segments in 2D, a point in 1D) by which of its corners are inside, as their normals.

Bit 4 i + 2 j + k is corner (i, j, k). A digit is an axis' share of the normal, whose length is the area, in eighths of
a face of the cell. Every other cell is a turned, mirrored or inverted one of these.
"""

WORTHWHILE = 1 / 400
"""Share of points that a shell must find, per offset tried, to go on with shells instead of a tree."""

LEAF = 64
"""Points in a leaf of the tree: the fastest on surfaces of 16 to 256; scipy's 10 takes half as long again."""


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the mask minus its erosion by direct neighbours (6 in a volume); outside the array is background."""
    # Shifted views are several times faster than scipy's binary_erosion.
    core = mask.copy()
    for axis in range(mask.ndim):
        inner, whole = np.moveaxis(core, axis, 0), np.moveaxis(mask, axis, 0)
        inner[1:] &= whole[:-1]
        inner[:-1] &= whole[1:]
        inner[0] = inner[-1] = False
    return np.asarray(mask & ~core)


def elements(mask: np.ndarray) -> np.ndarray:
    """Return which corners of each cell are inside, as the bits of ``TRIANGLES``; each axis is one cell longer."""
    codes: np.ndarray = np.pad(mask.view(np.uint8), 1)
    for step, axis in enumerate(reversed(range(mask.ndim))):
        codes = np.moveaxis(codes, axis, 0)
        codes = np.moveaxis(codes[:-1] | codes[1:] << (1 << step), 0, axis)
    return np.ascontiguousarray(codes)


@lru_cache(maxsize=16)
def element_areas(spacing: tuple[float, ...]) -> np.ndarray:
    """Return the area in mm² (length in mm in 2D) of a cell's surface by its code; 0 for all in and all out."""
    dims = len(spacing)
    faces = np.array([math.prod(spacing) / step for step in spacing]) / 8
    bits = 1 << np.arange(2**dims).reshape((2,) * dims)
    areas = np.zeros(2 ** (2**dims))
    for code, triangles in TRIANGLES[dims].items():
        normals = np.array([[int(digit) for digit in triangle] for triangle in triangles.split()])
        corners = (code & bits) > 0
        for order in itertools.permutations(range(dims)):
            area = np.linalg.norm(normals[:, order] * faces, axis=1).sum()
            for steps in itertools.product((1, -1), repeat=dims):
                turned = corners.transpose(order)[tuple(slice(None, None, step) for step in steps)]
                found = int(bits[turned].sum())
                areas[[found, len(areas) - 1 - found]] = area
    return areas


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances in mm from every part of one surface to the nearest of the other, and those parts' areas.

    ``there`` is from the reference to the prediction and ``back`` the other way. A voxel's area is True; an element's
    is in mm².
    """

    there: np.ndarray
    back: np.ndarray
    there_area: np.ndarray
    back_area: np.ndarray


def surface_distances(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]) -> Distances:
    """Measure the distances between two surfaces, arrays of one shape that hold the area of each part and else 0."""
    first, second = reference > 0, prediction > 0
    there, back = distances(first, second, spacing), distances(second, first, spacing)
    return Distances(there, back, reference[first], prediction[second])


def area_percentile(values: np.ndarray, areas: np.ndarray, percent: float) -> float:
    """Return the smallest value that, with all below it, holds ``percent`` of the area; as surface-distance does."""
    # In the library's order and by its divisions, so that ties round alike.
    order = np.lexsort((areas, values))
    share = np.cumsum(areas[order]) / np.sum(areas[order])
    index = int(np.searchsorted(share, percent / 100))
    return float(values[order[min(index, len(order) - 1)]])


def distances(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Return the distance in mm from each True of ``start``, in C order, to the nearest True of ``goal``.

    ``start`` and ``goal`` are boolean and of one shape; ``goal`` has a True.
    """
    # Surfaces are thin: looking about, and a tree for what is far, beats scipy's transform of the whole box several
    # times. The library edt is as fast as the tree where all is far and slower elsewhere.
    reach = 3
    padded = np.pad(goal, reach)
    where = np.flatnonzero(np.pad(start, reach))
    found = np.zeros(len(where))
    open_ = np.flatnonzero(~padded.take(where))
    for length, offsets in _shells(spacing, padded.shape, reach):
        if not open_.size:
            return found
        here = where[open_]
        hit = padded.take(here + offsets[0])
        for offset in offsets[1:]:
            hit |= padded.take(here + offset)
        found[open_[hit]] = length
        left = open_[~hit]
        worthwhile = len(open_) - len(left) > WORTHWHILE * len(offsets) * len(open_)
        open_ = left
        if not worthwhile:
            break
    if open_.size:
        goals, starts = (
            np.stack(np.unravel_index(flat, padded.shape), axis=1) * np.array(spacing)
            for flat in (np.flatnonzero(padded), where[open_])
        )
        found[open_] = KDTree(goals, LEAF, balanced_tree=False, compact_nodes=False).query(starts)[0]
    return found


def _shells(spacing: tuple[float, ...], shape: tuple[int, ...], reach: int) -> list[tuple[float, np.ndarray]]:
    strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])
    return [(length, offsets @ strides) for length, offsets in _offsets(spacing, reach)]


@lru_cache(maxsize=16)
def _offsets(spacing: tuple[float, ...], reach: int) -> list[tuple[float, np.ndarray]]:
    # Offsets by distance in mm, as far as none outside of the reach would be nearer.
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * len(spacing), indexing="ij"), axis=-1)
    grid = grid.reshape(-1, len(spacing))
    lengths = np.sqrt(((grid * np.array(spacing)) ** 2).sum(axis=1))
    limit = (reach + 1) * min(spacing)
    kept = np.unique(lengths[(lengths > 0) & (lengths < limit)])
    return [(float(length), grid[lengths == length]) for length in kept]
