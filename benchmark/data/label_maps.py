"""Find the label maps in a folder that any tool wrote, by case, and count their labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from benchmark.base.files import entries, walk
from benchmark.base.records import InputError
from benchmark.data.manifest import Manifest
from benchmark.data.volumes import ENDINGS, ending_of, stem_of

LABEL_FOLDERS = ("labelsTr", "labelsTs")
"""Folders with label maps in a data set of nnU-Net or the Decathlon."""

NOTES = (".json", ".txt", ".csv", ".tsv", ".xml", ".md")
"""Endings of files that may stand beside images and are not missed."""


def label_files(folder: Path, odd_names: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Map case id to label map for a folder of files or of case folders, or with one of LABEL_FOLDERS, which then hold
    the files.

    ``odd_names`` maps a case id to the name that its label map has in its case folder, where that is not the usual.
    InputError if it is no folder, holds no label map, has a case folder without one, or two for one case.
    """
    if not folder.is_dir():
        found_instead = "a file" if folder.exists() else "nothing"
        raise InputError(f"{folder}: expected a folder of label maps, found {found_instead}.")
    files, folders = _entries(folder)
    if of_labels := [inner for inner in folders if inner.name in LABEL_FOLDERS]:
        files, folders = [path for inner in of_labels for path in _entries(inner)[0]], []
    pairs = [(_case_of(path), path) for path in files]
    for inner in folders:
        pairs += _in_case_folder(inner, odd_names or {})
    found: dict[str, Path] = {}
    for case, path in pairs:
        if found.setdefault(case, path) is not path:
            raise InputError(f"{folder}: expected one label map of case {case}, found {found[case]} and {path}.")
    if not found:
        raise InputError(f"{folder}: expected label maps such as CASE.nii.gz or CASE/CASE_seg.nii.gz, found none.")
    return found


def check_unread(folder: Path, cases: Collection[str], found: Collection[str]) -> None:
    """Raise InputError for a file that is named like one of ``cases`` that is not ``found``, and is not read as it."""
    for place, files, _ in walk(folder) if len(found) < len(cases) else ():
        for name in files:
            like = max((case for case in cases if name.casefold().startswith(case.casefold())), key=len, default=None)
            if like is not None and like not in found and Path(name).suffix.lower() not in NOTES:
                expected = f"a label map {like} with one of {', '.join(ENDINGS)}"
                raise InputError(f"{place / name}: expected {expected}, found {name}, which is not read.")


def count_labels(path: Path, labels: np.ndarray, manifest: Manifest) -> dict[str, int]:
    """Count the voxels of each label value; InputError for values that the manifest does not name."""
    counts = {label: int(np.count_nonzero(labels == int(label))) for label in manifest.labels}
    if sum(counts.values()) != labels.size:
        known = [int(label) for label in manifest.labels]
        # As it is: 3.9999999 rounded would read as a label that is known.
        other = [f"{value}".removesuffix(".0") for value in np.unique(labels).tolist() if value not in known]
        found = ", ".join(other[:5]) + (", …" if len(other) > 5 else "")
        expected = f"label values {', '.join(manifest.labels)} as in {manifest.name}"
        raise InputError(f"{path}: expected {expected}, found also {found}.")
    return counts


def _in_case_folder(folder: Path, odd_names: Mapping[str, str]) -> list[tuple[str, Path]]:
    case = folder.name
    files, folders = _entries(folder)
    odd = odd_names.get(case, "")
    labels = [path for path in files if _case_of(path) in (case, stem_of(odd) or case)]
    if files and not labels:
        # Left out silently, the case would be missing from the table.
        raise InputError(f"{folder}: expected a label map named {case}_seg or {case}, found only {files[0].name} etc.")
    pairs = [(case, path) for path in labels]
    for inner in folders:
        pairs += _in_case_folder(inner, odd_names)
    return pairs


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    files, folders = entries(folder)
    return [folder / name for name in files if ending_of(name)], [folder / name for name in folders]


def _case_of(path: Path) -> str:
    return re.sub(r"[_-]seg$", "", stem_of(path.name), flags=re.IGNORECASE)
