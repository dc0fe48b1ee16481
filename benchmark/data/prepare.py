"""Cases on disk to a store of normalised, cropped, memory-mapped volumes that can be read slice by slice."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmark import project
from benchmark.data.folds import SIDES, Fold, folds_path, load_folds
from benchmark.data.manifest import (
    CaseList,
    Manifest,
    cases_path,
    data_folder,
    folder_here,
    load_cases,
    manifest_of,
)
from benchmark.data.scan import scan
from benchmark.data.volumes import read_image, sha256_file, split_index
from benchmark.files import read_json, replacing_folder, write_json
from benchmark.progress import Progress
from benchmark.records import Case, InputError

SETTINGS = {"version": 1, "orientation": "RAS", "normalisation": "z-score over non-zero voxels", "crop": "non-zero"}
"""What preparation does; part of a prepared case's key, so that changing it never mixes old and new volumes."""

CANONICAL = nib.orientations.axcodes2ornt("RAS")


@dataclass(frozen=True)
class PreparedCase:
    """A case in the store, with what is needed to put a prediction back into the case's own space."""

    case: Case
    folder: Path

    @cached_property
    def header(self) -> dict[str, Any]:
        """Shape, affine and crop box of the original, and its slices with tumour, as ``prepare_case`` wrote them."""
        return read_json(self.folder / "case.json", "a prepared case's header")

    @property
    def image(self) -> np.ndarray:
        """Memory-mapped float16 of shape (slices, modalities, x, y), axial slices first, RAS, 0 outside the brain."""
        return _mapped(self.folder / "image.npy")

    @property
    def label(self) -> np.ndarray:
        """Memory-mapped uint8 label values of shape (slices, x, y).

        Raises:
            InputError: if the publisher withholds this case's label.
        """
        if self.case.label is None:
            raise InputError(f"Case {self.case.case_id} has no label: expected one, to train on it or to score it.")
        return _mapped(self.folder / "label.npy")

    @property
    def affine(self) -> np.ndarray:
        """The original file's 4x4 affine, mm."""
        return np.array(self.header["affine"])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along the original file's axes."""
        return tuple(nib.affines.voxel_sizes(self.affine).tolist())

    def restore(self, labels: np.ndarray) -> np.ndarray:
        """Put uint8 labels of shape (slices, x, y) back on the original's grid, in its own shape and orientation."""
        shape, (start, stop) = self.header["shape"], self.header["box"]
        to_canonical = nib.orientations.io_orientation(self.affine)
        canonical_shape = [0, 0, 0]
        for axis, (target, _) in enumerate(to_canonical.astype(int)):
            canonical_shape[target] = shape[axis]
        full = np.zeros(canonical_shape, np.uint8)
        full[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = labels.transpose(1, 2, 0)
        back = nib.orientations.ornt_transform(CANONICAL, to_canonical)
        return np.ascontiguousarray(nib.orientations.apply_orientation(full, back))

    def crop(self, labels: np.ndarray) -> np.ndarray:
        """Undo ``restore``: a label map on the original's grid to shape (slices, x, y)."""
        start, stop = self.header["box"]
        canonical = _canonical(labels, self.affine)
        return canonical[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].transpose(2, 0, 1)

    def original_label(self) -> np.ndarray:
        """The publisher's label map on its own grid (nothing is labelled outside the crop box)."""
        return self.restore(np.asarray(self.label))


def case_key(case: Case, modalities: Sequence[str]) -> str:
    """Name of a case's folder in the store: a hash of its files' hashes, the order of channels and ``SETTINGS``."""
    paths = [*(case.images[modality] for modality in modalities), *([case.label] if case.label else [])]
    files = [[path, case.sha256[split_index(path)[0]]] for path in paths]
    return hashlib.sha256(json.dumps([list(modalities), files, SETTINGS]).encode()).hexdigest()[:20]


def prepare_case(case: Case, cases: CaseList, store: Path) -> PreparedCase:
    """Normalise, crop and store one case, unless that is done; safe to interrupt and to run twice at once.

    Z-score per modality over the voxels of that modality that are not zero (Mandekar et al., sections 3.1 and 4.2);
    zero stays zero. The crop box holds every voxel that is not zero in some modality and every labelled one.

    Raises:
        InputError: if a file is missing, is not the one that was scanned, or holds nothing but zeros.
    """
    target = store / case_key(case, cases.manifest.modalities)
    prepared = PreparedCase(case, target)
    if target.is_dir():
        return prepared
    folder = data_folder(cases.name)
    for path, expected in case.sha256.items():
        _check_hash(folder / path, expected, cases)
    volumes, affine = [], np.eye(4)
    for modality in cases.manifest.modalities:
        volume, affine = read_image(folder, case.images[modality])
        volumes.append(_canonical(volume, affine))
    label = _canonical(read_image(folder, case.label)[0], affine) if case.label else None
    inside = np.any([volume != 0 for volume in volumes], axis=0)
    if not inside.any():
        raise InputError(f"Case {case.case_id} is empty: expected a brain, found only zeros in {folder}.")
    start, stop = _box(inside if label is None else inside | (label > 0))
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    with replacing_folder(target) as temporary:
        image = np.stack([_zscore(volume)[box].transpose(2, 0, 1) for volume in volumes], axis=1)
        np.save(temporary / "image.npy", image)
        if label is not None:
            np.save(temporary / "label.npy", label[box].transpose(2, 0, 1).astype(np.uint8))
        header = {
            "case_id": case.case_id,
            "shape": case.shape,
            "affine": affine.tolist(),
            "box": [start, stop],
            "foreground": [] if label is None else np.flatnonzero(label[box].any(axis=(0, 1))).tolist(),
            "settings": SETTINGS,
            "sha256": case.sha256,
        }
        write_json(temporary / "case.json", header)
    return prepared


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
            print(
                f"{result.cases_file}: the files generated here differ from those listed; it now lists these.",
                file=sys.stderr,
            )
    return load_cases(name)


def prepare(
    name: str, *, cases: Sequence[Case] | None = None, jobs: int = 1, progress: Progress | None = None
) -> list[PreparedCase]:
    """Prepare the cases of a data set (all, or the given ones) and return them in order."""
    found = found_cases(name, progress)
    wanted = list(found.cases if cases is None else cases)
    store = store_folder()
    done = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for case, prepared in zip(wanted, pool.map(lambda c: prepare_case(c, found, store), wanted), strict=True):
            done.append(prepared)
            if progress:
                progress(len(done), len(wanted), case.case_id)
    return done


@dataclass(frozen=True)
class DataSet:
    """What a bundle's config asks of a data set; nothing is read from disk before it is asked for."""

    name: str

    @cached_property
    def manifest(self) -> Manifest:
        """The description of the publisher's set, without looking for its files."""
        return manifest_of(self.name)

    @cached_property
    def cases(self) -> CaseList:
        """The cases that were found by ``benchmark data scan``."""
        return found_cases(self.name)

    @property
    def in_channels(self) -> int:
        """Number of modalities."""
        return len(self.manifest.modalities)

    @property
    def out_channels(self) -> int:
        """Number of regions."""
        return len(self.manifest.regions)

    def fold(self, index: int) -> Fold:
        """The patients of one fold.

        Raises:
            InputError: if there is no such fold.
        """
        folds = load_folds(self.name)
        if not 0 <= index < len(folds):
            raise InputError(f"{self.name} has folds 0 to {len(folds) - 1}, found fold {index}.")
        return folds[index]

    def part(self, fold: int, part: str) -> list[PreparedCase]:
        """Prepared cases of the patients on one side ("train", "validation" or "test") of a fold, or of "all".

        Raises:
            InputError: if that side has no case.
        """
        if part not in (*SIDES, "all"):
            raise InputError(f"A fold has no side {part!r}: expected one of {', '.join(SIDES)}, or all.")
        patients = set(self.cases.patients if part == "all" else getattr(self.fold(fold), part))
        wanted = [case for case in self.cases.cases if case.patient_id in patients]
        if not wanted:
            raise InputError(f"Fold {fold} of {self.name} has no case on its {part} side: expected at least one.")
        return prepare(self.name, cases=wanted)


# Each map holds a file descriptor; a large set has more cases than a process may have open files.
@lru_cache(maxsize=256)
def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def _check_hash(path: Path, expected: str, cases: CaseList) -> None:
    found = sha256_file(path)
    if found != expected:
        raise InputError(
            f"{path} is not the file that was scanned: expected sha256 {expected[:12]}…, found {found[:12]}…; "
            f"run `benchmark data verify {cases.name}`."
        )


def _canonical(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return nib.orientations.apply_orientation(volume, nib.orientations.io_orientation(affine))


def _zscore(volume: np.ndarray) -> np.ndarray:
    inside = volume != 0
    values = volume[inside].astype(np.float64)
    # A modality that is missing (all zero) or constant has no spread; it stays zero instead of becoming NaN.
    spread = values.std() if values.size else 0.0
    scaled = np.zeros(volume.shape, np.float16)
    if spread > 0:
        scaled[inside] = (values - values.mean()) / spread
    return scaled


def _box(inside: np.ndarray) -> tuple[list[int], list[int]]:
    start, stop = [], []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        start.append(int(used[0]))
        stop.append(int(used[-1]) + 1)
    return start, stop
