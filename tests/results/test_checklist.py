"""Checklists say what a study records, with the place, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.project import REPOSITORY
from helpers.results import QUICK, demo

from benchmark.results import checklist
from benchmark.results.checklist_items import CLAIM, METRICS_RELOADED
from benchmark.studies import study

FROM_SCORES = {
    "2",
    "12",
    "20",
    "30",
    "32",
    "39",
    "FP2.1",
    "FP2.2",
    "FP2.5",
    "FP2.7.1",
    "FP3.6",
    "FP5.2",
    "FP5 (invalid)",
}
AUTHORS = {"1", "3", "5", "8", "11", "15", "16", "17", "18", "31", "33", "34", "41", "44"}
AUTHORS |= {"FP4.2", "FP4.3.1"}
ENDS = (
    "early stopping (26), flat curve (4), the schedule ended while validation Dice was still rising (3), "
    "schedule ended (2), no plateau (1)"
)


def lines(name):
    """The lines of a study's checklists by their number."""
    return {line.number: line for filled in checklist.fill(study.load(name)).values() for line in filled}


def recorded(name):
    """Numbers of the questions that the study's records answer."""
    return {number for number, line in lines(name).items() if line.recorded}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A project with the committed study brats_small, as the working directory; returns the study's folder."""
    for name in ("bundles", "docs", "LICENSE"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for name in ("data_manifests", "reports/brats_small"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "reports/brats_small"


def test_each_question_has_its_number_once():
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    assert len({item.number for item in METRICS_RELOADED}) == len(METRICS_RELOADED)
    assert all(item.write for item in (*CLAIM, *METRICS_RELOADED))


@pytest.mark.parametrize("name", ["quickstart", "brats_small", "mandekar2025/small"])
def test_every_link_leads_to_a_file_and_a_heading(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    declared = study.load(name)
    folder = declared.folder / "deep"
    text = checklist.to_text(declared, checklist.fill(declared), folder)
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", text)
    assert len(links) > 60 and sum(bool(anchor) for _, anchor in links) > 20
    for target, anchor in links:
        # The folder need not exist for its links to be right.
        path = Path(os.path.normpath(folder / target))
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            assert anchor in [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]
    assert len(re.findall(r"^- \*\*", text, re.M)) == len(CLAIM) + len(METRICS_RELOADED)


def test_answers_are_what_the_files_of_a_study_hold(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found, folder = lines("brats_small"), REPOSITORY / "reports/brats_small"
    assert recorded("brats_small") == set(found) - AUTHORS
    assert found["10"].recorded == "18 of 285 published cases"
    assert found["19"].recorded.startswith(
        "3 folds of patients dealt by random seed 2026, train 10, validation 2, test 6"
    )
    made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert found["23"].recorded == ", ".join(f"{name} {one}" for name, one in made["versions"][0].items())
    assert {run["commit"] for run in made["runs"].values()} == {*re.findall("[0-9a-f]{40}", found["42"].recorded)}
    scores = pd.read_csv(folder / "scores.csv")
    means = scores.groupby(["region", "case_id"])["dice"].mean()
    for region in ("WT", "TC", "ET"):
        assert f"{region} {means[region].min():.3g} ({means[region].idxmin()})" in found["39"].recorded
        empty = int(((scores["region"] == region) & (scores["tp"] + scores["fp"] == 0)).sum())
        assert f"{region} {empty} of 216" in found["FP5.2"].recorded
    cases = json.loads((REPOSITORY / "data_manifests/brats_small.cases.json").read_text(encoding="utf-8"))["cases"]
    enhancing = pd.Series([case["voxels"]["4"] for case in cases])
    assert f"ET {enhancing.median():.0f} ({enhancing.min()} to {enhancing.max()})" in found["FP3.1"].recorded
    assert found["20"].recorded == "No patient is on two sides of a fold (checked in the folds file)"
    assert found["40"].recorded.startswith(
        f"{(folder / 'report.md').read_text().split('##')[1].count(chr(10) + '- ')} "
    )


def test_a_phantom_without_tumour_is_an_empty_reference(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = lines("quickstart")
    assert found["FP4.6"].recorded.startswith("Empty of 25 references: WT 1, TC 1, ET ")
    assert found["FP4 (dependence)"].recorded.startswith("25 cases of 24 patients")
    assert found["7"].recorded.startswith("Phantom: synthetic gliomas")


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("provenance.json", {"23", "42"}),
        ("power.csv", {"21"}),
        ("comparisons.csv", {"37", "38"}),
        ("report.md", {"2", "40"}),
        ("scores.csv", FROM_SCORES),
    ],
)
def test_an_answer_goes_with_its_record(copy, file, lost):
    before = recorded("brats_small")
    (copy / file).unlink()
    found = lines("brats_small")
    assert before - {number for number, line in found.items() if line.recorded} == lost
    assert all(found[number].write and not found[number].places for number in lost)
    assert not any(place.path.endswith(file) for line in found.values() for place in line.places)


@pytest.mark.parametrize(
    ("file", "number", "said"),
    [
        ("costs.csv", "22", "1.21 to 2.76 million parameters"),
        ("histories.csv", "25", ENDS),
        ("provenance.json", "25", ENDS),
    ],
)
def test_a_part_of_an_answer_goes_with_its_record(copy, file, number, said):
    assert said in lines("brats_small")[number].recorded
    (copy / file).unlink()
    left = lines("brats_small")[number].recorded
    assert left and said.split()[-1] not in left


def test_sizes_of_tumours_go_with_the_counts_of_voxels(copy):
    path = copy.parents[1] / "data_manifests/brats_small.cases.json"
    listed = json.loads(path.read_text(encoding="utf-8"))
    before = recorded("brats_small")
    path.write_text(json.dumps({**listed, "cases": [{**case, "voxels": {}} for case in listed["cases"]]}))
    assert before - recorded("brats_small") == {"FP3.1", "FP4 (balance)", "FP4.6"}


def test_a_study_that_was_never_run_answers_from_what_it_declares(copy):
    for name in ("cases", "folds"):
        (copy.parents[1] / f"data_manifests/brats_small.{name}.json").unlink()
    content = json.loads((copy / "study.json").read_text(encoding="utf-8")) | {"data": "brats2018"}
    shutil.rmtree(copy)
    copy.mkdir()
    (copy / "study.json").write_text(json.dumps(content), encoding="utf-8")
    declared = {"4", "6", "7", "9", "14", "22", "24", "25", "26", "27", "28", "29", "43", "FP1.1"}
    assert recorded("brats_small") == declared


def test_a_heading_that_is_not_there_is_not_linked(copy):
    report = copy / "appendix.md"
    report.write_text(
        report.read_text(encoding="utf-8").replace("## Where models fail\n", "## Other\n"), encoding="utf-8"
    )
    assert [place.heading for place in lines("brats_small")["39"].places] == ["", ""]


def test_pretrained_weights_and_stages_are_named(copy):
    models = [{"bundle": "resnet50_classifier", "set": {"weights": "resnet50.pt"}}, {"bundle": "unet"}]
    models.append({"bundle": "unet", "variant": "joined", "stages": ["resnet50_classifier", "unet"]})
    folder = copy.parent / "joined"
    folder.mkdir()
    content = {"title": "Joined", "data": "lgg_small", "folds": [0], "seeds": [1], "models": models}
    (folder / "study.json").write_text(json.dumps({**content, "compare": {"metrics": ["dice"]}}), encoding="utf-8")
    found = lines("joined")
    assert found["24"].recorded.startswith("Pretrained weights set for resnet50_classifier;")
    assert found["27"].recorded == "unet/joined joins resnet50_classifier and unet"
    assert "classification (resnet50_classifier)" in found["FP1.1"].recorded


def test_the_command_prints_writes_and_refuses(copy, command):
    code, printed, _ = command("checklist", "brats_small")
    assert code == 0 and "(reports/brats_small/provenance.json)" in printed and "**44 Funding.** **WRITE:**" in printed
    out = copy / "checklist.md"
    assert command("checklist", "brats_small", "--out", str(out))[:2] == (0, f"Wrote {out}\n")
    declared = study.load("brats_small")
    written = out.read_text(encoding="utf-8")
    assert written == checklist.to_text(declared, checklist.fill(declared), copy) and "(provenance.json)" in written
    code, printed, _ = command("checklist", "brats_small", "--json")
    claim, reloaded = json.loads(printed).values()
    assert code == 0 and [len(claim), len(reloaded)] == [len(CLAIM), len(METRICS_RELOADED)]
    assert claim[22]["places"] == [{"path": "reports/brats_small/provenance.json", "heading": ""}]
    code, printed, error = command("checklist", "nowhere")
    assert code == 2 and printed == "" and error.startswith("Error: There is no study 'nowhere'")


def test_kept_probabilities_and_ensembles_are_an_answer(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    line = lines("quickstart")["FP2.7.1"]
    errors = pd.read_csv(REPOSITORY / "reports/quickstart/calibration.csv")
    means = errors.groupby(["region", "bundle", "patient_id"])["ece"].mean().groupby("region").mean()
    assert f"WT {means['WT']:.3g} and " in line.recorded and line.places[0].path.endswith("calibration.csv")
    # Only whether it must be calibrated is left, not that there is nothing to calibrate.
    assert line.write == "whether it must"
    joined = checklist._kept(demo(QUICK, ensemble_of={"unet/ensemble": "unet"}))["27"]
    assert joined.text == "Mean of the seeds' probabilities: unet/ensemble; each other score is of one network"


def test_tests_elsewhere_are_an_answer_and_leave_less_to_write():
    study = {**QUICK, "test_on": {"sets": ["lgg_small"], "sweep": {"noise": [0.5]}}}
    names = [test.name for test in demo(study).study.other_tests]
    found = pd.DataFrame({"test": names, "metric": "dice", "model": "unet", "region": "WT", "change": [-0.2, -0.05]})
    varied = checklist.Answer("Varied: seed (2)", [checklist.Place("study.json")])
    answers = checklist._elsewhere(demo(study, other_tests=found), varied)
    assert answers["33"].text.endswith("of mean Dice by model and region: lgg_small (-0.200)")
    assert answers["30"].text.startswith("Varied: seed (2); ") and answers["30"].text.endswith("noise-0.5 (-0.050)")
    # Another set is another scanner; without one that is left to say.
    assert answers["30"].more == ""
    only = {**QUICK, "test_on": {"sweep": {"noise": [0.5]}}}
    alone = checklist._elsewhere(demo(only, other_tests=found[found["test"] == "noise-0.5"]), varied)
    assert "33" not in alone and alone["30"].more == "robustness to other scanners"
    assert checklist._elsewhere(demo(QUICK, other_tests=None), varied) == {}


def test_patients_are_described_from_ids_and_the_table_of_patients(copy):
    before = lines("brats_small")["36"]
    assert before.recorded.startswith("centre 2013 (4), TCIA01 (4), CBICA (3)")
    assert before.write == "age, sex, grade, treatment, all of these by partition"
    manifests = copy.parents[1] / "data_manifests"
    cases = json.loads((manifests / "brats_small.cases.json").read_text(encoding="utf-8"))["cases"]
    rows = [f"{case['patient_id']},{40 + place},{'HGG' if place % 2 else 'LGG'}" for place, case in enumerate(cases)]
    (manifests / "brats_small.patients.csv").write_text("\n".join(["patient_id,age,grade", *rows]), encoding="utf-8")
    found = lines("brats_small")["36"]
    assert "age 48.5 (40 to 57), the median and range; grade LGG (9), HGG (9)" in found.recorded
    assert found.write == "sex, treatment, all of these by partition"
    assert found.places == [checklist.Place("data_manifests/brats_small.patients.csv")]


def test_what_the_worst_patients_have_in_common_is_not_left_to_write(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    line = lines("brats_small")["39"]
    assert "They have nothing in common, of the 11 groups" in line.recorded and line.write == "why they failed"
    assert line.places[1].heading == "Where models fail"


def test_torch_is_not_imported():
    code = (
        "import sys; from benchmark.results import checklist; from benchmark.studies import study; "
        "checklist.fill(study.load('quickstart')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
