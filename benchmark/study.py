"""A study's ``study.json`` to the list of its runs, and a selection of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import project
from benchmark.files import read_json
from benchmark.records import InputError, Run

DEFAULT = "quickstart"
SELECTORS = ("bundle", "variant", "fold", "seed")
_WHOLE = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
_NAMES = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
_PAIR = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
_MODEL = {
    "type": "object",
    "properties": {
        "bundle": {"type": "string"},
        "variant": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$"},
        "set": {"type": "object"},
    },
    "required": ["bundle"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "data": {"type": "string"},
        "folds": _WHOLE,
        "seeds": _WHOLE,
        "models": {"type": "array", "items": _MODEL, "minItems": 1},
        "set": {"type": "object"},
        "deviations": {"type": "string"},
        "compare": {
            "type": "object",
            "properties": {
                "metrics": _NAMES,
                "pairs": {"anyOf": [{"const": "all"}, {"type": "array", "items": _PAIR, "minItems": 1}]},
                "test": {"enum": ["wilcoxon", "paired_t"]},
                "alpha": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            },
            "required": ["metrics"],
            "additionalProperties": False,
        },
        "check": {
            "type": "object",
            "properties": {"metrics": _NAMES, "margin": {"type": ["number", "object"]}},
            "required": ["metrics", "margin"],
            "additionalProperties": False,
        },
        "notes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "data", "folds", "seeds", "models", "compare"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Study:
    """What ``reports/<name>/study.json`` declares before anything is run.

    ``models`` are bundles with an optional ``variant`` name and what it changes (``set``); ``set`` holds the declared
    deviations from the protocol for every model and ``deviations`` says why; ``compare`` declares metrics, pairs,
    test and alpha; ``check`` the metrics and margin of a regression.
    """

    name: str
    title: str
    data: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    models: tuple[dict[str, Any], ...]
    compare: dict[str, Any]
    set: dict[str, Any] = field(default_factory=dict)
    deviations: str = ""
    check: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the study is declared and its report is written."""
        return project.reports() / self.name

    def runs(self, changes: Mapping[str, Any] | None = None) -> list[Run]:
        """Every run of the study, by model, fold and seed; ``changes`` are more ids to set in all of them."""
        return [
            Run(
                study=self.name,
                bundle=model["bundle"],
                variant=model.get("variant", "default"),
                fold=fold,
                seed=seed,
                overrides={**self.set, **model.get("set", {}), **(changes or {})},
            )
            for model in self.models
            for fold in self.folds
            for seed in self.seeds
        ]


def names() -> list[str]:
    """Names of all studies, sorted."""
    return sorted(path.parent.name for path in project.reports().glob("*/study.json"))


def load(name: str) -> Study:
    """Read a study.

    Raises:
        InputError: for an unknown study, a missing or mistyped entry, a model without a bundle or named twice.
    """
    path = project.reports() / name / "study.json"
    if name not in names():
        raise InputError(f"There is no study {name!r}: expected one of {', '.join(names())} (folders of reports/).")
    content = read_json(path, "a study")
    import jsonschema

    error = next(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path)
        raise InputError(f"{path}: {where + ': ' if where else ''}{error.message}.")
    from benchmark.metrics import METRICS

    for name in {*content["compare"]["metrics"], *content.get("check", {}).get("metrics", [])} - set(METRICS):
        raise InputError(f"{path}: there is no metric {name!r}: expected one of {', '.join(METRICS)}.")
    models = [(model["bundle"], model.get("variant", "default")) for model in content["models"]]
    if len(set(models)) < len(models):
        raise InputError(f"{path}: models: bundle and variant together must differ; found {models}.")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    return Study(name=name, **values)


def select(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """Keep the runs that meet every condition ``key=value``; conditions on one key are alternatives.

    Raises:
        InputError: for a condition that is not of that form or that no run meets.
    """
    wanted: dict[str, set[str]] = {}
    for condition in conditions:
        key, _, value = condition.partition("=")
        if key not in SELECTORS or not value:
            raise InputError(f"Cannot select by {condition!r}: expected {', '.join(f'{key}=…' for key in SELECTORS)}.")
        if value not in (known := sorted({str(getattr(run, key)) for run in runs})):
            raise InputError(f"No run has {condition}: expected {key} to be one of {', '.join(known)}.")
        wanted.setdefault(key, set()).add(value)
    chosen = [run for run in runs if all(str(getattr(run, key)) in values for key, values in wanted.items())]
    if not chosen:
        raise InputError(f"No run meets {' and '.join(conditions)} together: expected at least one.")
    return chosen
