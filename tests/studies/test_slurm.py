"""Runs as jobs of a real Slurm of two nodes, which are requeued, preempted, told of their end, cancelled, set down."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import slurm
from helpers.project import TINY, declared, shell, write_study
from helpers.trainings import assert_same_training

from benchmark.base.records import Run
from benchmark.studies import cluster, store

pytestmark = [
    pytest.mark.slow(reason="starts Slurm's daemons, and trains one network in five jobs"),
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing()),
]

EPOCHS = 24
HELD = "os.system('seq 100 | while read i; do [ -e go ] && break; sleep 0.2; done')"
"""Holds each epoch for 20 s until there is a file: a training is disturbed and never done before."""

RECIPE = {
    **TINY["set"],
    "max_epochs": EPOCHS,
    "stop_patience": EPOCHS,
    "schedule_by": f"$lambda engine: ({HELD}, @validate#evaluator.state.metrics.get('val_loss', float('nan')))[1]",
}
RUN_ALL = [sys.executable, "-m", "benchmark", "run-all", "jobs", "--cluster", "cluster.json", "--allow-code"]


@pytest.fixture(scope="module", autouse=True)
def controller(tmp_path_factory):
    with slurm.running(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture
def start():
    """Return ``start(log)``: begin the command that does the study as jobs, to be ended with the test."""
    begun = []

    def one(log):
        with Path(log).open("w") as stream:
            begun.append(subprocess.Popen(RUN_ALL, stdout=stream, stderr=stream))
        return begun[-1]

    yield one
    for process in begun:
        process.kill()


def runs_of(*seeds):
    return [Run("jobs", "unet", "default", 0, seed) for seed in seeds]


def asked(**content):
    Path("cluster.json").write_text(json.dumps({"time": 30, "partition": "low", **content}))


def until(holds, seconds=600):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, slurm.slurm("squeue", "--array")
        time.sleep(0.2)


def starts(run):
    return Path(cluster.read_job(store.folder(run)).log).read_text().count("Starting with JobEnvironment")


def trains(run, count):
    """Wait until a run's job was started so many times and has trained another epoch since."""
    until(lambda: cluster.read_job(store.folder(run)) and Path(cluster.read_job(store.folder(run)).log).exists())
    until(lambda: starts(run) == count)
    before = len(store.history(run))
    until(lambda: len(store.history(run)) > before)
    assert not (store.folder(run) / "models" / "model.pt").exists(), "it ended before it was disturbed"


def test_a_run_that_is_disturbed_four_times_ends_as_one_that_never_was(project, start):
    kept, cancelled, _ = runs = runs_of(1, 2, 3)
    write_study("jobs", models=[{"bundle": "unet"}], seeds=[1, 2, 3], set=RECIPE)
    asked(sbatch={"comment": "a test"})
    first = start("first.log")
    trains(kept, 1)

    job = cluster.read_job(store.folder(kept)).id
    assert {cluster.read_job(store.folder(run)).id for run in runs} == {f"{job[:-2]}_{task}" for task in range(3)}
    assert f"3 runs of unet: job {job[:-2]}\n" in Path("first.log").read_text()
    second = start("second.log")
    until(lambda: Path("second.log").read_text().count("was not submitted again") == 3)
    assert f"{kept.id} is running as job {job} and was not submitted again" in Path("second.log").read_text()
    second.send_signal(signal.SIGINT)
    assert second.wait(60) == 2 and "jobs go on" in Path("second.log").read_text()

    slurm.slurm("scontrol", "requeue", job)
    trains(kept, 2)
    trains(cancelled, 1)
    slurm.slurm("scancel", cluster.read_job(store.folder(cancelled)).id)
    # What Slurm sends before the time limit.
    slurm.slurm("scancel", "--signal=USR2", job)
    trains(kept, 3)
    node = slurm.slurm("squeue", "-h", "-j", job, "-o", "%N").strip()
    slurm.slurm("sbatch", "--partition=high", "--exclusive", f"--nodelist={node}", "--output=/dev/null", "--wrap=true")
    trains(kept, 4)
    node = slurm.slurm("squeue", "-h", "-j", job, "-o", "%N").strip()
    slurm.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    trains(kept, 5)
    slurm.slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    Path("go").touch()
    assert first.wait(900) == 1

    told = Path("first.log").read_text()
    assert [store.state(run) for run in runs] == ["done", "pending", "done"] and starts(kept) == 5
    assert told.count("FAILED") == 1 and f"FAILED {cancelled.id}: job {job[:-2]}_1 ended without a result" in told
    assert "CANCELLED" in Path(told.partition("  log: ")[2].splitlines()[0]).read_text()
    assert "Report: " in told and not list(store.folder(kept).glob("error.txt"))
    folder = store.folder(kept).rename("disturbed")
    undisturbed = shell("run", "jobs", kept.id, "--allow-code")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert_same_training(folder, store.folder(kept))
    assert (folder / "scores.csv").read_bytes() == (store.folder(kept) / "scores.csv").read_bytes()


def test_a_run_that_joins_others_waits_for_their_two_jobs_and_says_that_they_failed(project):
    gated = {"bundle": "unet", "variant": "gated", "stages": ["resnet50_classifier", "unet"]}
    write_study("joined", models=[{"bundle": "unet"}, {"bundle": "resnet50_classifier"}, gated])
    runs = declared("unet", "resnet50_classifier", gated, name="joined").runs()
    asked(sbatch={"hold": True})
    words = lambda run: ["benchmark", "run", "joined", run.id]  # noqa: E731
    cluster.submit(runs, cluster.load(Path("cluster.json"), []), words, print)
    ids = {run.id: cluster.read_job(store.folder(run)).id for run in runs}
    said = slurm.slurm("squeue", "-h", "-j", ids[runs[2].id], "-o", "%E")
    assert all(f"afterany:{ids[run.id]}(unfulfilled)" in said for run in runs[:2])
    slurm.slurm("scancel", *(ids[run.id] for run in runs[:2]))
    slurm.slurm("scontrol", "release", ids[runs[2].id])
    outcomes = cluster.wait(runs, lambda run: [run.id], lambda *_: None)
    assert [outcome.state for outcome in outcomes] == ["failed"] * 3
    assert f"Run {runs[2].id} joins {runs[1].id}: expected that run to be done" in outcomes[2].error
