"""Check relations among a paper's printed numbers: they hold, hold only by rounding, or do not hold.

Relations are found from the roles of a table's columns (``automatic``) and from the paper's ``relations``. One that
does not hold is a contradiction only where nothing is taken for granted that the paper leaves open, such as that counts
are pooled; else it is ``conditional``, and its sentence ends with the condition. Nothing here says why a number is
wrong: a misprint and another definition look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.papers.implied.declared import KINDS, equal
from benchmark.papers.implied.relations import VERDICTS
from benchmark.papers.implied.reports import MATRIX, printed_report, report, runs
from benchmark.papers.implied.rows import Finding, joint_shares, row_findings
from benchmark.papers.published import Published, role

__all__ = ["VERDICTS", "Finding", "automatic", "findings", "printed_report", "summary"]


def findings(published: Published) -> list[Finding]:
    """All that the printed numbers imply, the gravest first; of one verdict by table, then what is declared."""
    found = [finding for table in published.tables for finding in automatic(table)]
    for claim in published.claims:
        if "same_as" in claim:
            found.append(equal(published, [claim["same_as"], claim["id"]], "text and table", claim["states"]))
    for relation in published.relations:
        found += KINDS[relation["kind"]](published, relation)
    return sorted(found, key=lambda finding: VERDICTS.index(finding.verdict))


def automatic(table: Mapping[str, Any]) -> list[Finding]:
    """Relations of one table that its columns' roles are enough to find."""
    if table["kind"] in ("settings", "layers"):
        return []
    found = [finding for row in table["rows"] for finding in row_findings(table, row)] + joint_shares(table)
    cells = printed_report(table)
    found += report(table, cells) if cells else []
    return found + (runs(table) if "p" in {role(column) for column in table["columns"]} else [])


def summary(found: Sequence[Finding]) -> str:
    """Say how many findings there are, how many of each verdict, and to how few cells those of a report come down."""
    contradictions, *others = (sum(finding.verdict == verdict for finding in found) for verdict in VERDICTS)
    counts = ", ".join(f"{count} {verdict}" for count, verdict in zip(others, VERDICTS[1:], strict=True))
    said = f"{len(found)} relations: {contradictions} contradiction{'s' * (contradictions != 1)}, {counts}."
    for one in found:
        same = sum(other.verdict == one.verdict and other.where.split(", ")[0] == one.where for other in found)
        if one.relation == MATRIX and one.verdict == "contradiction" and same > 1:
            said += f" {same} contradictions are of {one.where} and not independent: {one.follows}."
    return said
