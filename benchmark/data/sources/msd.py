"""List the cases of a folder laid out as the Medical Segmentation Decathlon, without reading a voxel."""

from __future__ import annotations

from pathlib import Path

from benchmark.base.files import entries, read_json
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.volumes import ending_of


def find_cases(folder: Path, manifest: Manifest) -> list[Case]:
    """List the training cases: ``imagesTr/<id>.nii.gz`` holds all modalities on its fourth axis, ``labelsTr`` labels.

    A modality's path names its position: ``imagesTr/BRATS_001.nii.gz[2]``. ``manifest.layout`` has ``images``
    (modality to position) and ``modality`` (the table that ``dataset.json`` must hold). The files that macOS leaves
    in the published archive (``._*``) are passed over. Where the layout says that there are no labels, the cases are
    those of ``imagesTs``, or of ``imagesTr`` where there is no such folder.
    InputError if ``dataset.json`` is missing or lists other modalities, or an image has no label or no image.
    """
    _check_description(folder / "dataset.json", manifest)
    if not manifest.layout.labels:
        place = next(name for name in ("imagesTs", "imagesTr") if (folder / name).is_dir() or name == "imagesTr")
        return [_case(manifest, place, name, None) for name in sorted(_names(folder / place))]
    images, labels = _names(folder / "imagesTr"), _names(folder / "labelsTr")
    for name in sorted(images ^ labels):
        lacking = "labelsTr" if name in images else "imagesTr"
        raise InputError(f"{folder / lacking / name}: expected this file beside the other of its case, found none.")
    return [_case(manifest, "imagesTr", name, f"labelsTr/{name}") for name in sorted(images)]


def _case(manifest: Manifest, place: str, name: str, label: str | None) -> Case:
    case_id = name.removesuffix(ending_of(name) or "")
    paths = {key: f"{place}/{name}[{manifest.layout.images[key]}]" for key in manifest.modalities}
    return Case(case_id, manifest.patient_of(case_id), paths, label)


def _check_description(path: Path, manifest: Manifest) -> None:
    """Raise InputError unless the publisher's own description has the modalities where the manifest says."""
    if not path.is_file():
        raise InputError(f"{path}: expected the Decathlon's description of {manifest.name}, found no such file.")
    data = read_json(path, "the Decathlon's description of the set")
    found = data.get("modality") if isinstance(data, dict) else None
    found = {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
    expected = manifest.layout.modality
    if {key: value.lower() for key, value in found.items()} != {k: v.lower() for k, v in expected.items()}:
        raise InputError(f"{path}: expected the modalities {expected}, found {found or 'none'}.")


def _names(folder: Path) -> set[str]:
    """Return the names of the NIfTI files in a folder."""
    return {name for name in entries(folder)[0] if (ending_of(name) or "").lower() in (".nii", ".nii.gz")}
