"""Find new cases, without labels and with any ids, by the names of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.base.files import walk
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest, check_names
from benchmark.data.volumes import ENDINGS, ending_of, stem_of

KNOWN = {"T1": ("t1", "t1n"), "T1c": ("t1ce", "t1c"), "T2": ("t2", "t2w"), "FLAIR": ("flair", "t2f")}
"""Names of the sequences in the files of BraTS: to 2020 and from 2021, and from 2023 on."""


def find_scans(
    folder: Path, modalities: Sequence[str], manifest: Manifest | None = None
) -> tuple[list[Case], list[str]]:
    """Return the cases in a folder and below it, by id, and the image files that are of no case.

    A file is named ``<id><suffix><ending>``, or in a folder of the case's own ``<suffix><ending>``. Suffixes are those
    of a manifest's layout, or else the sequence's name or a known one (``KNOWN``) and nnU-Net's ``_0000`` in the order
    of ``modalities``. Paths are relative to ``folder``; each case counts as a patient.

    InputError if there is no such folder or no case, a sequence is missing or there twice, an id cannot be the name of
    a file, two cases have one id, or a manifest says nothing of volumes.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with scans, found {'a file' if folder.exists() else 'nothing'}.")
    suffixes = _suffixes(modalities, manifest)
    found: dict[tuple[Path, str], dict[str, str]] = {}
    others = []
    for place, files, _ in walk(folder):
        for name in filter(ending_of, files):
            path = (place / name).relative_to(folder).as_posix()
            read = _read(path, place.absolute().name, suffixes)
            others += [] if read else [path]
            for modality, image, case_id in read:
                images = found.setdefault((place, case_id), {})
                if modality in images:
                    raise InputError(
                        f"{place}: expected one {modality} of {case_id}, found {images[modality]} and {path}."
                    )
                images[modality] = image
    return _cases(folder, found, modalities, suffixes), others


def _suffixes(modalities: Sequence[str], manifest: Manifest | None) -> dict[str, tuple[str | int, ...]]:
    """Ends of names in small letters, or positions in a file of all sequences, by sequence."""
    if manifest is None:
        named = [(name, *KNOWN.get(name, ()), f"{place:04d}") for place, name in enumerate(modalities)]
        ends = [dict.fromkeys(sign + one.casefold() for one in names for sign in "_-") for names in named]
        return {name: tuple(several) for name, several in zip(modalities, ends, strict=True)}
    layout = manifest.layout.images
    if lacking := [name for name in modalities if name not in layout]:
        raise InputError(f"{manifest.name}: expected a manifest that says which files are {', '.join(lacking)}.")
    return {name: (end.casefold() if isinstance(end := layout[name], str) else end,) for name in modalities}


def _read(path: str, folder: str, suffixes: Mapping[str, Sequence[str | int]]) -> list[tuple[str, str, str]]:
    """Sequence, path of the image and id of the case, of each image in a file."""
    # A case's own folder may hold t1.nii.gz.
    stem, found = "_" + stem_of(Path(path).name), []
    for modality, ends in suffixes.items():
        for end in ends:
            if isinstance(end, int):
                found.append((modality, f"{path}[{end}]", stem[1:]))
            elif stem.casefold().endswith(end):
                found.append((modality, path, stem[1 : -len(end)] or folder))
    return found


def _cases(
    folder: Path, found: Mapping[tuple[Path, str], Mapping[str, str]], modalities: Sequence[str],
    suffixes: Mapping[str, Sequence[str | int]],
) -> list[Case]:  # fmt: skip
    said = {name: f"{name} as {' or '.join(map(str, ends))}" for name, ends in suffixes.items()}
    if not found:
        raise InputError(
            f"{folder}: expected scans, files ending in {', '.join(ENDINGS)} named {'; '.join(said.values())}; found "
            "none."
        )
    cases, places = [], dict[str, Path]()
    for (place, case_id), images in sorted(found.items(), key=lambda item: item[0][1]):
        if case_id in places:
            raise InputError(f"{folder}: expected one case {case_id}, found two, in {places[case_id]} and {place}.")
        places[case_id] = place
        if lacking := [name for name in modalities if name not in images]:
            raise InputError(
                f"{place}: case {case_id} lacks {', '.join(lacking)}: expected a file of each one that is "
                f"needed, {'; '.join(said[name] for name in lacking)}."
            )
        cases.append(Case(case_id, case_id, {name: images[name] for name in modalities}))
    check_names(folder, cases)
    return cases
