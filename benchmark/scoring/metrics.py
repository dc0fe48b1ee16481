"""Reference and predicted label maps to scores: one row a region, with every metric as a column.

A metric's version changes whenever a number it gives may change, so that scores of two versions are never compared
unnoticed. The definitions that are pinned here, because libraries differ in them by more than models do:

========================  ==============================================================================================
question                  answer here
========================  ==============================================================================================
one volume or slices      the whole volume of a case, in the case's own space; never averaged over slices first
surface                   voxels of a mask with a 6-neighbour outside of it; beyond the volume's edge counts as outside,
                          as in MONAI and panoptica. ``AREA_METRICS`` and ``lesion_hd95`` weigh surface elements by
                          their area instead, as DeepMind's surface-distance does
volume of one slice       a picture of two dimensions: its contour is the surface
hd95                      larger of the two directed 95th percentiles, as in MONAI; hd95_pooled is the percentile of
                          both directions together, as in panoptica and the BraTS organisers' evaluator
percentile                linear interpolation between ranks (numpy's and torch's default)
assd                      mean over all distances of both directions, as in MONAI; panoptica and medpy take the mean of
                          the two directions' means
nsd                       share of all surface voxels of both masks within 1 mm of the other surface, as in MONAI;
                          panoptica takes the mean of the two masks' shares
lesions                   both rules in use, see ``benchmark.lesions``
one mask of two empty     the worst value: 0, or for distances the volume's diagonal (240x240x155 at 1 mm: 373.13 mm, as
                          BraTS sets it); MONAI gives NaN or infinity, which a mean may drop
both masks empty          the best value: 1, or for distances 0 mm
========================  ==============================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmark.scoring import formulas
from benchmark.scoring.lesions import HD95_PENALTY
from benchmark.scoring.masks import MaskPair, mask_pairs

Rule = float | Literal["diagonal", "volume", "formula"]
"""What a metric is worth where a rule applies: a number, the volume's diagonal in mm, its size in ml, or the formula's.
"""

Needs = Literal["counts", "volume", "surfaces", "lesions"]
"""What of a pair a metric reads: its four counts alone, the counts and the spacing, or the masks themselves."""


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


def _overlap(name: str, title: str, function: Callable[[MaskPair], float]) -> Metric:
    return Metric(name, title, "higher", "", "1", function, both_empty=1.0, one_empty=0.0, worst=0.0)


def _distance(name: str, title: str, function: Callable[[MaskPair], float]) -> Metric:
    return Metric(name, title, "lower", "mm", "1", function, 0.0, "diagonal", "diagonal", "surfaces")


def _agreement(name: str, title: str, function: Callable[[MaskPair], float], needs: Needs) -> Metric:
    return Metric(name, title, "higher", "", "1", function, 1.0, 0.0, 0.0, needs)


def _by_formula(
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
        _overlap("dice", "Dice", formulas.dice),
        _overlap("iou", "IoU", formulas.iou),
        _overlap("sensitivity", "Sensitivity", formulas.sensitivity),
        _by_formula("specificity", "Specificity", formulas.specificity, both_full=1.0, one_full=0.0),
        _overlap("precision", "Precision", formulas.precision),
        _by_formula("accuracy", "Accuracy", formulas.accuracy),
        _by_formula("balanced_accuracy", "Balanced accuracy", formulas.balanced_accuracy),
        _distance("hd95", "HD95", formulas.hd95),
        _distance("hd95_pooled", "HD95, pooled", formulas.hd95_pooled),
        _distance("hd100", "HD100", formulas.hd100),
        _distance("assd", "ASSD", formulas.assd),
        _agreement("nsd", "NSD at 1 mm", formulas.nsd, "surfaces"),
        Metric(
            "volume_error",
            "Volume error",
            "lower",
            "ml",
            "1",
            formulas.volume_error,
            "formula",
            "formula",
            "volume",
            "volume",
        ),
        Metric("lesion_dice", "Lesion Dice", "higher", "", "1", formulas.lesion_dice, 1.0, "formula", 0.0, "lesions"),
        Metric(
            "lesion_hd95",
            "Lesion HD95",
            "lower",
            "mm",
            "1",
            formulas.lesion_hd95,
            0.0,
            "formula",
            HD95_PENALTY,
            "lesions",
        ),
        _agreement("lesion_pq", "Lesion PQ", formulas.lesion_pq, "lesions"),
    )
}
"""The metrics of every score table, in its order."""


AREA_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _distance("hd95_area", "HD95 by area", formulas.hd95_area),
        _agreement("nsd_area", "NSD at 1 mm by area", formulas.nsd_area, "surfaces"),
    )
}
"""DeepMind's definitions, to be given to ``score_case`` where numbers that were made with surface-distance are met."""


COUNTS = ("tp", "fp", "fn", "tn")
"""Voxels by agreement of the two masks, from which any overlap metric over any set of cases follows.

``score_case`` gives them beside the metrics; they are no scores, so summaries and comparisons leave them out.
"""

LESION_COUNTS = ("lesion_tp", "lesion_fp", "lesion_fn", "instance_tp", "instance_fp", "instance_fn")
"""Lesions found, made up and missed: first by BraTS 2023's rule, then by panoptica's; given as ``COUNTS`` are."""


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
    region and note, then ``COUNTS`` and, where a metric needs lesions, ``LESION_COUNTS`` (whole numbers), then the
    value of each metric by its name. The note is that of ``mask_note``, or "missing prediction" where prediction is
    None: each metric then has its worst value, and the counts are those of an empty prediction.

    Raises:
        InputError: if the shapes differ, the spacing does not fit, or a label map holds fractions or NaN.
    """
    missing = prediction is None
    prediction = np.zeros_like(reference) if prediction is None else prediction
    with_lesions = any(metric.needs == "lesions" for metric in metrics.values())
    rows = []
    for region, pair in mask_pairs(reference, prediction, spacing, regions):
        row: dict[str, Any] = {"region": region, "note": "missing prediction" if missing else mask_note(pair)}
        row |= {name: getattr(pair, name) for name in COUNTS}
        if with_lesions:
            for rule, found in (("lesion", pair.lesions), ("instance", pair.instances)):
                row |= {f"{rule}_tp": found.tp, f"{rule}_fp": found.fp, f"{rule}_fn": found.fn}
        for name, metric in metrics.items():
            row[name] = _worth(metric.worst, pair) if missing else score_pair(metric, pair)
        rows.append(row)
    return rows


def score_pair(metric: Metric, pair: MaskPair) -> float:
    """Return a metric's value for two masks; a rule for empty or full ones decides before its formula.

    A metric that needs counts only takes any object with tp, fp, fn, tn, shape and spacing for a pair.
    """
    empty, full = _all_or_nothing(pair)
    for hits, both, one in ((empty, metric.both_empty, metric.one_empty), (full, metric.both_full, metric.one_full)):
        rule = both if len(hits) == 2 else one
        if hits and rule != "formula":
            return _worth(rule, pair)
    return metric.function(pair)


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


def _worth(rule: Rule, pair: MaskPair) -> float:
    if rule == "diagonal":
        return math.hypot(*(count * step for count, step in zip(pair.shape, pair.spacing, strict=True)))
    if rule == "volume":
        return math.prod(pair.shape) * math.prod(pair.spacing) / 1000
    return float(rule)
