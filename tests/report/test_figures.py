"""Figures as a paper needs them: models told apart, margins, possible ranges, and files that do not change."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from helpers.results import panel
from helpers.synthetic_scores import realistic

from benchmark.report import figures
from benchmark.report.figures import View, also, called, described, looks
from benchmark.results.results import BETTER
from benchmark.scoring.metrics import METRICS
from benchmark.stats.compare import compare

MANY = [(f"m{index}", index / 100) for index in range(12)]


@pytest.fixture(scope="module")
def tests():
    return compare(realistic(), {"metrics": ["dice"], "pairs": "all", "margin": 0.02}, BETTER)


def test_no_two_models_of_a_figure_look_alike_in_colour_or_without():
    found = looks([f"m{index}" for index in range(72)])
    assert len({(look.colour, look.marker) for look in found.values()}) == 72
    assert len({(look.colour, look.hatch) for look in found.values()}) == 72
    eight = list(found.values())[:8]
    assert len({look.marker for look in eight}) == len({look.hatch for look in eight}) == 8


def test_twelve_models_have_a_row_of_boxes_for_each_region_and_a_pattern_each(tmp_path):
    scores = realistic(models=MANY, patients=2)
    with also(["svg"]):
        path = figures.boxplots(
            tmp_path / "boxes.png", called(scores.assign(model=scores["bundle"]), {}), METRICS["dice"]
        )
    text = path.with_suffix(".svg").read_text()
    assert [text.count(f">{region}<") for region in ("WT", "TC", "ET")] == [1, 1, 1]
    # A pattern's lines are seen on its ground: of another colour, and no more see-through.
    patterns = re.findall(r'<pattern.*?<rect [^>]*fill="([^"]*)"/>.*?stroke: ([^;"]*).*?</pattern>', text, re.DOTALL)
    assert len(patterns) >= 10 and not [one for one in patterns if one[0] == one[1]]
    assert not re.search(r"fill: url\(#[^)]*\); (?:fill-)?opacity", text)
    assert text.count(">Dice<") == 3 and text.count("<pattern") == 10


@pytest.mark.parametrize(
    "names",
    [
        ["baseline_attention", "baseline_no_attention", "waveloss_attention", "waveloss_no_attention"],
        [20 * "long " + "name", "a", "b"],
        [name for name, _ in MANY],
    ],
)
def test_the_names_of_a_figure_of_boxes_lie_within_it(tmp_path, monkeypatch, names):
    drawn, save = [], figures.save
    monkeypatch.setattr(figures, "save", lambda figure, path: (drawn.append(figure), save(figure, path))[1])
    scores = realistic(models=MANY[: len(names)], patients=3)
    models = dict(zip(pd.unique(scores["bundle"]), names, strict=True))
    figures.boxplots(tmp_path / "boxes.png", scores.assign(model=scores["bundle"].map(models)), METRICS["dice"])
    (legend,) = drawn[0].legends
    box, whole = legend.get_window_extent(), drawn[0].bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1


def test_a_forest_has_margin_verdict_and_corrected_p_and_says_what_is_not_corrected(tmp_path, tests):
    with also(["svg"]):
        path = figures.differences(tmp_path / "forest.png", called(tests, {"unet": "U-Net"}), METRICS["dice"])
    text = path.with_suffix(".svg").read_text()
    for said in ("95% interval of each row by itself, not corrected", "margin of equivalence, ±0.020", "p (Holm)",
                 "la_resunet better", "U-Net \N{MINUS SIGN} la_resunet", "shown after correction"):  # fmt: skip
        assert f">{said}" in text or f"{said}<" in text, said
    assert "← B better\N{NO-BREAK SPACE}" in text, "a page shows several plain spaces as one"
    assert ">unet" not in text and "ends at the possible range" not in text


def test_an_interval_ends_where_no_difference_is_possible(tmp_path, tests):
    wide = tests.assign(ci_low=-1.7, ci_high=0.4)
    with also(["svg"]):
        path = figures.differences(tmp_path / "forest.png", wide, METRICS["dice"])
    assert "interval ends at the possible range" in path.with_suffix(".svg").read_text()
    _, axes = figures.new_figure(3, 3)
    row = wide.iloc[0].to_dict()
    assert figures._interval(axes[0, 0], 0, row, METRICS["dice"])
    assert min(line.get_xdata()[0] for line in axes[0, 0].lines) == -1
    assert not figures._interval(axes[0, 0], 0, {**row, "ci_low": -30.0}, METRICS["hd95"])


def test_every_format_is_the_same_again_and_png_does_not_depend_on_the_others(tmp_path, tests):
    files = []
    for name, formats in (("one", ["svg", "pdf"]), ("two", ["svg", "pdf"]), ("three", [])):
        with also(formats):
            figures.differences(tmp_path / name / "forest.png", tests, METRICS["dice"])
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1] and [*files[2]] == ["forest.png"]
    assert files[0]["forest.png"] == files[2]["forest.png"]
    assert files[0]["forest.pdf"].startswith(b"%PDF")


def test_a_case_stands_beside_every_model_and_says_what_it_shows(tmp_path):
    one = panel()
    models = [f"m{index}" for index in range(7)]
    view = View("P07", "Best of 25 cases", "FLAIR, axial slice 34 of 77 from below", True, one.image, one.truth,
                {model: one.prediction for model in models}, dict.fromkeys(models, 0.8))  # fmt: skip
    with also(["svg"]):
        path = figures.case(tmp_path / "case_1.png", view, {"1": "core", "2": "oedema"}, {"m0": "U-Net"})
    said = "Best of 25 cases, P07: FLAIR, axial slice 34 of 77 from below; the patient's right is on the left"
    assert described(path) == view.caption == said
    text = path.with_suffix(".svg").read_text()
    for shown in (">U-Net<", ">m6<", ">Image<", ">Truth<", ">oedema<", ">Dice 0.800<"):
        assert shown in text, shown
    assert "right" not in dataclasses.replace(view, sides=False).caption
    # A large picture loses colours and not its description.
    random = np.random.default_rng(0).random((400, 400)) * 1000
    noisy = dataclasses.replace(view, image=random, truth=np.zeros((400, 400)), predictions={"m0": random > 500})
    assert described(figures.case(tmp_path / "case_2.png", noisy, {}, {})) == said


def test_curves_are_of_the_score_that_weights_are_chosen_by(tmp_path, monkeypatch):
    seen, plot = {}, figures.plot_runs

    def note(axis, tables, column, *rest):
        seen.setdefault(len(tables), []).append(column)
        plot(axis, tables, column, *rest)

    monkeypatch.setattr(figures, "plot_runs", note)
    losses = {"epoch": [1, 2], "train_loss": [1.0, 0.5], "val_loss": [1.0, 0.7]}
    segmenter = pd.DataFrame({**losses, "val_dice": [0.1, 0.2], "val_accuracy": [np.nan, np.nan]})
    classifier = pd.DataFrame({**losses, "val_dice": [np.nan, np.nan], "val_accuracy": [0.6, 0.7]})
    runs = {"unet/default/fold0-seed1": segmenter, "resnet50_classifier/default/fold0-seed1": classifier}
    figures.training_curves(tmp_path / "both.png", {**runs, "resnet50_classifier/default/fold1-seed1": classifier})
    assert seen == {1: ["train_loss", "val_loss", "val_dice"], 2: ["train_loss", "val_loss", "val_accuracy"]}
