"""List the cases of a folder laid out as the BraTS challenges, without reading a voxel."""

from __future__ import annotations

from pathlib import Path

from benchmark.base.files import walk
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.volumes import ENDINGS, ending_of, stem_of


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the cases below ``folder``: each is a folder ``<id>`` with files ``<id><suffix><ending>``.

    ``manifest.layout`` has ``images`` (modality to suffix), ``label`` (suffix), and may have ``label_names`` (case id
    to the name of a label file that its publisher misnamed). Files with other names are left alone, and so are label
    maps where the layout says that there are none (``labels``).
    InputError if a modality or label is missing or there twice, a file is named for another case than its folder, or a
    folder stands where a file should.
    """
    cases = []
    for place, files, folders in walk(folder):
        for name in folders:
            if ending_of(name) is not None:
                raise InputError(
                    f"{place / name}: expected an image file, found a folder of that name; "
                    "move the file in it up in its place."
                )
        case = _find_case(place, [name for name in files if ending_of(name)], folder, manifest)
        if case is not None:
            cases.append(case)
    return cases


def _find_case(place: Path, files: list[str], folder: Path, manifest: Manifest) -> Case | None:
    """Return the case that lies in the folder ``place``, or None if no file there has a suffix of the layout."""
    case_id = place.absolute().name
    label_suffix = manifest.layout.label
    suffixes = {modality: str(suffix) for modality, suffix in manifest.layout.images.items()}
    found: dict[str, str] = {}
    wanted = {**suffixes, **({"label": label_suffix} if manifest.layout.labels else {})}
    for suffix in wanted.values():
        # Some tools write names in capitals.
        alike = [name for name in files if stem_of(name).casefold().endswith(suffix.casefold())]
        names = [name for name in alike if stem_of(name).casefold() == (case_id + suffix).casefold()]
        if len(names) > 1:
            raise InputError(f"{place}: expected one file {case_id}{suffix}, found {' and '.join(names)}.")
        if alike and not names:
            expected = f"{case_id}{suffix}{ending_of(alike[0])}"
            raise InputError(f"{place / alike[0]}: expected a file named for its folder, {expected}, found {alike[0]}.")
        if names:
            found[suffix] = names[0]
    if not found:
        return None
    alias = manifest.layout.label_names.get(case_id)
    misnamed = [name for name in files if alias and stem_of(name) == stem_of(alias)]
    if "label" in wanted and label_suffix not in found and misnamed:
        found[label_suffix] = misnamed[0]
    relative = place.relative_to(folder)
    paths = {suffix: (relative / name).as_posix() for suffix, name in found.items()}
    for what, suffix in wanted.items():
        if suffix not in paths:
            expected = f"{case_id}{suffix} with one of {', '.join(ENDINGS)}"
            hint = "; scans without labels are listed with --without-labels" if what == "label" else ""
            raise InputError(f"{place}: case {case_id} lacks {what}: expected a file {expected}, found none{hint}.")
    images = {modality: paths[suffixes[modality]] for modality in manifest.modalities}
    return Case(case_id, manifest.patient_of(case_id), images, paths.get(label_suffix))
