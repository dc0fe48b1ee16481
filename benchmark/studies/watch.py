"""Watch runs in a live table on a terminal: state, phase, epoch, loss, validation Dice and time left of every run."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmark.base.files import read_json
from benchmark.base.records import Run
from benchmark.stats.estimates import watched
from benchmark.studies import bundle, steps, store
from benchmark.studies.steps import Step

TAIL = 20_000
"""Bytes at the end of a log in which its phase is looked for; a phase that says more is a training."""

WITHOUT = " + validation"
"""What a time left does not hold while no validation has begun."""


class Watch:
    """Shows runs while they run; on anything but a terminal, a line for each change of state.

    Use it as a context, and as ``on_change`` of ``execute.execute``. Times left follow from the runs that are done and
    from the epochs that have ended. Before any has, from the steps of the first one: until its validation begins that
    is a time without validation, and said to be.
    """

    def __init__(self, runs: Sequence[Run], dataset: str, console: Console) -> None:
        self.console, self.dataset = console, dataset
        self.states = {run.id: store.state(run) for run in runs}
        self.runs = list(runs)
        self.epochs = {run.id: bundle.epochs(run, dataset) for run in runs}
        self.took = {run.id: _took(run) for run in runs if self.states[run.id] == "done"}
        self.began: dict[str, float] = {}
        self.live = Live(self, console=console, refresh_per_second=1) if console.is_terminal else None
        self.lock = threading.Lock()
        self.started = time.monotonic()

    def __enter__(self) -> Watch:
        if self.live:
            self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.__exit__(None, None, None)

    def __call__(self, run: Run, state: str) -> None:
        """Note that a run's state changed."""
        with self.lock:
            before, self.states[run.id] = self.states[run.id], state
            if before == state:
                return
            if state == "running":
                self.began[run.id] = time.time()
            elif state == "done":
                epochs, after = _took(run)
                # A process takes time to start, too.
                seen = time.time() - self.began.get(run.id, time.time()) - epochs
                self.took[run.id] = epochs, max(after, seen)
            if self.live is None:
                took = f"{time.monotonic() - self.started:.0f} s"
                place = f"[{self._done()}/{len(self.runs)}, {took}{self._left_in_words()}]"
                self.console.print(f"{place} {run.id}: {state}", markup=False, soft_wrap=True)

    def __rich__(self) -> Table:
        said = f"{self._done()} of {len(self.runs)} runs done{self._left_in_words()}"
        table = Table(title=f"{self.runs[0].study} on {self.dataset}: {said}", title_justify="left")
        for column in ("run", "state", "epoch", "train loss", "val loss", "val Dice or accuracy", "time left"):
            table.add_column(column, justify="left" if column in ("run", "state") else "right")
        for run in self.runs:
            table.add_row(run.id, self._state(run), *self._progress(run))
        return table

    def _done(self) -> int:
        return sum(state == "done" for state in self.states.values())

    def _state(self, run: Run) -> str:
        state, step = self.states[run.id], self._step(run)
        if state != "running":
            return state
        return f"{state}: {step.stage} {step.done}/{step.total}" if step else f"{state}: {_phase(run)}"

    def _step(self, run: Run) -> Step | None:
        return steps.read(store.folder(run), self.began[run.id]) if run.id in self.began else None

    def _progress(self, run: Run) -> tuple[str, ...]:
        history, epochs = store.history(run), self.epochs[run.id]
        count = len(history) and int(history["epoch"].iloc[-1])
        # Epochs between two validations have no numbers of it.
        seen = [history.get(name, pd.Series()).dropna() for name in ("train_loss", "val_loss", watched(history))]
        numbers = [f"{values.iloc[-1]:.3f}" if len(values) else "" for values in seen]
        left, why = self._left(run, history) if self.states[run.id] == "running" else (None, "")
        clock = "" if left is None else f"{_clock(left)}{why}"
        return (f"{count}/{epochs}" if epochs else "", *numbers, clock)

    def _left(self, run: Run, history: pd.DataFrame) -> tuple[float | None, str]:
        """Seconds that a run still takes, and what they leave out: of its epochs, and of what runs of its model took
        after them; None where nothing tells it."""
        known = [took for id_, took in self.took.items() if id_.split("/")[:2] == run.id.split("/")[:2]]
        if len(history):
            return self._of_epochs(run, history) + sum(rest for _, rest in known) / max(len(known), 1), ""
        if known := known or list(self.took.values()):
            return sum(map(sum, known)) / len(known), ""
        step = self._step(run)
        if step is None or not step.done or step.stage == "predict":
            return None, ""
        left = self.epochs[run.id] * step.epoch - step.before - step.seconds
        return max(left, 0.0), WITHOUT * (step.stage == "train")

    def _of_epochs(self, run: Run, history: pd.DataFrame) -> float:
        """Seconds of the epochs that a run has left, by those that have ended and by the time since the last one."""
        path, mean = store.folder(run) / "models" / "history.csv", float(history["seconds"].mean())
        since = max(self.began.get(run.id, time.time()), path.stat().st_mtime)
        # As much of the next one as there can be while it has not ended.
        within = min(max(time.time() - since, 0.0), 0.99 * mean)
        left = self.epochs[run.id] - int(history["epoch"].iloc[-1])
        return left * mean - within if left > 0 else 0.0

    def _left_in_words(self) -> str:
        """The time left in all, taking that as many runs go on beside each other as do now; empty if it is unknown."""
        rest = [run for run in self.runs if self.states[run.id] not in ("done", "failed")]
        found = [self._left(run, store.history(run)) for run in rest]
        known = [left for left, _ in found if left is not None]
        if not known:
            return ""
        why = max(why for _, why in found)
        at_once = max(sum(state == "running" for state in self.states.values()), 1)
        # A run of which nothing is known is taken to be as long as the others.
        return f", about {_clock(sum(known) / len(known) * len(rest) / min(at_once, len(rest)))}{why} left"


def _phase(run: Run) -> str:
    """What a run is doing: the last line of its log that names a stage."""
    path = store.folder(run) / "run.log"
    if not path.exists():
        return "start"
    with path.open("rb") as log:
        log.seek(max(path.stat().st_size - TAIL, 0))
        named = re.findall(r"^--- (.+)$", log.read().decode(errors="replace"), re.MULTILINE)
    return str(named[-1]).strip() if named else "train"


def _took(run: Run) -> tuple[float, float]:
    """Seconds of a finished run's epochs, and of its stages after them."""
    path, history = store.folder(run) / "run.json", store.history(run)
    stages = (read_json(path, "a run's record").get("stages") or {}) if path.exists() else {}
    after = sum(stage["seconds"] for name, stage in stages.items() if name != "train")
    return (0.0 if history.empty else float(history["seconds"].sum())), float(after)


def _clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds: 1:02:03, or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
