"""Compute how likely a claim that one model is better is to be false, and the patients that would support it.

Two models were scored on the same n patients, with SDs s_A and s_B and a correlation r of the patients' scores; A has
the better mean. The probability that its true mean is not better is, with no prior knowledge,

    P(false) = F_t(n-1)(sqrt(n) (mean_B - mean_A) / sqrt(s_A^2 + s_B^2 - 2 s_A s_B r))

(Christodoulou et al. 2025, "False promises in medical imaging AI? Assessing validity of outperformance claims"). It is
at most 0.5, speaks of these trained networks, and equals the one-sided p of the paired t test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

RISK = 0.05
"""Probability of a false claim above which the publication calls it high."""
MOST = 10**7
"""Number of patients beyond which no number is called enough."""


def difference_sd(first: Any, second: Any, correlation: Any) -> Any:
    """SD of the paired difference of two scores, from their SDs and their correlation over patients."""
    return np.sqrt(np.maximum(np.square(first) + np.square(second) - 2 * first * second * correlation, 0.0))


def false_claim(gain: Any, spread: Any, patients: Any) -> np.ndarray:
    """Return P(false) for mean gains of the better model, 0 or more, and SDs of the paired differences.

    Without any spread it is that of n equal signs, 2^-n, or 0.5 where there is no gain; NaN below two patients.
    """
    gain, spread, patients = np.broadcast_arrays(*(np.asarray(one, dtype=float) for one in (gain, spread, patients)))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.t.cdf(-np.sqrt(patients) * gain / spread, patients - 1)
    found = np.where(spread > 0, found, np.where(gain > 0, 0.5**patients, 0.5))
    return np.asarray(np.where((patients < 2) | np.isnan(gain), np.nan, found))


def patients_to_support(gain: float, spread: float, risk: float = RISK) -> float:
    """Return the smallest number of patients at which a gain of this size is false with at most ``risk``.

    Infinite where no number is, as for no gain.
    """
    low, high = 1, 2
    while high < MOST and not false_claim(gain, spread, high) <= risk:
        low, high = high, 2 * high
    if high >= MOST:
        return float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if false_claim(gain, spread, middle) <= risk else (middle, high)
    return float(high)
