"""Test paired differences of patients for a difference, equivalence and non-inferiority, and give effect sizes.

Every function takes differences of shape (patients,) or (rows, patients), model a minus model b, and returns one value
per row. A zero difference has no sign: the rank and permutation tests drop it, and callers report how many there were.

"No difference shown" does not say how large a difference may be. Two one-sided tests against a margin do (Schuirmann
1987): a difference that is shown to be above -margin and below +margin is too small to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmark.base.records import InputError

EXACT = 13
"""Non-zero differences up to which all 2^n signs are tried: 8192 of them."""
FLIPS = 19_999
"""Random signs tried beyond ``EXACT``; the smallest p is then 1 / 20000."""
FLIP_SEED = 20261
_BLOCK = 4_000_000
"""Numbers held at once where a table of resamples would outgrow the memory."""


class PairedTest(NamedTuple):
    """Result of a paired test, one value per row: the statistic, p, and the smallest p that was possible."""

    statistic: np.ndarray
    p: np.ndarray
    p_smallest: np.ndarray


def paired_differences(first: Any, second: Any) -> Any:
    """Return first minus second (arrays or series), rounded: averages that differ by floating point alone are ties."""
    return np.round(first - second, 12)


def wilcoxon(differences: np.ndarray) -> PairedTest:
    """Two-sided Wilcoxon signed-rank test; zero differences are dropped (Wilcoxon's own rule), ties share ranks.

    Exact up to 50 non-zero differences without ties and up to ``EXACT`` with ties, beyond that the normal
    approximation with the variance corrected for ties (scipy's choice), which is the more conservative of the two in
    the far tails. Given which differences are zero or tied, each sign is a fair coin if the models do not differ, so
    neither zeros nor ties raise the rate of false alarms; zeros only cost power. The smallest exact p on n non-zero
    differences is 2 / 2^n. Without any non-zero difference p is 1.
    """
    rows = _rows(differences)
    statistic, p, smallest = np.zeros(len(rows)), np.ones(len(rows)), np.ones(len(rows))
    sizes = np.sort(np.abs(rows), axis=-1)
    tied = ((np.diff(sizes, axis=-1) == 0) & (sizes[:, 1:] > 0)).any(axis=-1)
    left = (rows != 0).sum(axis=-1)
    ranks = signed_ranks(rows)
    for count, ties in {*zip(left.tolist(), tied.tolist(), strict=True)} - {(0, False)}:
        at = (left == count) & (tied == ties)
        if ties and count <= EXACT:
            kept = ranks[at][rows[at] != 0].reshape(-1, count)
            plus = np.where(kept > 0, kept, 0).sum(axis=-1)
            statistic[at] = np.minimum(plus, count * (count + 1) / 2 - plus)
            p[at], smallest[at] = _all_flips(kept), 2.0 / 2.0**count
            continue
        kept = rows[at][rows[at] != 0].reshape(-1, count)
        found = stats.wilcoxon(kept, axis=-1)
        statistic[at], p[at], smallest[at] = found.statistic, found.pvalue, stats.wilcoxon(np.abs(kept), axis=-1).pvalue
    return _shaped(differences, statistic, p, smallest)


def paired_t(differences: np.ndarray) -> PairedTest:
    """Two-sided paired t test; p is 1 with fewer than two patients or without any difference.

    Where all differences are equal, and not zero, there is no spread and t has no value: p is 2 / 2^n, that of n equal
    signs, as in ``tost`` and in the rank and permutation tests. (scipy gives 0, on two patients too.)
    """
    rows = _rows(differences)
    # That of equal signs is 1 for one patient.
    p = np.where(rows[:, 0] != 0, 2.0 ** (1 - rows.shape[-1]), 1.0)
    statistic, smallest, varied = np.full(len(rows), np.nan), p.copy(), np.ptp(rows, axis=-1) > 0
    found = stats.ttest_1samp(rows[varied], 0.0, axis=-1)
    statistic[varied], p[varied], smallest[varied] = found.statistic, found.pvalue, 0.0
    return _shaped(differences, statistic, p, smallest)


def permutation(differences: np.ndarray) -> PairedTest:
    """Two-sided paired permutation test of the mean difference: the models are swapped within patients (sign flips).

    Exact over all 2^n swaps up to ``EXACT`` non-zero differences. Beyond, ``FLIPS`` seeded random swaps and
    p = (b + 1) / (m + 1) with b of m as far from zero as what was observed (Phipson and Smyth 2010), which keeps the
    rate of false alarms at any m. The order of patients does not matter. If all differences are zero, p is 1.
    """
    rows = _rows(differences)
    # Largest first and zeros last: the patients' own order must have no say in which random signs they get.
    ordered = np.take_along_axis(rows, np.argsort(-np.abs(rows), axis=-1, kind="stable"), axis=-1)
    left = (rows != 0).sum(axis=-1)
    p, smallest = np.ones(len(rows)), np.ones(len(rows))
    for count in {*left[left <= EXACT].tolist()} - {0, 1}:  # one sign alone has p = 1
        at = left == count
        p[at], smallest[at] = _all_flips(ordered[at, :count]), 2.0 / 2.0**count
    at = left > EXACT
    if at.any():
        p[at] = _random_flips(np.abs(ordered[at]), rows[at].sum(axis=-1))
        smallest[at] = np.maximum(1.0 / (FLIPS + 1), 2.0 ** (1.0 - left[at]))
    return _shaped(differences, rows.mean(axis=-1), p, smallest)


TESTS: dict[str, Callable[[np.ndarray], PairedTest]] = {
    test.__name__: test for test in (wilcoxon, paired_t, permutation)
}


def signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Rank the non-zero |differences| of each row, ties sharing ranks, and give each its sign; a zero stays 0."""
    zeros = (differences == 0).sum(axis=-1, keepdims=True)
    return np.asarray(np.sign(differences) * (stats.rankdata(np.abs(differences), axis=-1) - zeros))


def rank_biserial(differences: np.ndarray) -> np.ndarray:
    """Matched-pairs rank-biserial correlation: (R+ - R-) / (R+ + R-) over the ranks of non-zero |differences|.

    From -1 to 1, positive where model a is higher; 0 if all differences are zero (Kerby 2014).
    """
    ranks = signed_ranks(np.asarray(differences, dtype=float))
    total = np.abs(ranks).sum(axis=-1)
    return np.asarray(ranks.sum(axis=-1) / np.where(total == 0, 1.0, total))


def cohen_dz(differences: np.ndarray) -> np.ndarray:
    """Cohen's d_z: the mean difference in standard deviations of the differences (n - 1).

    0 where all differences are zero; NaN where they are all equal otherwise, or fewer than two.
    """
    rows = np.asarray(differences, dtype=float)
    if rows.shape[-1] < 2:
        return np.full(rows.shape[:-1], np.nan)
    mean, varied = rows.mean(axis=-1), np.ptp(rows, axis=-1) > 0
    spread = np.where(varied, rows.std(axis=-1, ddof=1), np.nan)
    return np.asarray(np.where(~varied & (mean == 0), 0.0, mean / spread))


class OneSided(NamedTuple):
    """One-sided p values per row: ``above`` tests mean <= -margin, ``below`` tests mean >= +margin."""

    above: np.ndarray
    below: np.ndarray

    @property
    def equivalent(self) -> np.ndarray:
        """P value of equivalence: it needs both tests, so it is the larger p, without correction."""
        return np.asarray(np.maximum(self.above, self.below))


def tost(differences: np.ndarray, margin: float) -> OneSided:
    """Two one-sided paired t tests of the mean difference against -margin and +margin, for each row.

    ``differences`` is (patients,) or (rows, patients). The mean is tested whatever test is declared for a difference:
    the margin is one on the mean, and a rank test against a margin is about the median only. A rank test calls a model
    no worse that misses the tumour in one patient of ten, since it is no worse in nine; the mean shows the loss.

    Where all differences are equal the t test is undefined; within the margin p is then 2^-n, that of n equal signs.
    With fewer than two patients p is 1; without a margin (NaN) it is NaN.
    """
    rows = np.asarray(differences, dtype=float)
    count, shape = rows.shape[-1], rows.shape[:-1]
    if np.isnan(margin):
        return OneSided(np.full(shape, np.nan), np.full(shape, np.nan))
    if count < 2:
        return OneSided(np.ones(shape), np.ones(shape))
    mean, varied = rows.mean(axis=-1), np.ptp(rows, axis=-1) > 0
    error = np.where(varied, rows.std(axis=-1, ddof=1) / np.sqrt(count), np.nan)
    above = np.where(varied, stats.t.sf((mean + margin) / error, count - 1), np.where(mean > -margin, 0.5**count, 1.0))
    below = np.where(varied, stats.t.cdf((mean - margin) / error, count - 1), np.where(mean < margin, 0.5**count, 1.0))
    return OneSided(above, below)


def holm_one_sided(found: OneSided) -> OneSided:
    """Adjust the one-sided p values of a family of rows, so that the risk of any false claim in it is at most alpha.

    At most one of a row's two hypotheses is true (a difference is not at or below -margin and at or above +margin), so
    the step-down factor is the number of rows that still have a hypothesis not rejected, not of hypotheses (Shaffer
    1986, method S1). NaN stays NaN and is not counted in the family.
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
    """Return the margin of a metric in its unit, from an entry of study.json; NaN if there is none.

    ``declared`` is one number, or a number per metric.

    Raises:
        InputError: if it is not a number above 0, or from 0 up if ``zero`` is allowed.
    """
    margin = declared.get(metric) if isinstance(declared, Mapping) else declared
    if margin is None:
        return float("nan")
    number = isinstance(margin, int | float) and not isinstance(margin, bool)
    if not number or not 0 <= margin < float("inf") or (margin == 0 and not zero):
        expected = "a number from 0 up" if zero else "a number above 0"
        raise InputError(f"{entry} for {metric} is {margin}: expected {expected}.")
    return float(margin)


def _rows(differences: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.asarray(differences, dtype=float))


def _shaped(differences: np.ndarray, *found: np.ndarray) -> PairedTest:
    """Return results in the shape of the input without its last axis."""
    return PairedTest(*(values.reshape(np.shape(differences)[:-1]) for values in found))


def _all_flips(values: np.ndarray) -> np.ndarray:
    """P of each row's sum among those of all its 2^n sign flips; no value may be zero."""
    found = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", vectorized=True, n_resamples=np.inf, axis=-1,
        batch=max(1, _BLOCK // values.size),
    )  # fmt: skip
    return np.asarray(found.pvalue)


def _random_flips(values: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """(b + 1) / (m + 1) of ``FLIPS`` random sign flips; the same flips for every row, in blocks to bound memory."""
    # scipy's permutation_test flips each row anew: 28 times as long for 30 rows of 1,250 patients.
    # Two sums that differ by a rounding error are equal.
    random, limit = np.random.default_rng(FLIP_SEED), np.abs(sums) - 1e-12 * np.abs(values).sum(axis=-1)
    reached = np.ones(len(values))
    step = max(1, _BLOCK // values.shape[-1])
    for done in range(0, FLIPS, step):
        count = min(step, FLIPS - done)
        signs = 1.0 - 2.0 * random.integers(0, 2, (count, values.shape[-1]), dtype=np.int8)
        chunk = max(1, _BLOCK // count)
        for at in range(0, len(values), chunk):
            own = slice(at, at + chunk)
            reached[own] += (np.abs(values[own] @ signs.T) >= limit[own, None]).sum(axis=-1)
    return reached / (FLIPS + 1)
