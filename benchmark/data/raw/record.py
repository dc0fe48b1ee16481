"""Keep what was done to a raw case beside its prepared scans, and undo it for what is predicted of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.base.declared import Record, read
from benchmark.base.records import Case, InputError
from benchmark.data.raw.geometry import Grid, Volume, bring
from benchmark.data.volumes import parse_path

ENDING = "_raw.json"
"""End of the record's name, after the case's id; it lies beside the scans."""

Matrix = list[list[float]]


class Input(Record):
    """A file that a raw case was read from: path below the folder, hash, shape, matrix from indices to RAS+ in mm."""

    file: str
    sha256: str
    shape: list[int]
    affine: Matrix


class Found(Record):
    """What a registration found: ``matrix`` maps points of the reference, RAS+ in mm, to points of the scan.

    ``information`` is the mutual information in nats, ``fall`` the smallest share of it that a shift of 10 mm costs,
    ``start`` says where the search began. ``degrees`` is the rotation, ``mm`` how far the middle of the brain moves.
    """

    matrix: Matrix
    information: float
    fall: float
    start: str
    degrees: float
    mm: float


class Steps(Record):
    """All that was done to a raw case, as its JSON file holds it.

    ``transforms`` map, for each sequence, points of the prepared scans, RAS+ in mm, to points of its raw file.
    ``bias`` is the range of the field that each sequence was divided by. ``files`` are hashes of the prepared scans.
    """

    case_id: str
    reference: str
    versions: dict[str, str]
    settings: dict[str, Any]
    inputs: dict[str, Input]
    bias: dict[str, list[float]]
    registrations: dict[str, Found]
    transforms: dict[str, Matrix]
    brain_ml: float
    shape: list[int]
    affine: Matrix
    files: dict[str, str]

    @property
    def prepared(self) -> Grid:
        """The grid of the prepared scans."""
        return Grid(tuple(self.shape), np.array(self.affine))

    @property
    def raw(self) -> Grid:
        """The grid of the reference's raw file."""
        found = self.inputs[self.reference]
        return Grid(tuple(found.shape), np.array(found.affine))


def find_record(folder: Path, case: Case) -> Steps | None:
    """Return the record of how a measured case was prepared from raw scans; None where there is none.

    Raises:
        InputError: if it cannot be read, or is of other scans than those beside it.
    """
    first = folder / parse_path(next(iter(case.images.values()))).file
    path = first.with_name(case.case_id + ENDING)
    if not path.exists():
        return None
    found = read(path, Steps, "the record of a case that was prepared from raw scans")
    for image in case.images.values():
        name = Path(parse_path(image).file).name
        if found.files.get(name) != case.sha256[parse_path(image).file]:
            raise InputError(f"{path}: expected the record of the scans beside it, found {name} changed since.")
    return found


def undo(codes: np.ndarray, steps: Steps) -> np.ndarray:
    """Bring uint8 codes of probabilities (x, y, z, regions) from the prepared scans to the reference's raw grid.

    They are interpolated linearly, or averaged where raw voxels are larger; outside the prepared scans they are 0.
    """
    forth = np.array(steps.transforms[steps.reference])
    planes = [
        bring(Volume(codes[..., region], steps.prepared.affine), steps.raw, np.linalg.inv(forth), order=1)[0]
        for region in range(codes.shape[3])
    ]
    # One half itself is no tumour, as in every label map.
    return np.ceil(np.stack(planes, axis=-1) - 0.5).clip(0, 255).astype(np.uint8)
