"""Prepare cases: normalise, crop and memory-map their volumes, and put label maps back on the original grid."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmark.base import project
from benchmark.base.boxes import bounding_box
from benchmark.base.files import read_json, replacing_folder, stamp, write_json
from benchmark.base.progress import Progress
from benchmark.base.records import Case, InputError
from benchmark.data.folds import SIDES, Fold, folds_path, load_folds
from benchmark.data.manifest import (
    CaseList,
    Manifest,
    cases_path,
    data_folder,
    folder_here,
    load_cases,
    manifest_of,
    scanned_folder,
)
from benchmark.data.scan import parallel, scan
from benchmark.data.volumes import canonical, parse_path, read_image, read_images, sha256_file, sha256_of

SETTINGS = {"version": 1, "orientation": "RAS", "normalisation": "z-score over non-zero voxels", "crop": "non-zero"}
"""What preparation does; part of a prepared case's key, so that changing it never mixes old and new volumes."""

CANONICAL = nibabel.orientations.axcodes2ornt("RAS")


@dataclass(frozen=True)
class PreparedCase:
    """A case in the store, with what is needed to put a prediction back into the case's own space.

    ``slices`` are the slices that a split by slice leaves of the case: indices, from low to high, on the third axis of
    the whole volume in RAS orientation; None is all of them. Every array has these slices only, less those outside the
    crop box, which hold nothing.
    """

    case: Case
    folder: Path
    slices: tuple[int, ...] | None = None

    @cached_property
    def header(self) -> dict[str, Any]:
        """Shape, affine and crop box of the original as ``prepare_case`` wrote them; positions of slices with tumour.

        ``foreground`` counts in the slices of this object's arrays, everything else is of the whole case.
        """
        stored: dict[str, Any] = read_json(self.folder / "case.json", "a prepared case's header")
        if self.slices is None:
            return stored
        tumour = set(stored["foreground"])
        rows = self._rows(stored["box"])
        return {**stored, "foreground": [position for position, row in enumerate(rows) if row in tumour]}

    @cached_property
    def rows(self) -> list[int]:
        """Position in the store, whose first slice is the crop box's, of each slice of this object's arrays."""
        return self._rows(self.header["box"])

    @property
    def z(self) -> list[int]:
        """Where each slice lies in the whole volume, along its third axis in RAS orientation."""
        first = self.header["box"][0][2]
        return [first + row for row in self.rows]

    @property
    def image(self) -> np.ndarray:
        """float16 of shape (slices, modalities, x, y), axial slices first, RAS, 0 outside the brain.

        Memory-mapped for a whole case, a copy for some of its slices; ``slice_at`` never copies more than a slice.
        """
        return self._of_slices(_mapped(self.folder / "image.npy"))

    @property
    def label(self) -> np.ndarray:
        """uint8 label values of shape (slices, x, y), memory-mapped or a copy as ``image`` is.

        InputError if the publisher withholds this case's label, or it is not what was prepared: all scores and what is
        learned depend on it.
        """
        stored, path = self._stored_label(), self.folder / "label.npy"
        # An older version kept no checksums; what it prepared is prepared anew before a run.
        digest, *_ = self.header.get("files", {}).get(path.name, [None])
        if digest is not None and not _unchanged(path, digest, *stamp(path)):
            raise InputError(f"{path}: {_changed(self.case, self.folder)}.")
        return self._of_slices(stored)

    def slice_at(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Memory-mapped image (modalities, x, y) and label (x, y) of the slice at a position of ``image``."""
        row = self.rows[position]
        return _mapped(self.folder / "image.npy")[row], self._stored_label()[row]

    @property
    def affine(self) -> np.ndarray:
        """The original file's 4x4 affine, mm."""
        return np.array(self.header["affine"])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along the original file's axes."""
        return tuple(nibabel.affines.voxel_sizes(self.affine).tolist())

    def restore(self, labels: np.ndarray) -> np.ndarray:
        """Put uint8 labels of shape (slices, x, y) on the original's grid, in its own shape and orientation, else 0."""
        shape = self.header["shape"]
        to_canonical = nibabel.orientations.io_orientation(self.affine)
        canonical_shape = [0, 0, 0]
        for axis, (target, _) in enumerate(to_canonical.astype(int)):
            canonical_shape[target] = shape[axis]
        full = np.zeros(canonical_shape, np.uint8)
        full[self._box()][:, :, self.rows] = labels.transpose(1, 2, 0)
        back = nibabel.orientations.ornt_transform(CANONICAL, to_canonical)
        return np.ascontiguousarray(nibabel.orientations.apply_orientation(full, back))

    def crop(self, labels: np.ndarray) -> np.ndarray:
        """Undo ``restore``: a label map on the original's grid to shape (slices, x, y)."""
        return self._of_slices(canonical(labels, self.affine)[self._box()].transpose(2, 0, 1))

    def original_label(self) -> np.ndarray:
        """The publisher's label map on its own grid; 0 outside the crop box and in slices that were left out."""
        return self.restore(np.asarray(self.label))

    def _rows(self, box: list[list[int]]) -> list[int]:
        first, last = box[0][2], box[1][2]
        wanted = range(first, last) if self.slices is None else self.slices
        return [z - first for z in wanted if first <= z < last]

    def _of_slices(self, stored: np.ndarray) -> np.ndarray:
        return stored if self.slices is None else stored[self.rows]

    def _stored_label(self) -> np.ndarray:
        if self.case.label is None:
            raise InputError(f"Case {self.case.case_id} has no label: expected one, to train on it or to score it.")
        return _mapped(self.folder / "label.npy")

    def _box(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(*self.header["box"], strict=True))


def case_key(case: Case, modalities: Sequence[str]) -> str:
    """Name of a case's folder in the store: a hash of its files' hashes, the order of channels and ``SETTINGS``."""
    paths = [*(case.images[modality] for modality in modalities), *([case.label] if case.label else [])]
    files = [[path, case.sha256[parse_path(path).file]] for path in paths]
    return hashlib.sha256(json.dumps([list(modalities), files, SETTINGS]).encode()).hexdigest()[:20]


def prepare_case(case: Case, cases: CaseList, store: Path) -> PreparedCase:
    """Normalise, crop and store one case, unless that is done; safe to interrupt and to run twice at once.

    Z-score per modality over the voxels of that modality that are not zero (Mandekar et al., sections 3.1 and 4.2);
    zero stays zero. The crop box holds every voxel that is not zero in some modality and every labelled one.
    InputError if a file is missing, is not the one that was scanned, or holds nothing but zeros.
    """
    target = store / case_key(case, cases.manifest.modalities)
    if _whole(target, case):
        return PreparedCase(case, target)
    folder = cases.folder
    for path, expected in case.sha256.items():
        _check_hash(folder / path, expected, cases)
    images = read_images(folder, [case.images[modality] for modality in cases.manifest.modalities])
    affine = images[0][1]
    volumes = [canonical(volume, affine) for volume, affine in images]
    label = canonical(read_image(folder, case.label)[0], affine) if case.label else None
    inside = np.any([volume != 0 for volume in volumes], axis=0)
    if not inside.any():
        raise InputError(f"Case {case.case_id} is empty: expected a brain, found only zeros in {folder}.")
    box = bounding_box(inside if label is None else inside | (label > 0))
    if _whole(target, case):  # by another process, meanwhile
        return PreparedCase(case, target)
    # What is there is from a version that kept no checksums, or was changed; replacing_folder would keep it.
    shutil.rmtree(target, ignore_errors=True)
    _mapped.cache_clear()
    with replacing_folder(target) as temporary:
        image = np.stack([_zscore(volume)[box].transpose(2, 0, 1) for volume in volumes], axis=1)
        np.save(temporary / "image.npy", image)
        if label is not None:
            np.save(temporary / "label.npy", label[box].transpose(2, 0, 1).astype(np.uint8))
        header = {
            "case_id": case.case_id,
            "shape": case.shape,
            "affine": affine.tolist(),
            "box": [[side.start for side in box], [side.stop for side in box]],
            "foreground": [] if label is None else np.flatnonzero(label[box].any(axis=(0, 1))).tolist(),
            "settings": SETTINGS,
            "sha256": case.sha256,
            "files": {path.name: [sha256_file(path), *stamp(path)[:2]] for path in sorted(temporary.glob("*.npy"))},
        }
        write_json(temporary / "case.json", {**header, "checksum": _checksum(header)})
    return PreparedCase(case, target)


def damaged(name: str, progress: Progress | None = None) -> list[str]:
    """Read what is prepared of a data set, and return a sentence for each array that is not as it was written."""
    listed = load_cases(name)

    def changed(case: Case) -> list[str]:
        folder = stored_case(case, listed).folder
        files = _stored_files(folder, case) if folder.is_dir() else {}
        others = [name for name, (digest, *_) in files.items() if _digest(folder / name) != digest]
        return [f"{folder / name}: {_changed(case, folder)}." for name in others]

    return [problem for of_case in parallel(changed, listed.cases, progress) for problem in of_case]


def stored_case(case: Case, listed: CaseList) -> PreparedCase:
    """Return a case at its place in this project's store, without a look whether it is there."""
    return PreparedCase(case, store_folder() / case_key(case, listed.manifest.modalities))


def store_folder() -> Path:
    """Folder of all prepared cases of this project."""
    return project.runs() / "prepared"


def found_cases(name: str, progress: Progress | None = None) -> CaseList:
    """Return the cases of a data set; a generated one is generated and scanned where this machine does not have it.

    Another processor or library version may round a phantom's voxels otherwise; then the case list is written anew,
    so that its hashes are those of the files that are used, and a line says so.
    """
    manifest = manifest_of(name)
    whole = folder_here(name, manifest) and cases_path(name).exists() and folds_path(name).exists()
    if manifest.access == "generated" and not whole:
        known = cases_path(name).exists()
        result = scan(manifest.name, data_folder(name, progress), name, replace=True, progress=progress)
        if known and result.written:
            differ = "the files generated here differ from those listed; it now lists these"
            print(f"{result.cases_file}: {differ}.", file=sys.stderr)
    return load_cases(name)


def prepare(
    name: str, *, cases: Sequence[Case] | None = None, jobs: int = 1, progress: Progress | None = None
) -> list[PreparedCase]:
    """Prepare the cases of a data set (all, or the given ones) and return them in order."""
    found = found_cases(name, progress)
    wanted, store = list(found.cases if cases is None else cases), store_folder()
    return list(parallel(lambda case: prepare_case(case, found, store), wanted, progress, jobs))


@dataclass(frozen=True)
class DataSet:
    """What a bundle's config asks of a data set; nothing is read from disk before it is asked for.

    ``split`` is one of ``folds.SPLITS``: "patient" where nothing else is said. ``folder`` is where the set's files are
    read from: "" is the folder where it was scanned; any other must hold the same files.
    """

    name: str
    split: str = "patient"
    folder: str = ""

    @cached_property
    def manifest(self) -> Manifest:
        """The description of the publisher's set, without looking for its files."""
        return manifest_of(self.name)

    @cached_property
    def cases(self) -> CaseList:
        """The cases that were found by ``benchmark data scan``. InputError if ``folder`` is no folder."""
        if not self._moved:
            return found_cases(self.name)
        if not Path(self.folder).is_dir():
            raise InputError(f"{self.folder}: expected the folder of {self.name} (dataset_dir), found none.")
        return replace(load_cases(self.name), place=Path(self.folder))

    @property
    def in_channels(self) -> int:
        """Number of modalities."""
        return len(self.manifest.modalities)

    @property
    def out_channels(self) -> int:
        """Number of regions."""
        return len(self.manifest.regions)

    def fold(self, index: int) -> Fold:
        """One fold of this split. InputError if there is no such fold."""
        folds = load_folds(self.name, self.split)
        if not 0 <= index < len(folds):
            raise InputError(f"{self.name} has folds 0 to {len(folds) - 1}, found fold {index}.")
        return folds[index]

    def part(self, fold: int, part: str) -> list[PreparedCase]:
        """Prepared cases on one side ("train", "validation" or "test") of a fold, or "all".

        With a split by slice they hold that side's slices only, and a case with none of them is left out, as is one
        that has none where the volume holds anything. InputError if that side has no case.
        """
        if part not in (*SIDES, "all"):
            raise InputError(f"A fold has no side {part!r}: expected one of {', '.join(SIDES)}, or all.")
        if part == "all":
            return self._prepared(self.cases.cases)
        found = self.fold(fold)
        units = set(getattr(found, part))
        slices = _slices_of_cases(units) if found.by == "slice" else {}
        ids = set(slices) if found.by == "slice" else units
        wanted = [
            case for case in self.cases.cases if (case.patient_id if found.by == "patient" else case.case_id) in ids
        ]
        prepared = self._prepared(wanted)
        if found.by == "slice":
            restricted = [replace(case, slices=slices[case.case.case_id]) for case in prepared]
            prepared = [case for case in restricted if case.rows]
        if not prepared:
            raise InputError(f"Fold {fold} of {self.name} has no case on its {part} side: expected at least one.")
        return prepared

    @cached_property
    def _moved(self) -> bool:
        """Whether the files are to be read from elsewhere than where they were scanned."""
        default = scanned_folder(self.name) if self.folder else ""
        return self.folder != default and not (default and Path(self.folder).resolve() == Path(default).resolve())

    def _prepared(self, cases: Sequence[Case]) -> list[PreparedCase]:
        if not self._moved:
            return prepare(self.name, cases=cases)
        for case in cases:
            # What is prepared is not read again, and the folder that was asked for may hold other files.
            for path, expected in case.sha256.items():
                _check_moved(self.cases.folder / path, expected, self.name)
        return [prepare_case(case, self.cases, store_folder()) for case in cases]


def _slices_of_cases(units: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Sort slices, ``<case_id>/<z>``, into their cases."""
    slices: dict[str, list[int]] = {}
    for unit in units:
        case_id, _, z = unit.rpartition("/")
        slices.setdefault(case_id, []).append(int(z))
    return {case_id: tuple(sorted(found)) for case_id, found in slices.items()}


# A training asks for the same cases several times.
@lru_cache(maxsize=100_000)
def _check_moved(path: Path, expected: str, name: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise InputError(
            f"{path} is not the file of {name} that was scanned: expected sha256 {expected[:12]}…, found "
            f"{found[:12]}…; give the folder that holds that set as dataset_dir."
        )


def _check_hash(path: Path, expected: str, cases: CaseList) -> None:
    found = sha256_of(path)
    if found != expected:
        raise InputError(
            f"{path} is not the file that was scanned: expected sha256 {expected[:12]}…, found {found[:12]}…; "
            f"run `benchmark data verify {cases.name}`."
        )


def _zscore(volume: np.ndarray) -> np.ndarray:
    inside = volume != 0
    values = volume[inside].astype(np.float64)
    # A modality that is missing (all zero) or constant has no spread; it stays zero instead of becoming NaN.
    spread = values.std() if values.size else 0.0
    scaled = np.zeros(volume.shape, np.float16)
    if spread > 0:
        scaled[inside] = (values - values.mean()) / spread
    return scaled


def _stored_files(folder: Path, case: Case) -> dict[str, list[Any]]:
    """Return digest, size and time of change of each array of a prepared case when it was written; none of an older
    version, of another case, or where the header is broken."""
    try:
        header = read_json(folder / "case.json", "a prepared case's header")
        files: dict[str, list[Any]] = header["files"]
        return files if header.pop("checksum") == _checksum(header) and header["sha256"] == case.sha256 else {}
    except (InputError, KeyError, TypeError, AttributeError):
        return {}


def _checksum(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _whole(folder: Path, case: Case) -> bool:
    """Say whether a prepared case is as it was written, by size and time of each array, and by its bytes where these
    differ, as they do in a copy."""
    files = _stored_files(folder, case)
    try:
        return "image.npy" in files and all(
            [*stamp(folder / name)[:2]] == written or _unchanged(folder / name, digest, *stamp(folder / name))
            for name, (digest, *written) in files.items()
        )
    except InputError:
        return False


def _changed(case: Case, folder: Path) -> str:
    return (
        f"expected what was prepared of case {case.case_id}, found other content or none; delete {folder} and run the "
        "same command again"
    )


def _digest(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


# A process asks once for each time of change.
@lru_cache(maxsize=100_000)
def _unchanged(path: Path, digest: str, *_: int) -> bool:
    return sha256_file(path) == digest


# Each map holds a file descriptor; a large set has more cases than a process may have open files.
@lru_cache(maxsize=256)
def _mapped(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array
