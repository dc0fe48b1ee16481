"""Show the steps of a long job as a bar on a terminal or as plain lines, and tables as wide as there is room."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int, str], None]
"""What long jobs call: ``progress(done, total, text)``; ``text`` names the step that was just finished."""

LINE_EVERY_S = 10.0
"""Longest silence in plain lines, in seconds, while steps go on being finished."""


def console(piped: int = 100, least: int = 0) -> Console:
    """Return a console for tables, ``piped`` columns wide in a file or a pipe, which have no width of their own."""
    from rich.console import Console

    terminal = Console()
    width = terminal.width if terminal.is_terminal else piped
    return terminal if terminal.is_terminal and width >= least else Console(width=max(width, least))


@contextmanager
def reporting(description: str, after: float = 0.0) -> Iterator[Progress]:
    """Yield a ``progress(done, total, text)`` that draws on standard error, so that results can be piped.

    What ends within ``after`` seconds is not shown at all.
    """
    from_then = time.monotonic() + after
    if not sys.stderr.isatty():
        shown = _lines(description)
        yield lambda done, total, text: shown(done, total, text) if time.monotonic() >= from_then else None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(show_speed=False),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[text]}"),
    )
    bar = rich_progress.Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(description, total=None, text="")

    def update(done: int, total: int, text: str) -> None:
        bar.update(task, completed=done, total=total or None, text=text)
        if time.monotonic() >= from_then:
            bar.start()

    if not after:
        bar.start()
    try:
        yield update
    finally:
        bar.stop()


def _lines(description: str) -> Progress:
    """Return a progress function that prints a line per tenth of the way and at least every LINE_EVERY_S seconds."""
    last_done, last_time = 0, time.monotonic()

    def progress(done: int, total: int, text: str) -> None:
        nonlocal last_done, last_time
        now = time.monotonic()
        tenth = total > 0 and done * 10 // total > last_done * 10 // total
        if done == total or tenth or now - last_time >= LINE_EVERY_S:
            print(f"{description} {done}/{total or '?'} {text}".rstrip(), file=sys.stderr, flush=True)
            last_done, last_time = done, now

    return progress
