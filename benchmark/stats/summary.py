"""A score table to one row per model, region and metric: means, spreads and intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark.stats.intervals import mean_interval
from benchmark.stats.patients import patient_means, seed_sd, with_models


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per model, region and metric: patients, cases, mean, SD, median and interval over patients, seed SD.

    ``n_empty`` counts cases whose score carries a note (an empty mask or a missing prediction) under any seed.
    """
    result: list[dict[str, Any]] = []
    for (metric, region), rows in with_models(scores).groupby(["metric", "region"], sort=False):
        spread, groups = seed_sd(rows), dict(iter(rows.groupby("model", sort=False)))
        values = {str(model): patient_means(own).to_numpy() for model, own in groups.items()}
        bounds = _intervals(values)
        for model, own in groups.items():
            mine = values[str(model)]
            low, high = bounds[str(model)]
            result.append(
                {"model": model, "region": region, "metric": metric, "n_patients": len(mine),
                 "n_cases": own["case_id"].nunique(), "n_seeds": own["seed"].nunique(), "mean": mine.mean(),
                 "sd": sd(mine), "median": np.median(mine), "ci_low": low, "ci_high": high,
                 "seed_sd": spread[model], "n_empty": own.loc[own["note"] != "", "case_id"].nunique()}
            )  # fmt: skip
    return pd.DataFrame(result)


def sd(values: Any) -> float:
    """Standard deviation (n - 1); NaN below two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _intervals(values: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Interval of each model's mean; models with as many patients share the work of resampling."""
    bounds: dict[str, tuple[float, float]] = {}
    for size in {len(own) for own in values.values()}:
        names = [name for name, own in values.items() if len(own) == size]
        low, high = mean_interval(np.array([values[name] for name in names]))
        bounds |= dict(zip(names, zip(low, high, strict=True), strict=True))
    return bounds
