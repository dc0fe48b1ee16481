"""Set models under the one protocol and under their own recipes beside the printed numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmark.papers.cells import NONE, NOT_RUN, Reasons, gap_cells, key_of, keyed
from benchmark.papers.published import cell
from benchmark.papers.values import Paper, columns_of, decimals, declared_tests, difference, ours
from benchmark.report.document import Block, Cell, Table
from benchmark.report.tables import p_value
from benchmark.studies.study import Study, apart

HEADER = ("Row", "Column", "Printed", "Identical", "Native", "Native - identical", "95% CI", "Holm p", "Verdict")
NOTES = (
    "Identical: the one protocol of all models; native: each model's own recipe. Difference and interval are of the "
    "same mean over regions as the column.",
    "Verdict: from the study's declared comparison of the two, per region, corrected by Holm over the whole family. "
    "Where none was declared, only from whether the interval, not corrected for the number of rows, contains 0.",
)


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
    for table in paper.published.tables:
        rows, reasons = list[list[str | Cell]](), Reasons(paper.why_not)
        for row in table["rows"] if table["kind"] == "scores" else ():
            first = row.get("model", "")
            for index, column, _ in columns_of(table) if first in native else ():
                rows += _track_row(paper, row, column, row["values"][index], (first, native[first]), reasons)
        if rows:
            caption = f"{table['id']}: one protocol for all models beside each model's own recipe."
            blocks.append(Table(caption, HEADER, rows, notes=[*NOTES, *reasons.notes]))
    return blocks


def _track_row(
    paper: Paper,
    row: Mapping[str, Any],
    column: Mapping[str, Any],
    text: str | None,
    pair: tuple[str, str],
    reasons: Reasons,
) -> list[list[str | Cell]]:
    if "none" in column or text is None:
        return []
    printed = cell(column, text)
    scale, digits = (100.0 if printed and printed.percent else 1.0), decimals(printed, column)
    keys = [key_of(paper, model, column, row) for model in pair]
    found = [ours(paper, model, column) for model in pair]
    values = [
        Cell(f"{one.value * scale:.{digits}f}", key=key) if one else NOT_RUN
        for one, key in zip(found, keys, strict=True)
    ]
    gap = difference(paper.rows, *pair, column)
    if gap is None:
        return [[row["label"], column["name"], text, *values, NONE, NONE, NONE, reasons.cell(NOT_RUN)]]
    value, interval, shown = gap_cells(gap, "native", scale, digits)
    tests = declared_tests(paper.comparisons, *pair, column)
    p, said = _tested(tests, pair[1]) if len(tests) else ("not declared", f"{shown} (interval only)")
    said = reasons.cell(paper.why_not, said) if paper.why_not else said
    texts = {"difference": value, "ci": interval, "p_holm": p, "verdict": said}
    cells = [keyed(shown, keys[1], statistic, pair[0]) for statistic, shown in texts.items()]
    return [[row["label"], column["name"], text, *values, *cells]]


def _tested(tests: pd.DataFrame, native: str) -> tuple[str, str]:
    """Holm's p and the verdict of a pair's declared comparisons, per region where there are several."""
    rows, words = tests.to_dict("records"), dict[str, list[str]]()
    for row in rows:
        change = row["difference"] if row["model_a"] == native else -row["difference"]
        shown = f"native {'higher' if change > 0 else 'lower'}" if row["significant"] else "no difference shown"
        words.setdefault(shown, []).append(row["region"])
    if len(rows) == 1:
        return p_value(rows[0]["p_holm"]), next(iter(words))
    p = ", ".join(f"{row['region']} {p_value(row['p_holm'])}" for row in rows)
    if len(words) == 1:
        return p, f"{next(iter(words))} in all regions"
    return p, "; ".join(f"{word} in {', '.join(regions)}" for word, regions in words.items())
