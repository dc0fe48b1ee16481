"""List the cases of a folder of pictures with COCO annotations, split by its publisher: one slice per case."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.base.files import read_rows
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.outlines import CocoImage, read_coco, read_numbered
from benchmark.data.pictures import size_of
from benchmark.data.volumes import ImagePath


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the cases: the pictures that the annotation file of each side's folder lists.

    ``manifest.layout`` has ``sides`` (folder to side), ``annotations`` (name of the file in each), and ``picture``, the
    pattern of a picture's name with a group ``number``: the case is ``image_<number>``. It may have

    - ``shrink``: the side in pixels of the blocks that pictures are averaged over;
    - ``patients``: ``file``, a table in the folder, if it is there, whose columns ``picture`` and ``patient`` say whose
      picture it is; without it a picture is its own patient;
    - ``outlines``: a file of outlines by number that take the place of the annotated ones.

    InputError if a file is missing or cannot be read, or a picture has another name, no patient or no outline.
    """
    cases = []
    patients = _patients(folder, manifest)
    for side in manifest.layout.sides:
        if not (folder / side).is_dir():
            continue
        annotations = f"{side}/{manifest.layout.annotations}"
        if not (folder / annotations).is_file():
            raise InputError(f"{folder / annotations}: expected the annotations of this folder, found no such file.")
        for image_id, (image, _) in read_coco(folder / annotations).items():
            path = folder / side / image.file_name
            if Path(image.file_name).name != image.file_name or not path.is_file():
                raise InputError(f"{path}: expected this picture, which {annotations} lists, found none.")
            if (size := size_of(path)) != (image.width, image.height):
                expected = f"pictures of the size that {annotations} gives, {image.width} x {image.height} pixels"
                raise InputError(f"{path}: expected {expected}, found {size[0]} x {size[1]}.")
            number = _number(path, manifest)
            case_id = f"image_{number}"
            patient = patients.get(image.file_name) if patients else manifest.patient_of(case_id)
            if patient is None:
                table = folder / str(manifest.layout.patients and manifest.layout.patients.file)
                raise InputError(f"{table}: expected a patient for every picture, found none for {image.file_name}.")
            label = _label(folder, manifest, annotations, image_id, image, number)
            picture = str(ImagePath(f"{side}/{image.file_name}", shrink=manifest.layout.shrink))
            cases.append(Case(case_id, patient, dict.fromkeys(manifest.modalities, picture), label))
    return cases


def _number(path: Path, manifest: Manifest) -> int:
    match = re.fullmatch(manifest.layout.picture, path.name, re.IGNORECASE)
    if match is None or not (match["number"] or "").isdecimal():
        raise InputError(f"{path}: expected a picture named like {manifest.layout.picture}, found {path.name}.")
    return int(match["number"])


def _label(folder: Path, manifest: Manifest, annotations: str, image_id: int, image: CocoImage, number: int) -> str:
    """Return the path of a picture's label: of its polygons, or of the outline that takes their place."""
    shrink, outlines = manifest.layout.shrink, manifest.layout.outlines
    if outlines is None:
        return str(ImagePath(annotations, image_id, shrink=shrink, majority=True))
    if number not in read_numbered(folder / outlines):
        raise InputError(f"{folder / outlines}: expected an outline of number {number}, found none.")
    return str(ImagePath(outlines, number, (image.width, image.height), shrink, majority=True))


def _patients(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Read whose picture each is from the table that the layout names; nothing where it is not there."""
    columns = manifest.layout.patients
    if columns is None or not (folder / columns.file).exists():
        return {}
    path = folder / columns.file
    rows = read_rows(path)
    if lacking := {columns.picture, columns.patient} - rows[0].keys():
        expected = f"a table with columns {columns.picture} and {columns.patient}"
        raise InputError(f"{path}: expected {expected}, found none named {', '.join(sorted(lacking))}.")
    found: dict[str, str] = {}
    for row in rows:
        picture, patient = row[columns.picture], f"patient_{row[columns.patient]}"
        if row[columns.patient].strip() and found.setdefault(picture, patient) != patient:
            raise InputError(f"{path}: expected one patient of {picture}, found {found[picture]} and {patient}.")
    if not found:
        raise InputError(f"{path}: expected patients in the column {columns.patient}, found none in {len(rows)} rows.")
    return found
