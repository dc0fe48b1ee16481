"""List the cases of a folder laid out as the LGG set on Kaggle: a picture and a mask per slice, a stack per case."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.base.files import walk
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.pictures import ENDINGS
from benchmark.data.volumes import ImagePath

_PICTURE = re.compile(
    rf"(?P<case>.+)_(?P<number>\d+)(?P<mask>_mask)?(?P<ending>(?i:{'|'.join(map(re.escape, ENDINGS))}))", re.DOTALL
)


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the cases below ``folder``: each is a folder ``<id>`` with ``<id>_<n>.tif`` and ``<id>_<n>_mask.tif``.

    ``manifest.layout`` has ``channels`` (modality to channel of the picture, from 0), and may have ``shrink``, the
    side in pixels of the blocks that pictures are averaged over. Other files are left alone.
    InputError if a picture has no mask or a mask no picture, pictures are of two file types, or one is named for
    another case than its folder.
    """
    found = (_find_case(place, files, folder, manifest) for place, files, _ in walk(folder))
    return [case for case in found if case is not None]


def _find_case(place: Path, files: list[str], folder: Path, manifest: Manifest) -> Case | None:
    """Return the case that lies in the folder ``place``, or None if there is no numbered picture."""
    case_id = place.absolute().name
    found: dict[str, set[str]] = {"": set(), "_mask": set()}
    endings = set()
    for name in files:
        match = _PICTURE.fullmatch(name)
        if match is None:
            continue
        if match["case"] != case_id:
            expected = f"{case_id}_{match['number']}{match['mask'] or ''}{match['ending']}"
            raise InputError(f"{place / name}: expected a picture named for its folder, {expected}, found {name}.")
        found[match["mask"] or ""].add(match["number"])
        endings.add(match["ending"].lower())
    if not endings:
        return None
    if len(endings) > 1:
        raise InputError(f"{place}: expected pictures of one file type, found {' and '.join(sorted(endings))}.")
    ending = endings.pop()
    for number in sorted(found[""] ^ found["_mask"], key=int):
        lacking = "_mask" if number in found[""] else ""
        name = f"{case_id}_{number}{lacking}{ending}"
        raise InputError(f"{place / name}: expected a mask for each picture and a picture for each mask, found none.")
    start, shrink = (place.relative_to(folder) / case_id).as_posix(), manifest.layout.shrink
    images = {
        modality: str(ImagePath(f"{start}_*{ending}", manifest.layout.channels[modality], shrink=shrink))
        for modality in manifest.modalities
    }
    label = str(ImagePath(f"{start}_*_mask{ending}", shrink=shrink, majority=True))
    return Case(case_id, manifest.patient_of(case_id), images, label)
