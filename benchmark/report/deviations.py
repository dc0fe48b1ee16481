"""A study's declaration and its configs' values to what it does otherwise than the protocol, and for which models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.report.tables import short
from benchmark.studies.study import Model, Study


class Deviation(NamedTuple):
    """Whom a setting holds for, its id and its value; ``recipe`` where only a native model's own recipe has it."""

    model: str
    key: str
    value: str
    recipe: bool = False


def deviations(study: Study, differences: Mapping[str, Mapping[str, Any]]) -> list[Deviation]:
    """Settings other than the protocol's, for all models of a track or for one; native models' own among them.

    ``differences`` maps an id to each model's value as it was run, for ids in which models differ. What a native
    model does otherwise than the models of the identical track is in there; what ``set`` says holds for it where the
    two do not differ.
    """
    named = {model.name: model for model in study.models}
    native = [name for name, model in named.items() if model.track == "native"]
    shared, own = study.settings, study.set_native
    everyone = "all models of the identical track" if native else "all models"
    rows = [Deviation(everyone, key, short(value)) for key, value in shared.items()]
    rows += [Deviation("all models of the native track", key, short(value)) for key, value in own.items() if native]
    for name, model in named.items():
        if name in native:
            rows += _recipe(name, _twin(name, named), shared, {*own, *model.settings}, differences)
        rows += [Deviation(name, key, short(value)) for key, value in model.settings.items()]
    return rows


def in_words(rows: Sequence[Deviation]) -> str:
    """Deviations in one sentence, by model; recipes, which are long and would hide the rest, by their name only."""
    by_model: dict[str, list[str]] = {}
    for row in rows:
        settings = by_model.setdefault(row.model, [])
        if not row.recipe:
            settings.append(f"{row.key} = {row.value}")
    recipes = {row.model for row in rows if row.recipe}
    more = "the rest of its own recipe under Data and runs"
    return ", ".join(
        f"{', '.join(settings + [more] * (model in recipes))} ({model})" for model, settings in by_model.items()
    )


def _twin(name: str, named: Mapping[str, Model]) -> str:
    """The model of the identical track that a native model is set beside: its bundle's plain one, else the first."""
    identical = [other for other, model in named.items() if model.track != "native"]
    plain = [
        other for other in identical
        if named[other].bundle == named[name].bundle and named[other].variant == "default"
    ]  # fmt: skip
    return next(iter([*plain, *identical]), "")


def _recipe(
    name: str, twin: str, shared: Mapping[str, Any], said: set[str], differences: Mapping[str, Mapping[str, Any]]
) -> list[Deviation]:
    """What a native model has of its own recipe: each id that its twin has otherwise; then what it shares with all."""
    ids = [key for key, by_model in differences.items() if name in by_model and by_model[name] != by_model.get(twin)]
    changed = [key for key in ids if key not in said]
    kept = [key for key in shared if key not in said and key not in changed]
    return [
        *(Deviation(name, key, short(differences[key][name]), recipe=key not in shared) for key in changed),
        *(Deviation(name, key, short(shared[key])) for key in kept),
    ]
