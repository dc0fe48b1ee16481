"""Reduce score tables to one value per patient and model: seeds averaged within cases, cases within patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import SCORE_COLUMNS, InputError
from benchmark.scoring.score_table import model_names
from benchmark.stats.intervals import mean_interval


def with_models(scores: pd.DataFrame, source: str = "the score table") -> pd.DataFrame:
    """Return a table of SCORE_COLUMNS with a column ``model``, text ids and no absent notes.

    A table with that column, as ``score_table.tidy`` gives it, is returned as it is.

    Raises:
        InputError: if a column is missing, there are no rows, a value is no finite number, or a score is there twice.
    """
    if "model" in scores.columns:
        return scores
    lacking = [column for column in SCORE_COLUMNS if column not in scores.columns]
    if lacking:
        raise InputError(f"{source} lacks columns: expected {', '.join(SCORE_COLUMNS)}, missing {', '.join(lacking)}.")
    if scores.empty:
        raise InputError(f"{source} is empty: expected one row per run, case, region and metric.")
    wrong = ~np.isfinite(pd.to_numeric(scores["value"], errors="coerce"))
    twice = scores.duplicated([name for name in SCORE_COLUMNS if name not in ("metric_version", "value", "note")])
    for hit, expected in ((wrong, "a finite value"), (twice, "one value")):
        if hit.any():
            row = scores[hit].iloc[0]
            raise InputError(
                f"{source}: expected {expected} per run, case, region and metric, found {row['value']} for "
                f"{row['metric']} of {row['region']} in case {row['case_id']}."
            )
    return scores.assign(
        patient_id=scores["patient_id"].astype(str),
        case_id=scores["case_id"].astype(str),
        note=scores["note"].astype(object).where(scores["note"].notna(), "").astype(str),
        model=model_names(scores),
    )


def patient_means(rows: pd.DataFrame, by: Sequence[str] = ("model",)) -> pd.Series:
    """Average seeds within a case, then cases within a patient, so that seeds never count as patients.

    ``rows`` comes from ``with_models``; the result is indexed by ``by`` and ``patient_id``.
    """
    keys = [*by, "patient_id"]
    return rows.groupby([*keys, "case_id"], sort=False)["value"].mean().groupby(level=keys, sort=False).mean()


def patient_table(scores: pd.DataFrame, metric: str, region: str) -> pd.DataFrame:
    """Return the value of each patient (rows, by id) under each model (columns, in order of appearance).

    Raises:
        InputError: if there are no such scores, or a case that one model was scored on is absent for another.
    """
    rows = with_models(scores)
    rows = rows[(rows["metric"] == metric) & (rows["region"] == region)]
    if rows.empty:
        raise InputError(f"the score table has no {metric} of {region}: expected one row per run and case.")
    models = list(pd.unique(rows["model"]))
    cases = rows.groupby(["patient_id", "case_id", "model"])["value"].mean().unstack("model")[models]
    for model in models:
        absent = cases.index[cases[model].isna()]
        if len(absent):
            patients = list(pd.unique(absent.get_level_values("patient_id")))
            raise InputError(
                f"{model} has no {metric} of {region} for {len(absent)} of {len(cases)} cases (patients "
                f"{some(patients)}): expected every model to be scored on the same cases."
            )
    return cases.groupby(level="patient_id").mean()


def some(names: Sequence[str] | pd.Index, between: str = ", ") -> str:
    """Name the first three, with dots for the rest."""
    return between.join(names[:3]) + (f"{between}..." if len(names) > 3 else "")


def outcomes(scores: pd.DataFrame, metrics: Sequence[str]) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Yield each metric and region with its rows and its ``patient_table``; none of a metric without scores."""
    rows = with_models(scores)
    for metric in metrics:
        for region, own in rows[rows["metric"] == metric].groupby("region", sort=False):
            yield metric, str(region), own, patient_table(own, metric, str(region))


def check_metrics(scores: pd.DataFrame, metrics: Sequence[str], better: Mapping[str, str]) -> None:
    """Raise InputError unless each of the declared ``metrics`` was scored and ``better`` knows its direction."""
    known = list(pd.unique(scores["metric"]))
    for metric in metrics:
        if metric not in known or metric not in better:
            raise InputError(f"compare.metrics names {metric}: expected one of the scored metrics, {', '.join(known)}.")


def shared_patients(scores: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Keep the patients that every model in the table was scored on in full; say of each that lacks some how many.

    For a study with missing runs: comparing on different patients would compare patients, not models.

    Raises:
        InputError: if no patient is left.
    """
    rows = with_models(scores)
    keys = ["patient_id", "case_id", "region", "metric"]
    there = rows.groupby([*keys, "model"], sort=False).size().unstack("model").notna()
    whole = there.groupby(level="patient_id").all()
    keep = whole.index[whole.all(axis=1)]
    if not len(keep):
        lacking = "; ".join(_lacking(there[model]) for model in there if not there[model].all())
        raise InputError(
            f"no patient was scored for all of {', '.join(there.columns)}: expected at least one, found that {lacking}."
        )
    lost = (~whole).sum()
    limits = {
        str(
            name
        ): f"{name} limits all that is compared: it has complete scores of {len(whole) - lost[name]} of {len(whole)} "
        "patients only, and the others were left out for every model."
        for name in pd.unique(rows["model"])
        if lost[name]
    }
    return scores[rows["patient_id"].isin(keep).to_numpy()], limits


def _lacking(there: pd.Series) -> str:
    """Say what a model lacks: a metric or region everywhere, else patients."""
    for levels in (["metric"], ["region"], ["metric", "region"]):
        has = there.groupby(level=levels, sort=False).any()
        if not has.all():
            lost = has.index[~has]
            return f"{there.name} has no {', '.join(name if len(levels) == 1 else ' of '.join(name) for name in lost)}"
    whole = there.groupby(level="patient_id").all()
    lost = whole.index[~whole]
    return f"{there.name} lacks {len(lost)} of {len(whole)} patients ({some(lost)})"


def incomplete_runs(scores: pd.DataFrame, shared: bool = True) -> list[str]:
    """Name each run that lacks scores which another run of the same test patients has, for example of a lost case.

    Where the seeds share a partition these are the other seeds of its model and fold, else the other models under its
    fold and seed.
    """
    found, keys = [], ["case_id", "region", "metric"]
    same, other = (["model", "fold"], "seed") if shared else (["fold", "seed"], "model")
    for who, rows in with_models(scores).groupby(same, sort=False):
        there = rows.groupby([*keys, other], sort=False).size().unstack(other).notna()
        for name in there.columns[~there.all()]:
            lost = there.index[~there[name]]
            cases = lost.unique("case_id")
            run = dict(zip(same, who, strict=True)) | {other: name}
            found.append(
                f"{run['model']}, fold {run['fold']}, seed {run['seed']} lacks {len(lost)} of {len(there)} scores that "
                f"other {other}s have, of {len(cases)} case{'s' if len(cases) > 1 else ''} ({some(cases)}): means are "
                "over what is there."
            )
    return found


def seed_sd(rows: pd.DataFrame) -> pd.Series:
    """Return each model's SD of the mean over seeds; seeds that lack patients are left out; below two it is NaN."""
    by_seed = patient_means(rows, ("model", "seed")).groupby(level=["model", "seed"]).agg(["mean", "size"])
    whole = by_seed["size"] == by_seed.groupby(level="model")["size"].transform("max")
    return by_seed["mean"].where(whole).groupby(level="model", sort=False).std(ddof=1)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise each model, region and metric: patients, cases, mean, SD, median and interval over patients, seed SD.

    ``n_empty`` counts cases whose score carries a note (an empty mask or a missing prediction) under any seed.
    """
    result: list[dict[str, Any]] = []
    for (metric, region), rows in with_models(scores).groupby(["metric", "region"], sort=False):
        spread, groups = seed_sd(rows), dict(iter(rows.groupby("model", sort=False)))
        values = {model: patient_means(own).to_numpy() for model, own in groups.items()}
        bounds = _intervals(values)
        for model, own in groups.items():
            mine, n_empty = values[model], own.loc[own["note"] != "", "case_id"].nunique()
            row = {"model": model, "region": region, "metric": metric, "n_patients": len(mine)}
            row |= {"n_cases": own["case_id"].nunique(), "n_seeds": own["seed"].nunique(), "mean": mine.mean()}
            row |= {"sd": mine.std(ddof=1) if len(mine) > 1 else np.nan, "median": np.median(mine)}
            row |= dict(zip(("ci_low", "ci_high"), bounds[model], strict=True))
            result.append(row | {"seed_sd": spread[model], "n_empty": n_empty})
    return pd.DataFrame(result)


def _intervals(values: Mapping[Any, np.ndarray]) -> dict[Any, tuple[float, float]]:
    """Interval of each model's mean; models with as many patients share the work of resampling."""
    bounds: dict[Any, tuple[float, float]] = {}
    for size in {len(own) for own in values.values()}:
        names = [name for name, own in values.items() if len(own) == size]
        low, high = mean_interval(np.array([values[name] for name in names]))
        bounds |= dict(zip(names, zip(low, high, strict=True), strict=True))
    return bounds
