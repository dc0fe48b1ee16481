"""Set each number of a paper's tables beside ours, with a verdict, and list what the printed numbers imply."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from benchmark.papers.implied import VERDICTS, Finding, summary
from benchmark.papers.published import PrintedTable, Published, cell, models_of, role
from benchmark.papers.risks import risk_blocks
from benchmark.papers.values import (
    WIDEST,
    Ours,
    Paper,
    Place,
    declared_tests,
    difference,
    is_accuracy,
    majority,
    ours,
    places,
    verdict,
)
from benchmark.report.costs import SCALE, SHOWN, number
from benchmark.report.document import Block, Bullets, Cell, Heading, Key, Table, Text, cells_of
from benchmark.report.tables import NONE, SHUT, correction, gap_cells, p_value, short
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import METRICS
from benchmark.stats.compare import gate_shut
from benchmark.stats.seeds import TWO_LEVEL
from benchmark.studies.study import Study, apart, split_of

RULE = (
    "A printed number stands for every number that rounds to it. lower, higher: our whole 95% interval lies below or "
    "above these numbers. reproduced: our interval overlaps them, and its half-width is at most "
    f"{WIDEST['']:g} ({100 * WIDEST['']:g} percentage points; {WIDEST['mm']:g} mm for distances); a wider interval "
    "would overlap nearly any number and gives no verdict. if: only if what the number names is as it is here, which "
    "the paper does not state."
)
INTERVALS = "Our intervals are bootstrap intervals over patients, with seeds averaged first."
WORDS = ("lower", "higher", "reproduced", "contrary")
"""Words that a verdict begins with."""
HEADER = ("Row", "Our model", "Column", "Printed", "Ours", "95% CI", "Difference", "Verdict")
NO_MODEL = "none of ours"
TRACK_HEADER = ("Row", "Column", "Printed", "Identical", "Native", "Native - identical", "95% CI", "Holm p", "Result")
TRACK_NOTE = (
    "Identical: the one protocol of all models; native: each model's own recipe. Difference and interval are of the "
    "same mean over regions as the column."
)
NOT_RUN = "not run"
GRAVE = VERDICTS[:2]
"""Verdicts on relations of printed numbers that are listed first: contradictions, and what no number supports."""
INLINE = 34
"""Longest reason that stands in a cell; longer ones are numbered and stand below the table."""


class Verdicts:
    """Verdicts on printed numbers; what forbids one or is taken for granted is numbered, each reason once a report."""

    def __init__(self, paper: Paper) -> None:
        self.paper, self.reasons, self.printed = paper, list[str](), 0

    def of_table(self, table: PrintedTable, models: Sequence[str], said: str, measure: str = "") -> str:
        """What the rule ``said`` of our models' numbers, unless facts forbid it; ``measure`` is one more condition."""
        if forbidden := self.forbidden(models, table):
            return f"not comparable {forbidden}"
        needed = dict.fromkeys(one for name in models for one in self.paper.conditions(name, table))
        conditions = [*needed, *[measure] * bool(measure)]
        if said.startswith("not comparable") or not conditions:
            return said
        return f"{said} if {self.mark('as here, which the paper does not state: ' + '; '.join(conditions))}"

    def forbidden(self, models: Sequence[str], table: PrintedTable | None = None) -> str:
        """The mark of what forbids a verdict on a table, or on the paper, from these models; empty for nothing."""
        facts = dict.fromkeys(one for name in models for one in self.paper.forbidding(name, table))
        return self.mark(f"no verdict on the paper: {'; '.join(facts)}") if facts else ""

    def because(self, reason: str) -> str:
        """The verdict on a number that has a reason of its own not to be comparable."""
        short = self.short(reason)
        return f"not comparable{': ' if short == reason else ' '}{short}"

    def short(self, reason: str) -> str:
        """The reason, or where it is long its number."""
        return reason if len(reason) <= INLINE else self.mark(reason)

    def mark(self, reason: str) -> str:
        """The number of a reason, in brackets."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"[{self.reasons.index(reason) + 1}]"

    def notes(self) -> list[str]:
        """Sentences for below a table: the reasons that no table before it has printed."""
        first, self.printed = self.printed, len(self.reasons)
        return [f"[{first + place}] {reason}." for place, reason in enumerate(self.reasons[first:], 1)]


def sections(
    paper: Paper, verdicts: Verdicts, figures: Sequence[Block], findings: Sequence[Finding], study: Study
) -> list[Block]:
    """The paper's tables and figures beside ours, and what its numbers imply, as sections of a report."""
    about = paper.published.paper
    said = [f"{', '.join(about['authors'])}: {about['title']}."]
    said += [f"Its data: {about['data']}.", f"Its split: {about['split']}."]
    said += _assumed(paper, study)
    tables, no_results = list[Block](), list[Block]()
    for table in paper.published.tables:
        if table["kind"] in ("settings", "layers"):
            no_results.append(_layers(table) if table["kind"] == "layers" else paper_table(paper, table))
        else:
            tables.append(paper_table(paper, table, verdicts))
    grave, rest = implied_blocks(findings)
    parts: list[tuple[str, Sequence[Block]]] = [
        ("The paper's tables", [Bullets(said), *tables]), ("The paper's figures", figures),
        ("What the printed numbers imply", grave), ("What else the printed numbers imply", rest),
        ("The paper's settings", no_results), ("Under one protocol and under own recipes", tracks(paper, study)),
        ("What the paper says of cost", overheads(paper)),
    ]  # fmt: skip
    return [block for title, part in parts if part for block in (Heading(title), *part)] + risk_blocks(paper)


def _assumed(paper: Paper, study: Study) -> list[str]:
    """What models do that the paper leaves open, models with the same list of it together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for model in study.models:
        if model.assumes:
            unit = "as published" if split_of(study, model) == "published" else f"by {split_of(study, model)}"
            found.setdefault(model.assumes, []).append(f"{model.name} (split {unit})")
    return [
        f"Assumed where the paper is silent, besides the split: {'; '.join(what)}. So {' and '.join(models)}."
        for what, models in found.items()
    ]


def _layers(table: Mapping[str, Any]) -> Text:
    return Text(
        f"{table['id']} ({table['where']}): {table['caption']}. It lists layers and shows no result, so none of our "
        "numbers stand beside it; what its rows imply is listed among the relations."
    )


def paper_table(paper: Paper, table: PrintedTable, verdicts: Verdicts | None = None) -> Table:
    """A row for every printed number: as printed, ours with its interval, the difference and the verdict.

    A printed p stands beside Holm's p of our paired tests against the table's reference, a setting beside our config's,
    and below each accuracy what always naming the more frequent class would reach.
    """
    if table["kind"] == "settings":
        return settings_table(table, paper.settings.get(str(table.get("model", "")), {}))
    verdicts, rows = verdicts or Verdicts(paper), list[list[str | Cell]]()
    over, unrun = _over(paper.comparisons), _unrun(paper, table)
    for place in (one for one in places(table) if one.model not in unrun):
        label = place.column["name"]
        if table["kind"] == "significance" and role(place.column) == "p":
            cells = _tested(paper, place, table, verdicts)
            label += f" (ours: {over})"
        else:
            cells = _value_cells(paper, place, table, verdicts)
            label = "Accuracy" if place.report_cell == ("accuracy", "accuracy") else label
        rows.append([place.row["label"], place.model or NO_MODEL, label, place.text, *cells])
    ruled = any(str(getattr(row[-1], "text", row[-1])).startswith(WORDS) for row in rows)
    notes = [*[RULE] * ruled, INTERVALS, *_how(table), *two_networks(paper.published, table)]
    if table["kind"] == "significance":
        notes += _of_significance(paper, table, over)
    notes += [f"To stand here too, and not run: {', '.join(unrun)}."] * bool(unrun)
    caption = f"{table['id']} ({table['where']}): {table['caption']}; printed beside ours."
    rows += _majority_rows(paper, table)
    return Table(caption, HEADER, rows, notes=[*notes, *verdicts.notes()], name=table["id"])


def _unrun(paper: Paper, table: PrintedTable) -> list[str]:
    """Models without scores of rows that another model of ours stands beside."""
    several = [names for row in table["rows"] if len(names := models_of(row, table)) > 1]
    some = [names for names in several if {*names} & {*paper.models}]
    return list(dict.fromkeys(name for names in some for name in names if name not in paper.models))


def _reason(paper: Paper, place: Place, found: Ours | None) -> str:
    """Why a printed number and ours are not comparable whatever the facts, empty where they may be."""
    if why := place.column.get("none") or place.row.get("none"):
        return str(why)
    if not place.model:
        return "no model of ours"
    if found is None:
        return NOT_RUN if place.model not in paper.models else "not scored"
    return "" if place.printed else "nothing printed"


def _majority_rows(paper: Paper, table: PrintedTable) -> list[list[str | Cell]]:
    """For each accuracy, what always naming the more frequent class would reach, and whose accuracy is no higher."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for place in places(table):
        found = ours(paper, place.model, place.column, place.report_cell) if place.model else None
        always = majority(paper, place) if is_accuracy(place) and found else None
        if found and always and "none" not in place.column:
            label = "Accuracy" if place.report_cell == ("accuracy", "accuracy") else place.column["name"]
            text = f"{always[1] * place.scale:.{max(place.decimals, 1)}f}"
            below = lines.setdefault((always[0], label, text), [])
            below += [place.model] * (found.value <= always[1] and place.model not in below)
    return [
        [f"Always naming {name}", NO_MODEL, label, NONE, text, NONE, NONE,
         f"no higher: {', '.join(below)}" if below else "all of ours are higher"]
        for (name, label, text), below in lines.items()
    ]  # fmt: skip


def two_networks(published: Published, table: PrintedTable) -> list[str]:
    """Sentences on printed numbers of one name in several tables that are of different networks here."""
    found = {}
    for relation in published.relations:
        if relation["kind"] != "equal":
            continue
        by_model: dict[str, str] = {}
        for place, one in product(relation["values"], published.tables):
            for row in (row for row in one["rows"] if place.startswith(f"{one['id']}/{row['label']}/")):
                for model in models_of(row, one)[:1]:
                    by_model.setdefault(model, f"{one['id']}, {row['label']}")
        if len(by_model) > 1 and any(said.startswith(f"{table['id']}, ") for said in by_model.values()):
            parts = [f"{model} ({said})" for model, said in by_model.items()]
            found[tuple(sorted(by_model))] = (
                f"Two networks here, though perhaps one in the paper: {' and '.join(parts)}."
            )
    return list(found.values())


def _how(table: Mapping[str, Any]) -> list[str]:
    columns = [one for column in table["columns"] for one in (column, column.get("or")) if one]
    kinds = {column.get("aggregate") for column in columns}
    means = any(column.get("regions") == "mean" for column in columns if column.get("aggregate") == "patients")
    said = {
        "patients": "Ours is the mean over patients" + (" of the mean over regions." if means else "."),
        "pooled": "Ours is computed from pixel counts pooled over the test set.",
        "slices": "Ours is computed from slice counts pooled over the test set.",
    }
    unsure = [f"{c['name']}: the same measure as ours only if {c['if']}." for c in columns if "if" in c]
    return [sentence for kind, sentence in said.items() if kind in kinds] + unsure


def _over(comparisons: pd.DataFrame) -> str:
    """What the study's p values are over."""
    several = not comparisons.empty and set(comparisons["test"]) == {TWO_LEVEL}
    return "over patients and trainings" if several else "over patients"


def _of_significance(paper: Paper, table: PrintedTable, over: str) -> list[str]:
    seeds, reference = paper.rows["seed"].nunique(), table["reference"]
    runs = any(column.get("spread") == "runs" for column in table["columns"])
    spread = "The printed SD is said to be over runs; "
    if runs and seeds > 1:
        spread += f"ours is over {seeds} seeds, of the mean over all patients."
    elif runs:
        spread += "ours has none, as there is one seed."
    else:
        spread += "ours is over patients."
    return [
        spread,
        f"The paper does not say what its p values are over; ours are {over}"
        + (", which answers another question than one over runs." if over == "over patients" else "."),
        f'Our p: the study\'s paired test against {reference} per region, corrected by Holm; "against" marks a mean '
        f"difference that does not favour {reference}.",
    ]


def _tested(paper: Paper, place: Place, table: PrintedTable, verdicts: Verdicts) -> list[str | Cell]:
    """Ours for a printed p, the two cells that it has nothing for, and the verdict.

    reproduced: in every region p meets the printed bound in favour of the reference; contrary: in some region it meets
    it against the reference; higher: in some region it does not meet it.
    """
    model, bound, key, reference = place.model, place.printed, key_of(place, place.model), table["reference"]
    own = declared_tests(paper.comparisons, model, reference, place.column)
    if model == reference or own.empty:
        run = {model, reference} <= set(paper.models)
        why = "the reference itself" if model == reference else "this pair was not declared" if run else NOT_RUN
        return [why, NONE, NONE, verdicts.because(why)]
    sign = 1 if METRICS[place.column["metric"]].better == "higher" else -1
    shown, met, contrary = [], [], []
    for row in own.to_dict("records"):
        gain = sign * (row["difference"] if row["model_a"] == reference else -row["difference"])
        shown.append(f"{row['region']} {p_value(row['p_holm'])}{'' if gain > 0 else ' against'}")
        met.append(bound is not None and row["p_holm"] < bound.number)
        contrary += [row["region"]] * (met[-1] and gain <= 0)
    said = "reproduced" if all(met) else "higher"
    if contrary:
        said = f"contrary in {', '.join(contrary)}"
    said = verdicts.of_table(table, [model, reference], said) if bound else verdicts.because("nothing printed")
    p, of_p = cells_of(replace(key, against=reference), {"p_holm": ", ".join(shown), "verdict": said})
    return [p, "none: a p", "none: a p", of_p]


def settings_table(table: Mapping[str, Any], values: Mapping[str, Any]) -> Table:
    """Printed settings beside those of our model's config, by id."""
    rows: list[list[str | Cell]] = []
    for row in table["rows"]:
        (text,) = row["values"]
        value, missing = values.get(row.get("config", "")), "no such id" if values else NOT_RUN
        shown = short(value) if value is not None else missing if "config" in row else "none"
        if "none" in row or value is None:
            said = f"not comparable: {row.get('none', missing)}"
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


def native_of(study: Study) -> dict[str, str]:
    """Map a model of the track ``identical`` to the one of its bundle under its own recipe, where a study has both.

    Models under another split than the study's are left out, whatever their recipe.
    """
    names = {model.name: model for model in study.models if model.name not in apart(study)}
    own = {model.bundle: name for name, model in names.items() if model.track == "native"}
    return {
        name: own[model.bundle] for name, model in names.items()
        if model.bundle in own and model.track != "native" and model.variant == "default"
    }  # fmt: skip


def tracks(paper: Paper, study: Study) -> list[Block]:
    """Tables of models under the one protocol beside the same models under their own recipes."""
    native, blocks = native_of(study), list[Block]()
    notes = [TRACK_NOTE, _of_result(paper.comparisons)]
    for table in paper.published.tables:
        found = places(table) if table["kind"] == "scores" else []
        shown = [place for place in found if place.model in native and "none" not in place.column]
        rows = [_track_row(paper, place, (place.model, native[place.model])) for place in shown]
        if rows:
            caption = f"{table['id']}: one protocol for all models beside each model's own recipe."
            blocks.append(Table(caption, TRACK_HEADER, rows, notes=notes, name=f"{table['id']}, two recipes"))
    return blocks


def _of_result(comparisons: pd.DataFrame) -> str:
    said = "only from whether the interval, not corrected for the number of rows, contains 0."
    if comparisons.empty:
        return f"Result: no comparison was declared, so {said}"
    how = f"the study's declared comparison of the two, per region, after {correction(comparisons)}"
    return f"Result: from {how}. Where none was declared, {said}"


def _track_row(paper: Paper, place: Place, pair: tuple[str, str]) -> list[str | Cell]:
    column, scale, digits = place.column, place.scale, place.decimals
    keys = [key_of(place, model) for model in pair]
    found = [ours(paper, model, column) for model in pair]
    values = [
        Cell(f"{one.value * scale:.{digits}f}", key=key) if one else NOT_RUN
        for one, key in zip(found, keys, strict=True)
    ]
    head = [place.row["label"], column["name"], place.text, *values]
    gap = difference(paper.rows, *pair, column)
    if gap is None:
        return [*head, NONE, NONE, NONE, NOT_RUN]
    value, interval, shown = gap_cells(gap, "native", scale, digits)
    tests = declared_tests(paper.comparisons, *pair, column)
    p, said = _tested_pair(tests, pair[1]) if len(tests) else ("not declared", f"{shown} (interval only)")
    texts = {"difference": value, "ci": interval, "p_holm": p, "verdict": said}
    return [*head, *cells_of(replace(keys[1], against=pair[0]), texts)]


def _tested_pair(tests: pd.DataFrame, native: str) -> tuple[str, str]:
    """Holm's p and the verdict of a pair's declared comparisons, per region where there are several."""
    rows, words = tests.to_dict("records"), dict[str, list[str]]()
    for row in rows:
        change = row["difference"] if row["model_a"] == native else -row["difference"]
        shown = f"native {'higher' if change > 0 else 'lower'}" if row["significant"] else "no difference shown"
        words.setdefault(SHUT if gate_shut(row) else shown, []).append(row["region"])
    if len(rows) == 1:
        return p_value(rows[0]["p_holm"]), next(iter(words))
    p = ", ".join(f"{row['region']} {p_value(row['p_holm'])}" for row in rows)
    if len(words) == 1:
        return p, f"{next(iter(words))} in all regions"
    return p, "; ".join(f"{word} in {', '.join(regions)}" for word, regions in words.items())


def overheads(paper: Paper) -> list[Block]:
    """What the paper says in words of the cost of a part, each beside ours without it, with it, and their ratio.

    Costs that were not recorded of both are left out.
    """
    found: list[Block] = []
    for said in paper.published.overheads:
        pair = (said["against"], said["model"])
        without, with_it = _costs_of(paper, pair)
        rows = [
            [title, *(number(cost.get(name), SCALE.get(name, 1)) for cost in (without, with_it)),
             f"{with_it[name] / without[name]:.3f}"]
            for name, title in SHOWN.items()
            if name != "epochs" and not pd.isna([cost.get(name) for cost in (without, with_it)]).any()
        ]  # fmt: skip
        caption = f"{said['where'].capitalize()}: {said['states']}. The paper prints no number for it; "
        if not rows:
            found.append(Text(caption + "of ours none is recorded."))
            continue
        caption += "ours:"
        note = (
            "The numbers are those of the section Cost. Parameters and multiply-adds follow from the networks alone, "
            "times also from what else ran on the machine."
        )
        found.append(Table(caption, ["Cost", *pair, "Ratio"], rows, notes=[note], name=f"Cost, {said['where']}"))
    return found


def _costs_of(paper: Paper, pair: tuple[str, str]) -> list[dict[Any, Any]]:
    """Rows of ``costs.csv`` of two models on one device in one precision, empty where there are none."""
    if paper.costs is None:
        return [{}, {}]
    place = ["device", "precision"]
    first, second = (paper.costs[paper.costs["model"] == model].dropna(subset="device") for model in pair)
    for row, other in product(first.to_dict("records"), second.to_dict("records")):
        if all(row[key] == other[key] for key in place):
            return [row, other]
    return [{}, {}]


def key_of(place: Place, model: str) -> Key:
    """What a model's number beside a printed one shows: a mean over patients or runs, or a measure of pooled counts.

    The region is the one that the column names, None where it is over several or all.
    """
    column, named = place.column, place.column.get("regions")
    if column.get("aggregate") == "slices":
        return Key(model, place.report_cell[1], SLICE, "pooled")
    region = named[0] if isinstance(named, list) and len(named) == 1 else None
    statistic = "pooled" if column.get("aggregate") == "pooled" else "mean"
    return Key(model, str(column.get("history") or column.get("metric") or ""), region, statistic)


def _value_cells(paper: Paper, place: Place, table: PrintedTable, verdicts: Verdicts) -> list[str | Cell]:
    """Ours, its interval, the difference and the verdict, each with the reason where there is none."""
    column, printed, scale, digits = place.column, place.printed, place.scale, place.decimals
    found = ours(paper, place.model, column, place.report_cell) if place.model else None
    why = _reason(paper, place, found)
    if found is None:
        # A row that cannot be compared has a model that could stand beside it nevertheless.
        unrun = "none" in place.row and place.model and place.model not in paper.models
        return [NOT_RUN if unrun else verdicts.short(why), NONE, NONE, verdicts.because(why)]
    gap = "nothing printed" if printed is None else f"{(found.value - printed.number) * scale:+.{digits}f}"
    value = f"{found.value * scale:.{digits}f}"
    if "±" in place.text and printed and not math.isnan(found.sd):
        value += f" ± {found.sd * scale:.{digits}f}"
    if not math.isnan(found.low):
        ends = f"{found.low * scale:.{digits}f} to {found.high * scale:.{digits}f}"
    elif "history" in column:
        ends = "none: one value per training"
    else:
        ends = "none: a count" if digits == 0 else "none: fewer than two patients"
    said = verdicts.because(why) if why or printed is None else ""
    if printed and not why:
        uncertain = f"{column['name']} is the same measure as ours, see below" if "if" in column else ""
        said = verdicts.of_table(table, [place.model], verdict(printed, found, column), uncertain)
    key = key_of(place, place.model)
    return [*cells_of(key, {key.statistic: value, "ci": ends, "difference_from_printed": gap, "verdict": said})]


def implied_blocks(findings: Sequence[Finding]) -> tuple[list[Block], list[Block]]:
    """How many findings there are of each verdict with those that are GRAVE, and the others that do not simply hold."""
    if not findings:
        return [Text("No relation among the printed numbers could be checked.")], []
    *doubtful, holds = VERDICTS
    said = Text(
        f"{summary(findings)} A contradiction means that the printed numbers cannot all be what they are called; a "
        "conditional one means so only if the assumption at the end of its sentence holds, which the paper does "
        "not state. Neither says which number is wrong, or why. Unsupported: the paper says so in words, and prints no "
        f"number for it. What is {' or '.join(doubtful[len(GRAVE) :])} is in the appendix; what is {holds} is "
        "listed by `benchmark implied`."
    )
    caption = "Relations among the printed numbers."
    rows = [
        [[one.verdict, one.relation, one.said] for verdict in kinds for one in findings if one.verdict == verdict]
        for kinds in (GRAVE, doubtful[len(GRAVE) :])
    ]
    grave, rest = (
        [Table(caption, ["Verdict", "Relation", "Numbers"], some, wrap=True, pages=True)] * bool(some) for some in rows
    )
    return [said, *grave], [*rest]
