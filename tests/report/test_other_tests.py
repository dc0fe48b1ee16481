"""What a report says of other tests: means and changes by model and region, and a figure of them by level."""

import pandas as pd
from PIL import Image

from benchmark.base.records import OtherTest
from benchmark.report import other_tests
from benchmark.report.document import Key, Table
from benchmark.scoring.metrics import METRICS

TESTS = (
    OtherTest("hospital", data="hospital"),
    OtherTest("noise-0.5", corruption="noise", level=0.5),
    OtherTest("missing-T1", corruption="missing", level="T1"),
)


def found():
    rows = [
        {
            "test": test.name, "metric": metric, "region": region, "model": model, "n_patients": 5,
            "n_patients_there": 7 if test.data else 5, "mean": 0.8, "mean_there": 0.8 + change, "n_empty": 2,
            "change": change, "ci_low": change - 0.1, "ci_high": change + 0.1,
            "interval": "two samples" if test.data else "paired",
        }
        for test, change in zip(TESTS, (-0.25, -0.05, -0.5), strict=True)
        for metric in ("dice", "hd95") for region in ("WT", "ET") for model in ("unet", "mine")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def texts(row):
    return [getattr(cell, "text", cell) for cell in row]


def test_means_and_changes_stand_by_model_and_region():
    tables = [block for block in other_tests.blocks(found(), TESTS, METRICS) if isinstance(block, Table)]
    assert [table.caption for table in tables] == [
        "Dice ↑ on hospital.", "HD95 (mm) ↓ on hospital.", "Dice ↑ on corrupted images."
    ]  # fmt: skip
    assert texts(tables[0].rows[0]) == ["unet", "WT", "0.800 (5)", "0.550 (7)", "-0.250", "-0.350 to -0.150"]
    assert list(tables[2].header) == ["Model", "Corruption", "Level", "WT", "ET"]
    assert [texts(row[:4]) for row in tables[2].rows[:3]] == [
        ["unet", "none", "", "0.800"],
        ["unet", "noise", "0.5", "0.750 (-0.050, -0.150 to +0.050)"],
        ["unet", "missing", "T1", "0.300 (-0.500, -0.600 to -0.400)"],
    ]
    assert tables[0].rows[0][3].key == Key("unet", "dice on hospital", "WT")
    assert tables[2].rows[1][3].key == Key("unet", "dice on noise-0.5", "WT")
    assert "Welch" in tables[0].notes[0] and "same patients" in tables[2].notes[0]
    assert tables[0].notes[-1].endswith("WT 2, ET 2.")
    assert other_tests.blocks(None, TESTS, METRICS) == []


def test_the_worst_change_is_said_in_short():
    assert other_tests.in_short(found(), TESTS, METRICS["dice"]) == [
        "On hospital (7 patients, against 5 own), the worst change of a mean: WT by unet, Dice from 0.800 to 0.550, "
        "-0.250 (-0.350 to -0.150).",
        "Of corrupted images missing-T1 costs most: WT by unet, Dice from 0.800 to 0.300, -0.500 (-0.600 to -0.400).",
    ]
    # Of a distance, more is worse.
    assert "noise-0.5 costs most" in other_tests.in_short(found(), TESTS, METRICS["hd95"])[1]
    assert other_tests.in_short(None, TESTS, METRICS["dice"]) == []


def test_a_test_that_a_model_did_not_take_is_a_dash():
    rows = found()
    rows = rows[(rows["model"] == "unet") | (rows["test"] != "noise-0.5")]
    table = other_tests.blocks(rows, TESTS, METRICS)[-2]
    assert [texts(row) for row in table.rows if row[0] == "mine" and row[1] == "noise"] == [
        ["mine", "noise", "0.5", "-", "-"]
    ]


def test_the_figure_has_a_column_per_corruption(tmp_path):
    path = other_tests.sweep(tmp_path / "sweep.png", found(), TESTS[1:], METRICS["dice"])
    width, height = Image.open(path).size
    assert width > height and path.stat().st_size < 300_000
