import subprocess
import sys

import numpy as np
import pytest
from helpers.results import panel
from helpers.synthetic_scores import realistic, rows, table

from benchmark.report import headline_table, tables
from benchmark.report.document import (
    Bullets,
    Cell,
    Heading,
    Key,
    Table,
    Text,
    in_order,
    keyed_cells,
    say_once,
    table_to_markdown,
    to_markdown,
    to_pages,
)
from benchmark.report.latex import escape, to_latex
from benchmark.report.tables import (
    comparison_table,
    empty_note,
    metric_groups,
    notes_table,
    pairwise_table,
    rules_table,
)
from benchmark.scoring.metrics import METRICS
from benchmark.stats.compare import compare
from benchmark.stats.patients import summarise

BETTER = {name: metric.better for name, metric in METRICS.items()}
COMPARE = {"metrics": ["dice", "hd95"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05}


def hand_made():
    # b beats a in all eight patients; c is b plus 0.01 or minus 0.02, in turn: lower by 0.005, which eight cannot show.
    a = {f"P{index}": 0.6 + index / 100 for index in range(8)}
    gains = {"b": [0.2] * 8, "c": [0.21, 0.18] * 4}
    parts = [rows("a", a), rows("a", {p: 100 * (1 - v) for p, v in a.items()}, metric="hd95")]
    for model, gain in gains.items():
        values = {p: v + g for (p, v), g in zip(a.items(), gain, strict=True)}
        parts += [rows(model, values), rows(model, {p: 100 * (1 - v) for p, v in values.items()}, metric="hd95")]
    return table(*parts)


def made_comparison(pairs="all"):
    scores = hand_made()
    comparisons = compare(scores, {"metrics": ["dice", "hd95"], "pairs": pairs}, BETTER)
    return comparison_table(summarise(scores), comparisons, ["dice", "hd95"], METRICS)


def key(model, metric="dice"):
    return Key(model, metric, "WT", "mean")


def test_the_best_is_bold_where_higher_and_where_lower_is_better():
    found = made_comparison()
    assert found.header == ["Model", "WT", "WT"]
    assert [title for title, _ in found.groups] == ["Dice ↑", "HD95 (mm) ↓"]
    assert found.rows == [
        ["a", Cell("0.635 ± 0.024", mark="†", key=key("a")), Cell("36.5 ± 2.4", mark="†", key=key("a", "hd95"))],
        ["b", Cell("0.835 ± 0.024", True, key=key("b")), Cell("16.5 ± 2.4", True, key=key("b", "hd95"))],
        ["c", Cell("0.830 ± 0.026", key=key("c")), Cell("17.0 ± 2.6", key=key("c", "hd95"))],
    ]
    assert "over all 6 declared comparisons" in found.notes[0]


def test_what_prints_like_the_best_is_bold_too():
    scores = table(rows("a", {"P0": 0.80001, "P1": 0.7}), rows("b", {"P0": 0.8, "P1": 0.7}))
    comparisons = compare(scores, {"metrics": ["dice"]}, BETTER)
    found = comparison_table(summarise(scores), comparisons, ["dice"], METRICS)
    assert [row[1].bold for row in found.rows] == [True, True]


def test_a_pair_that_was_not_declared_is_marked_so():
    found = made_comparison(pairs=[["b", "c"]])
    assert found.rows[0][1].mark == "‡"
    assert found.rows[2][1].mark == ""
    assert "not declared" in found.notes[0]


def test_metrics_that_were_not_declared_have_no_mark_and_say_so():
    scores = realistic()
    comparisons = compare(scores, {"metrics": ["dice"]}, BETTER)
    found = comparison_table(summarise(scores), comparisons, ["iou"], METRICS)
    assert {cell.mark for row in found.rows for cell in row[1:]} == {""}
    assert "no difference here was tested" in found.notes[0]


def test_ids_that_differ_are_listed_by_value_without_wiring():
    loss = {"_target_": "monai.losses.TverskyLoss", "alpha": 0.3, "network": "@network"}
    found = tables.differences_table(
        {
            "batch_size": {"a": 8, "b": 8, "c": 16},
            "loss": {"a": loss, "b": {"_target_": "torch.nn.BCELoss"}, "c": None},
            "metric": {"a": {"dice": {"pick": "$lambda x: x[0]"}}, "b": {"dice": {"pick": "$lambda x: x[1]"}}},
        }
    )
    assert found.rows == [
        ["batch_size", "c", "16"], ["", "all others", "8"],
        ["loss", "a", "TverskyLoss (alpha = 0.3)"], ["", "b", "BCELoss"], ["", "c", "none"],
        ["metric", "a", "{'dice': {'pick': '$lambda x: x[0]'}}"], ["", "b", "{'dice': {'pick': '$lambda x: x[1]'}}"],
    ]  # fmt: skip


def test_empty_masks_are_counted_with_their_rule():
    scores = realistic()
    comparisons = compare(scores, COMPARE, BETTER)
    found = comparison_table(summarise(scores), comparisons, ["dice", "hd95"], METRICS)
    assert "Of 18 cases" in found.notes[1]
    assert "WT 0, TC 0, ET 3" in found.notes[1]
    said = empty_note(summarise(scores), ["dice", "hd95"], METRICS)
    assert said.partition(" Rules")[0] == found.notes[1].partition(" The rules")[0]
    assert "HD95 0 mm if both masks are empty, the volume's diagonal if one is" in said
    counts = notes_table(scores)
    assert counts.rows == [["ET", "reference empty", "3", "0", "0"], ["ET", "both empty", "0", "3", "3"]]
    assert rules_table(["hd95"], METRICS).rows == [
        ["HD95 (mm)", "lower", "1", "0 mm", "the volume's diagonal", "the volume's diagonal"]
    ]


def test_declared_metrics_come_first_and_in_tables_of_their_own():
    assert metric_groups(["hd95"], ["dice", "iou", "accuracy", "hd95"], METRICS) == [
        ["hd95"],
        ["dice", "iou"],
        ["accuracy"],
    ]


def test_pairwise_table_names_the_winner():
    found = pairwise_table(compare(realistic(), COMPARE, BETTER), METRICS["dice"])
    assert len(found.rows) == 9
    by_pair = {tuple(row[:3]): row[-1].text for row in found.rows}
    assert by_pair["WT", "unet", "la_resunet"] == "la_resunet better"
    assert by_pair["WT", "unet", "resunet_tversky"] == "no difference shown"


def test_markdown_of_a_small_table():
    small = Table(
        "One | two.", ["Model", "WT"], [["a_b", Cell("0.9 ± 0.1", bold=True, mark="†")]], [("Dice", 1)], ["N."]
    )
    assert table_to_markdown(small) == (
        "*One \\| two.*\n\n| Model | Dice WT |\n| --- | ---: |\n| a_b | **0.9 ± 0.1**† |\n\n<sub>N.</sub>"
    )
    assert to_markdown([Heading("T", 1), Text("x", bold=True), Bullets(["a", "b"])]) == "# T\n\n**x**\n\n- a\n- b\n"


def test_cells_are_listed_by_what_they_show_and_notes_are_printed_once():
    one, other = Cell("0.9", mark="†", key=Key("m", "dice", "WT")), Cell("1", key=Key("m", "rank", None, "rank"))
    found = Table(
        "C.", ["Region", "Model", "x"], [["WT", "m", one], ["", "n", "-"]], [("G", 1), ("H", 1)], ["N.", "M.", "[1] R."]
    )
    ranks = Table("R.", ["Rank", "Model"], [[other, "m"]], notes=["N.", "[1] R."], name="Order")
    blocks = [Heading("A section"), Heading("A part", 3), found, Heading("More", appendix=True), ranks]
    assert keyed_cells(blocks) == [
        ("report.md", "A section", "WT, m", "H x", "m", "dice", "WT", "mean", "", "0.9†"),
        ("appendix.md", "Order", "m", "Rank", "m", "rank", "", "rank", "", "1"),
    ]
    blank = Table("C.", ["Region", "Model", "x"], [["WT", "m", "-"], ["", "n", one]])
    assert keyed_cells([blank])[0][2] == "WT, n"
    assert [block.notes for block in say_once(blocks) if isinstance(block, Table)] == [
        ["N.", "M.", "[1] R."],
        ["[1] R."],
    ]


def test_a_report_and_its_appendix_are_two_pages_with_links_and_one_article():
    blocks = [Heading("T: a, b", 1), Heading("More & all", appendix=True), Text("m"), Heading("First"), Text("f")]
    ordered = in_order(blocks)
    assert [block.text for block in ordered] == ["T: a, b", "First", "f", "More & all", "m"]
    pages = to_pages(ordered)
    assert pages["report.md"] == "# T: a, b\n\n## First\n\nf\n\n## Appendix\n\n[More & all](appendix.md#more--all).\n"
    assert pages["appendix.md"] == (
        "# T: a, b: appendix\n\nWhat the [report](report.md) leaves out.\n\n## More & all\n\nm\n"
    )
    assert to_pages(blocks[:1] + blocks[3:]).keys() == {"report.md"}
    text = to_latex(ordered)
    assert text.index("section{First}") < text.index("\\appendix\n\\section{More") and text.count("appendix") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% of a_b & {c}", r"50\% of a\_b \& \{c\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("$5 #1 <2>", r"\$5 \#1 \textless{}2\textgreater{}"),
        ("0.9 ± 0.1 ↑", r"0.9 $\pm$ 0.1 $\uparrow$"),
        ("Müller, Dvořák", "Müller, Dvořák"),
        ("ﬁne 脑", "fine ?"),
    ],
)
def test_latex_escapes(text, expected):
    assert escape(text) == expected


def test_latex_table_has_booktabs_and_grouped_headers():
    text = to_latex([Heading("T & U", 1), made_comparison()])
    assert r"\title{T \& U}" in text
    assert r" & \multicolumn{1}{c}{Dice $\uparrow$} & \multicolumn{1}{c}{HD95 (mm) $\downarrow$} \\" in text
    assert r"\cmidrule(lr){2-2}\cmidrule(lr){3-3}" in text
    assert r"b & \textbf{0.835 $\pm$ 0.024} & \textbf{16.5 $\pm$ 2.4} \\" in text
    assert r"a & 0.635 $\pm$ 0.024\textsuperscript{\textdagger{}}" in text
    for part in ("table", "tabular", "document"):
        assert text.count(f"\\begin{{{part}}}") == text.count(f"\\end{{{part}}}") == 1


def test_a_long_table_goes_over_pages():
    text = to_latex([Table("Long.", ["A", "B"], [["x", "y"]] * 60)])
    assert r"\begin{longtable}{ll}" in text
    assert r"\begin{table}" not in text


def test_overlay_shows_labels_and_leaves_the_image_elsewhere():
    from benchmark.report.figures import _brain_box, _painted

    one = panel()
    painted = _painted(np.full((60, 60), 0.5), one.truth, {1: "#FF0000", 2: "#0000FF"})
    assert painted[0, 0].tolist() == [0.5, 0.5, 0.5]
    assert painted[30, 35].tolist() == pytest.approx([0.225 + 0.55, 0.225, 0.225])
    assert painted[30, 45].tolist() == pytest.approx([0.225, 0.225, 0.225 + 0.55])
    assert _brain_box(one.image, one.truth, one.prediction) == (slice(2, 59), slice(2, 59))


def test_headline_is_a_small_table_with_bold_and_source():
    scores = realistic()
    text = headline_table(scores, compare(scores, COMPARE, BETTER), METRICS, phantom=True)
    assert text.startswith("*PHANTOM data, not patients. Dice by model and region, mean ± SD over 18 patients.*")
    assert "| Model | Dice ↑ WT | Dice ↑ TC | Dice ↑ ET |" in text
    (best,) = [line for line in text.splitlines() if line.startswith("| la_resunet")]
    assert best.count("**") == 6
    assert "HD95" not in text


def test_statistics_and_reports_load_without_torch_and_without_matplotlib():
    code = (
        "import sys, benchmark.stats, benchmark.report, benchmark.results.check, benchmark.results.page;"
        "print(sorted({'torch', 'monai', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_markdown_makes_no_link_or_picture_of_a_name():
    text = to_markdown([Text("[a](javascript:x) ![b](http://example.org/b.png) <img> [c][d]")])
    assert text == "[a]\\(javascript:x) ![b]\\(http://example.org/b.png) \\<img> [c][d]\n"
