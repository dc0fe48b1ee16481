"""Image files (.nii, .nii.gz, .mha, .nrrd) to arrays with an affine, and label maps back to NIfTI files."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.files import replacing
from benchmark.records import InputError

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
"""File endings that can be read."""

MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
"""Millimetres per length unit of a NIfTI header; what is not listed is taken as mm."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# ITK's Python module loads its parts on first use and is not safe to enter from two threads meanwhile.
_ITK_LOCK = threading.Lock()


def ending_of(name: str) -> str | None:
    """Return which of ENDINGS a file name has, or None."""
    return next((ending for ending in ENDINGS if name.endswith(ending)), None)


def split_index(relpath: str) -> tuple[str, int | None]:
    """Split ``"file.nii.gz[2]"`` into the file and the position on its fourth axis; None for a plain file."""
    match = re.fullmatch(r"(.+)\[(\d+)\]", relpath)
    return (match[1], int(match[2])) if match else (relpath, None)


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's voxels as stored (integers stay integers unless the header scales them) and its affine.

    Returns:
        Voxels with axes x, y, z (and a fourth where the file has one), and the 4x4 matrix from voxel indices to
        RAS+ coordinates in mm.

    Raises:
        InputError: for a missing, truncated or corrupt file, an ending that is not in ENDINGS, voxels that are not
            real numbers or not finite, and a matrix that cannot be inverted.
    """
    if ending_of(path.name) is None:
        raise InputError(f"{path}: expected a file ending in {', '.join(ENDINGS)}, found {path.suffix or 'no ending'}.")
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"{path}: expected an image file, found {found}.")
    try:
        voxels, affine = _read_itk(path) if path.suffix in (".mha", ".nrrd") else _read_nifti(path)
    except Exception as error:
        # The readers raise a dozen types of their own for a file that is not what its name says.
        reason = " ".join(str(error).split())[-200:] or type(error).__name__
        raise InputError(f"{path}: expected a whole image file, found a broken one ({reason}).") from error
    if voxels.dtype.kind not in "iuf":
        raise InputError(f"{path}: expected voxels that are real numbers, found type {voxels.dtype}.")
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
        raise InputError(f"{path}: expected finite voxels, found {bad} that are NaN or Inf.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise InputError(f"{path}: expected an affine that can be inverted, found {affine.tolist()}.")
    return voxels, affine


def read_image(folder: Path, relpath: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one 3-D image of a case; ``relpath`` is as in Case.images, ``"file.nii.gz[2]"`` included.

    Returns:
        Voxels as stored, shape (x, y, z), and the RAS+ affine in mm.

    Raises:
        InputError: as read_volume, and where the file has no such volume.
    """
    file, index = split_index(relpath)
    voxels, affine = read_volume(folder / file)
    return pick_image(voxels, index, folder / file), affine


def pick_image(voxels: np.ndarray, index: int | None, path: Path) -> np.ndarray:
    """Return the 3-D image at ``index`` of a 4-D array, or for None the array itself, which must be 3-D.

    Raises:
        InputError: if the array's shape does not allow it; ``path`` is named in the message.
    """
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


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits; InputError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}.") from error


def write_label_map(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    """Write uint8 labels as .nii.gz with qform and sform set; the same input gives the same bytes.

    Raises:
        InputError: if the labels are not uint8, the name does not end in .nii.gz, or the file cannot be written.
    """
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

    content = path.read_bytes()
    if path.suffix == ".gz":
        # The whole stream, not just the voxels nibabel asks for: only its end holds the checksum.
        content = gzip.decompress(content)
    second = content[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
    image: Any = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(content)
    voxels = np.asanyarray(image.dataobj)
    scale = MM_PER_UNIT.get(image.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([scale, scale, scale, 1.0]) @ image.affine
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False), affine


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a MetaImage or NRRD file through ITK; its LPS space becomes RAS+, its z, y, x array x, y, z."""
    with _ITK_LOCK:
        import itk

        image = itk.imread(str(path))
        voxels = itk.array_from_image(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        # Components come last; they become the fourth axis, as in a 4-D NIfTI file.
        voxels = np.moveaxis(voxels, -1, 0)
    size = image.GetImageDimension()
    affine = np.eye(4)
    spacing, origin = np.asarray(image.GetSpacing()), np.asarray(image.GetOrigin())
    direction = itk.array_from_matrix(image.GetDirection())
    used = min(size, 3)
    affine[:used, :used] = (direction @ np.diag(spacing))[:used, :used]
    affine[:used, 3] = origin[:used]
    return voxels.transpose(), _LPS_TO_RAS @ affine
