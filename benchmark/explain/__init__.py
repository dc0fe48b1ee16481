"""One cell of a report's table to all that it was made from: runs, patients, cases, seeds, rules and paired test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import stats
from benchmark.compared import Compared, compared_scores
from benchmark.explain.pairs import Paired, paired
from benchmark.explain.sources import RunUsed, models_of, runs_used, source_of
from benchmark.metrics import METRICS, Metric
from benchmark.patients import patient_means, with_models
from benchmark.records import InputError
from benchmark.report.document import Cell
from benchmark.report.tables import comparison_table
from benchmark.study import Study

FENCE = 1.5
OUTLIER_RULE = "a patient below Q1 - 1.5 (Q3 - Q1) or above Q3 + 1.5 (Q3 - Q1), as the report's box plots draw them"
"""Tukey's fences (Exploratory Data Analysis, 1977), with quartiles by linear interpolation between ranks."""

WORST = 3
"""Cases that are named as the worst."""


@dataclass(frozen=True)
class CaseValue:
    """A case: its value by seed, their mean, the folds that tested it, and the notes of rules that decided a value."""

    case_id: str
    value: float
    seeds: dict[int, float]
    folds: list[int]
    note: str
    predictions: list[str]


@dataclass(frozen=True)
class PatientValue:
    """A patient: the mean of the cases' values, and "below" or "above" where that is beyond a fence."""

    patient_id: str
    value: float
    outlier: str
    cases: list[CaseValue]


@dataclass(frozen=True)
class Explanation:
    """All that a cell was made from.

    ``printed`` is the cell as the report's table prints it and ``summary`` its row of ``stats.summarise``. ``fences``
    are the low and the high one; ``patients`` begin with the worst; ``worst`` are ids of cases. ``left_out`` says who
    is not in the comparison and ``warnings`` what does not fit together.
    """

    study: str
    model: str
    metric: str
    region: str
    source: str
    printed: str
    summary: dict[str, Any]
    runs: list[RunUsed]
    patients: list[PatientValue]
    outlier_rule: str
    fences: tuple[float, float]
    worst: list[str]
    left_out: list[str]
    patients_left_out: list[str]
    warnings: list[str]
    paired: Paired | None

    @property
    def cases(self) -> list[CaseValue]:
        """All cases, in the patients' order."""
        return [case for patient in self.patients for case in patient.cases]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, with None for a number that is not finite."""
        return _plain(dataclasses.asdict(self))


def explain(study: Study, model: str, region: str, metric: str = "dice", against: str | None = None) -> Explanation:
    """Follow one cell of a study's tables to its rows; ``model`` and ``against`` are named as the tables name them.

    Raises:
        InputError: for a study without scores, or a model, region or metric that is not compared there.
    """
    table = compared_scores(study)
    rows = _rows(study, table, model, region, metric, against)
    comparisons, warnings = _comparisons(study)
    summary = stats.summarise(rows)
    own = rows[rows["model"] == model]
    values = patient_means(own).droplevel("model")
    low, high = fences(values.to_numpy())
    runs = [] if model in table.others else runs_used(study, table.raw, model, own)
    better = METRICS[metric].better
    patients = _patients(table.raw, own, values, (low, high), runs, better)
    row = next(row for row in summary.to_dict("records") if row["model"] == model)
    found = comparisons[(comparisons["metric"] == metric) & (comparisons["region"] == region)]
    warnings += [f"{run.id}: {run.state}." for run in runs if run.state not in ("here", "not here")]
    warnings += _stale(found, row)
    pair = paired(rows, found, model, against) if against else None
    if pair and pair.row and not _close(pair.row["difference"], pair.difference):
        warnings.append(_other_scores(f"a difference of {pair.row['difference']:.6g}", f"{pair.difference:.6g}"))
    cases = [case for patient in patients for case in patient.cases]
    return Explanation(
        study=study.name, model=model, metric=metric, region=region, source=source_of(study, table, model),
        printed=_printed(summary, comparisons, METRICS[metric], model), summary={str(k): v for k, v in row.items()},
        runs=runs, patients=patients, outlier_rule=OUTLIER_RULE, fences=(low, high),
        worst=[case.case_id for case in sorted(cases, key=lambda case: _badness(case.value, better))[:WORST]],
        left_out=table.left_out, patients_left_out=sorted(set(table.own["patient_id"]) - set(own["patient_id"])),
        warnings=warnings, paired=pair,
    )  # fmt: skip


def fences(values: np.ndarray) -> tuple[float, float]:
    """Tukey's fences Q1 - 1.5 (Q3 - Q1) and Q3 + 1.5 (Q3 - Q1) of a row of values."""
    first, third = np.quantile(values, [0.25, 0.75])
    return float(first - FENCE * (third - first)), float(third + FENCE * (third - first))


def _rows(study: Study, table: Compared, model: str, region: str, metric: str, against: str | None) -> pd.DataFrame:
    """Compared rows of one metric and region, of all models, once every name was found there."""
    known = models_of(table.scores)
    apart = [name for name in models_of(table.apart) if name not in known] if table.apart is not None else []
    for name in (model, *([against] if against else [])):
        if name not in known:
            rest = f"; scores that stand apart from the comparison: {', '.join(apart)}" if apart else ""
            expected = f"expected one of {', '.join(known)}{rest}"
            raise InputError(f"Study {study.name} compares no model {name!r}: {expected}.")
    if against == model:
        raise InputError(f"--against names {model} itself: expected another of {', '.join(known)}.")
    rows = table.scores
    for column, value in (("metric", metric), ("region", region)):
        there = [str(name) for name in pd.unique(rows[column])]
        if value not in there:
            raise InputError(f"Study {study.name} compares no {column} {value!r}: expected one of {', '.join(there)}.")
        rows = rows[rows[column] == value]
    return with_models(rows)


def _comparisons(study: Study) -> tuple[pd.DataFrame, list[str]]:
    path = study.folder / "comparisons.csv"
    if not path.exists():
        said = f"{path} does not exist: no comparison was made yet; run `benchmark report {study.name}`."
        return pd.DataFrame(columns=list(stats.COMPARISON_COLUMNS)), [said]
    table = pd.read_csv(path)
    needed = ("metric", "region", "model_a", "model_b", "mean_a", "sd_a", "mean_b", "sd_b", "n_patients", "difference")
    if lacking := [column for column in needed if column not in table]:
        raise InputError(f"{path} is not a table of comparisons: expected a column {lacking[0]!r}, found none.")
    return table, []


def _printed(summary: pd.DataFrame, comparisons: pd.DataFrame, metric: Metric, model: str) -> str:
    """The model's cell, made by the function that makes the report's table."""
    made = comparison_table(summary, comparisons, [metric.name], {metric.name: metric})
    cell = next(row[1] for row in made.rows if row[0] == model)
    return cell.text + cell.mark if isinstance(cell, Cell) else cell


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


def _stale(comparisons: pd.DataFrame, row: Mapping[Any, Any]) -> list[str]:
    """Say where ``comparisons.csv`` has another mean, SD or number of patients for the model than its scores give."""
    for side in ("a", "b"):
        tested = comparisons[(comparisons[f"model_{side}"] == row["model"]) & (comparisons["n_patients"] > 0)]
        for pair in tested.to_dict("records"):
            for name, column in (("n_patients", "n_patients"), ("mean", f"mean_{side}"), ("sd", f"sd_{side}")):
                if not _close(pair[column], row[name]):
                    return [_other_scores(f"{name} {pair[column]:.6g} for {row['model']}", f"{row[name]:.6g}")]
    return []


def _other_scores(said: str, found: str) -> str:
    return f"comparisons.csv has {said}, the scores give {found}: it was made from others; run `benchmark report`."


def _close(first: float, second: float) -> bool:
    return bool(np.isclose(first, second, rtol=1e-9, atol=1e-12, equal_nan=True))


def _badness(value: float, better: str) -> float:
    return value if better == "higher" else -value


def _plain(value: Any) -> Any:
    """Numbers of numpy to Python's, and what is not finite to None, all the way down."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
