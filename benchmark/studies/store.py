"""Runs to their folders, states and fingerprints, and finished run folders to one table of scores."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

import benchmark
from benchmark.base import project
from benchmark.base.files import read_json, write_json
from benchmark.base.records import InputError, Run
from benchmark.data.folds import SIDES, Fold
from benchmark.data.prepare import DataSet, case_key
from benchmark.scoring import detection, score_table
from benchmark.studies import bundle

LIBRARIES = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "nibabel")
CODE = (
    "networks",
    "training",
    "data/outlines.py",
    "data/pictures.py",
    "data/prepare.py",
    "data/slices.py",
    "data/volumes.py",
)
"""Our own code that decides what a training computes; without comments and docstrings it is in the fingerprint."""


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
    """A run's finished epochs, one a row, as ``training.handlers.Resume`` records them; empty before the first."""
    path = folder(run) / "models" / "history.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def identity(run: Run, data: DataSet, configs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Everything a run's numbers follow from: configs, patients, data, library versions and our own code.

    For a run that joins others these are the segmenter's, ``stages`` holds the others' fingerprints, None for one that
    has not begun, and ``threshold`` the probability from which on a slice is let through.
    """
    joined = {
        stage: read_json(place / "run.json", "a run's record")["fingerprint"] if (place / "run.json").exists() else None
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
        "code": code_hash(),
    }


def code_hash() -> str:
    """Hash of the syntax trees of ``CODE``."""
    package = Path(benchmark.__file__).parent
    files = sorted(
        file for part in CODE for file in ([package / part] if part.endswith(".py") else (package / part).glob("*.py"))
    )
    dumps = [_syntax(file, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256("\n".join(dumps).encode()).hexdigest()


@cache
def _syntax(file: Path, changed: int) -> str:
    """Syntax tree of a file as text, without docstrings; read once for all the runs of a study."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [part for part in node.body if not _is_text(part)]
    return ast.dump(tree)


def fingerprint(what: Mapping[str, Any]) -> str:
    """Hash of an ``identity``."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def check(run: Run, what: Mapping[str, Any]) -> None:
    """Refuse a run folder that was begun with another identity.

    Raises:
        InputError: naming the folder and the keys that differ.
    """
    path = folder(run) / "run.json"
    if not path.exists():
        return
    before = read_json(path, "a run's record")
    if before["fingerprint"] == fingerprint(what):
        return
    keys = [f"{key} ({old} -> {new})" for key, old, new in _differing(before["identity"], json.loads(json.dumps(what)))]
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


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _differing(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [row for k in keys for row in _differing(old.get(k), new.get(k), f"{key}#{k}" if key else k)]
    return [] if old == new else [(key, _short(old), _short(new))]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
