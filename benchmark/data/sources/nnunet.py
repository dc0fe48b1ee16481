"""List the cases of a raw data set of nnU-Net, without reading a voxel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmark.base.files import entries, read_json
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.sources.files import LABEL, gather
from benchmark.data.volumes import ending_of, stem_of

DESCRIPTION = "dataset.json"


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the training cases: ``imagesTr/<id>_0000.nii.gz`` is the first channel, ``labelsTr/<id>.nii.gz`` the label.

    ``manifest.layout`` has ``images`` (modality to channel) and ``modality`` (the channels' names that ``dataset.json``
    must hold). Where no labels are looked for, the images are those of ``imagesTs``, of ``imagesTr``, or of the folder
    itself, whichever is there first, and ``dataset.json`` is not needed.
    InputError if ``dataset.json`` is missing or names other channels, or an image or label is missing.
    """
    layout = manifest.layout
    if layout.labels:
        channels, expected = channels_of(folder), layout.modality
        if channels != expected:
            raise InputError(f"{folder / DESCRIPTION}: expected the channels {expected}, found {channels}.")
    places = ["imagesTr"] if layout.labels else ["imagesTs", "imagesTr", "."]
    images = next((place for place in places if (folder / place).is_dir()), places[0])
    names = {f"{position:04d}": modality for modality, position in layout.images.items()}
    found = []
    for name in _volumes(folder / images):
        match = re.fullmatch(r"(.+)_(\d{4})", stem_of(name))
        if match and match[2] in names:
            found.append((match[1], names[match[2]], (Path(images) / name).as_posix()))
    if layout.labels:
        found += [(stem_of(name), LABEL, f"labelsTr/{name}") for name in _volumes(folder / "labelsTr")]
    return gather(folder, manifest, found)


def channels_of(folder: Path) -> dict[str, str]:
    """Return the channels' names by position, as text, from ``dataset.json``; InputError if it does not say."""
    data = described(folder)
    # That of nnU-Net's first version is called as the Decathlon's.
    found = data.get("channel_names", data.get("modality"))
    if not isinstance(found, dict) or not found:
        raise InputError(f"{folder / DESCRIPTION}: expected an entry channel_names, position to name, found none.")
    return {str(key): str(value) for key, value in found.items()}


def described(folder: Path) -> dict[str, Any]:
    """Read ``dataset.json``; InputError if it is missing or no object."""
    data = read_json(folder / DESCRIPTION, "nnU-Net's description of the set")
    if not isinstance(data, dict):
        raise InputError(f"{folder / DESCRIPTION}: expected nnU-Net's description of the set, found no object.")
    return data


def _volumes(folder: Path) -> list[str]:
    return [name for name in entries(folder)[0] if ending_of(name)]
