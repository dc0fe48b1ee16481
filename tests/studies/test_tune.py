"""Values that are chosen on validation patients: trials, what follows from them, and what a report says of it."""

import json

import pandas as pd
import pytest
from helpers.project import TINY, write_study

from benchmark.base.records import InputError
from benchmark.report.tuned import tuned_blocks
from benchmark.results import publish
from benchmark.results.opening import deviations
from benchmark.results.results import Results
from benchmark.scoring.metrics import METRICS
from benchmark.studies import store, study, tune

TUNE = {"values": [0.0001, 0.01], "fold": 0, "seed": 1}
TUNED = {"bundle": "unet", "track": "tuned"}


def write_trials(validation, **changes):
    """Write tuned.json of the study ``tiny`` as its trials would, with one list of validation scores per value."""
    declared = study.load("tiny")
    runs = [run for model in declared.models for run in declared.trials(model)]
    trials = [
        {"run": run.id, "set": {**run.overrides, **changes}, "score": "val_dice", "validation": scores}
        | {"fingerprint": "f", "commit": "c"}
        for run, scores in zip(runs, validation, strict=True)
    ]
    tune.path_of(declared).write_text(json.dumps({"version": 1, "trials": trials}))


def test_tune_trains_each_value_tests_nobody_and_run_all_takes_the_best(project, command, here, undrawn):
    write_study("tiny", models=[*TINY["models"][:1], TUNED], tune=TUNE)
    code, _, said = command("run-all", "tiny")
    assert code == 2 and "tuned.json does not exist: expected the learning_rate of unet/tuned" in said
    code, out, said = command("tune", "tiny", "--jobs", "1")
    assert code == 0, said
    declared = study.load("tiny")
    trials = tune.read(declared, declared.models[1])
    assert [trial.run for trial in trials] == ["unet/tuned-0.0001/fold0-seed1", "unet/tuned-0.01/fold0-seed1"]
    value = TUNE["values"][tune.chosen(trials)]
    assert f"unet/tuned: learning_rate {value:g}, of 0.0001 " in out
    for run, trial in zip(declared.trials(declared.models[1]), trials, strict=True):
        place, history = store.folder(run), store.history(run)
        assert trial.validation == tuple(round(one, 6) for one in history["val_dice"])
        assert not (place / "predictions").exists() and not (place / "scores.csv").exists()
    *_, tuned = declared.runs()
    assert tuned.variant == "tuned" and tuned.overrides["learning_rate"] == value
    # What is chosen is not chosen again.
    assert command("tune", "tiny") == (0, out.splitlines()[-1] + "\n", "")
    assert command("run-all", "tiny", "--jobs", "1")[0] == 0
    report = (declared.folder / "report.md").read_text()
    assert "## Tuned beside identical" in report and "| unet/tuned |" in report
    # The phantom's study has one fold, so that no validation patient is tested.
    assert "test patients of other folds" not in report


def test_the_highest_epoch_of_a_trial_decides_and_of_equal_ones_the_first(project):
    write_study("tiny", models=[TUNED], tune={**TUNE, "values": [0.1, 0.2, 0.3]})
    write_trials([[0.5, 0.1], [0.2, 0.6], [0.6, 0.6]])
    declared = study.load("tiny")
    assert declared.runs()[0].overrides["learning_rate"] == 0.2
    assert tune.in_words(declared) == [
        "unet/tuned: learning_rate 0.2, of 0.1 0.500, 0.2 0.600, 0.3 0.600 (val_dice)"
    ]  # fmt: skip


def test_trials_with_other_settings_are_refused(project):
    write_study("tiny", models=[TUNED], tune=TUNE)
    write_trials([[0.5], [0.6]])
    write_study("tiny", models=[TUNED], tune=TUNE, set={**TINY["set"], "max_epochs": 7})
    with pytest.raises(InputError, match="expected max_epochs 7 as the study has it, found "):
        study.load("tiny").runs()
    write_study("tiny", models=[TUNED], tune={**TUNE, "values": [0.0001, 0.02]})
    with pytest.raises(InputError, match=r"expected trial unet/tuned-0\.02/fold0-seed1, found none"):
        study.load("tiny").runs()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tune": TUNE}, "expected `tune` and models of the track tuned, both or neither"),
        ({"models": [TUNED]}, "expected `tune` and models of the track tuned, both or neither"),
        ({"models": [TUNED], "tune": {**TUNE, "fold": 7}}, "expected the fold and the seed of `tune`"),
        ({"models": [TUNED], "tune": {**TUNE, "values": [0.1]}}, "tune/values: .*at least 2 items"),
        ({"models": [TUNED], "tune": {**TUNE, "values": [0.1, 0.1]}}, "tune/values: expected each only once"),
        ({"models": [{**TUNED, "set": {"learning_rate": 0.1}}], "tune": TUNE}, "expected learning_rate of unet/tuned"),
        (
            {"models": [TUNED, {"bundle": "unet", "variant": "Tuned-0.01"}], "tune": TUNE},
            "expected no model that is named like a trial of unet/tuned",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused(project, changes, sentence):
    write_study("tiny", **changes)
    with pytest.raises(InputError, match=sentence):
        study.load("tiny")


def test_a_study_without_tune_says_so(project, command):
    code, _, said = command("tune", "tiny")
    assert code == 2 and "tunes nothing: expected `tune` and models of the track tuned" in said


def test_a_trial_that_was_changed_is_not_recorded(project):
    write_study("tiny", models=[TUNED], tune=TUNE)
    declared = study.load("tiny")
    with pytest.raises(InputError, match="expected a training that ended, found it pending"):
        tune.write(declared)
    assert not tune.path_of(declared).exists()


def test_a_tuned_value_is_no_setting_of_all_models(project):
    write_study("tiny", models=[{"bundle": "unet"}, TUNED], tune=TUNE)
    write_trials([[0.5], [0.6]])
    rows = deviations(study.load("tiny"), {})
    assert [row for row in rows if row.key == "learning_rate"] == [
        ("all models of the identical track", "learning_rate", "0.001"), ("unet/tuned", "learning_rate", "0.01")
    ]  # fmt: skip
    assert {row.model for row in rows if row.key == "max_epochs"} == {"all models of the tracks identical and tuned"}


def test_a_report_names_values_at_the_edge_ties_and_patients_who_are_tested_elsewhere(project):
    write_study("tiny", models=[{"bundle": "unet"}, TUNED], tune={**TUNE, "values": [0.1, 0.2, 0.3]})
    for validation, said in (
        ([[0.5], [0.7], [0.6]], ""),
        ([[0.5], [0.6], [0.7]], "At the end of the values that were tried"),
        ([[0.5], [0.7], [0.7]], "Several values gave the same"),
    ):
        write_trials(validation)
        summary = pd.DataFrame([("unet", "dice", "WT", 0.5), ("unet/tuned", "dice", "WT", 0.625)])
        summary.columns = ["model", "metric", "region", "mean"]
        _, trials, tracks = tuned_blocks(study.load("tiny"), summary, METRICS["dice"], ["one", "two"])
        assert tracks.rows[0][0] == "unet" and [cell.text for cell in tracks.rows[0][1:]] == ["0.500", "0.625"]
        assert trials.notes[1].startswith("2 validation patients of these trials are test patients of other folds")
        assert len(trials.notes) == 2 + bool(said) and said in trials.notes[-1]


def test_a_study_that_joins_tuned_models_can_be_tuned_and_its_report_follows_from_the_trials(project):
    joined = {"bundle": "both", "ensemble": ["unet/tuned", "la_resunet"]}
    write_study("tiny", models=[TUNED, {"bundle": "la_resunet"}, joined], tune=TUNE)
    declared = study.load("tiny")
    assert len(tune.trials(declared)) == 2
    # Pairs are looked at before anything is trained.
    publish.check_pairs(declared)
    write_trials([[0.5], [0.6]])
    assert "tiny/tuned.json" in Results(declared).files()
