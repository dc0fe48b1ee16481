"""Do a list of runs, each in a subprocess of its own, as many at once as processors or a GPU's memory allow."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.base.records import InputError, Run
from benchmark.data.folds import folds_path, of_partition, read_folds
from benchmark.data.manifest import check_labels, manifest_of
from benchmark.studies import bundle, other_tests, store

LEASH = "BENCHMARK_LEASH"
"""Environment variable that tells a run's process to end when its standard input does: its parent is gone."""

AT_ONCE = "BENCHMARK_AT_ONCE"
"""Environment variable that tells a run's process how many runs may share its device, to be recorded."""

KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
"""What tells glibc to keep memory that was freed: it would hand each large tensor back and have it zeroed again, which
takes up to a quarter of a training's time on a processor (research/README.md). Other systems' libraries ignore it."""

FREE_SHARE = 0.9
"""Share of a GPU's free memory that runs may fill together."""

CONTEXT_MB = 1024
"""Memory of a GPU that a process is taken to need beside what torch holds, for the driver and its libraries."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done" or "failed", and of a failure what it said last, the command that repeats it, its log."""

    run: Run
    state: str
    error: str = ""
    command: str = ""
    log: str = ""


def check(runs: Sequence[Run], dataset: str, here: bool = True) -> None:
    """Refuse what cannot be run before anything is started: overrides, folds, folders of another fingerprint.

    Not ``here`` is what other machines go on with: they compare what decides bits on a machine themselves.

    Raises:
        InputError: for the first run that cannot.
    """
    for run, what in store.identities(runs, dataset):
        store.check(run, what, here=here)
        for test in other_tests.begun(run):
            store.check(run, other_tests.identity(run, test, what), place=store.other_folder(run, test), here=here)


def check_declared(runs: Sequence[Run], dataset: str) -> None:
    """Refuse ids, values, bundles, a data set and folds that do not exist, without asking for the set's files.

    Raises:
        InputError: for the first.
    """
    manifest_of(dataset)
    for name in dict.fromkeys([dataset, *(test.data for run in runs for test in run.test_on if test.data)]):
        check_labels(name)
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
    jobs: int | None,
    gpus: Sequence[str],
    on_change: Callable[[Run, str], None],
    allow_code: bool = False,
) -> list[Outcome]:
    """Run what is not done, ``jobs`` at once, spread over ``gpus`` where there are any; return how each run ended.

    With None it is one run per processor, and on GPUs ``fitting``, once each model has a run that measured its memory:
    until then one per GPU. Runs that join others start when all those have ended.
    A run is a subprocess, so that one that is killed takes no other with it; threads only wait for them. An
    interrupt (Ctrl-C) ends the running ones and starts no more.
    """
    words = partial(command, changes=changes, allow_code=allow_code)
    trained, *joined = in_order(runs)
    alone = _to_be_measured(trained) if gpus and jobs is None else []
    outcomes = _at_once(alone, len(gpus), gpus, words, on_change)
    at_once = jobs or (fitting(trained, gpus) if gpus else os.cpu_count() or 1)
    left = [run for run in trained if run not in alone]
    for several in (left, *joined):
        outcomes += _at_once(several, at_once, gpus, words, on_change)
    return sorted(outcomes, key=lambda outcome: runs.index(outcome.run))


def in_order(runs: Sequence[Run]) -> tuple[list[Run], list[Run], list[Run]]:
    """Return runs in groups of which each joins runs of those before: trained ones, what joins these, what joins that.

    An ensemble may join systems of two stages.
    """
    joined = {run.id for run in runs if run.stages}
    groups: tuple[list[Run], list[Run], list[Run]] = ([], [], [])
    for run in runs:
        groups[bool(run.stages) + (not joined.isdisjoint(run.stages))].append(run)
    return groups


def fitting(
    runs: Sequence[Run], gpus: Sequence[str], free: Callable[[str], float] | None = None, processors: int | None = None
) -> int:
    """How many of these runs fit on all GPUs at once: by memory, and no more than there are processors.

    Each is taken to need as much as the one of them that needed most, with a margin; ``free`` gives a GPU's free
    memory in MiB. One per GPU where a model has no run that says what it needed. That several at once are faster than
    one after another has not been measured.
    """
    needs = {model: _needed(runs, model) for model in {run.model for run in runs if store.state(run) != "done"}}
    if not all(needs.values()):
        return len(gpus)
    most = max(needs.values(), default=0) + CONTEXT_MB
    room = min(int(FREE_SHARE * (free or free_memory)(gpu) // most) for gpu in gpus)
    by_processors = (processors or os.cpu_count() or 1) // len(gpus)
    return len(gpus) * max(1, min(room, by_processors))


def _needed(runs: Sequence[Run], model: str) -> float:
    """Most memory of a GPU in MiB that torch held in a training of a model; 0 where no run of it says so."""
    found = [0.0]
    for run in runs:
        if run.model == model and (store.folder(run) / "run.json").exists():
            stages = store.read_record(store.folder(run)).stages or {}
            # What predicts can need more than what trains, so that both must have ended.
            if {"train", "predict"} <= set(stages):
                found += [stage.reserved_gpu_memory_mb or 0 for stage in stages.values()]
    return max(found)


def _to_be_measured(runs: Sequence[Run]) -> list[Run]:
    """The first run that is not done of each model of which no run says how much memory it needs."""
    left = {run.model: run for run in reversed(runs) if store.state(run) != "done"}
    return [run for model, run in reversed(left.items()) if not _needed(runs, model)]


def _at_once(
    runs: Sequence[Run],
    jobs: int,
    gpus: Sequence[str],
    words: Callable[[Run], list[str]],
    on_change: Callable[[Run, str], None],
) -> list[Outcome]:
    jobs, places = min(jobs, sum(store.state(run) != "done" for run in runs)) or 1, queue.Queue[str]()
    for job in range(jobs):
        places.put(gpus[job % len(gpus)] if gpus else "")
    stop, sharing = threading.Event(), -(-jobs // max(len(gpus), 1))

    def work(run: Run) -> Outcome:
        if store.state(run) != "done" and not stop.is_set():
            gpu = places.get()
            try:
                on_change(run, "running")
                _run_process(run, words(run), _environment(gpu, sharing), stop)
            finally:
                places.put(gpu)
        outcome = outcome_of(run, words(run))
        on_change(run, outcome.state)
        return outcome

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            return [future.result() for future in [pool.submit(work, run) for run in runs]]
        except BaseException:
            stop.set()
            raise


def do_alone(run: Run, words: Sequence[str]) -> Outcome:
    """Do one run by its command line, on all that a cluster's job has, and return how it ended.

    The run's process ignores the signals that announce the end of a job: it goes on while it may, and ends with this
    process, which answers them.
    """
    _run_process(run, words, _environment("", 1), threading.Event(), ignoring=(signal.SIGTERM, signal.SIGUSR2))
    return outcome_of(run, words)


def free_memory(gpu: str) -> float:
    """Free memory of a GPU in MiB as the driver says it; 0 where it does not."""
    words = ["nvidia-smi", "-i", gpu, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0.0


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


def _run_process(
    run: Run,
    words: Sequence[str],
    environment: Mapping[str, str],
    stop: threading.Event,
    ignoring: Sequence[signal.Signals] = (),
) -> None:
    folder = store.folder(run)

    def ignore() -> None:
        for one in ignoring:
            signal.signal(one, signal.SIG_IGN)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Appending: the log of a run that was killed and goes on is one story.
        with (folder / "run.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment,
                preexec_fn=ignore if ignoring else None,
            )  # fmt: skip
            while process.poll() is None:
                if stop.wait(timeout=0.2):
                    process.terminate()
                    process.wait()
            if process.stdin:
                process.stdin.close()
    except OSError as error:
        raise InputError(f"{folder} cannot be run: {error.strerror or error}.") from error


def _environment(gpu: str, sharing: int) -> dict[str, str]:
    # One thread per process in numpy and BLAS as well: runs side by side must not fight for processors.
    environment = {
        **KEPT, **os.environ, LEASH: "1", AT_ONCE: str(sharing), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"
    }  # fmt: skip
    return {**environment, "CUDA_VISIBLE_DEVICES": gpu} if gpu else environment


def outcome_of(run: Run, words: Sequence[str]) -> Outcome:
    """How a run ended that no process does any more, from its files; ``words`` are its command line."""
    state = store.state(run)
    if state == "done":
        return Outcome(run, "done")
    log = store.folder(run) / "run.log"
    error = store.last_error(run) if state == "failed" else f"ended without a result; {last_line(log)}"
    return Outcome(run, "failed", error, shlex.join(words), str(log) if log.exists() else "")


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, in words."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it was killed before it said anything")
    return f"last line: {last}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
