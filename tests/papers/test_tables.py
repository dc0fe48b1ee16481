import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.papers import alike, lines
from helpers.project import declared
from helpers.results import MANIFEST, blank_pictures, demo, pages_text
from helpers.synthetic_scores import counted, histories, rows, table

from benchmark.papers.comparable import Made, conditions, forbidding
from benchmark.papers.figures import draw_all
from benchmark.papers.published import FILE, load, parse
from benchmark.papers.tables import native_of, overheads, paper_table, tracks, two_networks
from benchmark.papers.values import Ours, Paper, difference, majority, ours, places, verdict
from benchmark.report.document import Figure, Key, Text
from benchmark.report.figures import Panel
from benchmark.report.splits import SplitPair, split_blocks, split_pairs, split_table
from benchmark.results.page import write
from benchmark.results.results import Results
from benchmark.scoring.metrics import COUNTS, METRICS
from benchmark.stats.compare import GATE_SHUT, compare
from benchmark.stats.patients import with_models
from benchmark.studies.study import apart
from benchmark.studies.study import load as load_study

REPORTS = Path(__file__).parents[2] / "reports"
BETTER = {name: metric.better for name, metric in METRICS.items()}
COMPARE = {"metrics": ["dice"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05}
DICE = {"name": "Dice", "metric": "dice", "regions": "mean", "aggregate": "patients"}
RUNS = {
    "mandekar2025": (["unet", "unet/native", "resunet", "la_resunet", "la_resunet/plain"], []),
    "hossen2025": (["resunet_tversky/native", "unetpp"], ["resnet50_classifier"]),
    "deng2024": (["resunet_focal_tversky/assumed", "resunet_focal_tversky/by_slice"], ["resnet50_classifier"]),
    "fozzati2024": (["unet_dice_focal/assumed"], []),
}
"""Models with scores, by paper; the others of its tables were not run."""


def declare(name):
    bundle, _, variant = name.partition("/")
    model = {"bundle": bundle, "variant": variant or "default"}
    more = {"native": {"track": "native"}, "by_slice": {"split": "slice"}}
    return {**model, **more.get(variant, {})}


@cache
def scored(name):
    """Scores of RUNS, those that are compared, and the comparisons; the same for every test."""
    segmenters, classifiers = RUNS[name]
    parts = [counted(segmenters, regions=("WT", "TC") if name == "mandekar2025" else ("tumour",), patients=8)]
    if classifiers:
        parts.append(counted(classifiers, regions=("slice",), size=600, patients=8))
    scores = pd.concat(parts, ignore_index=True)
    own = scores[~scores["metric"].isin(COUNTS) & (scores["region"] != "slice")]
    return scores, own, compare(own, COMPARE, BETTER)


def paper_of(name, **entries):
    """A paper with scores of RUNS, all made so that nothing but what the paper leaves open forbids a verdict."""
    scores, own, comparisons = (one.copy() for one in scored(name))
    published = load(REPORTS / name / FILE)
    made = {model: alike(published, model) for models in RUNS[name] for model in models}
    return Paper(published, scores, comparisons, **{"made": made, **entries}), own


def results_of(name, **more):
    paper, own = paper_of(name, **more)
    segmenters, classifiers = RUNS[name]
    models = [declare(model) for model in [*segmenters, *classifiers]]
    found = {}
    for model in models:
        (history,) = histories([model["bundle"]], 1, (1,), epochs=3).values()
        history = history.assign(train_accuracy=0.8, val_accuracy=0.7, val_iou=history["val_dice"] / 2)
        found[f"{model['bundle']}/{model['variant']}/fold0-seed1"] = history
    study = {"models": models, "name": name, "title": name, "data": "lgg", "compare": COMPARE}
    scores = with_models(paper.scores)
    rest = scores.drop(own.index)
    return demo(study, {**MANIFEST, "source": "lgg", "pictures": "private"}, own, every=scores, histories=found,
                apart=rest[~rest["metric"].isin(COUNTS)], paper=replace(paper, histories=found), folds=[()],
                panels=(), origin={})  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.80, 0.836, "reproduced"), (0.80, 0.834, "lower"), (0.844, 0.9, "reproduced"), (0.846, 0.9, "higher")],
)
def test_the_rule_compares_the_rounding_interval_with_ours(low, high, expected):
    assert verdict(parse("0.84"), Ours((low + high) / 2, low, high), DICE) == expected


@pytest.mark.parametrize(
    ("printed", "low", "high", "metric", "expected"),
    [
        ("0.91", 0.05, 0.95, "dice", "not comparable: our interval is wider than ±0.05"),
        ("0.91", 0.85, 0.95, "dice", "reproduced"),
        ("0.91", 0.05, 0.90, "dice", "lower"),
        ("91%", 0.85, 0.97, "dice", "not comparable: our interval is wider than ±5 points"),
        ("4.0", 3.1, 5.0, "hd95", "reproduced"),
        ("4.0", 2.9, 5.0, "hd95", "not comparable: our interval is wider than ±1 mm"),
    ],
)
def test_an_interval_that_would_meet_nearly_anything_reproduces_nothing(printed, low, high, metric, expected):
    assert verdict(parse(printed), Ours((low + high) / 2, low, high), {**DICE, "metric": metric}) == expected


def test_one_patient_is_no_verdict():
    assert verdict(parse("0.84"), Ours(0.85, np.nan, np.nan), DICE).startswith("not comparable")


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
    paper = replace(paper_of("hossen2025")[0], scores=scores.assign(bundle="resunet_tversky", variant="native"))
    found = lines(paper_table(paper, paper.published.table("Table II")))
    assert found[0] == [
        "Our, ResUNET",
        "resunet_tversky/native",
        "Dice",
        "0.98",
        "0.904",
        found[0][5],
        "-0.076",
        "not comparable [1]",
    ]
    assert found[1][4:] == ["not scored", "none", "none", "not comparable: not scored"]
    assert [row[1] for row in found[2:] if row[1] == "none of ours"] == []


def test_facts_that_forbid_a_verdict_are_named_and_no_verdict_is_hinted_at():
    paper, _ = paper_of("fozzati2024")
    published = paper.published
    few = {"unet_dice_focal/assumed": alike(published, "", data="tumor2146_small", cases=786, learning=2, trainings=2)}
    found = paper_table(replace(paper, made=few), published.tables[0])
    # These scores have no contours, the other reading of the mean F-score.
    own = [row for row in lines(found) if row[1] != "none of ours" and row[4] != "not scored"]
    assert {row[-1] for row in own} == {"not comparable [1]"}
    (note,) = [note for note in found.notes if note.startswith("[1]")]
    assert note == (
        "[1] no verdict on the paper: data tumor2146_small, the paper's tumor2146; no training reached its plateau."
    )
    assert not any(note.startswith("A printed number stands for") for note in found.notes)
    own = replace(paper, not_comparable="Half of the patients")
    assert any("Half of the patients" in note for note in paper_table(own, published.tables[0]).notes)


FACTS = {"track": "native", "data": ["lgg"], "size": [256, 256], "split": "slice", "weights": "ImageNet", "cases": 110}
WHOLE = Made("lgg", 110, 110, (256, 256), "slice", "ImageNet", "native")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"weights": ""}, ["no weights of ImageNet to start from"]),
        (
            {"weights": "another file"},
            ["weights to start from that no record shows to be torchvision's of ImageNet"],
        ),
        ({"split": "patient"}, ["split by patient, the paper's by slice"]),
        ({"cases": 30}, ["30 of 110 cases"]),
        ({"size": (128, 128)}, ["pictures of 128x128, the paper's 256x256"]),
        ({"track": "identical"}, ["trained by the shared recipe, the paper's by a recipe of its own"]),
        ({"learning": 1, "trainings": 3}, ["1 of 3 trainings did not reach its plateau"]),
        ({"trainings": 0}, ["no history shows a plateau"]),
        ({"changed": ("max_epochs",)}, ["the recipe changed in max_epochs"]),
        ({"missing": 2, "runs": 5}, ["2 of 5 runs without scores"]),
        ({"data": "msd_brain"}, ["data msd_brain, the paper's lgg"]),
    ],
)
def test_each_fact_that_differs_forbids_a_verdict(change, said):
    assert forbidding(FACTS, WHOLE._replace(**change)) == said


def test_what_a_paper_does_not_state_is_a_condition_and_a_data_set_without_a_name_forbids():
    silent = {"track": "native", "data": ["lgg"]}
    made = WHOLE._replace(assumed=("learning rate 0.05",))
    assert forbidding(silent, made) == []
    assert conditions(silent, made) == [
        "the number of cases (110 here)", "the pictures' size (256x256 here)", "the split (by slice here)",
        "learning rate 0.05",
    ]  # fmt: skip
    assert forbidding({"track": "native"}, made) == ["the paper does not name its data set"]
    assert forbidding(None, made) and forbidding(FACTS, None)


@pytest.mark.parametrize("name", RUNS)
def test_full_profiles_say_of_every_verdict_what_it_takes_for_granted(name):
    """Each paper leaves something open, so that no number of a full profile is compared without a condition."""
    paper, _ = paper_of(name)
    for printed in (one for one in paper.published.tables if one["kind"] in ("scores", "classification")):
        said = {row[-1] for row in lines(paper_table(paper, printed)) if row[1] != "none of ours"}
        assert not {"lower", "higher", "reproduced"} & said


def test_every_row_that_hossen_et_al_compare_has_a_system_of_ours():
    """Table II, and that each system is one that the full study and its small profile declare."""
    paper, _ = paper_of("hossen2025")
    found = lines(paper_table(paper, paper.published.table("Table II")))
    assert {row[1] for row in found} == {
        "resunet_tversky/native", "seresunet", "resunet_plus", "unetpp", "cnn_unet_ensemble"
    }  # fmt: skip
    # What was not run says so, and why it would be no verdict either.
    assert [row[4] for row in found if row[1] in ("seresunet", "resunet_plus", "cnn_unet_ensemble")] == ["not run"] * 6
    assert len({row[-1] for row in found if row[1] != "resunet_tversky/native"}) == 1
    for name in ("hossen2025", "hossen2025/small"):
        declared = {model.name: model for model in load_study(name).models}
        assert {row[1] for row in found} <= {*declared}
        assert declared["cnn_unet_ensemble"].ensemble == ("highresnet", "unet")
        assert all(declared[row[1]].assumes for row in found if row[1] not in ("unetpp",))


def test_percent_is_printed_as_percent():
    paper, _ = paper_of("hossen2025")
    found = {tuple(row[:3]): row for row in lines(paper_table(paper, paper.published.table("Table I")))}
    accuracy = found["Accuracy", "resnet50_classifier", "Accuracy"]
    micro = found["Micro Avg", "resnet50_classifier", "Recall (%)"]
    assert accuracy[4:7] == micro[4:7] and 50 < float(accuracy[4]) < 100


def test_p_values_stand_beside_the_printed_bounds():
    paper, _ = paper_of("mandekar2025")
    # Differences are of unet, resunet and so on less la_resunet, the reference.
    tests = paper.comparisons.assign(p_holm=0.0004, difference=-0.3)
    paper = replace(paper, comparisons=tests)
    found = paper_table(paper, paper.published.table("Table IV"))
    by_row = {(row[0], row[2]): row for row in lines(found)}
    p = "p-value (ours: over patients)"
    assert by_row["U-Net", p][4] == "WT <0.001, TC <0.001"
    # Mandekar et al. do not state the number of subjects.
    assert by_row["U-Net", p][-1] == "reproduced if [1]"
    assert by_row["nnU-Net", p][-1] == "not comparable: not run"
    assert by_row["LA-ResUNet", p][-1] == "not comparable: the reference itself"
    assert " ± " not in by_row["U-Net", "Mean DSC ± Std"][4]
    assert "The printed SD is said to be over runs; ours has none, as there is one seed." in found.notes
    assert any("over patients, which answers another question" in note for note in found.notes)
    high = replace(paper, comparisons=tests.assign(p_holm=0.02))
    assert lines(paper_table(high, paper.published.table("Table IV")))[1][-1] == "higher if [1]"
    trainings = replace(paper, comparisons=tests.assign(test="two_level"))
    found = paper_table(trainings, paper.published.table("Table IV"))
    assert lines(found)[1][2] == "p-value (ours: over patients and trainings)"


def test_a_small_p_against_the_reference_reproduces_nothing():
    paper, _ = paper_of("mandekar2025")
    tests = paper.comparisons.assign(p_holm=1e-5, difference=0.3)
    (row,) = [
        row
        for row in lines(paper_table(replace(paper, comparisons=tests), paper.published.table("Table IV")))
        if row[0] == "U-Net" and row[2].startswith("p-value")
    ]
    assert row[4] == "WT <0.001 against, TC <0.001 against" and row[-1] == "contrary in WT, TC if [1]"
    one = tests.assign(difference=np.where(tests["region"] == "TC", 0.3, -0.3))
    row = lines(paper_table(replace(paper, comparisons=one), paper.published.table("Table IV")))[1]
    assert row[4] == "WT <0.001, TC <0.001 against" and row[-1] == "contrary in TC if [1]"


def test_a_spread_over_runs_is_that_of_the_means_of_seeds():
    paper, _ = paper_of("mandekar2025")
    parts = [rows("unet", {"A": a, "B": b}, seed=seed, region=r) for r in ("WT", "TC")
             for seed, a, b in ((1, 0.2, 0.4), (2, 0.4, 0.6), (3, 0.3, 0.8))]  # fmt: skip
    found = paper_table(replace(paper, scores=table(*parts)), paper.published.table("Table IV"))
    # Means of the seeds 0.30, 0.50 and 0.55: SD 0.132; over the two patients it would be 0.212.
    assert lines(found)[0][4] == "0.450 ± 0.132"
    assert any("ours is over 3 seeds" in note for note in found.notes)


def test_an_accuracy_stands_above_what_always_naming_one_class_would_reach():
    values = zip(COUNTS, (30.0, 10.0, 5.0, 155.0), strict=True)
    scores = table(*[rows("resnet50_classifier", {"A": n, "B": n}, metric=m, region="slice") for m, n in values])
    paper = replace(paper_of("hossen2025")[0], scores=scores)
    found = lines(paper_table(paper, paper.published.table("Table I")))[-1]
    # 330 of 400 slices have no tumour; 370 are right.
    assert found == ["Always naming no tumour", "none of ours", "Accuracy", "none", "82.5", "none", "none",
                     "all of ours are higher"]  # fmt: skip
    place = next(place for place in places(paper.published.table("Table I")) if place.row["label"] == "Accuracy")
    assert majority(paper, place._replace(model="resnet50_classifier")) == ("no tumour", 0.825)
    voxels = with_counts("unet", {"A": (8, 1, 0), "B": (90, 1, 10)})
    paper = replace(paper_of("mandekar2025")[0], scores=voxels)
    found = lines(paper_table(paper, paper.published.table("Table II")))
    assert not any(row[0].startswith("Always") for row in found)  # no accuracy was scored


def test_one_printed_name_with_two_networks_here_is_said():
    published = load(REPORTS / "mandekar2025" / FILE)
    said = two_networks(published, published.table("Table III"))
    assert any("la_resunet/plain (Table III, U-Net (baseline)) and unet (Table II, U-Net)" in one for one in said)
    assert two_networks(published, published.table("Table I")) == []


def test_support_is_ours_too_and_is_no_score():
    scores = table(
        *[
            rows("resnet50_classifier", {"A": n, "B": n}, metric=m, region="slice")
            for m, n in zip(COUNTS, (30.0, 10.0, 5.0, 55.0), strict=True)
        ]
    )
    paper = replace(paper_of("hossen2025")[0], scores=scores)
    found = {tuple(row[:3]): row for row in lines(paper_table(paper, paper.published.table("Table I")))}
    supports = {row[0]: row[4] for key, row in found.items() if key[2] == "Support"}
    assert supports == {"0": "130", "1": "70", "Accuracy": "200", "Micro Avg": "200", "Weighted Avg": "200"}
    assert found["1", "resnet50_classifier", "Support"][5:] == ["none: a count", "-145", "not comparable [2]"]


def test_a_loss_is_that_of_the_epoch_whose_weights_were_kept():
    paper, _ = paper_of("deng2024")
    segmenter = pd.DataFrame({"epoch": [1, 2, 3], "val_dice": [0.1, 0.6, 0.5], "val_loss": [0.9, 0.4, 0.3]})
    classifier = pd.DataFrame({"epoch": [1, 2], "val_dice": np.nan, "val_accuracy": [0.9, 0.8], "val_loss": [0.5, 0.2]})
    runs = {
        "resunet_focal_tversky/assumed/fold0-seed1": segmenter,
        "resunet_focal_tversky/assumed/fold0-seed2": segmenter.assign(val_loss=[0.9, 0.6, 0.3]),
        "resunet_focal_tversky/by_slice/fold0-seed1": segmenter.assign(val_loss=7.0),
        "resnet50_classifier/default/fold0-seed1": classifier,
    }
    paper = replace(paper, histories=runs)
    for name, value in (("Segmentation", "0.5000"), ("Classification", "0.5000")):
        found = paper_table(paper, paper.published.table(name))
        (row,) = [row for row in lines(found) if row[2] == "Loss"]
        assert row[4:6] == [value, "none: one value per training"] and row[-1].startswith("not comparable [")
        assert any("validation loss at the epoch whose weights were kept" in note for note in found.notes)


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
    said = {row[0]: row[3] for row in lines(paper_table(paper, paper.published.table("Table I")))}
    same = ("Input modalities", "Input image size", "Optimizer", "Initial learning rate")
    assert {said[name] for name in same} == {"same"}
    assert said["Batch size"] == "differs"
    assert said["Weight decay"] == "not comparable: no such id"


def test_both_tracks_stand_side_by_side():
    models = [declare("unet"), declare("unet/native"), declare("la_resunet")]
    study = declared(*models)
    assert native_of(study) == {"unet": "unet/native"}
    leaky = {**declare("unet/native"), "variant": "native_by_slice", "split": "slice"}
    assert native_of(declared(*models, leaky)) == {"unet": "unet/native"}
    values = {f"P{i}": 0.5 + i / 100 for i in range(9)}
    better = {case: value + 0.1 for case, value in values.items()}
    scores = table(rows("unet", values), rows("unet/native", better))
    paper = paper_of("mandekar2025")[0]
    paper = replace(paper, scores=scores, comparisons=paper.comparisons.iloc[:0])
    first, second = lines(tracks(paper, study)[0])[:2]
    assert first[:2] == ["U-Net", "DSC"] and first[3:6] == ["0.540", "0.640", "+0.100"]
    assert first[-2:] == ["not declared", "native higher (interval only)"]
    assert second[-1] == "not run"


def test_what_a_paper_says_of_cost_stands_beside_ours_on_one_device():
    paper = paper_of("mandekar2025")[0]
    claim = "Section 3.6: residual connections introduce negligible computational overhead. "
    assert overheads(paper) == [Text(claim + "The paper prints no number for it; of ours none is recorded.")]
    # Runs on two devices are never set beside each other.
    costs = pd.DataFrame({
        "model": ["la_resunet/plain", "la_resunet/residual", "la_resunet/residual", "la_resunet/plain"],
        "device": ["cpu", "card", "cpu", None], "precision": ["", "", "", None],
        "parameters": [2e6, 3e6, 3e6, 9e6], "epoch_seconds": [10.0, 2.0, 8.0, None],
    })  # fmt: skip
    (shown,) = overheads(replace(paper, costs=costs))
    found = {title: rest for title, *rest in lines(shown)}
    assert found["Parameters, M"] == ["2", "3", "1.500"] and found["s per epoch"] == ["10", "8", "0.800"]
    assert len(found) == 2 and shown.caption.startswith(claim)
    assert shown.header == ["Cost", "la_resunet/plain", "la_resunet/residual", "Ratio"]
    assert overheads(paper_of("deng2024")[0]) == []


def test_a_declared_test_decides_between_the_tracks_and_not_an_uncorrected_interval():
    study = declared(declare("unet"), declare("unet/native"))
    values = {f"P{i}": 0.5 + i / 100 for i in range(9)}
    parts = [rows("unet", values, region=region) for region in ("WT", "TC")]
    parts += [rows("unet/native", {p: v + 0.1 for p, v in values.items()}, region=region) for region in ("WT", "TC")]
    tests = pd.DataFrame(
        {"metric": "dice", "region": ["WT", "TC"], "model_a": "unet/native", "model_b": "unet", "n_patients": 9,
         "difference": 0.1, "p_holm": [0.281, 0.004], "significant": [False, True], "family": "primary",
         "note": ""}
    )  # fmt: skip
    paper = replace(paper_of("mandekar2025")[0], scores=table(*parts), comparisons=tests)
    row = lines(tracks(paper, study)[0])[0]
    assert row[6] == "+0.100 to +0.100"
    assert row[-2:] == ["WT 0.281, TC 0.004", "no difference shown in WT; native higher in TC"]
    # A result on two models of ours is none on the paper, so nothing forbids it.
    (shown,) = tracks(replace(paper, comparisons=tests[tests["region"] == "WT"], not_comparable="18 subjects"), study)
    assert lines(shown)[0][-2:] == ["0.281", "no difference shown"]
    turned = tests.assign(model_a="unet", model_b="unet/native", difference=-0.1, significant=True)
    (shown,) = tracks(replace(paper, comparisons=turned), study)
    assert lines(shown)[0][-1] == "native higher in all regions"
    assert "after Holm's correction over all 2 declared comparisons." in shown.notes[1]
    gated = tests.assign(family=["primary", "gated"], significant=False, note=["", f"{GATE_SHUT}: 1 of 1"])
    (shown,) = tracks(replace(paper, comparisons=gated), study)
    assert lines(shown)[0][-1] == "no difference shown in WT; not tested (gate shut) in TC"
    assert "over the 1 primary comparisons, and over the 1 others only if" in shown.notes[1]


def keys(table):
    """What each cell of a number of ours shows, by the row's label and the column's name."""
    return {(row[0], row[2], place): cell.key for row in table.rows for place, cell in enumerate(row)
            if not isinstance(cell, str)}  # fmt: skip


def test_every_number_of_ours_says_what_it_shows():
    paper, _ = paper_of("mandekar2025")
    found = keys(paper_table(paper, paper.published.table("Table IV")))
    assert found["U-Net", "Mean DSC ± Std", 4] == Key("unet", "dice", None, "mean")
    assert found["U-Net", "Mean DSC ± Std", 6].statistic == "difference_from_printed"
    p = "p-value (ours: over patients)"
    assert found["U-Net", p, 4] == Key("unet", "dice", None, "p_holm", "la_resunet")
    assert ("nnU-Net", p, 4) not in found and ("U-Net", p, 5) not in found
    study = declared(declare("unet"), declare("unet/native"))
    row = tracks(paper, study)[0].rows[0]
    assert [cell.key for cell in row[3:6]] == [
        Key("unet", "dice"), Key("unet/native", "dice"), Key("unet/native", "dice", None, "difference", "unet")
    ]  # fmt: skip
    paper, _ = paper_of("hossen2025")
    found = keys(paper_table(paper, paper.published.table("Table I")))
    assert found["1", "Recall (%)", 4] == Key("resnet50_classifier", "recall", "slice", "pooled")
    assert found["Accuracy", "Accuracy", 4] == Key("resnet50_classifier", "accuracy", "slice", "pooled")
    paper, _ = paper_of("deng2024")
    found = keys(paper_table(paper, paper.published.table("Segmentation")))
    assert found["ResUNet", "Tversky", 4] == Key("resunet_focal_tversky/assumed", "Tversky", None, "pooled")


def test_models_under_another_split_are_found_and_kept_apart():
    models = [declare("unet"), declare("resunet"), declare("resunet/by_slice")]
    study = declared(*models)
    assert apart(study) == ["resunet/by_slice"]
    assert split_pairs(study) == [("resunet", "resunet/by_slice", "slice")]
    changed = {**declare("unet/by_slice"), "split": "slice", "set": {"channels": [8]}}
    assert split_pairs(declared(*models, changed)) == split_pairs(study)


SPLITS = SplitPair("m", "m/by_slice", "slice")


def with_counts(model, patients):
    """Rows of counts and Dice; ``patients`` maps a patient to tp, fp and fn of 1000 voxels, and perhaps a note."""
    parts = []
    for patient, (tp, fp, fn, *note) in patients.items():
        values = dict(zip(COUNTS, (tp, fp, fn, 1000 - tp - fp - fn), strict=True))
        values["dice"] = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
        parts += [
            rows(model, {patient: float(value)}, metric=name, note="".join(note)) for name, value in values.items()
        ]
    return table(*parts)


def test_a_patient_whose_tested_slices_hold_no_tumour_decides_nothing_about_a_split():
    # A is found equally well under both; of B the one tested slice is empty, which scores 1 by rule, or 0.
    honest = with_counts("m", {"A": (80, 20, 20), "B": (0, 10, 10), "C": (50, 0, 50)})
    leaky = with_counts("m/by_slice", {"A": (8, 2, 2), "B": (0, 0, 0, "both empty"), "C": (5, 0, 5), "D": (9, 0, 0)})
    scores = pd.concat([honest, leaky], ignore_index=True)
    found = split_table(scores, SPLITS, ["dice"], {"dice": "Dice"})
    pooled, mean = ([row[0], row[2].split()[0], row[3].split()[0], row[4], row[7]] for row in lines(found))
    # 2 * 130 / (260 + 30 + 80) and 2 * 13 / (26 + 2 + 7)
    assert pooled == ["Dice, pooled", "0.703", "0.743", "+0.040", "3"]
    assert mean == ["Dice, mean", "0.733", "0.733", "+0.000", "2 (1 left out)"]
    assert lines(found)[1][6] == "no difference shown"
    # 20 of the 210 voxels of tumour, of the patients of both.
    assert any("10% of the tumour's voxels" in note for note in found.notes)
    assert any("does not say what it comes from" in note for note in found.notes)


def test_a_prediction_that_is_empty_is_a_failure_and_stays():
    honest = with_counts("m", {"A": (80, 20, 20), "B": (0, 0, 10, "prediction empty")})
    leaky = with_counts("m/by_slice", {"A": (8, 2, 2), "B": (5, 5, 5)})
    mean = lines(split_table(pd.concat([honest, leaky]), SPLITS, ["dice"], {}))[1]
    assert (mean[4], mean[7]) == ("+0.250", "2")


def test_voxels_of_untested_slices_are_not_held_to_be_right():
    honest, leaky = with_counts("m", {"A": (8, 2, 2)}), with_counts("m/by_slice", {"A": (8, 2, 2)})
    scores = pd.concat([honest, leaky])
    scores = pd.concat([scores, scores[scores["metric"] == "dice"].assign(metric="specificity")])
    (row,) = split_table(scores, SPLITS, ["specificity"], {}).rows
    assert row[6] == "not comparable: slices that are not tested count as right"
    other = lines(split_table(scores, SPLITS._replace(split="published"), ["specificity"], {}))
    assert other[0][2] == "0.998"


def test_a_classifiers_accuracy_under_two_splits_stands_beside_always_naming_one_class():
    both = [("m", (6, 1, 2, 11)), ("m/by_slice", (1, 0, 1, 2))]
    parts = [
        rows(model, {"A": float(value)}, metric=name, region="slice")
        for model, values in both
        for name, value in zip((*COUNTS, "accuracy"), (*values, 0.75), strict=True)
    ]
    found = split_table(table(*parts), SPLITS, ["dice"], {})
    # 12 of 20 slices have no tumour, and 2 of 4.
    assert found.notes[-1].endswith("over slices, pooled: 0.600 by patient and 0.500 by slice.")


def test_a_leak_of_a_model_that_was_not_run_is_said():
    study = declared("unet", {"bundle": "unet", "variant": "by_slice", "split": "slice"})
    _, said = split_blocks(table(rows("unet", {"A": 0.5, "B": 0.6})), study, ["dice"], {})
    assert said.text == "unet and unet/by_slice, by slice: unet/by_slice not run."


def test_pooled_differences_are_on_the_same_patients():
    first = with_counts("a", {"A": (10, 0, 0), "B": (5, 5, 5)})
    second = with_counts("b", {"A": (10, 0, 0), "C": (1, 9, 9)})
    scores = Paper(None, pd.concat([first, second]), first).rows
    found = difference(scores, "a", "b", {"metric": "Dice", "regions": "mean", "aggregate": "pooled"})
    assert (found.value, found.patients) == (0.0, 1)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papers")
    with pytest.MonkeyPatch.context() as patch:
        blank_pictures(patch, of_papers=False)
        for name in RUNS:
            results = results_of(name, **({"not_comparable": "A tenth of the data"} if name == "deng2024" else {}))
            write(results, folder / name, folder / "private")
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_no_cell_is_empty(reports, name):
    text = pages_text(reports / name)
    places = [text.index(f"## {title}") for title in ("Result in short", "The paper's tables", "The paper's figures",
                                                      "What the printed numbers imply", "Data and runs")]  # fmt: skip
    assert places == sorted(places)
    ours_only = text[places[1] : places[4]]
    for line in ours_only.splitlines():
        if line.startswith("|"):
            assert all(cell.strip() not in ("", "-") for cell in line.strip("|").split(" | ")), line
    assert not re.search(r"\bnan\b", ours_only)
    for one in load(REPORTS / name / FILE).tables:
        assert f"{'*' * (one['kind'] != 'layers')}{one['id']} (" in text
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
    blocks = draw_all(tmp_path, replace(paper_of("fozzati2024")[0], histories={}), "fozzati2024", [], False, None)
    assert not any(isinstance(block, Figure) for block in blocks)
    assert any(isinstance(b, Text) and b.text.endswith("unet_dice_focal/assumed: not run.") for b in blocks)


def test_pictures_of_scans_are_drawn_only_where_they_may_be(tmp_path):
    paper = paper_of("mandekar2025")[0]
    shown = [f["id"] for f in paper.published.figures if f["kind"] == "sequences"]
    assert shown
    image = np.eye(8)
    panel = Panel("case", "best", 0.9, image, image, image, "unet", sequences={"T1": image, "T2": image})
    private = tmp_path / "private"

    def texts(*given):
        blocks = draw_all(tmp_path, paper, "mandekar2025", *given)
        redrawn = [b for b in blocks if isinstance(b, Text) and ", redrawn: " in b.text]
        return {b.text.partition(", redrawn: ")[0]: b.text for b in redrawn}

    found = texts([panel], False, private)
    assert [*found] == shown and all("are not ours to publish" in text for text in found.values())
    assert len(list(private.glob("paper_*.png"))) == len(shown)
    found = texts([], False, None)
    assert [*found] == shown and all("no run's pictures are on this machine" in text for text in found.values())
    drawn = draw_all(tmp_path, paper, "mandekar2025", [panel], True, None)
    assert [f.path for f in drawn if isinstance(f, Figure) and f.caption.startswith(shown[0])]


def test_the_leak_section_stands_in_the_report(reports):
    text = (reports / "deng2024" / "report.md").read_text()
    section = text[text.index("## One model under two splits") : text.index("## Data and runs")]
    assert "| Dice, pooled | tumour |" in section and "| Dice, mean | tumour |" in section
    assert "goes with the split" not in text
    for line in section.splitlines():
        assert "| - |" not in line


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
    study = declared(*models, name="s", compare=COMPARE)
    scores = pd.concat(
        [counted(["unet", "unet/by_slice"], patients=2), counted(["resnet50"], regions=("slice",), patients=2)],
        ignore_index=True,
    )
    results = Results(study, every=scores)
    kept, rest = results.own, results.apart
    assert set(kept["bundle"]) == {"unet"} and set(kept["variant"]) == {"default"}
    assert set(kept["metric"]).isdisjoint(COUNTS)
    assert len(rest) + len(kept) == len(scores[~scores["metric"].isin(COUNTS)])


def test_a_study_with_a_published_file_reports_it(finished, command, undrawn):
    # The tiny study has no recipe of its own for this model.
    text = (
        (REPORTS / "hossen2025" / FILE).read_text(encoding="utf-8").replace("resunet_tversky/native", "resunet_tversky")
    )
    paper = json.loads(text)
    before = (finished / "reports" / "tiny" / "report.md").read_text()
    assert "The paper's tables" not in before
    (finished / "reports" / "tiny" / FILE).write_text(json.dumps(paper), encoding="utf-8")
    assert command("report", "tiny")[0] == 0
    text = (finished / "reports" / "tiny" / "report.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| Our, ResUNET | resunet_tversky | Dice |")]
    assert line.split(" | ")[-1] == "not comparable [1] |" and "[1] no verdict on the paper: the paper does not" in text
    assert "paper_fig_5.png" in text
