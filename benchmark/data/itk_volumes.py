"""Read MetaImage (.mha) and NRRD files through ITK, which some broken headers crash: it gets plain ones only."""

from __future__ import annotations

import re
import threading
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from benchmark.base.files import read_exactly

# ITK's Python module loads its parts on first use and is not safe to enter from two threads meanwhile.
_ITK_LOCK = threading.Lock()

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

SIZE = r"[1-9]\d{0,8}"
NUMBER = r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:e[-+]?\d{1,2})?"

NEEDED = {
    ".mha": ("NDims", "DimSize", "ElementType", "ElementDataFile"),
    ".nrrd": ("dimension", "sizes", "type", "encoding"),
}
"""Fields that a header must have; the first one is the number of axes."""


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's voxels, x first and components last, and its matrix from voxel indices to RAS+ in mm.

    Raises:
        ValueError: with the reason, for a header with unusual entries, and voxels that do not end where the file does.
        RuntimeError: for what ITK refuses.
    """
    with path.open("rb") as stream, _ITK_LOCK:
        packed = _check_header(stream, path.suffix.lower())
        import itk

        # Chosen here, as ITK does not know an ending in capitals.
        reader = itk.MetaImageIO.New() if path.suffix.lower() == ".mha" else itk.NrrdImageIO.New()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        (_check_packed if packed else read_exactly)(stream, int(reader.GetImageSizeInBytes()))
        name, several = reader.GetComponentTypeAsString(reader.GetComponentType()), reader.GetNumberOfComponents() > 1
        kind = "f" if name in ("float", "double") else "u" if name.startswith("unsigned") else "i"
        stored = np.dtype(f"{kind}{reader.GetComponentSize()}")
        # What ITK's Python module has also in vectors; a double holds all other numbers below 2^53 as they are.
        number = {"u1": itk.UC, "i2": itk.SS, "u2": itk.US, "f4": itk.F}.get(stored.str[1:], itk.D)
        image_type = (itk.VectorImage if several else itk.Image)[number, reader.GetNumberOfDimensions()]
        source = itk.ImageFileReader[image_type].New(FileName=str(path), ImageIO=reader)
        source.Update()
        image = source.GetOutput()
        voxels = itk.array_from_image(image)
    if kind != "f" and np.abs(voxels).max() >= 2**53:
        raise ValueError("it holds integers beyond 2^53")
    voxels = voxels.astype(stored, copy=False)
    if several:
        # Components come last; they become the fourth axis, as in a 4-D NIfTI file.
        voxels = np.moveaxis(voxels, -1, 0)
    affine = np.eye(4)
    steps = itk.array_from_matrix(image.GetDirection()) @ np.diag(np.asarray(image.GetSpacing()))
    used = min(len(steps), 3)
    affine[:used, :used] = steps[:used, :used]
    affine[:used, 3] = np.asarray(image.GetOrigin())[:used]
    return voxels.transpose(), _LPS_TO_RAS @ affine


def _check_header(stream: IO[bytes], ending: str) -> bool:
    """Read a header to its end, and say whether the voxels are compressed; ValueError for one that ITK may crash on."""
    fields = _fields(stream, ending)
    if "datafile" in fields or fields.get("ElementDataFile", "LOCAL").upper() != "LOCAL":
        raise ValueError("its voxels are in another file")
    if lacking := [name for name in NEEDED[ending] if name not in fields]:
        raise ValueError(f"its header lacks {lacking[0]}")
    axes, space = fields[NEEDED[ending][0]], fields.get("spacedimension", "3")
    # Any other number of axes does not fit its own pattern.
    patterns = _patterns(*(int(number) if number in set("12345") else 1 for number in (axes, space)))
    for name, value in fields.items():
        if name in patterns and not re.fullmatch(patterns[name], value, re.IGNORECASE):
            raise ValueError(f"its header gives {name} as {value[:50]!r}, which is not read for {axes[:9]} axes")
    return fields.get("CompressedData", "").lower() == "true" or fields.get("encoding", "raw").lower() != "raw"


def _fields(stream: IO[bytes], ending: str) -> dict[str, str]:
    """Read the fields of a header; those of NRRD have names in any spelling, here small letters without blanks."""
    fields: dict[str, str] = {}
    meta = ending == ".mha"
    if not meta and not re.fullmatch("NRRD000[1-5]", _line(stream)):
        raise ValueError("it does not begin as NRRD")
    while "ElementDataFile" not in fields and (line := _line(stream)):
        if not meta and (line.startswith("#") or ":=" in line):
            continue
        name, _, value = (part.strip() for part in line.partition("=" if meta else ":"))
        name = name if meta else name.replace(" ", "").lower()
        # ITK copies what a NIfTI header said into a MetaImage one, such as "dim[0] = 3" and "descrip = ".
        if not (meta or value) or not re.fullmatch(r"[\w\[\]. -]{1,50}" if meta else r"\w{1,50}", name, re.ASCII):
            raise ValueError(f"its header has a line that begins with {line[:50]!r}")
        if name in fields:
            raise ValueError(f"its header gives {name} twice")
        fields[name] = value
    return fields


def _line(stream: IO[bytes]) -> str:
    line = stream.readline(2000).decode("latin-1")
    if not line.endswith("\n") or not line.strip().replace("\t", " ").isprintable():
        raise ValueError("its header is not of lines of text")
    return line.strip()


def _patterns(axes: int, space: int) -> dict[str, str]:
    """What a field of MetaImage (in capitals) or NRRD may be; those that are not here may be anything."""
    numbers, vector = _many(NUMBER, axes), r"\(\s*" + _many(NUMBER, space, r"\s*,\s*") + r"\s*\)"
    integer = r"(?:(?:un)?signed )?(?:char|(?:short|long long)(?: int)?|int)|u?(?:char|short|int|longlong)"
    return {
        **dict.fromkeys(("NDims", "dimension", "spacedimension"), "[1-5]"),
        **dict.fromkeys(("DimSize", "sizes"), _many(SIZE, axes)),
        "ElementType": r"met_(?:u?(?:char|short|int|long|long_long)|float|double)(?:_array)?",
        "ElementNumberOfChannels": r"[1-9]\d{0,3}",
        **dict.fromkeys(("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation"), numbers),
        **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), _many(NUMBER, axes * axes)),
        **dict.fromkeys(("CompressedData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB"), "true|false"),
        "BinaryData": "true",
        "CompressedDataSize": r"\d{1,15}",
        **dict.fromkeys(("HeaderSize", "lineskip", "byteskip"), "0"),
        "type": rf"{integer}|u?int(?:8|16|32|64)(?:_t)?|float|double",
        "encoding": "raw|gzip|gz",
        "endian": "little|big",
        "space": "left-posterior-superior|lps|right-anterior-superior|ras|left-anterior-superior|las",
        "spacedirections": _many(f"none|{vector}", axes),
        "spaceorigin": vector,
        "measurementframe": _many(vector, space),
        **dict.fromkeys(("spacings", "thicknesses", "axismins", "axismaxs"), _many(f"nan|{NUMBER}", axes)),
        **dict.fromkeys(("kinds", "centers", "centerings"), _many(r"[\w?-]+", axes)),
    }


def _many(pattern: str, count: int, between: str = r"\s+") -> str:
    return rf"(?:{pattern})(?:{between}(?:{pattern})){{{count - 1}}}"


def _check_packed(stream: IO[bytes], size: int) -> None:
    """Raise ValueError unless a stream unpacks to ``size`` bytes and ends there."""
    unpacking, found = zlib.decompressobj(47), 0
    # Small pieces, as each may unpack to a thousand times its size.
    while not unpacking.eof and found <= size and (piece := stream.read(1 << 16)):
        found += len(unpacking.decompress(piece))
    if found != size or not unpacking.eof or unpacking.unused_data or stream.read(1):
        raise ValueError("it does not hold as many voxels as its header says")
