"""Plan patch, batch and network topology from the training cases' shapes and spacings by nnU-Net's 2D rules.

The rules are those of nnU-Net v2's ``ExperimentPlanner`` (Isensee et al., Nature Methods 2021) for 8 GB of memory.
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

MIN_EDGE = 4
"""No feature map has a shorter edge, pixels."""

CONVOLUTIONS = 2
"""Convolutions per stage, in the encoder and in the decoder."""

BASE_WIDTH, MAX_WIDTH = 32, 512
"""Channels of the first stage and the most of any, in the planner's estimate of memory."""

REFERENCE_SIZE, REFERENCE_BATCH = 85_000_000, 12
"""The elements of one patch's feature maps with which a batch of so many patches fits."""

DATASET_SHARE, MIN_BATCH = 0.05, 2
"""The largest share of the training set's voxels in a batch, and the fewest patches in one."""

FIRST_PATCH = 2048
"""Edge of the square from whose area a patch is shrunk, pixels."""


@dataclass(frozen=True)
class Topology:
    """The stages of a U-Net: the patch as padded (pixels), and each stage's strides and kernel sizes."""

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]

    @property
    def divisor(self) -> tuple[int, ...]:
        """What each edge of an image must be a multiple of."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))

    def widths(self, base: int = BASE_WIDTH, largest: int = MAX_WIDTH) -> tuple[int, ...]:
        """Channels of each stage: doubled from one to the next, up to ``largest``."""
        return tuple(min(largest, base * 2**stage) for stage in range(len(self.strides)))


@dataclass(frozen=True)
class Plan:
    """What is planned for a data set: topology, pixel size of the patch (mm), and patches in a batch."""

    topology: Topology
    spacing: tuple[float, ...]
    batch_size: int


def topology(spacing: Sequence[float], patch_size: Sequence[float]) -> Topology:
    """Return the stages for a patch (pixels) of a spacing (mm).

    An axis is halved while its edge stays at least ``MIN_EDGE``, except while its spacing is twice that of the finest
    or more; the last axis that is left stops earlier, at 3/2 ``MIN_EDGE``. Kernels have size 1 along an axis until its
    spacing is within that factor. The patch is padded to a multiple of its strides.

    Raises:
        InputError: if the patch is too small for a network of three stages.
    """
    sizes, spacings = list(patch_size), list(spacing)
    axes = range(len(sizes))
    strides, kernels, kernel = [(1,) * len(sizes)], [], (1,) * len(sizes)
    while long_enough := [axis for axis in axes if sizes[axis] >= 2 * MIN_EDGE]:
        finest = min(spacings[axis] for axis in long_enough)
        halved = [axis for axis in long_enough if spacings[axis] / finest < 2]
        if len(halved) == 1 and sizes[halved[0]] < 3 * MIN_EDGE:
            break
        kernel = tuple(3 if kernel[axis] == 3 or spacings[axis] / min(spacings) < 2 else 1 for axis in axes)
        kernels.append(kernel)
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            spacings[axis] *= 2
            sizes[axis] = math.ceil(sizes[axis] / 2)
    if len(strides) < 3:
        raise InputError(
            f"A patch of {' x '.join(f'{size:g}' for size in patch_size)} pixels is too small for nnU-Net's network: "
            f"expected at least {4 * MIN_EDGE} along each axis."
        )
    divisors = [math.prod(steps) for steps in zip(*strides, strict=True)]
    padded = tuple(math.ceil(size / divisor) * divisor for size, divisor in zip(patch_size, divisors, strict=True))
    return Topology(padded, tuple(strides), (*kernels, (3,) * len(sizes)))


def feature_map_size(stages: Topology, labels: int) -> int:
    """Return the estimate of memory: elements that all convolutions together give for one patch.

    ``labels`` is the number of output channels, the background included.
    """
    size, total = stages.patch_size, labels * math.prod(stages.patch_size)
    for stage, (stride, width) in enumerate(zip(stages.strides, stages.widths(), strict=True)):
        size = tuple(edge // step for edge, step in zip(size, stride, strict=True))
        # But for the lowest stage, the decoder has the same convolutions and a transposed one that leads to them.
        lowest = stage == len(stages.strides) - 1
        total += (CONVOLUTIONS if lowest else 2 * CONVOLUTIONS + 1) * width * math.prod(size)
    return total


def plan(shapes: Sequence[Sequence[int]], spacings: Sequence[Sequence[float]], labels: int) -> Plan:
    """Return the 2D plan for cases of these shapes (voxels) and spacings (mm), in-plane axes first, then slices.

    The patch is the median shape, shrunk along the axis that is longest in relation to it until one patch's feature
    maps fit; what memory is then left is filled with the batch.
    """
    median = np.median(np.asarray(shapes, dtype=float), axis=0)
    spacing = tuple(np.median(np.asarray(spacings, dtype=float), axis=0)[:2].tolist())
    scale = FIRST_PATCH * math.sqrt(math.prod(spacing))
    first = [min(round(scale / pixel), edge) for pixel, edge in zip(spacing, median[:2].tolist(), strict=True)]
    stages = topology(spacing, first)
    while feature_map_size(stages, labels) > REFERENCE_SIZE:
        size = list(stages.patch_size)
        axis = max((0, 1), key=lambda i: (size[i] / median[i], i))
        # By the divisor of the patch that is smaller by its own divisor, or sizes between the two would be skipped.
        smaller = [edge - stages.divisor[axis] * (i == axis) for i, edge in enumerate(size)]
        size[axis] -= topology(spacing, smaller).divisor[axis]
        stages = topology(spacing, size)
    batch = round(REFERENCE_SIZE / feature_map_size(stages, labels) * REFERENCE_BATCH)
    share = round(DATASET_SHARE * float(median.prod()) * len(shapes) / math.prod(stages.patch_size))
    return Plan(stages, spacing, max(min(batch, share), MIN_BATCH))


class Planner:
    """Plans from the prepared training cases of one fold, when it is first asked; reads their headers only.

    Shapes are those of the stored brains, not resampled to a common spacing, since the benchmark never resamples.
    """

    def __init__(self, data: DataSet, fold: int) -> None:
        self.data, self.fold = data, fold

    @cached_property
    def plan(self) -> Plan:
        """The plan; labels are the regions and the background."""
        shapes, spacings = [], []
        for case in self.data.part(self.fold, "train"):
            start, stop = case.header["box"]
            shapes.append([b - a for a, b in zip(start, stop, strict=True)])
            canonical = nib.orientations.io_orientation(case.affine)[:, 0].astype(int)
            spacings.append([case.spacing[axis] for axis in np.argsort(canonical)])
        return plan(shapes, spacings, self.data.out_channels + 1)
