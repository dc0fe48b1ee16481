"""Follow a mean over patients to its patients, cases, seeds and rules, and the difference of two models to patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmark.base.records import SCORE_COLUMNS, InputError
from benchmark.report.tables import of_pair, title
from benchmark.results.explain.about import about, check_region, known_models, printed
from benchmark.results.explain.answers import CaseValue, Explanation, Paired, PatientValue, Power, Row, RunUsed
from benchmark.results.results import BETTER, Results
from benchmark.scoring import score_table
from benchmark.scoring.counts import POOLED_MEASURES, SLICE
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS, Metric
from benchmark.stats.compare import declared_pairs
from benchmark.stats.intervals import mean_interval
from benchmark.stats.paired import paired_differences
from benchmark.stats.patients import patient_means, patient_table, summarise
from benchmark.stats.sensitivity import sensitivity

FENCE = 1.5
OUTLIER_RULE = "a patient below Q1 - 1.5 (Q3 - Q1) or above Q3 + 1.5 (Q3 - Q1), as the report's box plots draw them"
"""Tukey's fences (Exploratory Data Analysis, 1977), with quartiles by linear interpolation between ranks."""

WORST = 3
"""Cases that are named as the worst."""
DRIVING = 3
"""Patients that are named as driving a difference."""
REPORT = ("accuracy", "precision", "recall", "f1", "support")
"""Measures of a classifier's report on slices."""
VARIANCES = ("patient", "seed", "patient_seed")
"""Where the variance of the difference of one run of each model on one patient comes from."""


def mean(results: Results, model: str, region: str, metric: str, against: str | None) -> Explanation:
    """Follow a mean over patients to its rows."""
    rows = pd.concat([value_rows(results, name, region, metric) for name in filter(None, (model, against))])
    own = rows[rows["model"] == model]
    shown = results.metrics[metric] if metric in results.metrics else count_metric(metric, region)
    (summary,) = (row for row in summarise(rows).to_dict("records") if row["model"] == model)
    values = patient_means(own).droplevel("model")
    low, high = fences(values.to_numpy())
    of = about(results, model, metric, region, own, against)
    sign = 1 if shown.better == "higher" else -1
    patients = _patients(results.raw, own, values, low, high, of["runs"])
    patients = sorted(patients, key=lambda patient: sign * patient.value)
    cases = sorted((case for patient in patients for case in patient.cases), key=lambda case: sign * case.value)
    compared = model in known_models(results) and region != SLICE
    everybody = set(results.own["patient_id"]) if compared else set()
    by_seed = patient_means(own, ("seed",)).groupby(level="seed").mean().to_dict()
    of["warnings"] += [f"{run.id}: {run.state}." for run in of["runs"] if run.state not in ("here", "not here")]
    return Explanation(
        **of, unit=shown.unit, title=f"{title(shown)} of {region}", version=shown.version,
        summary=summary, by_seed={int(str(seed)): float(value) for seed, value in by_seed.items()},
        patients=patients, outlier_rule=OUTLIER_RULE, fences=(low, high),
        worst=[case.case_id for case in cases[:WORST]],
        left_out=[*results.limits, *results.incomplete] if compared else [],
        patients_left_out=sorted(everybody - set(own["patient_id"])),
        paired=_paired(results, rows, (model, against)) if against else None,
    )  # fmt: skip


def value_rows(results: Results, model: str, region: str, metric: str) -> pd.DataFrame:
    """Tidy rows of one model, region and metric or count: those compared, else of an ensemble or apart."""
    tables = (results.scores, results.ensemble_scores, results.apart)
    there = [part[part["model"] == model] for part in tables]
    check_region(results, model, region, pd.concat(there))
    rows = next(part for part in there if region in set(part["region"]))
    rows = rows[rows["region"] == region]
    counted = pd.concat([results.merged, *(other.raw for other in results.beside.values())], ignore_index=True)
    counted = counted[counted["case_id"].isin(rows["case_id"]) & (counted["region"] == region)]
    is_count = metric in (*COUNTS, *LESION_COUNTS)
    found = count_rows(counted, metric, model) if is_count else rows[rows["metric"] == metric]
    if found.empty:
        counts = [name for name in (*COUNTS, *LESION_COUNTS) if name in counted and counted[name].notna().any()]
        known = [*pd.unique(rows["metric"]), *counts]
        measures = measures_in(results, region) if set(COUNTS) & set(known) else ()
        pool = f", or pooled over cases one of {', '.join(measures)}" if measures else ""
        raise InputError(
            f"Study {results.study.name} scores {region} of {model} by no metric {metric!r}: expected one of "
            f"{', '.join(dict.fromkeys(known))}{pool}."
        )
    return found


def measures_in(results: Results, region: str | None) -> tuple[str, ...]:
    """Measures of pooled counts that a report prints: of slices those of a classifier's report, else its paper's.

    Elsewhere "Dice" is a mistyped "dice", and not the Dice of all cases together.
    """
    if region == SLICE:
        return REPORT
    return tuple(POOLED_MEASURES) if results.published else ()


def count_metric(name: str, region: str) -> Metric:
    """Return a count as a metric without rules, its unit being what is counted."""
    rule, _, part = name.rpartition("_")
    unit = "lesions" if rule else "slices" if region == SLICE else "voxels"
    place = {"lesion": "lesions.", "instance": "instances."}.get(rule, "") + part
    better: Literal["higher", "lower"] = "lower" if part in ("fp", "fn") else "higher"
    return Metric(name, name, better, unit, "1", attrgetter(place), "formula", "formula", "formula")


def count_rows(table: pd.DataFrame, name: str, model: str) -> pd.DataFrame:
    """Rows of SCORE_COLUMNS and ``model`` with a count of a model, of a table as ``score_table.read`` gives it."""
    rows = table.reindex(columns=[*score_table.HEAD, name])
    rows = rows.assign(metric=name, metric_version="1", value=rows[name], model=score_table.model_names(table))
    return rows.loc[(rows["model"] == model) & rows["value"].notna(), [*SCORE_COLUMNS, "model"]]


def fences(values: np.ndarray) -> tuple[float, float]:
    """Tukey's fences Q1 - 1.5 (Q3 - Q1) and Q3 + 1.5 (Q3 - Q1) of a row of values."""
    first, third = np.quantile(values, [0.25, 0.75])
    return float(first - FENCE * (third - first)), float(third + FENCE * (third - first))


def _patients(
    raw: pd.DataFrame, own: pd.DataFrame, values: pd.Series, low: float, high: float, runs: Sequence[RunUsed]
) -> list[PatientValue]:
    """Patients with their cases and seeds."""
    cases = patient_means(own, ("case_id",)).droplevel("patient_id")
    tested = raw[score_table.model_names(raw) == own["model"].iloc[0]]
    folds = (tested if len(tested) else own).groupby("case_id")["fold"].unique()
    result = []
    for patient, rows in own.groupby("patient_id", sort=False):
        value = float(values[patient])
        of_cases = [
            _case(str(case), float(cases[case]), part, sorted(map(int, folds[case])), runs)
            for case, part in rows.groupby("case_id", sort=False)
        ]
        outlier = "below" if value < low else "above" if value > high else ""
        result.append(PatientValue(str(patient), value, outlier, of_cases))
    return result


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


def leave_one_out(differences: np.ndarray) -> np.ndarray:
    """Mean without each value in turn; NaN where there is but one."""
    if len(differences) < 2:
        return np.full(len(differences), np.nan)
    return np.asarray((differences.sum() - differences) / (len(differences) - 1))


def paired(values: pd.DataFrame, row: Row = None, methods: Row = None, power: Power | None = None) -> Paired:
    """Pair two models on ``values`` (patients by models); a ``row`` of comparisons decides which of them is A."""
    first, second = (row["model_a"], row["model_b"]) if row else values.columns
    differences = paired_differences(values[first], values[second])
    array = differences.to_numpy()
    low, high = mean_interval(array)
    table = pd.DataFrame({"a": values[first], "b": values[second], "difference": differences})
    table["without"] = leave_one_out(array)
    table["change"] = table["without"] - array.mean()
    table = table.sort_values("difference", kind="stable")
    moved = table["change"].abs().sort_values(ascending=False, kind="stable")
    turned = table.index[np.sign(table["without"]) * np.sign(array.mean()) < 0]
    patients = table.rename_axis("patient_id").reset_index().to_dict("records")
    return Paired(
        str(first), str(second), float(array.mean()), float(low[0]), float(high[0]), row, patients,
        [str(patient) for patient in moved.index[:DRIVING] if moved[patient] > 0], [str(patient) for patient in turned],
        methods, power,
    )  # fmt: skip


def _paired(results: Results, rows: pd.DataFrame, pair: Sequence[Any]) -> Paired:
    metric, region = str(rows["metric"].iloc[0]), str(rows["region"].iloc[0])
    tested, methods, other = (
        next(iter(_pair_rows(table, metric, region, pair).to_dict("records")), None)
        for table in (results.comparisons, results.methods, _by_other_methods(results, metric, pair))
    )
    values = patient_table(rows, metric, region)
    found = paired(values[list(pair)], tested, methods, _power(results, metric, region, pair))
    return replace(found, sensitivity=other)


def _by_other_methods(results: Results, metric: str, pair: Sequence[Any]) -> pd.DataFrame | None:
    """Rows of ``sensitivity.csv`` on a declared pair by the primary metric, of that pair alone; None for others."""
    declared = results.study.compare
    pairs = [one for one in declared_pairs(results.compared_models, declared) if {*one} == {*pair}]
    if metric != declared["metrics"][0] or not pairs:
        return None
    return sensitivity(results.scores, {**declared, "pairs": pairs}, BETTER, results.compared_models)


def _pair_rows(table: pd.DataFrame | None, metric: str, region: str, pair: Sequence[str]) -> pd.DataFrame:
    """Rows on a pair of models in either order."""
    if table is None:
        return pd.DataFrame()
    return of_pair(table[(table["metric"] == metric) & (table["region"] == region)], *pair)


def _power(results: Results, metric: str, region: str, pair: Sequence[str]) -> Power | None:
    """Patients that true differences of a pair would need; None where nothing is planned: of counts, of one patient."""
    if metric not in results.metrics:
        return None
    needed = results.needed_by([metric])
    networks, methods = (_pair_rows(rows, metric, region, pair).set_index("target") for rows in needed)
    if networks.empty:
        return None
    columns = {"these networks": networks["patients"]}
    compared = metric in results.study.compare["metrics"]
    if compared:
        columns["hardest"] = networks["patients_family"]
    for seeds, own in methods.groupby("seeds"):
        columns[f"methods, {seeds} seeds"] = own["patients"]
        if compared:
            columns[f"{seeds} seeds, hardest"] = own["patients_family"]
    rows = pd.DataFrame(columns).loc[networks.index].astype(float).reset_index().to_dict("records")
    return Power(
        sd_difference=float(networks["sd_difference"].iloc[0]),
        variances={name: float(methods[name].iloc[0]) for name in VARIANCES} if len(methods) else {},
        rows=rows,
        printed=printed(results, "", metric, None),
    )
