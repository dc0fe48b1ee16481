"""Tables of a study that are not as they should be: one sentence, and no half of a report."""

import csv
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.project import write_study
from helpers.results import pages_text
from helpers.synthetic_scores import rows, table, wide

from benchmark.base.files import read_table
from benchmark.base.records import InputError
from benchmark.report.document import Cell, Key, Table
from benchmark.results import page, publish
from benchmark.results.results import Results
from benchmark.scoring import score_table
from benchmark.stats.patients import incomplete_runs, shared_patients
from benchmark.stats.power import sample_size
from benchmark.studies import study

pytestmark = pytest.mark.usefixtures("undrawn")
PROVENANCE = {"gathered": "today", "cases_sha256": "1", "folds_sha256": {}, "versions": [], "code": [], "runs": {}}
COMPARE = {"metrics": ["dice"], "test": "wilcoxon"}
MODELS = {"unet": 0.6, "la_resunet": 0.7}


def scored(model, mean, cases, seed, **changes):
    values = np.random.default_rng(len(model) + seed).normal(mean, 0.02, len(cases))
    return [one for region in ("WT", "ET") for one in rows(model, dict(zip(cases, values, strict=True)), seed=seed,
                                                           region=region, **changes)]  # fmt: skip


@pytest.fixture
def made(project):
    """Tables of a study of two models under one seed, on six patients, and its folder; nothing was run."""
    folder = write_study("made", models=[{"bundle": name} for name in MODELS], compare=COMPARE).parent
    cases = [f"P{number}/a" for number in range(6)]
    scores = [scored(name, mean, cases, 1) for name, mean in MODELS.items()]
    score_table.write(folder / "scores.csv", wide(table(*scores)))
    score_table.write(folder / "baseline.csv", wide(table(*scores)))
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE), encoding="utf-8")
    (folder / "histories.csv").write_text("run\n", encoding="utf-8")
    (folder / "external").mkdir()
    return folder


def add_tool(folder, cases, seed=0, **changes):
    score_table.write(folder / "external/tool.csv", wide(table(scored("tool", 0.65, cases, seed, **changes))))


CASES = [f"P{number}/a" for number in range(6)]
HEADER = ",".join((*score_table.HEAD, "dice")) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("scores.csv", HEADER, "scores.csv has no rows: expected one per run, case and region"),
        ("external/x.csv", HEADER, "x.csv has no rows"),
        ("histories.csv", "", "histories.csv is not a table of training histories: No columns"),
        ("histories.csv", "epoch,seconds\n1,2\n", "expected the columns run too, found epoch, seconds."),
        ("histories.csv", "run,epoch\na,2\n", "expected the columns seconds too, found run, epoch."),
        ("histories.csv", "run,epoch,seconds\na,2,long\n", "expected numbers in the column seconds, found 'long'."),
        ("provenance.json", "{}", "provenance.json: expected an entry 'gathered', found none."),
        ("provenance.json", "[]", "provenance.json: expected an object, found []."),
        (
            "provenance.json",
            json.dumps({**PROVENANCE, "runs": {"a": {}}}),
            "provenance.json: runs/a: expected an entry",
        ),
    ],
)
def test_a_table_that_is_none_stops_a_report_in_one_sentence_and_changes_nothing(
    made, command, name, content, sentence
):
    (made / name).write_text(content, encoding="utf-8")
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    code, out, err = command("report", "made")
    assert (code, out, err.count("\n")) == (2, "", 1) and sentence in err
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_missing_provenance_leaves_the_old_report_whole(made):
    publish.publish(study.load("made"))
    before = (made / "comparisons.csv").read_bytes()
    scores = score_table.read(made / "scores.csv")
    score_table.write(made / "scores.csv", scores.assign(dice=scores["dice"] / 2))
    (made / "provenance.json").unlink()
    with pytest.raises(InputError, match=r"provenance\.json does not exist: expected where the scores come from"):
        publish.publish(study.load("made"))
    assert (made / "comparisons.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["scores.csv", "baseline.csv"])
def test_a_check_names_the_file_that_it_cannot_use(made, command, name):
    text = (made / name).read_text(encoding="utf-8")
    for content, sentence in ((HEADER, "has no rows"), (text + text.splitlines()[-1] + "\n", "has 1 rows twice")):
        (made / name).write_text(content, encoding="utf-8")
        code, _, err = command("check", "made")
        assert code == 2 and f"made/{name} {sentence}" in err


def test_small_losses_that_are_accepted_one_after_the_other_are_shown_against_the_first_baseline(made, command):
    scores = score_table.read(made / "scores.csv")
    for step in range(1, 5):
        score_table.write(made / "scores.csv", scores.assign(dice=scores["dice"] - 0.015 * step))
        code, out, _ = command("check", "made")
        assert code == 0, "each loss is within the margin of 0.02"
        since = "made on phantom: since the first baseline, unet: WT dice fell from 0.598"
        assert (since in out) == (step > 1)
        assert command("check", "made", "--accept")[0] == 0
    first, last = (score_table.read(made / f"baseline{name}.csv")["dice"].mean() for name in ("_first", ""))
    assert first - last == pytest.approx(0.06)
    code, out, _ = command("check", "made", "--accept")
    assert (code, "(-0.060, 95% CI -0.060 to -0.060, margin 0.02)" in out) == (0, True)
    (made / "baseline_first.csv").unlink()
    assert "since" not in command("check", "made")[1]


def test_a_baseline_of_a_metric_that_the_scores_lack_is_refused(made, command):
    path = made / "study.json"
    declared = json.loads(path.read_text())
    path.write_text(json.dumps({**declared, "check": {"metrics": ["iou"], "margin": 0.02}}))
    before = (made / "baseline.csv").read_bytes()
    code, _, err = command("check", "made", "--accept")
    assert code == 2 and "scores.csv: expected iou, which check.metrics names" in err
    assert (made / "baseline.csv").read_bytes() == before


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", '"'])
def test_an_explanation_names_the_table_that_it_cannot_use(made, command, content):
    publish.publish(study.load("made"))
    (made / "cells.csv").write_text(content, encoding="utf-8")
    code, out, err = command("explain", "made", "--bundle", "unet", "--region", "WT", "--against", "la_resunet")
    assert (code, out) == (2, "") and "made/cells.csv is not a" in err


def declare_two_seeds(made):
    path = made / "study.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["compare"]["test"] = "wilcoxon"
    path.write_text(json.dumps(content | {"seeds": [1, 2], "partitions": "shared"}), encoding="utf-8")


def test_a_tool_under_another_seed_makes_no_methods_of_one_seed(made):
    add_tool(made, CASES)
    publish.publish(study.load("made"))
    assert not (made / "methods.csv").exists()
    assert "## Methods, trained anew" not in pages_text(made)
    scores = score_table.read(made / "scores.csv")
    two = pd.concat([scores, scores[scores["bundle"] == "unet"].assign(seed=2)])
    score_table.write(made / "scores.csv", two)
    declare_two_seeds(made)
    publish.publish(study.load("made"))
    # The tool, trained once, is compared as a network only.
    found = pd.read_csv(made / "methods.csv")
    assert found[["model_a", "model_b"]].drop_duplicates().to_numpy().tolist() == [["unet", "la_resunet"]]
    assert set(found["n_checkpoints_a"]) == {2} and set(found["n_checkpoints_b"]) == {1}


def test_a_tool_that_was_scored_on_other_cases_or_patients_is_refused(made):
    add_tool(made, ["Q1/a", "Q2/a"])
    with pytest.raises(InputError, match=r"tool\.csv: expected cases of the study, such as P0/a, found 2 others, such"):
        Results(study.load("made")).scores  # noqa: B018
    add_tool(made, CASES)
    path = made / "external/tool.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",P3,", ",P9,"), encoding="utf-8")
    with pytest.raises(InputError, match=r"tool\.csv: expected case P3/a of patient P3, found P9\."):
        Results(study.load("made")).scores  # noqa: B018
    # More cases than the study's are no harm.
    add_tool(made, [*CASES, "Q1/a"])
    results = Results(study.load("made"))
    assert set(results.scores["case_id"]) == set(CASES) and not results.limits + results.incomplete


def test_a_tool_of_few_patients_is_said_to_limit_the_study_and_one_of_other_references_is_refused(made):
    add_tool(made, CASES[:2])
    (said,) = Results(study.load("made")).limits
    assert said.startswith("tool limits all that is compared: it has complete scores of 2 of 6 patients only")
    assert said.endswith("To compare the others without it, move tool.csv out of external/.")
    for name, size in (("scores.csv", 100.0), ("external/tool.csv", 120.0)):
        score_table.write(made / name, score_table.read(made / name).assign(tp=size, fn=0.0))
    expected = (
        r"tool\.csv: expected scores against the references of .*scores\.csv, where WT of case P0/a has 100 voxels"
    )
    with pytest.raises(InputError, match=expected):
        Results(study.load("made")).scores  # noqa: B018


def test_every_model_of_a_table_is_held_against_the_references(made):
    add_tool(made, CASES)
    path = made / "external" / "tool.csv"
    score_table.write(made / "scores.csv", score_table.read(made / "scores.csv").assign(tp=100.0, fn=0.0))
    tool = score_table.read(path).assign(tp=100.0, fn=0.0)
    # The first of the two by name has other references.
    score_table.write(path, pd.concat([tool.assign(bundle="another", tp=120.0), tool], ignore_index=True))
    with pytest.raises(InputError, match=r"tool\.csv: expected scores against the references of .*found 120"):
        Results(study.load("made")).scores  # noqa: B018


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t[(t["model"] != "b") | (t["metric"] != "iou")], "b has no iou."),
        (lambda t: t[(t["model"] != "b") | (t["region"] != "ET")], "b has no ET."),
        (lambda t: t[(t["model"] != "b") | (t["region"] + t["metric"] != "ETiou")], "b has no iou of ET."),
        (lambda t: t[(t["model"] == "b") ^ (t["case_id"] == "P0/a")],
         "a lacks 2 of 3 patients (P1, P2); b lacks 1 of 3 patients (P0)."),
    ],
)  # fmt: skip
def test_what_a_model_lacks_is_said_where_no_patient_is_left(change, sentence):
    parts = [scored(model, 0.5, CASES[:3], 1, metric=metric) for model in "ab" for metric in ("dice", "iou")]
    scores = change(table(*parts).assign(model=lambda t: t["bundle"]))
    with pytest.raises(InputError) as found:
        shared_patients(scores)
    assert str(found.value) == f"no patient was scored for all of a, b: expected at least one, found that {sentence}"


def test_a_case_that_one_run_lost_is_said():
    whole = table(*(scored("unet", 0.5, CASES, seed) for seed in (1, 2)), scored("unet", 0.5, ["R/a"], 1, fold=1))
    assert incomplete_runs(whole) == []
    lost = (whole["seed"] == 2) & (whole["case_id"] == "P3/a")
    blank = (whole["seed"] == 1) & (whole["case_id"] == "P4/a") & (whole["region"] == "ET")
    assert incomplete_runs(whole[~(lost | blank)]) == [
        "unet, fold 0, seed 1 lacks 1 of 12 scores that other seeds have, of 1 case (P4/a): means are over what is "
        "there.",
        "unet, fold 0, seed 2 lacks 2 of 12 scores that other seeds have, of 1 case (P3/a): means are over what is "
        "there.",
    ]


def test_a_case_that_one_run_lost_is_said_where_each_seed_tests_other_patients():
    runs = [(model, seed) for model in ("unet", "la_resunet") for seed in (1, 2)]
    whole = table(*(scored(model, 0.5, CASES[:4] if seed == 1 else CASES[2:6], seed) for model, seed in runs))
    assert incomplete_runs(whole, shared=False) == []
    lost = (whole["seed"] == 2) & (whole["bundle"] == "unet") & (whole["case_id"] == CASES[3])
    (sentence,) = incomplete_runs(whole[~lost], shared=False)
    assert sentence.startswith("unet, fold 0, seed 2 lacks 2 of ") and f"of 1 case ({CASES[3]})" in sentence


def test_a_report_says_which_run_lost_a_case(made):
    scores = score_table.read(made / "scores.csv")
    again = scores[(scores["bundle"] == "unet") & (scores["case_id"] != "P3/a")].assign(seed=2)
    score_table.write(made / "scores.csv", pd.concat([scores, again]))
    declare_two_seeds(made)
    publish.publish(study.load("made"))
    assert "unet, fold 0, seed 2 lacks 2 of 12 scores" in pages_text(made)


def test_the_rows_behind_the_table_of_power_are_written(made):
    publish.publish(study.load("made"))
    power = pd.read_csv(made / "power.csv")
    scores = score_table.read(made / "scores.csv").pivot(index=["region", "case_id"], columns="bundle", values="dice")
    spread = (scores["unet"] - scores["la_resunet"]).groupby("region").std()
    assert set(power["of"]) == {"networks"}
    for row in power.itertuples():
        assert row.sd_difference == pytest.approx(spread[row.region], rel=1e-5)
        assert row.patients == sample_size(row.target / spread[row.region], 0.05, test="wilcoxon")
    score_table.write(made / "scores.csv", score_table.read(made / "scores.csv").query("bundle == 'unet'"))
    write_study("made", models=[{"bundle": "unet"}], compare=COMPARE)
    publish.publish(study.load("made"))
    assert not (made / "power.csv").exists()


def test_a_table_is_read_as_it_stands(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,n\na,1\nb,\n", encoding="utf-8")
    found = read_table(path, "a table of names", ["name"], ["n"])
    assert found["n"].iloc[0] == 1 and np.isnan(found["n"].iloc[1])
    path.write_text("name,n\n", encoding="utf-8")
    assert read_table(path, "a table of names", ["name"], ["m"]).empty
    with pytest.raises(InputError, match=r"expected a table of names\.$"):
        read_table(tmp_path / "none.csv", "a table of names")


def test_no_label_of_a_reports_cells_is_a_formula_and_each_is_read_as_it_was(made):
    labels = ["=1+1", "+ Dice loss only", "-x", "@x", "unet", "'quoted"]
    rows = [[label, Cell("-0.5", key=Key("unet", "dice", "WT", "mean"))] for label in labels]
    results = Results(study.load("made"))
    page.record(results, [Table("Caption.", ["=Row", "=Column"], rows)], made)
    with (made / "cells.csv").open(newline="") as file:
        cells = list(csv.reader(file))[1:]
    assert {cell[0] for row in cells for cell in row[:-1] if cell} & set("=+-@") == set()
    assert [row[-1] for row in cells] == ["-0.5"] * len(labels), "a number is no formula"
    assert results.cells["row"].tolist() == labels and set(results.cells["column"]) == {"=Column"}


@pytest.mark.parametrize(("ending", "code"), [("> /dev/full", 2), ("| true; exit ${PIPESTATUS[0]}", 141), (">&-", 0)])
def test_an_output_that_nobody_takes_is_no_finding(project, ending, code):
    """Exit code 1 says that something was found or failed, and nothing else."""
    line = f"'{sys.executable}' -m benchmark plan tiny {ending}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert ("the output was not written" in done.stderr or "No space left" in done.stderr) == (code == 2)


def test_a_plan_names_what_does_not_exist(project, command):
    for change, sentence in [
        ({"models": [{"bundle": "unet2"}]}, "There is no bundle 'unet2'"),
        ({"data": "phantom2"}, "phantom2"),
        ({"folds": [7]}, "phantom has folds 0 to 0, found fold 7"),
        ({"set": {"data#split": "slice"}}, "Id 'data#split' cannot be set"),
    ]:
        write_study("tiny", **change)
        code, out, err = command("plan", "tiny")
        assert (code, out) == (2, "") and sentence in err and len(err.splitlines()) == 1
