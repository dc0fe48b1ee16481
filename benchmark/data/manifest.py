"""A data set's name to its manifest, to the cases that were found on disk, and to the folder that holds them."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark.base import project
from benchmark.base.files import read_json, write_json, write_text
from benchmark.base.progress import Progress
from benchmark.base.records import Case, InputError

ACCESS = ("registration", "open", "generated")
UNITS = ("mm", "pixels")
_NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "title": {"type": "string"},
        "source": {"type": "string"},
        "modalities": _TEXTS,
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"pattern": "^[0-9]+$"},
            "required": ["0"],
        },
        "regions": {"type": "object", "additionalProperties": _NUMBERS, "minProperties": 1},
        "regions_class_order": _NUMBERS,
        "layout": {"type": "object"},
        "patient_pattern": {"type": "string"},
        "expected_cases": {"type": "integer", "minimum": 1},
        "licence": {"type": "string"},
        "citation": {"type": "string"},
        "address": {"type": "string"},
        "access": {"enum": list(ACCESS)},
        "pictures": {"enum": ["private", "public"]},
        "warnings": {"type": "array", "items": {"type": "string"}},
        "unit": {"enum": list(UNITS)},
        "folds": {"type": "object", "required": ["seed"]},
        "generator": {"type": "object"},
    },
    "additionalProperties": False,
}
# Preparation asks for the folder from several threads; one of them generates, the others wait for it.
_GENERATE_LOCK = threading.Lock()
SCHEMA["required"] = [key for key in SCHEMA["properties"] if key not in ("generator", "unit")]


@dataclass(frozen=True)
class Manifest:
    """Description of one published data set; the fields are those of ``data_manifests/<name>.json``.

    ``labels`` maps a label value, as text, to its meaning; ``regions`` maps a region to label values, in the order of
    a network's output channels; ``regions_class_order`` gives the label to write for a voxel in region i, where later
    regions overwrite earlier ones. ``modalities`` is the order of a network's input channels. ``unit`` is that of
    distances: "pixels" where the files do not say how large a pixel is.
    """

    name: str
    title: str
    source: str
    modalities: tuple[str, ...]
    labels: dict[str, str]
    regions: dict[str, tuple[int, ...]]
    regions_class_order: tuple[int, ...]
    layout: dict[str, Any]
    patient_pattern: str
    expected_cases: int
    licence: str
    citation: str
    address: str
    access: str
    pictures: str
    warnings: tuple[str, ...]
    folds: dict[str, Any]
    generator: dict[str, Any] = field(default_factory=dict)
    unit: str = "mm"

    def patient_of(self, case_id: str) -> str:
        """Return the patient of a case; InputError if the case id does not follow ``patient_pattern``."""
        match = re.fullmatch(self.patient_pattern, case_id)
        if match is None:
            raise InputError(f"{self.name}: expected a case id like {self.patient_pattern}, found {case_id}.")
        return match["patient"]


@dataclass(frozen=True)
class CaseList:
    """The cases of one scanned folder, sorted by case id, with the manifest they follow and what scan warned of."""

    name: str
    manifest: Manifest
    cases: tuple[Case, ...]
    warnings: tuple[str, ...] = ()

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids, each once, sorted."""
        return tuple(sorted({case.patient_id for case in self.cases}))


@dataclass(frozen=True)
class KnownSet:
    """One row of ``benchmark data list``: ``cases`` is None before a scan, ``folder`` where it is not here."""

    name: str
    manifest: Manifest
    cases: int | None
    folder: Path | None


def load_manifest(source: str) -> Manifest:
    """Read ``data_manifests/<source>.json``.

    Raises:
        InputError: if there is no such data set (the known ones are listed) or the file is not a valid manifest.
    """
    path = project.manifests() / f"{source}.json"
    if not _is_name(source) or not path.is_file():
        raise InputError(f"{source} is not a known data set; expected one of: {', '.join(_sources())}.")
    data = read_json(path, "a manifest")
    _check(path, data)
    return Manifest(
        **data
        | {key: tuple(data[key]) for key in ("modalities", "regions_class_order", "warnings")}
        | {"regions": {region: tuple(values) for region, values in data["regions"].items()}}
    )


def cases_path(name: str) -> Path:
    """Path of a scanned set's case list; InputError if the name cannot be a file name."""
    if not _is_name(name):
        raise InputError(f"expected a data set name of letters, digits, _ and -, found {name!r}.")
    return project.manifests() / f"{name}.cases.json"


def load_cases(name: str) -> CaseList:
    """Read the cases that ``benchmark data scan`` found, and their manifest.

    Raises:
        InputError: if the set was never scanned, or its file is not a case list.
    """
    path = cases_path(name)
    if not path.is_file():
        manifest = load_manifest(name)
        raise InputError(
            f"{path}: expected the cases of {name}, found no such file; "
            f"get the set at {manifest.address} ({manifest.access}) and run: benchmark data scan {name} FOLDER"
        )
    data = read_json(path, "a case list")
    try:
        manifest = load_manifest(data["source"])
        cases = tuple(
            Case(**case | {"shape": tuple(case["shape"]), "spacing": tuple(case["spacing"])}) for case in data["cases"]
        )
        warnings = tuple(data["warnings"])
    except (TypeError, KeyError) as error:
        raise InputError(f"{path}: expected a case list as benchmark data scan writes it, found {error}.") from error
    return CaseList(name, manifest, cases, warnings)


def manifest_of(name: str) -> Manifest:
    """Return the manifest of a set, also of a copy that was scanned under a name of its own and has none so called.

    Raises:
        InputError: if there is no such set.
    """
    return load_cases(name).manifest if _is_name(name) and cases_path(name).is_file() else load_manifest(name)


def write_cases(listed: CaseList) -> None:
    """Write ``data_manifests/<name>.cases.json``, a line per case, the same bytes for the same cases."""
    lines = [json.dumps(asdict(case), ensure_ascii=False) for case in sorted(listed.cases, key=lambda c: c.case_id)]
    head = {"name": listed.name, "source": listed.manifest.name, "warnings": list(listed.warnings)}
    start = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    content = start + ',\n "cases": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
    write_text(cases_path(listed.name), content)


def data_folder(name: str, progress: Progress | None = None) -> Path:
    """Return the folder with this machine's files of a set; a generated set is generated there on first use.

    Raises:
        InputError: if no folder is known; the sentence says where to get the set and what to run.
    """
    path = cases_path(name)
    source = read_json(path, "a case list").get("source", name) if path.is_file() else name
    manifest = load_manifest(source)
    folder = recorded_folder(name)
    if folder is not None and folder.is_dir():
        return folder
    if manifest.access == "generated":
        return generate(manifest, _generated_folder(name), progress)
    option = "" if name == source else f" --name {name}"
    found = "no folder recorded" if folder is None else f"{folder} recorded, which is gone"
    raise InputError(
        f"{name}: expected its files on this machine, found {found}; get the set at {manifest.address} "
        f"({manifest.access}) and run: benchmark data scan {source} FOLDER{option}"
    )


def generate(manifest: Manifest, folder: Path, progress: Progress | None = None) -> Path:
    """Generate a set with the manifest's settings, unless the folder holds it already, and return the folder.

    Raises:
        InputError: if the settings cannot be used, or the folder holds something else or cannot be written.
    """
    from benchmark.data.sources import phantom

    with _GENERATE_LOCK:
        phantom.generate(folder, **manifest.generator, progress=progress)
    return folder


def recorded_folder(name: str) -> Path | None:
    """Return the folder that scan recorded for a set on this machine, or None."""
    path = _locations()
    folder = read_json(path, "folders").get(name) if path.is_file() else None
    return Path(folder) if folder else None


def record_folder(name: str, folder: Path) -> None:
    """Remember in ``runs/data/locations.json`` where this machine has a set."""
    if folder.resolve() == _generated_folder(name).resolve():
        # A generated set in its own place is found there, and checked against the manifest's settings each time.
        return
    path = _locations()
    known_folders = read_json(path, "folders") if path.is_file() else {}
    known_folders[name] = str(folder.resolve())
    write_json(path, dict(sorted(known_folders.items())))


def known() -> list[KnownSet]:
    """Return every set that has a manifest or a case list, by name."""
    scanned = [path.name.removesuffix(".cases.json") for path in project.manifests().glob("*.cases.json")]
    rows = []
    for name in sorted({*_sources(), *scanned}):
        listed = load_cases(name) if name in scanned else None
        manifest = listed.manifest if listed else load_manifest(name)
        cases = len(listed.cases) if listed else None
        rows.append(KnownSet(name, manifest, cases, folder_here(name, manifest)))
    return rows


def folder_here(name: str, manifest: Manifest) -> Path | None:
    """Return the folder with this machine's files of a set, or None where it has none; nothing is generated."""
    folder = recorded_folder(name)
    if folder is None and manifest.access == "generated":
        folder = _generated_folder(name)
    return folder if folder and folder.is_dir() else None


def _check(path: Path, data: dict[str, Any]) -> None:
    """Raise InputError with the first thing that is wrong in a manifest."""
    import jsonschema

    error = next(jsonschema.Draft202012Validator(SCHEMA).iter_errors(data), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path) or "manifest"
        raise InputError(f"{path}: {where}: {error.message}.")
    found = {value for values in data["regions"].values() for value in values} | set(data["regions_class_order"])
    problems = [
        (data["name"] == path.stem, f"name: expected {path.stem}, found {data['name']}"),
        (data["source"] in _readers(), f"source: expected one of {', '.join(_readers())}, found {data['source']}"),
        (found <= {int(label) for label in data["labels"]}, "regions: expected only values that labels names"),
        (len(data["regions_class_order"]) == len(data["regions"]), "regions_class_order: expected a label per region"),
        ("(?P<patient>" in data["patient_pattern"], "patient_pattern: expected a group named patient, found none"),
    ]
    for holds, message in problems:
        if not holds:
            raise InputError(f"{path}: {message}.")


def _readers() -> list[str]:
    """Names of the modules in benchmark.data.sources."""
    return sorted(path.stem for path in (Path(__file__).parent / "sources").glob("[!_]*.py"))


def _sources() -> list[str]:
    """Names of the sets that have a manifest."""
    return sorted(path.stem for path in project.manifests().glob("*.json") if "." not in path.stem)


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is not None


def _generated_folder(name: str) -> Path:
    return project.runs() / "data" / name


def _locations() -> Path:
    return project.runs() / "data" / "locations.json"
