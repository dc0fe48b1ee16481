"""Read pictures (.tif, .png, .jpg), one or a numbered stack, as volumes of column, row and slice."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.base.files import entries
from benchmark.base.records import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""File endings of pictures, in small or capital letters."""

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Column, row and slice to RAS+ axes: a picture's left is the patient's right and its top is the front, as radiologists
show slices, and numbers rise towards the head. A pixel is one unit: pictures do not say their size in mm."""

LARGEST_RATIO = 10_000
"""Most values of a picture per byte of its file: ten times what compression of a blank picture reaches."""

SIDEWAYS = range(5, 9)
"""Values of the EXIF tag of orientation that swap width and height."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Share of red, green and blue in a grey value (ITU-R BT.601); a grey picture stored in colour keeps its values."""


def is_picture(path: Path) -> bool:
    """Say whether a file name, or a stack's ``name_*.tif``, is that of pictures."""
    return path.suffix.lower() in ENDINGS


def files_of(path: Path) -> list[Path]:
    """Return the files that a path stands for: ``folder/name_*.tif`` for those with a number in place of ``*``.

    The numbers count as numbers: 1, 2, …, 10. Any other path stands for itself, whether it exists or not.
    InputError if there is no such file, two have one number, or a number between the first and last is missing.
    """
    if "*" not in path.name:
        return [path]
    before, after = path.name.split("*", 1)
    ending = path.suffix if after.endswith(path.suffix) else ""
    # Some tools write endings in capitals, and not of every file.
    pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after.removesuffix(ending))}(?i:{re.escape(ending)})")
    names = entries(path.parent)[0] if path.parent.is_dir() else []
    found = sorted((int(match[1]), match[0]) for match in map(pattern.fullmatch, names) if match)
    if not found:
        raise InputError(f"{path}: expected pictures with a number in place of *, found none.")
    for (number, name), (following, other) in itertools.pairwise(found):
        if number == following:
            raise InputError(f"{path.with_name(name)}: expected one picture of number {number}, found also {other}.")
        if following > number + 1:
            expected = f"every picture from number {found[0][0]} to {found[-1][0]}"
            lacking = path.with_name(f"{before}{number + 1}{after}")
            raise InputError(f"{lacking}: expected {expected}, found none of number {number + 1}.")
    return [path.with_name(name) for _, name in found]


def read_pictures(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a picture or a stack of them: values as stored, with axes column, row, slice and, where pictures are in
    colour, channel; and ``AFFINE``.
    InputError as files_of, and for a file that is missing, broken, or of another size or kind than the first one.
    """
    files = files_of(path)
    pages = [_read(file) for file in files]
    for file, page in zip(files, pages, strict=True):
        if page.shape != pages[0].shape or page.dtype != pages[0].dtype:
            expected = f"{_described(pages[0])} as in {files[0].name}"
            raise InputError(f"{file}: expected a picture of {expected}, found {_described(page)}.")
    return np.stack(pages, axis=2), AFFINE.copy()


def pick_channel(voxels: np.ndarray, index: int | None, path: Path) -> np.ndarray:
    """Return one channel of what ``read_pictures`` read, shape (x, y, z), if it has it; for None its grey values."""
    if index is None:
        return voxels if voxels.ndim == 3 else np.rint(voxels @ np.array(LUMINANCE)).astype(voxels.dtype)
    channels = voxels.shape[3] if voxels.ndim == 4 else 1
    if index >= channels:
        raise InputError(f"{path}: expected pictures with at least {index + 1} channels, found {channels}.")
    return voxels[..., index] if voxels.ndim == 4 else voxels


def shrink(image: np.ndarray, k: int, majority: bool, path: Path) -> np.ndarray:
    """Make one pixel of each block of k x k of an image (x, y, z): its mean in float32, or its most frequent value, the
    lowest of several. InputError, which names ``path``, if k does not divide the picture's size."""
    x, y, z = image.shape
    if x % k or y % k:
        raise InputError(f"{path}: expected a size that {k} divides, to average {k}x{k} pixels, found {x} x {y}.")
    blocks = image.reshape(x // k, k, y // k, k, z)
    if not majority:
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
    values = np.unique(image)
    counts = np.stack([np.count_nonzero(blocks == value, axis=(1, 3)) for value in values])
    return np.asarray(values[counts.argmax(axis=0)])


def size_of(file: Path) -> tuple[int, int]:
    """Return a picture's width and height in pixels as it is seen, from its header; InputError if it is none."""
    with _opened(file) as picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) in SIDEWAYS else (width, height)


def is_turned(file: Path) -> bool:
    """Say whether a picture's EXIF tag turns or mirrors what is stored; it is read as it is seen."""
    with _opened(file) as picture:
        return _orientation(picture) != 1


def _orientation(picture: Image) -> int:
    found = picture.getexif().get(274, 1)
    return found if found in range(2, 9) else 1


@contextmanager
def whole(file: Path) -> Iterator[None]:
    """Raise InputError where there is no file, or a library that reads it in the block finds it broken."""
    if not file.is_file():
        raise InputError(f"{file}: expected an image file, found {'a folder' if file.is_dir() else 'nothing'}.")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # The readers raise a dozen types of their own for a file that is not what its name says.
        reason = " ".join(str(error).split())[-200:] or type(error).__name__
        raise InputError(f"{file}: expected a whole image file, found a broken one ({reason}).") from error


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """Open a picture; whatever is wrong with it, and comes up in the block, is an InputError."""
    from PIL import Image as pillow

    with whole(file), pillow.open(file) as picture:
        claimed = math.prod(picture.size) * len(picture.getbands())
        if claimed > LARGEST_RATIO * file.stat().st_size:
            raise ValueError(f"{file.stat().st_size} bytes for {picture.size[0]} x {picture.size[1]} pixels")
        if picture.format == "TIFF" and _orientation(picture) in SIDEWAYS:
            # Pillow mixes up the pixels of some of these.
            raise InputError(f"{file}: expected an upright TIFF picture, found one turned sideways by its EXIF tag.")
        yield picture


def _read(file: Path) -> np.ndarray:
    """Read one picture, as it is seen, as (column, row) or (column, row, channel)."""
    from PIL import ImageOps

    with _opened(file) as picture:
        frames = getattr(picture, "n_frames", 1)
        upright = ImageOps.exif_transpose(picture)
        # A palette's numbers and a bilevel picture's bits are no brightness.
        grey = upright.convert("RGB" if upright.mode == "P" else "L") if upright.mode in ("P", "1") else upright
        page, bands = np.asarray(grey), grey.getbands()
    if frames != 1 or len(bands) not in (1, 3) or (len(bands) == 3 and bands != ("R", "G", "B")):
        raise InputError(f"{file}: expected one grey or RGB picture, found {frames} of {''.join(bands)}.")
    return np.swapaxes(page, 0, 1)


def _described(page: np.ndarray) -> str:
    channels = page.shape[2] if page.ndim == 3 else 1
    return f"{page.shape[0]} x {page.shape[1]} pixels, {channels} of {page.dtype} each,"
