"""Time training where freed memory is kept, as `benchmark run-all` has it, against glibc's own ways, in turns.

Run it from the repository's root, on the built-in phantom: ``PYTHONPATH=. python research/speed/memory.py [--bundle
unet] [--size 240 240] [--batch 8]``. Each turn is a process of its own that trains for some steps; seconds are those of
the process on the processor. The ratio can be compared between machines, the seconds cannot.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

from benchmark.studies.execute import KEPT

CHILD = "RESEARCH_MEMORY_CHILD"


def train(bundle: str, size: list[int], batch: int, steps: int) -> None:
    """Train for ``steps`` steps and, after a first epoch of as many, print seconds a step and peak memory in MB."""
    from ignite.engine import Events
    from training import config

    parser = config(bundle, size, batch * steps, batch, amp=False)
    parser.update({"max_epochs": 2})
    trainer, began = parser.get_parsed_content("train#trainer"), [0.0]
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: began.append(time.process_time()))
    trainer.run()
    seconds = (time.process_time() - began[-1]) / steps
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


class Turn(NamedTuple):
    """Seconds of the processor a step, and peak memory in MB, of one process."""

    seconds: float
    memory: float


def turn(arguments: list[str], kept: bool) -> Turn:
    """Train in a process of its own, with or without the memory kept."""
    plain = {name: value for name, value in os.environ.items() if name not in KEPT}
    environment = {**plain, **(KEPT if kept else {}), CHILD: "1", "OMP_NUM_THREADS": "1"}
    said = subprocess.run([sys.executable, __file__, *arguments], env=environment, capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stderr[-2000:])
    return Turn(*json.loads(said.stdout.strip().split("\n")[-1]))


def main() -> None:
    """Print seconds a step and peak memory of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="unet")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 240])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if CHILD in os.environ:
        return train(given.bundle, given.size, given.batch, given.steps)
    turns = [(turn(sys.argv[1:], True), turn(sys.argv[1:], False)) for _ in range(given.rounds)]
    print(f"{given.bundle}, {given.size}, batch {given.batch}: ratio", end=" ")
    print(f"{statistics.median(plain.seconds / kept.seconds for kept, plain in turns):.2f}", end="")
    for name, side in zip(("kept", "handed back"), zip(*turns, strict=True), strict=True):
        seconds, memory = (statistics.median(column) for column in zip(*side, strict=True))
        print(f"; memory {name}: {seconds:.2f} s a step, at most {memory:.0f} MB", end="")
    print()


if __name__ == "__main__":
    main()
