"""Scores of two models to their differences by patient, and to the patients that drive the mean difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark import stats

DRIVING = 3
"""Patients that are named as driving a difference."""


@dataclass(frozen=True)
class Paired:
    """Two models patient by patient, as A less B.

    ``row`` is the pair's row of ``comparisons.csv``, None where it has none. ``patients`` are sorted by difference;
    each has ``without``, the mean difference without that patient, and ``change``, by how much that is another.
    ``driving`` are those of the largest change, ``deciding`` those without whom the mean has another sign.
    """

    model_a: str
    model_b: str
    difference: float
    ci_low: float
    ci_high: float
    row: dict[str, Any] | None
    patients: list[dict[str, Any]]
    driving: list[str]
    deciding: list[str]


def leave_one_out(differences: np.ndarray) -> np.ndarray:
    """Mean without each value in turn; NaN where there is but one."""
    if len(differences) < 2:
        return np.full(len(differences), np.nan)
    return (differences.sum() - differences) / (len(differences) - 1)


def paired(rows: pd.DataFrame, comparisons: pd.DataFrame, model: str, against: str) -> Paired:
    """Pair two models on ``rows`` of one metric and region, as their row of ``comparisons`` does where there is one."""
    pair = comparisons[comparisons[["model_a", "model_b"]].isin([model, against]).all(axis=1)]
    row = {str(key): value for key, value in pair.iloc[0].items()} if len(pair) else None
    first, second = (row["model_a"], row["model_b"]) if row else (model, against)
    both = rows[rows["model"].isin([model, against])]
    values = stats.patient_values(both, rows["metric"].iloc[0], rows["region"].iloc[0])
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
    )  # fmt: skip
