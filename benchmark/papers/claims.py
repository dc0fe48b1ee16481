"""Set what a paper concludes, one line per claim, beside what a study's comparisons and scores show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.papers.published import Better, Published, Reached, cell, models_of
from benchmark.papers.tables import NOT_RUN, Verdicts
from benchmark.papers.values import Ours, Paper, Place, declared_tests, is_accuracy, majority, ours, places, verdict
from benchmark.report.document import Block, Bullets, Cell, Heading, Table
from benchmark.report.tables import NONE, SHUT, TEST_NAMES, correction, number, title
from benchmark.scoring.metrics import METRICS
from benchmark.stats.compare import NOT_TESTED, gate_shut
from benchmark.stats.seeds import TWO_LEVEL

TITLE = "The paper's claims, and what is shown here"
HEADER = ("The paper's claim", "Shown here?", "Ours")
SHOWN, OPPOSITE, NOT_SHOWN, UNTESTED = "shown", "the opposite shown", "not shown", "not tested"
EVERY, SOME, NONE_OF = "shown in every region", "shown in some regions only", "shown in no region"
UNJUDGED = "cannot be judged here"
COUNTED = {
    EVERY: "{} shown in every region", SOME: "{} in some regions only", NONE_OF: "{} not shown",
    OPPOSITE: "{} with the opposite shown in a region", UNJUDGED: f"{{}} {UNJUDGED}",
    SHUT: f"{{}} {SHUT}",
}  # fmt: skip
"""Answers over all regions, in the sentence that counts them."""


def box(paper: Paper, verdicts: Verdicts) -> list[Block]:
    """The paper's conclusions beside what is shown here, how many are, and what keeps them from being verdicts."""
    rows: list[list[str | Cell]] = []
    answers = Counter[str]()
    for conclusion in paper.published.conclusions:
        if conclusion["kind"] == "better":
            for other in conclusion["over"]:
                row, answer = _better(paper, conclusion, other, verdicts)
                rows.append(row)
                answers[answer] += 1
        else:
            rows += _reached(paper, conclusion, verdicts)
    if not rows:
        return []
    caption = "One line per claim. Ours: with its 95% interval; of two models, the first's value less the second's."
    said = [*[_counted(answers)] * bool(answers), *_how(paper, answers)]
    notes, judged = verdicts.notes(), [str(row[1]) for row in rows if not str(row[1]).startswith(f"{UNJUDGED}:")]
    if len(notes) == 1 and all(answer.endswith(" [1]") and "if [1]" not in answer for answer in judged):
        rows = [[claim, str(answer).removesuffix(" [1]"), gaps] for claim, answer, gaps in rows]
        notes = [f"Of every line: {notes[0]}"]
    return [
        Heading(TITLE),
        *[Bullets([*said, *notes])] * bool(said or notes),
        Table(caption, HEADER, rows, wrap=True, pages=True, name="The paper's claims"),
    ]


def _counted(answers: Mapping[str, int]) -> str:
    found = [text.format(answers[kind]) for kind, text in COUNTED.items() if answers.get(kind)]
    return f"{sum(answers.values())} claims that one model is better than another: {', '.join(found)}."


def _how(paper: Paper, answers: Counter[str]) -> list[str]:
    tests = paper.comparisons
    if not answers or tests.empty:
        return []
    test = str(tests["test"].iloc[0])
    found = [
        f"Shown: by the {TEST_NAMES[test]} after {correction(tests)}; on {int(tests['n_patients'].max())} patients. "
        "Not shown does not mean that there is no difference. The intervals are not corrected, so that one without 0 "
        "may stand beside what is not shown."
    ]
    if answers[SHUT]:
        found.append("Gate shut: some primary comparison shows no difference, so that the others were not tested.")
    if test != TWO_LEVEL:
        found.append("This is about these trained networks, not about the methods.")
    return found


def _better(paper: Paper, claim: Better, other: str, verdicts: Verdicts) -> tuple[list[str | Cell], str]:
    """The line of a claim over one model, and its answer over all regions."""
    model, said = claim["model"], f"{claim['states']}: " if len(claim["over"]) == 1 else ""
    head = f"{said}{model} over {other}, {title(METRICS[claim['metric']], arrow=False)}"
    if "regions" in claim:
        head += f" in {' and '.join(claim['regions'])}"
    printed = ", ".join(filter(None, [_printed_gap(paper.published, claim, other), claim.get("amount", "")]))
    head += f" ({claim['where']}; {f'printed {printed}' if printed else 'no number'})"
    named = list(claim.get("regions", []))
    column = {"metric": claim["metric"], "regions": named or "mean"}
    tests = declared_tests(paper.comparisons, model, other, column)
    if tests.empty:
        why = "the pair was not declared" if {model, other} <= set(paper.models) else NOT_RUN
        return [head, f"{UNJUDGED}: {why}", NONE], UNJUDGED
    by_region = {row["region"]: _answer(row, model) for row in tests.to_dict("records")}
    by_region |= {region: UNTESTED for region in named if region not in by_region}
    answer = f"{_in_words(by_region)} {verdicts.forbidden([model, other])}".strip()
    gaps = [_gap(row, model) for row in tests.to_dict("records")]
    return [head, answer, ", ".join(gaps)], _over_all(list(by_region.values()))


def _answer(row: Mapping[Any, Any], model: str) -> str:
    if row["verdict"] == NOT_TESTED:
        return UNTESTED
    if gate_shut(row):
        return SHUT
    if not row["significant"]:
        return NOT_SHOWN
    # As the verdict has it: by ranks, a few patients that fail may turn the mean the other way.
    return SHOWN if row["verdict"] == ("a better" if row["model_a"] == model else "b better") else OPPOSITE


def _over_all(answers: Sequence[str]) -> str:
    if set(answers) == {SHOWN}:
        return EVERY
    for answer, said in ((OPPOSITE, OPPOSITE), (SHOWN, SOME)):
        if answer in answers:
            return said
    if NOT_SHOWN in answers:
        return NONE_OF
    return SHUT if SHUT in answers else UNJUDGED


def _in_words(by_region: Mapping[str, str]) -> str:
    regions: dict[str, list[str]] = {}
    for region, answer in by_region.items():
        regions.setdefault(answer, []).append(region)
    if len(regions) == 1:
        (answer,) = regions
        return f"{answer} in every region" if len(by_region) > 1 and answer == SHOWN else answer
    return "; ".join(f"{answer} in {', '.join(regions[answer])}" for answer in sorted(regions, key=_gravest))


def _gravest(answer: str) -> int:
    return (SHOWN, OPPOSITE, NOT_SHOWN, SHUT, UNTESTED).index(answer)


def _gap(row: Mapping[Any, Any], model: str) -> str:
    """The first model's value less the other's in a region, with its interval."""
    metric, ends = METRICS[row["metric"]], (row["ci_low"], row["ci_high"])
    sign = 1 if row["model_a"] == model else -1
    low, high = ends if sign > 0 else (-ends[1], -ends[0])
    between = "" if pd.isna(low) else f" ({number(low, metric, sign=True)} to {number(high, metric, sign=True)})"
    return f"{row['region']} {number(sign * row['difference'], metric, sign=True)}{between}"


def _printed_gap(published: Published, claim: Better, other: str) -> str:
    """The difference of the two models' printed numbers in the first table that has both; empty if none has."""
    for table in (one for one in published.tables if one["kind"] == "scores"):
        for index, column in enumerate(table["columns"]):
            values = {
                model: cell(column, row["values"][index])
                for row in table["rows"]
                for model in models_of(row, table)
                if column.get("metric") == claim["metric"] and "none" not in row
            }
            first, second = values.get(claim["model"]), values.get(other)
            if first and second:
                decimals = len(first.text.split("±")[0].strip(" %").partition(".")[2])
                return f"{first.number - second.number:+.{decimals}f}"
    return ""


def _reached(paper: Paper, claim: Reached, verdicts: Verdicts) -> list[list[str | Cell]]:
    """The lines of a printed number, one for each model that it is set beside."""
    table, place = next(
        (table, place) for table in paper.published.tables for place in places(table)
        if claim["place"] == f"{table['id']}/{place.row['label']}/{place.column['name']}"
    )  # fmt: skip
    head, found = f"{claim['states']} ({claim['where']}; printed {place.text})", list[list[str | Cell]]()
    for one in (one for one in places(table) if (one.row, one.column) == (place.row, place.column)):
        measured = ours(paper, one.model, one.column, one.report_cell) if one.model else None
        if measured is not None and one.printed is not None:
            said = verdicts.of_table(table, [one.model], verdict(one.printed, measured, one.column))
            found.append([head, said.replace("not comparable", UNJUDGED, 1), _level(paper, one, measured)])
    return found or [[head, f"{UNJUDGED}: {NOT_RUN}", NONE]]


def _level(paper: Paper, place: Place, measured: Ours) -> str:
    """A number of ours with its interval, and what it has to beat where it is an accuracy."""
    ends = (measured.value, measured.low, measured.high)
    value, low, high = (f"{end * place.scale:.{place.decimals}f}" for end in ends)
    said = f"{place.model}: {value} ({low} to {high})"
    if is_accuracy(place) and (always := majority(paper, place)):
        said += f"; always naming {always[0]}: {always[1] * place.scale:.{place.decimals}f}"
    return said
