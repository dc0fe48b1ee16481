"""Check the splits of a set: patients and pictures that are in training and held out at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.base import project
from benchmark.base.records import InputError
from benchmark.data.audit.measures import THUMBNAIL, CaseFacts, Finding
from benchmark.data.folds import SIDES, Sides, as_published, read_sides
from benchmark.data.manifest import CaseList

ALIKE = 0.95
"""Correlation of two slices' thumbnails from which they count as near-duplicates.

Chosen on two public sets, where it parts one patient from another: of 1074 slices of 30 glioma patients, 48 % have a
neighbour (z+1) above it and 0.2 % a slice of another patient; of 786 pictures of 54 patients, 30 % have one of the same
patient and none one of another.
"""

PUBLISHED = "published"
"""Name of the split that a publisher ships, as ``folds.SPLITS`` has it."""

CHANCE = 0.01
"""Share of held-out slices that may look like a slice of another patient's before that says something."""

SEARCHED = 10_000
"""Slices of a set up to which every pair is compared; above, only neighbours in one case are."""


@dataclass(frozen=True)
class Split:
    """One folds file: its name, what its units are ("patient", "case" or "slice"), and unit ids by side and fold."""

    name: str
    by: str
    folds: tuple[Sides, ...]


def read_splits(listed: CaseList, wanted: Sequence[str] | None = None) -> tuple[list[Split], list[Finding]]:
    """Read ``<name>.folds.json`` (the split "patient"), every ``<name>.<split>.folds.json``, and the split that the
    publisher ships, whether or not a file holds it; unchecked.

    Returns:
        The splits, and a finding where the publisher's cannot be read, so that it was not checked.

    InputError if a wanted split has no file, or a file is not a list of folds.
    """
    name = listed.name
    files = sorted(project.manifests().glob(f"{name}.*folds.json"))
    names = [path.name.removeprefix(f"{name}.").removesuffix("folds.json").removesuffix(".") for path in files]
    paths = {split or "patient": path for split, path in zip(names, files, strict=True)}
    ships = bool(listed.manifest.layout.sides) and PUBLISHED not in paths
    known = [*paths, *([PUBLISHED] if ships else [])]
    for split in wanted or ():
        if split not in known:
            raise InputError(f"--split {split}: expected one of {', '.join(known) or 'no split'}, found no such file.")
    found = {split: read_sides(path) for split, path in paths.items() if not wanted or split in wanted}
    splits = [Split(split, file.by, file.folds) for split, file in found.items()]
    if not ships or (wanted and PUBLISHED not in wanted):
        return splits, []
    try:
        fold = as_published(listed)
    except InputError as error:
        sentence = f"The publisher's split could not be read: {error}"
        return splits, [Finding("patients across a split", "not checked", 0, 0, (), sentence, PUBLISHED)]
    sides = Sides(train=fold.train, validation=fold.validation, test=fold.test)
    return [*splits, Split(PUBLISHED, fold.by, (sides,))], []


def audit_split(split: Split, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Check one split for patients, pixels and look-alikes that are in training and held out."""
    masks = [side_masks(split, fold, facts) for fold in split.folds]
    known = all(case.patient_known for case in facts)
    patients = {case.case_id: case.patient_id for case in facts}
    sentence = f"Patients are not known, so nor is whether one is on two sides of split {split.name}."
    unknown = Finding("patients across a split", "not checked", 0, 0, (), sentence, split.name)
    return [
        leaking_patients(split, masks, facts, patients) if known else unknown,
        identical_across(split, masks, facts),
        *near_duplicates(split, masks, facts),
    ]


def leaking_patients(
    split: Split, masks: list[dict[str, np.ndarray]], facts: Sequence[CaseFacts], patients: Mapping[str, str]
) -> Finding:
    """Count held-out slices (or cases) whose patient is in training too; ``patients`` maps case id to patient."""
    case_of = np.repeat(np.arange(len(facts)), [len(case.masked) for case in facts])
    names = np.array([patients[case.case_id] for case in facts])
    what = "slices" if split.by == "slice" else "cases"
    counts, leaked = {}, Counter[str]()
    for side in SIDES[1:]:
        held = trained = 0
        for mask in masks:
            in_training = np.isin(names[case_of], names[case_of[mask["train"]]])
            # A case of a split by case or patient is one unit, however many slices it has.
            first = mask[side] & (np.diff(case_of, prepend=-1) != 0 if what == "cases" else True)
            held += int(first.sum())
            trained += int((first & in_training).sum())
            leaked.update(names[case_of[first & in_training]])
        counts[side] = (trained, held)
    shares = " and ".join(f"{a} of {b} {side} {what}" for side, (a, b) in counts.items() if b)
    dealt = "1 fold" if len(split.folds) == 1 else f"{len(split.folds)} folds, summed up,"
    where = f"split {split.name} ({dealt} by {split.by})"
    sentence = f"In {where}, {shares or 'no held-out case'} are of patients who are also in training."
    found, total = (sum(pair[i] for pair in counts.values()) for i in range(2))
    examples = tuple(str(patient) for patient, _ in leaked.most_common(5))
    severity = "error" if found else "clean"
    return Finding("patients across a split", severity, found, total, examples, sentence, split.name)


def identical_across(split: Split, masks: list[dict[str, np.ndarray]], facts: Sequence[CaseFacts]) -> Finding:
    """Count held-out slices of which training holds the very same pixels."""
    digests = [digest for case in facts for digest in case.pictures]
    held = found = 0
    examples: list[str] = []
    for mask in masks:
        train = {digests[i] for i in np.flatnonzero(mask["train"]) if digests[i]}
        outside = np.flatnonzero(mask["validation"] | mask["test"])
        same = [i for i in outside if digests[i] in train]
        held, found = held + len(outside), found + len(same)
        examples += [_unit(facts, int(i)) for i in same[:5]]
    sentence = f"Of {held} held-out slices of split {split.name}, {found} are in training with the same pixels."
    severity = "error" if found else "clean"
    return Finding("identical images across a split", severity, found, held, tuple(examples[:5]), sentence, split.name)


def near_duplicates(split: Split, masks: list[dict[str, np.ndarray]], facts: Sequence[CaseFacts]) -> list[Finding]:
    """Count held-out slices that correlate by at least ALIKE with a training slice; nothing where it was not measured.

    Every pair is compared where the cases have their thumbnails, neighbours in one case otherwise.
    """
    if any(case.with_next is None for case in facts):
        return []
    next_alike = np.concatenate([case.with_next for case in facts if case.with_next is not None]) >= ALIKE
    kept = [case.thumbnails for case in facts if case.thumbnails is not None]
    thumbnails = np.concatenate(kept) if len(kept) == len(facts) else None
    patients = np.unique([case.patient_id for case in facts], return_inverse=True)[1]
    owner = np.repeat(patients, [len(case.masked) for case in facts])
    known = all(case.patient_known for case in facts)
    held, beside, own, other = 0, 0, 0, 0
    examples: list[str] = []
    for mask in masks:
        outside = np.flatnonzero(mask["validation"] | mask["test"])
        # With a neighbour in their case that is in training and alike.
        near = ((next_alike & np.roll(mask["train"], -1)) | np.roll(next_alike & mask["train"], 1))[outside]
        same, others = near, np.zeros_like(near)
        if thumbnails is not None:
            same, others = _searched(thumbnails, owner, outside, np.flatnonzero(mask["train"]))
        held, beside, own = held + len(outside), beside + int(near.sum()), own + int(same.sum())
        other += int(others.sum())
        examples += [_unit(facts, int(i)) for i in outside[near | same | (others & (not known))][:5]]
    parts = [f"{beside} as one beside them in the same scan"] if any(len(case.masked) > 1 for case in facts) else []
    if thumbnails is not None and known:
        parts += [f"{own} as one of the same patient", f"{other} as one of another patient"]
    elif thumbnails is not None:
        parts += [f"{other} as another picture, of whom is not known"]
    check = "near-duplicates across a split"
    if not parts:
        sentence = f"With more than {SEARCHED} pictures, those of split {split.name} were not compared with each other."
        return [Finding(check, "not checked", 0, 0, (), sentence, split.name)]
    sentence = (
        f"Of {held} held-out slices of split {split.name}, so many look nearly the same as a training slice: "
        f"{', '.join(parts)} (a correlation of {ALIKE} or more, both shrunk to {THUMBNAIL} x {THUMBNAIL} pixels)."
    )
    # Where patients are not known, a picture that looks alike may be of the same one.
    found = max(own, beside) if known else max(beside, other)
    # As many slices of other patients as CHANCE look alike where nothing is wrong.
    severity = "error" if found else "warning" if other > CHANCE * held else "note" if other else "clean"
    return [Finding(check, severity, found or other, held, tuple(examples[:5]), sentence, split.name)]


def _searched(
    thumbnails: np.ndarray, owner: np.ndarray, outside: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mark which held-out slices have a training slice alike of the same patient, and of another."""
    same, other = np.zeros(len(outside), bool), np.zeros(len(outside), bool)
    training = thumbnails[train].T
    # A few hundred rows at a time keep the product of a large set small.
    for start in range(0, len(outside), 512):
        rows = outside[start : start + 512]
        alike = thumbnails[rows] @ training >= ALIKE
        mine = owner[rows][:, None] == owner[train][None]
        same[start : start + 512] = (alike & mine).any(axis=1)
        other[start : start + 512] = (alike & ~mine).any(axis=1)
    return same, other


def side_masks(split: Split, fold: Sides, facts: Sequence[CaseFacts]) -> dict[str, np.ndarray]:
    """Return, for each side, which of the set's slices (case after case) are on it."""
    masks = {}
    for side in SIDES:
        units = set(getattr(fold, side))
        parts = []
        for case in facts:
            depth = len(case.masked)
            if split.by == "slice":
                parts.append(np.array([f"{case.case_id}/{z}" in units for z in range(depth)]))
            else:
                parts.append(np.full(depth, (case.case_id if split.by == "case" else case.patient_id) in units))
        masks[side] = np.concatenate(parts)
    return masks


def _unit(facts: Sequence[CaseFacts], index: int) -> str:
    """Name the slice at a position in the set."""
    for case in facts:
        if index < len(case.masked):
            return f"{case.case_id}/{index}"
        index -= len(case.masked)
    raise IndexError(index)
