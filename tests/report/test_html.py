"""The page for a browser, from hand-made blocks."""

import re

import pytest
from helpers.synthetic_scores import realistic, rows, table

from benchmark.report.cases import cases_table
from benchmark.report.document import Bullets, Cell, Figure, Heading, Key, Table, Text
from benchmark.report.html import Answer, Page, Section, to_html
from benchmark.scoring.metrics import METRICS

KEY = Key("m", "dice", "WT")
TABLE = Table(
    "One <b>.", ["Region", "Model", "Dice"],
    [["WT", "m", Cell("0.9", bold=True, mark="†", key=KEY)], ["", "n", Cell("0.8")]], notes=["A & B."], name="Power",
)  # fmt: skip


def page(folder, blocks=(TABLE,), links=None, folded=(), hidden=False):
    section = Section("All of it", [Heading("Part", 3), Bullets(["x"]), Text("y", bold=True), *blocks], hidden)
    return Page(
        "T & U",
        ["PHANTOM"],
        ["One.", "Two."],
        [section],
        folder,
        links or {},
        lambda key: f"explain {key.model}",
        folded,
    )


def test_names_are_text_and_never_markup(tmp_path):
    text = to_html(page(tmp_path))
    assert "<h1>T &amp; U</h1>" in text and "One &lt;b&gt;." in text and "A &amp; B." in text
    assert '<p class="banner">PHANTOM</p>' in text and "<strong>y</strong>" in text and "<h3>Part</h3>" in text


def test_a_blank_row_head_is_that_of_the_row_above_so_that_rows_can_be_sorted(tmp_path):
    assert len(re.findall("<th scope=row[^>]*>WT", to_html(page(tmp_path)))) == 2


def test_a_number_leads_to_its_explanation_or_to_the_command(tmp_path):
    answer = Answer("answer-1", "Dice", ["Because."], "benchmark explain it")
    linked = to_html(page(tmp_path, [TABLE, answer], {KEY: answer.id}))
    assert '<a href="#answer-1"><b>0.9</b>†</a>' in linked and '<div id="answer-1"><p>Because.' in linked
    assert "explain m" not in linked
    assert "<code>explain m</code>" in to_html(page(tmp_path))


def test_sections_and_tables_fold(tmp_path):
    assert "<details>" not in to_html(page(tmp_path))
    assert "<details><summary>One" in to_html(page(tmp_path, folded=["Power"]))
    assert '<details><summary><h2 id="s-all-of-it">' in to_html(page(tmp_path, hidden=True))


def test_a_figure_is_a_drawing_else_a_picture_and_a_link_where_the_page_would_be_too_large(tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    shown = page(tmp_path, [Figure("a.png", "A figure.")])
    assert 'src="data:image/webp;base64,' in to_html(shown) and 'alt="A figure."' in to_html(shown)
    assert '<a href="a.png">Left out to keep the page small' in to_html(shown, largest=0)
    shape = '<g id="g"><path d="M 1.23456 2"/><text>+0.002 <tspan>p 0.12345</tspan></text></g>'
    (tmp_path / "a.svg").write_text(f'<svg width="9pt" viewBox="0 0 9 9">{shape}</svg>')
    text = to_html(shown)
    named = re.search('aria-labelledby="([^"]*)" width=9pt', text)[1]
    assert f'<figcaption id="{named}">A figure.<' in text and 'd="M1.23 2"' in text and "<img" not in text
    assert "+0.002 <tspan>p 0.12345<" in text


@pytest.mark.parametrize(("metric", "first"), [("dice", "b"), ("hd95", "a")])
def test_cases_go_from_best_to_worst(metric, first):
    scores = table(*(rows(m, {"a": 1.0, "b": 2.0, "c": 1.5}, metric=metric, note="") for m in ("unet", "net")))
    found = cases_table(scores, METRICS[metric])
    assert found.header == ["Case", "Mean", "unet", "net"] and found.rows[0][0] == first
    assert [row[0] for row in found.rows][1] == "c"


def test_a_case_has_its_notes_and_of_many_cases_the_middle_is_left_out():
    found = cases_table(realistic(), METRICS["dice"])
    assert found.header[-1] == "Decided by a rule" and "ET reference empty" in {
        row[-1].split(";")[0] for row in found.rows
    }
    many = table(rows("unet", {f"P{index}": index / 100 for index in range(50)}))
    left = cases_table(many, METRICS["dice"])
    assert len(left.rows) == 40 and left.rows[0][0] == "P49" and left.rows[-1][0] == "P0"
    assert any("10 of 50 cases" in note for note in left.notes)
