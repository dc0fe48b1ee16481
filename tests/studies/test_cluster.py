"""Runs as jobs: what a cluster.json may say, which jobs are one array, what squeue says, and jobs on this machine."""

import json
from pathlib import Path

import pytest
from helpers.project import declared, write_study

from benchmark.base.records import InputError, Run
from benchmark.studies import cluster, store, study

ASKED = {"time": 60, "gpus": 1, "cpus": 4, "sbatch": {"account": "a"}, "models": {"nnunet": {"time": 600, "gpus": 2}}}
GATED = {"bundle": "unet", "variant": "gated", "stages": ["resnet50_classifier", "unet"]}


def write(**content):
    Path("cluster.json").write_text(json.dumps(content))
    return Path("cluster.json")


def load(**content):
    return cluster.load(write(**content), ["unet", "unet/wide"])


@pytest.fixture
def runs(project):
    return declared("unet", "nnunet", "resnet50_classifier", GATED, seeds=[1, 2]).runs()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "expected an entry 'time', found none"),
        ({"time": 0}, "time: expected a number greater than or equal to 1, found 0"),
        ({"time": "12:00:00"}, 'time: expected a valid integer, found "12:00:00"'),
        ({"time": 9, "gpu": 1}, "gpu: expected no such entry, found 1"),
        ({"time": 9, "models": {"unet": {"gpu": 1}}}, "models/unet/gpu: expected no such entry, found 1"),
        ({"time": 9, "models": {"unte": {"gpus": 1}}}, "models: expected some of unet, unet/wide, attention_unet"),
        ({"time": 9, "cluster": "lsf"}, "cluster: expected 'slurm' or 'local', found \"lsf\""),
        ({"time": 9, "sbatch": {"mem": "9G"}}, "sbatch: expected 'mem' as the entry 'memory'"),
        ({"time": 9, "sbatch": {"--array": "1-9"}}, "sbatch: expected no 'array', which this program decides"),
        ({"time": 9, "sbatch": {"open_mode": "truncate"}}, "sbatch: expected no 'open-mode'"),
    ],
)
def test_a_file_that_is_not_as_declared_is_refused_by_the_name_of_the_entry(project, content, sentence):
    with pytest.raises(InputError) as error:
        load(**content)
    assert str(error.value).startswith(f"cluster.json: {sentence}")


def test_a_model_has_its_own_entries_and_else_those_of_all(project):
    asked = load(**ASKED)
    own = asked.of("nnunet")
    assert (own.time, own.gpus, own.cpus, own.sbatch) == (600, 2, 4, {"account": "a"})
    more = asked.model_copy(update={"models": {"unet": cluster.Resources(sbatch={"constraint": "h100"})}})
    assert more.of("unet").sbatch == {"account": "a", "constraint": "h100"}
    assert asked.of("unet") == cluster.Resources(time=60, gpus=1, cpus=4, sbatch={"account": "a"})


def test_runs_that_ask_for_the_same_are_one_array_and_those_that_join_others_come_last(runs):
    found = [(array.resources.gpus, [run.id for run in array.runs], array.stages) for array in
             cluster.arrays(runs, load(**ASKED))]  # fmt: skip
    ids = {name: [f"{name}/fold0-seed{seed}" for seed in (1, 2)] for name in
           ("unet/default", "nnunet/default", "resnet50_classifier/default", "unet/gated")}  # fmt: skip
    mixed = [one for pair in zip(ids["unet/default"], ids["resnet50_classifier/default"], strict=True) for one in pair]
    assert [(gpus, sorted(members)) for gpus, members, _ in found[:2]] == [
        (1, sorted(mixed)),
        (2, ids["nnunet/default"]),
    ]
    # Each waits for its own two runs only.
    for seed, (gpus, members, stages) in enumerate(found[2:], 1):
        assert (gpus, members) == (1, [f"unet/gated/fold0-seed{seed}"])
        assert stages == (f"resnet50_classifier/default/fold0-seed{seed}", f"unet/default/fold0-seed{seed}")
    assert len(found) == 4


def test_an_ensemble_of_a_two_stage_system_comes_after_it(project):
    both = {"bundle": "both", "ensemble": ["unet/gated", "nnunet"], "by": "majority"}
    found = declared(both, GATED, "unet", "nnunet", "resnet50_classifier").runs()
    order = [run.id.split("/fold")[0] for array in cluster.arrays(found, load(time=9)) for run in array.runs]
    assert set(order[:3]) == {"unet/default", "nnunet/default", "resnet50_classifier/default"}
    assert order[3:] == ["unet/gated", "both/default"]


def test_squeue_tells_which_jobs_hold_their_runs():
    text = """12_0|RUNNING|n1
12_1|PENDING|(Resources)
12_2|COMPLETING|n2
12_3|CANCELLED|n2
13|PENDING|(launch failed requeued held)
14|FAILED|(NonZeroExitCode)
15|TIMEOUT|n1

slurm_load_jobs: a warning without columns
"""
    assert cluster.read_queue(text) == {
        "12_0": ("RUNNING", "n1"),
        "12_1": ("PENDING", "Resources"),
        "12_2": ("COMPLETING", "n2"),
        "13": ("PENDING", "launch failed requeued held"),
    }


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A squeue that says what its caller is given, and nothing else of Slurm."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "bin").mkdir()

    def says(text, code=0):
        said = f"cat <<'END'\n{text}\nEND" if code == 0 else f"echo '{text}' >&2"
        (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\n{said}\nexit {code}\n")
        (tmp_path / "bin" / "squeue").chmod(0o755)

    return says


def hold(run, job, kind="slurm"):
    store.folder(run).mkdir(parents=True, exist_ok=True)
    content = {"cluster": kind, "id": job, "log": f"{job}.out"}
    (store.folder(run) / "job.json").write_text(json.dumps(content))


def test_a_run_stands_as_its_job_does_and_without_one_as_its_files_say(runs, squeue):
    squeue("7_0|RUNNING|n1\n7_1|PENDING|(Priority)\n9|REQUEUE_HOLD|(held)")
    for run, job in zip(runs, ("7_0", "7_1", "7_2", "9"), strict=False):
        hold(run, job)
    found = [(one.state, one.why) for one in cluster.stand(runs[:5])]
    expected = [("running", "n1"), ("queued", "Priority"), ("failed", ""), ("queued", "held"), ("pending", "")]
    assert found == expected
    said = ("ON n1 CANCELLED DUE TO PREEMPTION", "ON n2 CANCELLED DUE TO NODE FAILURE")
    starts = [f"submitit INFO - Starting with JobEnvironment\nslurmstepd: error: *** JOB 9 {one} ***\n" for one in said]
    Path("7_2.out").write_text("".join([*starts, "srun: error: Timed out waiting for job step to complete\n\n"]))
    (lost,) = cluster.outcomes(cluster.stand(runs[2:3]), lambda run: ["benchmark", "run", run.id])
    assert (lost.state, lost.log, lost.command) == ("failed", "7_2.out", f"benchmark run {runs[2].id}")
    assert lost.error == f"job 7_2 ended without a result; Slurm says: {said[1]}"
    Path("7_2.out").write_text(f"{starts[0]}Starting with JobEnvironment\nAborted\n")
    (lost,) = cluster.outcomes(cluster.stand(runs[2:3]), lambda run: [])
    assert lost.error == "job 7_2 ended without a result; last line: Aborted"
    own = f"Starting with JobEnvironment\nInputError: Run {runs[2].id}: ended without a result\nsrun: error: Exited\n"
    Path("7_2.out").write_text(own)
    (store.folder(runs[2]) / "run.log").write_text("Error: Expected something else.\n")
    (lost,) = cluster.outcomes(cluster.stand(runs[2:3]), lambda run: [])
    assert lost.error == "ended without a result; last line: Error: Expected something else."
    assert lost.log == str(store.folder(runs[2]) / "run.log")
    Path("7_2.out").write_text(f"{own}slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0.\n")
    (lost,) = cluster.outcomes(cluster.stand(runs[2:3]), lambda run: [])
    assert lost.error.endswith("Slurm says: Detected 1 oom-kill event(s) in StepId=7.0.") and lost.log == "7_2.out"
    with pytest.raises(InputError, match=rf"^Run {runs[1].id} is queued as job 7_1: expected no job to hold it"):
        cluster.check_free(runs[1:])
    # An array whose last job has ended is forgotten; a controller that does not answer is not.
    squeue("slurm_load_jobs error: Invalid job id specified", 1)
    assert [one.state for one in cluster.stand(runs[:5])] == ["failed"] * 4 + ["pending"]
    squeue("slurm_load_jobs error: Unable to contact slurm controller", 1)
    with pytest.raises(InputError, match=r"^squeue does not answer: .*, found: slurm_load_jobs error: Unable"):
        cluster.stand(runs)


@pytest.mark.parametrize(("file", "looks"), [("scores.csv", 17), ("error.txt", 17), (None, 19)])
def test_a_file_may_be_seen_long_after_its_job_has_left_the_queue(runs, squeue, monkeypatch, file, looks):
    run, now, told = runs[0], [0.0], []
    hold(run, "7")
    squeue("7|RUNNING|n1")

    def later(seconds):
        now[0] += seconds
        squeue("")
        if file and now[0] >= 85:
            (store.folder(run) / file).write_text("no memory left")

    monkeypatch.setattr(cluster.time, "sleep", later)
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    (outcome,) = cluster.wait([run], lambda run: [], lambda run, state: told.append(state))
    ended = "done" if file == "scores.csv" else "failed"
    assert (told, outcome.state, now[0]) == (["running", ended], ended, 5.0 * looks)


def test_a_job_that_is_requeued_is_not_given_up_however_often_it_leaves_the_queue(runs, squeue, monkeypatch):
    now, looks = [0.0], ["", "7|PENDING|(BeginTime)"] * 20
    hold(runs[0], "7")
    squeue("7|RUNNING|n1")

    def later(_):
        now[0] += 80
        squeue(looks.pop() if looks else "")
        if not looks:
            (store.folder(runs[0]) / "scores.csv").write_text("")

    monkeypatch.setattr(cluster.time, "sleep", later)
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    (outcome,) = cluster.wait(runs[:1], lambda run: [], lambda *_: None)
    assert outcome.state == "done" and not looks


def test_a_plan_says_which_job_holds_a_run(project, command, squeue):
    held, waiting, lost = runs = study.load("tiny").runs()
    for run, job in zip(runs, ("7_0", "7_1", "7_2"), strict=True):
        hold(run, job)
    squeue("7_0|RUNNING|n1\n7_1|PENDING|(Priority)")
    lines = command("plan", "tiny")[1].splitlines()
    assert lines[0].startswith("running at epoch 0 of ") and lines[0].endswith(f" {held.id}: job 7_0, n1")
    assert lines[1].startswith("queued ") and lines[1].endswith(f" {waiting.id}: job 7_1, Priority")
    assert lines[2].startswith("pending ") and lines[2].endswith(f" {lost.id}: job 7_2 ended without a result")
    assert lines[3].startswith("3 runs: 0 done, 1 running, 1 queued, 1 pending; ")
    rows = json.loads(command("plan", "tiny", "--json")[1])
    assert [(row["state"], row["job"]) for row in rows] == [("running", "7_0"), ("queued", "7_1"), ("pending", None)]
    squeue("slurm_load_jobs error: Unable to contact slurm controller", 1)
    code, out, error = command("plan", "tiny")
    assert code == 0 and out.count("pending") == 4 and error.startswith("squeue does not answer: ")


def test_a_job_leaves_a_run_to_another_that_was_given_it(runs, monkeypatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "5")
    monkeypatch.setenv("SUBMITIT_FOLDER", "jobs")
    hold(runs[0], "6")
    with pytest.raises(InputError, match=f"^Run {runs[0].id} is held by job 6: expected this job, 5"):
        cluster.Work(runs[0], ())()


STAND_IN = """
import sys
from pathlib import Path
place, *stages = map(Path, sys.argv[1:])
if "seed2" in place.name and "gated" not in str(place):
    sys.exit("no memory left")
if not all((stage / "scores.csv").exists() for stage in stages):
    sys.exit("a stage is not done")
(place / "scores.csv").write_text("")
"""


def test_jobs_of_this_machine_do_what_is_left_one_after_another(runs):
    """Jobs are submitit's, and what they call is a stand-in for ``benchmark run``."""
    Path("stand_in.py").write_text(STAND_IN)
    some, told = [run for run in runs if run.bundle == "unet"], []
    stages = {run.id: [str(store.folder(other)) for other in some if other.id in run.stages] for run in some}
    asked = load(cluster="local", time=9, setup=["export SET_UP=1"])

    def do():
        told.clear()
        words = lambda run: ["stand_in", str(store.folder(run)), *stages[run.id]]  # noqa: E731
        return cluster.do(some, asked, words, lambda run, state: told.append((run.id, state)))

    outcomes = {outcome.run.id: outcome for outcome in do()}
    plain, gated = ([f"unet/{kind}/fold0-seed{seed}" for seed in (1, 2)] for kind in ("default", "gated"))
    assert [name for name, state in told if state == "running"] == [*plain, *gated]
    assert [outcomes[name].state for name in (*plain, *gated)] == ["done", "failed", "done", "failed"]
    failed = outcomes[plain[1]]
    assert failed.error.endswith("ended without a result; last line: no memory left")
    assert "no memory left" in Path(failed.log).read_text()
    assert outcomes[gated[1]].error.endswith("a stage is not done")
    # What failed is done again, and nothing else.
    do()
    assert [name for name, state in told if state == "running"] == [plain[1], gated[1]]


@pytest.mark.slow(reason="trains a network and reports it")
def test_the_command_does_runs_as_jobs_and_collects_what_they_left(project, command):
    write_study("jobs", models=[{"bundle": "unet"}, {"bundle": "la_resunet"}])
    unet, failing = (Run("jobs", name, "default", 0, 1) for name in ("unet", "la_resunet"))
    # A weight that no check here knows and MONAI refuses, when the job has begun.
    wrong = ("--set", "la_resunet:loss#lambda_dice=-1.0", "unet:max_epochs=1")
    code, out, error = command("run-all", "jobs", "--cluster", write(cluster="local", time=9), *wrong)
    assert code == 1 and "Report: " in out and store.state(unet) == "done", error
    assert f"FAILED {failing.id}: " in error and f"log: {store.folder(failing) / 'run.log'}" in error
    assert Path(cluster.read_job(store.folder(unet)).log).exists()
    code, out, error = command("run-all", "jobs", "--collect", *wrong)
    assert code == 1 and "Report: " in out
    job = cluster.read_job(store.folder(failing)).id
    assert out.startswith(f"failed   {failing.id}: job {job} ended without a result\n2 runs: 1 done, 1 failed\n")
    assert f"FAILED {failing.id}: " in error
