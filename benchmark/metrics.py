"""Reference and predicted label maps to scores: one row a region, with every metric as a column.

A metric's version changes whenever a number it gives may change, so that scores of two versions are never compared
unnoticed. The definitions that are pinned here, because libraries differ in them by more than models do:

========================  ==============================================================================================
question                  answer here
========================  ==============================================================================================
one volume or slices      the whole volume of a case, in the case's own space; never averaged over slices first
surface                   voxels of a mask with a 6-neighbour outside of it; beyond the volume's edge counts as outside,
                          as in MONAI (surface-distance weighs surface elements by area, so its values differ)
volume of one slice       a picture of two dimensions: its contour is the surface
hd95                      larger of the two directed 95th percentiles, as in MONAI; the percentile of both directions
                          pooled, as in panoptica and the BraTS organisers' evaluator, is another metric
percentile                linear interpolation between ranks (numpy's and torch's default)
one mask of two empty     the worst value: 0, or for hd95 the volume's diagonal (240x240x155 at 1 mm: 373.13 mm, as
                          BraTS sets it); MONAI gives NaN or infinity, which a mean may drop
both masks empty          the best value: 1, or for hd95 0 mm
========================  ==============================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.spatial import KDTree

from benchmark.records import InputError

Rule = float | Literal["diagonal", "formula"]
"""What a metric is worth where a rule applies: a number, the volume's diagonal in mm, or what the formula gives."""


@dataclass(frozen=True, eq=False)
class MaskPair:
    """A region's reference and predicted mask, cropped to any box that holds both.

    ``reference`` and ``prediction`` are boolean and of one shape; ``shape`` is that of the whole volume, in voxels,
    and ``spacing`` is in mm, both in the order of the masks' axes. What several metrics need is computed once.
    """

    reference: np.ndarray
    prediction: np.ndarray
    shape: tuple[int, ...]
    spacing: tuple[float, ...]

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

    @cached_property
    def surface_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances in mm from each surface voxel of one mask to the nearest of the other.

        First from reference to prediction, then from prediction to reference; neither mask may be empty.
        """
        box = bounding_box(self.reference | self.prediction)
        reference, prediction = surface(self.reference[box]), surface(self.prediction[box])
        return _distances(reference, prediction, self.spacing), _distances(prediction, reference, self.spacing)


@dataclass(frozen=True)
class Metric:
    """A score of one region of one case, with its rules for empty masks as data.

    ``function`` gives the value where no rule applies. ``both_empty`` and ``one_empty`` hold where both masks, or
    exactly one of them, have no voxel; ``both_full`` and ``one_full`` where they fill the whole volume, so that there
    are no negatives. ``worst`` is the value of a prediction that is missing. ``unit`` is ``""`` or ``"mm"``. ``needs``
    says what of a pair the function reads: its four counts alone, or the masks' surfaces.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    unit: str
    version: str
    function: Callable[[MaskPair], float]
    both_empty: Rule
    one_empty: Rule
    worst: Rule
    needs: Literal["counts", "surfaces"] = "counts"
    both_full: Rule = "formula"
    one_full: Rule = "formula"


def dice(pair: MaskPair) -> float:
    """Overlap relative to the masks' mean size: 2 TP / (2 TP + FP + FN)."""
    return 2 * pair.tp / (2 * pair.tp + pair.fp + pair.fn)


def iou(pair: MaskPair) -> float:
    """Intersection over union, the Jaccard index: TP / (TP + FP + FN)."""
    return pair.tp / (pair.tp + pair.fp + pair.fn)


def sensitivity(pair: MaskPair) -> float:
    """Share of the reference that was found, recall: TP / (TP + FN)."""
    return pair.tp / (pair.tp + pair.fn)


def specificity(pair: MaskPair) -> float:
    """Share of the reference's background left unmarked: TN / (TN + FP).

    Over a whole volume it is near 1 for nearly any prediction, and exactly 1 for an empty one.
    """
    return pair.tn / (pair.tn + pair.fp)


def precision(pair: MaskPair) -> float:
    """Share of the prediction that is right, positive predictive value: TP / (TP + FP)."""
    return pair.tp / (pair.tp + pair.fp)


def accuracy(pair: MaskPair) -> float:
    """Share of the whole volume's voxels that are right: (TP + TN) / (TP + TN + FP + FN)."""
    return (pair.tp + pair.tn) / math.prod(pair.shape)


def hd95(pair: MaskPair) -> float:
    """95 % Hausdorff distance in mm: max(P95 of d(r, P) over r in R, P95 of d(p, R) over p in P).

    R and P are the surface voxels of reference and prediction, d the Euclidean distance to the nearest of the other.
    """
    return float(max(np.percentile(distances, 95) for distances in pair.surface_distances))


def _overlap(name: str, title: str, function: Callable[[MaskPair], float]) -> Metric:
    return Metric(name, title, "higher", "", "1", function, both_empty=1.0, one_empty=0.0, worst=0.0)


def _defined_for_empty(
    name: str,
    title: str,
    function: Callable[[MaskPair], float],
    both_full: Rule = "formula",
    one_full: Rule = "formula",
) -> Metric:
    rules: dict[str, Rule] = {"both_full": both_full, "one_full": one_full}
    return Metric(name, title, "higher", "", "1", function, "formula", "formula", 0.0, "counts", **rules)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _overlap("dice", "Dice", dice),
        _overlap("iou", "IoU", iou),
        _overlap("sensitivity", "Sensitivity", sensitivity),
        _defined_for_empty("specificity", "Specificity", specificity, both_full=1.0, one_full=0.0),
        _overlap("precision", "Precision", precision),
        _defined_for_empty("accuracy", "Accuracy", accuracy),
        Metric("hd95", "HD95", "lower", "mm", "1", hd95, 0.0, "diagonal", "diagonal", needs="surfaces"),
    )
}
"""The metrics of every score table, in its order."""


COUNTS = ("tp", "fp", "fn", "tn")
"""Voxels by agreement of the two masks, from which any overlap metric over any set of cases follows.

``score_case`` gives them beside the metrics; they are no scores, so summaries and comparisons leave them out.
"""


def score_case(
    reference: np.ndarray,
    prediction: np.ndarray | None,
    spacing: Sequence[float],
    regions: Mapping[str, Sequence[int]],
    metrics: Mapping[str, Metric] = METRICS,
) -> list[dict[str, Any]]:
    """Score one case: a row for every region, in that order, whatever the masks are.

    ``reference`` and ``prediction`` are label maps (whole numbers) of one shape, ``spacing`` is in mm per axis, and
    ``regions`` maps a region to the labels it unites; labels of no region count as background. A row has the keys
    region and note, then ``COUNTS`` (whole numbers), then the value of each metric by its name. The note is that of
    ``mask_note``, or "missing prediction" where prediction is None: each metric then has its worst value, and the
    counts are those of an empty prediction.

    Raises:
        InputError: if the shapes differ, the spacing does not fit, or a label map holds fractions or NaN.
    """
    spacing = _checked_spacing(spacing, reference)
    missing = prediction is None
    prediction = np.zeros_like(reference) if prediction is None else prediction
    if reference.shape != prediction.shape:
        raise InputError(f"The prediction has shape {prediction.shape}, expected the reference's {reference.shape}.")
    # A picture of one slice is two-dimensional: else each of its voxels would lie on the surface.
    used = [axis for axis, size in enumerate(reference.shape) if size > 1] or [0]
    flat = tuple(set(range(reference.ndim)) - set(used))
    reference, prediction = reference.squeeze(flat), prediction.squeeze(flat)
    spacing = tuple(spacing[axis] for axis in used)
    rows = []
    for region, pair in _region_pairs(reference, prediction, spacing, regions):
        row: dict[str, Any] = {"region": region, "note": "missing prediction" if missing else mask_note(pair)}
        row |= {name: getattr(pair, name) for name in COUNTS}
        for name, metric in metrics.items():
            row[name] = _worth(metric.worst, pair) if missing else score_pair(metric, pair)[0]
        rows.append(row)
    return rows


def score_pair(metric: Metric, pair: MaskPair) -> tuple[float, str]:
    """Return a metric's value for two masks, and their ``mask_note``; a rule for such masks decides before a formula.

    A metric that needs counts only takes any object with tp, fp, fn, tn, shape and spacing for a pair.
    """
    empty, full = _all_or_nothing(pair)
    for hits, both, one in ((empty, metric.both_empty, metric.one_empty), (full, metric.both_full, metric.one_full)):
        rule = both if len(hits) == 2 else one
        if hits and rule != "formula":
            return _worth(rule, pair), mask_note(pair)
    return metric.function(pair), mask_note(pair)


def mask_note(pair: MaskPair) -> str:
    """Say which masks are empty or fill the volume, such as "both empty" or "reference empty, prediction full"."""
    notes = []
    for word, hits in zip(("empty", "full"), _all_or_nothing(pair), strict=True):
        if hits:
            notes.append(f"{'both' if len(hits) == 2 else hits[0]} {word}")
    return ", ".join(notes)


def _all_or_nothing(pair: MaskPair) -> tuple[list[str], list[str]]:
    # Which masks have no voxel, and which have all of the volume's.
    sizes = {"reference": pair.tp + pair.fn, "prediction": pair.tp + pair.fp}
    voxels = math.prod(pair.shape)
    return [mask for mask, size in sizes.items() if not size], [m for m, size in sizes.items() if size == voxels]


def bounding_box(array: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box that holds every non-zero element, of zero size where there is none."""
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    rest = array.transpose(order) != 0
    box = [slice(0, 0)] * array.ndim
    for axis in order:
        hits = np.flatnonzero(rest.any(axis=tuple(range(1, rest.ndim))))
        if not hits.size:
            return tuple(slice(0, 0) for _ in box)
        box[axis] = slice(int(hits[0]), int(hits[-1]) + 1)
        rest = rest.any(axis=0)
    return tuple(box)


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the mask minus its erosion by direct neighbours (6 in a volume); outside the array is background."""
    # Shifted views are several times faster than scipy's binary_erosion.
    core = mask.copy()
    for axis in range(mask.ndim):
        inner, whole = np.moveaxis(core, axis, 0), np.moveaxis(mask, axis, 0)
        inner[1:] &= whole[:-1]
        inner[:-1] &= whole[1:]
        inner[0] = inner[-1] = False
    return mask & ~core


def _distances(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    # Surfaces are thin, so a tree over their voxels beats a distance transform of the whole box; shared voxels are 0.
    points, goals = (np.argwhere(mask) * np.array(spacing) for mask in (start & ~goal, goal))
    far = KDTree(goals, balanced_tree=False, compact_nodes=False).query(points)[0]
    return np.concatenate([np.zeros(np.count_nonzero(start & goal)), far])


def _region_pairs(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], regions: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, MaskPair]]:
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
        yield region, MaskPair((reference & bit) != 0, (prediction & bit) != 0, shape, spacing)


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


def _worth(rule: Rule, pair: MaskPair) -> float:
    if rule == "diagonal":
        return math.hypot(*(count * step for count, step in zip(pair.shape, pair.spacing, strict=True)))
    return float(rule)
