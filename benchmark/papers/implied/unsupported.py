"""Find statements of a paper that no number it prints supports.

What a paper says in words is declared in ``published.json``, in words of ours; whether a number is printed for it is
read off its tables. ``unsupported`` says that there is none, not that the statement is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.papers.implied.relations import Verdict
from benchmark.papers.implied.rows import Finding
from benchmark.papers.published import Published, cell, role


def _finding(relation: Mapping[str, Any], name: str, follows: str, supported: bool, sentence: str) -> Finding:
    verdict: Verdict = "consistent" if supported else "unsupported"
    return Finding(name, relation["where"], f"that {relation['states']}", follows, verdict, sentence)


def regions(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """A statement on regions, beside the columns that are of one of them."""
    wanted = relation["regions"]
    there = {
        region
        for table in published.tables for column in table["columns"]
        if isinstance(column.get("regions"), list) for region in column["regions"]
    }  # fmt: skip
    lacking = [region for region in wanted if region not in there]
    follows = f"no column of any table is of {_listed(lacking, 'or')}" if lacking else "every region has a column"
    said = "A number over all regions can rise while that of a single one falls."
    return [_finding(relation, "numbers by region", follows, not lacking, said)]


def one_output(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """A statement on several regions, beside the channels of the network's last layer."""
    wanted, channels = relation["regions"], int(published.value(relation["shape"]).number)
    follows = f"the last layer has {channels} channel{'s' * (channels != 1)} for {len(wanted)} regions"
    said = f"One map tells tumour from the rest, and not {_listed(wanted, 'from')} apart."
    return [_finding(relation, "regions of the output", follows, channels >= len(wanted), said)]


def untested(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """A statement that differences are significant, beside the models that have a p."""
    tests = published.table(relation["significance"])
    tested = {_of(row) for row in tests["rows"] if _has(tests, row, "p")} | {tests["reference"]}
    rows = [row for row in published.table(relation["table"])["rows"] if _of(row) not in tested]
    every = len(published.table(relation["table"])["rows"]) - 1
    follows = f"{len(rows)} of {every} baselines have no p in {tests['id']}" + (
        f": {_listed([row['label'] for row in rows], 'and')}" if rows else ""
    )
    said = "A p value of one baseline says nothing of another."
    return [_finding(relation, "p of every baseline", follows, not rows, said)]


def alone(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """A statement that a number is better than others', beside the others that print one."""
    table = published.table(relation["table"])
    place = next(index for index, column in enumerate(table["columns"]) if column["name"] == relation["column"])
    others = [row["values"][place] for row in table["rows"] if row["label"] != relation["row"]]
    count = sum(cell(table["columns"][place], text) is not None for text in others)
    follows = f"{count} of {len(others)} other rows of {table['id']} have a number in the column {relation['column']}"
    said = "A number with none beside it is better than nothing."
    return [_finding(relation, "a number to compare with", follows, count > 0, said)]


def better(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """Statements that one mean is better than others, beside the number of patients that they are over.

    All without such a number are one finding, that of the first.
    """
    without = [one for one in published.relations if one["kind"] == "better" and "patients" not in one]
    if relation in without[1:]:
        return []
    best = published.value(relation["best"])
    others = [published.value(place).text for place in relation["others"]]
    count = relation.get("patients")
    where = {"where": relation["best"], "states": f"{best.text} is better than {_listed(others, 'and')}"}
    follows = f"over {published.value(count).text} patients" if count else "no number of test patients is printed"
    if not count and (rest := len(without) - 1):
        follows += f", nor for {rest} other statement{'s' * (rest > 1)} of this kind"
    said = "Whether a gain of that size is more than chance depends on how many patients it is over."
    return [_finding(where, "number of patients", follows, bool(count), said)]


def _of(row: Mapping[str, Any]) -> str:
    return str(row.get("model", row["label"]))


def _has(table: Mapping[str, Any], row: Mapping[str, Any], name: str) -> bool:
    cells = zip(table["columns"], row["values"], strict=True)
    return any(role(column) == name and cell(column, text) is not None for column, text in cells)


def _listed(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
