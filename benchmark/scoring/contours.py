"""Compare contours within a tolerance: the boundary F1 score of Csurka et al. (2013), as MATLAB's bfscore takes it.

The contour of a mask is its ``surfaces.surface``. A pixel of it is matched if the other contour is nearer than 0.75 %
of the image's diagonal, MATLAB's default; precision is the share of the prediction's contour that is matched, recall
that of the reference's, and the score is their harmonic mean. Lengths are in pixels, whatever their size in mm. Images
are scored one by one, a volume in three dimensions, as bfscore scores such arrays.

MATLAB's MeanBFScore is the mean over classes, the background among them. Its documentation does not say whether the
image's edge is part of a contour. Here it is, as in all scores of surfaces and in the open port minar09/bfscore_python
(its authors report to have checked it against MATLAB), so that the background's contour has the whole frame of the
image, which two masks nearly always share.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.scoring.masks import MaskPair
from benchmark.scoring.surfaces import distances, surface

TOLERANCE = 0.0075
"""Share of the image's diagonal below which contours match."""


def bf(pair: MaskPair) -> float:
    """Boundary F1 of the region's contour: MATLAB's bfscore, within 0.75 % of the image's diagonal."""
    return contour_f1(pair.reference, pair.prediction, pair.shape)


def mean_bf(pair: MaskPair) -> float:
    """Mean boundary F1 of the region and of the rest of the image: MATLAB's MeanBFScore of two classes."""
    whole = [~np.pad(mask, pair.around) for mask in (pair.reference, pair.prediction)]
    return (bf(pair) + contour_f1(whole[0], whole[1], pair.shape)) / 2


def contour_f1(reference: np.ndarray, prediction: np.ndarray, shape: tuple[int, ...]) -> float:
    """Boundary F1 of two masks of an image of ``shape``; 1 if both are empty, 0 if one is."""
    if not (reference.any() and prediction.any()):
        return float(reference.any() == prediction.any())
    first, second = surface(reference), surface(prediction)
    limit, pixels = TOLERANCE * math.hypot(*shape), (1.0,) * len(shape)
    recall, precision = (
        float((distances(*pair, pixels) < limit).mean()) for pair in ((first, second), (second, first))
    )
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
