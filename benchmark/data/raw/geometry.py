"""Say where voxels lie, and bring volumes by rigid transforms from one grid to another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from benchmark.base.records import InputError
from benchmark.data.resample import TOLERANCE, new_affine, new_shape, steps

SHEAR = 0.1
"""Largest angle in degrees by which two axes of a file may miss a right one: what headers' rounding gives."""

LEAST = 8
"""Fewest voxels along an axis of a scan that can be registered."""


@dataclass(frozen=True)
class Grid:
    """Shape of a volume, and the 4x4 matrix from its voxels' indices to RAS+ coordinates in mm."""

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along each axis."""
        return tuple(nibabel.affines.voxel_sizes(self.affine).tolist())


@dataclass(frozen=True)
class Volume:
    """Voxels (x, y, z), and the 4x4 matrix from their indices to RAS+ coordinates in mm."""

    voxels: np.ndarray
    affine: np.ndarray

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.voxels.shape, self.affine)


def check_grid(path: Path, grid: Grid) -> None:
    """Raise InputError for a file whose axes are not at right angles, or that is too thin to be registered."""
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    off = max(
        abs(float(np.degrees(np.arcsin(directions[:, a] @ directions[:, b])))) for a, b in ((0, 1), (0, 2), (1, 2))
    )
    if off > SHEAR:
        raise InputError(
            f"{path}: expected a header with axes at right angles, as a scanner writes, found two at {90 - off:.1f} "
            "degrees."
        )
    if min(grid.shape) < LEAST:
        found = " x ".join(map(str, grid.shape))
        raise InputError(f"{path}: expected a scan of at least {LEAST} voxels along each axis, found {found}.")


def upright(grid: Grid, size: float) -> Grid:
    """Return the grid of voxels of ``size`` mm over the same box, its axes turned and flipped to the nearest RAS.

    It stays oblique where the given one is. A voxel size that is within 1% of the wanted one is kept.
    """
    turn = nibabel.orientations.io_orientation(grid.affine)
    affine = grid.affine @ nibabel.orientations.inv_ornt_aff(turn, grid.shape)
    shape = [grid.shape[axis] for axis in np.argsort(turn[:, 0])]
    step = steps(nibabel.affines.voxel_sizes(affine), [size] * 3)
    return Grid(new_shape(shape, step), new_affine(affine, step))


def bring(volume: Volume, grid: Grid, transform: np.ndarray, order: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume's values on a grid, float32, by splines of an ``order``, and where the grid lies within it.

    ``transform`` is the 4x4 matrix that maps a point of the grid, mm, to the point of the volume that is shown there.
    Where a new voxel is wider than the volume's own, by more than ``TOLERANCE``, the value is the mean over parts of it
    that are not: what is finer than the new voxels would otherwise show up as something coarser.
    Values stay between the volume's least and largest; those outside it are 0.
    """
    matrix = np.linalg.inv(volume.affine) @ transform @ grid.affine
    linear, offset = matrix[:3, :3], matrix[:3, 3]
    values = np.asarray(volume.voxels, np.float32)
    spline = ndimage.spline_filter(values, order, np.float32) if order > 1 else values
    counts = [max(1, math.ceil(width - TOLERANCE)) for width in np.linalg.norm(linear, axis=0)]
    total = np.zeros(grid.shape, np.float32)
    for part in itertools.product(*((np.arange(count) + 0.5) / count - 0.5 for count in counts)):
        start = offset + linear @ part
        total += ndimage.affine_transform(
            spline, linear, start, grid.shape, np.float32, order, mode="mirror", prefilter=False
        )
    inside = _within(linear, offset, grid.shape, volume.voxels.shape)
    return (total / np.prod(counts)).clip(values.min(), values.max()) * inside, inside


def _within(linear: np.ndarray, offset: np.ndarray, shape: Sequence[int], old: Sequence[int]) -> np.ndarray:
    """Say which voxels of a grid have their centre in a volume of ``old`` voxels."""
    inside, index = np.ones(shape, bool), np.ogrid[tuple(map(slice, shape))]
    for row, first, count in zip(linear, offset, old, strict=True):
        place = first + sum(step * along for step, along in zip(row, index, strict=True))
        inside &= (place >= -0.5 - 1e-6) & (place <= count - 0.5 + 1e-6)
    return inside


def turned(transform: np.ndarray) -> float:
    """Return the angle of a rigid transform's rotation in degrees."""
    return float(np.degrees(np.arccos(((np.trace(transform[:3, :3]) - 1) / 2).clip(-1, 1))))
