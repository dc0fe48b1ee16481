"""Hand volumes to ITK, with one thread and its left, posterior, superior axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.data.raw.geometry import Volume

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS+ coordinates to ITK's, which point left, posterior and up, and back."""


def load_itk() -> Any:
    """Import ITK with one thread: with several, sums depend on their number, and some on which comes first."""
    import itk

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    return itk


def to_itk(volume: Volume) -> Any:
    """Return a volume as an image of ITK, of uint8 for booleans and float32 for all others."""
    itk, affine = load_itk(), FLIP @ volume.affine
    kind = np.uint8 if volume.voxels.dtype == bool else np.float32
    image = itk.image_from_array(np.ascontiguousarray(volume.voxels.T, kind))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(affine[:3, :3] / spacing)))
    return image
