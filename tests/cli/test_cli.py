"""The command line end to end: a study to its report, failures that stay alone, kills that change nothing, a check."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.project import TINY, shell, write_study
from helpers.results import pages_text

from benchmark import cli
from benchmark.base.records import InputError, Run
from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS
from benchmark.studies import bundle, execute, store, study

IDS = ["unet/default/fold0-seed1", "resunet_tversky/default/fold0-seed1", "la_resunet/default/fold0-seed1"]
PREPARING = "preparing "


def table(path):
    return score_table.read_tidy(Path(path))


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).glob("runs/tiny/*/*/*/**/*") if path.is_file()}


# The whole way


def test_run_all_ends_with_every_run_done_and_says_where_the_report_is(unbroken):
    folder, process = unbroken
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert [line.partition("] ")[2] for line in lines[:-2]] == [f"{i}: {s}" for i in IDS for s in ("running", "done")]
    assert lines[-2:] == [
        f"Report: {folder / 'reports/tiny/report.md'}",
        f"In a browser: {folder / 'reports/tiny/report.html'}",
    ]
    assert all(line.startswith(PREPARING) for line in process.stderr.splitlines())


def test_the_score_table_is_dense(unbroken):
    scores = table(unbroken[0] / "reports" / "tiny" / "scores.csv")
    folds = json.loads((unbroken[0] / "data_manifests" / "phantom.folds.json").read_text())["folds"]
    cases = json.loads((unbroken[0] / "data_manifests" / "phantom.cases.json").read_text())["cases"]
    tested = {case["case_id"]: case["patient_id"] for case in cases if case["patient_id"] in folds[0]["test"]}
    keys = ["bundle", "variant", "fold", "seed", "patient_id", "case_id", "region", "metric"]
    expected = {
        (bundle, "default", 0, 1, patient, case, region, metric)
        for bundle in ("unet", "resunet_tversky", "la_resunet")
        for case, patient in tested.items()
        for region in ("WT", "TC", "ET")
        for metric in (*METRICS, *COUNTS)
    }
    assert {"dice", "iou", "sensitivity", "specificity", "precision", "accuracy", "hd95"} <= set(METRICS)
    assert len(scores) == len(expected)
    assert set(scores[keys].itertuples(index=False, name=None)) == expected
    values = pd.to_numeric(scores["value"])
    assert values.notna().all() and (values >= 0).all()
    shares = [name for name, metric in METRICS.items() if not metric.unit]
    assert (values[scores["metric"].isin(shares)] <= 1).all()


def test_what_the_study_leaves_behind(unbroken):
    reports = unbroken[0] / "reports" / "tiny"
    comparisons = pd.read_csv(reports / "comparisons.csv")
    assert len(comparisons) >= 3 * 3 * 2  # pairs, regions, declared metrics
    assert {"unet", "resunet_tversky", "la_resunet"} <= set(comparisons.astype(str).to_numpy().ravel())
    report = pages_text(reports)
    assert "PHANTOM" in report.upper() and TINY["deviations"] in report
    costs = pd.read_csv(reports / "costs.csv").set_index("model")
    assert list(costs.index) == [name.partition("/")[0] for name in IDS] and costs.loc["unet", "input"] == "4 x 32 x 32"
    told = costs[["parameters", "multiply_adds", "epoch_seconds", "processor_hours", "host_memory_mb", "at_once"]]
    assert (told > 0).all(axis=None) and (costs["epochs"] == TINY["set"]["max_epochs"]).all()
    assert (costs["inference_case_seconds"] > 0).all() and "## Cost" in report
    assert "\\begin{tabular}" in (reports / "report.tex").read_text(encoding="utf-8")
    figures = {path.name: path.read_bytes()[:8] for path in (reports / "figures").iterdir()}
    expected = {"training_curves.png", "boxplot_dice.png", *(f"panels_{name.partition('/')[0]}.png" for name in IDS)}
    assert expected <= set(figures)
    assert set(figures.values()) == {b"\x89PNG\r\n\x1a\n"}
    for name in figures:
        assert f"figures/{name}" in report


def test_a_run_folder_is_a_bundle_with_its_record_and_predictions(unbroken):
    import nibabel
    import numpy as np

    from benchmark.data.sources.phantom import SUFFIXES

    folder = unbroken[0] / "runs" / "tiny" / IDS[0]
    assert not (folder / "error.txt").exists()
    record = json.loads((folder / "run.json").read_text())
    assert {"fingerprint", "identity", "commit", "platform", "command", "started", "stages", "machine"} <= set(record)
    for stage in ("train", "predict"):
        assert {"seconds", "processor_seconds", "peak_memory_mb", "device"} <= set(record["stages"][stage])
        assert record["stages"][stage]["precision"] in record["identity"]["precision"].split(", ")
        assert record["stages"][stage]["at_once"] == 1
    assert record["patients"] == {side: sorted(record["identity"]["fold"][side]) for side in record["patients"]}
    assert set(record["patients"]) == {"train", "validation", "test"}
    assert record["scores_sha256"] == hashlib.sha256((folder / "scores.csv").read_bytes()).hexdigest()
    config = json.loads((folder / "configs" / "train.json").read_text())
    assert {key: config[key] for key in TINY["set"]} == TINY["set"]
    predictions = sorted((folder / "predictions").iterdir())
    scores = table(folder / "scores.csv")
    assert [path.name for path in predictions] == sorted(f"{case}.nii.gz" for case in set(scores["case_id"]))
    for path in predictions:
        case = path.name.removesuffix(".nii.gz")
        image = nibabel.load(unbroken[0] / "runs" / "data" / "phantom" / case / f"{case}{SUFFIXES['T1']}.nii")
        prediction = nibabel.load(path)
        assert prediction.shape == image.shape and prediction.get_data_dtype() == np.uint8
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-5)
        assert set(np.unique(np.asarray(prediction.dataobj))) <= {0, 1, 2, 4}


def test_scores_are_those_of_the_predictions_by_another_library(unbroken):
    """Dice of the written label maps by MONAI, on the publisher's files."""
    import nibabel
    import numpy as np
    import torch
    from monai.metrics import compute_dice

    for run_id in IDS:
        folder = unbroken[0] / "runs" / "tiny" / run_id
        scores = table(folder / "scores.csv").set_index(["case_id", "region", "metric"])
        for path in (folder / "predictions").iterdir():
            case = path.name.removesuffix(".nii.gz")
            truth = unbroken[0] / "runs" / "data" / "phantom" / case / f"{case}_seg.nii"
            for region, values in {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}.items():
                masks = [np.isin(np.asarray(nibabel.load(file).dataobj), values) for file in (path, truth)]
                if masks[1].any():
                    expected = compute_dice(*(torch.from_numpy(mask)[None, None].float() for mask in masks))
                    found = float(scores.loc[(case, region, "dice"), "value"])
                    assert found == pytest.approx(float(expected), abs=1e-6)


def test_running_again_does_nothing(finished, command, undrawn):
    before, scores = mtimes(finished), (finished / "reports/tiny/scores.csv").read_bytes()
    report = (finished / "reports/tiny/report.md").read_bytes()
    code, out, _ = command("run-all", "tiny", "--jobs", "1")
    assert code == 0 and out.startswith(f"Report: {finished / 'reports/tiny/report.md'}\n")
    assert mtimes(finished) == before
    assert (finished / "reports/tiny/scores.csv").read_bytes() == scores
    assert (finished / "reports/tiny/report.md").read_bytes() == report


def test_a_report_is_made_from_its_tables_alone(finished, command, undrawn):
    """As in a fresh clone, where runs/ is not there."""
    before = (finished / "reports/tiny/comparisons.csv").read_bytes()
    (finished / "runs").rename(finished / "elsewhere")
    code, _, err = command("report", "tiny")
    assert (code, err) == (0, "")
    assert (finished / "reports/tiny/comparisons.csv").read_bytes() == before


def test_one_broken_run_stops_no_other_and_is_named_at_the_end(finished, command, undrawn):
    broken, other = (finished / "runs" / "tiny" / IDS[index] for index in (0, 2))
    for path in (broken / "scores.csv", broken / "models" / "model.pt", other / "scores.csv"):
        path.unlink()
    (broken / "models" / "last.pt").write_bytes(b"")
    untouched = {path: stamp for path, stamp in mtimes(finished).items() if IDS[1] in str(path)}
    code, out, err = command("run-all", "tiny", "--jobs", "1")
    assert code == 1
    assert f"{IDS[0]}: failed" in out and f"{IDS[2]}: done" in out
    errors = [line for line in err.splitlines() if not line.startswith(PREPARING)]
    assert errors[0].startswith(f"FAILED {IDS[0]}: ") and "last.pt cannot be read" in errors[0]
    assert errors[1] == f"  repeat with: benchmark run tiny {IDS[0]}"
    assert errors[2].startswith("  log: ") and Path(errors[2][7:]).samefile(broken / "run.log")
    assert len(errors) == 4 and "has 1 run that is not finished here and stays as it is; this one is of 2" in errors[3]
    assert {path: stamp for path, stamp in mtimes(finished).items() if IDS[1] in str(path)} == untouched
    # The report of the others says what is missing; the whole one is replaced only where that is asked for.
    others = {"resunet_tversky", "la_resunet"}
    assert out.splitlines()[-2] == f"Report: {finished / 'runs/tiny/partial/report.md'}"
    assert set(table("runs/tiny/partial/scores.csv")["bundle"]) == others
    assert IDS[0] in pages_text(Path("runs/tiny/partial"))
    assert set(table("reports/tiny/scores.csv")["bundle"]) == {"unet", *others}
    code, out, err = command("report", "tiny", "--replace")
    assert code == 0 and "had 1 run that is not finished here; the tables with them are kept in" in err
    assert out.startswith(f"Report: {finished / 'reports/tiny/report.md'}\n")
    assert {path.stem[:7] for path in Path("runs/tiny/superseded").iterdir()} >= {"scores-"}
    assert set(table("reports/tiny/scores.csv")["bundle"]) == others


def test_a_kill_in_the_middle_leaves_no_orphan_and_the_rerun_equals_an_unbroken_one(
    project, unbroken, command, undrawn
):
    import torch

    folder = project / "runs" / "tiny" / IDS[0]
    arguments = ["run-all", "tiny", "--select", "bundle=unet", "fold=0", "--jobs", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 600
        while not (folder / "models" / "last.pt").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        children = children_of(process)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL and len(children) == 1
    until = time.monotonic() + 10
    while alive(children[0]) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(children[0])
    assert (folder / "models" / "last.pt").exists() and not (folder / "scores.csv").exists()
    assert json.loads(command("plan", "tiny", "--json", "--select", "bundle=unet")[1])[0]["state"] == "interrupted"

    code, _, err = command(*arguments)
    assert code == 0, err
    expected = unbroken[0] / "runs" / "tiny" / IDS[0]
    assert (folder / "scores.csv").read_bytes() == (expected / "scores.csv").read_bytes()
    for path in (expected / "predictions").iterdir():
        assert (folder / "predictions" / path.name).read_bytes() == path.read_bytes()
    one, other = (torch.load(place / "models" / "model.pt", weights_only=True) for place in (folder, expected))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert not [path for path in project.rglob(".*") if path.is_file() and path.name != ".lock"]


def children_of(process):
    files = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text().split()]


def alive(pid):
    """Whether a process runs; one that ended and that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


# The check


def test_check_accepts_passes_and_fails_naming_the_model(finished, command):
    code, out, err = command("check", "tiny")
    assert code == 2 and "baseline.csv does not exist" in err and "--accept" in err
    assert command("check", "tiny", "--accept") == (0, "tiny: baseline accepted.\n", "")
    told = (
        f"tiny on phantom: no regression shown (scores.csv against baseline.csv in {finished / 'reports' / 'tiny'}).\n"
    )
    assert command("check", "tiny") == (0, told, "")

    baseline = Path("reports/tiny/baseline.csv")
    doctored = score_table.read(baseline)
    doctored.loc[doctored["bundle"] == "la_resunet", "dice"] += 0.2
    score_table.write(baseline, doctored)
    code, out, err = command("check", "tiny")
    assert (code, err) == (1, "")
    assert out.splitlines() and all(line.startswith("tiny on phantom: la_resunet: ") for line in out.splitlines())
    assert "WT dice fell from" in out and "(-0.200" in out

    # What an accepted baseline replaces is kept.
    assert command("check", "tiny", "--accept")[0] == 0
    assert list((finished / "runs/tiny/superseded").glob("baseline-*.csv"))


def test_check_misses_a_model_that_is_gone(finished, command):
    command("check", "tiny", "--accept")
    scores = Path("reports/tiny/scores.csv")
    score_table.write(scores, score_table.read(scores).query("bundle != 'unet'"))
    code, out, _ = command("check", "tiny")
    assert code == 1 and out.startswith("tiny on phantom: unet: in the baseline, but has no scores now")


def test_check_needs_a_rule_and_scores(project, command):
    code, _, err = command("check", "tiny")
    assert code == 2 and "scores.csv does not exist" in err
    write_study("norule")
    path = project / "reports/norule/study.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "check"}))
    code, _, err = command("check", "norule")
    assert code == 2 and "has no entry 'check'" in err


# Plans and selections


def test_plan_lists_ids_states_and_folders(project, command):
    (project / "runs/tiny" / IDS[0]).mkdir(parents=True)
    (project / "runs/tiny" / IDS[0] / "scores.csv").touch()
    (project / "runs/tiny" / IDS[1]).mkdir(parents=True)
    (project / "runs/tiny" / IDS[1] / "error.txt").touch()
    code, out, err = command("plan", "tiny", "--json")
    assert (code, err) == (0, "")
    states = ("done", "failed", "pending")
    rest = {"epoch": 0, "epochs": TINY["set"]["max_epochs"], "differs": [], "job": None}
    assert json.loads(out) == [
        {"id": run, "state": state, "folder": str(project / "runs" / "tiny" / run), **rest}
        for run, state in zip(IDS, states, strict=True)
    ]
    code, out, _ = command("plan", "tiny")
    assert [line.split() for line in out.splitlines()[:3]] == [
        [state, run] for run, state in zip(IDS, states, strict=True)
    ]
    assert out.splitlines()[3].startswith("3 runs: 1 done, 1 failed, 1 pending; folders below ")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--select", "bundle=unet", "fold=0"], 1),
        (["--select", "bundle=unet", "--select", "fold=0"], 1),
        (["--select", "bundle=unet", "bundle=la_resunet", "--json"], 2),
        (["--json", "--select", "seed=1"], 3),
    ],
)
def test_one_flag_takes_several_conditions(project, command, arguments, count):
    code, out, _ = command("plan", "tiny", *arguments, *([] if "--json" in arguments else ["--json"]))
    assert code == 0 and len(json.loads(out)) == count


@pytest.mark.parametrize(
    ("given", "spread"),
    [
        (["run-all", "s", "--select", "a=1", "b=2", "--jobs", "2"], "run-all s --select a=1 --select b=2 --jobs 2"),
        (["--set", "a=1", "b=[1, 2]", "--select", "c=3"], "--set a=1 --set b=[1, 2] --select c=3"),
        (["--set", "a=1", "study"], "--set a=1 study"),
        (["--select", "a=1", "study", "b=2"], "--select a=1 study b=2"),
        (["--jobs", "a=1", "b=2"], "--jobs a=1 b=2"),
        (["--set", "a=-1", "b=x=y"], "--set a=-1 --set b=x=y"),
        (["--set=a=1", "--json"], "--set=a=1 --json"),
    ],
)
def test_flags_are_repeated_only_where_they_apply(given, spread):
    assert " ".join(cli._spread(given)) == spread


def test_values_of_set_have_types():
    texts = [
        "max_epochs=5",
        "learning_rate=1e-3",
        "amp=true",
        "spatial_size=[32, 32]",
        "manifest=phantom",
        "a=$1+1",
        "b=",
    ]
    assert cli._changes(texts) == {
        "max_epochs": 5, "learning_rate": 0.001, "amp": True, "spatial_size": [32, 32], "manifest": "phantom",
        "a": "$1+1", "b": "",
    }  # fmt: skip
    for text in ("max_epochs", "=5"):
        with pytest.raises(InputError, match="expected ID=VALUE"):
            cli._changes([text])


def test_set_reaches_the_runs_and_the_command_that_repeats_one():
    run = Run("tiny", "unet", "default", 0, 1)
    changes = cli._changes(["spatial_size=[32, 32]", "manifest=phantom", "amp=true", "unet:loss::alpha=0.5"])
    assert changes["unet:loss::alpha"] == 0.5
    words = execute.command(run, changes)
    assert words[:4] == ["benchmark", "run", "tiny", IDS[0]]
    assert cli._changes([word for word in words[4:] if word != "--set"]) == changes


# What is refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "nothing"], "There is no study 'nothing': expected one of farfold, mistyped, strange, tiny"),
        (["run-all", "nothing"], "There is no study 'nothing'"),
        (["report", "nothing"], "There is no study 'nothing'"),
        (["check", "nothing"], "There is no study 'nothing'"),
        (["report", "tiny"], "Study tiny has no finished run"),
        (["run", "tiny", "unet/default/fold9-seed1"], "has no run 'unet/default/fold9-seed1'"),
        (["run-all", "tiny", "--select", "bundle=unet2"], "No run has bundle=unet2"),
        (["plan", "tiny", "--select", "unet"], "Cannot select by 'unet'"),
        (["run-all", "tiny", "--set", "epocs=9"], "There is no id 'epocs'"),
        (["run-all", "tiny", "--set", "max_epochs=nine"], "Id 'max_epochs' cannot be 'nine'"),
        (["run", "tiny", IDS[0], "--set", "epocs=9"], "There is no id 'epocs'"),
        (["run-all", "tiny", "--set", "max_epochs"], "expected ID=VALUE"),
        (["run-all", "tiny", "--set", "la_resunet:epocs=9"], "There is no id 'epocs'"),
        (["run-all", "tiny", "--set", "unetpp:amp=true"], "Cannot set 'unetpp:amp': expected a bundle of the study"),
        (["run-all", "tiny", "--jobs", "0"], "--jobs is 0: expected at least 1"),
        (["run-all", "strange"], "There is no bundle 'unet2': expected one of attention_unet, highresnet, la_resunet"),
        (["run-all", "mistyped"], "There is no id 'chanels'"),
        (["run-all", "farfold"], "phantom has folds 0 to 0, found fold 7"),
        (["compose", "unet2"], "There is no bundle 'unet2'"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2_and_starts_nothing(project, command, arguments, sentence):
    write_study("strange", models=[{"bundle": "unet2"}])
    write_study("mistyped", set={"chanels": [4, 8]})
    write_study("farfold", folds=[7])
    before = sorted(path.name for path in (project / "runs").iterdir())
    code, out, err = command(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith(PREPARING)]
    assert code == 2 and out == ""
    assert len(lines) == 1 and lines[0].startswith("Error: ") and sentence in lines[0]
    assert sorted(path.name for path in (project / "runs").iterdir()) == before


def test_a_mistyped_id_is_refused_before_the_long_work(project, command):
    assert len(command("run-all", "tiny", "--set", "epocs=9")[2].splitlines()) == 1


def test_a_folder_of_another_fingerprint_is_refused_naming_the_key(finished, command):
    before = mtimes(finished)
    code, out, err = command("run-all", "tiny", "--set", "learning_rate=0.002")
    assert (code, out) == (2, "")
    assert f"{IDS[0]} holds a run with another fingerprint" in err
    assert "config#train#learning_rate (0.001 -> 0.002)" in err
    assert mtimes(finished) == before


def test_outside_a_project_it_says_so(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command("plan", "tiny")
    assert code == 2 and "is not inside a benchmark project" in err and len(err.splitlines()) == 1


def test_compose_writes_what_drifted_and_nothing_else(project, command):
    assert command("compose") == (0, "".join(f"{name}: unchanged\n" for name in bundle.names()), "")
    (project / "bundles/unet/configs/train.json").write_text("{}")
    assert command("compose", "unet") == (0, "unet: train.json\n", "")
    assert command("compose", "unet") == (0, "unet: unchanged\n", "")


def test_help_is_light_and_lists_the_commands():
    code = (
        "import sys, benchmark.cli; print([m for m in ('numpy', 'pandas', 'torch', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    shown = shell("--help")
    assert shown.returncode == 0
    for name in ("plan", "run-all", "run", "report", "check", "score", "compose", "data"):
        assert f" {name} " in shown.stdout


# Many runs, each by a stand-in that needs no second: what matters is how processes end

WORKER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path("runs", sys.argv[2], sys.argv[3])
kind = sys.argv[3].split("/")[1]
print("gpu", os.environ.get("CUDA_VISIBLE_DEVICES", ""), os.environ["OMP_NUM_THREADS"], sys.argv[4:], flush=True)
if kind == "sleep":
    time.sleep(60)
if kind == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "refused":
    (folder / "error.txt").write_text("Traceback\\nValueError: on purpose\\n")
    raise SystemExit(1)
if kind == "silent":
    raise SystemExit(3)
time.sleep(0.05)
print("memory", *[value for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_")])
(folder / "scores.csv").write_text("")
"""


@pytest.fixture
def worker(project, monkeypatch):
    (project / "worker.py").write_text(WORKER)
    real = execute.command
    monkeypatch.setattr(execute, "command", lambda run, **given: ["worker", *real(run, **given)[1:]])

    def runs(*kinds):
        return [Run("stand", "unet", kind, 0, seed) for seed, kind in enumerate(kinds)]

    return runs


def test_failed_and_killed_runs_leave_the_others_alone(worker):
    runs, seen = worker("fine", "killed", "refused", "silent", "fine"), []
    outcomes = execute.execute(runs, {"amp": True}, 2, [], lambda run, state: seen.append((run.variant, state)))
    assert [outcome.run for outcome in outcomes] == runs
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "failed", "failed", "done"]
    assert [outcome.error for outcome in outcomes][1:4] == [
        "ended without a result; last line: gpu  1 ['--set', 'amp=true']",
        "ValueError: on purpose",
        "ended without a result; last line: gpu  1 ['--set', 'amp=true']",
    ]
    assert outcomes[1].command == "worker run stand unet/killed/fold0-seed1 --set amp=true"
    assert sorted(seen) == sorted(
        [(run.variant, "running") for run in runs] + [(o.run.variant, o.state) for o in outcomes]
    )


def test_no_more_runs_at_once_than_asked_for_and_gpus_in_turn(worker):
    running, most = set(), []

    def note(run, state):
        (running.add if state == "running" else running.discard)(run.id)
        most.append(len(running))

    runs = worker(*["fine"] * 5)
    outcomes = execute.execute(runs, {}, 2, ["3", "7"], note)
    assert {outcome.state for outcome in outcomes} == {"done"} and max(most) == 2
    used = [(store.folder(run) / "run.log").read_text().split()[1] for run in runs]
    assert set(used) == {"3", "7"}


def test_what_is_done_is_not_started_again(worker):
    (run,) = worker("fine")
    execute.execute([run], {}, 1, [], lambda *_: None)
    seen = []
    execute.execute([run], {}, 1, [], lambda run, state: seen.append(state))
    assert seen == ["done"]
    assert (store.folder(run) / "run.log").read_text().count("gpu") == 1


def test_an_interrupt_ends_what_runs_and_starts_no_more(worker, project):
    runs = worker("sleep", "fine", "fine")
    program = (
        # A shell's background jobs ignore Ctrl-C, and their children with them; a terminal's do not.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; from benchmark.base.records import Run; from benchmark.studies import execute\n"
        "execute.command = lambda run, **_: ['worker', 'run', run.study, run.id]\n"
        f"runs = {runs!r}\n"
        "execute.execute(runs, {}, 1, [], lambda run, state: print(run.variant, state, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout.readline() == "sleep running\n"
        log = store.folder(runs[0]) / "run.log"
        until = time.monotonic() + 20
        while not (log.exists() and log.read_text()) and time.monotonic() < until:
            time.sleep(0.01)
        (child,) = children_of(process)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    finally:
        process.kill()
        rest = process.communicate()[0]
    assert process.returncode != 0 and not alive(child)
    assert "fine running" not in rest and "fine done" not in rest
    assert not any((store.folder(run) / "run.log").exists() for run in runs[1:])


def test_a_run_keeps_the_memory_it_freed_unless_the_environment_says_otherwise(worker, monkeypatch):
    one, other = worker("fine", "fine")
    execute.execute([one], {}, 1, [], lambda run, state: None)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    execute.execute([other], {}, 1, [], lambda run, state: None)
    said = [(store.folder(run) / "run.log").read_text().split("\n")[1] for run in (one, other)]
    assert said == ["memory 1073741824 17179869184", "memory 1073741824 0"]


def test_gpus_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert execute.visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert execute.visible_gpus() == []


def test_a_process_on_a_leash_ends_with_its_parent():
    program = (
        "import time, benchmark.studies.execute as e; e.end_with_parent(); print('on', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, execute.LEASH: "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout.readline() == b"on\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=10) == 1
    finally:
        process.kill()


# The live table


def test_a_terminal_shows_epoch_losses_dice_and_time_left(project):
    from rich.console import Console

    from benchmark.studies.watch import Watch

    runs = study.load("tiny").runs({"max_epochs": 10})
    folder = store.folder(runs[0]) / "models"
    folder.mkdir(parents=True)
    rows = [(epoch, 0.5 - epoch / 100, 0.6, 0.25 * epoch, 0.001, 30.0) for epoch in (1, 2, 3)]
    columns = ["epoch", "train_loss", "val_loss", "val_dice", "learning_rate", "seconds"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "history.csv", index=False)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    with Watch(runs, "phantom", console) as watch:
        watch(runs[0], "running")
        # The third epoch ended 12 s ago; a log says what is done now, below what an earlier process said.
        (store.folder(runs[0]) / "run.log").write_text("--- train\nx\n--- predict\nkilled\n--- train\nEpoch\n")
        now = watch.began[runs[0].id] = time.time() - 12
        os.utime(folder / "history.csv", (now, now))
        console.print(watch.__rich__())
    lines = [line.replace("│", " ").split() for line in screen.getvalue().splitlines()]
    # Seven epochs of 30 s are left, less 12 s; the other two runs, of which nothing is known, are taken to be as long.
    assert [IDS[0], "running:", "train", "3/10", "0.470", "0.600", "0.750", "3:18"] in lines
    assert [IDS[1], "pending", "0/10"] in lines
    assert "tiny on phantom: 0 of 3 runs done, about 9:54 left" in screen.getvalue()


def test_the_first_epoch_shows_its_steps_and_what_follows_from_them(project):
    from rich.console import Console

    from benchmark.studies.watch import Watch

    (run, *_), screen = study.load("tiny").runs({"max_epochs": 10}), io.StringIO()
    store.folder(run).mkdir(parents=True)

    def shown(watch, **step):
        (store.folder(run) / "step.json").write_text(json.dumps(step))
        screen.seek(0)
        screen.truncate()
        watch.console.print(watch.__rich__())
        title, *lines = screen.getvalue().splitlines()
        row = next(line for line in lines if IDS[0] in line).replace("│", " ").split()
        return title.rstrip(), " ".join(row[1:])

    with Watch([run], "phantom", Console(file=screen, width=140)) as watch:
        assert shown(watch, stage="train", done=3, total=12, seconds=6.0) == (
            "tiny on phantom: 0 of 1 runs done", "pending 0/10",
        ), "left by a process that was killed before"  # fmt: skip
        watch(run, "running")
        watch.began[run.id] -= 1
        assert shown(watch, stage="train", done=0, total=12, seconds=0.0)[1] == "running: train 0/12 0/10"
        # Ten epochs of 24 s, less 6 s; of their validation nothing is known yet.
        assert shown(watch, stage="train", done=3, total=12, seconds=6.0) == (
            "tiny on phantom: 0 of 1 runs done, about 3:54 + validation left",
            "running: train 3/12 0/10 3:54 + validation",
        )
        # Ten epochs of 24 s and 20 s, less 29 s.
        assert shown(watch, stage="validate", done=1, total=4, seconds=5.0, before=24.0) == (
            "tiny on phantom: 0 of 1 runs done, about 6:51 left", "running: validate 1/4 0/10 6:51",
        )  # fmt: skip


def test_the_score_that_is_shown_is_the_last_of_what_weights_are_kept_by(project):
    from rich.console import Console

    from benchmark.studies.watch import Watch

    (run, *_), screen = study.load("tiny").runs({"max_epochs": 10}), io.StringIO()
    (store.folder(run) / "models").mkdir(parents=True)
    # A table that has both columns, and an epoch without a validation.
    columns = {"epoch": [1, 2], "train_loss": [0.5, 0.4], "val_loss": [0.6, None], "val_dice": [None, None],
               "val_accuracy": [0.9, None], "seconds": 30.0}  # fmt: skip
    pd.DataFrame(columns).to_csv(store.folder(run) / "models" / "history.csv", index=False)
    with Watch([run], "phantom", Console(file=screen, width=140)) as watch:
        watch.console.print(watch.__rich__())
    assert screen.getvalue().replace("│", " ").split(IDS[0])[1].split()[1:5] == ["2/10", "0.400", "0.600", "0.900"]


def test_the_time_left_follows_from_the_runs_that_are_done(project):
    from rich.console import Console

    from benchmark.studies.watch import Watch

    runs, screen = study.load("tiny").runs(), io.StringIO()
    folder = store.folder(runs[0])
    (folder / "models").mkdir(parents=True)
    pd.DataFrame({"epoch": [1, 2], "train_loss": 0.5, "seconds": 20.0}).to_csv(folder / "models" / "history.csv")
    stages = {"train": {"seconds": 50.0}, "predict": {"seconds": 15.0}, "score": {"seconds": 5.0}}
    (folder / "run.json").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    (folder / "scores.csv").touch()
    with Watch(runs, "phantom", Console(file=screen)) as watch:
        watch(runs[1], "running")
        watch(runs[2], "running")
    # Each takes 40 s of epochs and 20 s after them, and at last both go on at once.
    assert [line.partition(", about ")[2] for line in screen.getvalue().splitlines()] == [
        f"2:00 left] {IDS[1]}: running", f"1:00 left] {IDS[2]}: running",
    ]  # fmt: skip


def test_without_a_terminal_a_line_is_printed_for_each_change(project):
    from rich.console import Console

    from benchmark.studies.watch import Watch

    runs, screen = study.load("tiny").runs(), io.StringIO()
    with Watch(runs, "phantom", Console(file=screen)) as watch:
        for state in ("running", "running", "failed"):
            watch(runs[0], state)
        watch(runs[1], "done")
    assert [line.partition("] ")[2] for line in screen.getvalue().splitlines()] == [
        f"{IDS[0]}: running", f"{IDS[0]}: failed", f"{IDS[1]}: done",
    ]  # fmt: skip
    assert screen.getvalue().splitlines()[-1].startswith("[1/3, ")


# What a report must not pool


def test_an_external_model_joins_under_a_name_of_its_own_only(finished, command, undrawn):
    scores = score_table.read(Path("reports/tiny/scores.csv"))
    rows = scores[scores["bundle"] == "unet"].assign(bundle="other_tool", seed=0)
    path = Path("reports/tiny/external/other.csv")
    path.parent.mkdir()
    rows.to_csv(path, index=False)
    assert command("report", "tiny")[0] == 0
    report = pages_text(Path("reports/tiny"))
    assert "other_tool: label maps of another tool" in report
    again = path.with_name("another_training.csv")
    rows.assign(seed=1).to_csv(again, index=False)
    assert command("report", "tiny")[0] == 0, "each training in a table of its own"
    assert "other_tool: label maps of another tool" in pages_text(Path("reports/tiny"))
    rows.to_csv(again, index=False)
    code, _, err = command("report", "tiny")
    assert code == 2 and f"holds scores of 'other_tool' of fold {rows['fold'].iloc[0]} and seed 0, as" in err
    again.unlink()
    rows.assign(bundle="unet").to_csv(path, index=False)
    history = Path("reports/tiny/histories.csv")
    history.write_text("as it was", encoding="utf-8")
    code, _, err = command("report", "tiny")
    assert code == 2 and "holds scores of 'unet': expected a name that no other model here has" in err
    assert history.read_text(encoding="utf-8") == "as it was", "no table is newer than the report"


def test_runs_from_before_a_change_are_named(finished, command, undrawn):
    path = Path("bundles/unet/configs/model.json")
    path.write_text(path.read_text().replace("binary cross-entropy", "something else").replace("relu", "prelu"))
    assert command("compose", "unet")[0] == 0
    assert command("report", "tiny")[0] == 0
    report = pages_text(Path("reports/tiny"))
    assert f"1 run was made before a change in config: {IDS[0]}." in report


def test_a_run_from_a_folder_below_the_root_is_the_same_run(finished, command, monkeypatch):
    folder = finished / "runs" / "tiny" / IDS[0]
    before = (folder / "scores.csv").read_bytes()
    (folder / "scores.csv").unlink()
    half_written = folder / "models" / ".123-abclast.pt"
    half_written.touch()
    for path in (folder / "predictions").iterdir():
        path.unlink()
    monkeypatch.chdir(finished / "reports")
    assert command("run", "tiny", IDS[0])[0] == 0
    assert (folder / "scores.csv").read_bytes() == before
    assert not (finished / "reports" / "runs").exists()
    assert not half_written.exists()
