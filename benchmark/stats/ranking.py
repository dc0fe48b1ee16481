"""Values of patients under several models to ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Friedman(NamedTuple):
    """Friedman's test: its chi-squared (corrected for ties) and p."""

    statistic: float
    p: float


def friedman(values: np.ndarray) -> Friedman:
    """Friedman's test over models (columns) with patients as blocks (rows); NaN below three models or two patients."""
    if values.shape[1] < 3 or values.shape[0] < 2:
        return Friedman(float("nan"), float("nan"))
    if (np.ptp(values, axis=1) == 0).all():
        return Friedman(0.0, 1.0)
    found = stats.friedmanchisquare(*values.T)
    return Friedman(float(found.statistic), float(found.pvalue))
