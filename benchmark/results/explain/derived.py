"""Follow a number that results from others (ranks, counts, regions, trainings) to its parts and its formula."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError
from benchmark.papers.values import column_beside
from benchmark.report.tables import title
from benchmark.results.explain.answers import Computed, Derived
from benchmark.results.explain.counts import FORMULAS, case_counts, filled, plain, report_formula
from benchmark.results.explain.means import about, check_region, known_models, paired
from benchmark.results.results import BETTER, Results
from benchmark.scoring.counts import SLICE, measure_of, report_cell, report_cells
from benchmark.scoring.metrics import COUNTS
from benchmark.stats import estimates
from benchmark.stats.estimates import WATCHED, kept_epoch, pooled_interval
from benchmark.stats.ranking import patient_ranks

RANK = "rank"


def ranks(results: Results, model: str, against: str | None) -> Derived:
    """Follow a model's place in the ranking to the ranks that each patient gives it, by region and metric.

    Raises:
        InputError: for a model that is not compared, or is so with no other.
    """
    study, scores, known = results.study, results.scores, known_models(results)
    if results.ranking is None or model not in known:
        raise InputError(
            f"Study {study.name} has no rank of {model}: expected one of two or more compared models, found "
            f"{', '.join(known)}."
        )
    own = scores[scores["model"] == model]
    by_cell = {
        f"{metric} {region}": patient_ranks(rows[rows["region"] == region], [metric], BETTER)
        for metric in study.compare["metrics"]
        for rows in [scores[scores["metric"] == metric]]
        for region in pd.unique(rows["region"])
    }
    table = pd.DataFrame({name: found[model] for name, found in by_cell.items()}).assign(mean=results.ranks[model])
    row = next(row for row in results.ranking.to_dict("records") if row["model"] == model)
    return Derived(
        **about(results, model, RANK, None, own), title="Rank", unit="",
        parts=_records(table.sort_values("mean", kind="stable"), "patient"),
        how=f"A row is a patient: the rank of {model} among {len(known)} models by each metric in each region, 1 the "
        "best, ties sharing ranks, and the mean of these.",
        results=[Computed("mean rank", "mean over patients", row["mean_rank"]),
                 Computed("rank", f"place of that mean; 95% of resamples of patients give {row['rank_low']} to "
                          f"{row['rank_high']}", plain(row["rank"])),
                 *(Computed(name, "mean over patients", float(table[name].mean())) for name in by_cell)],
        paired=paired(results.ranks[[model, against]]) if against else None,
    )  # fmt: skip


def over_regions(results: Results, model: str, metric: str, against: str | None) -> Derived:
    """Follow a mean over patients of the mean over regions, as papers print it, to each patient's regions.

    Raises:
        InputError: for a metric that the model has no scores of.
    """
    rows = results.rows(model)
    known = [str(name) for name in pd.unique(rows["metric"]) if name in results.metrics]
    if metric not in known:
        raise InputError(
            f"Study {results.study.name} scores {model} over all regions by no metric {metric!r}: expected {RANK}, a "
            f"column of histories.csv, or one of {', '.join(known)}; of others name a --region."
        )
    regions = _regions(results, model, _column(results, model, metric))
    models = [model, *([against] if against else [])]
    values = {name: estimates.patient_scores(results.rows(name), name, metric, regions) for name in models}
    found = estimates.mean(values[model])
    if found is None:
        raise InputError(f"Study {results.study.name} scores {model} by slices only: expected --region {SLICE}.")
    table = pd.DataFrame({region: estimates.patient_scores(rows, model, metric, [region]) for region in regions})
    table["mean"] = values[model]
    return Derived(
        **about(results, model, metric, None, rows, against), unit=results.metrics[metric].unit,
        title=f"{title(results.metrics[metric])}, mean over {', '.join(regions)}",
        parts=_records(table.sort_values("mean", kind="stable"), "patient"),
        how="A row is a patient: the value in each region, seeds averaged within a case and cases within the patient, "
        "and the mean of the regions."
        + (" No difference of such means is declared, so none is tested." if against else ""),
        results=[Computed("mean", "mean over patients", found.value, found.low, found.high),
                 Computed("SD", "over patients, n - 1", found.sd)],
        paired=paired(pd.DataFrame(values).dropna()) if against else None,
    )  # fmt: skip


def pooled_measure(results: Results, model: str, region: str | None, metric: str) -> Derived:
    """Follow a measure of counts that are summed over a test set to the counts of each case.

    Raises:
        InputError: for a model without counts there.
    """
    rows = results.rows(model)
    check_region(results, model, region, rows)
    column = _column(results, model, metric)
    regions = [region] if region else _regions(results, model, column)
    there = [str(name) for name in pd.unique(rows["region"])]
    rows = rows[rows["region"].isin(regions)]
    if not set(COUNTS) <= set(rows["metric"]):
        raise InputError(
            f"Study {results.study.name} has no counts of {model} in {region or 'any region'} to pool {metric} from: "
            f"expected rows with {', '.join(COUNTS)} in one of {', '.join(there)}."
        )
    counts = {name: estimates.patient_counts(rows, model, name) for name in regions}
    totals = {
        name: {key: plain(count) for key, count in zip(COUNTS, own.sum(axis=0), strict=True)}
        for name, own in counts.items()
    }
    slices = region == SLICE
    kind = "slices" if slices else "voxels"
    summed = "; ".join(f"{name} " + ", ".join(f"{k} {v:.12g}" for k, v in own.items()) for name, own in totals.items())
    return Derived(
        **about(results, model, metric, region, rows), title=f"{metric} of {', '.join(regions)}, pooled over cases",
        unit="", parts=_case_parts(rows),
        how=f"A row is a case: its counts of {kind}, seeds averaged. Summed over cases: {summed}. Intervals resample "
        "patients, whose counts stay together.",
        results=_of_slices(counts[SLICE], metric, totals[SLICE]) if slices
        else _of_regions(counts, metric, column.get("weights", {}), totals),
    )  # fmt: skip


def _of_slices(counts: np.ndarray, measure: str, totals: dict[str, Any]) -> list[Computed]:
    results = []
    for cell in report_cells(counts.sum(axis=0)):
        if cell[1] == measure:
            value, *ends = pooled_interval(counts, partial(report_cell, cell=cell))
            name, formula = " ".join(dict.fromkeys(cell)), filled(report_formula(*cell), totals)
            count = measure == "support"
            results.append(Computed(name, formula, plain(value) if count else value, *([] if count else ends)))
    return results


def _of_regions(
    counts: Mapping[str, np.ndarray], metric: str, weights: Mapping[str, float], totals: dict[str, dict[str, Any]]
) -> list[Computed]:  # fmt: skip
    measure = measure_of(metric, weights)
    shown = {"alpha": 0.5, "beta": 0.5, **weights} if metric == "Tversky" else {}
    results = [
        Computed(region, filled(FORMULAS[metric], {**totals[region], **shown}), *pooled_interval(own, measure))
        for region, own in counts.items()
    ]
    if len(counts) > 1:
        every = np.stack(list(counts.values()), axis=1)
        results.append(Computed("mean", "mean over these regions", *pooled_interval(every, measure)))
    return results


def _case_parts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    table = case_counts(rows).map(plain)
    several = table.index.get_level_values("region").nunique() > 1
    return [
        {"patient": patient, "case": case, **({"region": region} if several else {}), **_named(counts)}
        for (patient, case, region), counts in zip(table.index, table.astype(object).to_dict("records"), strict=True)
    ]


def training(results: Results, model: str, name: str) -> Derived:
    """Follow a column of a model's training histories to the epochs whose weights were kept."""
    own = {run: table for run, table in results.histories.items() if kept_epoch({run: table}, model, name)}
    parts = []
    for run, table in own.items():
        kept = {key: kept_epoch({run: table}, model, key) for key in ("epoch", *WATCHED, name) if key in table}
        parts.append({"run": run, **{key: plain(value.value) for key, value in kept.items() if value}})
    found = kept_epoch(results.histories, model, name)
    of = about(results, model, name, None, results.rows(model))
    return Derived(
        **{**of, "source": str(results.study.folder / "histories.csv")},
        title=f"{name} at the epochs whose weights were kept", unit="", parts=parts,
        how=f"A row is a run: the epoch whose weights were kept, the first of the highest {' or '.join(WATCHED)}, and "
        f"{name} there.",
        results=[Computed("mean", "mean over runs", found.value)] if found else [],
    )  # fmt: skip


def history_columns(results: Results, model: str) -> list[str]:
    """Columns of the model's training histories that an epoch was kept in."""
    names = dict.fromkeys(str(name) for table in results.histories.values() for name in table)
    return [name for name in names if name != "run" and kept_epoch(results.histories, model, name)]


def _column(results: Results, model: str, metric: str) -> Mapping[str, Any]:
    """The column of the paper's tables that a model's number stands beside; empty if there is none."""
    return column_beside(results.published, model, metric) if results.published else {}


def _regions(results: Results, model: str, column: Mapping[str, Any]) -> list[str]:
    """Regions of a model's scores that a column's number is over."""
    wanted = column.get("regions")
    return [name for name in results.regions(model) if not isinstance(wanted, list) or name in wanted]


def _records(table: pd.DataFrame, index: str) -> list[dict[str, Any]]:
    rows = table.rename_axis(index).reset_index().to_dict("records")
    return [_named(row) for row in rows]


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}
