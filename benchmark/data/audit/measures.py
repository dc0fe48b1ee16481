"""Measure the arrays of one case: digests, extents, rectangles, intensities and thumbnails."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

THUMBNAIL = 32
"""Rows and columns of a thumbnail."""

SMALLEST_SIDE = 4
"""Pixels of the shorter side from which a filled bounding box counts as drawn with a box tool, not as a small spot."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    ``severity`` is "error" (scores are wrong), "warning" (they may be), "note", "clean", or "not checked"; ``count``
    of ``total`` are concerned, and up to five of them are in ``examples``. ``where`` names the split, set, region or
    axis that the check looked at, where there are several.
    """

    check: str
    severity: str
    count: int
    total: int
    examples: tuple[str, ...]
    sentence: str
    where: str = ""


@dataclass(frozen=True)
class Intensity:
    """Stored values of one image: extremes, 99.9th percentile of what is not zero, share of that at the maximum, and
    the largest value that its integer type holds (0 for floats)."""

    lowest: float
    highest: float
    high: float
    at_highest: float
    limit: int


@dataclass(frozen=True)
class CaseFacts:
    """One case, measured on its canonical (RAS) grid; slices are those of the third axis.

    ``digests`` maps a modality to one digest per slice, None where the slice is constant. ``lacks`` maps a modality to
    what ``lacking`` finds. ``masked`` and ``boxes`` mark slices with a label, and with nothing but rectangles.
    ``patient_known`` is false where nothing says whose the case is, and ``patient_id`` is its own id.
    ``with_next`` is the correlation of each slice's thumbnail with the next one's, 0 for the last; it and the
    ``thumbnails`` themselves (slices, numbers) are absent where they were not asked for. ``full`` names the modalities
    without a voxel that is exactly 0, ``turned`` the pictures that an EXIF tag turns or mirrors.
    """

    case_id: str
    patient_id: str
    orientation: str
    digests: dict[str, list[bytes | None]]
    intensities: dict[str, Intensity]
    lacks: dict[str, tuple[float, tuple[int, ...]]]
    masked: np.ndarray
    boxes: np.ndarray
    mask_digest: bytes | None = None
    patient_known: bool = True
    with_next: np.ndarray | None = None
    thumbnails: np.ndarray | None = field(default=None, repr=False)
    full: tuple[str, ...] = ()
    turned: tuple[str, ...] = ()

    @property
    def pictures(self) -> list[bytes | None]:
        """One digest per slice over all modalities; None where all of them are constant."""
        slices = zip(*self.digests.values(), strict=True)
        return [b"".join(part or b"-" for part in parts) if any(parts) else None for parts in slices]


def slice_digests(volume: np.ndarray) -> list[bytes | None]:
    """Digest the values of each slice of (x, y, z), whatever their type is; None where a slice is constant."""
    found: list[bytes | None] = []
    for plane in np.moveaxis(volume, 2, 0):
        first = plane.flat[0]
        # The type is no part of a picture: uint8 and int16 copies are the same picture.
        values = np.ascontiguousarray(plane, dtype=np.float32)
        found.append(None if (plane == first).all() else hashlib.blake2b(values.tobytes(), digest_size=16).digest())
    return found


def mask_digest(labels: np.ndarray) -> bytes | None:
    """Digest where a label map is not zero, so that renumbered labels are the same; None for fewer than 50 voxels."""
    mask = labels > 0
    if np.count_nonzero(mask) < 50:
        return None
    return hashlib.blake2b(str(mask.shape).encode() + np.packbits(mask).tobytes(), digest_size=16).digest()


def rectangles(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mark the slices of (x, y, z) that hold a label, and those whose every connected part fills its bounding box.

    A slice counts as boxed only if one of its parts is at least SMALLEST_SIDE pixels wide and high.
    """
    mask = labels > 0
    masked = np.asarray(mask.any(axis=(0, 1)))
    boxed = np.zeros_like(masked)
    for z in np.flatnonzero(masked):
        parts, _ = ndimage.label(mask[:, :, z])
        boxes = ndimage.find_objects(parts)
        filled = all(mask[:, :, z][box].all() for box in boxes)
        large = any(min(side.stop - side.start for side in box) >= SMALLEST_SIDE for box in boxes)
        boxed[z] = filled and large
    return masked, boxed


def lacking(images: Mapping[str, np.ndarray], high: Mapping[str, float]) -> dict[str, tuple[float, tuple[int, ...]]]:
    """Find where a modality is zero though all others show tissue, which is above a tenth of their ``high`` value.

    Returns:
        For each modality the share of such tissue that it lacks, and the planes along each axis that it lacks wholly,
        of those in which tissue is 1 % or more. Nothing where there is one modality only.
    """
    found = {}
    tissue = {modality: volume > 0.1 * high[modality] for modality, volume in images.items()}
    for modality, volume in images.items():
        own = volume != 0
        others = [mask for other, mask in tissue.items() if other != modality]
        if not others:
            continue
        common = np.logical_and.reduce(others)
        seen, lost = int(np.count_nonzero(common)), int(np.count_nonzero(common & ~own))
        planes = []
        for axis in range(3):
            rest = tuple(other for other in range(3) if other != axis)
            planes.append(int(np.count_nonzero((common.mean(rest) >= 0.01) & ~own.any(rest))))
        found[modality] = (lost / max(1, seen), tuple(planes))
    return found


def intensity(volume: np.ndarray) -> Intensity:
    """Measure the stored values of one image, which must not be zero all over."""
    values = volume[volume != 0]
    lowest, highest = float(values.min()), float(values.max())
    limit = int(np.iinfo(volume.dtype).max) if volume.dtype.kind in "iu" else 0
    high = float(np.percentile(values, 99.9))
    return Intensity(lowest, highest, high, np.count_nonzero(values == highest) / values.size, limit)


def thumbnails(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Average each slice of the modalities (x, y, z) over THUMBNAIL x THUMBNAIL blocks, to mean 0 and norm 1.

    Returns:
        float32 of shape (slices, modalities * THUMBNAIL**2); the product of two rows is their Pearson correlation.
        A constant slice is all zero.
    """
    small = np.stack([_blocks(_blocks(volume.astype(np.float32), 0), 1) for volume in images.values()])
    rows = small.transpose(3, 0, 1, 2).reshape(small.shape[3], -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 1e-6))


def robust_z(values: np.ndarray) -> np.ndarray:
    """Distance from the median in units of the median absolute deviation, scaled to a normal's SD (Iglewicz, Hoaglin).

    Where more than half of the values are equal, all are 0.
    """
    away = values - np.median(values)
    spread = np.median(np.abs(away))
    return 0.6745 * away / spread if spread > 0 else np.zeros(len(values))


def slice_dice(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Dice of two label maps (x, y, z), any label against none, for each slice that is labelled in one of them."""
    planes = zip(np.moveaxis(first > 0, 2, 0), np.moveaxis(second > 0, 2, 0), strict=True)
    counts = [(np.count_nonzero(one & two), np.count_nonzero(one) + np.count_nonzero(two)) for one, two in planes]
    return [2 * both / size for both, size in counts if size]


def _blocks(volume: np.ndarray, axis: int) -> np.ndarray:
    """Average along an axis over THUMBNAIL blocks as equal as can be; a shorter axis keeps its length."""
    size = volume.shape[axis]
    edges = np.unique(np.linspace(0, size, THUMBNAIL, endpoint=False).astype(int))
    lengths = np.diff([*edges, size]).reshape([-1 if i == axis else 1 for i in range(volume.ndim)])
    return np.add.reduceat(volume, edges, axis=axis) / lengths
