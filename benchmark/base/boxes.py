"""Find the smallest box around what is not zero in an array."""

from __future__ import annotations

import numpy as np


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
