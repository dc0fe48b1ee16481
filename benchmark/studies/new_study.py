"""Declare a new study: the fewest entries that can be run, each with a comment, and nothing of another study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.base import project
from benchmark.base.declared import check, without_comments
from benchmark.base.files import write_json
from benchmark.base.records import InputError
from benchmark.data.folds import folds_path, read_sides
from benchmark.data.manifest import cases_path, manifest_of
from benchmark.studies import bundle
from benchmark.studies.study import Study

SEEDS = (1, 2)


def entries(title: str, data: str, folds: Sequence[int], seeds: Sequence[int], models: Sequence[str]) -> dict[str, Any]:
    """Return a new study's entries, all pairs by Dice and HD95, each after a comment: an entry such as ``// folds``."""
    return {
        "// version": "Of this file's format. Keys that begin with // are comments; docs/study.md has all entries.",
        "version": 1,
        "// title": "Heading of the report.",
        "title": title,
        "// data": "The set of scans, as `benchmark data list` names it.",
        "data": data,
        "// folds": "Groups of patients, each in turn the test set of models that are trained on the other groups.",
        "folds": [*folds],
        "// seeds": "Starts of the random numbers, each a training of its own. One alone shows nothing of methods.",
        "seeds": [*seeds],
        "// models": "Folders of bundles/ to train; `set` in one changes its settings, and `variant` names that.",
        "models": [{"bundle": model} for model in models],
        "// set": "May be added: changes of the settings that all share, as max_epochs; `deviations` says why.",
        "// compare": "What is compared, and how, decided before any score is seen.",
        "compare": {
            "// metrics": "The most important first: dice is overlap, hd95 the distance of outlines in mm.",
            "metrics": ["dice", "hd95"],
            "// pairs": "Or a list of those that answer your question: fewer pairs show smaller differences.",
            "pairs": "all",
            "// margin": "May be added, and should: by metric, the largest difference that does not matter.",
            "// alpha": "Accepted risk of calling any two models different that are not.",
            "alpha": 0.05,
        },
        "// check": "What `benchmark check` calls worse than the scores that were accepted before.",
        "check": {
            "// metrics": "Scores that it looks at.",
            "metrics": ["dice"],
            "// margin": "Loss that it lets pass.",
            "margin": 0.02,
        },
    }


def new(name: str, data: str, models: Sequence[str]) -> Path:
    """Write ``reports/<name>/study.json`` and return its path: all folds, two seeds.

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
    content = entries(f"{several} on {data}", data, range(count), SEEDS, models)
    check(path, {"name": name, **without_comments(path, content)}, Study)
    if path.exists():
        raise InputError(f"{path} exists: expected a new name, or change that file.")
    write_json(path, content)
    return path
