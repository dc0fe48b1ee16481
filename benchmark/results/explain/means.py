"""A model, region and metric to the mean over patients that a table prints: its patients, cases, seeds and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import stats
from benchmark.base.records import InputError
from benchmark.report.tables import title
from benchmark.results.explain import printed
from benchmark.results.explain.counts import count_metric, count_names, count_rows
from benchmark.results.explain.found import CaseValue, Explanation, Paired, PatientValue
from benchmark.results.explain.pairs import pair_row, paired, power
from benchmark.results.explain.sources import RunUsed, Tables, runs_used, source_of
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS
from benchmark.stats.patients import patient_means

FENCE = 1.5
OUTLIER_RULE = "a patient below Q1 - 1.5 (Q3 - Q1) or above Q3 + 1.5 (Q3 - Q1), as the report's box plots draw them"
"""Tukey's fences (Exploratory Data Analysis, 1977), with quartiles by linear interpolation between ranks."""

WORST = 3
"""Cases that are named as the worst."""


def mean(tables: Tables, model: str, region: str, metric: str, against: str | None) -> Explanation:
    """Follow a mean over patients to its rows.

    Raises:
        InputError: for a region or metric that the model, or ``against``, has no scores of.
    """
    study, table = tables.study, tables.compared
    rows = pd.concat([value_rows(tables, name, region, metric) for name in filter(None, (model, against))])
    own = rows[rows["model"] == model]
    shown = tables.metrics[metric] if metric in tables.metrics else count_metric(metric, region)
    summary = next(row for row in stats.summarise(rows).to_dict("records") if row["model"] == model)
    values = patient_means(own).droplevel("model")
    low, high = fences(values.to_numpy())
    runs = runs_used(study, table, model, own)
    patients = _patients(table.raw, own, values, (low, high), runs, shown.better)
    pair = _paired(tables, rows, (model, against)) if against else None
    cases = [case for patient in patients for case in patient.cases]
    compared = model in tables.known and region != SLICE
    everybody = set(table.own["patient_id"]) if compared else set()
    by_seed = patient_means(own, ("seed",)).groupby(level="seed").mean().to_dict()
    return Explanation(
        study=study.name, model=model, metric=metric, region=region, source=source_of(study, table, model),
        printed=printed.of_mean(tables, model, region, metric, against),
        runs=runs, warnings=[*tables.warnings, *_warnings(tables, summary, runs, pair)], unit=shown.unit,
        title=f"{title(shown)} of {region}", version=shown.version,
        summary={str(k): v for k, v in summary.items()}, by_seed={int(str(k)): float(v) for k, v in by_seed.items()},
        patients=patients, outlier_rule=OUTLIER_RULE, fences=(low, high),
        worst=[case.case_id for case in sorted(cases, key=lambda case: _badness(case.value, shown.better))[:WORST]],
        left_out=table.left_out if compared else [],
        patients_left_out=sorted(everybody - set(own["patient_id"])), paired=pair,
    )  # fmt: skip


def value_rows(tables: Tables, model: str, region: str, metric: str) -> pd.DataFrame:
    """Tidy rows of one model, region and metric or count: those compared, else those that stand apart.

    Raises:
        InputError: if there are none; the sentence says what there is.
    """
    table = tables.compared
    parts = [table.scores] if table.apart is None else [table.scores, table.apart]
    there = [part[part["model"] == model] for part in parts]
    check_region(tables, model, region, pd.concat(there))
    rows = next(part for part in there if region in set(part["region"]))
    rows = rows[rows["region"] == region]
    if metric in (*COUNTS, *LESION_COUNTS):
        counts = count_rows(tables.counted, metric)
        counts = counts[(counts["model"] == model) & (counts["region"] == region)]
        found = counts[counts["case_id"].isin(rows["case_id"])]
    else:
        found = rows[rows["metric"] == metric]
    if found.empty:
        counted = tables.counted[tables.counted["case_id"].isin(rows["case_id"]) & (tables.counted["region"] == region)]
        known = [*(str(name) for name in pd.unique(rows["metric"])), *count_names(counted)]
        measures = tables.pooled_names(region) if set(COUNTS) & set(known) else ()
        pool = f", or pooled over cases one of {', '.join(measures)}" if measures else ""
        raise InputError(
            f"Study {tables.study.name} scores {region} of {model} by no metric {metric!r}: expected one of "
            f"{_listed(known)}{pool}."
        )
    return found


def check_region(tables: Tables, model: str, region: str | None, rows: pd.DataFrame) -> None:
    """Raise InputError for a region that ``rows`` of a model have not, saying which there are."""
    regions = [str(name) for name in pd.unique(rows["region"])]
    if region is not None and region not in regions:
        raise InputError(
            f"Study {tables.study.name} scores {model} in no region {region!r}: expected one of {_listed(regions)}."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def fences(values: np.ndarray) -> tuple[float, float]:
    """Tukey's fences Q1 - 1.5 (Q3 - Q1) and Q3 + 1.5 (Q3 - Q1) of a row of values."""
    first, third = np.quantile(values, [0.25, 0.75])
    return float(first - FENCE * (third - first)), float(third + FENCE * (third - first))


def _paired(tables: Tables, rows: pd.DataFrame, pair: Sequence[Any]) -> Paired:
    metric, region = str(rows["metric"].iloc[0]), str(rows["region"].iloc[0])
    row = pair_row(tables.comparisons, metric, region, pair)
    methods = pair_row(tables.methods, metric, region, pair) if metric in tables.study.compare["metrics"] else None
    values = stats.patient_table(rows, metric, region)
    return paired(values[list(pair)], row, methods, power(tables, metric, region, pair))


def _patients(
    raw: pd.DataFrame, own: pd.DataFrame, values: pd.Series, bounds: tuple[float, float], runs: Sequence[RunUsed],
    better: str,
) -> list[PatientValue]:  # fmt: skip
    """Patients with their cases and seeds, the worst first."""
    cases = patient_means(own.assign(case=own["case_id"]), ("case",)).droplevel("patient_id")
    first = own.iloc[0]
    tested = raw[(raw["bundle"] == first["bundle"]) & (raw["variant"] == first["variant"])]
    folds = (tested if len(tested) else own).groupby("case_id")["fold"].unique()
    result = []
    for patient, rows in own.groupby("patient_id", sort=False):
        value = float(values[patient])
        result.append(
            PatientValue(
                str(patient), value, "below" if value < bounds[0] else "above" if value > bounds[1] else "",
                [_case(str(case), float(cases[case]), part, sorted(map(int, folds[case])), runs)
                 for case, part in rows.groupby("case_id", sort=False)],
            )
        )  # fmt: skip
    return sorted(result, key=lambda patient: _badness(patient.value, better))


def _case(case: str, value: float, rows: pd.DataFrame, folds: list[int], runs: Sequence[RunUsed]) -> CaseValue:
    seeds = {int(seed): float(one) for seed, one in sorted(zip(rows["seed"], rows["value"], strict=True))}
    notes = []
    for note, part in rows[rows["note"] != ""].groupby("note", sort=False):
        some = "" if len(part) == len(rows) else f" (seed {', '.join(map(str, sorted(part['seed'])))})"
        notes.append(f"{note}{some}")
    paths = [
        Path(run.folder, "predictions", f"{case}.nii.gz") for run in runs if run.fold in folds and run.state == "here"
    ]
    return CaseValue(case, value, seeds, folds, "; ".join(notes), [str(path) for path in paths if path.exists()])


def _warnings(tables: Tables, row: Mapping[Any, Any], runs: Sequence[RunUsed], pair: Paired | None) -> list[str]:
    """Say which runs and tables do not fit the scores."""
    comparisons = tables.comparisons
    found = comparisons[(comparisons["metric"] == row["metric"]) & (comparisons["region"] == row["region"])]
    warnings = [f"{run.id}: {run.state}." for run in runs if run.state not in ("here", "not here")]
    warnings += _stale(found, row)
    if row["metric"] not in tables.study.compare["metrics"]:
        return warnings
    cell = (row["metric"], row["region"])
    # A mean's marks are of comparisons with any other model.
    others = [pair.model_b if row["model"] == pair.model_a else pair.model_a] if pair else tables.known
    pairs = [(row["model"], other) for other in others if other != row["model"]]
    if (tables.study.folder / "comparisons.csv").exists():
        warnings += _stale_pairs("comparisons.csv", comparisons, tables.made_comparisons, cell, pairs)
    return warnings + (_stale_pairs("methods.csv", tables.methods, tables.made_methods, cell, pairs) if pair else [])


DECIDED = (
    *("difference", "test", "margin", "ci_low", "ci_high", "p", "p_holm", "p_patients_holm"),
    *("significant", "verdict"),
)
"""Columns of ``comparisons.csv`` and ``methods.csv`` that change with the scores, or with ``compare`` of study.json."""


def _stale_pairs(
    name: str,
    said: pd.DataFrame | None,
    made: pd.DataFrame | None,
    cell: tuple[str, str],
    pairs: Sequence[tuple[str, str]],
) -> list[str]:
    """Say where a table on disk has another row on a pair than the scores and study.json give now; the first such."""
    for pair in pairs if said is not None else ():
        old, new = pair_row(said, *cell, pair), pair_row(made, *cell, pair)
        if old is None or new is None:
            if old is not new:
                there = ("no row", "one") if old is None else ("a row", "none")
                return [other_scores(name, f"{there[0]} on {' and '.join(pair)}", there[1])]
            continue
        for column in DECIDED:
            if column in new and not _same(old.get(column), new[column]):
                text = f"{column} {_shown(old.get(column))} for {' and '.join(pair)}"
                return [other_scores(name, text, _shown(new[column]))]
    return []


def _same(first: Any, second: Any) -> bool:
    numbers = all(isinstance(value, int | float | np.number) for value in (first, second))
    return _close(first, second) if numbers else str(first) == str(second)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _stale(comparisons: pd.DataFrame, row: Mapping[Any, Any]) -> list[str]:
    """Say where ``comparisons.csv`` has another mean, SD or number of patients for the model than its scores give."""
    for side in ("a", "b"):
        tested = comparisons[(comparisons[f"model_{side}"] == row["model"]) & (comparisons["n_patients"] > 0)]
        for pair in tested.to_dict("records"):
            for name, column in (("n_patients", "n_patients"), ("mean", f"mean_{side}"), ("sd", f"sd_{side}")):
                if not _close(pair[column], row[name]):
                    said = f"{name} {pair[column]:.6g} for {row['model']}"
                    return [other_scores("comparisons.csv", said, f"{row[name]:.6g}")]
    return []


def other_scores(name: str, said: str, found: str) -> str:
    """Say that a table on disk was made from other scores or another declaration than those there now."""
    return (
        f"{name} has {said}, the scores and study.json give {found}: it was made from others; run `benchmark report`."
    )


def _close(first: float, second: float) -> bool:
    return bool(np.isclose(first, second, rtol=1e-9, atol=1e-12, equal_nan=True))


def _badness(value: float, better: str) -> float:
    return value if better == "higher" else -value
