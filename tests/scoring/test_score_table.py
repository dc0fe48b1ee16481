"""Score tables: what is written comes back, and each score of a file becomes one row."""

import numpy as np
import pandas as pd
import pytest

from benchmark.base.records import SCORE_COLUMNS, InputError
from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS, score_case

HEAD = ",".join((*score_table.KEYS, "note"))


def scored(**ids):
    """Scores of a region that is there and of one that neither mask has."""
    truth, guess = np.zeros((6, 7, 8), np.uint8), np.zeros((6, 7, 8), np.uint8)
    truth[1:4, 1:4, 1:4], guess[1:4, 1:4, 2:5] = 2, 2
    who = {"bundle": "unet", "variant": "default", "fold": 0, "seed": 1, "patient_id": "007", "case_id": "NA", **ids}
    return [{**who, **row} for row in score_case(truth, guess, (1, 1, 3), {"WT": (1, 2, 4), "ET": (4,)})]


def test_scores_come_back_as_they_were_framed(tmp_path):
    table = score_table.frame(scored(variant="None"))
    assert tuple(table.columns) == score_table.COLUMNS
    score_table.write(tmp_path / "scores.csv", table)
    found = score_table.read(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(found, table, check_exact=True)
    # Ids are text, whatever they look like.
    assert set(found["patient_id"]) == {"007"} and set(found["case_id"]) == {"NA"} and set(found["variant"]) == {"None"}
    assert found["dice"].iloc[0] == float(f"{2 * 18 / (2 * 18 + 9 + 9):.9g}") and found["tp"].iloc[0] == 18


def test_a_row_of_a_file_is_a_row_of_memory_for_each_of_its_scores():
    tidy = score_table.tidy(score_table.frame(scored()))
    assert tuple(tidy.columns) == (*SCORE_COLUMNS, "model") and set(tidy["model"]) == {"unet"}
    names = [*COUNTS, *METRICS]
    assert [(row.region, row.metric) for row in tidy.itertuples()] == [(r, n) for r in ("WT", "ET") for n in names]
    value = tidy.set_index(["region", "metric"])
    assert value.loc[("WT", "tp"), "value"] == 18 and value.loc[("ET", "dice"), "value"] == 1
    assert set(value.loc["WT", "note"]) == {""} and set(value.loc["ET", "note"]) == {"both empty"}
    assert set(tidy["metric_version"]) >= {"1"}


def test_a_metric_that_does_not_apply_has_a_blank_cell_and_no_row(tmp_path):
    slices = [{**row, "region": "slice"} for row in scored(bundle="gate")[:1]]
    slices = [{key: value for key, value in row.items() if METRICS.get(key, METRICS["dice"]).needs == "counts"}
              for row in slices]  # fmt: skip
    score_table.write(tmp_path / "s.csv", score_table.frame([*scored(), *slices]))
    tidy = score_table.read_tidy(tmp_path / "s.csv")
    assert "hd95" not in set(tidy.loc[tidy["region"] == "slice", "metric"])
    assert {"dice", "tp"} <= set(tidy.loc[tidy["region"] == "slice", "metric"])
    assert tidy["value"].notna().all()


def test_a_later_version_of_a_metric_is_another_column():
    assert (score_table.column("dice", "1"), score_table.column("dice", "2")) == ("dice", "dice.2")
    table = score_table.frame(scored()).rename(columns={"dice": "dice.2"})
    tidy = score_table.tidy(table).set_index("metric")
    assert set(tidy.loc["dice", "metric_version"]) == {"2"} and set(tidy.loc["iou", "metric_version"]) == {"1"}


def with_value(column, value):
    """Change one column of the first row, which is WT of case NA."""
    return lambda t: t.assign(**{column: [value, *t[column].iloc[1:]]})


FREE = ("bundle", "variant", "patient_id", "case_id", "region")
PLACE = r"of case NA \(la_resunet/plain, fold 0, seed 1\)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: pd.concat([t, t.iloc[1:]]), f"1 rows twice: .* found ET {PLACE} again"),
        (lambda t: t.assign(**{"dice.2": t["dice"]}), "mixes versions of dice: expected one, found 1 and 2"),
        (lambda t: t.iloc[:0], "has no rows: expected one per run, case and region"),
        (lambda t: t.assign(hd95=np.inf), f"hd95 to be a finite number from 0 up, found inf in WT {PLACE} and 1 more"),
        (with_value("hd95", -1.0), f"hd95 to be a finite number from 0 up, found -1 in WT {PLACE}\\."),
        (with_value("dice", 1.7), f"dice to be from 0 to 1, found 1.7 in WT {PLACE}\\."),
        (with_value("lesion_pq", -3.0), f"lesion_pq to be from 0 to 1, found -3 in WT {PLACE}"),
        (with_value("tp", 1.5), f"tp to be a whole number from 0 up, found 1.5 in WT {PLACE}"),
        (with_value("instance_fn", -5.0), f"instance_fn to be a whole number from 0 up, found -5 in WT {PLACE}"),
        (with_value("region", ""), f"expected a region in every row, found none in  {PLACE}"),
        (with_value("case_id", " "), "expected a case_id in every row, found none in WT of case  "),
        (with_value("patient_id", ""), f"expected a patient_id in every row, found none in WT {PLACE}"),
        (lambda t: t.assign(dice=True), "expected numbers in the column dice, found "),
        (lambda t: t[[*score_table.HEAD]].assign(dice=np.nan), f"a score in every row, found none in WT {PLACE}"),
        *[
            (with_value(key, f"{mark}cmd"), f"expected a {key} that is no formula in a table.*, found '[{mark}]cmd'")
            for key in (*FREE, "note")
            for mark in "=+-@"
        ],
        (with_value("bundle", "[click](javascript:run)"), "expected a bundle that .* found '.click..javascript:run.'"),
        (with_value("patient_id", "8"), "expected one patient of case NA, found 8 and 007"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(tmp_path, change, message):
    path = tmp_path / "scores.csv"
    score_table.write(path, change(score_table.frame(scored(bundle="la_resunet", variant="plain"))))
    with pytest.raises(InputError, match=rf"scores\.csv.*{message}"):
        score_table.read(path)


@pytest.mark.parametrize(("versions", "found"), [("2", "2"), ("12", "2"), ("x1", "x")])
def test_a_file_of_another_version_is_refused_and_one_without_a_version_is_read(tmp_path, versions, found):
    path, table = tmp_path / "scores.csv", score_table.frame(scored())
    score_table.write(path, table)
    lines = path.read_text().splitlines()
    assert lines[0].endswith(",schema") and {line[-2:] for line in lines[1:]} == {",1"}
    path.write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    pd.testing.assert_frame_equal(score_table.read(path), table, check_exact=True)
    ends = ["schema", *(versions * 2)[: len(lines) - 1]]
    path.write_text("\n".join(f"{line.rpartition(',')[0]},{end}" for line, end in zip(lines, ends, strict=True)) + "\n")
    with pytest.raises(
        InputError, match=rf"scores\.csv: schema: expected 1, as this release reads it, found {found}\.$"
    ):
        score_table.read(path)


def test_the_best_and_the_worst_that_any_metric_gives_are_in_its_range(tmp_path):
    truth = np.zeros((4, 5, 6), np.uint8)
    truth[1:3, 1:3, 1:3] = 1
    masks = (truth, np.zeros_like(truth), np.ones_like(truth), np.roll(truth, 2, 0), None)
    who = {"bundle": "unet", "variant": "default", "fold": 0, "seed": 1, "patient_id": "p"}
    rows = [
        {**who, "case_id": f"{one} {two}", **row}
        for one in range(4) for two in range(5)
        for row in score_case(masks[one], masks[two], (1, 2, 3), {"WT": (1,)})
    ]  # fmt: skip
    score_table.write(tmp_path / "scores.csv", score_table.frame(rows))
    found = score_table.read(tmp_path / "scores.csv")
    shares = [name for name, metric in METRICS.items() if not metric.unit]
    assert (found[shares].min().max(), found[shares].max().min()) == (0, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: expected a table of scores"),
        (b"", "is not a table of scores"),
        (b"a,b\n1,2\n", "expected the columns bundle, variant, .*, found a, b"),
        (b"\xff\xfe\x00\x00", "is not a table of scores|expected the columns"),
        (b'bundle,variant\n"half', "is not a table of scores|expected the columns"),
        (f"{HEAD},dice,beauty\nunet,d,0,1,p,c,WT,,1,1\n".encode(), "and columns of metrics, found .*beauty"),
        (f"{HEAD},dice\nunet,d,0,1,p,c,WT,,high\n".encode(), "expected numbers in the column dice, found 'high'"),
        (f"{HEAD},dice\nunet,d,zero,1,p,c,WT,,1\n".encode(), r"scores\.csv is not a table of scores: .*zero"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(tmp_path, content, message):
    path = tmp_path / "scores.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as found:
        score_table.read(path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("changed", [{"dice": 0.99}, {"tp": 27.0}, {"dice": 0.0}])
def test_a_dice_that_is_not_that_of_its_counts_is_said(tmp_path, changed):
    table = score_table.frame(scored())
    score_table.write(tmp_path / "s.csv", table)
    assert score_table.contradicted(score_table.read(tmp_path / "s.csv")) == []
    for name, value in changed.items():
        table.loc[0, name] = value
    score_table.write(tmp_path / "s.csv", table)
    (said,) = score_table.contradicted(score_table.read(tmp_path / "s.csv"))
    assert said.startswith("CONTRADICTED: 1 of 2 rows of scores have another Dice than their counts give, such as")
    assert "unet" in said
