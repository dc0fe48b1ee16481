"""Score a classifier's table of slices, and empty a label map where the classifier sees no tumour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.files import read_table
from benchmark.base.records import SLICE_COLUMNS, InputError
from benchmark.data.prepare import PreparedCase
from benchmark.scoring.metrics import METRICS, score_case

THRESHOLD = 0.5
"""A slice counts as one with tumour from this probability on."""

OVERLAP = {name: metric for name, metric in METRICS.items() if metric.needs == "counts"}
"""Metrics that apply to slices: those of counts, since distances in mm have no meaning there."""


def read_slices(path: Path) -> pd.DataFrame:
    """Read a case's table with ``SLICE_COLUMNS``: whole z, truth 0 or 1 (NaN where unknown), probability 0 to 1.

    Raises:
        InputError: if the file is missing or is not such a table.
    """
    expected = f"one row per slice with {', '.join(SLICE_COLUMNS)}"
    table = read_table(path, "a table of slices")
    if tuple(table.columns) != SLICE_COLUMNS:
        raise InputError(f"{path}: expected {expected}, found the columns {', '.join(table.columns)}.")
    probability = pd.to_numeric(table["probability"], errors="coerce")
    if table["z"].duplicated().any() or not probability.between(0, 1).all():
        raise InputError(f"{path}: expected each z once and probabilities from 0 to 1.")
    return table


def score_slices(path: Path) -> list[dict[str, Any]]:
    """Score a classifier over the slices of one case, as ``metrics.score_case`` does; the region is "slice".

    Raises:
        InputError: as ``read_slices``, and if the truth is not known.
    """
    table = read_slices(path)
    if not table["truth"].isin([0, 1]).all():
        raise InputError(f"{path}: expected a truth of 0 or 1 for every slice.")
    predicted = (table["probability"] >= THRESHOLD).to_numpy().astype(np.uint8)
    return score_case(table["truth"].to_numpy().astype(np.uint8), predicted, (1.0,), {"slice": [1]}, OVERLAP)


def gated(case: PreparedCase, labels: np.ndarray, path: Path) -> np.ndarray:
    """Return a label map on the case's own grid, emptied in every slice where the classifier sees no tumour.

    Raises:
        InputError: as ``read_slices``, and if the table lacks a slice of the case.
    """
    probability = read_slices(path).set_index("z")["probability"].reindex(case.z)
    if probability.isna().any():
        lacking = probability.index[probability.isna()][0]
        raise InputError(f"{path}: expected every slice of {case.case.case_id}, found none with z {lacking}.")
    kept = (probability >= THRESHOLD).to_numpy()
    return case.restore(np.where(kept[:, None, None], case.crop(labels), 0).astype(np.uint8))
