"""Records of a study's runs to its ``provenance.json``, and that to what a report says of where scores are from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmark.base.files import read_json
from benchmark.base.records import InputError
from benchmark.data.folds import folds_path
from benchmark.data.manifest import cases_path
from benchmark.studies.study import Study, split_of

_TEXT, _OBJECT = {"type": "string"}, {"type": "object"}
_NUMBER = {"type": "number", "minimum": 0}
_STAGE: dict[str, Any] = {
    "type": "object",
    "properties": {"seconds": _NUMBER, "peak_memory_mb": _NUMBER, "device": _TEXT, "commit": _TEXT},
    "required": ["seconds", "peak_memory_mb", "device"],
}
_RUN: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("fingerprint", "commit", "platform", "started"), _TEXT),
        "overrides": _OBJECT,
        # Only what scored says of which commit it was in runs of any age.
        "stages": {
            "type": ["object", "null"],
            "additionalProperties": _STAGE,
            "properties": {"score": {**_STAGE, "required": [*_STAGE["required"], "commit"]}},
        },
    },
    "required": ["fingerprint", "commit", "platform", "overrides", "started", "stages"],
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "gathered": _TEXT,
        "cases_sha256": _TEXT,
        "folds_sha256": {"type": "object", "additionalProperties": _TEXT},
        "versions": {"type": "array", "items": _OBJECT},
        "code": {"type": "array", "items": _TEXT},
        "runs": {"type": "object", "additionalProperties": _RUN},
    },
    "required": ["gathered", "cases_sha256", "folds_sha256", "versions", "code", "runs"],
}
"""What ``provenance.json`` holds; ``runs`` are by their ids."""


def of_runs(study: Study, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Make the content of ``provenance.json`` from each run's ``run.json``."""
    splits = sorted({split_of(study, model) for model in study.models})
    return {
        "gathered": time.strftime("%Y-%m-%d"),
        "cases_sha256": hashlib.sha256(cases_path(study.data).read_bytes()).hexdigest(),
        "folds_sha256": {
            split: hashlib.sha256(folds_path(study.data, split).read_bytes()).hexdigest() for split in splits
        },
        "versions": [dict(t) for t in {tuple(r["identity"]["versions"].items()) for r in records.values()}],
        "code": sorted({r["identity"]["code"] for r in records.values()}),
        "runs": {run: {key: record.get(key) for key in _RUN["required"]} for run, record in records.items()},
    }


def read(study: Study) -> dict[str, Any]:
    """Read a study's ``provenance.json``.

    Raises:
        InputError: if the file is missing or has other content than SCHEMA says.
    """
    import jsonschema

    path = study.folder / "provenance.json"
    content: dict[str, Any] = read_json(path, "where the scores come from")
    error = next(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path)
        raise InputError(f"{path}: {where + ': ' if where else ''}{error.message}.")
    return content


def summary(found: Mapping[str, Any], trained: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What a report prints of ``read``; ``trained`` are the training histories, with each epoch's seconds."""
    runs = found["runs"].values()
    # Epochs from the history: what a killed and resumed run noted of training is its last process only.
    seconds = sum(float(history["seconds"].sum()) for history in trained.values())
    seconds += sum(stages["predict"]["seconds"] for run in runs if "predict" in (stages := run["stages"] or {}))
    stages = [stage for run in runs for stage in (run["stages"] or {}).values()]
    return {
        "gathered": found["gathered"],
        "runs": len(runs),
        "commit": ", ".join(sorted({run["commit"] for run in runs})),
        "commit of the scores": ", ".join(sorted({(r["stages"] or {}).get("score", r)["commit"] for r in runs})),
        "device": ", ".join(sorted({stage["device"] for stage in stages})),
        "platform": ", ".join(sorted({run["platform"] for run in runs})),
        "compute time, all runs": f"{seconds / 60:.1f} min",
        "peak memory of a run": f"{max((stage['peak_memory_mb'] for stage in stages), default=0)} MB",
        "cases sha256": found["cases_sha256"],
        "folds sha256": found["folds_sha256"],
        "code": ", ".join(found["code"]),
        "versions": {name: value for versions in found["versions"] for name, value in versions.items()},
    }
