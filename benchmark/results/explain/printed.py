"""Find where a study's report prints a number, by what each of its cells shows."""

from __future__ import annotations

import pandas as pd

from benchmark.base.files import read_json
from benchmark.results.explain.answers import Printed
from benchmark.results.results import Results


def of_number(results: Results, model: str, metric: str, region: str | None) -> list[Printed]:
    """Places that print a model's number; without a model those of medians over all pairs.

    In data of one region, a number over all regions is the same as that of the region.
    """
    one = results.regions(model) if model else []
    cells = _of(results, metric, region, *([None, *one] if len(one) == 1 and region in (None, *one) else []))
    return _places(cells[(cells["model"] == model) & (cells["against"] == "")])


def of_pair(results: Results, model: str, against: str, metric: str, region: str | None) -> list[Printed]:
    """Places that print numbers of two models beside each other, in a region or over all of them."""
    cells = _of(results, metric, region, None)
    pair = [{one, other} == {model, against} for one, other in zip(cells["model"], cells["against"], strict=True)]
    return _places(cells[pd.Series(pair, index=cells.index, dtype=bool)])


def beside(results: Results, model: str, metric: str, region: str | None) -> list[str]:
    """Models that the report sets a model's number beside."""
    cells = _of(results, metric, region)
    ours, theirs = (cells[cells[side] == model] for side in ("model", "against"))
    return [name for name in dict.fromkeys([*ours["against"], *theirs["model"]]) if name]


def warnings(results: Results) -> list[str]:
    """Say that there is no report, or that it was made from other files than those that are there now."""
    name, path = results.study.name, results.study.folder / "report.json"
    if not path.exists():
        return [f"{path} does not exist: run `benchmark report {name}` to see where its report prints a number."]
    made, now = read_json(path, "the files that a report is made from")["made_from"], results.files()
    if other := sorted(file for file in {*made, *now} if made.get(file) != now.get(file)):
        return [f"The report was made from other files than are there now ({', '.join(other)}): run `benchmark report "
                f"{name}`."]  # fmt: skip
    return []


def _of(results: Results, metric: str, *regions: str | None) -> pd.DataFrame:
    cells = results.cells
    return cells[(cells["metric"] == metric) & cells["region"].isin([region or "" for region in regions])]


def _places(cells: pd.DataFrame) -> list[Printed]:
    """One place per row of a table: its cell, or its cells with their columns."""
    found = []
    for (table, row), own in cells.groupby(["table", "row"], sort=False):
        lines = own.to_dict("records")
        if len(lines) == 1:
            found.append(Printed(f"{table}, {row}, {lines[0]['column']}", str(lines[0]["text"])))
        else:
            found.append(Printed(f"{table}, {row}", "; ".join(f"{line['column']} {line['text']}" for line in lines)))
    return found
