"""Choose a value for each model of the track ``tuned`` by trainings that are validated and tested on nobody.

``tuned.json`` in a study's folder has those trainings' validation scores. Which value a model gets follows from them
and is written nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from benchmark.base import declared
from benchmark.base.declared import Record, short
from benchmark.base.files import write_json
from benchmark.base.records import InputError, Run
from benchmark.stats.estimates import watched
from benchmark.studies import store

if TYPE_CHECKING:
    from benchmark.studies.study import Model, Study


class Trial(Record):
    """A training with one of the values; ``validation`` is the score by which it keeps its weights, epoch by epoch.

    ``set`` is all that it was set to, ``fingerprint`` and ``commit`` are those of its run.
    """

    run: str
    set: dict[str, Any]
    score: str
    validation: Annotated[tuple[float, ...], Field(min_length=1)]
    fingerprint: str
    commit: str

    @property
    def best(self) -> float:
        """Validation score of the weights that it keeps: the highest."""
        return max(self.validation)


class Tuned(Record):
    """The file ``tuned.json``: every trial of a study."""

    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]
    version: Literal[1] = 1


def path_of(study: Study) -> Path:
    """Where a study's trials are recorded."""
    return study.folder / "tuned.json"


def trials(study: Study) -> list[Run]:
    """The trainings that choose the values of all tuned models."""
    return [run for model in study.tuned for run in study.trials(model)]


def write(study: Study) -> Path:
    """Record the trials of a study, all of which are done, in ``tuned.json``.

    Raises:
        InputError: for a trial that is not done, or whose weights or history are not those that it left.
    """
    done = tuple(_recorded(run) for run in trials(study))
    write_json(path_of(study), Tuned(trials=done).model_dump(mode="json"))
    return path_of(study)


def _recorded(run: Run) -> Trial:
    if store.state(run) != "done":
        raise InputError(f"Trial {run.id}: expected a training that ended, found it {store.state(run)}.")
    store.check_trained(store.folder(run))
    history, record = store.history(run), store.read_record(store.folder(run))
    score = watched(history)
    # Epochs between two validations have none.
    curve = tuple(round(float(value), 6) for value in history[score] if math.isfinite(value))
    return Trial(
        run=run.id, set=run.overrides, score=score, validation=curve, fingerprint=record.fingerprint,
        commit=record.commit,
    )  # fmt: skip


def is_done(study: Study) -> bool:
    """Whether ``tuned.json`` is there."""
    return path_of(study).exists()


def read(study: Study, model: Model) -> list[Trial]:
    """Return a model's trials, in the order of the declared values.

    Raises:
        InputError: if the file is missing, lacks one of them, or has one with other settings than the study has now.
    """
    assert study.tune is not None
    path, again = path_of(study), f"`benchmark tune {study.argument}`"
    if not path.exists():
        raise InputError(f"{path} does not exist: expected the {study.tune.id} of {model.name}; run {again} first.")
    there = {trial.run: trial for trial in declared.read(path, Tuned, "a study's trials").trials}
    expected = study.trials(model)
    for run in expected:
        if run.id not in there:
            raise InputError(f"{path}: expected trial {run.id}, found none; move the file away and run {again}.")
        now, then = run.overrides, there[run.id].set
        for key in [key for key in {**now, **then} if now.get(key) != then.get(key)]:
            raise InputError(
                f"{path}: trial {run.id}: expected {key} {short(now.get(key))} as the study has it, found "
                f"{short(then.get(key))}; move the file away and run {again}."
            )
    return [there[run.id] for run in expected]


def settings(study: Study, model: Model) -> dict[str, Any]:
    """Return what was chosen for a model: the value with the highest validation score, of equal ones the first.

    Raises:
        InputError: as ``read``.
    """
    assert study.tune is not None
    return {study.tune.id: study.tune.values[chosen(read(study, model))]}


def chosen(done: Sequence[Trial]) -> int:
    """Place of the trial with the highest validation score, of equal ones the first."""
    return max(range(len(done)), key=lambda place: done[place].best)


def in_words(study: Study) -> list[str]:
    """Say for each tuned model what each value gave and which was chosen.

    Raises:
        InputError: as ``read``.
    """
    assert study.tune is not None
    said = []
    for model in study.tuned:
        done = read(study, model)
        scores = ", ".join(f"{value:g} {one.best:.3f}" for value, one in zip(study.tune.values, done, strict=True))
        value = study.tune.values[chosen(done)]
        said.append(f"{model.name}: {study.tune.id} {value:g}, of {scores} ({done[0].score})")
    return said
