"""A paper's printed tables and a study's scores to tables that set each printed number beside ours, with a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.implied import VERDICTS, Finding, summary
from benchmark.published import Interval, Value, cell
from benchmark.records import declared_name
from benchmark.report.document import Block, Bullets, Cell, Heading, Table, Text
from benchmark.report.paper_layers import layer_table, settings_table
from benchmark.report.paper_values import Ours, Paper, columns_of, decimals, difference, ours, verdict
from benchmark.report.tables import p_value

RULE = (
    "A printed number stands for all that round to its last digit. reproduced: that interval meets our 95% interval; "
    "lower, higher: ours lies wholly below or above it. Ours: bootstrap intervals over patients, seeds averaged first."
)
NOT_RUN = "not run"
INLINE = 34
"""Longest reason that stands in a cell; longer ones are numbered and stand below the table."""


class Reasons:
    """Reasons why numbers are not comparable, numbered below a table where they are long."""

    def __init__(self, why_not: str) -> None:
        self.why_not, self.long = why_not, list[str]()

    def cell(self, reason: str, would_be: str = "") -> str:
        """Verdict of a number that is not comparable; ``would_be`` is what the rule says of it."""
        rule = f" (would be: {would_be})" if would_be and not would_be.startswith("not") else ""
        if len(reason) <= INLINE and reason != self.why_not:
            return f"not comparable: {reason}{rule}"
        if reason != self.why_not and reason not in self.long:
            self.long.append(reason)
        mark = "" if reason == self.why_not else f" [{self.long.index(reason) + 1}]"
        return f"not comparable{mark}{rule}"

    @property
    def notes(self) -> list[str]:
        """Sentences for below the table."""
        found = [f"not comparable, all of this study: {self.why_not}"] if self.why_not else []
        return [*found, *(f"[{number}] {reason}." for number, reason in enumerate(self.long, 1))]


def sections(
    paper: Paper, figures: Sequence[Block], findings: Sequence[Finding], study: Mapping[str, Any]
) -> list[Block]:
    """The paper's tables and figures beside ours, and what its numbers imply, as sections of a report."""
    about = paper.published.content["paper"]
    blocks: list[Block] = [
        Heading("The paper's tables"),
        Bullets([f"{', '.join(about['authors'])}: {about['title']}.", f"Its data: {about['data']}.",
                 f"Its split: {about['split']}."]),
    ]  # fmt: skip
    blocks += [paper_table(paper, table) for table in paper.published.tables]
    blocks += tracks(paper, study)
    if figures:
        blocks += [Heading("The paper's figures"), *figures]
    return [*blocks, Heading("What the printed numbers imply"), *implied_blocks(findings)]


def paper_table(paper: Paper, table: Mapping[str, Any]) -> Table:
    """One printed table beside ours, by its kind."""
    match table["kind"]:
        case "layers":
            return layer_table(table, paper.layers)
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
            printed, place = cell(column, text), _place(row, name)
            found = ours(paper, model, column, place) if model and "none" not in column else None
            why = _reason(paper, row, column, model, found, printed)
            label = "Accuracy" if place == ("accuracy", "accuracy") else column["name"]
            rows.append([row["label"], model or "-", label, text, *_cells(printed, column, found, why, reasons)])
    header = ["Row", "Our model", "Column", "Printed", "Ours", "95% CI", "Difference", "Verdict"]
    return Table(_caption(table), header, rows, notes=[RULE, *_how(table), *reasons.notes])


def _place(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    kind = row.get("role", "")
    if kind == "class":
        return str(row["class"]), name
    # The accuracy of a report stands in one of the columns of its measures.
    return (kind, "accuracy") if kind == "accuracy" and name in ("precision", "recall", "f1") else (kind, name)


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
    return paper.why_not or ("measure not sure, see below" if "if" in column else "")


def _cells(
    printed: Value | None, column: Mapping[str, Any], found: Ours | None, why: str, reasons: Reasons
) -> list[str]:
    """Ours, its interval, the difference and the verdict; a dash where there is none, the reason in the verdict."""
    would_be = verdict(printed.interval, found) if printed and found else ""
    said = reasons.cell(why, would_be) if why else would_be
    if found is None:
        return ["-", "-", "-", said]
    percent = printed.percent if printed else column.get("unit") == "%"
    scale, digits = (100.0 if percent else 1.0), decimals(printed, column)
    interval = "-" if math.isnan(found.low) else f"{found.low * scale:.{digits}f} to {found.high * scale:.{digits}f}"
    gap = "-" if printed is None else f"{(found.value - printed.number) * scale:+.{digits}f}"
    return [f"{found.value * scale:.{digits}f}", interval, gap, said]


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
        *(["Ours is computed from counts of pixels that are pooled over the test set."] * ("pooled" in kinds)),
        *(["Ours is computed from counts of slices that are pooled over the test set."] * ("slices" in kinds)),
        *(f"{c['name']}: the same measure as ours only if {c['if']}." for c in table["columns"] if "if" in c),
    ]


def significance_table(paper: Paper, table: Mapping[str, Any]) -> Table:
    """Mean and SD beside ours, and the printed p beside Holm's p of our paired tests against the reference."""
    reasons, rows, reference = Reasons(paper.why_not), list[list[str | Cell]](), table["reference"]
    for row in table["rows"]:
        model = row.get("model", "")
        for index, column, name in columns_of(table):
            text = row["values"][index]
            if name == "p":
                rows.append(
                    [
                        row["label"],
                        model or "-",
                        column["name"],
                        text,
                        *_tested(paper, column, text, model, reference, reasons),
                    ]
                )
                continue
            printed = cell(column, text)
            found = ours(paper, model, column) if model else None
            cells = _cells(printed, column, found, _reason(paper, row, column, model, found, printed), reasons)
            if found and not math.isnan(found.sd):
                cells[0] += f" ± {found.sd:.{decimals(printed, column)}f}"
            rows.append([row["label"], model or "-", column["name"], text, *cells])
    header = ["Row", "Our model", "Column", "Printed", "Ours", "95% CI", "Difference", "Verdict"]
    notes = [
        RULE, *_how(table), "The printed SD is said to be over runs, ours is over patients.",
        f"Ours for p: the study's paired test against {reference}, by region, corrected by Holm; reproduced if every "
        "region's p meets the printed bound, else higher.",
        *reasons.notes,
    ]  # fmt: skip
    return Table(_caption(table), header, rows, notes=notes)


def _tested(
    paper: Paper, column: Mapping[str, Any], text: str, model: str, reference: str, reasons: Reasons
) -> list[str]:
    if model == reference:
        return ["-", "-", "-", "not comparable: the reference itself"]
    tests = paper.comparisons
    tests = tests[(tests["metric"] == column["metric"]) & (tests["n_patients"] > 0)] if len(tests) else tests
    pairs = [
        {a, b} == {model, reference} for a, b in zip(tests.get("model_a", ()), tests.get("model_b", ()), strict=True)
    ]
    own = tests[pd.Series(pairs, index=tests.index, dtype=bool)]
    if own.empty:
        run = {model, reference} <= set(paper.models)
        return ["-", "-", "-", reasons.cell("this pair was not declared" if run else NOT_RUN)]
    shown = ", ".join(f"{row['region']} {p_value(row['p_holm'])}" for row in own.to_dict("records"))
    bound = cell(column, text)
    would_be = "" if bound is None else "reproduced" if (own["p_holm"] < bound.number).all() else "higher"
    said = reasons.cell(paper.why_not, would_be) if paper.why_not else would_be
    return [shown, "-", "-", said]


def native_of(study: Mapping[str, Any]) -> dict[str, str]:
    """Map a model of the track ``identical`` to the one of its bundle under its own recipe, where a study has both."""
    names = {declared_name(m): m for m in study["models"]}
    own = {m["bundle"]: name for name, m in names.items() if m.get("track") == "native"}
    return {
        name: own[m["bundle"]] for name, m in names.items()
        if m["bundle"] in own and m.get("track") != "native" and m.get("variant", "default") == "default"
    }  # fmt: skip


def tracks(paper: Paper, study: Mapping[str, Any]) -> list[Block]:
    """Tables of models under the one protocol beside the same models under their own recipes."""
    native, blocks = native_of(study), list[Block]()
    for table in paper.published.tables:
        rows = list[list[str | Cell]]()
        for row in table["rows"] if table["kind"] == "scores" else ():
            first = row.get("model", "")
            for index, column, _ in columns_of(table) if first in native else ():
                rows += _track_row(paper, row, column, row["values"][index], first, native[first])
        if rows:
            header = ["Row", "Column", "Printed", "Identical", "Native", "Native - identical", "95% CI", "Verdict"]
            note = "Verdict: on the difference, by whether its 95% interval holds 0. Native: each under its own recipe."
            caption = f"{table['id']}: one protocol for all models beside each model's own recipe."
            blocks.append(Table(caption, header, rows, notes=[note]))
    return blocks


def _track_row(
    paper: Paper, row: Mapping[str, Any], column: Mapping[str, Any], text: str | None, first: str, second: str
) -> list[list[str | Cell]]:
    if "none" in column or text is None:
        return []
    printed = cell(column, text)
    scale, digits = (100.0 if printed and printed.percent else 1.0), decimals(printed, column)
    found = [ours(paper, model, column) for model in (first, second)]
    values = [f"{one.value * scale:.{digits}f}" if one else "-" for one in found]
    gap = difference(paper, first, second, column)
    if gap is None:
        return [[row["label"], column["name"], text, *values, "-", "-", f"not comparable: {NOT_RUN}"]]
    return [[row["label"], column["name"], text, *values, *gap_cells(gap, "native", scale, digits)]]


def gap_cells(gap: Ours, name: str, scale: float = 1.0, digits: int = 3) -> list[str]:
    """A difference, its interval, and whether the interval shows that ``name`` is higher or lower."""
    if math.isnan(gap.low):
        return [f"{gap.value * scale:+.{digits}f}", "-", "no interval: fewer than two patients"]
    shown = "no difference shown"
    if not Interval(gap.low, gap.high).meets(Interval(0.0, 0.0)):
        shown = f"{name} higher" if gap.low > 0 else f"{name} lower"
    interval = f"{gap.low * scale:+.{digits}f} to {gap.high * scale:+.{digits}f}"
    return [f"{gap.value * scale:+.{digits}f}", interval, shown]


def implied_blocks(findings: Sequence[Finding]) -> list[Block]:
    """All findings in one table, contradictions first, and how many there are of each verdict."""
    if not findings:
        return [Text("The printed numbers stand in no relation that is checked.")]
    rows: list[list[str | Cell]] = [
        [finding.verdict, finding.relation,
         f"{finding.where}. Printed: {finding.printed}. Follows: {finding.follows}. {finding.sentence}"]
        for verdict in VERDICTS for finding in findings if finding.verdict == verdict
    ]  # fmt: skip
    return [
        Text(
            f"{summary(findings)} A contradiction says that the printed numbers cannot all be what they are called. A "
            "conditional one says so only if the assumption that ends its sentence holds, which the paper does not "
            "state. Neither says which number is off, or why."
        ),
        Table("Relations among the printed numbers.", ["Verdict", "Relation", "Numbers"], rows, wrap=True, pages=True),
    ]
