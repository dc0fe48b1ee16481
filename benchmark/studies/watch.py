"""Watch runs in a live table on a terminal: state, epoch, loss, validation Dice and time left of every run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmark.base.records import Run
from benchmark.studies import bundle, store


class Watch:
    """Shows runs while they run; on anything but a terminal, a line for each change of state.

    Use it as a context, and as ``on_change`` of ``execute.execute``.
    """

    def __init__(self, runs: Sequence[Run], dataset: str, console: Console) -> None:
        self.console, self.dataset = console, dataset
        self.states = {run.id: store.state(run) for run in runs}
        self.runs = list(runs)
        self.epochs = {run.id: bundle.frozen(run, dataset)["train"]["max_epochs"] for run in runs}
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
            if self.live is None and before != state:
                done = sum(s == "done" for s in self.states.values())
                took = f"{time.monotonic() - self.started:.0f} s"
                self.console.print(f"[{done}/{len(self.runs)}, {took}] {run.id}: {state}", markup=False, soft_wrap=True)

    def __rich__(self) -> Table:
        table = Table(title=f"{self.runs[0].study} on {self.dataset}: {len(self.runs)} runs", title_justify="left")
        for column in ("run", "state", "epoch", "train loss", "val loss", "val Dice or accuracy", "time left"):
            table.add_column(column, justify="left" if column in ("run", "state") else "right")
        for run in self.runs:
            table.add_row(run.id, self.states[run.id], *self._progress(run))
        return table

    def _progress(self, run: Run) -> tuple[str, ...]:
        history, epochs = store.history(run), self.epochs[run.id]
        if history.empty:
            return (f"0/{epochs}", "", "", "", "")
        last = history.iloc[-1]
        left = ""
        if self.states[run.id] == "running":
            seconds = (epochs - last["epoch"]) * history["seconds"].mean()
            left = f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
        chosen_by = "val_dice" if "val_dice" in last else "val_accuracy"
        numbers = (f"{last[key]:.3f}" for key in ("train_loss", "val_loss", chosen_by))
        return (f"{last['epoch']:.0f}/{epochs}", *numbers, left)
