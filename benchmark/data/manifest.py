"""Read what is known of a data set: its manifest, the cases that a scan found, and the folder that holds them."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from benchmark.base import declared, project
from benchmark.base.declared import Name, Names, Numbers, Record
from benchmark.base.files import kept, write_json, write_text
from benchmark.base.progress import Progress
from benchmark.base.records import Case, InputError, check_safe
from benchmark.data.volumes import parse_path

# Preparation asks for the folder from several threads; one of them generates, the others wait for it.
_GENERATE_LOCK = threading.Lock()

NEEDED = {
    "bids": ("images", "label"),
    "brats": ("images", "label"),
    "coco": ("sides", "annotations", "picture"),
    "files": ("images",),
    "lgg": ("channels",),
    "msd": ("images", "modality"),
    "nnunet": ("images", "modality"),
    "phantom": ("images", "label"),
}
"""Entries of ``layout`` that the reader of a source needs."""


def _with_group(group: str) -> AfterValidator:
    def check(pattern: str) -> str:
        try:
            known = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from error
        if group not in known:
            raise ValueError(f"expected a regular expression with a group named {group}")
        return pattern

    return AfterValidator(check)


def _whole_label(label: str) -> str:
    if not re.fullmatch("0|[1-9][0-9]*", label):
        raise ValueError("expected a whole number as text")
    return label


def _fits(path: str) -> bool:
    """Say whether a path is short enough for a file system."""
    return len(path) <= 4000 and all(len(part.encode("utf-8", "replace")) <= 255 for part in path.split("/"))


def _can_be(path: str) -> str:
    if not _fits(path):
        raise ValueError("expected a path that a file can have")
    return path


FileName = Annotated[str, AfterValidator(_can_be)]


class PatientTable(Record):
    """A CSV file in a set's folder, and its columns that say whose each picture is."""

    file: FileName
    picture: Name
    patient: Name


class Layout(Record):
    """Where the reader of a source finds what in a set's folder; ``NEEDED`` says which entries it cannot do without.

    ``labels`` is false where only images are looked for, as in scans that a network is to be applied to.
    """

    images: dict[str, str | int] = Field(default_factory=dict)
    label: FileName = ""
    label_names: dict[str, str] = Field(default_factory=dict)
    modality: dict[str, str] = Field(default_factory=dict)
    archive: FileName | None = None
    channels: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    shrink: Annotated[int, Field(ge=1)] = 1
    sides: dict[FileName, Literal["train", "validation", "test"]] = Field(default_factory=dict)
    annotations: FileName = ""
    picture: Annotated[str, _with_group("number")] = ""
    patients: PatientTable | None = None
    outlines: FileName | None = None
    labels: bool = True


class LesionRule(Record):
    """What an edition's organisers set for lesion-wise scores, in place of ``scoring.lesions``' numbers for glioma.

    ``dilations`` counts the dilations by a voxel that join components of the reference; ``smallest`` is the volume in
    mm³ up to which a reference lesion is left out, and ``smallest_of`` that of single regions. ``source`` says where
    the organisers state these, and what else of their rule is not followed here.
    """

    dilations: Annotated[int, Field(ge=0, le=20)]
    smallest: Annotated[float, Field(ge=0)]
    smallest_of: dict[Name, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    source: Name

    def of(self, region: str) -> float:
        """Return the volume in mm³ up to which a lesion of a region is left out."""
        return self.smallest_of.get(region, self.smallest)


class Generator(Record):
    """Settings of a generated set."""

    seed: Annotated[int, Field(ge=0)]
    patients: Annotated[int, Field(ge=1)]
    spacing: Annotated[float, Field(ge=0.5, le=10)]


class Manifest(Record):
    """Description of one published data set; the fields are those of ``data_manifests/<name>.json``.

    ``labels`` maps a label value, as text, to its meaning; ``regions`` maps a region to label values, in the order of
    a network's output channels; ``regions_class_order`` gives the label to write for a voxel in region i, where later
    regions overwrite earlier ones. Named groups of ``patient_pattern`` other than ``patient``, such as ``centre``, are
    what reports group patients by. ``modalities`` is the order of a network's input channels. ``unit`` is that of
    distances: "pixels" where the files do not say how large a pixel is. ``expected_cases`` is None where nobody says
    how many were published. ``lesions`` is None where lesion-wise scores are those of BraTS 2023 for glioma.
    """

    name: Name
    title: str
    source: Literal["bids", "brats", "coco", "files", "lgg", "msd", "nnunet", "phantom"]
    modalities: Names
    labels: dict[Annotated[str, AfterValidator(_whole_label)], str]
    regions: Annotated[dict[Name, Numbers], Field(min_length=1)]
    regions_class_order: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    layout: Layout
    patient_pattern: Annotated[str, _with_group("patient")]
    expected_cases: Annotated[int, Field(ge=1)] | None = None
    licence: str
    citation: str
    address: str
    access: Literal["registration", "open", "generated", "private"]
    pictures: Literal["private", "public"]
    warnings: tuple[str, ...]
    folds: dict[str, Any]
    generator: Generator | None = None
    lesions: LesionRule | None = None
    unit: Literal["mm", "pixels"] = "mm"

    def patient_of(self, case_id: str) -> str:
        """Return the patient of a case; InputError if the case id does not follow ``patient_pattern``."""
        match = re.fullmatch(self.patient_pattern, case_id)
        if match is None:
            raise InputError(f"{self.name}: expected a case id like {self.patient_pattern}, found {case_id}.")
        return match["patient"]


@dataclass(frozen=True)
class CaseList:
    """The cases of one scanned folder, sorted by case id, with the manifest they follow and what scan warned of.

    ``place`` is the folder that holds their files, where that is not the one that ``data_folder`` finds.
    """

    name: str
    manifest: Manifest
    cases: tuple[Case, ...]
    warnings: tuple[str, ...] = ()
    place: Path | None = None

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids, each once, sorted."""
        return tuple(sorted({case.patient_id for case in self.cases}))

    @property
    def remarks(self) -> tuple[str, ...]:
        """The manifest's warnings that hold for these cases: one that names cases with a label name of their own holds
        only where one of them is here."""
        there = {case.case_id for case in self.cases}
        named = {
            said: {one for one in self.manifest.layout.label_names if one in said} for said in self.manifest.warnings
        }
        return tuple(said for said, about in named.items() if not about or about & there)

    @property
    def labelled(self) -> bool:
        """Whether its cases have labels, which training and tests need; a set of which only some have is not made."""
        return any(case.label for case in self.cases)

    @cached_property
    def folder(self) -> Path:
        """Folder with this machine's files: ``place``, or the one that ``data_folder`` finds, looked for once."""
        return self.place or data_folder(self.name)


class _Scanned(Record):
    """What ``<name>.cases.json`` holds."""

    name: Name
    source: Name
    warnings: tuple[str, ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class KnownSet:
    """One row of ``benchmark data list``: ``cases`` is None before a scan, ``folder`` where it is not here."""

    name: str
    manifest: Manifest
    cases: int | None
    folder: Path | None


def load_manifest(source: str) -> Manifest:
    """Read ``data_manifests/<source>.json``, the project's own or else the one that came with the package. InputError
    if there is no such data set (the known ones are listed) or the file is not a valid manifest."""
    return _manifest(_file_of(source))


def _file_of(source: str) -> Path:
    for folder in (project.manifests(), project.shipped("data_manifests")):
        if _is_name(source) and (folder / f"{source}.json").is_file():
            return folder / f"{source}.json"
    raise InputError(f"{source} is not a known data set; expected one of: {', '.join(_sources())}.")


# Each of these two is asked for many times in a process.
@kept
def _manifest(path: Path) -> Manifest:
    manifest = declared.read(path, Manifest, "a manifest")
    _check(path, manifest)
    check_safe(path, "a region", manifest.regions)
    return manifest


@kept
def _scanned(path: Path) -> _Scanned:
    found = declared.read(path, _Scanned, "the cases that `benchmark data scan` writes")
    check_names(path, found.cases)
    _check_files(path, load_manifest(found.source), found.cases)
    return found


def manifest_file(known: str) -> Path:
    """Find the manifest of a set by the set's name, or by the path of a JSON file; InputError if there is none."""
    return Path(known) if known.endswith(".json") else _file_of(manifest_of(known).name)


def find_manifest(known: str) -> Manifest:
    """Read the manifest that ``manifest_file`` finds; InputError if there is none or it is no manifest."""
    return _manifest(manifest_file(known))


def cases_path(name: str) -> Path:
    """Path of a scanned set's case list; InputError if the name cannot be a file name."""
    if not _is_name(name):
        raise InputError(f"expected a data set name of letters, digits, _ and -, found {name!r}.")
    return project.manifests() / f"{name}.cases.json"


def load_cases(name: str) -> CaseList:
    """Read the cases that ``benchmark data scan`` found, and their manifest. InputError if the set was never scanned,
    or its file is not a case list."""
    path = cases_path(name)
    if not path.is_file():
        manifest = load_manifest(name)
        raise InputError(
            f"{path}: expected the cases of {name}, found no such file; "
            f"get the set at {manifest.address} ({manifest.access}) and run: benchmark data scan {name} FOLDER"
        )
    found = _scanned(path)
    return CaseList(name, load_manifest(found.source), found.cases, found.warnings)


def check_labels(name: str) -> None:
    """Raise InputError if a set was scanned and its cases have no labels: none can be trained or tested on it."""
    if cases_path(name).is_file() and not load_cases(name).labelled:
        found = "none: the set was scanned without labels, for prediction"
        raise InputError(f"{name}: expected cases with labels, to train on them and to test on them, found {found}.")


def check_names(place: Path, cases: Sequence[Case]) -> None:
    """Raise InputError, naming ``place``, unless ids of cases and patients can be names of files, each of its own."""
    seen: dict[str, str] = {}
    for case in cases:
        check_safe(place, "an id of a case", [case.case_id])
        check_safe(place, "an id of a patient", [case.patient_id])
        # Where capital letters do not count in names of files, one would overwrite the other.
        twin = seen.setdefault(case.case_id.casefold(), case.case_id)
        if twin != case.case_id:
            expected = "ids of cases that differ in more than capital letters"
            raise InputError(f"{place}: expected {expected}, found {twin!r} and {case.case_id!r}.")


def _check_files(path: Path, manifest: Manifest, cases: Sequence[Case]) -> None:
    """Raise InputError unless each case has an image per modality, and a hash of each file inside the set's folder."""
    for case in cases:
        who = f"{path}: case {case.case_id}"
        if lacking := [modality for modality in manifest.modalities if modality not in case.images]:
            raise InputError(f"{who}: expected an image of each modality, found none of {', '.join(lacking)}.")
        if not all(0 < size < math.inf for size in (*case.shape, *case.spacing)):
            raise InputError(f"{who}: expected a shape and spacing above 0, found {case.shape} and {case.spacing}.")
        for relpath in (*case.images.values(), *([case.label] if case.label else [])):
            # Most name a file alone, and there are thousands.
            file = parse_path(relpath).file if relpath.endswith(("]", ")")) else relpath
            if file not in case.sha256:
                raise InputError(f"{who}: expected the sha256 of {file}, found none.")
            if file.startswith("/") or ".." in file.split("/") or not _fits(file):
                raise InputError(f"{who}: expected files inside the folder of the set, found {file[:250]}.")


def manifest_of(name: str) -> Manifest:
    """Return the manifest of a set, also of a copy that was scanned under a name of its own and has none so called.
    InputError if there is no such set."""
    return load_cases(name).manifest if _is_name(name) and cases_path(name).is_file() else load_manifest(name)


def scanned_patients(name: str) -> dict[str, str]:
    """Map a set's cases to their patients as its scan listed them; empty if it was never scanned, or is no name."""
    if not (_is_name(name) and cases_path(name).is_file()):
        return {}
    return {case.case_id: case.patient_id for case in load_cases(name).cases}


def write_cases(listed: CaseList) -> None:
    """Write ``data_manifests/<name>.cases.json``, a line per case, the same bytes for the same cases."""
    lines = [json.dumps(asdict(case), ensure_ascii=False) for case in sorted(listed.cases, key=lambda c: c.case_id)]
    head = {"name": listed.name, "source": listed.manifest.name, "warnings": list(listed.warnings)}
    start = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    content = start + ',\n "cases": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
    write_text(cases_path(listed.name), content)


def data_folder(name: str, progress: Progress | None = None) -> Path:
    """Return the folder with this machine's files of a set; a generated set is generated there on first use. InputError
    if no folder is known; the sentence says where to get the set and what to run."""
    manifest, folder = manifest_of(name), recorded_folder(name)
    if folder is not None and folder.is_dir():
        return folder
    if manifest.access == "generated":
        return generate(manifest, _generated_folder(name), progress)
    option = "" if name == manifest.name else f" --name {name}"
    found = "no folder recorded" if folder is None else f"{folder} recorded, which is gone"
    raise InputError(
        f"{name}: expected its files on this machine, found {found}; get the set at {manifest.address} "
        f"({manifest.access}) and run: benchmark data scan {manifest.name} FOLDER{option}"
    )


def generate(manifest: Manifest, folder: Path, progress: Progress | None = None) -> Path:
    """Generate a set with the manifest's settings, unless the folder holds it already, and return the folder.
    InputError if the settings cannot be used, or the folder holds something else or cannot be written."""
    from benchmark.data.sources import phantom

    with _GENERATE_LOCK:
        phantom.generate(folder, **(manifest.generator.model_dump() if manifest.generator else {}), progress=progress)
    return folder


def scanned_folder(name: str, manifest: Manifest | None = None) -> str:
    """Return the folder where a set was scanned or is generated, "" before its first scan; it may be gone."""
    folder = recorded_folder(name)
    if folder is None and (manifest or manifest_of(name)).access == "generated":
        folder = _generated_folder(name)
    return str(folder or "")


def recorded_folder(name: str) -> Path | None:
    """Return the folder that scan recorded for a set on this machine, or None."""
    folder = _recorded().get(name)
    return Path(folder) if folder else None


def record_folder(name: str, folder: Path) -> None:
    """Remember in ``runs/data/locations.json`` where this machine has a set."""
    # A generated set in its own place is found there, and checked against the manifest's settings each time.
    if folder.resolve() != _generated_folder(name).resolve():
        write_json(_locations(), dict(sorted({**_recorded(), name: str(folder.resolve())}.items())))


def known() -> list[KnownSet]:
    """Return every set that has a manifest or a case list, by name."""
    scanned = {path.name.removesuffix(".cases.json") for path in project.manifests().glob("*.cases.json")}
    counts = {name: len(load_cases(name).cases) for name in scanned}
    sets = [(name, manifest_of(name)) for name in sorted({*_sources(), *scanned})]
    return [KnownSet(name, manifest, counts.get(name), folder_here(name, manifest)) for name, manifest in sets]


def folder_here(name: str, manifest: Manifest) -> Path | None:
    """Return the folder with this machine's files of a set, or None where it has none; nothing is generated."""
    folder = scanned_folder(name, manifest)
    return Path(folder) if folder and Path(folder).is_dir() else None


def _check(path: Path, manifest: Manifest) -> None:
    """Raise InputError with the first entry of a manifest that does not fit with the others."""
    labels = {int(label) for label in manifest.labels}
    used = {value for values in manifest.regions.values() for value in values} | set(manifest.regions_class_order)
    layout, needed = manifest.layout, NEEDED[manifest.source]
    lacking = [entry for entry in needed if not getattr(layout, entry)]
    of_modality = set(layout.images or layout.channels or manifest.modalities)
    by_position = manifest.source in ("msd", "nnunet")
    kinds, kind = {type(value) for value in layout.images.values()}, int if by_position else str
    generated = manifest.access == "generated"
    count, order = len(manifest.regions), len(manifest.regions_class_order)
    lost = _lost_labels(manifest) if count == order else {}
    of_lesions = set(manifest.lesions.smallest_of) if manifest.lesions else set()
    problems = [
        (manifest.name == path.stem, f"name: expected {path.stem}, found {manifest.name}"),
        (0 in labels, "labels: expected '0', the background, found none"),
        (used <= labels, "regions: expected only values that labels names"),
        (count == order, f"regions_class_order: expected a label per region, {count}, found {order}"),
        (not lacking, f"layout: expected {' and '.join(needed)} for {manifest.source}, found no {', '.join(lacking)}"),
        (of_modality >= {*manifest.modalities}, f"layout: expected each modality, found {', '.join(of_modality)}"),
        (kinds <= {kind}, f"layout/images: expected {'positions' if kind is int else 'ends of names'}"),
        (generated == (manifest.generator is not None), "generator: expected if access is generated, and only then"),
        ("seed" in manifest.folds, "folds: expected an entry 'seed', found none"),
        (not lost, f"regions_class_order: expected each label written in its own regions, found {lost}"),
        (of_lesions <= set(manifest.regions), "lesions/smallest_of: expected only regions of this set"),
    ]
    for holds, message in problems:
        if not holds:
            raise InputError(f"{path}: {message}.")


def write_manifest(name: str, content: Mapping[str, Any]) -> Path:
    """Write ``data_manifests/<name>.json`` if it describes a set that is not known yet, and return its path. InputError
    if the name cannot be one, is taken, or the content is no manifest; then nothing is written."""
    if not _is_name(name):
        raise InputError(f"expected a data set name of letters, digits, _ and -, found {name!r}.")
    path = project.manifests() / f"{name}.json"
    if name in _sources() or cases_path(name).exists():
        raise InputError(f"{name}: expected a name that no data set has, found that of one: {', '.join(_sources())}.")
    manifest = declared.check(path, dict(content), Manifest)
    _check(path, manifest)
    check_safe(path, "a region", manifest.regions)
    write_json(path, content)
    return path


def _lost_labels(manifest: Manifest) -> dict[int, int]:
    """Map each label to the one that is written for it, where that one lies in other regions."""
    inside: dict[int, list[bool]] = {
        int(label): [int(label) in values for values in manifest.regions.values()] for label in manifest.labels
    }
    written = {
        label: [value for value, member in zip(manifest.regions_class_order, members, strict=True) if member][-1]
        for label, members in inside.items()
        if any(members)
    }
    return {label: value for label, value in written.items() if inside.get(value) != inside[label]}


def _sources() -> list[str]:
    """Names of the sets that have a manifest, in the project or in the package."""
    folders = (project.manifests(), project.shipped("data_manifests"))
    return sorted({path.stem for folder in folders for path in folder.glob("*.json") if _is_name(path.stem)})


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name) is not None


def _generated_folder(name: str) -> Path:
    return project.runs() / "data" / name


def _locations() -> Path:
    return project.runs() / "data" / "locations.json"


def _recorded() -> dict[str, str]:
    path = _locations()
    return declared.read(path, dict[str, FileName], "the folders of data sets") if path.is_file() else {}
