"""Find the label maps in a folder that any tool wrote, by case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmark.base.records import InputError
from benchmark.data.volumes import ending_of


def label_files(folder: Path, odd_names: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Map case id to label map for a folder of files or of case folders.

    ``odd_names`` maps a case id to the name that its label map has in its case folder, where that is not the usual.

    Raises:
        InputError: if it is no folder, holds no label map, has a case folder without one, or two for one case.
    """
    if not folder.is_dir():
        found_instead = "a file" if folder.exists() else "nothing"
        raise InputError(f"{folder}: expected a folder of label maps, found {found_instead}.")
    files, folders = _entries(folder)
    pairs = [(_case_of(path), path) for path in files]
    for inner in folders:
        pairs += _in_case_folder(inner, odd_names or {})
    found: dict[str, Path] = {}
    for case, path in pairs:
        if case in found:
            raise InputError(f"{folder}: expected one label map of case {case}, found {found[case]} and {path}.")
        found[case] = path
    if not found:
        raise InputError(f"{folder}: expected label maps such as CASE.nii.gz or CASE/CASE_seg.nii.gz, found none.")
    return found


def _in_case_folder(folder: Path, odd_names: Mapping[str, str]) -> list[tuple[str, Path]]:
    case = folder.name
    files, folders = _entries(folder)
    labels = [path for path in files if _case_of(path) == case or path.name.removesuffix(".gz") == odd_names.get(case)]
    if files and not labels:
        # Left out silently, the case would be missing from the table.
        raise InputError(f"{folder}: expected a label map named {case}_seg or {case}, found only {files[0].name} etc.")
    pairs = [(case, path) for path in labels]
    for inner in folders:
        pairs += _in_case_folder(inner, odd_names)
    return pairs


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [p for p in entries if p.is_file() and ending_of(p.name)], [p for p in entries if p.is_dir()]


def _case_of(path: Path) -> str:
    return re.sub(r"[_-]seg$", "", path.name.removesuffix(ending_of(path.name) or ""))
