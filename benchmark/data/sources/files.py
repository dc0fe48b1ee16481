"""List the cases of a folder whose files are named by case and by what they show, wherever they lie in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.base.files import walk
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.volumes import ending_of, stem_of

LABEL = "label"
"""What a label map is called beside the modalities."""


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the cases below ``folder``: the files ``<id><end>``, in any folders, that have an end of the layout.

    ``manifest.layout`` has ``images`` (modality to end) and ``label`` (end; by default none, so that a label map is
    named for its case alone). Of several ends that fit a name the longest counts. Other files are left alone.
    InputError if a modality or label is missing or there twice.
    """
    layout = manifest.layout
    ends = {str(end).casefold(): modality for modality, end in layout.images.items()}
    if layout.labels and layout.label:
        ends[layout.label.casefold()] = LABEL
    found, others = [], []
    for place, names, _ in walk(folder):
        for name in (name for name in names if ending_of(name)):
            stem, path = stem_of(name), (place / name).relative_to(folder).as_posix()
            end = max((end for end in ends if stem.casefold().endswith(end)), key=len, default=None)
            if end is None:
                others.append((stem, LABEL, path))
            elif len(stem) > len(end):
                found.append((stem[: len(stem) - len(end)], ends[end], path))
    known = {case_id for case_id, _, _ in found}
    bare = [one for one in others if one[0] in known and layout.labels and not layout.label]
    return gather(folder, manifest, [*found, *bare])


def gather(folder: Path, manifest: Manifest, found: Iterable[tuple[str, str, str]]) -> list[Case]:
    """Make cases of files, each given by its case id, its modality or LABEL, and its path below the folder. InputError
    as ``find_cases``."""
    files: dict[str, dict[str, str]] = {}
    for case_id, what, path in found:
        other = files.setdefault(case_id, {}).setdefault(what, path)
        if other != path:
            said = f"expected one file of {what}, found {other} and {path}"
            raise InputError(f"{folder}: case {case_id}: {said}; leave one of them out, or give a longer end of names.")
    wanted = [*manifest.modalities, *([LABEL] if manifest.layout.labels else [])]
    for case_id, own in sorted(files.items()):
        if lacking := [what for what in wanted if what not in own]:
            hint = ""
            if lacking == [LABEL] and not any(LABEL in of_case for of_case in files.values()):
                hint = " of any case; scans without labels are listed with --without-labels"
            what = f"case {case_id} lacks {', '.join(lacking)}"
            raise InputError(f"{folder}: {what}: expected it beside {next(iter(own.values()))}, found none{hint}.")
    return [
        Case(case_id, manifest.patient_of(case_id), {name: own[name] for name in manifest.modalities}, own.get(LABEL))
        for case_id, own in sorted(files.items())
    ]
