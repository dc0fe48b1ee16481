import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_scores import counted, histories, rows, table

from benchmark import compared, stats
from benchmark.implied.layers import res_unet_parameters
from benchmark.metrics import COUNTS, METRICS
from benchmark.published import FILE, Interval, load, parse
from benchmark.report import Material, Paper, write_report
from benchmark.report.document import Figure, Text
from benchmark.report.paper import native_of, paper_table, tracks
from benchmark.report.paper_figures import draw
from benchmark.report.paper_layers import layer_table
from benchmark.report.paper_leaks import apart, leak_pairs, leak_table
from benchmark.report.paper_values import Ours, ours, verdict
from benchmark.study import Study

REPORTS = Path(__file__).parents[1] / "reports"
BETTER = {name: metric.better for name, metric in METRICS.items()}
COMPARE = {"metrics": ["dice"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05}
DICE = {"name": "Dice", "metric": "dice", "regions": "mean", "aggregate": "patients"}
RUNS = {
    "mandekar2025": (["unet", "unet/native", "resunet", "la_resunet", "la_resunet/plain"], []),
    "hossen2025": (["resunet_tversky", "unetpp"], ["resnet50_classifier"]),
    "deng2024": (["resunet_focal_tversky", "resunet_focal_tversky/by_slice"], ["resnet50_classifier"]),
    "fozzati2024": (["unet_dice_focal"], []),
}
"""Models with scores, by paper; the others of its tables were not run."""


def declare(name):
    bundle, _, variant = name.partition("/")
    model = {"bundle": bundle, "variant": variant or "default"}
    more = {"native": {"track": "native"}, "by_slice": {"set": {"split": "slice"}}}
    return {**model, **more.get(variant, {})}


def paper_of(name, why_not="", layers=None):
    segmenters, classifiers = RUNS[name]
    parts = [counted(segmenters, regions=("WT", "TC") if name == "mandekar2025" else ("tumour",), patients=8)]
    if classifiers:
        parts.append(counted(classifiers, regions=("slice",), size=600, patients=8))
    scores = pd.concat(parts, ignore_index=True)
    own = scores[~scores["metric"].isin(COUNTS) & (scores["region"] != "slice")]
    comparisons = stats.compare(own, COMPARE, BETTER)
    return Paper(load(REPORTS / name / FILE), scores, comparisons, {}, layers, why_not), own


def material_of(name, **more):
    paper, own = paper_of(name, **more)
    segmenters, classifiers = RUNS[name]
    study = {"name": name, "title": name, "data": "lgg", "folds": [0], "seeds": [1], "compare": COMPARE,
             "models": [declare(model) for model in [*segmenters, *classifiers]]}  # fmt: skip
    found = {}
    for model in study["models"]:
        (history,) = histories([model["bundle"]], 1, (1,), epochs=3).values()
        history = history.assign(train_accuracy=0.8, val_accuracy=0.7, val_iou=history["val_dice"] / 2)
        found[f"{model['bundle']}/{model['variant']}/fold0-seed1"] = history
    rest = paper.scores.drop(own.index)
    rest = rest[~rest["metric"].isin(COUNTS)]
    return Material(study, {"pictures": "private"}, own, paper.comparisons, found, apart=rest if len(rest) else None,
                    paper=paper)  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.80, 0.836, "reproduced"), (0.80, 0.834, "lower"), (0.844, 0.9, "reproduced"), (0.846, 0.9, "higher")],
)
def test_the_rule_compares_the_rounding_interval_with_ours(low, high, expected):
    assert verdict(parse("0.84").interval, Ours((low + high) / 2, low, high)) == expected


def test_one_patient_is_no_verdict():
    assert verdict(Interval(0.8, 0.9), Ours(0.85, np.nan, np.nan)).startswith("not comparable")


def test_ours_is_the_mean_over_patients_of_the_mean_over_regions():
    values = {"WT": {"A": 0.9, "B": 0.7}, "TC": {"A": 0.5, "B": 0.7}}
    scores = table(*[rows("m", cases, region=region) for region, cases in values.items()])
    paper = Paper(None, scores, scores)
    assert ours(paper, "m", DICE).value == pytest.approx(0.7)
    assert ours(paper, "m", {**DICE, "regions": ["WT"]}).value == pytest.approx(0.8)
    assert ours(paper, "other", DICE) is None


def test_pooled_and_slice_measures_come_from_counts():
    counts = {"tumour": (8, 2, 2, 88), "slice": (30, 10, 5, 55)}
    made = [
        rows("m", {"A": float(value), "B": float(value)}, metric=name, region=region)
        for region, values in counts.items()
        for name, value in zip(COUNTS, values, strict=True)
    ]
    scores = table(*made)
    paper = Paper(None, scores, scores)
    pooled = ours(paper, "m", {"name": "D", "metric": "Dice", "regions": "mean", "aggregate": "pooled"})
    assert (pooled.value, pooled.patients) == (pytest.approx(0.8), 2)
    recall = ours(paper, "m", {"name": "R", "aggregate": "slices"}, ("1", "recall"))
    assert recall.value == pytest.approx(30 / 35)


def test_a_printed_row_stands_beside_ours():
    scores = table(rows("unet_dice_focal", {f"P{i}": 0.9 + i / 1000 for i in range(9)}))
    paper = replace(paper_of("hossen2025")[0], scores=scores.assign(bundle="resunet_tversky"))
    found = paper_table(paper, paper.published.table("Table II")).rows
    assert found[0] == ["Our, ResUNET", "resunet_tversky", "Dice", "0.98", "0.904", found[0][5], "-0.076", "lower"]
    assert found[1][4:] == ["-", "-", "-", "not comparable: not scored"]
    assert found[2][-1] == "not comparable [1]"


def test_a_study_that_is_not_comparable_says_what_the_rule_would_say():
    reason = "Half of the patients at half resolution"
    paper, _ = paper_of("fozzati2024", why_not=reason)
    found = paper_table(paper, paper.published.tables[0])
    assert {row[-1] for row in found.rows} <= {
        f"not comparable (would be: {word})" for word in ("lower", "higher", "reproduced")
    }
    assert sum(reason in note for note in found.notes) == 1


def test_percent_is_printed_as_percent():
    paper, _ = paper_of("hossen2025")
    found = {tuple(row[:3]): row for row in paper_table(paper, paper.published.table("Table I")).rows}
    accuracy = found["Accuracy", "resnet50_classifier", "Accuracy"]
    micro = found["Micro Avg", "resnet50_classifier", "Recall (%)"]
    assert accuracy[4:7] == micro[4:7] and 50 < float(accuracy[4]) < 100


def test_p_values_stand_beside_the_printed_bounds():
    paper, _ = paper_of("mandekar2025")
    tests = paper.comparisons.assign(p_holm=0.0004)
    paper = replace(paper, comparisons=tests)
    found = paper_table(paper, paper.published.table("Table IV")).rows
    by_row = {(row[0], row[2]): row for row in found}
    assert by_row["U-Net", "p-value"][4] == "WT <0.001, TC <0.001"
    assert by_row["U-Net", "p-value"][-1] == "reproduced"
    assert by_row["nnU-Net", "p-value"][-1] == "not comparable: not run"
    assert by_row["LA-ResUNet", "p-value"][-1] == "not comparable: the reference itself"
    assert " ± " in by_row["U-Net", "Mean DSC ± Std"][4]
    high = replace(paper, comparisons=tests.assign(p_holm=0.02))
    assert paper_table(high, paper.published.table("Table IV")).rows[1][-1] == "higher"


def test_settings_stand_beside_the_models_config():
    paper, _ = paper_of("mandekar2025")
    config = {
        "spatial_size": [240, 240],
        "learning_rate": 0.0001,
        "batch_size": 16,
        "modalities": "T1, T1c, T2, FLAIR",
        "optimizer": {"_target_": "torch.optim.Adam", "lr": "@learning_rate"},
    }
    paper = replace(paper, settings={"la_resunet": config})
    said = {row[0]: row[3] for row in paper_table(paper, paper.published.table("Table I")).rows}
    same = ("Input modalities", "Input image size", "Optimizer", "Initial learning rate")
    assert {said[name] for name in same} == {"same"}
    assert said["Batch size"] == "differs"
    assert said["Weight decay"] == "not comparable: no such id"


def our_layers():
    widths, size, found = [16, 32, 64, 128, 256], 256, []

    def add(kind, edge, channels, parameters=0):
        found.append((f"layer{len(found)}", kind, f"(1, {channels}, {edge}, {edge})", parameters))

    for parameters in (448, 2320):
        add("Conv2d", size, 16, parameters)
        add("BatchNorm2d", size, 16, 64)
    for level, width in enumerate(widths[1:], 1):
        add("MaxPool2d", size >> level, widths[level - 1])
        add("ResBlock", size >> level, width, 1000)
    for level in (3, 2, 1, 0):
        add("Upsample", size >> level, widths[level + 1])
        add("Concatenate", size >> level, widths[level + 1] + widths[level])
        add("ResBlock", size >> level, widths[level], 1000)
    add("Conv2d", size, 1, 17)
    found.append(("total", "Total", "", res_unet_parameters(widths, 3)))
    return pd.DataFrame(found, columns=["layer", "type", "shape", "parameters"])


def test_layers_stand_beside_the_printed_ones():
    printed = load(REPORTS / "deng2024" / FILE).table("Table 2")
    said = {row[0]: (row[4], row[-1]) for row in layer_table(printed, our_layers()).rows}
    wrong = {"5": "differs: channels 16 and 32", "6": "differs: channels 16 and 64", "7": "differs: channels 16 and 64"}
    assert {label: said[label][1] for label in wrong} == wrong
    same = [str(n) for n in (1, 2, 3, 4, *range(8, 21), 25, 26)]
    assert {label: said[label][1] for label in same} == dict.fromkeys(same, "same")
    assert said["1"][0] == "Conv2d x 2"
    assert {said[label][1] for label in ("21", "22")} == {"not comparable: inside a ResBlock of ours"}
    assert said["23"][1] == "not comparable: an operation, no layer"
    assert {row[-1] for row in layer_table(printed, None).rows} == {"not comparable: layers.csv is not there"}


def test_both_tracks_stand_side_by_side():
    study = {"models": [declare("unet"), declare("unet/native"), declare("la_resunet")]}
    assert native_of(study) == {"unet": "unet/native"}
    values = {f"P{i}": 0.5 + i / 100 for i in range(9)}
    better = {case: value + 0.1 for case, value in values.items()}
    scores = table(rows("unet", values), rows("unet/native", better))
    paper = replace(paper_of("mandekar2025")[0], scores=scores)
    first, second = tracks(paper, study)[0].rows[:2]
    assert first[:2] == ["U-Net", "DSC"] and first[3:6] == ["0.540", "0.640", "+0.100"]
    assert first[-1] == "native higher" and second[-1] == "not comparable: not run"


def test_models_under_another_split_are_found_and_kept_apart():
    study = {"models": [declare("unet"), declare("resunet"), declare("resunet/by_slice")]}
    assert apart(study) == ["resunet/by_slice"]
    assert leak_pairs(study) == [("resunet", "resunet/by_slice", "slice")]
    other = {"models": [*study["models"], {**declare("unet/by_slice"), "set": {"split": "slice", "channels": [8]}}]}
    assert leak_pairs(other) == leak_pairs(study)


def test_the_leak_is_a_number_with_an_interval():
    honest = {f"P{i}": 0.5 + i / 100 for i in range(9)}
    leaky = {case: value + 0.2 + (int(case[1]) % 2) / 100 for case, value in honest.items() if case != "P0"}
    scores = table(rows("m", honest), rows("m/by_slice", leaky))
    (row,) = leak_table(scores, "m", "m/by_slice", "slice", ["dice"], {"dice": "Dice"}).rows
    assert (row[0], row[4], row[6], row[7]) == ("Dice", "+0.205", "the other split higher", "8")


def test_a_leak_of_a_model_that_was_not_run_is_said():
    scores = table(rows("unet", {"A": 0.5, "B": 0.6}))
    (row,) = leak_table(scores, "m", "m/by_slice", "slice", ["dice"], {}).rows
    assert row[6] == "not comparable: m or m/by_slice was not run"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papers")
    for name in RUNS:
        material = material_of(name, why_not="A tenth of the data" if name == "deng2024" else "")
        write_report(folder / name, material, folder / "private")
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_no_cell_is_empty(reports, name):
    text = (reports / name / "report.md").read_text()
    places = [text.index(f"## {title}") for title in ("Result in short", "The paper's tables", "The paper's figures",
                                                      "What the printed numbers imply", "Data and runs")]  # fmt: skip
    assert places == sorted(places)
    ours_only = text[places[1] : places[4]]
    for line in ours_only.splitlines():
        if line.startswith("|"):
            assert all(cell.strip() for cell in line.strip("|").split(" | ")), line
    assert not re.search(r"\bnan\b", ours_only)
    for one in load(REPORTS / name / FILE).tables:
        assert f"*{one['id']} (" in ours_only
    for figure in load(REPORTS / name / FILE).figures:
        assert figure["id"] in ours_only


def test_figures_are_drawn_and_those_that_cannot_be_say_why(reports, tmp_path):
    drawn = {path.name for path in (reports / "hossen2025" / "figures").glob("paper_*")}
    assert drawn == {"paper_fig_3.png", "paper_fig_4.png", "paper_fig_5.png"}
    assert {p.name for p in (reports / "mandekar2025" / "figures").glob("paper_*")} == {
        "paper_fig_4.png",
        "paper_fig_5.png",
    }
    for path in reports.glob("*/figures/paper_*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size < 300_000
    assert "Not recorded: train_tversky, val_tversky." in (reports / "deng2024" / "report.md").read_text()
    blocks = draw(tmp_path, paper_of("fozzati2024")[0], {}, "Pictures: none.")
    assert not any(isinstance(block, Figure) for block in blocks)
    assert any(isinstance(b, Text) and b.text.endswith("unet_dice_focal: not run.") for b in blocks)


def test_the_leak_section_stands_in_the_report(reports):
    text = (reports / "deng2024" / "report.md").read_text()
    assert "## What the split is worth" in text
    assert "resunet_focal_tversky under two splits" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("name", RUNS)
def test_report_tex_compiles(reports, tmp_path, name):
    work = shutil.copytree(reports / name, tmp_path / "work")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_slices_counts_and_other_splits_are_kept_out_of_comparisons():
    models = tuple(declare(name) for name in ("unet", "unet/by_slice", "resnet50"))
    study = Study("s", "S", "lgg", (0,), (1,), models, COMPARE)
    scores = pd.concat(
        [counted(["unet", "unet/by_slice"], patients=2), counted(["resnet50"], regions=("slice",), patients=2)],
        ignore_index=True,
    )
    kept = compared.own_scores(study, scores)
    assert set(kept["bundle"]) == {"unet"} and set(kept["variant"]) == {"default"}
    assert set(kept["metric"]).isdisjoint(COUNTS)
    rest = compared.apart_scores(scores, kept)
    assert len(rest) + len(kept) == len(scores[~scores["metric"].isin(COUNTS)])


def test_a_study_with_a_published_file_reports_it(finished, command):
    paper = json.loads((REPORTS / "hossen2025" / FILE).read_text(encoding="utf-8"))
    before = (finished / "reports" / "tiny" / "report.md").read_text()
    assert "The paper's tables" not in before
    (finished / "reports" / "tiny" / FILE).write_text(json.dumps(paper), encoding="utf-8")
    assert command("report", "tiny")[0] == 0
    text = (finished / "reports" / "tiny" / "report.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| Our, ResUNET | resunet_tversky | Dice |")]
    assert line.split(" | ")[-1] == "lower |" or "not comparable: fewer" in line
    assert "paper_fig_5.png" in text
