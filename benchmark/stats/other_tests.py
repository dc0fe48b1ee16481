"""Compute how much scores change where the same trained networks are tested on other patients or corrupted images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from benchmark.stats.estimates import Measured, mean
from benchmark.stats.intervals import CONFIDENCE
from benchmark.stats.patients import patient_means

RUN = ["bundle", "variant", "fold", "seed"]


def changes(own: pd.DataFrame, there: pd.DataFrame, metrics: Sequence[str], paired: bool) -> pd.DataFrame:
    """Return a row per metric, region and model with the mean on the own test cases, that ``there``, and the change.

    Both tables are of ``patients.with_models``; of the own scores only those of runs are used that were tested there.
    The change is there less here with its 95% interval: ``paired`` over the same patients (BCa bootstrap of their
    differences), else between two samples of patients (Welch's t). Neither counts the chance in training.
    ``n_empty`` counts cases whose score there carries a note (an empty mask) under any run.
    """
    own = own.merge(there[RUN].drop_duplicates())
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        for (region, model), theirs in there[there["metric"] == metric].groupby(["region", "model"], sort=False):
            same = (own["metric"] == metric) & (own["region"] == region) & (own["model"] == model)
            ours, others = (patient_means(one).droplevel("model") for one in (own[same], theirs))
            if ours.empty:
                continue
            change = mean((others - ours).dropna()) if paired else _between(ours, others)
            if change is None:
                continue
            row = {"metric": metric, "region": region, "model": model, "n_patients": len(ours)}
            row |= {"n_patients_there": len(others), "mean": ours.mean(), "mean_there": others.mean()}
            row["n_empty"] = theirs.loc[theirs["note"] != "", "case_id"].nunique()
            row |= {"change": change.value, "ci_low": change.low, "ci_high": change.high}
            rows.append(row | {"interval": "paired" if paired else "two samples"})
    return pd.DataFrame(rows)


def _between(ours: pd.Series, others: pd.Series) -> Measured:
    """Difference of the means of two samples with Welch's interval, NaN with fewer than two patients in one."""
    value = float(others.mean() - ours.mean())
    if min(len(ours), len(others)) < 2:
        return Measured(value)
    both = CompareMeans(DescrStatsW(others), DescrStatsW(ours))
    # Without any spread the interval has no width, and no degrees of freedom.
    spread = max(np.ptp(ours), np.ptp(others))
    low, high = both.tconfint_diff(1 - CONFIDENCE, usevar="unequal") if spread else (value, value)
    return Measured(value, float(low), float(high))
