"""A model and a number that follows from others (ranks, counts, regions, trainings) to its parts and its formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark import stats
from benchmark.base.files import read_table
from benchmark.base.records import InputError
from benchmark.papers.values import WATCHED, kept_epoch, ours, patient_values
from benchmark.report.tables import title
from benchmark.results.compared import BETTER
from benchmark.results.explain import printed
from benchmark.results.explain.counts import FORMULAS, case_counts, filled, plain, report_formula
from benchmark.results.explain.found import Derived, Result
from benchmark.results.explain.means import check_region, other_scores
from benchmark.results.explain.pairs import paired
from benchmark.results.explain.sources import Tables, runs_used, source_of
from benchmark.scoring.counts import SLICE, report_cells
from benchmark.scoring.metrics import COUNTS
from benchmark.stats import pooled

RANK = "rank"


def ranks(tables: Tables, model: str, against: str | None) -> Derived:
    """Follow a model's place in the ranking to the ranks that each patient gives it, by region and metric.

    Raises:
        InputError: for a model that is not compared, or is so with no other.
    """
    study, scores = tables.study, tables.compared.scores
    if len(tables.known) < 2 or model not in tables.known:
        raise InputError(
            f"Study {study.name} has no rank of {model}: expected one of two or more compared models, found "
            f"{', '.join(tables.known)}."
        )
    own = scores[scores["model"] == model]
    by_cell = {
        f"{metric} {region}": stats.patient_ranks(rows[rows["region"] == region], [metric], BETTER)
        for metric in study.compare["metrics"]
        for rows in [scores[scores["metric"] == metric]]
        for region in pd.unique(rows["region"])
    }
    table = pd.DataFrame({name: found[model] for name, found in by_cell.items()}).assign(mean=tables.ranks[model])
    row = next(row for row in tables.ranking.to_dict("records") if row["model"] == model)
    return Derived(
        **_about(tables, model, RANK, None, own), printed=printed.of_rank(tables, model),
        warnings=[*tables.warnings, *_stale_ranking(tables)], title="Rank", unit="",
        parts=_records(table.sort_values("mean", kind="stable"), "patient"),
        how=f"A row is a patient: the rank of {model} among {len(tables.known)} models by each metric in each region, "
        "1 the best, ties sharing ranks, and the mean of these.",
        results=[Result("mean rank", "mean over patients", row["mean_rank"]),
                 Result("rank", f"place of that mean; 95% of resamples of patients give {row['rank_low']} to "
                        f"{row['rank_high']}", plain(row["rank"])),
                 *(Result(name, "mean over patients", float(table[name].mean())) for name in by_cell)],
        paired=paired(tables.ranks[[model, against]]) if against else None,
    )  # fmt: skip


def _stale_ranking(tables: Tables) -> list[str]:
    path = tables.study.folder / "ranking.csv"
    if not path.exists():
        return []
    table = read_table(path, "a ranking", ["model"], ["mean_rank"])
    said, found = table.set_index("model")["mean_rank"], tables.ranking.set_index("model")["mean_rank"]
    for model in found.index:
        if model not in said or not np.isclose(said[model], found[model]):
            text = f"a mean rank of {said[model]:.6g}" if model in said else "no rank"
            return [other_scores("ranking.csv", f"{text} for {model}", f"{found[model]:.6g}")]
    return []


def over_regions(tables: Tables, model: str, metric: str, against: str | None) -> Derived:
    """Follow a mean over patients of the mean over regions, as papers print it, to each patient's regions.

    Raises:
        InputError: for a metric that the model has no scores of.
    """
    column = _column(tables, model, metric) or {"metric": metric, "regions": "mean"}
    rows = rows_of(tables, model)
    known = [str(name) for name in pd.unique(rows["metric"]) if name in tables.metrics]
    if metric not in known:
        raise InputError(
            f"Study {tables.study.name} scores {model} over all regions by no metric {metric!r}: expected {RANK}, a "
            f"column of histories.csv, or one of {', '.join(known)}; of others name a --region."
        )
    models = [model, *([against] if against else [])]
    values = {name: patient_values(rows_of(tables, name), name, column) for name in models}
    regions = printed.regions_of(tables, model, column)
    table = pd.DataFrame({r: patient_values(rows, model, {**column, "regions": [r]}) for r in regions})
    table["mean"] = values[model]
    found = ours(tables.paper_of(model), model, column)
    if found is None:
        raise InputError(f"Study {tables.study.name} scores {model} by slices only: expected --region {SLICE}.")
    cells = printed.of_paper(tables, model, metric, None)
    unit = tables.metrics[metric].unit
    return Derived(
        **_about(tables, model, metric, None, rows),
        printed=cells + (printed.of_tracks(tables, (model, against), metric) if against else []),
        warnings=tables.warnings, title=f"{title(tables.metrics[metric])}, mean over {', '.join(regions)}", unit=unit,
        parts=_records(table.sort_values("mean", kind="stable"), "patient"),
        how="A row is a patient: the value in each region, seeds averaged within a case and cases within the patient, "
        "and the mean of the regions."
        + (" No difference of such means is declared, so none is tested." if against else ""),
        results=[Result("mean", "mean over patients", found.value, found.low, found.high),
                 Result("SD", "over patients, n - 1", found.sd)],
        paired=paired(pd.DataFrame(values).dropna()) if against else None,
    )  # fmt: skip


def pooled_measure(tables: Tables, model: str, region: str | None, metric: str) -> Derived:
    """Follow a measure of counts that are summed over a test set to the counts of each case.

    Raises:
        InputError: for a model without counts there.
    """
    slices, rows = region == SLICE, rows_of(tables, model)
    check_region(tables, model, region, rows)
    column = _column(tables, model, metric) or {"metric": metric, "aggregate": "pooled", "regions": "mean"}
    column = {**column, "regions": [region]} if region and not slices else column
    regions = [SLICE] if slices else printed.regions_of(tables, model, column)
    rows = rows[rows["region"].isin(regions)]
    sums = {name: pooled.patient_counts(rows, model, name).sum(axis=0) for name in regions}
    if not regions or not set(COUNTS) <= set(rows["metric"]):
        known = [str(name) for name in pd.unique(rows_of(tables, model)["region"])]
        raise InputError(
            f"Study {tables.study.name} has no counts of {model} in {region or 'any region'} to pool {metric} from: "
            f"expected rows with {', '.join(COUNTS)} in one of {', '.join(known)}."
        )
    totals = {name: {key: plain(count) for key, count in zip(COUNTS, own, strict=True)} for name, own in sums.items()}
    results = _of_slices(tables, model, metric, totals) if slices else _of_regions(tables, model, column, totals)
    kind = "slices" if slices else "voxels"
    summed = "; ".join(f"{name} " + ", ".join(f"{k} {v:.12g}" for k, v in own.items()) for name, own in totals.items())
    return Derived(
        **_about(tables, model, metric, region, rows), printed=printed.of_paper(tables, model, metric, region),
        warnings=tables.warnings, title=f"{metric} of {', '.join(regions)}, pooled over cases", unit="",
        parts=_case_parts(rows),
        how=f"A row is a case: its counts of {kind}, seeds averaged. Summed over cases: {summed}. Intervals resample "
        "patients, whose counts stay together.",
        results=results,
    )  # fmt: skip


def _of_slices(tables: Tables, model: str, measure: str, totals: dict[str, dict[str, Any]]) -> list[Result]:
    results, own = [], totals[SLICE]
    for cell in report_cells(np.array(list(own.values()))):
        if cell[1] == measure and (found := ours(tables.paper_of(model), model, {"aggregate": "slices"}, cell)):
            formula = filled(report_formula(*cell), own)
            value = plain(found.value) if measure == "support" else found.value
            results.append(Result(" ".join(dict.fromkeys(cell)), formula, value, found.low, found.high))
    return results


def _of_regions(
    tables: Tables, model: str, column: dict[str, Any], totals: dict[str, dict[str, Any]]
) -> list[Result]:  # fmt: skip
    weights = {"alpha": 0.5, "beta": 0.5, **column.get("weights", {})} if column["metric"] == "Tversky" else {}
    results = []
    for region, own in totals.items():
        found = ours(tables.paper_of(model), model, {**column, "regions": [region]})
        if found is not None:
            formula = filled(FORMULAS[column["metric"]], {**own, **weights})
            results.append(Result(region, formula, found.value, found.low, found.high))
    found = ours(tables.paper_of(model), model, column)
    if len(totals) > 1 and found is not None:
        results.append(Result("mean", "mean over these regions", found.value, found.low, found.high))
    return results


def _case_parts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    table = case_counts(rows).map(plain)
    several = table.index.get_level_values("region").nunique() > 1
    return [
        {"patient": patient, "case": case, **({"region": region} if several else {}), **_named(counts)}
        for (patient, case, region), counts in zip(table.index, table.astype(object).to_dict("records"), strict=True)
    ]


def training(tables: Tables, model: str, name: str) -> Derived:
    """Follow a column of a model's training histories to the epochs whose weights were kept."""
    own = {run: table for run, table in tables.paper.histories.items() if kept_epoch({run: table}, model, name)}
    parts = []
    for run, table in own.items():
        kept = {key: kept_epoch({run: table}, model, key) for key in ("epoch", *WATCHED, name) if key in table}
        parts.append({"run": run, **{key: plain(value.value) for key, value in kept.items() if value}})
    found = kept_epoch(tables.paper.histories, model, name)
    rows = rows_of(tables, model)
    return Derived(
        **{**_about(tables, model, name, None, rows), "source": str(tables.study.folder / "histories.csv")},
        printed=printed.of_paper(tables, model, name, None), warnings=tables.warnings,
        title=f"{name} at the epochs whose weights were kept", unit="", parts=parts,
        how=f"A row is a run: the epoch whose weights were kept, the first of the highest {' or '.join(WATCHED)}, and "
        f"{name} there.",
        results=[Result("mean", "mean over runs", found.value)] if found else [],
    )  # fmt: skip


def history_columns(tables: Tables, model: str) -> list[str]:
    """Columns of the model's training histories that an epoch was kept in."""
    names = dict.fromkeys(str(name) for table in tables.paper.histories.values() for name in table)
    return [name for name in names if name != "run" and kept_epoch(tables.paper.histories, model, name)]


def rows_of(tables: Tables, model: str) -> pd.DataFrame:
    """All rows of a model, counts included, with no patient left out."""
    rows = tables.paper_of(model).rows
    return rows[rows["model"] == model]


def _column(tables: Tables, model: str, metric: str) -> dict[str, Any] | None:
    """The column of the paper's tables that a model's number stands beside."""
    return next((dict(column) for _, _, column, _ in printed.paper_cells(tables, model, metric)), None)


def _about(tables: Tables, model: str, metric: str, region: str | None, rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "study": tables.study.name, "model": model, "metric": metric, "region": region,
        "source": source_of(tables.study, tables.compared, model),
        "runs": runs_used(tables.study, tables.compared, model, rows),
    }  # fmt: skip


def _records(table: pd.DataFrame, index: str) -> list[dict[str, Any]]:
    rows = table.rename_axis(index).reset_index().to_dict("records")
    return [_named(row) for row in rows]


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}
