import re

import pytest
from helpers.papers import PAPERS, REPORTS, table, write

from benchmark.base.records import InputError
from benchmark.papers import published
from benchmark.papers.published import Interval, Published, cell, find, load, parse, role


@pytest.mark.parametrize(
    ("text", "unit", "number", "low", "high"),
    [
        ("0.84", "", 0.84, 0.835, 0.845),
        ("0.90", "", 0.90, 0.895, 0.905),
        ("98.2", "%", 0.982, 0.9815, 0.9825),
        ("98%", "", 0.98, 0.975, 0.985),
        ("1×10^{-4}", "", 1e-4, 0.5e-4, 1.5e-4),  # noqa: RUF001
        ("3–6%", "", 0.045, 0.025, 0.065),  # noqa: RUF001
        ("< 0.001", "", 0.001, 0.001, 0.001),
        ("-0.5", "", -0.5, -0.55, -0.45),
    ],
)
def test_a_printed_number_is_all_that_rounds_to_it(text, unit, number, low, high):
    found = parse(text, unit)
    assert (found.number, *found.interval) == pytest.approx((number, low, high))
    assert found.text == text


def test_spread_bounds_and_counts_are_read():
    found = parse("0.84 ± 0.021")
    assert found.spread[0] == 0.021 and tuple(found.spread[1]) == pytest.approx((0.0205, 0.0215))
    assert parse("< 0.05").bound == "<"
    assert parse("361", exact=True).interval == Interval(361, 361)


def test_no_number_rounds_to_a_share_from_outside_0_to_1():
    assert cell({"name": "Dice"}, "1.00").interval == Interval(0.995, 1.0)
    assert cell({"name": "Dice", "unit": "%"}, "0").interval == Interval(0.0, 0.005)
    assert cell({"name": "Loss", "role": "loss"}, "1.00").interval == Interval(0.995, 1.005)


def test_an_output_shape_is_read_as_its_channels():
    shape = {"name": "Output shape", "role": "shape"}
    assert cell(shape, "(None,256,256,16)").interval == Interval(16, 16)
    assert cell(shape, "unknown") is None


@pytest.mark.parametrize("text", [None, "N/A", "—", "\\", "Adam", "T1, T1c, T2, FLAIR", "(None,256,256,16)"])
def test_words_are_no_numbers(text):
    assert parse(text) is None


def test_roles_come_from_usual_names():
    names = {"DSC": "dice", "F1-score (%)": "f1", "Mean DSC ± Std": "dice", "Accuracy (%)": "accuracy", "HD95": ""}
    assert {name: role({"name": name}) for name in names} == names
    assert role({"name": "DSC", "role": "iou"}) == "iou"


def test_places_of_numbers(tmp_path):
    rows = table(["Dice", "IoU"], {"a/b": ["0.9", "N/A"]})
    paper = load(write(tmp_path, tables=[rows], claims=[{"id": "text", "value": "91%", "states": "s", "where": "w"}]))
    assert paper.value("T1/a/b/Dice").number == 0.9
    assert paper.value("text").number == 0.91
    assert paper.value("100%").number == 1.0
    with pytest.raises(InputError, match="no number at 'T1/a/b/IoU'"):
        paper.value("T1/a/b/IoU")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tables": [table(["Dice"], {"a": ["0.9", "0.8"]})]}, "expected 1 values, one a column, found 2"),
        ({"tables": [{"id": "T1"}]}, "tables/0: expected an entry 'kind', found none"),
        ({"paper": {"short": "x"}}, "paper: expected an entry 'title', found none"),
        ({"claims": [{"id": "a", "value": "1", "states": "s", "where": "w", "same_as": "T9/x/y"}]}, "no number at"),
        ({"figures": [{"id": "F", "kind": "bars", "shows": "s", "table": "T9"}]}, "no table 'T9'"),
        ({"years": 2025}, "years: expected no such entry, found 2025"),
        ({"tables": [table(["Dice"], {"a": ["98"]})]}, "row 'a', Dice: expected a share of 0 to 1, .*found '98'"),
        ({"tables": [table(["Support"], {"a": ["3.5"]})]}, "expected a count, found '3.5'"),
        ({"tables": [table([{"name": "Loss", "role": "loss"}], {"a": ["-0.5"]})]}, "expected a loss of 0 or more"),
        (
            {"tables": [table([{"name": "x", "role": "dise"}], {"a": ["1"]})]},
            "tables/0/columns/0/role: expected 'dice', .*found \"dise\"",
        ),
        ({"tables": [table(["DSC"], {"a": ["1"]})] * 2}, "two tables are called 'T1'"),
        (
            {"tables": [table(["DSC", "p"], {"a": ["1", "-"]}, kind="significance")]},
            "expected an entry 'reference'",
        ),
        ({"tables": [table(["p"], {"a": ["0.1"]}, kind="significance", reference="a")]}, "expected a metric"),
        (
            {"tables": [{**table(["DSC"], {}), "rows": [{"label": "a", "role": "class", "values": ["1"]}]}]},
            "T1, row 'a': expected an entry 'class'",
        ),
        ({"relations": [{"kind": "magic"}]}, "relations/0: expected 'kind' to be one of 'equal', .*found 'magic'"),
        ({"relations": [{"kind": "sum", "parts": ["1", "2"]}]}, "relations/0: expected an entry 'total', found none"),
        ({"relations": [{"kind": "equal", "values": []}]}, "relations/0/values: "),
        ({"relations": [{"kind": "equal", "values": ["0.9", "T1/x/y"]}]}, "no number at 'T1/x/y'"),
        ({"relations": [{"kind": "largest_gain", "what": "w", "claimed": ["0.1", "0.2"], "others": []}]}, "others: "),
        (
            {"relations": [{"kind": "focal_tversky", "tversky": "91.68", "loss": "0.15", "usual": 0.75}]},
            "tversky: expected a share of 0 to 1, found '91.68'",
        ),
        (
            {"relations": [{"kind": "margin", "claim": "3%", "best": "1", "others": ["1"], "if": "x"}]},
            'relations/0/if: expected no such entry, found "x"',
        ),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path, content, message):
    with pytest.raises(InputError) as refused:
        load(write(tmp_path, **content))
    assert re.search(message.replace("(", r"\(").replace(")", r"\)"), str(refused.value))


def test_a_profile_takes_the_papers_file_from_the_folder_above(tmp_path):
    path = write(tmp_path)
    (tmp_path / "small").mkdir()
    assert find(tmp_path) == find(tmp_path / "small") == path
    assert find(tmp_path / "small" / "deeper") is None


@pytest.mark.parametrize("name", PAPERS)
def test_the_committed_papers_are_whole(name):
    paper = load(REPORTS / name / published.FILE)
    assert paper.short == name
    for one in paper.tables:
        for column in one["columns"] if one["kind"] in ("scores", "significance") else ():
            assert "none" in column or {"metric", "regions", "aggregate"} <= set(column), column
        for row in one["rows"] if one["kind"] in ("scores", "significance") else ():
            assert "model" in row or "none" in row, row


def test_numbers_are_as_printed():
    known = {
        "mandekar2025": {
            "text sensitivity": "0.93",
            "Table II/Swin-UNETR/Accuracy (%)": "97.8",
            "Table IV/nnU-Net/p-value": "< 0.05",
        },
        "hossen2025": {"Table I/1/F1-score (%)": "94", "Table II/Our, ResUNET/IoU": "0.95"},
        "deng2024": {"Table 2/26/Parameters": "1210513", "Segmentation/ResUNet/Loss": "0.1546"},
        "fozzati2024": {"Test results/UNet/Mean IoU": "0.98", "validation IoU": "0.614"},
    }
    for name, places in known.items():
        paper: Published = load(REPORTS / name / published.FILE)
        assert {place: paper.value(place).text for place in places} == places
