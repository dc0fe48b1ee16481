"""A number of a study to the cells of its report that print it, each made by the function that makes the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark import stats
from benchmark.papers import tables as papers
from benchmark.papers.published import role
from benchmark.papers.tables import native_of, paper_table, tracks
from benchmark.report import evidence, mask_tables, tables
from benchmark.report.document import Block, Cell, Table
from benchmark.report.splits import leak_pairs
from benchmark.results.explain.found import Printed, cell_text, named
from benchmark.results.explain.pairs import pair_rows
from benchmark.results.explain.sources import Tables
from benchmark.scoring.counts import SLICE

PaperCell = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], str]
"""A printed table, one of its rows and columns, and the text in that cell."""


def of_mean(made: Tables, model: str, region: str, metric: str, against: str | None) -> list[Printed]:
    """Cells of a mean over patients, and with ``against`` those of the pair."""
    found = [*_compared(made, model, region, metric), *_lesions(made, model, region, metric)]
    found += of_paper(made, model, metric, region)
    return found + (of_pair(made, [model, against], region, metric) if against else _beside(made, model, metric))


def _compared(made: Tables, model: str, region: str, metric: str) -> list[Printed]:
    """Cells of the comparison, and of the spread over seeds."""
    scores = made.compared.scores
    rows = scores[(scores["metric"] == metric) & (scores["region"] == region)]
    if model not in set(rows["model"]) or metric not in made.metrics:
        return []
    summary, shown = stats.summarise(rows), {metric: made.metrics[metric]}
    column = f"{tables.title(made.metrics[metric])} {region}"
    table = tables.comparison_table(summary, made.comparisons, [metric], shown)
    found = [Printed(f"Comparison, {model}, {column}", cell_text(_row(table, model)[1]))]
    if summary["n_seeds"].max() > 1 and metric in made.study.compare["metrics"]:
        spread = tables.seed_table(summary, [metric], shown)
        found.append(Printed(f"Spread over seeds, {model}, {column}", cell_text(_row(spread, model)[1])))
    return found


def _lesions(made: Tables, model: str, region: str, metric: str) -> list[Printed]:
    """The cell of a count of lesions."""
    rows = made.compared.lesions
    table = mask_tables.lesion_table(rows[(rows["model"] == model) & (rows["region"] == region)])
    if table is None or metric not in mask_tables.LESION_NAMES:
        return []
    rule, _, kind = metric.rpartition("_")
    where = f"Lesions, {region}, {model}, {mask_tables.LESION_RULES[rule]} {kind.upper()}"
    return [Printed(where, cell_text(table.rows[0][2 + mask_tables.LESION_NAMES.index(metric)]))]


def _beside(made: Tables, model: str, metric: str) -> list[Printed]:
    """The tables of the model under two splits, on other patients than all of its own."""
    if metric not in made.study.compare["metrics"]:
        return []
    pairs = [pair[:2] for pair in leak_pairs(made.study) if model in pair[:2]]
    other = {pair: next(name for name in pair if name != model) for pair in pairs}
    return [
        Printed(f"{pair[0]} under two splits", f"on the patients of both, followed by --against {other[pair]}")
        for pair in pairs
    ]


def of_pair(made: Tables, pair: Sequence[str], region: str, metric: str) -> list[Printed]:
    """Rows and cells of a declared comparison, which reports print of the primary metric, and papers' p values."""
    found, compare = [], made.study.compare
    if metric == compare["metrics"][0]:
        tested, methods = (pair_rows(table, metric, region, pair) for table in (made.comparisons, made.methods))
        blocks: list[Block] = [tables.pairwise_table(tested, made.metrics[metric])] if len(tested) else []
        blocks += evidence.method_blocks(methods, compare, made.metrics) if len(methods) else []
        shown = [block for block in blocks if isinstance(block, Table)]
        found = [Printed(table.caption.rstrip("."), named(table.header, table.rows[0])) for table in shown]
    for model, other in (pair, pair[::-1]):
        for place in paper_cells(made, model, metric, tested=True):
            regions = place[2].get("regions")
            if place[0].get("reference") == other and (not isinstance(regions, list) or region in regions):
                found += _paper_printed(made, place)
    return found


def of_paper(made: Tables, model: str, metric: str, region: str | None) -> list[Printed]:
    """Cells of the paper's tables on a model's number in one region, or without one in all that a column names."""
    return [
        cell
        for place in paper_cells(made, model, metric)
        if _is_of(made, model, place[2], region)
        for cell in _paper_printed(made, place)
    ]


def _is_of(made: Tables, model: str, column: Mapping[str, Any], region: str | None) -> bool:
    if (column.get("aggregate") == "slices") != (region == SLICE):
        return False
    return region in (None, SLICE) or regions_of(made, model, column) == [region]


def of_tracks(made: Tables, pair: Sequence[str], metric: str) -> list[Printed]:
    """Rows on a model under the one protocol beside the same under its own recipe; none of any other pair."""
    models = [first for first, native in native_of(made.study).items() if {first, native} == set(pair)]
    found = []
    for table, row, column, text in (place for model in models for place in paper_cells(made, model, metric)):
        only = made.paper.published.model_copy(update={"tables": (_only(table, row, column, text),)})
        for block in tracks(replace(made.paper, published=only), made.study):
            if isinstance(block, Table):
                found += [Printed(block.caption.rstrip("."), named(block.header, line)) for line in block.rows]
    return found


def of_rank(made: Tables, model: str) -> list[Printed]:
    """The model's row of the ranking."""
    for block in evidence.ranking_blocks(made.ranking, made.study.compare["metrics"], made.metrics):
        if isinstance(block, Table):
            return [Printed("Ranking", named(block.header, next(row for row in block.rows if row[1] == model)))]
    return []


def paper_cells(made: Tables, model: str, metric: str, tested: bool = False) -> Iterator[PaperCell]:
    """Cells of the paper's tables that stand beside a model's number by its name; with ``tested`` those of a p."""
    for table in made.paper.published.tables:
        if table["kind"] not in ("scores", "classification", "significance"):
            continue
        for row in table["rows"]:
            of = row.get("model") or ("" if "none" in row else table.get("model", ""))
            for column, text in zip(table["columns"], row["values"], strict=True) if of == model else ():
                if (role(column) == "p") == tested and papers.name_of(column, row) == metric and text is not None:
                    yield table, row, column, text


def regions_of(made: Tables, model: str, column: Mapping[str, Any]) -> list[str]:
    """Regions that a column's number of a model is over."""
    rows = made.paper_of(model).rows
    there = [str(region) for region in pd.unique(rows.loc[rows["model"] == model, "region"]) if region != SLICE]
    wanted = column.get("regions", "mean")
    return [region for region in there if wanted == "mean" or region in wanted]


def _paper_printed(made: Tables, place: PaperCell) -> list[Printed]:
    table, row, column, text = place
    shown = paper_table(made.paper, _only(table, row, column, text))
    where = f"{table['id']}, {row['label']}, {column['name']}"
    return [
        Printed(where, f"{cell_text(line[4])} (95% CI {cell_text(line[5])}); the paper prints {text}")
        for line in shown.rows
    ]


def _only(table: Mapping[str, Any], row: Mapping[str, Any], column: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {**table, "columns": [column], "rows": [{**row, "values": [text]}]}


def _row(table: Table, model: str) -> Sequence[str | Cell]:
    return next(row for row in table.rows if row[0] == model)
