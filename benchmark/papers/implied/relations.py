"""Compute what follows from printed numbers: overlap, prevalence and loss, as functions on intervals of rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Literal, get_args

from benchmark.papers.published import Interval, Value

Verdict = Literal["contradiction", "unsupported", "conditional", "only by rounding", "consistent"]
"""Verdicts on a relation, gravest first.

``unsupported`` is a statement for which no number is printed; ``conditional`` is a contradiction only if something
unstated holds.
"""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

EDGE = 1e-12
"""Nearest to 0 or 1 that a number of an open interval is taken."""


def judge(printed: Interval, exact: Interval, rounded: Interval) -> Verdict:
    """Compare a printed number with what follows from others.

    ``exact`` follows from the others as they are printed, ``rounded`` from all that they may have been rounded from.
    ``consistent``: what follows as printed rounds to the printed number; ``only by rounding``: it does not, but some
    unrounded numbers fit; ``contradiction``: none do.
    """
    return graded(printed.meets(exact), printed.meets(rounded))


def graded(exact: object, rounded: object) -> Verdict:
    """The verdict where something fits as printed (``exact`` is true), by rounding, or not at all."""
    return "consistent" if exact else "only by rounding" if rounded else "contradiction"


def span(function: Callable[..., float], *inputs: Interval) -> Interval:
    """Return the range of a function over a box, for one that is monotone in each input where the others are fixed."""
    ends = [function(*corner) for corner in product(*inputs)]
    return Interval(min(ends), max(ends))


def both(function: Callable[..., float], *inputs: Value) -> tuple[Interval, Interval]:
    """Return ``exact`` and ``rounded`` of a monotone function of printed numbers, as ``judge`` takes them."""
    return span(function, *(value.point for value in inputs)), span(function, *(value.interval for value in inputs))


def dice_of_iou(iou: float) -> float:
    """Dice of one mask, or of pooled counts, from its IoU: 2J / (1 + J)."""
    return 2 * iou / (1 + iou)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean of precision and recall; 0 where both are."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def prevalence(sensitivity: Interval, specificity: Interval, accuracy: Interval) -> Interval | None:
    """Share of positives p that solves accuracy = p sensitivity + (1 - p) specificity; None where no share does.

    Holds for pooled counts. It is monotone in each of the three while accuracy lies between the two others.
    """
    if max(sensitivity.low, specificity.low) <= min(sensitivity.high, specificity.high):
        # Where the two may be equal they say nothing of the share, or nothing fits.
        fits = accuracy.meets(Interval(min(sensitivity.low, specificity.low), max(sensitivity.high, specificity.high)))
        return Interval(0.0, 1.0) if fits else None
    found = span(lambda sens, spec, acc: (spec - acc) / (spec - sens), sensitivity, specificity, accuracy)
    if found.high < -1e-9 or found.low > 1 + 1e-9:
        return None
    return Interval(max(found.low, 0.0), min(found.high, 1.0))


def intersection(intervals: Sequence[Interval]) -> Interval | None:
    """Return what all intervals have in common, None where there is nothing."""
    low, high = max(i.low for i in intervals), min(i.high for i in intervals)
    return Interval(low, high) if low <= high + 1e-12 else None


def dice_of_rates(share: float, sensitivity: float, accuracy: float) -> float:
    """Dice of pooled counts from prevalence, sensitivity and accuracy: 2 p s / (2 p s + 1 - accuracy)."""
    found = 2 * share * sensitivity
    return found / (found + 1 - accuracy) if found + 1 - accuracy else 0.0


def focal_exponent(tversky: float, loss: float) -> float:
    """Exponent g of the focal Tversky loss (1 - T)^g that gives a loss at an index; both are taken into (0, 1)."""
    return math.log(_inside(loss)) / math.log(1 - _inside(tversky))


def focal_loss(tversky: float, exponent: float) -> float:
    """Focal Tversky loss (1 - T)^g; 0 for an index that rounding puts above 1."""
    return float(max(1 - tversky, 0.0) ** exponent)


def _inside(share: float) -> float:
    return min(max(share, EDGE), 1 - EDGE)


def margin(best: float, other: float) -> float:
    """What ``best`` has more than ``other``, as a share of it; infinite over nothing."""
    return best / other - 1 if other > 0 else math.inf


def dice_beside_background(accuracy: float, iou: float) -> float:
    """Dice of the tumour if a printed IoU is the background's.

    With t the share of true positives, the background's IoU is (accuracy - t) / (1 - t); that gives t, and the
    errors are 1 - accuracy.
    """
    accuracy, iou = min(accuracy, 1.0), _inside(iou)
    found = 2 * max((accuracy - iou) / (1 - iou), 0.0)
    return found / (found + 1 - accuracy) if found + 1 - accuracy else 0.0


def res_unet_parameters(channels: Sequence[int], in_channels: int, out_channels: int = 1) -> int:
    """Parameters of a 2D ResUNet as Keras counts them, with the residual block of its usual Keras code.

    Two 3x3 convolutions with batch normalisation; blocks of a 1x1 and a 3x3 convolution with a 1x1 shortcut, each with
    batch normalisation (4 a channel); upsampling and concatenation; a 1x1 convolution.
    """

    def block(before: int, after: int) -> int:
        return 2 * before * after + 9 * after**2 + 15 * after

    first = channels[0]
    stem = 9 * in_channels * first + first + 9 * first**2 + first + 8 * first
    down = sum(block(before, after) for before, after in pairwise(channels))
    up = sum(block(deep + skip, skip) for skip, deep in pairwise(channels))
    return stem + down + up + first * out_channels + out_channels
