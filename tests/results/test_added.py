"""Runs that are added to a report whose own runs' folders are gone."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.project import TINY, write_study

from benchmark.base.records import InputError
from benchmark.results import added
from benchmark.results.results import GATHERED, OUTPUTS
from benchmark.studies import study

pytestmark = pytest.mark.usefixtures("undrawn")
UNET = "unet/default/fold0-seed1"


def without_times(path):
    return {key: value for key, value in json.loads(path.read_text()).items() if key != "gathered"}


def test_what_is_gone_and_what_is_here_make_the_tables_of_all(finished, command):
    tables = Path("reports/tiny")
    names = [name for name in (*GATHERED, *(f"{one}.csv" for one in OUTPUTS)) if (tables / name).exists()]
    before = {name: (tables / name).read_bytes() for name in names if name != "provenance.json"}
    records, report = without_times(tables / "provenance.json"), (tables / "report.md").read_text()
    shutil.move("runs/tiny/unet", "gone")
    code, out, said = command("report", "tiny")
    assert code == 0 and "`benchmark report tiny --add` makes one of both" in said and "partial" in out
    code, _, said = command("report", "tiny", "--add")
    assert (code, said) == (0, "")
    assert {name: (tables / name).read_bytes() for name in before} == before
    assert without_times(tables / "provenance.json") == records
    assert (tables / "report.md").read_text() == report
    # Another time there is nothing to add to.
    shutil.move("gone", "runs/tiny/unet")
    assert command("report", "tiny", "--add")[0] == 0
    assert {name: (tables / name).read_bytes() for name in before} == before


def test_a_run_of_other_settings_is_not_added_to(finished, command):
    before = Path("reports/tiny/scores.csv").read_bytes()
    shutil.rmtree("runs/tiny/unet")
    write_study("tiny", set={**TINY["set"], "max_epochs": 7})
    code, _, said = command("report", "tiny", "--add")
    assert code == 2 and f"provenance.json: run {UNET}: expected max_epochs 7 as the study has it, found 2" in said
    assert Path("reports/tiny/scores.csv").read_bytes() == before


def test_a_table_that_was_changed_is_not_added_to(finished, command):
    shutil.rmtree("runs/tiny/unet")
    path = Path("reports/tiny/histories.csv")
    path.write_text(path.read_text().replace("0.0", "0.1", 1))
    code, _, said = command("report", "tiny", "--add")
    assert code == 2 and "histories.csv is not the table that the report was made from" in said


def test_cases_that_one_model_tested_on_both_sides_are_refused(finished):
    declared = study.load("tiny")
    with pytest.raises(InputError, match="expected runs of unet on other cases than those that are here, found "):
        added.check(declared, declared.runs()[:1], [UNET])


def test_other_cases_are_refused(finished):
    declared = study.load("tiny")
    for name, changes in (("provenance.json", {"cases_sha256": "0" * 64}), ("report.json", {"made_from": {}})):
        path = Path("reports/tiny", name)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match="expected runs on the cases and folds of phantom as they are now"):
        added.check(declared, declared.runs()[1:], [UNET])


def test_add_and_replace_exclude_each_other(finished, command):
    code, _, said = command("report", "tiny", "--add", "--replace")
    assert code == 2 and "expected one of them" in said


def test_curves_of_one_model_are_joined_by_voxels():
    one = {"bundle": "unet", "variant": "default", "region": "WT", "schema": "1"}
    rows = [
        {**one, "bin": "0", "n": "30", "probability": "0.1", "share": "0"},
        {**one, "bin": "1", "n": "5", "probability": "0.15", "share": "0.2"},
        {**one, "bin": "0", "n": "10", "probability": "0.02", "share": "0.4"},
    ]
    columns = ["bundle", "variant", "region", "bin", "n", "probability", "share", "schema"]
    found = added._pooled(pd.DataFrame(rows)[columns]).set_index("bin")
    assert found.loc["0", ["n", "probability", "share"]].tolist() == ["40", "0.08", "0.1"]
    assert found.loc["1", ["n", "probability", "share"]].tolist() == ["5", "0.15", "0.2"]
