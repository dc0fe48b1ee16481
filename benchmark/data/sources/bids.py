"""List the cases of a folder laid out by BIDS, its derivatives included, without reading a voxel."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from benchmark.base.files import walk
from benchmark.base.records import Case
from benchmark.data.manifest import Manifest
from benchmark.data.sources.files import LABEL, gather
from benchmark.data.volumes import ending_of, stem_of

NAME = re.compile(r"(?P<case>sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)(?P<rest>_.+)")
"""A file's name by BIDS, without its ending: subject and session, which make a case, and the rest."""


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the cases: a session of a subject, or a subject without sessions, with its files in folders ``anat``.

    ``manifest.layout`` has ``images`` (modality to the rest of a name after subject and session, such as ``_T1w`` or
    ``_space-SRI_T1w``) and ``label`` (the same for label maps, which may lie in ``derivatives``). A ``*`` stands for
    any text, as in ``_desc-*_dseg``. Other files are left alone.
    InputError if a modality or label is missing or there twice.
    """
    layout = manifest.layout
    rests = {modality: str(rest) for modality, rest in layout.images.items()}
    if layout.labels:
        rests[LABEL] = layout.label
    found = []
    for place, names, _ in walk(folder):
        for name in names if place.name == "anat" else ():
            match = NAME.fullmatch(stem_of(name)) if ending_of(name) else None
            fitting = [what for what, rest in rests.items() if match and fnmatchcase(match["rest"], rest)]
            path = (place / name).relative_to(folder).as_posix()
            found += [(match["case"], what, path) for what in fitting if match]
    return gather(folder, manifest, found)
