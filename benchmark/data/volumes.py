"""Read the image files that a case's paths name as arrays with an affine, and write label maps as NIfTI files."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from benchmark.base.files import kept, read_exactly, replacing
from benchmark.base.records import InputError
from benchmark.data import outlines, pictures
from benchmark.data.itk_volumes import read_itk

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
"""File endings of volumes; pictures have theirs in ``pictures.ENDINGS``."""

MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
"""Millimetres per length unit of a NIfTI header; what is not listed is taken as mm."""

SPACING_TOLERANCE = 1e-3
"""Largest relative difference of two voxel sizes in one header that counts as rounding."""


def ending_of(name: str) -> str | None:
    """Return a file name's ending as it is written, in small or capital letters, if it is one of ENDINGS, else None."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
    return name[-len(ending) :] if ending else None


def stem_of(name: str) -> str:
    """Return a volume's file name without its ending; any other name as it is."""
    return name.removesuffix(ending_of(name) or "")


@dataclass(frozen=True)
class ImagePath:
    """What one path of a case names; ``str`` gives the path back.

    ===============================  =========================================================================
    ``a.nii.gz``                     the volume in that file
    ``a.nii.gz[2]``                  the one at this position (from 0) of its fourth axis
    ``a.jpg``, ``a_*.tif``           the grey values of a picture; of the pictures with a number in place of ``*``
    ``a_*.tif[1]``                   channel 1 (from 0: red, green, blue) of these
    ``a.json[7]``                    label 1 inside the polygons of image id 7 of a COCO annotation file
    ``a.json[7:640x480]``            label 1 inside outline 7 of a JSON file of outlines, on a picture of that size
    ``…(2x2)``                       any of them averaged over blocks of 2x2 pixels in the plane of slices
    ``…(2x2 majority)``              the same for label values: the most frequent one of a block
    ===============================  =========================================================================
    """

    file: str
    index: int | None = None
    size: tuple[int, int] | None = None
    shrink: int = 1
    majority: bool = False

    def __str__(self) -> str:
        size = f":{self.size[0]}x{self.size[1]}" if self.size else ""
        index = "" if self.index is None else f"[{self.index}{size}]"
        rule = " majority" if self.majority else ""
        return self.file + index + (f"({self.shrink}x{self.shrink}{rule})" if self.shrink > 1 else "")


_PATH = re.compile(
    r"(?P<file>.+?)(\[(?P<index>\d+)(:(?P<w>\d+)x(?P<h>\d+))?\])?(\((?P<k>\d+)x(?P=k)(?P<majority> majority)?\))?"
)


def parse_path(path: str) -> ImagePath:
    """Read a path of ``Case.images`` or ``Case.label`` by the grammar of ``ImagePath``."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise InputError(f"{path!r}: expected the path of an image, found none.")
    index, size = match["index"], (int(match["w"]), int(match["h"])) if match["w"] else None
    majority = match["majority"] is not None
    return ImagePath(match["file"], int(index) if index else None, size, int(match["k"] or 1), majority)


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's voxels as stored (integers stay integers unless the header scales them) and its affine.

    Pictures, and stacks of them, are read as ``pictures.read_pictures`` says.

    Returns:
        Voxels with axes x, y, z (and a fourth where the file has one), and the 4x4 matrix from voxel indices to
        RAS+ coordinates in mm.

    InputError for a missing, truncated or corrupt file, one that goes on after its last voxel, a header with two voxel
    sizes, an ending that is not in ENDINGS, voxels that are not real numbers or not finite, and a matrix that cannot be
    inverted.
    """
    if pictures.is_picture(path):
        return pictures.read_pictures(path)
    if ending_of(path.name) is None:
        raise InputError(f"{path}: expected a file ending in {', '.join(ENDINGS)}, found {path.suffix or 'no ending'}.")
    with pictures.whole(path):
        voxels, affine = read_itk(path) if path.suffix.lower() in (".mha", ".nrrd") else _read_nifti(path)
    if voxels.dtype.kind not in "iuf":
        raise InputError(f"{path}: expected voxels that are real numbers, found type {voxels.dtype}.")
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
        raise InputError(f"{path}: expected finite voxels, found {bad} that are NaN or Inf.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise InputError(f"{path}: expected an affine that can be inverted, found {affine.tolist()}.")
    return voxels, affine


def read_image(folder: Path, relpath: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one 3-D image of a case, named in the grammar of ``ImagePath``: voxels as stored (float32 where averaged) of
    shape (x, y, z), and the RAS+ affine in mm. InputError as read_volume, and where the file has no such image."""
    return read_images(folder, [relpath])[0]


def read_images(folder: Path, relpaths: Iterable[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read several images of a case as ``read_image`` does, a file that holds some of them only once."""
    stored: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    images = []
    for part in map(parse_path, relpaths):
        path = folder / part.file
        if path.suffix.lower() == ".json":
            image, affine = outlines.read_label_map(path, part.index, part.size), pictures.AFFINE
        else:
            if part.file not in stored:
                stored[part.file] = read_volume(path)
            voxels, affine = stored[part.file]
            pick = pictures.pick_channel if pictures.is_picture(path) else pick_image
            image = pick(voxels, part.index, path)
        if (k := part.shrink) > 1:
            image = pictures.shrink(image, k, part.majority, path)
            affine = affine @ np.array([[k, 0, 0, (k - 1) / 2], [0, k, 0, (k - 1) / 2], [0, 0, 1, 0], [0, 0, 0, 1]])
        images.append((image, affine))
    return images


def pick_image(voxels: np.ndarray, index: int | None, path: Path) -> np.ndarray:
    """Return the 3-D image at ``index`` of a 4-D array, or for None the array itself, which must be 3-D; InputError,
    which names ``path``, where the array's shape does not allow it."""
    if index is None:
        image = voxels[..., 0] if voxels.ndim == 4 and voxels.shape[3] == 1 else voxels
        if image.ndim != 3:
            raise InputError(f"{path}: expected a 3-D image, found shape {voxels.shape}.")
        return image
    if voxels.ndim != 4 or index >= voxels.shape[3]:
        raise InputError(f"{path}: expected a 4-D image with at least {index + 1} volumes, found shape {voxels.shape}.")
    return voxels[..., index]


def spacing_of(affine: np.ndarray) -> tuple[float, ...]:
    """Return the voxel size in mm along each array axis, rounded to 1e-6 mm."""
    return tuple(round(float(size), 6) for size in np.linalg.norm(affine[:3, :3], axis=0))


def canonical(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn and flip a volume's axes to the nearest RAS orientation."""
    import nibabel

    turn = nibabel.orientations.io_orientation(affine)
    return np.asarray(nibabel.orientations.apply_orientation(volume, turn))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits; InputError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}.") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a case's file, as in Case.sha256.

    For a numbered stack, ``a_*.tif``, it is that of what ``sha256sum`` prints for its files in the order of numbers.
    InputError as sha256_file and pictures.files_of.
    """
    if "*" in path.name:
        lines = [f"{sha256_file(file)}  {file.name}\n" for file in pictures.files_of(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    if path.suffix.lower() == ".json" and path.is_file():
        # Hundreds of cases share one file of outlines.
        return _sha256_of_many(path)
    return sha256_file(path)


_sha256_of_many = kept(sha256_file)


def write_label_map(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    """Write uint8 labels as .nii.gz with qform and sform set; the same input gives the same bytes. InputError for other
    labels or another ending, and if the file cannot be written."""
    import nibabel

    if labels.dtype != np.uint8:
        raise InputError(f"{path}: expected labels of type uint8, found {labels.dtype}.")
    if not path.name.endswith(".nii.gz"):
        raise InputError(f"{path}: expected a label map's name to end in .nii.gz, found {path.name}.")
    image: Any = nibabel.Nifti1Image(labels, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    buffer = io.BytesIO()
    # No name and no time in the gzip header, so that equal labels are equal bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as stream:
        stream.write(image.to_bytes())
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI-1 or NIfTI-2 file through nibabel."""
    import nibabel

    # The stubs' GzipFile is no IO[bytes].
    with cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        block = stream.read(540)
        second = block[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
        kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        header = kind.header_class(block if second else block[:348])
        size = header.get_data_offset() + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
        # To the end of the stream, which holds the checksum of a compressed file.
        image: Any = kind.from_bytes(block + read_exactly(stream, size - len(block)))
    voxels = np.asanyarray(image.dataobj)
    _check_spacing(path, image)
    scale = MM_PER_UNIT.get(image.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([scale, scale, scale, 1.0]) @ image.affine
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False), affine


def _check_spacing(path: Path, image: Any) -> None:
    """Raise InputError where a NIfTI header gives two voxel sizes: readers differ in which of them they take."""
    used = min(len(image.shape), 3)
    by_affine, by_pixdim = np.linalg.norm(image.affine[:3, :3], axis=0)[:used], image.header["pixdim"][1 : used + 1]
    if not np.allclose(by_affine, np.abs(by_pixdim), rtol=SPACING_TOLERANCE, atol=0):
        form = "sform" if image.header["sform_code"] else "qform"
        first, second = (" x ".join(f"{float(size):.6g}" for size in found) for found in (by_affine, by_pixdim))
        raise InputError(f"{path}: expected one voxel size in the header, found {first} by {form}, {second} by pixdim.")
