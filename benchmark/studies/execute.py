"""Do a list of runs, each in a subprocess of its own, as many at once as there are processors or GPUs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmark.base.records import InputError, Run
from benchmark.data.folds import folds_path, of_partition, read_folds
from benchmark.data.manifest import manifest_of
from benchmark.studies import bundle, store

LEASH = "BENCHMARK_LEASH"
"""Environment variable that tells a run's process to end when its standard input does: its parent is gone."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done" or "failed", and for a failure its last log line and the command that repeats it."""

    run: Run
    state: str
    error: str = ""
    command: str = ""


def check(runs: Sequence[Run], dataset: str) -> None:
    """Refuse what cannot be run before anything is started: overrides, folds, folders of another fingerprint.

    Raises:
        InputError: for the first run that cannot.
    """
    for run, what in store.identities(runs, dataset):
        store.check(run, what)


def check_declared(runs: Sequence[Run], dataset: str) -> None:
    """Refuse ids, values, bundles, a data set and folds that do not exist, without asking for the set's files.

    Raises:
        InputError: for the first.
    """
    manifest_of(dataset)
    # Runs of one model differ in fold, seed and partition only, which any config takes.
    for run in {run.model: run for run in reversed(runs)}.values():
        bundle.frozen(run, dataset)
    largest: dict[str, int] = {}
    for run in runs:
        split = run.overrides.get("split", "patient")
        largest[split] = max(run.fold, largest.get(split, 0))
    for split, fold in largest.items():
        # Before a set is scanned it has no folds.
        if folds_path(dataset, of_partition(split)[0]).exists():
            store.check_fold(fold, len(read_folds(dataset, split)), dataset)


def check_stages(runs: Sequence[Run]) -> None:
    """Refuse a selection in which a run joins others that are neither selected nor done.

    Raises:
        InputError: naming the run and what it lacks.
    """
    chosen = {run.id for run in runs}
    for run in runs:
        if not chosen.issuperset(run.stages):
            store.check_stages(run)


def execute(
    runs: Sequence[Run],
    changes: Mapping[str, Any],
    jobs: int,
    gpus: Sequence[str],
    on_change: Callable[[Run, str], None],
    allow_code: bool = False,
) -> list[Outcome]:
    """Run what is not done, ``jobs`` at once, spread over ``gpus`` where there are any; return how each run ended.

    Runs that join others start when all those have ended.
    A run is a subprocess, so that one that is killed takes no other with it; threads only wait for them. An
    interrupt (Ctrl-C) ends the running ones and starts no more.
    """
    places: queue.Queue[str] = queue.Queue()
    for job in range(jobs):
        places.put(gpus[job % len(gpus)] if gpus else "")
    stop, words = threading.Event(), partial(command, changes=changes, allow_code=allow_code)

    def work(run: Run) -> Outcome:
        if store.state(run) != "done" and not stop.is_set():
            gpu = places.get()
            try:
                on_change(run, "running")
                _run_process(run, words(run), gpu, stop)
            finally:
                places.put(gpu)
        outcome = _outcome(run, words(run))
        on_change(run, outcome.state)
        return outcome

    with ThreadPoolExecutor(max_workers=places.qsize()) as pool:
        try:
            outcomes = []
            for joins in (False, True):
                futures = [pool.submit(work, run) for run in runs if bool(run.stages) == joins]
                outcomes += [future.result() for future in futures]
            return outcomes
        except BaseException:
            stop.set()
            raise


def visible_gpus() -> list[str]:
    """Indices of the GPUs that runs may use: CUDA_VISIBLE_DEVICES where it is set, else all that the driver lists."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu and not gpu.startswith("-")]
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return done.stdout.split() if done.returncode == 0 else []


def command(run: Run, changes: Mapping[str, Any], allow_code: bool = False) -> list[str]:
    """The command line that does one run."""
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={_plain(value)}")]
    return ["benchmark", "run", run.study, run.id, *sets, *["--allow-code"] * allow_code]


def end_with_parent() -> None:
    """End this process as soon as its parent has: a killed ``run-all`` leaves no run behind that nobody waits for."""
    if LEASH not in os.environ:
        return

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_process(run: Run, words: Sequence[str], gpu: str, stop: threading.Event) -> None:
    folder = store.folder(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Appending: the log of a run that was killed and goes on is one story.
        with (folder / "run.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=_environment(gpu),
            )  # fmt: skip
            while process.poll() is None:
                if stop.wait(timeout=0.2):
                    process.terminate()
                    process.wait()
            if process.stdin:
                process.stdin.close()
    except OSError as error:
        raise InputError(f"{folder} cannot be run: {error.strerror or error}.") from error


def _environment(gpu: str) -> dict[str, str]:
    # One thread per process in numpy and BLAS as well: runs side by side must not fight for processors.
    environment = {**os.environ, LEASH: "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {**environment, "CUDA_VISIBLE_DEVICES": gpu} if gpu else environment


def _outcome(run: Run, words: Sequence[str]) -> Outcome:
    state = store.state(run)
    if state == "done":
        return Outcome(run, "done")
    log = store.folder(run) / "run.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it was killed before it said anything")
    error = store.last_error(run) if state == "failed" else f"ended without a result; last line: {last}"
    return Outcome(run, "failed", error, shlex.join(words))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
