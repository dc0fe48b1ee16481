"""Find runs' folders, states and fingerprints, and collect the scores of finished runs in one table."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Required

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # that of typing from Python 3.12 on only

from benchmark.base import declared, project
from benchmark.base.declared import FileName, Record, short
from benchmark.base.files import read_table, stamp, write_json
from benchmark.base.records import Case, InputError, OtherTest, Run
from benchmark.data.folds import SIDES, Fold, load_folds
from benchmark.data.manifest import cases_path, load_cases
from benchmark.data.prepare import DataSet, case_key
from benchmark.data.probabilities import FOLDER
from benchmark.data.volumes import sha256_file
from benchmark.scoring import detection, score_table
from benchmark.scoring.counts import SLICE
from benchmark.studies import bundle, code

LIBRARIES = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "nibabel")

DECIDES_BITS = (
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""Environment variables that change the last bits of a sum. Threads are not among them: a run's config sets one."""


class Stage(Record):
    """What a stage of a run took; ``commit`` is "" in the oldest records, ``precision`` where no network was used.

    ``processor_seconds`` are of all threads and of the processes that it started and that ended. ``at_once`` is how
    many runs the command that started it allowed on its device, None where it was started alone. Of a GPU's memory,
    ``peak`` is what tensors took and ``reserved`` what torch held for them. Old records have fewer entries.
    """

    seconds: float
    peak_memory_mb: int | float
    device: str
    commit: str = ""
    precision: str = ""
    processor_seconds: float | None = None
    at_once: int | None = None
    peak_gpu_memory_mb: int | float | None = None
    reserved_gpu_memory_mb: int | float | None = None


class Network(Record):
    """Size of a run's network, as ``studies.cost`` counts it for an input of this shape (channels, *spatial)."""

    parameters: int
    multiply_adds: int
    input: tuple[int, ...]


class Sides(TypedDict, total=False):
    """What is on each side of a fold: ids of what it is ``by``, patients if it says nothing, or a hash of slices."""

    by: str
    train: list[Any] | str
    validation: list[Any] | str
    test: list[Any] | str


class Described(TypedDict, total=False):
    """What a run follows from its set's manifest."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    regions: dict[str, Any]


class Identity(TypedDict, total=False):
    """Everything a run's numbers follow from."""

    config: Required[dict[str, dict[str, Any]]]
    manifest: Required[Described]
    fold: Required[Sides]
    cases: Required[dict[str, str]]
    versions: Required[dict[str, str]]
    code: Required[Any]
    stages: dict[str, str | None]
    members: dict[str, str]
    tested: dict[str, Any]
    weights: str
    by: str
    threshold: float
    precision: str


class Space(Record):
    """Orientation and voxel sizes of a training set; what these hold says ``studies.run``."""

    orientation: str
    spacing: dict[Literal["median", "smallest", "largest"], tuple[float, ...]]
    stored_as: dict[str, int]


class RunRecord(Record):
    """A run's ``run.json``. Version 1, which says none, hashed all files of networks and training as one text.

    Version 3 has ``trained_on``, along the axes of that orientation in the set's unit of length.

    ``machine`` is what decides bits besides the identity, ``patients`` who was on each side in training and testing,
    None where a dataset does not say it. ``trained`` has the checksum, size and time of change of the weights and the
    history, by name, and ``probabilities`` those of each file of them; ``predictions_sha256`` and ``scores_sha256`` are
    checksums of all predictions and of ``scores.csv``. Old records have none of these, nor the size of the ``network``
    and the identity's ``precision``.
    ``started_from`` is the checksum of the file of weights that training began from, empty for a random start.
    """

    study: str
    bundle: FileName
    variant: FileName
    fold: int
    seed: int
    overrides: dict[str, Any]
    fingerprint: str
    identity: Identity
    commit: str
    platform: str
    command: str
    started: str
    machine: dict[str, Any] = Field(default_factory=dict)
    patients: dict[str, tuple[str, ...] | None] = Field(default_factory=dict)
    trained: dict[str, tuple[str, int, int]] = Field(default_factory=dict)
    predictions_sha256: str = ""
    probabilities: dict[str, tuple[str, int, int]] = Field(default_factory=dict)
    trained_on: Space | None = None
    scores_sha256: str = ""
    network: Network | None = None
    started_from: str = ""
    stages: dict[str, Stage] | None = None
    version: Literal[1, 2, 3] = 1


def folder(run: Run) -> Path:
    """Folder of a run."""
    return project.runs() / run.study / run.id


def whose(run: Run, case: Case) -> dict[str, Any]:
    """The columns of every table of a run that say whose a row is."""
    who = {"bundle": run.bundle, "variant": run.variant, "fold": run.fold, "seed": run.seed}
    return {**who, "patient_id": case.patient_id, "case_id": case.case_id}


def stage_folders(run: Run) -> list[Path]:
    """Folders of the runs that a run joins, a classifier before its segmenter; none for one that is trained itself."""
    return [project.runs() / run.study / stage for stage in run.stages]


def check_stages(run: Run) -> None:
    """Refuse to join runs that are not done.

    Raises:
        InputError: naming the first that is not.
    """
    for stage, place in zip(run.stages, stage_folders(run), strict=True):
        if not (place / "scores.csv").exists():
            raise InputError(
                f"Run {run.id} joins {stage}: expected that run to be done, found it is not; run it first."
            )


def other_folder(run: Run, test: OtherTest) -> Path:
    """Folder of another test of a run: like a run's, without configs and weights."""
    return folder(run) / "external" / test.name


def scored(run: Run) -> bool:
    """Whether a run is trained and scored on its own test cases, whatever else it is to be tested on."""
    return (folder(run) / "scores.csv").exists()


def state(run: Run) -> str:
    """Read a run's state off its files: "done", "failed", "pending", or "pending: test_on" where only that is left."""
    place = folder(run)
    if run.trial and (place / "run.json").exists() and read_record(place).trained:
        return "done"
    if scored(run) and all((other_folder(run, test) / "scores.csv").exists() for test in run.test_on):
        return "done"
    if (place / "error.txt").exists():
        return "failed"
    return "pending: test_on" if scored(run) else "pending"


def is_locked(run: Run) -> bool:
    """Whether a process does a run, as its lock says it."""
    lock = folder(run) / ".lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def last_error(run: Run) -> str:
    """Last line of a failed run's error."""
    text = (folder(run) / "error.txt").read_text(encoding="utf-8", errors="replace").strip()
    return text.splitlines()[-1] if text else "stopped without a message"


def history(run: Run) -> pd.DataFrame:
    """A run's finished epochs, one per row, as ``training.handlers.Resume`` records them; empty before the first."""
    path, numbers = folder(run) / "models" / "history.csv", ("epoch", "train_loss", "seconds")
    return read_table(path, "a training history", numbers=numbers) if path.exists() else pd.DataFrame()


def identities(runs: Iterable[Run], dataset: str) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield runs with everything that their numbers follow from: configs, patients, data, library versions, our code.

    For a run that joins others these are those of the last, and ``stages`` holds the others' fingerprints, None for one
    that has not begun, and ``members`` what ``members`` returns; ``by`` says how an ensemble's are joined, and
    ``threshold`` of two stages is the probability from which on a slice is let through.

    Raises:
        InputError: for a run that cannot be: unknown ids, values, bundle, data set or fold.
    """
    of_data: dict[str, Any] = {}
    shared: dict[str, dict[str, Any]] = {}
    for run in runs:
        configs = bundle.frozen(run, dataset)
        split = configs["train"]["split"]
        if split not in shared:
            data = DataSet(dataset, split)
            # Each seed may have a partition of its own.
            of_data = of_data or of_set(data)
            shared[split] = {**of_data, "fold": _folds_of(data)}
        yield run, _identity(run, configs, shared[split])


def identity(run: Run, data: DataSet, configs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return everything a run's numbers follow from, as ``identities`` does."""
    return _identity(run, configs, {**of_set(data), "fold": _folds_of(data)})


def _folds_of(data: DataSet) -> list[dict[str, Any]]:
    return [_units(fold) for fold in load_folds(data.name, data.split)]


def of_set(data: DataSet) -> dict[str, Any]:
    """What the identities of all runs on a data set have in common."""
    keys, modalities = ("modalities", "labels", "regions", "regions_class_order"), data.manifest.modalities
    return {
        "manifest": {key: getattr(data.manifest, key) for key in keys},
        "cases": {case.case_id: case_key(case, modalities) for case in data.cases.cases},
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}},
    }


def _identity(run: Run, configs: Mapping[str, dict[str, Any]], shared: Mapping[str, Any]) -> dict[str, Any]:
    check_fold(run.fold, len(shared["fold"]), configs["train"]["manifest"])
    known: dict[str, Any] = {"stages": {}} if run.stages else {}
    if run.stages:
        known |= {"by": run.by} if run.by else {"threshold": detection.THRESHOLD}
        known["members"] = members(run)
    for stage, place in zip(run.stages, stage_folders(run), strict=True):
        known["stages"][stage] = read_record(place).fingerprint if (place / "run.json").exists() else None
    computed = {kind: bundle.deciding(configs[kind]) for kind in bundle.CONFIGS}
    return {
        **known,
        "config": {
            kind: {key: value for key, value in config.items() if key not in bundle.MACHINE_IDS}
            for kind, config in computed.items()
        },
        **shared,
        "fold": shared["fold"][run.fold],
        "code": code.hashes(computed),
    }


def members(run: Run, below: str | Path = "") -> dict[str, str]:
    """Return checksums of what a run joins, by its runs and folders: label maps, and for a mean probabilities too.

    ``below`` is the folder of another test in a run's folder. What a run has not made, or made before its record said
    it, has no entry.
    """
    found: dict[str, str] = {}
    for stage, place in zip(run.stages, stage_folders(run), strict=True):
        if (place / below / "run.json").exists():
            recorded = read_record(place / below)
            kept = [digest for digest, *_ in recorded.probabilities.values()] if run.by == "mean" else []
            together = hashlib.sha256("".join(kept).encode()).hexdigest() if kept else ""
            found |= {f"{stage}/predictions": recorded.predictions_sha256, f"{stage}/{FOLDER}": together}
    return {name: digest for name, digest in found.items() if digest}


def check_fold(fold: int, folds: int, dataset: str) -> None:
    """Refuse a fold that a data set of so many does not have."""
    if not 0 <= fold < folds:
        raise InputError(f"{dataset} has folds 0 to {folds - 1}, found fold {fold}.")


def fingerprint(what: Mapping[str, Any]) -> str:
    """Hash of an ``identity``; where a module of ours lies is no part of it."""
    return hashlib.sha256(json.dumps(code.without_modules(what), sort_keys=True).encode()).hexdigest()


def read_record(place: Path) -> RunRecord:
    """Read the ``run.json`` of a run's folder."""
    return declared.read(place / "run.json", RunRecord, "a run's record")


def differing(recorded: RunRecord, what: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs between the identity that a run was recorded with and another: key, old value and new value.

    The precision is no difference where one of them does not say it: it follows from a machine, and only a run that
    computes there asks for it. Members are compared where both have a checksum: old records have none.
    """
    before = {**recorded.identity, "code": code.at_the_moves(recorded.identity["code"], what["code"])}
    # Most is equal, and thousands of cases are compared faster than rewritten.
    keys = [key for key in dict.fromkeys([*before, *what]) if before.get(key) != what.get(key)]
    keys = [key for key in keys if key not in ("precision", "members") or (key in before and key in what)]
    old: dict[str, Any] = {key: before.get(key) for key in keys}
    new: dict[str, Any] = {key: what.get(key) for key in keys}
    if "members" in keys:
        both = sorted(old["members"].keys() & new["members"].keys())
        old["members"], new["members"] = ({name: side["members"][name] for name in both} for side in (old, new))
    return _differing(code.without_modules(old), code.without_modules(new))


def machine(device: str = "") -> dict[str, Any]:
    """What decides the last bits of a run besides its identity; ``device`` where it is known."""
    environment = {name: os.environ[name] for name in DECIDES_BITS if name in os.environ}
    return {**_built(), "environment": environment, **({"device": device} if device else {})}


@lru_cache(maxsize=1)
def _built() -> dict[str, str]:
    """Instruction set of this machine and linear algebra of numpy."""
    built = np.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    instructions = [platform.machine(), *built.get("SIMD Extensions", {}).get("found", [])]
    return {"processor": " ".join(instructions), "blas": f"{blas.get('name')} {blas.get('version')}"}


def check(run: Run, what: Mapping[str, Any], device: str = "", place: Path | None = None, here: bool = True) -> None:
    """Refuse a run folder that was begun with another identity, or one to be gone on with ``here``, on another machine.

    ``place`` is that of another test of the run, where it is not the run's own.

    Raises:
        InputError: naming the folder and the keys that differ.
    """
    place = place or folder(run)
    if not (place / "run.json").exists():
        return
    recorded = read_record(place)
    rows = differing(recorded, what)
    if here and recorded.machine and not (place / "scores.csv").exists():
        rows += _differing(recorded.machine, {**recorded.machine, **machine(device)}, "machine")
    if rows:
        keys = [f"{key} ({short(old)} -> {short(new)})" for key, old, new in rows]
        shown = "; ".join(keys[:5]) + (f"; and {len(keys) - 5} more" if len(keys) > 5 else "")
        raise InputError(
            f"{place} holds a run with another fingerprint, which differs in {shown}: expected the same; move "
            "the folder away to run anew, or undo the change to continue it."
        )


def record(run: Run, what: Mapping[str, Any], command: str, device: str = "", place: Path | None = None) -> None:
    """Write ``run.json`` when a run or another test of it begins, and keep it as it is when that goes on."""
    path = (place or folder(run)) / "run.json"
    if path.exists():
        return
    declared_as = {key: value for key, value in vars(run).items() if key not in ("stages", "test_on", "by", "trial")}
    begun = {
        "fingerprint": fingerprint(what),
        "identity": what,
        "commit": commit(),
        "platform": f"{platform.system()} {platform.machine()}",
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(device),
    }
    write_json(path, {"version": 3, **declared_as, **begun})


def commit() -> str:
    """The project's git commit, with ``-dirty`` where tracked files were changed, or "unknown" outside git.

    What a report wrote into ``reports/`` is no change: it is made from runs and decides nothing in one.
    """
    try:
        head, changed = (
            subprocess.run(["git", *command], cwd=project.root(), capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    paths = [line[3:].strip('"') for line in changed.splitlines()]
    dirty = any(not path.startswith("reports/") or path.endswith("study.json") for path in paths)
    return head.strip() + ("-dirty" if dirty else "")


def collect(runs: Iterable[Run]) -> pd.DataFrame:
    """Join the scores of finished runs into one table with ``score_table.COLUMNS``; empty if there are none."""
    tables = [scores(run) for run in runs if scored(run)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(score_table.COLUMNS))


def collect_other(runs: Iterable[Run], test: OtherTest) -> pd.DataFrame:
    """Join the scores of another test of finished runs, as ``collect`` does."""
    there = [run for run in runs if (other_folder(run, test) / "scores.csv").exists()]
    tables = [scores(run, other_folder(run, test)) for run in there]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(score_table.COLUMNS))


def scores(run: Run, place: Path | None = None) -> pd.DataFrame:
    """Read the scores of a finished run, or those of another test of it in ``place``.

    Raises:
        InputError: if the table is not the one that the run's record says was written: whose it is, which patients,
            cases and regions it has, and its checksum; or if the weights are no longer those that it was made with.
    """
    place = place or folder(run)
    path, recorded = place / "scores.csv", read_record(place)
    table = score_table.read(path)
    for key in ("bundle", "variant", "fold", "seed"):
        for found in {getattr(recorded, key), *table[key].tolist()} - {getattr(run, key)}:
            raise _changed(path, f"{key} {getattr(run, key)}", f"{key} {found}")
    what = recorded.identity
    unit = {None: "patient_id", "case": "case_id"}.get(what["fold"].get("by"))
    if unit:
        _check_same(path, f"the {unit} of the test side", what["fold"].get("test", []), table[unit])
    for unknown in sorted(set(table["case_id"]) - set(what["cases"])):
        raise _changed(path, "cases of the data set only", unknown)
    for lost in sorted(_cases_of(what) - set(table["case_id"])):
        raise _changed(path, f"every session of the patients of the test side, {lost} too", "none of it")
    classifies = what["config"].get("inference", {}).get("task") == "classification"
    regions = [SLICE] if classifies else [*what["manifest"].get("regions", {})]
    for case, rows in table.groupby("case_id", sort=False):
        _check_same(path, f"the regions of case {case}", regions, rows["region"])
    # Last, as it does not say what is wrong.
    if recorded.scores_sha256 and (found := sha256_file(path)) != recorded.scores_sha256:
        raise _changed(path, f"sha256 {recorded.scores_sha256[:12]}…", f"{found[:12]}…")
    check_trained(folder(run))
    return table


def trained(place: Path) -> dict[str, tuple[str, int, int]]:
    """What tells the weights and the history in a run's folder from others, as a run's record has it."""
    return {name: _described(place / "models" / name) for name in ("model.pt", "history.csv")}


def probabilities(place: Path) -> dict[str, tuple[str, int, int]]:
    """What tells the probabilities in a run's folder from others, as a run's record has it."""
    return {path.name: _described(path) for path in sorted((place / FOLDER).glob("[!.]*"))}


def _described(path: Path) -> tuple[str, int, int]:
    return (sha256_file(path), *stamp(path)[:2])


def check_trained(place: Path) -> None:
    """Refuse weights or a history that are not those that a run's training left; weights may be gone.

    Raises:
        InputError: naming the file.
    """
    for name, described in read_record(place).trained.items():
        path = place / "models" / name
        if name != "model.pt" or path.exists():
            _check_file(path, described, "move its folder away and train anew")


def check_probabilities(place: Path) -> None:
    """Refuse probabilities that are not those that a run made; the folder of all may be gone.

    Raises:
        InputError: naming the first file.
    """
    again = f"remove its folders predictions and {FOLDER} and its scores.csv, and run the study again to predict anew"
    for name, described in read_record(place).probabilities.items() if (place / FOLDER).is_dir() else ():
        _check_file(place / FOLDER / name, described, again)


def _check_file(path: Path, described: tuple[str, int, int], again: str) -> None:
    """Refuse a file of another checksum; one of the same size and time of change is taken for the same."""
    digest, *written = described
    if not path.exists():
        raise _changed(path, f"sha256 {digest[:12]}…", "no such file", again)
    if [*stamp(path)[:2]] != written and (found := sha256_file(path)) != digest:
        raise _changed(path, f"sha256 {digest[:12]}…", f"{found[:12]}…", again)


def predictions_sha256(place: Path) -> str:
    """Hash of the names and bytes of the predictions in a run's folder."""
    lines = [f"{sha256_file(path)}  {path.name}\n" for path in sorted((place / "predictions").glob("[!.]*"))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_predictions(place: Path) -> None:
    """Refuse predictions that are not those that a run made.

    Raises:
        InputError: naming their folder.
    """
    expected, path = read_record(place).predictions_sha256, place / "predictions"
    if expected and (found := predictions_sha256(place)) != expected:
        again = "remove the folder and its scores.csv, and run the study again to predict anew"
        raise _changed(path, f"sha256 {expected[:12]}… of all files", f"{found[:12]}…", again)


def _cases_of(what: Identity) -> set[str]:
    """Cases of the patients that a run was tested on, as far as the data set's case list is here to tell."""
    name = what["config"].get("train", {}).get("manifest", "")
    if what["fold"].get("by") or not cases_path(name).is_file():
        return set()
    tested = set(what["fold"].get("test", []))
    return {case.case_id for case in load_cases(name).cases if case.patient_id in tested} & set(what["cases"])


def _check_same(path: Path, what: str, expected: Sequence[Any], found: Iterable[Any]) -> None:
    lacking, more = set(map(str, expected)) - set(found), set(found) - set(map(str, expected))
    if lacking or more:
        few = ", ".join([*(f"no {name}" for name in sorted(lacking)), *map(str, sorted(more))][:3])
        raise _changed(path, f"{what} as run.json has them", few)


def _changed(path: Path, expected: str, found: str, again: str = "") -> InputError:
    again = again or "remove the file and run the study again to score anew"
    return InputError(f"{path} is not what its run wrote: expected {expected}, found {found}; {again}.")


def _units(fold: Fold) -> dict[str, Any]:
    """What is on each side of a fold: its ids, or for thousands of slices a hash of them."""
    sides: dict[str, Any] = {side: list(getattr(fold, side)) for side in SIDES}
    if fold.by == "patient":
        return sides
    if fold.by == "slice":
        sides = {side: hashlib.sha256("\n".join(units).encode()).hexdigest() for side, units in sides.items()}
    return {"by": fold.by, **sides}


def _differing(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [row for k in keys for row in _differing(old.get(k), new.get(k), f"{key}#{k}" if key else k)]
    return [(key, old, new)]
