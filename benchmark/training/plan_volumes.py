"""Plan 3D patch, batch and network topology by nnU-Net's rules for its configuration 3d_fullres.

The rules are those of nnU-Net v2's ``ExperimentPlanner`` and ``ResEncUNetPlanner`` (Isensee et al., MICCAI 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np

from benchmark.base.records import InputError
from benchmark.data.prepare import DataSet
from benchmark.networks.planned_res_unet import BLOCKS
from benchmark.training.plan import BASE_WIDTH, CONVOLUTIONS, DATASET_SHARE, MIN_BATCH, Plan, Topology, topology

MAX_WIDTH = 320
"""The most channels of any stage."""

FIRST_PATCH = 256
"""Edge of the cube from whose volume a patch is shrunk, voxels."""

REFERENCE_SIZE = {"": 560_000_000, "M": 680_000_000, "L": 2_100_000_000}
"""Preset to the elements of one patch's feature maps with which ``REFERENCE_BATCH`` patches fit into 8, 8 and 24 GB.

"" is the plain U-Net, the others have nnU-Net's residual encoder.
"""

REFERENCE_BATCH = 2

ANISOTROPY = 3
"""Factor between a patch's longest side and its coarsest axis's from which on it is augmented in the plane only."""

LOW_RESOLUTION, COARSER = 0.25, 1.03
"""Share of the median volume below which nnU-Net plans coarser voxels too, and the factor of each trial of it."""


@dataclass(frozen=True)
class VolumePlan(Plan):
    """A ``Plan`` in 3D; ``batch_dice`` says whether Dice is taken over a batch, as it is beside a coarser network."""

    batch_dice: bool


def feature_map_size(stages: Topology, labels: int, residual: bool = False) -> int:
    """Return the estimate of memory: elements that all convolutions together give for one patch.

    ``labels`` is the number of output channels, the background included; ``residual`` is of a residual encoder.
    """
    size, total, widths = stages.patch_size, labels * math.prod(stages.patch_size), stages.widths(BASE_WIDTH, MAX_WIDTH)
    if residual:
        total += widths[0] * math.prod(size)
    for stage, (stride, width) in enumerate(zip(stages.strides, widths, strict=True)):
        size = tuple(edge // step for edge, step in zip(size, stride, strict=True))
        lowest = stage == len(stages.strides) - 1
        # A block's two convolutions, and where channels or size change that of its shortcut.
        encoder = 2 * BLOCKS[stage] + (stage > 0) if residual else CONVOLUTIONS
        decoder = 0 if lowest else (1 if residual else CONVOLUTIONS) + 1
        total += (encoder + decoder) * width * math.prod(size)
    return total


def plan(
    shapes: Sequence[Sequence[int]], spacings: Sequence[Sequence[float]], labels: int, preset: str = ""
) -> VolumePlan:
    """Return the 3D plan for cases of these shapes (voxels) and spacings (mm) along x, y and z.

    The patch is the median shape, shrunk along the axis that is longest in relation to it until one patch's feature
    maps fit; what memory is then left is filled with the batch, of at most 5 % of all voxels (a
    preset: all of them) and at least 2 patches.

    Raises:
        InputError: for a preset that there is not.
    """
    if preset not in REFERENCE_SIZE:
        raise InputError(f"preset is {preset!r}: expected one of {', '.join(map(repr, REFERENCE_SIZE))}.")
    median, spacing = (np.median(np.asarray(values, dtype=float), axis=0) for values in (shapes, spacings))
    stages, batch = _fitted(median, spacing, labels, preset)
    # The presets may show every voxel in one batch.
    share = round(
        (1.0 if preset else DATASET_SHARE) * float(median.prod()) * len(shapes) / math.prod(stages.patch_size)
    )
    batch = max(min(batch, share), MIN_BATCH)
    coarser = _has_coarser(stages, median, spacing, labels, preset)
    return VolumePlan(stages, tuple(spacing.tolist()), batch, coarser)


def _fitted(median: np.ndarray, spacing: np.ndarray, labels: int, preset: str) -> tuple[Topology, int]:
    """Return the largest patch's stages that fit into the preset's memory, and the batch that fills it."""
    scale = FIRST_PATCH * float(np.prod(spacing)) ** (1 / 3)
    first = [min(round(scale / voxel), edge) for voxel, edge in zip(spacing.tolist(), median.tolist(), strict=True)]
    stages = topology(spacing.tolist(), first)
    while feature_map_size(stages, labels, bool(preset)) > REFERENCE_SIZE[preset]:
        size = list(stages.patch_size)
        # Of equal ones nnU-Net, whose axes are z, y, x, takes the last.
        axis = max(range(3), key=lambda i: (size[i] / median[i], -i))
        # By the divisor of the patch that is smaller by its own divisor, or sizes between the two would be skipped.
        smaller = [edge - stages.divisor[axis] * (i == axis) for i, edge in enumerate(size)]
        size[axis] -= topology(spacing.tolist(), smaller).divisor[axis]
        stages = topology(spacing.tolist(), size)
    return stages, round(REFERENCE_SIZE[preset] / feature_map_size(stages, labels, bool(preset)) * REFERENCE_BATCH)


def _has_coarser(stages: Topology, median: np.ndarray, spacing: np.ndarray, labels: int, preset: str) -> bool:
    """Say whether nnU-Net would plan a network on coarser voxels too, as a patch shows too little of a volume."""
    patch, voxels, now = math.prod(stages.patch_size), float(median.prod()), spacing.copy()
    while patch / voxels < LOW_RESOLUTION:
        far = now.max() / now > 2
        now = np.where(far, now * COARSER, now) if far.any() else now * COARSER
        shape = spacing / now * median
        voxels = float(shape.prod())
        patch = math.prod(_fitted(np.round(shape), now, labels, preset)[0].patch_size)
    return float(median.prod()) / voxels >= 2


class VolumePlanner:
    """Plans from the prepared training cases of one fold, when it is first asked; reads their headers only.

    As ``plan.Planner`` from the stored brains, not resampled to a common spacing, since the benchmark never resamples.
    """

    def __init__(self, data: DataSet, fold: int) -> None:
        self.data, self.fold = data, fold

    @property
    def plan(self) -> VolumePlan:
        """The plan of the plain U-Net."""
        return self.of("")

    def of(self, preset: str) -> VolumePlan:
        """Return the plan of a preset of ``REFERENCE_SIZE``; labels are the regions and the background."""
        return plan(*self._seen, self.data.out_channels + 1, preset)

    def angles(self, patch_size: Sequence[int]) -> tuple[float, float, float]:
        """Return the largest angles about x, y and z, degrees, by which patches (x, y, z) are turned for augmentation.

        They are 30, or where the patch is short along the axis of the coarsest spacing 180 about that axis alone.
        """
        spacing = np.median(np.asarray(self._seen[1]), axis=0).tolist()
        # Of equal ones nnU-Net, whose axes are z, y, x, takes the first.
        coarsest = max((2, 1, 0), key=lambda axis: spacing[axis])
        if max(patch_size) <= ANISOTROPY * patch_size[coarsest]:
            return 30.0, 30.0, 30.0
        first, second, third = (180.0 * (axis == coarsest) for axis in range(3))
        return first, second, third

    @cached_property
    def _seen(self) -> tuple[list[list[int]], list[list[float]]]:
        """Shapes and spacings of the training cases along x, y and z."""
        shapes, spacings = [], []
        for case in self.data.part(self.fold, "train"):
            start, stop = case.header["box"]
            shapes.append([b - a for a, b in zip(start, stop, strict=True)])
            canonical = nib.orientations.io_orientation(case.affine)[:, 0].astype(int)
            spacings.append([case.spacing[axis] for axis in np.argsort(canonical)])
        return shapes, spacings
