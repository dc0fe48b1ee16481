"""Run folders: states read off files, fingerprints that name what differs, and tables of scores."""

import hashlib
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
    touch("models/history.csv", "epoch,train_loss,seconds\n1,0.5,2\n")
    assert store.history(RUN)["train_loss"].tolist() == [0.5]
    for garbage in ('"', "epoch,train_loss,seconds\nx,0.5,2\n", "epoch\n1\n", ""):
        touch("models/history.csv", garbage)
        with pytest.raises(InputError, match=r"history\.csv"):
            store.history(RUN)


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
    record = rewrite(version=4)
    with pytest.raises(InputError, match=r"run\.json: version: expected 1, 2 or 3, found 4\.$"):
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


def write_scores(run, scores, **record):
    """Write scores and a record of a run whose test side is patient P1 and whose one region is WT."""
    path = store.folder(run) / "run.json"
    path.unlink(missing_ok=True)
    fold = {"train": [], "validation": [], "test": ["P1"]}
    what = {**identity(run), "fold": fold, "cases": {"P1/a": "", "P1/b": ""}, "manifest": {"regions": {"WT": [1]}}}
    store.record(run, what, "command")
    path.write_text(json.dumps({**json.loads(path.read_text()), **record}))
    score_table.write(store.folder(run) / "scores.csv", scores)


def test_only_finished_runs_are_collected_in_their_order(project):
    runs = [Run("tiny", name, "default", 0, 1) for name in ("unet", "la_resunet", "resunet_tversky")]
    assert store.collect(runs).empty and tuple(store.collect(runs).columns) == score_table.COLUMNS
    for run, value in ((runs[2], 0.2), (runs[0], 0.1)):
        write_scores(run, wide(table(rows(run.bundle, {"P1/a": value}, region="WT", seed=1))))
    (store.folder(runs[1])).mkdir(parents=True)
    (store.folder(runs[1]) / "error.txt").write_text("no")
    found = store.collect(runs)
    assert found[["bundle", "dice"]].values.tolist() == [["unet", 0.1], ["resunet_tversky", 0.2]]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"seed": 2}, "expected seed 1, found seed 2"),
        ({"fold": 1}, "expected fold 0, found fold 1"),
        ({"values": {"P2/a": 0.5}}, "the patient_id of the test side as run.json has them, found no P1, P2"),
        ({"values": {"P1/c": 0.5}}, "expected cases of the data set only, found P1/c"),
        ({"region": "TC"}, "expected the regions of case P1/a as run.json has them, found no WT, TC"),
    ],
)
def test_scores_of_another_run_or_of_others_are_refused(project, given, sentence):
    made = {"values": {"P1/a": 0.5}, "seed": 1, **given}
    write_scores(RUN, wide(table(rows("unet", **made))))
    with pytest.raises(InputError, match=sentence) as found:
        store.scores(RUN)
    assert "scores.csv is not what its run wrote" in str(found.value)


@pytest.mark.parametrize(
    ("part", "wrong", "sentence"),
    [
        ("fold", {"by": []}, r"identity/fold/by: expected a valid string, found \[\]"),
        ("fold", {"test": 5}, "identity/fold/test: expected a valid array, found 5"),
        ("manifest", {"regions": 1}, "identity/manifest/regions: expected an object, found 1"),
    ],
)
def test_a_record_of_another_form_is_refused_where_it_is_read(project, part, wrong, sentence):
    write_scores(RUN, wide(table(rows("unet", {"P1/a": 0.5}))))
    recorded = json.loads((store.folder(RUN) / "run.json").read_text())["identity"]
    rewrite(identity={**recorded, part: {**recorded[part], **wrong}})
    with pytest.raises(InputError, match=rf"run\.json: {sentence}"):
        store.scores(RUN)


def test_a_lost_session_is_noticed_without_a_checksum(project):
    """Patient Phantom_004 has two sessions; a record from before checksums names patients only."""
    fold, keys = {"train": [], "validation": [], "test": ["Phantom_004"]}, identity()["cases"]
    cases = {case.case_id: 0.5 for case in DataSet("phantom").cases.cases if case.patient_id == "Phantom_004"}
    assert len(cases) == 2
    store.record(RUN, {**identity(), "fold": fold, "cases": keys, "manifest": {"regions": {"WT": [1]}}}, "command")
    both = wide(table(rows("unet", cases, region="WT"))).assign(patient_id="Phantom_004")
    score_table.write(store.folder(RUN) / "scores.csv", both)
    assert len(store.scores(RUN)) == 2
    score_table.write(store.folder(RUN) / "scores.csv", both.iloc[:1])
    with pytest.raises(InputError, match="expected every session of the patients of the test side, Phantom_004_2 too"):
        store.scores(RUN)


def test_scores_that_were_changed_are_known_by_their_checksum(project):
    scores = wide(table(rows("unet", {"P1/a": 0.5, "P1/b": 0.25})))
    write_scores(RUN, scores)
    path = store.folder(RUN) / "scores.csv"
    rewrite(scores_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert store.scores(RUN)["dice"].tolist() == [0.5, 0.25]
    score_table.write(path, scores.iloc[:1])
    with pytest.raises(InputError, match="is not what its run wrote: expected sha256 "):
        store.scores(RUN)


def test_a_run_goes_on_only_where_its_bits_stay_the_same(project, monkeypatch):
    store.record(RUN, identity(), "command", "cpu")
    assert json.loads((store.folder(RUN) / "run.json").read_text())["machine"]["device"] == "cpu"
    store.check(RUN, identity())
    store.check(RUN, identity(), "cpu")
    with pytest.raises(InputError, match=r"differs in machine#device \(\"cpu\" -> \"H100\"\)"):
        store.check(RUN, identity(), "H100")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    with pytest.raises(InputError, match=r"differs in machine#environment#MKL_CBWR \(null -> \"COMPATIBLE\"\)"):
        store.check(RUN, identity())
    # What is done stays what it was, and an old record does not say where it was made.
    touch("scores.csv")
    store.check(RUN, identity())
    (store.folder(RUN) / "scores.csv").unlink()
    rewrite(machine=None)
    store.check(RUN, identity())


def test_runs_share_what_is_the_same(project, monkeypatch):
    runs = [Run("tiny", name, "default", 0, seed) for name in ("unet", "la_resunet") for seed in range(5)]
    asked, real = [], store.case_key
    monkeypatch.setattr(store, "case_key", lambda *given: asked.append(given) or real(*given))
    assert [what for _, what in store.identities(runs, "phantom")] == [identity(run) for run in runs]
    assert len(asked) == len(DataSet("phantom").cases.cases) * (1 + len(runs))
