"""Read MetaImage (.mha) and NRRD files: a header of text lines, then the voxels.

Not by ITK, which ends the whole process on some broken headers and takes the memory that a header only claims.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from benchmark.base.files import read_exactly

META_TYPES = {
    **{"met_char": "i1", "met_uchar": "u1", "met_short": "i2", "met_ushort": "u2", "met_int": "i4", "met_uint": "u4"},
    **{"met_long": "i4", "met_ulong": "u4", "met_long_long": "i8", "met_ulong_long": "u8"},
    **{"met_float": "f4", "met_double": "f8"},
}
"""numpy's name of each ElementType of MetaImage, whose long has four bytes."""

NRRD_TYPES = {
    name: code
    for code, names in {
        "i1": "signed char,int8,int8_t",
        "u1": "uchar,unsigned char,uint8,uint8_t",
        "i2": "short,short int,signed short,signed short int,int16,int16_t",
        "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
        "i4": "int,signed int,int32,int32_t",
        "u4": "uint,unsigned int,uint32,uint32_t",
        "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
        "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(",")
}
"""numpy's name of each type of NRRD."""

SPACES = {
    **{"left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1), "right-anterior-superior": (1, 1, 1)},
    **{"ras": (1, 1, 1), "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1)},
}
"""Signs that turn the axes of a space to RAS+; MetaImage and what names no space is LPS."""


def read_text_header(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's voxels, x first and components last, and its matrix from voxel indices to RAS+ in mm.

    Raises:
        ValueError: with the reason, for anything else than one image whose voxels follow its header.
    """
    try:
        with path.open("rb") as stream:
            return _read_meta(stream) if path.suffix.lower() == ".mha" else _read_nrrd(stream)
    except KeyError as error:
        raise ValueError(f"its header lacks {error} or gives it as a value that is not known") from error


def _read_meta(stream: IO[bytes]) -> tuple[np.ndarray, np.ndarray]:
    fields = _lines(stream, "=", "elementdatafile")
    count, sizes = int(fields["ndims"]), _numbers(fields["dimsize"])
    if fields["elementdatafile"].lower() != "local" or int(fields.get("headersize", "0")) > 0:
        raise ValueError("its voxels are in another file")
    if fields.get("binarydata", "true").lower() != "true":
        raise ValueError("its voxels are written as text, which is not read")
    large = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "false")).lower() == "true"
    kind = np.dtype((">" if large else "<") + META_TYPES[fields["elementtype"].lower().removesuffix("_array")])
    components = int(fields.get("elementnumberofchannels", "1"))
    packed = fields.get("compresseddata", "false").lower() == "true"
    voxels = _voxels(stream, [components, *_shape(sizes, count)], kind, packed)
    # A row of the matrix is the direction of an axis.
    turn = next((fields[key] for key in ("transformmatrix", "rotation", "orientation") if key in fields), None)
    axes = np.eye(count) if turn is None else np.reshape(_numbers(turn), (count, count))
    steps = _numbers(fields.get("elementspacing", fields.get("elementsize", "1 " * count)))
    start = next((fields[key] for key in ("offset", "position", "origin") if key in fields), "0 " * count)
    affine = _affine([axis * step for axis, step in zip(axes, steps, strict=True)], _numbers(start), "lps")
    return np.moveaxis(voxels, 0, -1) if components > 1 else voxels[0], affine


def _read_nrrd(stream: IO[bytes]) -> tuple[np.ndarray, np.ndarray]:
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n", stream.readline(16)):
        raise ValueError("it does not begin as NRRD")
    fields = _lines(stream, ":", None)
    encoding = fields["encoding"].lower()
    if fields.keys() & {"data file", "datafile"}:
        raise ValueError("its voxels are in another file")
    if encoding not in ("raw", "gzip", "gz") or fields.keys() & {"line skip", "lineskip", "byte skip", "byteskip"}:
        raise ValueError(f"its voxels are stored in a way that is not read ({encoding})")
    count = int(fields["dimension"])
    sizes = _shape(_numbers(fields["sizes"]), count)
    kind = np.dtype(
        (">" if fields.get("endian", "little").lower() == "big" else "<") + NRRD_TYPES[fields["type"].lower()]
    )
    voxels = _voxels(stream, sizes, kind, encoding != "raw")
    vectors = re.findall(r"none|\([^()]*\)", fields.get("space directions", ""))
    steps = fields.get("spacings", "1 " * count).lower().split()
    axes = [None if vector == "none" else np.array(_numbers(vector.strip("()"), ",")) for vector in vectors]
    if not vectors:
        kinds = fields.get("kinds", "domain " * count).lower().split()
        plain = [kind in ("domain", "space", "???") and step != "nan" for kind, step in zip(kinds, steps, strict=True)]
        unit = iter(np.eye(sum(plain)))
        axes = [next(unit) * float(step) if own else None for own, step in zip(plain, steps, strict=True)]
    if len(axes) != count:
        raise ValueError("it does not give a direction for each axis")
    spatial = [axis for axis in axes if axis is not None]
    last = [position for position, axis in enumerate(axes) if axis is None]
    start = _numbers(fields.get("space origin", "0," * (len(spatial) - 1) + "0").strip("()"), ",")
    affine = _affine(spatial, start, fields.get("space", "lps").lower())
    return np.moveaxis(voxels, last, range(count - len(last), count)), affine


def _lines(stream: IO[bytes], between: str, last: str | None) -> Mapping[str, str]:
    """Read the fields of a header that ends with the field ``last``, or for None with an empty line."""
    fields: dict[str, str] = {}
    for _ in range(10_000):
        line = stream.readline(1 << 16).decode("latin-1").strip()
        key, found, value = line.partition(between)
        if not line:
            break
        if found and not line.startswith("#") and not value.startswith("="):
            if key.strip().lower() in fields:
                raise ValueError(f"its header gives {key.strip()} twice")
            fields[key.strip().lower()] = value.strip()
        if last is not None and last in fields:
            break
    return fields


def _numbers(text: str, between: str | None = None) -> list[float]:
    return [float(number) for number in text.split(between)]


def _shape(sizes: list[float], count: int) -> list[int]:
    if not 1 <= count <= 5 or len(sizes) != count or any(size < 1 or size != int(size) for size in sizes):
        raise ValueError(f"its header gives the sizes {sizes} for {count} axes")
    return [int(size) for size in sizes]


def _voxels(stream: IO[bytes], shape: list[int], kind: np.dtype, packed: bool) -> np.ndarray:
    """Read what follows a header, which must be all of the voxels and nothing else."""
    size = math.prod(shape) * kind.itemsize
    content = _unpacked(stream, size) if packed else read_exactly(stream, size)
    return np.frombuffer(content, kind).reshape(shape, order="F").astype(kind.newbyteorder("="), copy=False)


def _unpacked(stream: IO[bytes], size: int) -> bytes:
    # Either of zlib's two headers; small pieces, as each may unpack to a thousand times its size.
    unpacking, content = zlib.decompressobj(47), bytearray()
    while not unpacking.eof and len(content) <= size and (piece := stream.read(1 << 16)):
        content += unpacking.decompress(piece)
    if len(content) != size or not unpacking.eof or unpacking.unused_data or stream.read(1):
        raise ValueError("it does not hold as many voxels as its header says")
    return bytes(content)


def _affine(axes: list[np.ndarray], start: list[float], space: str) -> np.ndarray:
    """Join the step of each axis and the first voxel's place, in a space's mm, to a 4x4 matrix to RAS+."""
    affine = np.eye(4)
    used = min(len(axes), 3)
    affine[:used, :used] = np.array([axis[:used] for axis in axes[:used]]).T
    affine[:used, 3] = start[:used]
    return np.diag([*SPACES[space], 1.0]) @ affine
