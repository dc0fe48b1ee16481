"""Set each number of a paper's tables beside ours, with a verdict, and list what the printed numbers imply."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.papers.cells import NONE, NOT_RUN, Reasons, key_of, keyed, place_of, value_cells
from benchmark.papers.implied import VERDICTS, Finding, summary
from benchmark.papers.published import Value, cell
from benchmark.papers.tracks import tracks
from benchmark.papers.values import WIDEST, Ours, Paper, columns_of, declared_tests, ours
from benchmark.report.document import Block, Bullets, Cell, Heading, Key, Table, Text
from benchmark.report.tables import p_value, short
from benchmark.scoring.metrics import METRICS
from benchmark.studies.study import Study

RULE = (
    "A printed number stands for every number that rounds to it. lower, higher: our whole 95% interval lies below or "
    "above these numbers. reproduced: our interval overlaps them, and its half-width is at most "
    f"{WIDEST['']:g} ({100 * WIDEST['']:g} percentage points; {WIDEST['mm']:g} mm for distances); a wider interval "
    "would overlap nearly any number and gives no verdict. Our intervals are bootstrap intervals over patients, with "
    "seeds averaged first."
)
HEADER = ("Row", "Our model", "Column", "Printed", "Ours", "95% CI", "Difference", "Verdict")
NO_MODEL = "none of ours"


def sections(paper: Paper, figures: Sequence[Block], findings: Sequence[Finding], study: Study) -> list[Block]:
    """The paper's tables and figures beside ours, and what its numbers imply, as sections of a report."""
    about = paper.published.paper
    blocks: list[Block] = [
        Heading("The paper's tables"),
        Bullets([f"{', '.join(about['authors'])}: {about['title']}.", f"Its data: {about['data']}.",
                 f"Its split: {about['split']}."]),
    ]  # fmt: skip
    blocks += [
        _layers(table) if table["kind"] == "layers" else paper_table(paper, table) for table in paper.published.tables
    ]
    blocks += tracks(paper, study)
    if figures:
        blocks += [Heading("The paper's figures"), *figures]
    return [*blocks, Heading("What the printed numbers imply"), *implied_blocks(findings)]


def _layers(table: Mapping[str, Any]) -> Text:
    return Text(
        f"{table['id']} ({table['where']}): {table['caption']}. It lists layers and shows no result, so none of our "
        "numbers stand beside it; what its rows imply is listed below."
    )


def paper_table(paper: Paper, table: Mapping[str, Any]) -> Table:
    """One printed table beside ours, by its kind."""
    match table["kind"]:
        case "settings":
            return settings_table(table, paper.settings.get(table.get("model", ""), {}))
        case "significance":
            return significance_table(paper, table)
        case _:
            return score_table(paper, table)


def score_table(paper: Paper, table: Mapping[str, Any]) -> Table:
    """A row for every printed number: as printed, ours with its interval, the difference and the verdict."""
    reasons, rows = Reasons(paper.why_not), list[list[str | Cell]]()
    for row in table["rows"]:
        model = row.get("model") or ("" if "none" in row else table.get("model", ""))
        for index, column, name in columns_of(table):
            text = row["values"][index]
            if text is None:
                continue
            printed, place = cell(column, text), place_of(row, name)
            found = ours(paper, model, column, place) if model and _measured(column) else None
            why = _reason(paper, row, column, model, found, printed)
            label = "Accuracy" if place == ("accuracy", "accuracy") else column["name"]
            cells = value_cells(printed, column, found, why, reasons, key_of(paper, model, column, row))
            rows.append([row["label"], model or NO_MODEL, label, text, *cells])
    return Table(_caption(table), HEADER, rows, notes=[RULE, *_how(table), *reasons.notes])


def _measured(column: Mapping[str, Any]) -> bool:
    """Whether ours can be computed for a column, comparable or not."""
    return "history" in column or "metric" in column or column.get("aggregate") == "slices"


def _reason(
    paper: Paper,
    row: Mapping[str, Any],
    column: Mapping[str, Any],
    model: str,
    found: Ours | None,
    printed: Value | None,
) -> str:
    if "none" in column:
        return str(column["none"])
    if "none" in row:
        return str(row["none"])
    if not model:
        return "no model of ours"
    if found is None:
        return NOT_RUN if model not in paper.models else "not scored"
    if printed is None:
        return "nothing printed"
    return paper.why_not or ("measure uncertain, see below" if "if" in column else "")


def _caption(table: Mapping[str, Any]) -> str:
    return f"{table['id']} ({table['where']}): {table['caption']}; printed beside ours."


def _how(table: Mapping[str, Any]) -> list[str]:
    kinds = {column.get("aggregate") for column in table["columns"]}
    means = any(column.get("regions") == "mean" for column in table["columns"] if column.get("aggregate") == "patients")
    return [
        *(
            ["Ours is the mean over patients" + (" of the mean over regions." if means else ".")]
            * ("patients" in kinds)
        ),
        *(["Ours is computed from pixel counts pooled over the test set."] * ("pooled" in kinds)),
        *(["Ours is computed from slice counts pooled over the test set."] * ("slices" in kinds)),
        *(f"{c['name']}: the same measure as ours only if {c['if']}." for c in table["columns"] if "if" in c),
    ]


def significance_table(paper: Paper, table: Mapping[str, Any]) -> Table:
    """Mean and SD beside ours, and the printed p beside Holm's p of our paired tests against the reference."""
    reasons, rows, reference = Reasons(paper.why_not), list[list[str | Cell]](), table["reference"]
    for row in table["rows"]:
        model = row.get("model", "")
        for index, column, name in columns_of(table):
            text, label = row["values"][index], column["name"]
            if name == "p":
                key = key_of(paper, model, column, row)
                cells = _tested(paper, column, text, key, reference, reasons)
                label += " (ours: over patients)"
            else:
                printed = cell(column, text)
                found = ours(paper, model, column) if model else None
                why = _reason(paper, row, column, model, found, printed)
                cells = value_cells(printed, column, found, why, reasons, key_of(paper, model, column, row))
            rows.append([row["label"], model or NO_MODEL, label, text, *cells])
    notes = [
        RULE, *_how(table), "The printed SD is said to be over runs, ours is over patients.",
        "The paper says that its means are over runs and does not say what its p values are over; ours are over "
        "patients, which answers another question.",
        f"Our p: the study's paired test against {reference} per region, corrected by Holm; \"against\" marks a mean "
        f"difference that does not favour {reference}. reproduced: in every region p meets the printed bound in favour "
        f"of {reference}; contrary: in some region it meets the bound against {reference}; higher: in some region it "
        "does not meet the bound.",
        *reasons.notes,
    ]  # fmt: skip
    return Table(_caption(table), HEADER, rows, notes=notes)


def _tested(
    paper: Paper, column: Mapping[str, Any], text: str, key: Key, reference: str, reasons: Reasons
) -> list[str | Cell]:
    """Ours for a printed p, the two cells that it has nothing for, and the verdict."""
    model = key.model
    bound, own = cell(column, text), declared_tests(paper.comparisons, model, reference, column)
    if model == reference or own.empty:
        run = {model, reference} <= set(paper.models)
        why = "the reference itself" if model == reference else "this pair was not declared" if run else NOT_RUN
        return [why, NONE, NONE, reasons.cell(why)]
    sign = 1 if METRICS[column["metric"]].better == "higher" else -1
    shown, met, contrary = [], [], []
    for row in own.to_dict("records"):
        gain = sign * (row["difference"] if row["model_a"] == reference else -row["difference"])
        shown.append(f"{row['region']} {p_value(row['p_holm'])}{'' if gain > 0 else ' against'}")
        met.append(bound is not None and row["p_holm"] < bound.number)
        contrary += [row["region"]] * (met[-1] and gain <= 0)
    would_be = "reproduced" if all(met) else "higher"
    if contrary:
        would_be = f"contrary in {', '.join(contrary)}"
    why = "nothing printed" if bound is None else paper.why_not
    said = reasons.cell(why, would_be if bound else "") if why else would_be
    return [
        keyed(", ".join(shown), key, "p_holm", reference), "none: a p", "none: a p",
        keyed(said, key, "verdict", reference),
    ]  # fmt: skip


def settings_table(table: Mapping[str, Any], values: Mapping[str, Any]) -> Table:
    """Printed settings beside those of our model's config, by id."""
    rows: list[list[str | Cell]] = []
    for row in table["rows"]:
        (text,) = row["values"]
        value = values.get(row.get("config", ""))
        shown = short(value) if value is not None else "none" if "config" not in row else "no such id"
        shown = shown if values or "config" not in row else "not run"
        if "none" in row:
            said = f"not comparable: {row['none']}"
        elif value is None:
            said = f"not comparable: {'no such id' if values else 'not run'}"
        else:
            said = "same" if _alike(text, value) else "differs"
        rows.append([row["label"], text, row.get("config", "none"), said, shown])
    header = ["Setting", "Printed", "Id", "Verdict", "Ours"]
    note = "same: equal numbers, or every printed word occurs in ours."
    caption = f"{table['id']} ({table['where']}): {table['caption']}; printed beside {table.get('model', 'our model')}."
    return Table(caption, header, rows, notes=[note])


def _alike(text: str, value: Any) -> bool:
    number = cell({"name": ""}, text)
    if number is not None and isinstance(value, int | float):
        return abs(number.number - value) <= 1e-9 * max(1.0, abs(value))
    if isinstance(value, list | tuple) and all(isinstance(part, int) for part in value):
        return [int(part) for part in re.findall(r"\d+", text)] == list(value)
    words = [word.lower()[:4] for word in re.findall(r"[A-Za-z][A-Za-z0-9]*", text)]
    return all(word in short(value).lower() for word in words)


def implied_blocks(findings: Sequence[Finding]) -> list[Block]:
    """All findings in one table, contradictions first, and how many there are of each verdict."""
    if not findings:
        return [Text("No relation among the printed numbers could be checked.")]
    rows: list[list[str | Cell]] = [
        [finding.verdict, finding.relation,
         f"{finding.where}. Printed: {finding.printed}. Follows: {finding.follows}. {finding.sentence}"]
        for verdict in VERDICTS for finding in findings if finding.verdict == verdict
    ]  # fmt: skip
    return [
        Text(
            f"{summary(findings)} A contradiction means that the printed numbers cannot all be what they are called; a "
            "conditional one means so only if the assumption at the end of its sentence holds, which the paper does "
            "not state. Neither says which number is wrong, or why."
        ),
        Table("Relations among the printed numbers.", ["Verdict", "Relation", "Numbers"], rows, wrap=True, pages=True),
    ]
