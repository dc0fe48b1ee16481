"""Write and read a case's probabilities per region as one NIfTI file of 8-bit codes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.base.files import replacing
from benchmark.base.records import InputError
from benchmark.data import pictures

FOLDER = "probabilities"
"""Where a run folder has them, one ``<case>.nii.gz`` per test case."""

MOST = 255
"""Code of probability 1; a code is a probability times this, rounded, and no further than 1/510 from it."""

CUT = 128
"""Least code of a probability above one half; 127 is that of one half itself, which no label map counts as tumour."""

COMPRESSION = 1
"""gzip's fastest level: at higher ones a file is a tenth smaller and takes several times as long to write."""


def write_probabilities(path: Path, codes: np.ndarray, affine: np.ndarray, regions: Sequence[str]) -> None:
    """Write uint8 codes (x, y, z, regions) as .nii.gz; readers that scale by the header get probabilities.

    The same input gives the same bytes. ``regions`` are named in the header's description.

    Raises:
        InputError: if the file cannot be written.
    """
    import nibabel

    image: Any = nibabel.Nifti1Image(codes, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1 / MOST, 0)
    image.header["descrip"] = f"probability of {', '.join(regions)}".encode()[:79]
    buffer = io.BytesIO()
    # No name and no time in the gzip header, so that equal codes are equal bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=buffer, mtime=0) as stream:
        stream.write(image.to_bytes())
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_probabilities(path: Path) -> np.ndarray:
    """Read the uint8 codes (x, y, z, regions) of a file that ``write_probabilities`` wrote.

    Raises:
        InputError: if the file is missing, broken or holds something else.
    """
    import nibabel

    with pictures.whole(path):
        image: Any = nibabel.load(path)
        codes: np.ndarray = np.asanyarray(image.dataobj.get_unscaled())
    if codes.dtype != np.uint8 or codes.ndim != 4:
        raise InputError(f"{path}: expected uint8 codes with 4 axes, found {codes.dtype} with {codes.ndim}.")
    return codes
