"""Leave on disk how far a run is within an epoch or a prediction, and read it: for whoever watches the run."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any, Literal

from benchmark.base import declared
from benchmark.base.declared import Record
from benchmark.base.files import write_json
from benchmark.base.records import InputError

NAME = "step.json"
"""File of a run's folder that is there while an engine runs; nothing that is computed depends on it."""

EVERY_S = 3.0
"""Least seconds between two writes within a stage."""

Stage = Literal["train", "validate", "predict"]


class Step(Record):
    """Where a run is: ``done`` of ``total`` iterations of a stage, ``seconds`` after that began.

    ``before`` are the seconds that the epoch took before this stage: those of its training, seen from its validation.
    """

    stage: Stage
    done: int
    total: int
    seconds: float
    before: float = 0.0

    @property
    def epoch(self) -> float:
        """Seconds that the epoch takes to the end of this stage, if it goes on as it began; NaN before an iteration."""
        return self.before + self.seconds * self.total / self.done if self.done else math.nan


class Steps:
    """Writes ``Step`` files from within ignite's engines, by numbers that these keep on the processor anyway.

    A step costs a look at the clock: nothing waits for a GPU, no random number is drawn, and where the file cannot be
    written the run goes on without it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.began = self.written = -math.inf
        self.first, self.before = 0, 0.0

    def follow(self, engine: Any, stage: Stage) -> None:
        """Write how far an engine is whenever it runs."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_STARTED, self._start, stage)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note, stage)

    def end(self) -> None:
        """Take the file away: no engine runs any more."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _start(self, engine: Any, stage: Stage) -> None:
        now = time.monotonic()
        last = now - self.began
        self.began, self.first = now, engine.state.iteration
        # A validation may come before the first epoch.
        self.before = last if stage == "validate" and math.isfinite(last) else 0.0
        # What follows something short is likely to be short, and would be written too often.
        if last >= EVERY_S:
            self._write(engine, stage, now)

    def _note(self, engine: Any, stage: Stage) -> None:
        now = time.monotonic()
        if now - self.written >= EVERY_S:
            self._write(engine, stage, now)

    def _write(self, engine: Any, stage: Stage, now: float) -> None:
        self.written = now
        done, total = engine.state.iteration - self.first, engine.state.epoch_length
        if total is None:  # a loader without a length, in its first epoch
            return
        step = Step(stage=stage, done=done, total=total, seconds=now - self.began, before=self.before)
        with contextlib.suppress(InputError):
            write_json(self.path, step.model_dump())


def read(folder: Path, since: float) -> Step | None:
    """Read where the run of a folder is; None where nothing was written at or after the time ``since``.

    What a killed process left behind is older than the one that goes on.
    """
    path = folder / NAME
    try:
        return declared.read(path, Step, "where a run is") if path.stat().st_mtime >= since else None
    except (OSError, InputError):  # the run may take the file away at any moment
        return None
