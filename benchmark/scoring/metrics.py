"""Score a predicted label map against a reference: one row per region, every metric a column.

A metric's version changes whenever its values may change, so that scores of two versions are never compared
unnoticed. Definitions are fixed here because libraries differ in them more than models do:

========================  ==============================================================================================
question                  answer here
========================  ==============================================================================================
one volume or slices      the whole volume of a case, in the case's own space; never averaged over slices first
surface                   voxels of a mask with a 6-neighbour outside of it; beyond the volume's edge counts as outside,
                          as in MONAI and panoptica; ``hd95_area``, which ``lesion_hd95`` uses, weighs surface elements
                          by their area instead, as DeepMind's surface-distance does
volume of one slice       a picture of two dimensions: its contour is the surface
hd95                      larger of the two directed 95th percentiles, as in MONAI; hd95_pooled is the percentile of
                          both directions together, as in panoptica and the BraTS organisers' evaluator
percentile                linear interpolation between ranks (numpy's and torch's default)
assd                      mean over all distances of both directions, as in MONAI; panoptica and medpy take the mean of
                          the two directions' means
nsd                       share of all surface voxels of both masks within 1 mm of the other surface, as in MONAI;
                          panoptica takes the mean of the two masks' shares
contours                  see ``benchmark.scoring.contours``
lesions                   both rules in use, see ``benchmark.scoring.lesions``
one mask of two empty     the worst value: 0, or for distances the volume's diagonal (240x240x155 at 1 mm: 373.13 mm, as
                          BraTS sets it); MONAI gives NaN or infinity, which a mean may drop
both masks empty          the best value: 1, or for distances 0 mm
========================  ==============================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmark.scoring.contours import bf, mean_bf
from benchmark.scoring.lesions import HD95_PENALTY
from benchmark.scoring.masks import MaskPair, mask_pairs
from benchmark.scoring.surfaces import Distances, area_percentile

if TYPE_CHECKING:
    from benchmark.data.manifest import LesionRule

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
    found = sensitivity(pair) if pair.tp + pair.fn else float(not pair.fp)
    spared = specificity(pair) if pair.tn + pair.fp else float(not pair.fn)
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
    return max(area_percentile(found.there, found.there_area, 95), area_percentile(found.back, found.back_area, 95))


def lesion_dice(pair: MaskPair) -> float:
    """Lesion-wise Dice of BraTS 2023: sum of Dice over TP / (TP + FN + FP); 1 where there is none to count."""
    every = pair.lesions.tp + pair.lesions.fn + pair.lesions.fp
    return sum(pair.lesions.dice) / every if every else 1.0


def lesion_hd95(pair: MaskPair) -> float:
    """Lesion-wise HD95 of BraTS 2023 in mm: mean of ``hd95_area`` over TP, and of ``HD95_PENALTY`` over FN and FP."""
    found, unmatched = pair.lesions.tp, pair.lesions.fn + pair.lesions.fp
    total = sum(hd95_area(lesion) for lesion in pair.lesion_pairs()) + HD95_PENALTY * unmatched
    return total / (found + unmatched) if found + unmatched else 0.0


def lesion_pq(pair: MaskPair) -> float:
    """Panoptic quality on Dice by the organisers' rule since 2025: sum of Dice / (TP + FN / 2 + FP / 2).

    It is panoptica's ``pq_dsc``: the mean Dice of matches (``sq_dsc``) times the F1 score of detection (``rq``).
    """
    found = pair.instances
    return sum(found.dice) / (found.tp + found.fn / 2 + found.fp / 2)


def _both(found: Distances) -> np.ndarray:
    return np.concatenate([found.there, found.back])


Rule = float | Literal["diagonal", "volume", "formula"]
"""Value of a metric where a rule applies: a number, the volume's diagonal in mm, its size in ml, or by the formula."""

Needs = Literal["counts", "volume", "surfaces", "lesions"]
"""What a metric reads of a pair: its four counts, the counts and the spacing, or the masks themselves."""


@dataclass(frozen=True)
class Metric:
    """A score of one region of one case, with its rules for empty masks as data.

    ``function`` gives the value where no rule applies. ``both_empty`` and ``one_empty`` hold where both masks, or
    exactly one of them, have no voxel; ``both_full`` and ``one_full`` where they fill the whole volume, so that there
    are no negatives. ``worst`` is the value of a prediction that is missing. ``unit`` is ``""``, ``"mm"`` or ``"ml"``.
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
    needs: Needs = "counts"
    both_full: Rule = "formula"
    one_full: Rule = "formula"


_SHARE = partial(Metric, better="higher", unit="", version="1", both_empty=1.0, one_empty=0.0, worst=0.0)
_BY_FORMULA = partial(_SHARE, both_empty="formula", one_empty="formula")
_ERROR = partial(Metric, better="lower", version="1")
_DISTANCE = partial(_ERROR, unit="mm", both_empty=0.0, one_empty="diagonal", worst="diagonal", needs="surfaces")
_VOLUME = partial(_ERROR, unit="ml", both_empty="formula", one_empty="formula", worst="volume", needs="volume")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _SHARE("dice", "Dice", function=dice),
        _SHARE("iou", "IoU", function=iou),
        _SHARE("sensitivity", "Sensitivity", function=sensitivity),
        _BY_FORMULA("specificity", "Specificity", function=specificity, both_full=1.0, one_full=0.0),
        _SHARE("precision", "Precision", function=precision),
        _BY_FORMULA("accuracy", "Accuracy", function=accuracy),
        _BY_FORMULA("balanced_accuracy", "Balanced accuracy", function=balanced_accuracy),
        _DISTANCE("hd95", "HD95", function=hd95),
        _DISTANCE("hd95_pooled", "HD95, pooled", function=hd95_pooled),
        _DISTANCE("hd100", "HD100", function=hd100),
        _DISTANCE("assd", "ASSD", function=assd),
        _SHARE("nsd", "NSD at 1 mm", function=nsd, needs="surfaces"),
        _VOLUME("volume_error", "Volume error", function=volume_error),
        _SHARE("lesion_dice", "Lesion Dice", function=lesion_dice, one_empty="formula", needs="lesions"),
        Metric("lesion_hd95", "Lesion HD95", "lower", "mm", "1", lesion_hd95, 0.0, "formula", HD95_PENALTY, "lesions"),
        _SHARE("lesion_pq", "Lesion PQ", function=lesion_pq, needs="lesions"),
    )
}
"""The metrics of every score table, in its order."""

ON_REQUEST: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _SHARE("bf", "BF score", function=bf, needs="surfaces"),
        _SHARE("mean_bf", "Mean BF score", function=mean_bf, one_empty="formula", needs="surfaces"),
    )
}
"""Metrics that a paper prints and a study asks for by name (``scores`` of study.json); they come last in a table.

They stand beside the paper's numbers and are not compared. See ``benchmark.scoring.contours``.
"""

EVERY = METRICS | ON_REQUEST

COUNTS = ("tp", "fp", "fn", "tn")
"""Voxels by agreement of the two masks, from which any overlap metric over any set of cases follows.

``score_case`` returns them beside the metrics; they are not scores, so summaries and comparisons leave them out.
"""

LESION_COUNTS = ("lesion_tp", "lesion_fp", "lesion_fn", "instance_tp", "instance_fp", "instance_fn")
"""Lesions detected (TP), false (FP) and missed (FN): by BraTS 2023's rule, then by panoptica's; kept as COUNTS are."""


def score_case(
    reference: np.ndarray,
    prediction: np.ndarray | None,
    spacing: Sequence[float],
    regions: Mapping[str, Sequence[int]],
    metrics: Mapping[str, Metric] = METRICS,
    lesions: LesionRule | None = None,
) -> list[dict[str, Any]]:
    """Score one case: one row per region, in the order of ``regions``, whether or not masks are empty.

    ``reference`` and ``prediction`` are label maps (whole numbers) of one shape, ``spacing`` is in mm per axis, and
    ``regions`` maps a region to the labels it unites; labels of no region count as background. A row has the keys
    region and note, then ``COUNTS`` and, where a metric needs lesions, ``LESION_COUNTS`` (whole numbers), then the
    value of each metric by its name. The note is that of ``mask_note``, or "missing prediction" where prediction is
    None: each metric then has its worst value, and the counts are those of an empty prediction. ``lesions`` is a set's
    own rule for lesion-wise scores.

    >>> import benchmark, numpy as np
    >>> reference, prediction = np.zeros((2, 8, 8, 8), dtype=np.uint8)
    >>> reference[2:6, 2:6, 2:6], prediction[2:6, 2:6, 3:7] = 1, 1
    >>> (row,) = benchmark.score_case(reference, prediction, (1.0, 1.0, 1.0), {"tumour": [1]})
    >>> row["dice"], row["hd95"], row["tp"]
    (0.75, 1.0, 48)

    Raises:
        InputError: if the shapes differ, the spacing does not fit, or a label map holds fractions or NaN.
    """
    return [row for row, _ in score_regions(reference, prediction, spacing, regions, metrics, lesions)]


def score_regions(
    reference: np.ndarray,
    prediction: np.ndarray | None,
    spacing: Sequence[float],
    regions: Mapping[str, Sequence[int]],
    metrics: Mapping[str, Metric] = METRICS,
    lesions: LesionRule | None = None,
) -> Iterator[tuple[dict[str, Any], MaskPair]]:
    """Yield the rows of ``score_case``, each with the masks that it was computed from."""
    missing = prediction is None
    prediction = np.zeros_like(reference) if prediction is None else prediction
    with_lesions = any(metric.needs == "lesions" for metric in metrics.values())
    for region, pair in mask_pairs(reference, prediction, spacing, regions, lesions):
        row: dict[str, Any] = {"region": region, "note": "missing prediction" if missing else mask_note(pair)}
        row |= {name: getattr(pair, name) for name in COUNTS}
        if with_lesions:
            for rule, found in (("lesion", pair.lesions), ("instance", pair.instances)):
                row |= {f"{rule}_tp": found.tp, f"{rule}_fp": found.fp, f"{rule}_fn": found.fn}
        for name, metric in metrics.items():
            row[name] = _worth(metric.worst, pair) if missing else score_pair(metric, pair)
        yield row, pair


def score_pair(metric: Metric, pair: MaskPair) -> float:
    """Return a metric's value for two masks; a rule for empty or full ones decides before its formula.

    For a metric that needs only counts, ``counts.Counted`` can stand for a pair.
    """
    empty, full = _all_or_nothing(pair)
    for hits, both, one in ((empty, metric.both_empty, metric.one_empty), (full, metric.both_full, metric.one_full)):
        rule = both if len(hits) == 2 else one
        if hits and rule != "formula":
            return _worth(rule, pair)
    return metric.function(pair)


def mask_note(pair: MaskPair) -> str:
    """Say which masks are empty or fill the volume, such as "both empty" or "reference empty, prediction full"."""
    said = zip(("empty", "full"), _all_or_nothing(pair), strict=True)
    return ", ".join(f"{'both' if len(hits) == 2 else hits[0]} {word}" for word, hits in said if hits)


def _all_or_nothing(pair: MaskPair) -> tuple[list[str], list[str]]:
    # Which masks have no voxel, and which have all of the volume's.
    sizes = {"reference": pair.tp + pair.fn, "prediction": pair.tp + pair.fp}
    voxels = math.prod(pair.shape)
    return [mask for mask, size in sizes.items() if not size], [m for m, size in sizes.items() if size == voxels]


def _worth(rule: Rule, pair: MaskPair) -> float:
    if rule == "diagonal":
        return math.hypot(*(count * step for count, step in zip(pair.shape, pair.spacing, strict=True)))
    if rule == "volume":
        return math.prod(pair.shape) * math.prod(pair.spacing) / 1000
    return float(rule)
