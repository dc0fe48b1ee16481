"""A pair of masks to one number: the formula of each metric, for masks to which none of its rules applies."""

from __future__ import annotations

import math

import numpy as np

from benchmark.scoring.lesions import HD95_PENALTY
from benchmark.scoring.masks import MaskPair
from benchmark.scoring.surfaces import Distances, area_percentile

NSD_TOLERANCE = 1.0
"""Distance in mm up to which two surfaces agree."""


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


def balanced_accuracy(pair: MaskPair) -> float:
    """Mean of sensitivity and specificity, where a share of nothing is 1 if the other mask has nothing there, else 0.

    An empty prediction of some tumour has 0.5, which is chance. scikit-learn leaves out a class that the reference
    lacks, and so has the specificity alone where the reference is empty.
    """
    found = pair.tp / (pair.tp + pair.fn) if pair.tp + pair.fn else float(not pair.fp)
    spared = pair.tn / (pair.tn + pair.fp) if pair.tn + pair.fp else float(not pair.fn)
    return (found + spared) / 2


def volume_error(pair: MaskPair) -> float:
    """Absolute difference of the two volumes in ml, wherever they are: abs(FP - FN) voxels."""
    return abs(pair.fp - pair.fn) * math.prod(pair.spacing) / 1000


def hd95(pair: MaskPair) -> float:
    """95 % Hausdorff distance in mm: max(P95 of d(r, P) over r in R, P95 of d(p, R) over p in P).

    R and P are the surface voxels of reference and prediction, d the Euclidean distance to the nearest of the other.
    """
    found = pair.voxel_distances
    return float(max(np.percentile(found.there, 95), np.percentile(found.back, 95)))


def hd95_pooled(pair: MaskPair) -> float:
    """95th percentile in mm of the distances of both directions together; a large surface outweighs a small one."""
    return float(np.percentile(_both(pair.voxel_distances), 95))


def hd100(pair: MaskPair) -> float:
    """Hausdorff distance in mm, the largest of all distances: a single stray voxel decides it."""
    return float(_both(pair.voxel_distances).max())


def assd(pair: MaskPair) -> float:
    """Average symmetric surface distance in mm, the mean of the distances of both directions together."""
    return float(_both(pair.voxel_distances).mean())


def nsd(pair: MaskPair) -> float:
    """Normalised surface Dice: share of both surfaces' voxels that lie within ``NSD_TOLERANCE`` of the other."""
    return float((_both(pair.voxel_distances) <= NSD_TOLERANCE).mean())


def hd95_area(pair: MaskPair) -> float:
    """95 % Hausdorff distance in mm, where percentiles are of the surface's area, without interpolation."""
    found = pair.element_distances
    return max(
        area_percentile(found.there, found.there_area, 95),
        area_percentile(found.back, found.back_area, 95),
    )


def nsd_area(pair: MaskPair) -> float:
    """Normalised surface Dice (Nikolov et al., arXiv:1809.04430): share of both surfaces' area within 1 mm."""
    found = pair.element_distances
    near = found.there_area[found.there <= NSD_TOLERANCE].sum() + found.back_area[found.back <= NSD_TOLERANCE].sum()
    return float(near / (found.there_area.sum() + found.back_area.sum()))


def lesion_dice(pair: MaskPair) -> float:
    """Lesion-wise Dice of BraTS 2023: sum of Dice over TP / (TP + FN + FP); 1 where there is none to count."""
    found = pair.lesions
    every = found.tp + found.fn + found.fp
    return sum(found.dice) / every if every else 1.0


def lesion_hd95(pair: MaskPair) -> float:
    """Lesion-wise HD95 of BraTS 2023 in mm: mean of ``hd95_area`` over TP, and of ``HD95_PENALTY`` over FN and FP."""
    found = pair.lesions
    every = found.tp + found.fn + found.fp
    total = sum(hd95_area(lesion) for lesion in pair.lesion_pairs()) + HD95_PENALTY * (found.fn + found.fp)
    return total / every if every else 0.0


def lesion_pq(pair: MaskPair) -> float:
    """Panoptic quality on Dice by the organisers' rule since 2025: sum of Dice / (TP + FN / 2 + FP / 2).

    It is panoptica's ``pq_dsc``: the mean Dice of matches (``sq_dsc``) times the F1 score of detection (``rq``).
    """
    found = pair.instances
    return sum(found.dice) / (found.tp + found.fn / 2 + found.fp / 2)


def _both(found: Distances) -> np.ndarray:
    return np.concatenate([found.there, found.back])
