import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.project import REPOSITORY, TINY, copy_manifests
from helpers.synthetic_scores import rows, table, wide
from matplotlib.cbook import boxplot_stats
from sklearn.metrics import classification_report

from benchmark.base import project
from benchmark.base.records import InputError
from benchmark.data.manifest import CaseList, manifest_of
from benchmark.report import splits as reported
from benchmark.results import page
from benchmark.results.explain import derived, explain, fences
from benchmark.results.explain.derived import FORMULAS, filled, report_formula
from benchmark.results.explain.means import leave_one_out
from benchmark.results.results import Results
from benchmark.scoring import score_table
from benchmark.scoring.counts import POOLED_MEASURES, Counted, measure_of, report_cells
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS, METRICS, mask_note, score_pair
from benchmark.stats.power import sample_size
from benchmark.studies import store, study

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
    copy_manifests(tmp_path)
    (tmp_path / "bundles").symlink_to(REPOSITORY / "bundles")
    (tmp_path / "reports/demo").mkdir(parents=True)
    models = [{"bundle": "unet"}, {"bundle": "la_resunet"}]
    declared = {**TINY, "models": models, "folds": [0, 1], "seeds": [1, 2]}
    declared["partitions"] = "shared"
    declared["compare"] = {"metrics": ["dice"], "test": "wilcoxon", "pairs": [["unet", "la_resunet"]]}
    Path("reports/demo/study.json").write_text(json.dumps(declared), encoding="utf-8")
    run = {"commit": "c0ffee", "started": "today", "platform": "p", "overrides": {}, "stages": None}
    runs = {
        made.id: {**run, "fingerprint": f"of {made.id}"} for made in study.load("demo").runs() if made.bundle == "unet"
    }
    told = {"gathered": "today", "cases_sha256": "1", "folds_sha256": {}, "versions": [], "code": [], "runs": runs}
    Path("reports/demo/provenance.json").write_text(json.dumps(told), encoding="utf-8")
    score_table.write(Path("reports/demo/scores.csv"), wide(SCORES))
    write_cells()
    return study.load("demo")


def write_cells():
    """List the cells of the study's report, as a report does, without scanned data and figures."""
    declared = study.load("demo")
    cases = CaseList(declared.data, manifest_of(declared.data), ())
    results = Results(declared, cases=cases, panels=(), folds=[()], differences={}, warnings=[], origin={})
    beside = page.beside_paper(results, declared.folder, None)
    page.record(results, page.build(results, [], *beside), declared.folder)


def printed(found):
    """What the report prints, by place."""
    return {place.where: place.text for place in found.printed}


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
    assert found.by_seed == pytest.approx({1: (0.65 + 0.9 + 0.2) / 3, 2: (0.55 + 0.7) / 3})
    assert printed(found) == {
        "Comparison, unet, Dice ↑ WT": "0.500 ± 0.361",
        "Spread over seeds, unet, Dice WT": "0.118",
    }
    assert found.warnings == [] and found.beside == ["la_resunet"]


def test_empty_masks_folds_worst_cases_and_patients_left_out_are_named(demo):
    found = explain(demo, "unet", "WT")
    assert {case.case_id: case.note for case in found.cases if case.note} == {"C/1": "prediction empty (seed 2)"}
    assert {case.case_id: case.folds for case in found.cases} == {"A/1": [0], "A/2": [0], "B/1": [0], "C/1": [1]}
    assert found.worst == ["C/1", "A/2", "A/1"]
    assert found.patients_left_out == ["D"]
    assert found.left_out == [
        "la_resunet limits all that is compared: it has complete scores of 3 of 4 patients only, and the others were "
        "left out for every model."
    ]


def test_runs_are_followed_to_their_folders(demo):
    here = Path("runs/demo/unet/default/fold1-seed2")
    (here / "predictions" / "C").mkdir(parents=True)
    (here / "predictions" / "C" / "1.nii.gz").touch()
    score_table.write(here / "scores.csv", wide(SCORES))
    (made,) = (run for run in demo.runs() if run.id == "unet/default/fold1-seed2")
    kinds = ("config", "manifest", "fold", "cases", "versions", "code")
    store.record(made, {key: {} for key in kinds}, "command")
    record = json.loads((here / "run.json").read_text())
    (here / "run.json").write_text(json.dumps({**record, "fingerprint": f"of {made.id}"}), encoding="utf-8")
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
    (here / "run.json").write_text(json.dumps({**record, "fingerprint": "another"}), encoding="utf-8")
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
    assert found.warnings == [STALE.format("demo/scores.csv")]


STALE = "The report was made from other files than are there now ({}): run `benchmark report demo`."


def test_a_report_of_other_files_is_named_once(demo):
    for name in ("study.json", "provenance.json"):
        path = demo.folder / name
        before = path.read_text(encoding="utf-8")
        path.write_text(before + "\n", encoding="utf-8")
        for against in ("la_resunet", None):
            assert explain(demo, "unet", "WT", against=against).warnings == [STALE.format(f"demo/{name}")]
        path.write_text(before, encoding="utf-8")
    assert explain(demo, "unet", metric="rank").warnings == []
    for name in ("comparisons.csv", "external/tool.csv"):
        (demo.folder / name).parent.mkdir(exist_ok=True)
        score_table.write(demo.folder / name, wide(table(rows("nnunet", OTHER))))
    assert explain(demo, "unet", metric="rank").warnings == [
        STALE.format("demo/comparisons.csv, demo/external/tool.csv")
    ]


def test_a_report_of_a_study_that_only_got_comments_is_not_of_another(demo):
    path = demo.folder / "study.json"
    path.write_text('{"// why": "for fun", ' + path.read_text(encoding="utf-8")[1:], encoding="utf-8")
    assert explain(demo, "unet", "WT").warnings == []
    path.write_text(path.read_text(encoding="utf-8").replace('"title": "', '"title": "no '), encoding="utf-8")
    assert explain(demo, "unet", "WT").warnings == [STALE.format("demo/study.json")]


def test_without_a_report_a_number_is_followed_all_the_same(demo):
    for name in ("cells.csv", "report.json"):
        (demo.folder / name).unlink()
    found = explain(demo, "unet", "WT", against="la_resunet")
    assert found.printed == [] and found.paired.row["difference"] == pytest.approx(-0.4 / 3)
    place = demo.folder / "report.json"
    said = f"{place} does not exist: run `benchmark report demo` to see where its report prints a number."
    assert found.warnings == [said]
    for content in ("[]", "{}", '{"made_from": 1}', '{"made_from": ["scores.csv"]}'):
        place.write_text(content)
        with pytest.raises(InputError, match=r"report\.json: .*expected .*, found"):
            explain(demo, "unet", "WT")


def test_no_hash_of_a_local_table_of_patients_is_published(demo):
    before = Results(demo).files()
    (project.manifests() / f"{demo.data}.patients.csv").write_text("patient_id,grade\nA,low\n", encoding="utf-8")
    assert Results(demo).files() == before


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
    dice = dict.fromkeys(distances, 0.5)
    parts = [
        rows(model, values, metric=metric)
        for model in ("unet", "la_resunet") for metric, values in (("dice", dice), ("hd95", distances))
    ]  # fmt: skip
    score_table.write(Path("reports/demo/scores.csv"), wide(table(*parts)))
    write_cells()
    found = explain(demo, "unet", "WT", "hd95")
    assert found.fences == (1.0, 17.0)  # quartiles 7 and 11
    assert [(p.patient_id, p.outlier) for p in found.patients][:2] == [("P8", "above"), ("P7", "")]
    assert found.worst[0] == "P8/1"
    assert printed(found) == {"Comparison, unet, HD95 (mm) ↓ WT": "16.4 ± 23.9"}


def test_the_terminal_and_json_say_the_same(demo, command):
    arguments = ("explain", "demo", "--bundle", "unet", "--region", "WT", "--against", "la_resunet")
    code, out, _ = command(*arguments)
    assert code == 0
    assert "- Comparison, unet, Dice ↑ WT: 0.500 ± 0.361" in out
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
        (("demo", "--bundle", "unet", "--metric", "hd95"), "no metric 'hd95': expected rank, "),
        (("demo", "--bundle", "unet", "--region", "WT", "--against", "unet"), "expected another of unet, la_resunet"),
        (("demo", "--bundle", "unet", "--region", "WT", "--metric", "rank"), "the ranking is over all regions"),
        (
            ("demo", "--bundle", "unet", "--region", "WT", "--metric", "Dice"),
            "WT of unet by no metric 'Dice': expected one of dice.",
        ),
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
    # Over all regions nobody is left out for another model's sake.
    assert explain(demo, "nnunet").results[0].value == pytest.approx((0.7 + 0.8 + 0.4 + 0.9) / 4)


def test_a_rank_is_followed_to_each_patients_ranks(demo):
    found = explain(demo, "unet", metric="rank", against="la_resunet")
    # unet is worse for A and C, and B is a tie.
    assert {row["patient"]: row["dice WT"] for row in found.parts} == {"A": 2, "B": 1.5, "C": 2}
    assert found.results[0].value == pytest.approx(5.5 / 3) and found.results[1].value == 2
    # With one metric in one region, the critical-difference diagram has the same mean.
    assert found.results[2].name == "dice WT" and found.results[2].value == pytest.approx(5.5 / 3)
    assert printed(found)["Ranking, unet"].startswith("Rank 2; Mean rank 1.83;")
    assert found.paired.difference == pytest.approx((1 + 0 + 1) / 3)


def test_the_terminal_and_json_say_the_same_of_a_rank(demo, command):
    code, out, _ = command("explain", "demo", "--bundle", "unet", "--metric", "rank")
    assert code == 0
    assert re.search(r"│ B +│ 1.50000 │ 1.50000 │", out) and re.search(r"│ A +│ 2.00000 │ 2.00000 │", out)
    assert "Result: mean rank (mean over patients): 1.83333." in out and "- Ranking, unet: Rank 2; Mean rank" in out
    said = json.loads(command("explain", "demo", "--bundle", "unet", "--metric", "rank", "--json")[1])
    assert said["parts"][0] == {"patient": "B", "dice WT": 1.5, "mean": 1.5} and said["region"] is None
    assert said["printed"][0]["where"] == "Ranking, unet" and said["results"][0]["low"] is None


def test_a_pair_comes_with_its_row_of_methods_and_the_patients_it_would_need(demo):
    pair = explain(demo, "unet", "WT", against="la_resunet").paired
    assert pair.methods["n_checkpoints_a"] == 4 and pair.methods["n_checkpoints_b"] == 2
    # unet never wins for A (0.65 and 0.55 against 0.7) and C (0.2 and 0 against 0.4), and for B with one of its seeds.
    assert pair.methods["p_superior"] == pytest.approx((0 + 0.5 + 0) / 3)
    assert pair.power.sd_difference == pytest.approx(np.std([-0.1, 0, -0.3], ddof=1))
    effect = np.array([row["target"] for row in pair.power.rows]) / pair.power.sd_difference
    needed = sample_size(effect, 0.05, test="wilcoxon")
    rows = [(row["these networks"], row["hardest"]) for row in pair.power.rows]
    assert rows == [(count, count) for count in needed]  # one comparison is declared
    # One pair in one region is its own median.
    shown = [f"Power, Dice, {row['target']:g}" for row in pair.power.rows]
    assert [cell.where for cell in pair.power.printed] == shown and len(shown) == 3
    for row, cell in zip(pair.power.rows, pair.power.printed, strict=True):
        assert cell.text == f"These networks {row['these networks']:.0f}; Hardest {row['hardest']:.0f}"


def with_counts(models, counts, region, note=None):
    """Rows of a scores.csv with a case's tp, fp, fn, tn, and the metrics that follow from these."""
    lines = []
    for (bundle, variant, fold), cases in zip(models, counts, strict=True):
        for case, own in cases.items():
            keys = dict(
                zip(score_table.KEYS, (bundle, variant, fold, 1, case.split("/")[0], case, region), strict=True)
            )
            pair = Counted(*own)
            values = {name: score_pair(METRICS[name], pair) for name in ("dice", "iou", "accuracy")}
            lines.append({**keys, "note": mask_note(pair), **dict(zip(COUNTS, own, strict=True)), **values})
    return pd.DataFrame(lines)


@pytest.fixture
def splits(demo):
    """The study with unet by slice too, and a classifier of slices, with counts."""
    declared = json.loads(Path("reports/demo/study.json").read_text())
    by_slice = {"bundle": "unet", "variant": "by_slice", "folds": [0], "split": "slice"}
    declared |= {"models": [*declared["models"], by_slice, {"bundle": "resnet50_classifier"}]}
    Path("reports/demo/study.json").write_text(json.dumps(declared), encoding="utf-8")
    by_patient = {"A/1": (6, 2, 2, 90), "B/1": (0, 3, 0, 97), "C/1": (4, 0, 4, 92)}
    by_slice = {"A/1": (3, 1, 0, 96), "B/1": (1, 0, 1, 98), "C/1": (2, 1, 3, 94)}
    models = [("unet", "default", 0), ("la_resunet", "default", 0), ("unet", "by_slice", 0)]
    table = with_counts(models, [by_patient, by_patient, by_slice], "WT").assign(**LESIONS)
    slices = with_counts([("resnet50_classifier", "default", 0)], [{"A/1": (3, 1, 2, 4), "B/1": (0, 5, 1, 4)}], "slice")
    joined = pd.concat([table, slices], ignore_index=True)
    score_table.write(Path("reports/demo/scores.csv"), joined[[*score_table.HEAD, *COUNTS, *LESIONS, *MEANS]])
    published = {"paper": PAPER, "tables": [REPORT_TABLE, POOLED_TABLE]}
    Path("reports/demo/published.json").write_text(json.dumps(published), encoding="utf-8")
    write_cells()
    return study.load("demo")


LESIONS = dict.fromkeys(LESION_COUNTS, 0.0) | {"lesion_fp": [1.0, 0, 2, 3, 3, 3, 0, 0, 0]}
"""Of A, B and C under unet, la_resunet, and unet by slice."""
MEANS = ("dice", "iou", "accuracy")
PAPER = {"short": "Demo", "title": "t", "data": "d", "split": "s", "authors": ["a"]}
REPORT_TABLE = {
    "id": "Table I", "kind": "classification", "caption": "c", "where": "w", "model": "resnet50_classifier",
    "columns": [{"name": name, "aggregate": "slices"} for name in ("Precision", "Recall", "F1")],
    "rows": [{"label": "no", "role": "class", "class": 0, "values": ["0.9"] * 3},
             {"label": "yes", "role": "class", "class": 1, "values": ["0.9"] * 3},
             {"label": "all", "role": "weighted", "values": ["0.9"] * 3}],
}  # fmt: skip
POOLED_TABLE = {
    "id": "Table II", "kind": "scores", "caption": "c", "where": "w",
    "columns": [{"name": "Index", "metric": "Tversky", "weights": {"alpha": 0.3, "beta": 0.7}, "aggregate": "pooled"}],
    "rows": [{"label": "ours", "model": "unet/by_slice", "values": ["0.9168"]}],
}  # fmt: skip


def test_a_model_that_stands_apart_is_followed_like_any_other(splits):
    found = explain(splits, "unet/by_slice", "WT")
    dice = {"A": 6 / 7, "B": 2 / 3, "C": 4 / 8}
    assert {p.patient_id: p.value for p in found.patients} == pytest.approx(dice, abs=1e-8)
    assert found.summary["mean"] == pytest.approx(np.mean(list(dice.values())))
    assert [run.id for run in found.runs] == ["unet/by_slice/fold0-seed1", "unet/by_slice/fold0-seed2"]
    assert found.printed == [] and found.beside == ["unet"]


def test_two_splits_are_followed_to_counts_and_to_who_is_left_out(splits):
    found = explain(splits, "unet", "WT", against="unet/by_slice")
    assert {row["patient"]: row["left out"] for row in found.parts} == {"A": "", "B": "no tumour", "C": ""}
    values = {result.name: result.value for result in found.results}
    assert values["pooled, unet"] == pytest.approx(20 / (20 + 5 + 6))
    assert values["pooled, unet/by_slice"] == pytest.approx(12 / (12 + 2 + 4))
    assert values["mean, unet"] == pytest.approx((12 / 16 + 8 / 12) / 2)
    assert values["mean, unet/by_slice"] == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert found.paired.difference == pytest.approx(values["mean, A - B"])
    pool, mean = found.printed
    assert pool.where == "unet under two splits, Dice, pooled, WT" and pool.text.startswith("By patient 0.645 (")
    assert mean.text.startswith("By patient 0.708 (") and "; By slice 0.679 (" in mean.text
    assert mean.text.endswith("n 2 (1 left out)")


def test_a_report_on_slices_is_followed_to_its_counts_as_scikit_learn_makes_it(splits):
    truth, guess = [], []
    for tp, fp, fn, tn in ((3, 1, 2, 4), (0, 5, 1, 4)):
        truth += [1] * tp + [0] * fp + [1] * fn + [0] * tn
        guess += [1] * tp + [1] * fp + [0] * fn + [0] * tn
    report = classification_report(truth, guess, output_dict=True)
    names = {"0": "0", "1": "1", "macro": "macro avg", "weighted": "weighted avg"}
    for measure in ("precision", "recall", "f1"):
        found = explain(splits, "resnet50_classifier", "slice", measure)
        values = {result.name.split()[0]: result.value for result in found.results}
        wanted = {row: report[name][measure.replace("f1", "f1-score")] for row, name in names.items()}
        assert {row: values[row] for row in names} == pytest.approx(wanted)
        assert values["micro"] == pytest.approx(report["accuracy"])
        name = {"precision": "Precision", "recall": "Recall", "f1": "F1"}[measure]
        wheres = [f"Table I, {row}, resnet50_classifier, {name}, 0.9" for row in ("no", "yes", "all")]
        assert [cell.where for cell in found.printed] == wheres
        for cell, row in zip(found.printed, ("0", "1", "weighted"), strict=True):
            assert cell.text.startswith(f"Ours {values[row]:.3f}; 95% CI ")
    assert found.parts[0] == {"patient": "A", "case": "A/1", "tp": 3, "fp": 1, "fn": 2, "tn": 4}
    accuracy = explain(splits, "resnet50_classifier", "slice")
    assert accuracy.results[0].formula.endswith("= (3 + 8) / (3 + 6 + 3 + 8)")


def test_a_pooled_measure_has_the_weights_of_its_column(splits):
    found = explain(splits, "unet/by_slice", "WT", "Tversky")
    (result,) = found.results
    assert result.formula.endswith("= 6 / (6 + 0.3 * 2 + 0.7 * 4)")
    assert result.value == pytest.approx(6 / (6 + 0.6 + 2.8))
    (cell,) = found.printed
    assert cell.where == "Table II, ours, unet/by_slice, Index, 0.9168"
    assert cell.text.startswith(f"Ours {result.value:.4f}; 95% CI ")
    assert explain(splits, "unet/by_slice", metric="Tversky").results == found.results


def test_a_count_is_followed_like_a_metric(splits):
    found = explain(splits, "unet", "WT", "lesion_fp", "la_resunet")
    assert [(p.patient_id, p.value) for p in found.patients] == [("C", 2), ("A", 1), ("B", 0)]
    assert found.summary["mean"] == 1 and found.title == "lesion_fp (lesions) ↓ of WT"
    assert printed(found) == {"Lesions, WT, unet, BraTS 2023 FP": "1.0"}
    assert found.paired.difference == -2 and found.paired.power is None
    assert explain(splits, "unet/by_slice", "WT", "fn").summary["mean"] == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unet/by_slice", "WT", None, "la_resunet"), "stand apart: expected --against unet"),
        (("unet", "WT", "hd95", "unet/by_slice"), "expected --region one of WT and --metric one of dice, found WT"),
        (("resnet50_classifier",), "by slices only: expected --region slice"),
        (("resnet50_classifier", None, "rank"), "no rank of resnet50_classifier"),
        (("unet", "slice"), "scores unet in no region 'slice': expected one of WT."),
        (("unet", "slice", "f1"), "scores unet in no region 'slice': expected one of WT."),
        (("resnet50_classifier", "slice", "GlobalAccuracy"), "or pooled over cases one of accuracy, precision"),
        (("unet", "WT", "IoU", "la_resunet"), "IoU is followed for one model at a time"),
    ],
)
def test_what_is_not_set_side_by_side_is_said(splits, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        explain(splits, *arguments)


def test_formulas_say_what_the_functions_compute():
    counts = np.random.default_rng(2).integers(1, 900, (20, 4))
    for row in counts:
        numbers = dict(zip(COUNTS, map(int, row), strict=True))
        for name, formula in FORMULAS.items():
            weights = {"alpha": 0.3, "beta": 0.7} if name == "Tversky" else {}
            wanted = float(measure_of(name, weights)(row))
            said, shown = filled(formula, numbers | weights).split(" = ")
            assert eval(said, numbers | weights) == pytest.approx(wanted) == eval(shown), name
        for cell, value in report_cells(row).items():
            assert eval(report_formula(*cell), numbers) == pytest.approx(float(value)), cell
        for name, formula in derived.MEASURES.items():
            assert eval(formula, numbers) == pytest.approx(float(reported.POOLED[name](row))), name
    assert set(FORMULAS) == set(POOLED_MEASURES) and set(derived.MEASURES) == set(reported.POOLED)


def test_another_test_is_followed_to_each_patients_change(demo):
    path = demo.folder / "study.json"
    told = {**json.loads(path.read_text()), "test_on": {"sweep": {"noise": [0.5]}}}
    path.write_text(json.dumps(told), encoding="utf-8")
    noisy = SCORES.assign(value=SCORES["value"] / 2)
    score_table.write(demo.folder / "scores.noise-0.5.csv", wide(noisy[noisy["bundle"] == "unet"]))
    write_cells()
    found = explain(study.load("demo"), "unet", "WT", "dice", on="noise-0.5")
    by_patient = {part["patient"]: part for part in found.parts}
    assert by_patient["A"] == pytest.approx({"patient": "A", "own": 0.6, "noise-0.5": 0.3, "change": -0.3})
    own, there, change = found.results
    # D is tested too: only the comparison of models leaves it out.
    assert own.value == pytest.approx((0.6 + 0.8 + 0.1 + 0.99) / 4) and there.value == pytest.approx(own.value / 2)
    assert change.value == pytest.approx(-own.value / 2) and change.low < change.value < change.high
    ((place, text),) = printed(found).items()
    assert place.startswith("Tested elsewhere, unet") and text.startswith("0.311 (-0.311,")
    assert found.source.endswith("scores.noise-0.5.csv")
    for asked, said in (("blur-1", "expected noise-0.5"), ("noise-0.5", "expected one of the declared metrics, dice")):
        with pytest.raises(InputError, match=said):
            explain(study.load("demo"), "unet", "ET", "dice", on=asked)
    with pytest.raises(InputError, match="expected none with --on"):
        explain(study.load("demo"), "unet", "WT", "dice", "la_resunet", on="noise-0.5")
