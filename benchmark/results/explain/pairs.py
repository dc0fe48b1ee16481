"""Values of two models to their differences by patient, and to the patients that drive the mean difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark import stats
from benchmark.report import evidence
from benchmark.results.explain.found import Paired, Power, Printed, named
from benchmark.results.explain.sources import Tables

DRIVING = 3
"""Patients that are named as driving a difference."""
VARIANCES = ("patient", "seed", "patient_seed")
"""Where the variance of the difference of one run of each model on one patient comes from."""


def leave_one_out(differences: np.ndarray) -> np.ndarray:
    """Mean without each value in turn; NaN where there is but one."""
    if len(differences) < 2:
        return np.full(len(differences), np.nan)
    return (differences.sum() - differences) / (len(differences) - 1)


def paired(
    values: pd.DataFrame,
    row: dict[str, Any] | None = None,
    methods: dict[str, Any] | None = None,
    power: Power | None = None,
) -> Paired:
    """Pair two models on ``values`` (patients by models); a ``row`` of comparisons decides which of them is A."""
    first, second = (row["model_a"], row["model_b"]) if row else values.columns
    differences = stats.paired_differences(values[first], values[second])
    array = differences.to_numpy()
    low, high = stats.mean_interval(array)
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


def pair_rows(table: pd.DataFrame | None, metric: str, region: str, pair: Sequence[str]) -> pd.DataFrame:
    """Rows of ``comparisons.csv`` or ``methods.csv`` on a pair of models in either order, one or none."""
    if table is None:
        return pd.DataFrame()
    own = table[(table["metric"] == metric) & (table["region"] == region)]
    return own[own[["model_a", "model_b"]].isin(list(pair)).all(axis=1)]


def pair_row(table: pd.DataFrame | None, metric: str, region: str, pair: Sequence[str]) -> dict[str, Any] | None:
    """The row of ``pair_rows``; None where there is none."""
    own = pair_rows(table, metric, region, pair)
    return {str(key): value for key, value in own.iloc[0].items()} if len(own) else None


def power(tables: Tables, metric: str, region: str, pair: Sequence[str]) -> Power | None:
    """Patients that true differences of a pair would need, and the rows of the report's table, which has medians.

    None where the report plans nothing: of counts, and on one patient.
    """
    compare, family = tables.study.compare, len(tables.comparisons)
    if metric not in tables.metrics:
        return None
    plans = evidence.plans(tables.compared.scores, compare, [metric], family)
    networks, methods = (pair_rows(rows, metric, region, pair).set_index("target") for rows in plans)
    if networks.empty:
        return None
    declared = metric in compare["metrics"]
    columns = {"these networks": networks["patients"], **({"hardest": networks["patients_family"]} if declared else {})}
    columns |= {f"methods, {seeds} seeds": own["patients"] for seeds, own in methods.groupby("seeds")}
    rows = pd.DataFrame(columns).loc[networks.index].reset_index().to_dict("records")
    table = evidence.power_table(plans, [metric], family if declared else None, tables.metrics)
    where = f"Power, {tables.metrics[metric].title}"
    return Power(
        sd_difference=float(networks["sd_difference"].iloc[0]),
        variances={name: float(methods[name].iloc[0]) for name in VARIANCES} if len(methods) else {},
        rows=[{str(key): float(value) for key, value in row.items()} for row in rows],
        printed=[Printed(where, named(table.header[1:], row[1:])) for row in table.rows] if table else [],
    )
