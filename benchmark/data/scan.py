"""Check a publisher's folder and list its cases with hashes and folds; verify later that nothing changed."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmark.base.files import walk
from benchmark.base.progress import Progress
from benchmark.base.records import Case, InputError, number_of, patient_known
from benchmark.data import folds
from benchmark.data.label_maps import NOTES, count_labels
from benchmark.data.manifest import (
    CaseList,
    Manifest,
    cases_path,
    check_names,
    data_folder,
    generate,
    load_cases,
    load_manifest,
    record_folder,
    write_cases,
)
from benchmark.data.patients import read_patients
from benchmark.data.pictures import files_of, is_picture
from benchmark.data.volumes import ending_of, parse_path, read_images, sha256_of, spacing_of

AFFINE_TOLERANCE = 1e-3
"""Largest difference between the affines of one case's files, in mm."""

PREVIEW = "_raw.png"
"""End of the pictures that preparing raw scans leaves beside them, for people to look at."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class ScanResult:
    """What a scan found, where it is written, whether that file is new or changed, and what a user should know."""

    listed: CaseList
    cases_file: Path
    written: bool
    warnings: tuple[str, ...]


def scan(
    source: str,
    folder: Path,
    name: str | None = None,
    replace: bool = False,
    progress: Progress | None = None,
    patients: Path | None = None,
    labels: bool = True,
) -> ScanResult:
    """Read every file of a set, and write ``data_manifests/<name>.cases.json`` and, where absent, its folds.

    The folder is recorded as the place of this set on this machine. Memory is that of a few volumes. ``patients`` is a
    CSV file that says whose each case is, for sets whose ids do not. Without ``labels`` only images are listed, for
    prediction; such a set has no folds.
    InputError for an unknown source, a folder without cases, two cases of one id, any file that is missing, broken or
    does not fit its case, and a case list that exists and differs; then nothing is written.
    """
    manifest = load_manifest(source)
    if manifest.access == "generated" and not folder.exists():
        generate(manifest, folder, progress)
    name = name or source
    path = cases_path(name)
    if name != source and (path.parent / f"{name}.json").exists():
        raise InputError(f"--name {name}: expected a name that no manifest has, found {path.parent / f'{name}.json'}.")
    found = find_cases(folder, manifest, labels)
    if patients:
        found = with_patients(found, patients)
    check_names(folder, found)
    measured = list(parallel(lambda case: measure(folder, manifest, case), found, progress))
    cases = tuple(one.case for one in measured)
    warnings = (*_warnings(manifest, cases), *_voxel_warnings(measured), *_unused_warnings(folder, cases))
    listed = CaseList(name, manifest, cases, warnings)
    old = load_cases(name) if path.exists() else None
    if old is not None and not replace:
        _check_same(path, folder, old, listed)
    written = old != listed
    if written:
        write_cases(listed)
    record_folder(name, folder)
    return ScanResult(listed, path, written, (*listed.warnings, *_write_folds(listed)))


def _check_same(path: Path, folder: Path, old: CaseList, new: CaseList) -> None:
    """Raise InputError unless a case list holds what was found now."""
    if old.cases != new.cases:
        raise InputError(
            f"{path}: expected the cases of {folder}, found others ({_difference(old.cases, new.cases)}); "
            f"use --replace to write it anew or --name NAME to keep both."
        )
    if old.manifest.name != new.manifest.name:
        raise InputError(
            f"{path}: expected cases of {new.manifest.name}, found cases of {old.manifest.name}; use --replace."
        )


def find_cases(folder: Path, manifest: Manifest, labels: bool = True) -> list[Case]:
    """List the cases in a folder, sorted by case id, without reading voxels. InputError if the folder is missing or
    holds no case, or two cases have one id, or no labels are looked for in a set of pictures."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise InputError(f"{folder}: expected the folder of {manifest.name}, found {found}.")
    # The phantom is written in the layout of BraTS.
    module = "brats" if manifest.source == "phantom" else manifest.source
    if not labels:
        if module in ("coco", "lgg"):
            raise InputError(
                f"{manifest.name}: expected a set of volumes to list without labels, found one of pictures."
            )
        layout = manifest.layout.model_copy(update={"labels": False})
        manifest = manifest.model_copy(update={"layout": layout})
    reader = importlib.import_module(f"benchmark.data.sources.{module}")
    cases = sorted(reader.find_cases(folder, manifest), key=lambda case: (case.case_id, case.label or ""))
    if not cases:
        raise InputError(f"{folder}: expected cases laid out as data_manifests/{manifest.name}.json says, found none.")
    for first, second in itertools.pairwise(cases):
        if first.case_id == second.case_id:
            places = f"{folder / _first(first)} and {folder / _first(second)}"
            raise InputError(f"case {first.case_id}: expected one case of this id, found two: {places}.")
    return cases


def with_patients(cases: Sequence[Case], table: Path) -> list[Case]:
    """Return the cases with the patients that a table gives them (``patients.read_patients``). InputError if it is none
    or a case has no patient there."""
    ids = {case.case_id for case in cases}
    found = read_patients(table, ids)
    if lacking := sorted(ids - set(found)):
        raise InputError(
            f"{table}: expected a patient of every case, found none of {len(lacking)}, {lacking[0]} first."
        )
    return [dataclasses.replace(case, patient_id=found[case.case_id]) for case in cases]


@dataclass(frozen=True)
class Measured:
    """A case with hashes, shape, spacing and voxels per label; and the modalities, if any, that hold the same voxels as
    another one, and those without a voxel that is exactly 0."""

    case: Case
    copies: tuple[str, ...]
    full: tuple[str, ...]


def measure(folder: Path, manifest: Manifest, case: Case) -> Measured:
    """Read a case's files one after the other. InputError if a file cannot be read, or does not fit the case's first
    one in shape or affine (to 1e-3), or the label map has a value that the manifest does not name."""
    first: tuple[Path, tuple[int, ...], np.ndarray] | None = None
    hashes, voxels, content, full = {}, {}, {}, set()
    for file, relpaths in _files(case).items():
        path = folder / file
        for relpath, (image, affine) in zip(relpaths, read_images(folder, relpaths), strict=True):
            first = first or (path, image.shape, affine)
            start, shape, expected = first
            if image.shape != shape:
                raise InputError(f"{path}: expected shape {shape} as in {start.name}, found {image.shape}.")
            if not np.allclose(affine, expected, rtol=0, atol=AFFINE_TOLERANCE):
                away = f"{float(np.abs(affine - expected).max()):.4g} mm"
                raise InputError(f"{path}: expected the affine of {start.name}, found one that differs by {away}.")
            if relpath == case.label:
                voxels = count_labels(path, image, manifest)
            else:
                content[relpath] = hashlib.sha256(np.ascontiguousarray(image).data).digest()
                full |= {relpath} if image.all() else set()
        hashes[file] = sha256_of(path)
    seen = [content[relpath] for relpath in case.images.values()]
    copies = tuple(m for m, relpath in case.images.items() if seen.count(content[relpath]) > 1)
    measured = dataclasses.replace(case, sha256=hashes, voxels=voxels, shape=shape, spacing=spacing_of(expected))
    return Measured(measured, copies, tuple(m for m, relpath in case.images.items() if relpath in full))


def verify(name: str, folder: Path | None = None, progress: Progress | None = None) -> list[str]:
    """Read a set's files again and return a sentence for each one that is missing, changed, or new. InputError if the
    set was never scanned or its folder is not known."""
    listed = load_cases(name)
    folder = folder or data_folder(name, progress)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected the folder of {name}, found no such folder.")
    of_cases = parallel(lambda case: _verify_case(folder, case), listed.cases, progress)
    problems = list(itertools.chain.from_iterable(of_cases))
    try:
        known = {case.case_id for case in listed.cases}
        now = find_cases(folder, listed.manifest, listed.labelled)
        new = [case for case in now if case.case_id not in known]
        problems += [f"{folder / _first(case)}: case {case.case_id} is not in {cases_path(name)}." for case in new]
    except InputError as error:
        # A file that is gone makes its case unreadable too; that was said above.
        problems = problems or [str(error)]
    return problems


def _verify_case(folder: Path, case: Case) -> list[str]:
    problems = []
    for file, relpaths in _files(case).items():
        path, expected = folder / file, case.sha256[file]
        if "*" not in path.name and not path.is_file():
            problems.append(f"{path}: expected a file of case {case.case_id}, found none.")
            continue
        try:
            found = sha256_of(path)
        except InputError as error:
            problems.append(str(error))
            continue
        if found != expected:
            reason = _why(folder, path, relpaths, case)
            problems.append(f"{path}: expected sha256 {expected[:12]}…, found {found[:12]}…; {reason}.")
    return problems


def _why(folder: Path, path: Path, relpaths: list[str], case: Case) -> str:
    """Say whether a changed file can still be read, and of a stack whether pictures were added or taken away."""
    try:
        read_images(folder, relpaths)
    except InputError as error:
        return f"it cannot be read ({str(error).removesuffix('.')})"
    if "*" not in path.name:
        return "it is a whole file with other content"
    files, expected = files_of(path), case.shape[2]
    if len(files) != expected:
        return f"there are {len(files)} pictures, {files[0].name} to {files[-1].name}, and there were {expected}"
    return f"one or more of its {expected} pictures have other content or other names"


def _files(case: Case) -> dict[str, list[str]]:
    """Return each file of a case once, with the paths of the case that name it."""
    files: dict[str, list[str]] = {}
    for relpath in (*case.images.values(), *([case.label] if case.label else [])):
        files.setdefault(parse_path(relpath).file, []).append(relpath)
    return files


def _warnings(manifest: Manifest, cases: tuple[Case, ...]) -> Iterator[str]:
    """Yield what is odd about a set that can be used: its number of cases, unknown patients, files that two share."""
    if manifest.expected_cases not in (None, len(cases)):
        yield f"{number_of(len(cases), 'case')} found; {manifest.name} as published has {manifest.expected_cases}."
    if not all(patient_known(manifest.source, case.case_id, case.patient_id) for case in cases):
        table = manifest.layout.patients.file if manifest.layout.patients else None
        why = f"there is no {table} in the folder" if table else "nothing says whose a picture is"
        counted = "every case counts as a patient, and no split of this set can be called patient-level"
        yield f"patients are unknown, because {why}: {counted}."
    elif manifest.source in ("files", "nnunet") and all(one.label and one.case_id == one.patient_id for one in cases):
        yield (
            "every case counts as a patient of its own, as its id is all that is known: where a patient has several, "
            "scan with --patients TABLE, or they will be in training and held out at once."
        )
    owners: dict[str, dict[str, str]] = {}
    for case in cases:
        label = parse_path(case.label).file if case.label else None
        for relpath, digest in case.sha256.items():
            if relpath == label and (label.endswith(".json") or not any(n for v, n in case.voxels.items() if v != "0")):
                # Many pictures share a file of outlines; label maps without a label are alike without coming from one
                # patient.
                continue
            owners.setdefault(digest, {}).setdefault(case.patient_id, relpath)
    for patients in owners.values():
        if len(patients) > 1:
            yield f"the same file is there under {len(patients)} patient ids: {', '.join(sorted(patients.values()))}."


def _voxel_warnings(measured: Sequence[Measured]) -> Iterator[str]:
    """Yield a sentence for each group of modalities that hold the same voxels in some cases, and one if images have no
    background: preparation takes for that what is exactly 0."""
    for group in sorted({one.copies for one in measured if one.copies}):
        cases = [one.case.case_id for one in measured if one.copies == group]
        yield (
            f"{' and '.join(group)} hold the same voxels in {len(cases)} of {len(measured)} cases, as where a missing "
            f"sequence was replaced by another: {', '.join(cases)}."
        )
    full = [f"{one.case.case_id} ({', '.join(one.full)})" for one in measured if one.full]
    if full:
        yield (
            f"{len(full)} of {len(measured)} cases have images without a voxel that is exactly 0, so that air "
            f"counts as brain where they are normalised and cropped: {_some(full)}."
        )


def _unused_warnings(folder: Path, cases: Sequence[Case]) -> Iterator[str]:
    """Yield a sentence if there are images of no case, or other files that are named like a case's own."""
    used = {file for case in cases for path in _files(case) for file in files_of(folder / path)}
    ids = {path.parent: case.case_id.casefold() for case in cases for path in (folder / file for file in _files(case))}
    odd = []
    for place, files, _ in walk(folder):
        for path in (place / name for name in files):
            image = ending_of(path.name) is not None or is_picture(path)
            own = path.name.casefold().startswith(ids.get(place, "/")) and path.suffix.lower() not in NOTES
            if (image or own) and path not in used and not path.name.endswith(PREVIEW):
                odd.append(path.relative_to(folder).as_posix())
    if odd:
        looks = "files that look like images are" if len(odd) > 1 else "file that looks like an image is"
        yield f"{len(odd)} {looks} of no case and {'are' if len(odd) > 1 else 'is'} not used: {_some(odd)}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _difference(old: tuple[Case, ...], new: tuple[Case, ...]) -> str:
    """Say how many cases were added, removed and changed."""
    before, after = {case.case_id: case for case in old}, {case.case_id: case for case in new}
    changed = [case_id for case_id in before.keys() & after.keys() if before[case_id] != after[case_id]]
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    return f"{len(added)} added, {len(removed)} removed, {len(changed)} changed since"


def _write_folds(listed: CaseList) -> list[str]:
    """Write folds by the manifest's own scheme where there are none; say what keeps the set from having good ones."""
    if not listed.labelled:
        return ["no case has a label: the set has no folds, and can be predicted on but not trained or tested on"]
    if folds.folds_path(listed.name).exists():
        missing = folds.missing_units(folds.read_folds(listed.name), listed)
        if not missing:
            return []
        command = f"benchmark data folds {listed.name} --replace"
        verb = "are" if len(missing) > 1 else "is"
        return [f"{number_of(len(missing), 'patient')} {verb} in no fold, {missing[0]} first; run: {command}"]
    try:
        made = folds.make(listed.patients, listed.manifest.folds)
    except InputError as error:
        reason = str(error).removesuffix(".")
        return [f"no folds were made ({reason}); choose others with: benchmark data folds {listed.name} --k K"]
    folds.write_folds(listed.name, made, listed.manifest.folds)
    return []


def _first(case: Case) -> str:
    return next(iter(_files(case)))


def parallel(
    work: Callable[[Case], Result], cases: Sequence[Case], progress: Progress | None, jobs: int | None = None
) -> Iterator[Result]:
    """Do the work on each case in a few threads, yield results in the cases' order, and report each."""
    with ThreadPoolExecutor(jobs or min(4, os.cpu_count() or 1)) as pool:
        try:
            for done, (case, result) in enumerate(zip(cases, pool.map(work, cases), strict=True), start=1):
                if progress:
                    progress(done, len(cases), case.case_id)
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
