"""Audit a data set: patient leaks, duplicates, box-shaped masks, abnormal scans."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmark.base.progress import Progress
from benchmark.base.records import Case, patient_known
from benchmark.data.audit import measures
from benchmark.data.audit.cases import audit_cases
from benchmark.data.audit.coco import audit_coco
from benchmark.data.audit.measures import CaseFacts, Finding
from benchmark.data.audit.people import audit_labels, audit_other, audit_patients, other_sets
from benchmark.data.audit.splits import SEARCHED, Split, audit_split, leaking_patients, read_splits, side_masks
from benchmark.data.manifest import CaseList, data_folder, load_cases
from benchmark.data.pictures import files_of, is_picture, is_turned
from benchmark.data.scan import parallel
from benchmark.data.volumes import ImagePath, canonical, parse_path, read_image, read_images

SEVERITIES = ("error", "warning", "note", "clean", "not checked")
"""Of a finding: makes scores wrong; may make them wrong; worth knowing; nothing found; nothing to look at."""


def audit(
    name: str,
    splits: Sequence[str] | None = None,
    labels: Mapping[str, Path] | None = None,
    patients: Path | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Read every case of a set as published and return what each check found, the worst first, clean checks last.

    ``splits`` names the splits to look at, all by default, the publisher's own among them; ``labels`` maps case ids, of
    this set or any other, to label maps; ``patients`` is a CSV file with a column of this set's cases or patients and
    others with ids that these have elsewhere. All other scanned sets are compared with this one. Memory is that of a
    few cases, plus 4 kB per slice and modality where a split is not by patient and the set has no more than SEARCHED
    slices.
    InputError if the set was never scanned or is not here, a file cannot be read, or a split is unknown.
    """
    listed, folder = load_cases(name), data_folder(name, progress)
    chosen, unread = read_splits(listed, splits)
    pictures = all(case.shape[2:] == (1,) for case in listed.cases)
    alike = pictures or any(split.by != "patient" for split in chosen)
    keep = sum(case.shape[2] for case in listed.cases) <= SEARCHED
    facts = list(parallel(lambda case: measure(folder, listed, case, alike, keep), listed.cases, progress))
    others = other_sets(name)
    found = audit_cases(listed, facts) + audit_coco(listed, folder, patients)
    for split in chosen:
        found += audit_split(split, facts)
    found += unread
    if not chosen and not unread:
        found.append(Finding("patients across a split", "not checked", 0, 0, (), f"{name} has no split."))
    for other in others:
        found += audit_other(listed, folder, facts, other)
    if labels:
        found += audit_labels(listed, folder, facts, labels)
    if patients:
        linked, groups = audit_patients(listed, patients, others, labels or {})
        found += linked + _regrouped(patients, groups, chosen, facts)
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def measure(folder: Path, listed: CaseList, case: Case, alike: bool, keep: bool) -> CaseFacts:
    """Read and measure a case; how ``alike`` its slices are on request, whose thumbnails it may keep."""
    modalities = listed.manifest.modalities
    read = read_images(folder, [case.images[modality] for modality in modalities])
    affine = read[0][1]
    images = {modality: canonical(*pair) for modality, pair in zip(modalities, read, strict=True)}
    first = images[modalities[0]]
    label = canonical(*read_images(folder, [case.label])[0]) if case.label else first * 0
    masked, boxes = measures.rectangles(_as_drawn(folder, case, label))
    digests = {modality: measures.slice_digests(image) for modality, image in images.items()}
    shown = {modality: image for modality, image in images.items() if any(digests[modality])}
    intensities = {modality: measures.intensity(image) for modality, image in shown.items()}
    small = measures.thumbnails(images) if alike else None
    return CaseFacts(
        case.case_id,
        case.patient_id,
        "".join(nib.aff2axcodes(affine)),
        digests,
        intensities,
        measures.lacking(shown, {modality: value.high for modality, value in intensities.items()}),
        masked,
        boxes,
        measures.mask_digest(label),
        patient_known(listed.manifest.source, case.case_id, case.patient_id),
        None if small is None else np.append((small[1:] * small[:-1]).sum(axis=1), 0),
        small if keep else None,
        tuple(modality for modality, image in images.items() if image.all()),
        tuple(_turned(folder, case)),
    )


def _turned(folder: Path, case: Case) -> Iterator[str]:
    """Yield the names of a case's pictures that an EXIF tag turns or mirrors."""
    for path in dict.fromkeys(folder / parse_path(relpath).file for relpath in case.images.values()):
        yield from (file.name for file in files_of(path) if is_picture(file) and is_turned(file))


def _as_drawn(folder: Path, case: Case, label: np.ndarray) -> np.ndarray:
    """Return a case's label map in its published size, as averaging would round a rectangle's corners."""
    path = parse_path(case.label) if case.label else ImagePath("")
    if path.shrink == 1:
        return label
    return canonical(*read_image(folder, str(dataclasses.replace(path, shrink=1, majority=False))))


def _regrouped(
    path: Path, groups: Mapping[str, str], splits: Sequence[Split], facts: Sequence[CaseFacts]
) -> list[Finding]:
    """Check the splits again with the patients of a user's file, where the set does not know them or holds one for
    several."""
    grouped = [case for case in facts if case.case_id in groups]
    own = {case.patient_id for case in grouped}
    joined = len({groups[case.case_id] for case in grouped}) < len(own)
    if not joined and all(case.patient_known for case in grouped):
        return []
    found = []
    for split in splits:
        masks = [side_masks(split, fold, grouped) for fold in split.folds]
        leak = leaking_patients(split, masks, grouped, groups)
        sentence = f"By the patients of {path.name}: {leak.sentence}"
        found.append(dataclasses.replace(leak, sentence=sentence, where=f"{leak.where}, {path.name}"))
    return found
