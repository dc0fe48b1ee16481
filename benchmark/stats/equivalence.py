"""Paired differences and a declared margin to what they show of equivalence and of being no worse.

"No difference shown" says nothing on how large a difference may be. Two one-sided tests against a margin do
(Schuirmann 1987): a difference that is shown to be above -margin and below +margin is too small to matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmark.base.records import InputError


class OneSided(NamedTuple):
    """P values a row: ``above`` of a mean difference at or below -margin, ``below`` of one at or above +margin."""

    above: np.ndarray
    below: np.ndarray

    @property
    def equivalent(self) -> np.ndarray:
        """P of the two together: equivalence needs both, so it is the larger one, and no correction is due."""
        return np.maximum(self.above, self.below)


def tost(differences: np.ndarray, margin: float) -> OneSided:
    """Two one-sided paired t tests of the mean difference against -margin and +margin, for each row.

    ``differences`` is (patients,) or (rows, patients). The test is of the mean whatever test is declared for a
    difference: the margin is one on the mean, and a rank test against a margin asks for the median only. A model that
    loses the tumour in one patient of ten has a rank test call it no worse, as nine of ten are; its mean says not so.

    Where all differences are equal the t test is undefined; within the margin p is then 2^-n, as n signs alone say.
    Below two patients p is 1; without a margin (NaN) it is NaN.
    """
    rows = np.atleast_2d(np.asarray(differences, dtype=float))
    count = rows.shape[-1]
    above, below = np.ones(len(rows)), np.ones(len(rows))
    if count > 1:
        mean, constant = rows.mean(axis=-1), np.ptp(rows, axis=-1) == 0
        above[constant] = np.where(mean[constant] > -margin, 0.5**count, 1.0)
        below[constant] = np.where(mean[constant] < margin, 0.5**count, 1.0)
        varied = ~constant
        error = rows[varied].std(axis=-1, ddof=1) / np.sqrt(count)
        above[varied] = stats.t.sf((mean[varied] + margin) / error, count - 1)
        below[varied] = stats.t.cdf((mean[varied] - margin) / error, count - 1)
    if np.isnan(margin):
        above[:] = below[:] = np.nan
    shape = np.shape(differences)[:-1]
    return OneSided(above.reshape(shape), below.reshape(shape))


def holm_one_sided(found: OneSided) -> OneSided:
    """Adjust the one-sided p values of a family of rows so that any false claim among all of them is held to alpha.

    Of a row's two hypotheses one at most is true (a difference is not at or below -margin and at or above +margin), so
    the step-down factor is the number of rows that still have a hypothesis not rejected, not of hypotheses (Shaffer
    1986, method S1). NaN stays NaN and is not in the family.
    """
    p = np.stack([np.asarray(found.above, dtype=float), np.asarray(found.below, dtype=float)])
    adjusted = np.full(p.shape, np.nan)
    order = [place for place in np.argsort(p, axis=None, kind="stable") if np.isfinite(p.flat[place])]
    rows = p.shape[1]
    left = np.bincount([place % rows for place in order], minlength=rows)
    unsettled, reached = int((left > 0).sum()), 0.0
    for place in order:
        reached = max(reached, min(1.0, unsettled * p.flat[place]))
        adjusted.flat[place] = reached
        left[place % rows] -= 1
        unsettled -= left[place % rows] == 0
    return OneSided(adjusted[0], adjusted[1])


def margin_of(declared: Any, metric: str, entry: str = "compare.margin", zero: bool = False) -> float:
    """Margin of a metric, in its unit, from an entry of study.json, a number or one by metric; NaN if there is none.

    Raises:
        InputError: if it is not a number above 0, or from 0 up where ``zero`` may be.
    """
    margin = declared.get(metric) if isinstance(declared, Mapping) else declared
    if margin is None:
        return float("nan")
    number = isinstance(margin, int | float) and not isinstance(margin, bool)
    if not number or not 0 <= margin < float("inf") or (margin == 0 and not zero):
        expected = "a number from 0 up" if zero else "a number above 0"
        raise InputError(f"{entry} for {metric} is {margin}: expected {expected}.")
    return float(margin)
