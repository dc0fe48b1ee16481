"""Compare methods, not only the networks that were trained, from scores of several trainings.

A test over patients asks whether these networks differ on new patients. With enough patients two networks of one
method do differ: the luck of a training is shared by all its patients, and no number of them averages it out. The
question about methods has two samples, patients and trainings, and is answered here by an analysis of variance.

The unit of training is a training set: the patients that a fold of one seed trains on, with the random numbers of that
run. Both models are trained on the same sets, so that what is analysed is the difference of their runs on one set,

    d(patient i, set c) = difference + patient(i) + set(c) + patient x set(i, c).

Where every seed has a partition of the patients of its own, k folds and s seeds give k s training sets, and each
patient is tested by s of them. Where seeds share their folds there are k sets, however many seeds: what a fold's
training patients do to a difference cannot be told from what its test patients do, and the test is Student's t on the
k means of folds, or that over patients and runs if it says less, as where a few means are alike by chance. A run's
training set is known by its fold's number and the patients that it tested.

The answer holds for methods trained anew on sets drawn from these patients, and used on new patients. What all sets
drawn from these patients have in common, because the patients are these, no test on one data set can see (Bengio and
Grandvalet 2004); research/calibration says how far that reaches.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special
from scipy.sparse import csgraph

from benchmark.stats.intervals import CONFIDENCE

TWO_LEVEL = "two_level"
"""Name of the test in study.json, beside those of ``paired.TESTS``, which are over patients alone."""
INCOMPLETE = "what only one of the two models was trained or tested on is left out: the difference is not of the means"
ONE_SET = "the models share fewer than two training sets: what differs may be these networks, not the methods"
SAME_SET = "one training set for all seeds: of methods trained anew on that same set, with other random numbers"


@dataclass(frozen=True)
class Estimate:
    """A mean over patients and training sets with its uncertainty in two parts, as variances of that mean.

    ``patients`` is the part that more patients would shrink and ``sets`` the part that more training sets would, with
    their degrees of freedom. Where folds are shared ``sets`` is the whole, and ``runs`` what patients and single runs
    say; the wider of the two holds. NaN where there are not two sets.
    """

    mean: float
    patients: float
    patients_df: int
    sets: float
    sets_df: int
    runs: Estimate | None = None

    def half_width(self, tail: float) -> float:
        """Return half the width of the interval that leaves ``tail`` on either side."""
        t = [special.stdtrit(df, tail) for df in (self.patients_df, self.sets_df)]
        half = float(np.sqrt(self.patients * t[0] ** 2 + self.sets * t[1] ** 2))
        return max(half, self.runs.half_width(tail)) if self.runs else half

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the mean.

        The two parts' own t intervals, joined in quadrature (Zou and Donner 2008), since no single t distribution
        holds when the parts have 200 and 5 degrees of freedom. A bootstrap that resamples a few trainings sees a part
        of their variance only, and a mixed model's z interval takes the variances as known.
        """
        half = self.half_width((1 - CONFIDENCE) / 2)
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> float:
        """Return the one-sided p against a mean at or below ``bound``; 1 where no variance can be estimated."""
        return self._tail(self.mean - bound)

    def p_below(self, bound: float) -> float:
        """Return the one-sided p against a mean at or above ``bound``; 1 where no variance can be estimated."""
        return self._tail(bound - self.mean)

    @property
    def p(self) -> float:
        """Two-sided p against a mean of zero; 1 where no variance can be estimated."""
        return min(1.0, 2 * self._tail(abs(self.mean)))

    def _tail(self, away: float) -> float:
        """Return the tail at which the interval's bound is ``away`` from the mean: the one-sided p."""
        if np.isnan(self.variance):
            return 1.0
        # Rounding is no variance: what is left are the signs of the patients, as in ``paired.tost``.
        if self.variance <= 1e-24:
            return 0.5 ** (self.patients_df + 1) if away > 0 else 1.0
        low, high = np.log(1e-300), np.log(0.5)
        # The half width falls as the tail grows: halve the range of its logarithm until it is the distance.
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(np.exp(middle)) > abs(away) else (low, middle)
        tail = float(np.exp((low + high) / 2))
        return tail if away > 0 else 1 - tail

    @property
    def variance(self) -> float:
        """Variance of the mean."""
        return max(self.patients + self.sets, self.runs.variance if self.runs else 0.0)

    @property
    def statistic(self) -> float:
        """The mean in standard errors."""
        error = np.sqrt(self.variance)
        return float(self.mean / error) if error > 0 else float("nan")


class Components(NamedTuple):
    """Variance of the paired difference of one run of each model on one patient, by its source.

    ``seed`` is the luck of a training, of its random numbers and of its training set, shared by all patients.
    """

    patient: float
    seed: float
    patient_seed: float


class Pair(NamedTuple):
    """Scores of two models on the patients (rows), NaN where a run did not test a patient.

    ``first`` and ``second`` have a column per run; ``sets`` numbers the training set of each, over both models.
    """

    first: pd.DataFrame
    second: pd.DataFrame
    sets: pd.Series

    def by_set(self, first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
        """Average values per run over the runs of each training set: (patients, sets) of either model."""
        result, count = [], int(self.sets.max()) + 1
        for values, runs in ((first, self.first), (second, self.second)):
            own = self.sets[runs.columns].to_numpy()
            result.append(np.stack([_mean(values[:, own == one], 1) for one in range(count)], axis=1))
        return result

    def differences(self) -> np.ndarray:
        """Return (patients, training sets), first minus second."""
        first, second = self.by_set(self.first.to_numpy(), self.second.to_numpy())
        return np.asarray(np.round(first - second, 12))

    def runs(self) -> np.ndarray:
        """Return (patients, runs), first minus second, of the runs with one fold and seed."""
        both = self.first.columns.intersection(self.second.columns)
        return np.asarray(np.round((self.first[both] - self.second[both]).to_numpy(), 12))

    @property
    def whole(self) -> bool:
        """Whether both models were tested on the same patients by each training set."""
        first, second = self.by_set(self.first.to_numpy(), self.second.to_numpy())
        return bool((np.isnan(first) == np.isnan(second)).all())


def model_runs(rows: pd.DataFrame, patients: pd.Index) -> dict[str, pd.DataFrame]:
    """Return the scores (patients, runs) of each model in rows of one metric and region; cases are averaged within
    patients, and a run is a column (fold, seed)."""
    means = rows.groupby(["model", "patient_id", "fold", "seed"])["value"].mean()
    return {
        str(model): own.droplevel("model").unstack(["fold", "seed"]).reindex(patients)
        for model, own in means.groupby(level="model")
    }


def pair_runs(first: pd.DataFrame, second: pd.DataFrame) -> Pair:
    """Pair two models of ``model_runs``. Runs of one fold that tested the same patients share their training set.

    A patient counts as tested by a run where either model has the score, so that one that is lost makes no new set. A
    fold of the same number in which the models share less than half of their patients is another fold, as where another
    tool has folds of its own.
    """
    both = first.columns.intersection(second.columns)
    if other := [run for run in both if _are_apart(first[run], second[run])]:
        folds, seeds = (second.columns.get_level_values(name) for name in ("fold", "seed"))
        folds = folds.where(~second.columns.isin(other), -1 - folds)
        second = second.set_axis(pd.MultiIndex.from_arrays([folds, seeds]), axis=1)
    columns = first.columns.union(second.columns)
    tested = {run: np.zeros(len(first), dtype=bool) for run in columns}
    for own in (first, second):
        for run in own.columns:
            tested[run] |= own[run].notna().to_numpy()
    keys = [(run[0], there.tobytes()) for run, there in tested.items()]
    return Pair(first, second, pd.Series(pd.factorize(pd.Series(keys))[0], index=columns))


def _are_apart(first: pd.Series, second: pd.Series) -> bool:
    one, two = first.notna(), second.notna()
    return bool(2 * (one & two).sum() < min(one.sum(), two.sum()))


def estimate(differences: np.ndarray, runs: np.ndarray | None = None) -> Estimate:
    """Estimate the mean over patients and training sets of ``differences`` (patients, sets), NaN where not tested.

    Where patients connect all sets: ``estimate_runs``. Where they do not, as with folds that all seeds share, the sets
    that are connected make a group, and groups share no patient: Student's t on their means, each with the weight of
    its patients, and by ``runs`` (patients, runs) ``estimate_runs`` too. With one set in all, everything but the mean
    is NaN.
    """
    found = _analyse(differences)
    if found.groups < 2:
        return _joined(found)
    weights = np.bincount(found.group) / len(found.group)
    means = np.bincount(found.group, found.means) / np.bincount(found.group)
    mean = float(found.means.mean())
    variance = (weights * (means - mean) ** 2).sum() / (1 - (weights**2).sum())
    error = float(variance * (weights**2).sum())
    over_runs = None if runs is None else estimate_runs(runs)
    own = over_runs if over_runs and over_runs.sets_df else None
    return Estimate(mean, 0.0, len(found.means) - 1, error, found.groups - 1, own)


def estimate_runs(values: np.ndarray) -> Estimate:
    """Estimate the mean over patients and runs of ``values`` (patients, runs), where runs of one fold are independent.

    So they are where ``values`` are changes of one method, new minus old under the same fold and seed: what the
    training set does to the method does not change. Checkpoints that were trained anew change by the luck of two
    trainings; where only what follows training is new they change alike, which hardly adds to the variance.
    """
    return _joined(_analyse(values))


class _Analysis(NamedTuple):
    """Least squares of values by patient and column; see ``_analyse``."""

    means: np.ndarray
    group: np.ndarray
    groups: int
    spread: float
    luck: float
    rest: float
    df: int
    extra: float
    weight: float
    mixed: float
    per_patient: float


def _analyse(values: np.ndarray) -> _Analysis:
    """Analyse values (patients, columns) by patient and column, unbalanced as they are (Henderson's third method).

    With N values of n patients in g groups that share no column, ``luck`` is the sum of squares of columns adjusted for
    patients, over N - n, with ``df`` degrees of freedom; E[luck] = column + ``extra`` x rest. ``rest`` is the mean
    square of what patients and columns leave; ``spread`` the variance of patients' means within groups,
    E[spread] = patient + ``mixed`` x column + ``per_patient`` x rest; ``weight`` the sum of the squared weights of
    columns in the mean over patients.
    """
    values = values[~np.isnan(values).all(axis=1)][:, ~np.isnan(values).all(axis=0)]
    there = ~np.isnan(values)
    tests = there.sum(axis=1)
    n, free = len(values), int(there.sum()) - len(values)
    share = there / tests[:, None]
    means = np.nansum(values, axis=1) / np.maximum(tests, 1)
    groups, label = csgraph.connected_components((share.T @ there) > 0, directed=False)
    group = label[there.argmax(axis=1)] if n else np.zeros(0, dtype=int)
    roots, axes = np.linalg.eigh(np.diag(there.sum(axis=0)) - share.T @ there)
    known = roots > 1e-9 * max(1, n)
    left = np.where(there, values - means[:, None], 0.0)
    squares = float(((axes[:, known].T @ left.sum(axis=0)) ** 2 / roots[known]).sum())
    df = int(known.sum())
    away = means - (np.bincount(group, means) / np.bincount(group))[group] if n else means
    own = share.sum(axis=0) ** 2 / np.maximum(np.bincount(group, minlength=groups), 1)[label]
    nan = float("nan")
    return _Analysis(
        means, group, groups,
        spread=float((away**2).sum() / (n - groups)) if n > groups else nan,
        luck=squares / free if df else nan,
        rest=max(0.0, float((left**2).sum()) - squares) / (free - df) if free > df else 0.0,
        df=df, extra=df / free if free else nan,
        weight=float((share.sum(axis=0) ** 2).sum() / n**2) if n else nan,
        mixed=float(((share**2).sum() - own.sum()) / (n - groups)) if n > groups else nan,
        per_patient=float((1 / tests).mean()) if n else nan,
    )  # fmt: skip


def _joined(found: _Analysis) -> Estimate:
    n, noise = len(found.means), found.rest * found.extra
    mean = float(found.means.mean()) if n else float("nan")
    if not found.df or n <= found.groups:
        return Estimate(mean, float("nan"), n - 1, float("nan"), 0)
    # What the part of the sets holds of the noise is left out of the part of the patients.
    patients = found.spread - found.mixed * (found.luck - noise) - n * found.weight * noise
    return Estimate(mean, max(0.0, patients) / n, n - found.groups, found.luck * found.weight, found.df)


def components(own: Pair) -> Components:
    """Estimate the sources of the variance of a difference; NaN where no run of either model shares fold and seed.

    Where folds are shared, what the means of folds vary by beyond patients and seeds is due to their training sets.
    """
    patient, seed, fold, rest = _parts(own)
    return Components(patient, seed + (0.0 if np.isnan(fold) else fold), rest)


def fold_variance(own: Pair) -> float:
    """Return the part of ``Components.seed`` that all seeds of a fold share; NaN where seeds have folds of their own.

    It is what the means of shared folds vary by beyond patients and seeds. NaN too where ``components`` are.
    """
    return _parts(own)[2]


def _parts(own: Pair) -> tuple[float, float, float, float]:
    """Variances of patients, of seeds, of the folds that seeds share, and of the rest."""
    found, nan = _analyse(own.runs()), float("nan")
    n = len(found.means)
    if not found.df or n <= found.groups:
        return nan, nan, nan, nan
    seed = found.luck - found.rest * found.extra
    patient, fold = max(0.0, found.spread - found.mixed * seed - found.per_patient * found.rest), nan
    if _analyse(own.differences()).groups > 1:
        weight = ((np.bincount(found.group) / n) ** 2).sum()
        rest = seed * found.weight + (patient + found.per_patient * found.rest) / n
        fold = float(max(0.0, (estimate(own.differences()).sets - rest) / weight))
    return patient, max(0.0, seed), fold, found.rest


def set_means(own: Pair) -> np.ndarray:
    """Return the mean difference over the patients that each shared training set tested."""
    differences = own.differences()
    return _mean(differences[:, ~np.isnan(differences).all(axis=0)], 0)


def estimate_pair(own: Pair, outside: bool = False) -> tuple[Estimate, str]:
    """Estimate the mean difference of two models, and say what has to be known of it; an empty text where nothing has.

    With fewer than two training sets there is no variance. With ``outside``, that is with a model that no run of the
    study trained, seeds that share one training set are then what was sampled: SAME_SET says what this is of.
    """
    found = estimate(own.differences(), own.runs())
    if found.sets_df:
        return found, "" if own.whole else INCOMPLETE
    of_seeds = estimate_runs(own.runs()) if outside else found
    return (of_seeds, SAME_SET) if of_seeds.sets_df else (found, ONE_SET)


def two_level(
    rows: pd.DataFrame, patients: pd.Index, pairs: pd.DataFrame, margin: float, outside: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return columns of ``compare`` by name, one value per row of ``pairs``, where the declared test is of methods.

    Statistic, p and interval are those of ``estimate_pair``, and so is the note; ``outside`` are the models that no run
    of the study trained. ``above`` and ``below`` are the one-sided p against -margin and +margin (NaN without one).
    With fewer than two training sets p is 1.
    """
    runs, found = model_runs(rows, patients), []
    for a, b in pairs.itertuples(index=False):
        own = pair_runs(runs[a], runs[b])
        one, note = estimate_pair(own, not {a, b}.isdisjoint(outside))
        low, high = one.interval()
        mean = one.mean if one.sets_df else float(np.nanmean(runs[a].mean(axis=1) - runs[b].mean(axis=1)))
        row = {"difference": mean, "ci_low": low, "ci_high": high, "statistic": one.statistic, "p": one.p}
        above, below = (one.p_above(-margin), one.p_below(margin)) if margin > 0 else (np.nan, np.nan)
        row |= {"p_smallest": 0.0 if one.sets_df else 1.0, "above": above, "below": below}
        found.append(row | {"note": note})
    return {str(column): values.to_numpy() for column, values in pd.DataFrame(found).items()}


def superiority(own: Pair, higher: bool) -> tuple[float, float, float]:
    """Estimate the probability that model a beats model b on a new patient, each newly trained, with a 95% interval.

    It is the share of patients and pairs of runs where a is better, a tie counting half. A training set's part is the
    share of its runs' wins against all runs of the other model (the projection of a U statistic), analysed like any
    difference; the interval is symmetric in log odds. Where a always or never wins there is no variance, and the bound
    is that of n patients won by chance alone; it then says nothing about trainings. The interval is NaN where
    ``estimate`` has none.
    """
    first, second = own.first.to_numpy(), own.second.to_numpy()
    gap = (first[:, :, None] - second[:, None, :]) * (1 if higher else -1)
    won = np.where(np.isnan(gap), np.nan, (np.sign(np.round(gap, 12)) + 1) / 2)
    share = _mean(won, (1, 2))
    a, b = own.by_set(_mean(won, 2), _mean(won, 1))
    found, mean, count = estimate(a + b - share[:, None]), float(np.nanmean(share)), int((~np.isnan(share)).sum())
    tail = (1 - CONFIDENCE) / 2
    if mean in (0.0, 1.0) and found.sets_df:
        reach = tail ** (1 / count)
        return (1.0, reach, 1.0) if mean else (0.0, 0.0, 1 - reach)
    half = found.half_width(tail) / (mean * (1 - mean)) if 0 < mean < 1 else float("nan")
    centre = special.logit(mean)
    return mean, float(special.expit(centre - half)), float(special.expit(centre + half))


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Mean of what is not NaN; NaN where nothing is."""
    count = (~np.isnan(values)).sum(axis=axis)
    return np.where(count > 0, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan)
