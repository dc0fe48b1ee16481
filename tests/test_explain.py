import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, TINY
from matplotlib.cbook import boxplot_stats
from synthetic_scores import rows, table, wide

from benchmark import score_table, stats, study
from benchmark.explain import explain, fences
from benchmark.explain.pairs import leave_one_out
from benchmark.metrics import METRICS

BETTER = {name: metric.better for name, metric in METRICS.items()}
UNET = {1: {"A/1": 0.8, "A/2": 0.5, "B/1": 0.9}, 2: {"A/1": 0.6, "A/2": 0.5, "B/1": 0.7}}
OTHER = {"A/1": 0.7, "A/2": 0.7, "B/1": 0.8, "C/1": 0.4}
SCORES = table(
    *(rows("unet", values, seed=seed) for seed, values in UNET.items()),
    rows("unet", {"C/1": 0.2}, fold=1),
    rows("unet", {"C/1": 0.0}, fold=1, seed=2, note="prediction empty"),
    *(rows("la_resunet", OTHER, seed=seed) for seed in (1, 2)),
    rows("unet", {"D/1": 0.99}, fold=1),
)
"""Patients by hand: unet A (0.7 + 0.5) / 2 = 0.6, B 0.8, C 0.1; la_resunet A 0.7, B 0.8, C 0.4; D has no pair."""


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A study of the two models above, as its report would leave it, in a project without anything else."""
    monkeypatch.chdir(tmp_path)
    for name in ("bundles", "data_manifests", "reports/demo"):
        (tmp_path / name).mkdir(parents=True)
    models = [{"bundle": "unet"}, {"bundle": "la_resunet"}]
    declared = {**TINY, "models": models, "folds": [0, 1], "seeds": [1, 2]}
    declared["compare"] = {"metrics": ["dice"], "pairs": [["unet", "la_resunet"]]}
    Path("reports/demo/study.json").write_text(json.dumps(declared), encoding="utf-8")
    runs = {
        run.id: {"commit": "c0ffee", "fingerprint": f"of {run.id}", "started": "today"}
        for run in study.load("demo").runs() if run.bundle == "unet"
    }  # fmt: skip
    Path("reports/demo/provenance.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")
    score_table.write(Path("reports/demo/scores.csv"), wide(SCORES))
    compared, _ = stats.shared_patients(SCORES)
    comparisons = stats.compare(compared, declared["compare"], BETTER)
    comparisons.to_csv("reports/demo/comparisons.csv", index=False)
    return study.load("demo")


def test_a_cell_is_averaged_in_two_steps_as_by_hand(demo):
    found = explain(demo, "unet", "WT")
    assert {p.patient_id: p.value for p in found.patients} == pytest.approx({"C": 0.1, "A": 0.6, "B": 0.8})
    assert [p.patient_id for p in found.patients] == ["C", "A", "B"]
    (first,) = (p for p in found.patients if p.patient_id == "A")
    assert [(c.case_id, c.seeds) for c in first.cases] == [("A/1", {1: 0.8, 2: 0.6}), ("A/2", {1: 0.5, 2: 0.5})]
    assert [c.value for c in first.cases] == pytest.approx([0.7, 0.5])
    # The mean over rows would be 0.525: seeds and cases do not count as patients.
    assert found.summary["mean"] == pytest.approx(0.5)
    assert found.summary["sd"] == pytest.approx(0.13**0.5)
    assert found.summary["median"] == pytest.approx(0.6)
    assert found.printed == "0.500 ± 0.361"
    assert found.warnings == []


def test_empty_masks_folds_worst_cases_and_patients_left_out_are_named(demo):
    found = explain(demo, "unet", "WT")
    assert {case.case_id: case.note for case in found.cases if case.note} == {"C/1": "prediction empty (seed 2)"}
    assert {case.case_id: case.folds for case in found.cases} == {"A/1": [0], "A/2": [0], "B/1": [0], "C/1": [1]}
    assert found.worst == ["C/1", "A/2", "A/1"]
    assert found.patients_left_out == ["D"]
    assert found.left_out == [
        "la_resunet has no complete scores for 1 of 4 patients; they were left out for every model."
    ]


def test_runs_are_followed_to_their_folders(demo):
    here = Path("runs/demo/unet/default/fold1-seed2")
    (here / "predictions" / "C").mkdir(parents=True)
    (here / "predictions" / "C" / "1.nii.gz").touch()
    score_table.write(here / "scores.csv", wide(SCORES))
    record = here / "run.json"
    record.write_text(json.dumps({"fingerprint": "of unet/default/fold1-seed2"}), encoding="utf-8")
    found = explain(demo, "unet", "WT")
    states = {run.id: (run.state, run.cases, run.commit) for run in found.runs}
    assert states == {
        "unet/default/fold0-seed1": ("not here", 3, "c0ffee"),
        "unet/default/fold0-seed2": ("not here", 3, "c0ffee"),
        "unet/default/fold1-seed1": ("not here", 1, "c0ffee"),
        "unet/default/fold1-seed2": ("here", 1, "c0ffee"),
    }
    assert [Path(path) for path in found.patients[0].cases[0].predictions] == [
        Path.cwd() / here / "predictions/C/1.nii.gz"
    ]
    record.write_text(json.dumps({"fingerprint": "another"}), encoding="utf-8")
    (warning,) = explain(demo, "unet", "WT").warnings
    assert warning.startswith("unet/default/fold1-seed2: the folder here has another fingerprint")
    # No run of la_resunet in fold 1 has scores, and those of fold 0 are in no provenance.json.
    assert [run.state for run in explain(demo, "la_resunet", "WT").runs] == ["not in provenance.json"] * 2 + [
        "no scores yet"
    ] * 2


def test_a_difference_is_followed_to_the_patients_that_drive_it(demo):
    pair = explain(demo, "la_resunet", "WT", against="unet").paired
    assert (pair.model_a, pair.model_b) == ("unet", "la_resunet")  # as the row of comparisons.csv has them
    assert pair.row["n_ties"] == 1 and pair.row["difference"] == pytest.approx(-0.4 / 3)
    assert (pair.difference, pair.ci_low, pair.ci_high) == pytest.approx(
        (pair.row["difference"], pair.row["ci_low"], pair.row["ci_high"]), abs=1e-12
    )
    assert [row["patient_id"] for row in pair.patients] == ["C", "A", "B"]
    assert [row["difference"] for row in pair.patients] == pytest.approx([-0.3, -0.1, 0])
    assert [row["without"] for row in pair.patients] == pytest.approx([-0.05, -0.15, -0.2])
    assert [row["change"] for row in pair.patients] == pytest.approx([0.25 / 3, -0.05 / 3, -0.2 / 3])
    assert pair.driving == ["C", "B", "A"]
    assert pair.deciding == []


def test_one_patient_may_decide_the_sign(demo):
    changed = SCORES.assign(value=SCORES["value"].where(SCORES["patient_id"] != "B", SCORES["value"] + 0.1))
    changed.loc[(changed["bundle"] == "la_resunet") & (changed["patient_id"] == "B"), "value"] = 0.1
    score_table.write(Path("reports/demo/scores.csv"), wide(changed))
    found = explain(demo, "unet", "WT", against="la_resunet")
    # A -0.1, B 0.8, C -0.3
    assert found.paired.difference == pytest.approx(0.4 / 3) and found.paired.deciding == ["B"]
    assert len(found.warnings) == 2 and all("it was made from others" in warning for warning in found.warnings)


def test_leaving_one_out_of_one_leaves_nothing():
    assert leave_one_out(np.array([3.0, -1.0, -1.0])) == pytest.approx([-1, 1, 1])
    assert np.isnan(leave_one_out(np.array([3.0]))).all()


def test_fences_are_those_of_a_box_plot():
    assert fences(np.arange(1.0, 10.0)) == (-3.0, 13.0)  # quartiles 3 and 7
    values = np.random.default_rng(1).standard_t(2, 60)
    (drawn,) = boxplot_stats(values, whis=1.5)
    low, high = fences(values)
    assert len(drawn["fliers"]) > 2
    assert sorted(values[(values < low) | (values > high)]) == sorted(drawn["fliers"])


def test_outliers_are_marked_on_their_side_and_worst_follows_the_metric(demo):
    distances = dict(zip((f"P{n}/1" for n in range(9)), [5.0, 6, 7, 8, 9, 10, 11, 12, 80], strict=True))
    parts = [rows(model, distances, metric="hd95") for model in ("unet", "la_resunet")]
    score_table.write(Path("reports/demo/scores.csv"), wide(table(*parts)))
    found = explain(demo, "unet", "WT", "hd95")
    assert found.fences == (1.0, 17.0)  # quartiles 7 and 11
    assert [(p.patient_id, p.outlier) for p in found.patients][:2] == [("P8", "above"), ("P7", "")]
    assert found.worst[0] == "P8/1"
    assert found.printed == "16.4 ± 23.9"


def test_the_terminal_and_json_say_the_same(demo, command):
    arguments = ("explain", "demo", "--bundle", "unet", "--region", "WT", "--against", "la_resunet")
    code, out, _ = command(*arguments)
    assert code == 0
    assert "Printed in the report as: 0.500 ± 0.361" in out
    assert "1 of 4 cases (C/1: prediction empty (seed 2))" in out
    assert re.search(r"│ C +│ C/1 +│ +1 │ 0.20000 │ 0.00000 │ +0.10000 │ +0.10000 │", out)
    assert re.search(r"│ C +│ 0.10000 │ +0.40000 │ -0.30000 │ +-0.05000 │ \+0.08333 │", out)
    code, out, _ = command(*arguments, "--json")
    said = json.loads(out)
    assert said["summary"]["mean"] == pytest.approx(0.5) and said["paired"]["driving"] == ["C", "B", "A"]
    # n is too small for any p below alpha: what comparisons.csv says and has not is there, not NaN.
    assert said["paired"]["row"]["friedman_p"] is None and "n" in said["paired"]["row"]["note"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--bundle", "unet", "--region", "WT"), "no study 'nowhere': expected one of demo"),
        (("demo", "--bundle", "unnet", "--region", "WT"), "no model 'unnet': expected one of unet, la_resunet"),
        (("demo", "--bundle", "unet", "--variant", "v", "--region", "WT"), "no model 'unet/v': expected one of unet"),
        (("demo", "--bundle", "unet", "--region", "ET"), "no region 'ET': expected one of WT"),
        (("demo", "--bundle", "unet", "--region", "WT", "--metric", "hd95"), "no metric 'hd95': expected one of dice"),
        (("demo", "--bundle", "unet", "--region", "WT", "--against", "unet"), "expected another of unet, la_resunet"),
    ],
)
def test_unknown_names_are_answered_with_what_is_there(demo, command, arguments, message):
    code, _, err = command("explain", *arguments)
    assert code == 2 and message in err


def test_a_model_of_another_tool_is_followed_to_its_file(demo):
    Path("reports/demo/external").mkdir()
    score_table.write(Path("reports/demo/external/nnunet.csv"), wide(table(rows("nnunet", {**OTHER, "E/1": 0.9}))))
    found = explain(demo, "nnunet", "WT", against="unet")
    assert found.runs == [] and Path(found.source).name == "nnunet.csv"
    assert [p.patient_id for p in found.patients] == ["C", "A", "B"]
    assert found.paired.row is None and found.paired.difference == pytest.approx(0.4 / 3)


# The committed study: what its report prints


def printed_cells():
    """Cells of report.md's comparison tables: (model, metric, region) to text."""
    text = (REPOSITORY / "reports" / "brats_small" / "report.md").read_text(encoding="utf-8")
    titles = {metric.title: name for name, metric in METRICS.items()}
    cells = {}
    for block in re.findall(r"^\*[^\n]*mean ± SD over[^\n]*\*\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        header, _, *lines = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in block.splitlines()]
        for model, *values in lines:
            for column, value in zip(header[1:], values, strict=True):
                name, region = re.fullmatch(r"(.+?)(?: \(\w+\))? [↑↓] (\w+)", column).groups()
                cells[model, titles[name], region] = value.strip("*")
    return cells


def test_committed_cells_are_explained_to_the_digit_that_the_report_prints(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    cells = printed_cells()
    declared = study.load("brats_small")
    wanted = [
        (model, metric, region)
        for model in ("unet", "resunet_tversky", "la_resunet")
        for metric in ("dice", "hd95")
        for region in ("WT", "TC", "ET")
    ]
    assert set(wanted) < set(cells)
    for model, metric, region in wanted:
        found = explain(declared, model, region, metric)
        assert found.printed == cells[model, metric, region], (model, metric, region)
        assert found.warnings == [] and len(found.runs) == 6


def test_a_committed_comparison_and_interval_are_explained_to_the_digit(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    folder = REPOSITORY / "reports" / "brats_small"
    report = (folder / "report.md").read_text(encoding="utf-8")
    found = explain(study.load("brats_small"), "la_resunet", "ET", against="unet")
    low, high = found.summary["ci_low"], found.summary["ci_high"]
    assert f"la_resunet, {found.summary['mean']:.3f} (95% CI {low:.3f} to {high:.3f})" in report
    comparisons = pd.read_csv(folder / "comparisons.csv").set_index(["metric", "region", "model_a", "model_b"])
    row = comparisons.loc["dice", "ET", "unet", "la_resunet"]
    pair = found.paired
    assert pair.difference == pytest.approx(row["difference"], rel=1e-12)
    # The declared test's own interval, of new seeds too, is the wider one.
    assert row["test"] == "two_level" and row["ci_low"] < pair.row["difference"] < row["ci_high"]
    assert (pair.row["ci_low"], pair.row["ci_high"]) == pytest.approx((row["ci_low"], row["ci_high"]), rel=1e-12)
    assert (found.summary["mean"], found.summary["sd"]) == pytest.approx((row["mean_b"], row["sd_b"]), rel=1e-12)
    assert sum(p["difference"] == 0 for p in pair.patients) == row["n_ties"]
