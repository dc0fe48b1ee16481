"""Cut a pair of masks per region from two label maps, and compute once what several scores share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from benchmark.base.boxes import bounding_box
from benchmark.base.records import InputError
from benchmark.scoring.lesions import DILATIONS, SMALLEST_LESION, Instances, Lesions, match_instances, match_lesions
from benchmark.scoring.surfaces import Distances, element_areas, elements, surface, surface_distances

if TYPE_CHECKING:
    from benchmark.data.manifest import LesionRule


@dataclass(frozen=True, eq=False)
class MaskPair:
    """A region's reference and predicted mask, cropped to a box that holds both.

    ``reference`` and ``prediction`` are boolean and of one shape; ``shape`` is that of the whole volume, in voxels,
    and ``spacing`` is in mm, both in the order of the masks' axes. ``corner`` is where in the volume the box begins, by
    default at its origin. ``dilations`` and ``smallest`` are those of ``lesions.match_lesions``. What several metrics
    need is computed once.
    """

    reference: np.ndarray
    prediction: np.ndarray
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    corner: tuple[int, ...] = ()
    dilations: int = DILATIONS
    smallest: float = SMALLEST_LESION

    @cached_property
    def tp(self) -> int:
        """Voxels in both masks."""
        return int(np.count_nonzero(self.reference & self.prediction))

    @cached_property
    def fp(self) -> int:
        """Voxels in the prediction only."""
        return int(np.count_nonzero(self.prediction)) - self.tp

    @cached_property
    def fn(self) -> int:
        """Voxels in the reference only."""
        return int(np.count_nonzero(self.reference)) - self.tp

    @cached_property
    def tn(self) -> int:
        """Voxels of the whole volume in neither mask."""
        return math.prod(self.shape) - self.tp - self.fp - self.fn

    @property
    def around(self) -> list[tuple[int, int]]:
        """Voxels of the whole volume before and after the box, by axis."""
        corner = self.corner or (0,) * len(self.shape)
        sizes = zip(corner, self.reference.shape, self.shape, strict=True)
        return [(start, whole - start - size) for start, size, whole in sizes]

    @cached_property
    def voxel_distances(self) -> Distances:
        """Distances between surface voxels; neither mask may be empty."""
        return surface_distances(surface(self.reference), surface(self.prediction), self.spacing)

    @cached_property
    def element_distances(self) -> Distances:
        """Distances between surface elements; neither mask may be empty."""
        areas = element_areas(self.spacing)
        first, second = (areas.take(elements(mask)) for mask in (self.reference, self.prediction))
        return surface_distances(first, second, self.spacing)

    @cached_property
    def lesions(self) -> Lesions:
        """Lesions by BraTS 2023's rule."""
        voxel = math.prod(self.spacing)
        return match_lesions(self.reference, self.prediction, voxel, self.dilations, self.smallest)

    @cached_property
    def instances(self) -> Instances:
        """Lesions by panoptica's rule."""
        return match_instances(self.reference, self.prediction)

    def lesion_pairs(self) -> Iterator[MaskPair]:
        """Yield each true positive lesion of BraTS 2023's rule with what matches it, cropped to a box around both."""
        for lesion, matched in self.lesions.matches:
            reference, prediction = self.lesions.groups == lesion, matched.take(self.lesions.components)
            box = bounding_box(reference | prediction)
            yield MaskPair(reference[box], prediction[box], self.shape, self.spacing)


def mask_pairs(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    regions: Mapping[str, Sequence[int]],
    lesions: LesionRule | None = None,
) -> Iterator[tuple[str, MaskPair]]:
    """Yield the masks of each region, cropped to a box around both; arguments are those of ``metrics.score_case``.

    A picture of one slice becomes two-dimensional: else each of its voxels would lie on the surface.

    Raises:
        InputError: if the shapes differ, the spacing does not fit, or a label map holds fractions or NaN.
    """
    spacing = _checked_spacing(spacing, reference)
    if reference.shape != prediction.shape:
        raise InputError(f"The prediction has shape {prediction.shape}, expected the reference's {reference.shape}.")
    used = [axis for axis, size in enumerate(reference.shape) if size > 1] or [0]
    flat = tuple(set(range(reference.ndim)) - set(used))
    reference, prediction = reference.squeeze(flat), prediction.squeeze(flat)
    spacing = tuple(spacing[axis] for axis in used)
    # Scores do not depend on the order of axes, and files are read with the first axis fastest: walk along memory.
    order = sorted(range(reference.ndim), key=lambda axis: -abs(reference.strides[axis]))
    shape, spacing = tuple(reference.shape[axis] for axis in order), tuple(spacing[axis] for axis in order)
    reference = _whole_numbers(reference, "reference").transpose(order)
    prediction = _whole_numbers(prediction, "prediction").transpose(order)
    box = bounding_box(reference | prediction)
    table = _region_table(regions)
    # Labels beyond the table are of no region: clipping sends them to its last entry, negative ones to its first.
    reference, prediction = table.take(reference[box], mode="clip"), table.take(prediction[box], mode="clip")
    for index, region in enumerate(regions):
        bit = table.dtype.type(1 << index)
        inner = bounding_box((reference | prediction) & bit)
        corner = tuple(outer.start + own.start for outer, own in zip(box, inner, strict=True))
        masks = (reference[inner] & bit) != 0, (prediction[inner] & bit) != 0
        rule = (lesions.dilations, lesions.of(region)) if lesions else ()
        yield region, MaskPair(*masks, shape, spacing, corner, *rule)


def _region_table(regions: Mapping[str, Sequence[int]]) -> np.ndarray:
    # Entry L is a number whose bit i says whether label L is part of region i; the first and last entry are 0.
    labels = [label for members in regions.values() for label in members]
    if min(labels, default=1) <= 0:
        raise InputError(f"Regions unite labels above 0, the background; found {dict(regions)}.")
    table = np.zeros(max(labels, default=0) + 2, dtype=np.min_scalar_type((1 << len(regions)) - 1))
    for index, members in enumerate(regions.values()):
        table[list(members)] |= table.dtype.type(1 << index)
    return table


def _whole_numbers(array: np.ndarray, who: str) -> np.ndarray:
    if np.can_cast(array.dtype, np.intp):
        return array
    if not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise InputError(f"The {who} holds fractions, NaN or infinity, expected whole label values.")
    return array.astype(np.int64)


def _checked_spacing(spacing: Sequence[float], reference: np.ndarray) -> tuple[float, ...]:
    if not reference.size:
        raise InputError(f"The reference has shape {reference.shape}, expected at least one voxel.")
    checked = tuple(float(step) for step in spacing)
    if len(checked) != reference.ndim or not all(0 < step < math.inf for step in checked):
        raise InputError(f"The spacing must be {reference.ndim} positive lengths in mm, found {checked}.")
    return checked
