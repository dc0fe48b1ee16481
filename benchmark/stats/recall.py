"""Estimate the share of lesions that models find, by the volume of the lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from benchmark.stats.intervals import CONFIDENCE
from benchmark.stats.subgroups import ranges

VOLUMES = (0.1, 1.0, 10.0)
"""Bounds of lesions' volumes, in ml (in thousands of pixels where a data set has no unit of length)."""
RECALL_COLUMNS = ("region", "volume", "model", "n_lesions", "n_patients", "recall", "low", "high", "dice")
"""Columns of every ``recall.csv``; ``dice`` is the mean over lesions, 0 for one that was missed."""


def recall_by_volume(lesions: pd.DataFrame, bounds: Sequence[float] = VOLUMES) -> pd.DataFrame:
    """Return the share of lesions found by region, range of volume and model, as RECALL_COLUMNS.

    ``lesions`` has the columns of ``lesion_table.MEANS`` and ``model``. Each lesion weighs the same; its runs are
    averaged. The interval is that of ``share_interval``.
    """
    found, names = [], ranges(bounds)
    place = np.searchsorted(bounds, lesions["volume"])
    models = list(pd.unique(lesions["model"]))
    for region in pd.unique(lesions["region"]):
        for part, name in enumerate(names):
            there = lesions[(lesions["region"] == region) & (place == part)]
            by_model = dict(iter(there.groupby("model")))
            for model in (model for model in models if model in by_model):
                own = by_model[model]
                low, high = share_interval(own["found"].to_numpy(), own["patient_id"].to_numpy())
                counts = len(own), own["patient_id"].nunique()
                found.append((region, name, model, *counts, own["found"].mean(), low, high, own["dice"].mean()))
    return pd.DataFrame(found, columns=[*RECALL_COLUMNS])


def share_interval(values: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """Return a 95% interval of the mean of ``values`` from 0 to 1, several of which may be of one of ``patients``.

    Wilson's, with t of as many degrees of freedom as there are patients less one, and for the number of values the
    number of independent ones that say as much: n over the design effect, which is the cluster-robust variance over the
    binomial one, at least 1 (Saha, Miller and Wang 2016). Where all values are 0 or all 1 that is the number of
    patients. NaN with one patient.
    """
    _, own = np.unique(patients, return_inverse=True)
    count, mean = int(own.max(initial=-1)) + 1, float(values.mean()) if len(values) else float("nan")
    if count < 2:
        return float("nan"), float("nan")
    independent, binomial = float(count), mean * (1 - mean) / len(values)
    if binomial > 0:
        left = np.bincount(own, values - mean)
        robust = count / (count - 1) * float((left**2).sum()) / len(values) ** 2
        independent = len(values) / max(1.0, robust / binomial)
    t = special.stdtrit(count - 1, (1 + CONFIDENCE) / 2) ** 2 / independent
    centre = (mean + t / 2) / (1 + t)
    half = np.sqrt(t * (mean * (1 - mean) + t / 4)) / (1 + t)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))
