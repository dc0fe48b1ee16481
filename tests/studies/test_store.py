"""Run folders: states read off files, fingerprints that name what differs, and tables of scores."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.synthetic_scores import rows, table, wide

from benchmark.base.records import InputError, Run
from benchmark.data.prepare import DataSet
from benchmark.scoring import score_table
from benchmark.studies import bundle, code, store

RUN = Run("tiny", "unet", "default", 0, 1, {"max_epochs": 2})


def identity(run=RUN):
    return store.identity(run, DataSet("phantom"), bundle.frozen(run, "phantom"))


def touch(name, text=""):
    path = store.folder(RUN) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_state_is_read_off_the_files(project):
    assert store.folder(RUN) == project / "runs/tiny/unet/default/fold0-seed1"
    assert store.state(RUN) == "pending"
    touch("models/last.pt")
    touch("run.json", "{}")
    assert store.state(RUN) == "pending"
    touch("error.txt", "Traceback\n  line\nValueError: the reason\n\n")
    assert store.state(RUN) == "failed"
    assert store.last_error(RUN) == "ValueError: the reason"
    touch("error.txt")
    assert store.last_error(RUN) == "stopped without a message"
    touch("scores.csv")
    assert store.state(RUN) == "done"


def test_history_is_empty_before_the_first_epoch(project):
    assert store.history(RUN).empty
    touch("models/history.csv", "epoch,train_loss\n1,0.5\n")
    assert store.history(RUN)["train_loss"].tolist() == [0.5]


def test_the_same_run_is_the_same_and_a_new_one_is_free(project):
    store.check(RUN, identity())
    store.record(RUN, identity(), "command")
    store.check(RUN, identity())
    record = json.loads((store.folder(RUN) / "run.json").read_text())
    assert record["fingerprint"] == store.fingerprint(identity())
    assert record["overrides"] == {"max_epochs": 2} and record["command"] == "command"
    assert {"commit", "platform", "started"} <= set(record)
    store.record(RUN, identity(), "another")
    assert json.loads((store.folder(RUN) / "run.json").read_text()) == record


def test_the_fingerprint_has_no_machine_in_it(project, tmp_path, monkeypatch):
    before = identity()
    assert str(project) not in json.dumps(before)
    other = Run(**{**vars(RUN), "overrides": {**RUN.overrides, "device": "cpu", "num_workers": 3}})
    assert store.fingerprint(identity(other)) == store.fingerprint(before)
    moved = shutil.copytree(project, tmp_path / "elsewhere")
    monkeypatch.chdir(moved)
    assert store.fingerprint(identity()) == store.fingerprint(before)


def change_config(_):
    return Run(**{**vars(RUN), "overrides": {"max_epochs": 3, "augmentation#rotation": 5.0}})


def change_fold(project):
    path = project / "data_manifests/phantom.folds.json"
    folds = json.loads(path.read_text())
    first = folds["folds"][0]
    first["train"][0], first["test"][0] = first["test"][0], first["train"][0]
    path.write_text(json.dumps(folds))


def change_file(project):
    path = project / "data_manifests/phantom.cases.json"
    cases = json.loads(path.read_text())
    relpath = cases["cases"][0]["label"]
    cases["cases"][0]["sha256"][relpath] = "0" * 64
    path.write_text(json.dumps(cases))


def change_protocol(project):
    path = project / "bundles/protocol/train.json"
    path.write_text(path.read_text().replace('"weight_decay": 1e-05', '"weight_decay": 0.5'))
    bundle.write("unet")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_config, r"config#train#max_epochs \(2 -> 3\); config#train#augmentation#rotation \(15\.0 -> 5\.0\)"),
        (change_fold, r"fold#train .*; fold#test "),
        (change_file, r"cases#Phantom_001_1 \("),
        (change_protocol, r"config#train#weight_decay \(1e-05 -> 0\.5\)"),
    ],
)
def test_another_fingerprint_is_refused_naming_what_differs(project, change, named):
    store.record(RUN, identity(), "command")
    run = change(project) or RUN
    with pytest.raises(InputError, match=named) as found:
        store.check(run, identity(run))
    assert str(store.folder(RUN)) in str(found.value) and "\n" not in str(found.value)


def test_other_versions_and_code_are_named_too(project, monkeypatch):
    store.record(RUN, identity(), "command")
    real, identity_before = store.metadata.version, identity()["code"]
    monkeypatch.setattr(store.metadata, "version", lambda name: "9.9" if name == "torch" else real(name))
    monkeypatch.setattr(code, "hashes", lambda configs: {**identity_before, "Resume": "other"})
    with pytest.raises(InputError, match=r"versions#torch \(.* -> \"9\.9\"\); code#Resume \(\".* -> \"other\"\): "):
        store.check(RUN, identity())


def test_many_differences_are_counted(project):
    store.record(RUN, identity(), "command")
    values = {"batch_size": 4, "learning_rate": 0.5, "weight_decay": 0.5, "plateau_factor": 0.1, "stop_patience": 3}
    run = Run(**{**vars(RUN), "overrides": {**values, "max_epochs": 9, "plateau_patience": 1}})
    with pytest.raises(InputError, match="; and 2 more: expected the same"):
        store.check(run, identity(run))


def rewrite(**changes):
    """Change a run's record, without what is None."""
    path = store.folder(RUN) / "run.json"
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))
    return record


def test_a_run_from_before_the_moves_is_accepted_while_only_moves_lie_between(project, monkeypatch):
    store.record(RUN, identity(), "command")
    before = identity()
    text = json.dumps(before["config"]).replace("benchmark.data.slices", "benchmark.slices")
    rewrite(version=None, fingerprint="of another rule",
            identity={**before, "config": json.loads(text), "code": code.BEFORE_THE_MOVES})  # fmt: skip
    monkeypatch.setattr(code, "MOVED", before["code"])
    store.check(RUN, identity())
    monkeypatch.setattr(code, "MOVED", {**before["code"], "Resume": "another"})
    with pytest.raises(InputError, match=r"differs in code#Resume \(\"another\" -> "):
        store.check(RUN, identity())
    rewrite(identity={**before, "code": "0" * 64})
    with pytest.raises(InputError, match=r"differs in code \(\"000"):
        store.check(RUN, identity())


def test_a_record_of_another_version_or_with_something_lacking_is_refused_in_words(project):
    store.record(RUN, identity(), "command")
    record = rewrite(version=3)
    with pytest.raises(InputError, match=r"run\.json: version: expected 1 or 2, found 3\.$"):
        store.check(RUN, identity())
    rewrite(**{**record, "version": 2, "identity": None})
    with pytest.raises(InputError, match=r"run\.json: expected an entry 'identity', found none\.$"):
        store.check(RUN, identity())


def test_a_module_that_moved_is_no_other_run(project):
    store.record(RUN, identity(), "command")
    text = json.dumps(identity()["config"]).replace("benchmark.training.handlers", "benchmark.training.epochs")
    rewrite(identity={**identity(), "config": json.loads(text)})
    store.check(RUN, identity())
    assert store.fingerprint({**identity(), "config": json.loads(text)}) == store.fingerprint(identity())


def test_a_commit_is_dirty_by_what_decides_a_run_only(project):
    assert store.commit() == "unknown"
    for command in (["init", "-q"], ["add", "reports", "bundles"], ["commit", "-q", "-m", "x"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *command], cwd=project, check=True)
    clean = store.commit()
    assert len(clean) == 40
    Path("reports/tiny/report.md").write_text("a")
    subprocess.run(["git", "add", "reports/tiny/report.md"], cwd=project, check=True)
    assert store.commit() == clean
    study = Path("reports/tiny/study.json")
    study.write_text(study.read_text() + " ")
    assert store.commit() == f"{clean}-dirty"


def test_only_finished_runs_are_collected_in_their_order(project):
    runs = [Run("tiny", name, "default", 0, 1) for name in ("unet", "la_resunet", "resunet_tversky")]
    assert store.collect(runs).empty and tuple(store.collect(runs).columns) == score_table.COLUMNS
    for run, value in ((runs[2], 0.2), (runs[0], 0.1)):
        score_table.write(store.folder(run) / "scores.csv", wide(table(rows(run.bundle, {"P1/a": value}))))
    (store.folder(runs[1])).mkdir(parents=True)
    (store.folder(runs[1]) / "error.txt").write_text("no")
    found = store.collect(runs)
    assert found[["bundle", "dice"]].values.tolist() == [["unet", 0.1], ["resunet_tversky", 0.2]]
