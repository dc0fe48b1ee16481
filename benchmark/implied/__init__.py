"""A paper's printed numbers to what they imply: relations that hold among them, hold by rounding only, or do not hold.

Relations are found from the roles of a table's columns (``automatic``) and from the paper's ``relations``
(``declared``). Nothing here says why a number is off: a slip of the pen and another definition look alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.implied.declared import KINDS, equal
from benchmark.implied.reports import printed_report, report, runs
from benchmark.implied.rows import Finding, joint_shares, layer_rows, row_findings
from benchmark.published import Published, role
from benchmark.records import InputError

__all__ = ["Finding", "automatic", "declared", "findings", "printed_report"]


def findings(published: Published) -> list[Finding]:
    """All that the printed numbers imply, by table, then what is declared.

    Raises:
        InputError: for a declared relation of an unknown kind, or one that names a number that is not printed.
    """
    found = [finding for table in published.tables for finding in automatic(table)]
    for claim in published.claims:
        if "same_as" in claim:
            condition = f"both are the {claim['states']}"
            found.append(equal(published, [claim["same_as"], claim["id"]], "text and table", condition))
    for relation in published.relations:
        found += declared(published, relation)
    return found


def automatic(table: Mapping[str, Any]) -> list[Finding]:
    """Relations of one table that its columns' roles are enough to find."""
    if table["kind"] == "settings":
        return []
    if table["kind"] == "layers":
        return layer_rows(table)
    found = [finding for row in table["rows"] for finding in row_findings(table, row)] + joint_shares(table)
    cells = printed_report(table)
    found += report(table, cells) if cells else []
    return found + (runs(table) if "p" in {role(column) for column in table["columns"]} else [])


def declared(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """Relations of numbers that stand in different places, as ``published.json`` names them.

    Raises:
        InputError: for an unknown kind, a missing entry, or a number that is not printed.
    """
    if relation["kind"] not in KINDS:
        raise InputError(
            f"published.json of {published.short}: relation {relation['kind']!r}: expected one of {', '.join(KINDS)}."
        )
    try:
        return KINDS[relation["kind"]](published, relation)
    except KeyError as error:
        raise InputError(
            f"published.json of {published.short}: relation {relation['kind']!r} lacks {error}: expected that entry."
        ) from error
