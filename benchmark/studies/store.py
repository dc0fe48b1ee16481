"""Find runs' folders, states and fingerprints, and collect the scores of finished runs in one table."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from benchmark.base import declared, project
from benchmark.base.declared import Record
from benchmark.base.files import write_json
from benchmark.base.records import InputError, Run
from benchmark.data.folds import SIDES, Fold
from benchmark.data.prepare import DataSet, case_key
from benchmark.scoring import detection, score_table
from benchmark.studies import bundle, code

LIBRARIES = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "nibabel")


class Stage(Record):
    """What a stage of a run took; ``commit`` is "" in the oldest records, ``precision`` where no network was used."""

    seconds: float
    peak_memory_mb: int | float
    device: str
    commit: str = ""
    precision: str = ""
    peak_gpu_memory_mb: int | float | None = None


class RunRecord(Record):
    """A run's ``run.json``. Version 1, which says none, hashed all files of networks and training as one text."""

    study: str
    bundle: str
    variant: str
    fold: int
    seed: int
    overrides: dict[str, Any]
    fingerprint: str
    identity: dict[str, Any]
    commit: str
    platform: str
    command: str
    started: str
    stages: dict[str, Stage] | None = None
    version: Literal[1, 2] = 1


def folder(run: Run) -> Path:
    """Folder of a run."""
    return project.runs() / run.study / run.id


def stage_folders(run: Run) -> list[Path]:
    """Folders of the runs that a run joins: classifier, segmenter; none for one that is trained itself."""
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


def state(run: Run) -> str:
    """Read a run's state off its files: "done", "failed" or "pending"."""
    place = folder(run)
    if (place / "scores.csv").exists():
        return "done"
    return "failed" if (place / "error.txt").exists() else "pending"


def last_error(run: Run) -> str:
    """Last line of a failed run's error."""
    text = (folder(run) / "error.txt").read_text(encoding="utf-8").strip()
    return text.splitlines()[-1] if text else "stopped without a message"


def history(run: Run) -> pd.DataFrame:
    """A run's finished epochs, one per row, as ``training.handlers.Resume`` records them; empty before the first."""
    path = folder(run) / "models" / "history.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def identity(run: Run, data: DataSet, configs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Everything a run's numbers follow from: configs, patients, data, library versions and our own code.

    For a run that joins others these are the segmenter's, ``stages`` holds the others' fingerprints, None for one that
    has not begun, and ``threshold`` the probability from which on a slice is let through.
    """
    joined = {
        stage: read_record(place).fingerprint if (place / "run.json").exists() else None
        for stage, place in zip(run.stages, stage_folders(run), strict=True)
    }
    return {
        **({"stages": joined, "threshold": detection.THRESHOLD} if run.stages else {}),
        "config": {
            kind: {key: value for key, value in configs[kind].items() if key not in bundle.MACHINE_IDS}
            for kind in bundle.CONFIGS
        },
        "manifest": {
            key: getattr(data.manifest, key) for key in ("modalities", "labels", "regions", "regions_class_order")
        },
        "fold": _units(data.fold(run.fold)),
        "cases": {case.case_id: case_key(case, data.manifest.modalities) for case in data.cases.cases},
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}},
        "code": code.hashes({kind: configs[kind] for kind in bundle.CONFIGS}),
    }


def fingerprint(what: Mapping[str, Any]) -> str:
    """Hash of an ``identity``; where a module of ours lies is no part of it."""
    return hashlib.sha256(json.dumps(code.without_modules(what), sort_keys=True).encode()).hexdigest()


def read_record(place: Path) -> RunRecord:
    """Read the ``run.json`` of a run's folder."""
    return declared.read(place / "run.json", RunRecord, "a run's record")


def differing(recorded: RunRecord, what: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs between the identity that a run was recorded with and another: key, old value and new value."""
    before = {**recorded.identity, "code": code.at_the_moves(recorded.identity.get("code"), what["code"])}
    return _differing(code.without_modules(before), code.without_modules(what))


def check(run: Run, what: Mapping[str, Any]) -> None:
    """Refuse a run folder that was begun with another identity.

    Raises:
        InputError: naming the folder and the keys that differ.
    """
    if not (folder(run) / "run.json").exists():
        return
    rows = differing(read_record(folder(run)), what)
    if not rows:
        return
    keys = [f"{key} ({_short(old)} -> {_short(new)})" for key, old, new in rows]
    shown = "; ".join(keys[:5]) + (f"; and {len(keys) - 5} more" if len(keys) > 5 else "")
    raise InputError(
        f"{folder(run)} holds a run with another fingerprint, which differs in {shown}: expected the same; move the "
        "folder away to run anew, or undo the change to continue it."
    )


def record(run: Run, what: Mapping[str, Any], command: str) -> None:
    """Write ``run.json`` when a run begins, and keep it as it is when a run goes on."""
    path = folder(run) / "run.json"
    if path.exists():
        return
    write_json(
        path,
        {
            "version": 2,
            "study": run.study,
            "bundle": run.bundle,
            "variant": run.variant,
            "fold": run.fold,
            "seed": run.seed,
            "overrides": run.overrides,
            "fingerprint": fingerprint(what),
            "identity": what,
            "commit": commit(),
            "platform": f"{platform.system()} {platform.machine()}",
            "command": command,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )


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
    tables = [score_table.read(folder(run) / "scores.csv") for run in runs if state(run) == "done"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(score_table.COLUMNS))


def _units(fold: Fold) -> dict[str, Any]:
    """What is on each side of a fold: its ids, or for thousands of slices a hash of them."""
    sides: dict[str, Any] = {side: list(getattr(fold, side)) for side in SIDES}
    if fold.by == "patient":
        return sides
    if fold.by == "slice":
        sides = {side: hashlib.sha256("\n".join(units).encode()).hexdigest() for side, units in sides.items()}
    return {"by": fold.by, **sides}


def _differing(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [row for k in keys for row in _differing(old.get(k), new.get(k), f"{key}#{k}" if key else k)]
    return [] if old == new else [(key, old, new)]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
