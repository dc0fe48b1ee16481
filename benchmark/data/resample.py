"""Bring volumes to another voxel size and back: the mean over a larger new voxel, linear between centres for a smaller.

Libraries that interpolate pick values at new centres, which leaves out voxels where the new ones are larger; those that
average do so over whole voxels only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

TOLERANCE = 0.01
"""Largest relative difference of two voxel sizes that counts as none: resampling would blur and change nothing."""


def steps(spacing: Sequence[float], wanted: Sequence[float]) -> tuple[float, ...]:
    """Return how many voxels of a volume a new one is wide along each axis; exactly 1 within ``TOLERANCE``."""
    ratios = [new / old for old, new in zip(spacing, wanted, strict=True)]
    return tuple(1.0 if abs(ratio - 1) <= TOLERANCE else ratio for ratio in ratios)


def new_shape(shape: Sequence[int], step: Sequence[float]) -> tuple[int, ...]:
    """Return how many new voxels cover a volume from its first edge on; the last may stand out."""
    return tuple(math.ceil(round(count / width, 6)) for count, width in zip(shape, step, strict=True))


def new_affine(affine: np.ndarray, step: Sequence[float]) -> np.ndarray:
    """Return the 4x4 matrix of the new voxels' centres, mm; the first voxels share their outer corner."""
    change = np.diag([*step, 1.0])
    change[:3, 3] = (np.array(step) - 1) / 2
    return np.asarray(affine @ change)


def resample(volume: np.ndarray, step: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """Return float32 values of ``shape`` new voxels, ``step`` old ones wide, along a volume's first axes; further axes,
    such as that of regions, are kept."""
    found = volume.astype(np.float32)
    for axis, (width, count) in enumerate(zip(step, shape, strict=True)):
        if width != 1:
            found = np.moveaxis(np.tensordot(_weights(found.shape[axis], width, count), found, (1, axis)), 0, axis)
    return found


def _weights(old: int, width: float, count: int) -> np.ndarray:
    """Return the share of each old voxel in each new one, float32 of shape (new, old)."""
    first, voxel = np.arange(count)[:, None] * width, np.arange(old)
    if width > 1:
        shared = np.minimum(first + width, voxel + 1) - np.maximum(first, voxel)
        shares = shared.clip(0)
    else:
        centre = (first + (width - 1) / 2).clip(0, old - 1)
        shares = (1 - abs(centre - voxel)).clip(0)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
