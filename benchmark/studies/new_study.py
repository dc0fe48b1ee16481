"""Declare a new study: the fewest entries that can be run, and nothing of another study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.base import project
from benchmark.base.declared import check
from benchmark.base.files import write_json
from benchmark.base.records import InputError
from benchmark.data.folds import folds_path, read_sides
from benchmark.data.manifest import cases_path, manifest_of
from benchmark.studies import bundle
from benchmark.studies.study import Study

METRICS, SEEDS = ["dice", "hd95"], [1, 2]


def new(name: str, data: str, models: Sequence[str]) -> Path:
    """Write ``reports/<name>/study.json`` and return its path: all folds, two seeds, all pairs by Dice and HD95.

    Raises:
        InputError: if there is such a study, if the name is none, for an unknown data set or bundle, and for a set
            that was scanned and has no folds, on which nothing can be run.
    """
    path = project.reports() / name / "study.json"
    manifest, several = manifest_of(data), " and ".join(models)
    for model in models:
        bundle.compose(model)
    folds = folds_path(data, "patient")
    if cases_path(data).exists() and not folds.exists():
        raise InputError(
            f"{folds}: expected the folds of {data}, found no such file, as it has too few patients for those of its "
            f"manifest; make fewer: benchmark data folds {data} --k 3"
        )
    count = len(read_sides(folds).folds) if folds.exists() else int(manifest.folds.get("k", 1))
    content = {
        "version": 1, "title": f"{several} on {data}", "data": data, "folds": [*range(count)], "seeds": SEEDS,
        "models": [{"bundle": model} for model in models],
        "compare": {"metrics": METRICS, "pairs": "all", "alpha": 0.05},
        "check": {"metrics": METRICS[:1], "margin": 0.02},
    }  # fmt: skip
    check(path, {"name": name, **content}, Study)
    if path.exists():
        raise InputError(f"{path} exists: expected a new name, or change that file.")
    write_json(path, content)
    return path
