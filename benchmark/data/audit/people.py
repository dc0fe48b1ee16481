"""Look for the people of a set in other sets and in a user's files, and for other masks of its pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.base.files import read_rows
from benchmark.base.records import Case, patient_known
from benchmark.data.audit.cases import finding, voxels_of
from benchmark.data.audit.measures import CaseFacts, Finding, mask_digest, slice_dice
from benchmark.data.manifest import CaseList, folder_here, known, load_cases
from benchmark.data.patients import columns_of
from benchmark.data.volumes import canonical, parse_path, read_image


def other_sets(name: str) -> list[CaseList]:
    """Return every scanned set but this one."""
    return [load_cases(row.name) for row in known() if row.cases is not None and row.name != name]


def audit_other(listed: CaseList, folder: Path, facts: Sequence[CaseFacts], other: CaseList) -> list[Finding]:
    """Look for this set's patients in another: by id, by hash of a file, and by label map, voxel for voxel."""
    name, total, there = other.name, len(listed.patients), folder_here(other.name, other.manifest)
    ids = sorted(set(listed.patients) & set(other.patients))
    same = f"{len(ids)} of {total} patients are in {name} under the same id: the two sets are not independent."
    if not ids and not (_known(listed) and _known(other)):
        total, same = 0, f"The patients of this set or of {name} are not known: equal ids would not say anything."
    theirs = {digest: case for case in other.cases for path, digest in case.sha256.items() if _image(case, path)}
    pairs = {}
    for case in listed.cases:
        digests = (digest for path, digest in case.sha256.items() if _image(case, path))
        found = next((theirs[digest] for digest in digests if digest in theirs), None)
        if found is not None:
            pairs[case.case_id] = found
    twins = {case: found for case, found in _same_masks(listed, facts, other, there).items() if case not in pairs}
    patients = {case.case_id: case.patient_id for case in listed.cases}
    renamed = [
        f"{case} = {found.case_id}" for case, found in (pairs | twins).items() if found.patient_id != patients[case]
    ]
    sentence = (
        f"{len(renamed)} of {len(listed.cases)} cases are in {name} under another patient id, by equal image files"
    )
    sentence += " or equal label maps." if there else f"; label maps were not compared, {name} is not here."
    looked = len(listed.cases)
    if not renamed and not _shapes(listed) & _shapes(other):
        looked, sentence = (
            0,
            f"No case of {name} has the shape of one here: equal images or label maps could not be found.",
        )
    return [
        finding("same ids in another set", "note", ids, total, same, name),
        finding("same person in another set", "warning", renamed, looked, sentence, name),
        *_other_masks(listed, folder, other, there, pairs),
    ]


def audit_labels(
    listed: CaseList, folder: Path, facts: Sequence[CaseFacts], labels: Mapping[str, Path]
) -> list[Finding]:
    """Compare this set's label maps with those of a folder, by content whatever their ids, and by Dice at equal ids."""
    digests = {case.mask_digest: case.case_id for case in facts if case.mask_digest}
    own = {case.case_id: case for case in listed.cases}
    hits, dice, alike = [], [], False
    for case_id, path in sorted(labels.items()):
        theirs = canonical(*read_image(path.parent, path.name))
        alike = alike or tuple(sorted(theirs.shape)) in _shapes(listed)
        twin = digests.get(mask_digest(theirs) or b"")
        if twin and twin != case_id:
            hits.append(f"{case_id} = {twin}")
        if case_id in own and own[case_id].label:
            dice += _dice(folder, own[case_id], theirs)
    total, sentence = (
        len(labels),
        f"{len(hits)} of {len(labels)} label maps of the folder are those of this set under another id.",
    )
    if not hits and not alike:
        total, sentence = (
            0,
            "No label map of the folder has the shape of one of this set: equal ones could not be found.",
        )
    found = [finding("same person in another set", "warning", hits, total, sentence, "--labels")]
    return found + ([_outlines("--labels", dice)] if dice else [])


def audit_patients(
    listed: CaseList, path: Path, others: Sequence[CaseList], labels: Mapping[str, Path]
) -> tuple[list[Finding], dict[str, str]]:
    """Look for the ids of a user's CSV file, one row per case or patient of this set, in the other sets.

    Returns:
        Findings, and the patient of each case by the column of patients (empty without one).

    InputError if the file is no table, or no column names the set's cases or patients.
    """
    rows = read_rows(path)
    ours = {_plain(known_as): case for case in listed.cases for known_as in _names(case)}
    best, grouping = columns_of(path, rows, ours, _plain)
    matched = [(row, ours[_plain(row[best])]) for row in rows if _plain(row[best]) in ours]
    places = {other.name: {case.case_id for case in other.cases}.union(other.patients) for other in others} | {
        "--labels": {*labels}
    }
    found = []
    for place, ids in places.items():
        hits = []
        for row, case in matched:
            links = [f"{case.case_id} = {i} ({c})" for c in row for i in _linked(row[c], ids) if c != best]
            hits += links[:1]
        if ids:
            sentence = f"By {path.name}, {len(hits)} of {len(matched)} cases are in {place} under another id."
            found.append(finding("other ids in another set", "warning", hits, len(matched), sentence, place))
    for column in (column for column in rows[0] if column.lower().startswith("also_in")):
        hits = [f"{case.case_id} ({row[column]})" for row, case in matched if row[column].strip()]
        sentence = f"{path.name} says {column} of {len(hits)} of {len(matched)} cases."
        found.append(finding("declared overlap", "warning", hits, len(matched), sentence, column))
    return found, {case.case_id: row[grouping] for row, case in matched} if grouping else {}


def _same_masks(listed: CaseList, facts: Sequence[CaseFacts], other: CaseList, there: Path | None) -> dict[str, Case]:
    """Pair cases whose masks are equal; only those with as many labelled voxels are read."""
    if there is None:
        return {}
    digests = {case.case_id: case.mask_digest for case in facts if case.mask_digest}
    sizes: dict[int, list[Case]] = {}
    for case in other.cases:
        if case.label:
            sizes.setdefault(voxels_of(case, case.voxels.keys() - {"0"}), []).append(case)
    read: dict[str, bytes | None] = {}
    found = {}
    for case in listed.cases:
        for twin in sizes.get(voxels_of(case, case.voxels.keys() - {"0"}), []) if case.case_id in digests else []:
            if twin.case_id not in read:
                read[twin.case_id] = mask_digest(canonical(*read_image(there, str(twin.label))))
            if read[twin.case_id] == digests[case.case_id]:
                found[case.case_id] = twin
    return found


def _other_masks(
    listed: CaseList, folder: Path, other: CaseList, there: Path | None, pairs: Mapping[str, Case]
) -> list[Finding]:
    """Compare the masks of cases that have the same image files in another set."""
    dice = []
    for case in listed.cases:
        twin = pairs.get(case.case_id)
        if twin and there and case.label and twin.label and case.shape == twin.shape:
            dice += _dice(folder, case, canonical(*read_image(there, twin.label)))
    return [_outlines(other.name, dice)] if dice else []


def _dice(folder: Path, case: Case, theirs: np.ndarray) -> list[tuple[str, float]]:
    mine = canonical(*read_image(folder, str(case.label)))
    return [(case.case_id, value) for value in slice_dice(mine, theirs)] if mine.shape == theirs.shape else []


def _outlines(place: str, dice: Sequence[tuple[str, float]]) -> Finding:
    values = [value for _, value in dice]
    differ = [f"{case} ({value:.3f})" for case, value in sorted(dice, key=lambda pair: pair[1]) if value < 1]
    mean = float(np.mean(values))
    sentence = (
        f"Mean Dice of this set's masks with those of {place} on the same pictures is {mean:.3f} "
        f"(SD {np.std(values):.3f}) over {len(values)} slices with a mask."
    )
    severity = "error" if mean < 0.7 else "warning"
    return finding("other masks of the same pictures", severity, differ, len(values), sentence, place)


def _names(case: Case) -> list[str]:
    """Return what a table may call a case: its id, its patient's, and the names of its images' files."""
    return [case.patient_id, *(Path(parse_path(path).file).name for path in case.images.values()), case.case_id]


def _linked(value: str, ids: set[str]) -> list[str]:
    """Return the ids that a value names: equal, or longer by a part, as TCGA_XX_NNNN_19990101 is of TCGA-XX-NNNN."""
    plain = _plain(value)
    # Short values are numbers and flags, no ids.
    return [i for i in sorted(ids) if len(plain) > 4 and (_plain(i) + "-").startswith(plain + "-")]


def _shapes(listed: CaseList) -> set[tuple[int, ...]]:
    """Shapes of a set's volumes whatever the order of their axes; other shapes have other voxels."""
    return {tuple(sorted(case.shape)) for case in listed.cases}


def _known(listed: CaseList) -> bool:
    return all(patient_known(listed.manifest.source, case.case_id, case.patient_id) for case in listed.cases)


def _plain(value: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "-", value.strip().upper())


def _image(case: Case, path: str) -> bool:
    """Say whether a hashed file of a case is one of its images; a file of many labels is shared by all cases."""
    label = parse_path(case.label).file if case.label else None
    return path != label and not path.endswith(".json")
