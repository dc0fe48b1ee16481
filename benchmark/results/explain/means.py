"""Follow a mean over patients to its patients, cases, seeds and rules, and the difference of two models to patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError
from benchmark.report.tables import title
from benchmark.results.explain import printed
from benchmark.results.explain.answers import CaseValue, Explanation, Paired, PatientValue, Power
from benchmark.results.explain.counts import count_metric, count_names, count_rows, measures_in
from benchmark.results.explain.runs import RunUsed, runs_used, source_of
from benchmark.results.results import Results
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS
from benchmark.stats.intervals import mean_interval
from benchmark.stats.paired import paired_differences
from benchmark.stats.patients import patient_means, patient_table, summarise

FENCE = 1.5
OUTLIER_RULE = "a patient below Q1 - 1.5 (Q3 - Q1) or above Q3 + 1.5 (Q3 - Q1), as the report's box plots draw them"
"""Tukey's fences (Exploratory Data Analysis, 1977), with quartiles by linear interpolation between ranks."""

WORST = 3
"""Cases that are named as the worst."""
DRIVING = 3
"""Patients that are named as driving a difference."""
VARIANCES = ("patient", "seed", "patient_seed")
"""Where the variance of the difference of one run of each model on one patient comes from."""


def mean(results: Results, model: str, region: str, metric: str, against: str | None) -> Explanation:
    """Follow a mean over patients to its rows.

    Raises:
        InputError: for a region or metric that the model, or ``against``, has no scores of.
    """
    rows = pd.concat([value_rows(results, name, region, metric) for name in filter(None, (model, against))])
    own = rows[rows["model"] == model]
    shown = results.metrics[metric] if metric in results.metrics else count_metric(metric, region)
    summary = next(row for row in summarise(rows).to_dict("records") if row["model"] == model)
    values = patient_means(own).droplevel("model")
    low, high = fences(values.to_numpy())
    of = about(results, model, metric, region, own, against)
    patients = _patients(results.raw, own, values, (low, high), of["runs"], shown.better)
    cases = [case for patient in patients for case in patient.cases]
    compared = model in known_models(results) and region != SLICE
    everybody = set(results.own["patient_id"]) if compared else set()
    by_seed = patient_means(own, ("seed",)).groupby(level="seed").mean().to_dict()
    of["warnings"] += [f"{run.id}: {run.state}." for run in of["runs"] if run.state not in ("here", "not here")]
    return Explanation(
        **of, unit=shown.unit, title=f"{title(shown)} of {region}", version=shown.version,
        summary={str(k): v for k, v in summary.items()}, by_seed={int(str(k)): float(v) for k, v in by_seed.items()},
        patients=patients, outlier_rule=OUTLIER_RULE, fences=(low, high),
        worst=[case.case_id for case in sorted(cases, key=lambda case: _badness(case.value, shown.better))[:WORST]],
        left_out=results.left_out if compared else [],
        patients_left_out=sorted(everybody - set(own["patient_id"])),
        paired=_paired(results, rows, (model, against)) if against else None,
    )  # fmt: skip


def about(
    results: Results, model: str, metric: str, region: str | None, rows: pd.DataFrame, against: str | None = None
) -> dict[str, Any]:
    """What every explanation says of a number: its name, its source, its runs and where it is printed."""
    places = printed.of_number(results, model, metric, region)
    return {
        "study": results.study.name, "model": model, "metric": metric, "region": region,
        "source": source_of(results, model), "runs": runs_used(results, model, rows),
        "printed": places + (printed.of_pair(results, model, against, metric, region) if against else []),
        "beside": printed.beside(results, model, metric, region), "warnings": printed.warnings(results),
    }  # fmt: skip


def known_models(results: Results) -> list[str]:
    """Models that are compared, in order of appearance."""
    return [str(name) for name in pd.unique(results.scores["model"])]


def value_rows(results: Results, model: str, region: str, metric: str) -> pd.DataFrame:
    """Tidy rows of one model, region and metric or count: those compared, else those that stand apart.

    Raises:
        InputError: if there are none; the sentence says what there is.
    """
    there = [part[part["model"] == model] for part in (results.scores, results.apart)]
    check_region(results, model, region, pd.concat(there))
    rows = next(part for part in there if region in set(part["region"]))
    rows = rows[rows["region"] == region]
    counted = pd.concat([results.merged, *(other.raw for other in results.external.values())], ignore_index=True)
    if metric in (*COUNTS, *LESION_COUNTS):
        counts = count_rows(counted, metric)
        counts = counts[(counts["model"] == model) & (counts["region"] == region)]
        found = counts[counts["case_id"].isin(rows["case_id"])]
    else:
        found = rows[rows["metric"] == metric]
    if found.empty:
        counted = counted[counted["case_id"].isin(rows["case_id"]) & (counted["region"] == region)]
        known = [*(str(name) for name in pd.unique(rows["metric"])), *count_names(counted)]
        measures = measures_in(results, region) if set(COUNTS) & set(known) else ()
        pool = f", or pooled over cases one of {', '.join(measures)}" if measures else ""
        raise InputError(
            f"Study {results.study.name} scores {region} of {model} by no metric {metric!r}: expected one of "
            f"{', '.join(dict.fromkeys(known))}{pool}."
        )
    return found


def check_region(results: Results, model: str, region: str | None, rows: pd.DataFrame) -> None:
    """Raise InputError for a region that ``rows`` of a model have not, saying which there are."""
    regions = [str(name) for name in pd.unique(rows["region"])]
    if region is not None and region not in regions:
        raise InputError(
            f"Study {results.study.name} scores {model} in no region {region!r}: expected one of {', '.join(regions)}."
        )


def fences(values: np.ndarray) -> tuple[float, float]:
    """Tukey's fences Q1 - 1.5 (Q3 - Q1) and Q3 + 1.5 (Q3 - Q1) of a row of values."""
    first, third = np.quantile(values, [0.25, 0.75])
    return float(first - FENCE * (third - first)), float(third + FENCE * (third - first))


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


def _badness(value: float, better: str) -> float:
    return value if better == "higher" else -value


def leave_one_out(differences: np.ndarray) -> np.ndarray:
    """Mean without each value in turn; NaN where there is but one."""
    if len(differences) < 2:
        return np.full(len(differences), np.nan)
    return np.asarray((differences.sum() - differences) / (len(differences) - 1))


def paired(
    values: pd.DataFrame,
    row: dict[str, Any] | None = None,
    methods: dict[str, Any] | None = None,
    power: Power | None = None,
) -> Paired:
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
        str(first), str(second), float(array.mean()), float(low[0]), float(high[0]), row,
        [{str(key): value for key, value in patient.items()} for patient in patients],
        [str(patient) for patient in moved.index[:DRIVING] if moved[patient] > 0], [str(patient) for patient in turned],
        methods, power,
    )  # fmt: skip


def _paired(results: Results, rows: pd.DataFrame, pair: Sequence[Any]) -> Paired:
    metric, region = str(rows["metric"].iloc[0]), str(rows["region"].iloc[0])
    row = _pair_row(results.comparisons, metric, region, pair)
    methods = _pair_row(results.methods, metric, region, pair)
    values = patient_table(rows, metric, region)
    return paired(values[list(pair)], row, methods, _power(results, metric, region, pair))


def _pair_rows(table: pd.DataFrame | None, metric: str, region: str, pair: Sequence[str]) -> pd.DataFrame:
    """Rows on a pair of models in either order."""
    if table is None:
        return pd.DataFrame()
    own = table[(table["metric"] == metric) & (table["region"] == region)]
    return own[own[["model_a", "model_b"]].isin(list(pair)).all(axis=1)]


def _pair_row(table: pd.DataFrame | None, metric: str, region: str, pair: Sequence[str]) -> dict[str, Any] | None:
    own = _pair_rows(table, metric, region, pair)
    return {str(key): value for key, value in own.iloc[0].items()} if len(own) else None


def _power(results: Results, metric: str, region: str, pair: Sequence[str]) -> Power | None:
    """Patients that true differences of a pair would need; None where nothing is planned: of counts, of one patient."""
    if metric not in results.metrics:
        return None
    needed = results.needed_by([metric])
    networks, methods = (_pair_rows(rows, metric, region, pair).set_index("target") for rows in needed)
    if networks.empty:
        return None
    columns = {"these networks": networks["patients"]}
    if metric in results.study.compare["metrics"]:
        columns["hardest"] = networks["patients_family"]
    columns |= {f"methods, {seeds} seeds": own["patients"] for seeds, own in methods.groupby("seeds")}
    rows = pd.DataFrame(columns).loc[networks.index].reset_index().to_dict("records")
    return Power(
        sd_difference=float(networks["sd_difference"].iloc[0]),
        variances={name: float(methods[name].iloc[0]) for name in VARIANCES} if len(methods) else {},
        rows=[{str(key): float(value) for key, value in row.items()} for row in rows],
        printed=printed.of_number(results, "", metric, None),
    )
