"""Find where a number comes from and where it is printed: its source, its model's runs, the cells of the report."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmark.base import declared
from benchmark.base.declared import Record
from benchmark.base.records import InputError, Run
from benchmark.results.explain.answers import Printed, RunUsed
from benchmark.results.results import Results
from benchmark.studies import provenance, store


class ReportRecord(Record):
    """A ``report.json``: the hash of each file that the report is made from, and what it says in short."""

    made_from: dict[str, str]
    verdict: tuple[str, ...] = ()


def about(
    results: Results, model: str, metric: str, region: str | None, rows: pd.DataFrame, against: str | None = None
) -> dict[str, Any]:
    """What every explanation says of a number: its name, its source, its runs and where it is printed."""
    places = printed(results, model, metric, region)
    cells = _cells(results, metric, region)
    ours, theirs = (cells[cells[side] == model] for side in ("model", "against"))
    file = results.beside[model].path if model in results.beside else results.study.folder / "scores.csv"
    return {
        "study": results.study.name, "model": model, "metric": metric, "region": region,
        "source": str(file), "runs": runs_used(results, model, rows),
        "printed": places + (printed_beside(results, model, against, metric, region) if against else []),
        "beside": [name for name in dict.fromkeys([*ours["against"], *theirs["model"]]) if name],
        "warnings": _warnings(results),
    }  # fmt: skip


def known_models(results: Results) -> list[str]:
    """Models that are compared, in order of appearance."""
    return [str(name) for name in pd.unique(results.scores["model"])]


def check_region(results: Results, model: str, region: str | None, rows: pd.DataFrame) -> None:
    """Raise InputError for a region that ``rows`` of a model have not, saying which there are."""
    regions = [str(name) for name in pd.unique(rows["region"])]
    if region is not None and region not in regions:
        raise InputError(
            f"Study {results.study.name} scores {model} in no region {region!r}: expected one of {', '.join(regions)}."
        )


def printed(results: Results, model: str, metric: str, region: str | None) -> list[Printed]:
    """Places that print a model's number; without a model those of medians over all pairs.

    In data of one region, a number over all regions is the same as that of the region.
    """
    one = results.regions(model) if model else []
    cells = _cells(results, metric, region, *([None, *one] if len(one) == 1 and region in (None, *one) else []))
    return _places(cells[(cells["model"] == model) & (cells["against"] == "")])


def printed_beside(results: Results, model: str, against: str, metric: str, region: str | None) -> list[Printed]:
    """Places that print numbers of two models beside each other, in a region or over all of them."""
    cells = _cells(results, metric, region, None)
    both = {model, against}
    return _places(cells[cells[["model", "against"]].isin(both).all(axis=1) & (cells["model"] != cells["against"])])


def _cells(results: Results, metric: str, *regions: str | None) -> pd.DataFrame:
    cells = results.cells
    return cells[(cells["metric"] == metric) & cells["region"].isin([region or "" for region in regions])]


def _places(cells: pd.DataFrame) -> list[Printed]:
    """One place per row of a table: its cell, or its cells with their columns."""
    found = []
    for (page, table, row), own in cells.groupby(["page", "table", "row"], sort=False):
        columns, texts = list(own["column"]), list(own["text"])
        if len(own) == 1:
            where, said = f"{table}, {row}, {columns[0]}", texts[0]
        else:
            where, said = f"{table}, {row}", "; ".join(map(" ".join, zip(columns, texts, strict=True)))
        found.append(Printed(where, said, str(page)))
    return found


def _warnings(results: Results) -> list[str]:
    """Say that there is no report, or that it was made from other files than those that are there now."""
    path, again = results.study.folder / "report.json", f"run `benchmark report {results.study.argument}`"
    if not path.exists():
        return [f"{path} does not exist: {again} to see where its report prints a number."]
    made = declared.read(path, ReportRecord, "the files that a report is made from").made_from
    now = results.files()
    other = sorted(file for file in {*made, *now} if made.get(file) != now.get(file))
    return [f"The report was made from other files than are there now ({', '.join(other)}): {again}."] if other else []


def runs_used(results: Results, model: str, own: pd.DataFrame) -> list[RunUsed]:
    """Every run that the study declares of a model, and any other that it has scores of; none of another tool's."""
    if model in results.beside:
        return []
    study, raw = results.study, results.raw
    known = results.provenance.runs if (study.folder / "provenance.json").exists() else {}
    keys = ["bundle", "variant", "fold", "seed"]
    made = [Run(study.name, *key) for key in raw[keys].drop_duplicates().itertuples(index=False)]
    scored = {run.id: run for run in made if run.model == model}
    counts = raw[raw["case_id"].isin(own["case_id"])].groupby(keys)["case_id"].nunique()
    mine = scored | {run.id: run for run in reversed(results.runs) if run.model == model}
    return [
        RunUsed(
            id=run.id, fold=run.fold, seed=run.seed,
            cases=int(counts.get((run.bundle, run.variant, run.fold, run.seed), 0)),
            **{key: str(getattr(known.get(run.id), key, "")) for key in ("commit", "fingerprint", "started")},
            state=_state(run, known.get(run.id), run.id in scored), folder=str(store.folder(run)),
        )
        for run in sorted(mine.values(), key=lambda run: (run.fold, run.seed))
    ]  # fmt: skip


def _state(run: Run, recorded: provenance.Ran | None, scored: bool) -> str:
    done = store.scored(run)
    if not scored:
        return "done here, but not in the study's scores; run `benchmark report`" if done else "no scores yet"
    if recorded is None:
        return "not in provenance.json"
    if not done:
        return "not here"
    here = store.read_record(store.folder(run)).fingerprint
    return "here" if here == recorded.fingerprint else "the folder here has another fingerprint than these scores"
