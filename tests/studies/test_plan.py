"""What a plan says of runs that were begun, and of what would be refused."""

import json

import pandas as pd
import pytest
from filelock import FileLock
from helpers.project import write_study

from benchmark.studies import store, study

RUN = "unet/default/fold0-seed1"
ONLY = ("--select", "bundle=unet")


def test_an_interrupted_training_is_told_from_one_that_goes_on_and_from_none(project, command):
    (run,) = [one for one in study.load("tiny").runs() if one.id == RUN]
    folder = store.folder(run)
    (folder / "models").mkdir(parents=True)
    assert command("plan", "tiny", *ONLY)[1].startswith(f"pending  {RUN}\n")
    pd.DataFrame({"epoch": [1], "train_loss": [0.5], "seconds": [2.0]}).to_csv(folder / "models" / "history.csv")
    (folder / ".lock").touch()
    epochs = json.loads(command("plan", "tiny", *ONLY, "--json")[1])[0]["epochs"]
    assert command("plan", "tiny", *ONLY)[1].startswith(f"interrupted at epoch 1 of {epochs} {RUN}\n")
    with FileLock(folder / ".lock"):
        assert command("plan", "tiny", *ONLY)[1].startswith(f"running at epoch 1 of {epochs} {RUN}\n")


def test_a_run_of_other_settings_is_stale_and_says_which(finished, command):
    assert command("plan", "tiny")[2] == ""
    path = finished / "reports/tiny/study.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["set"]["learning_rate"] = 0.25
    path.write_text(json.dumps(content), encoding="utf-8")
    code, out, err = command("plan", "tiny", *ONLY)
    assert code == 0 and out.startswith(f"stale    {RUN}: config#")
    assert "learning_rate (" in out and "-> 0.25)" in out and "1 run: 0 done, 1 stale; " in out
    assert err.startswith("run-all would refuse: 1 run is stale") and str(finished / "runs/tiny" / RUN) in err
    (row,) = json.loads(command("plan", "tiny", *ONLY, "--json")[1])
    assert {one["now"] for one in row["differs"]} == {0.25}
    assert command("run-all", "tiny", *ONLY)[0] == 2


def test_a_plan_speaks_of_the_runs_that_run_all_would_do_with_the_same_set(finished, command):
    change = (*ONLY, "--set", "unet:learning_rate=0.25")
    code, out, err = command("plan", "tiny", *change)
    assert code == 0 and out.startswith(f"stale    {RUN}: config#") and "-> 0.25)" in out
    assert err.startswith("run-all would refuse: 1 run is stale") and "now with this --set" in err
    code, _, refused = command("run-all", "tiny", *change)
    assert code == 2 and "learning_rate (" in refused
    assert command("plan", "tiny", *ONLY)[1].startswith(f"done     {RUN}\n")
    for wrong, sentence in (("nobody:learning_rate=1", "expected a bundle of the study"), ("epocs=1", "epocs")):
        code, _, err = command("plan", "tiny", "--set", wrong)
        assert code == 2 and sentence in err
    assert "--allow-code" in command("plan", "tiny", *ONLY, "--set", "learning_rate=$1 + 1")[2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"compare": {"metrics": ["dice"], "pairs": [["unet", "nobody"]]}}, "nobody"),
        ({"data": "brats2021", "folds": [0]}, "brats2021"),
        ({"set": {"learning_rate": "$1 + 1"}}, "--allow-code"),
    ],
)
def test_a_plan_says_what_would_be_refused(project, command, change, sentence):
    write_study("tiny", **change)
    code, out, err = command("plan", "tiny")
    refused = [line for line in err.splitlines() if line.startswith("run-all would refuse: ")]
    assert code == 0 and out and refused and sentence in " ".join(refused)
    assert command("run-all", "tiny")[0] == 2
