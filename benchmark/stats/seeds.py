"""Compare methods, not only the checkpoints that were trained, from scores under several seeds.

A test over patients asks whether these checkpoints differ on new patients. With enough patients two checkpoints of one
method do differ: the luck of a training run is shared by all its patients, and no number of them averages it out. The
question about methods has two samples, patients and checkpoints, and is answered here by an analysis of variance.

The unit of training is a checkpoint, one fold with one seed. Within a model y(patient i, checkpoint c) = mean +
patient(i) + checkpoint(c) + patient x checkpoint(i, c). Patients scored by the same folds make a block: the patients
of one fold of a cross-validation under its seeds, or all patients of a fixed test set under every fold and seed. Each
fold of one seed is another checkpoint, so five folds with two seeds say more about the luck of training (5 degrees of
freedom per model) than one fold with two seeds (1). What all checkpoints of a fold share, their training patients, is
not separated: the answer holds for methods trained on sets such as these.

Checkpoints of two models are not paired: seed 1 of one model has nothing in common with seed 1 of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from benchmark.stats.intervals import CONFIDENCE

TWO_LEVEL = "two_level"
"""Name of the test in study.json, beside those of ``paired.TESTS``, which are over patients alone."""
INCOMPLETE = "a run that lacks scores of some patients is left out, so that the difference is not that of the means"
ONE_SEED = "a model has no fold with two seeds and two patients: what differs may be these checkpoints, not the methods"


class ScoreBlock(NamedTuple):
    """Scores of the patients (rows, by place in the table) that the same checkpoints (columns) scored."""

    places: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean over patients and checkpoints with its uncertainty in two parts, as variances of that mean.

    ``patients`` is the part that more patients would shrink and ``seeds`` the part that more checkpoints would, with
    their degrees of freedom.
    """

    mean: float
    patients: float
    patients_df: int
    seeds: float
    seeds_df: int

    def half_width(self, tail: float) -> float:
        """Return half the width of the interval that leaves ``tail`` on either side."""
        t = [special.stdtrit(df, tail) for df in (self.patients_df, self.seeds_df)]
        return float(np.sqrt(self.patients * t[0] ** 2 + self.seeds * t[1] ** 2))

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the mean.

        The two parts' own t intervals, joined in quadrature (Zou and Donner 2008), since no single t distribution
        holds when the parts have 200 and 2 degrees of freedom. In simulations with 20 to 250 patients and 2 to 5 seeds
        of either model it missed the mean in 2.5% to 5% of trials, whatever the size of the seeds' part. A bootstrap
        that resamples 2 seeds sees half of their variance, and a mixed model's z interval takes the variance of 2 seeds
        as known.
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
        variance = self.patients + self.seeds
        if np.isnan(variance):
            return 1.0
        # Rounding is no variance: what is left are the signs of the patients, as in ``paired.tost``.
        if variance <= 1e-24:
            return 0.5 ** (self.patients_df + 1) if away > 0 else 1.0
        low, high = np.log(1e-300), np.log(0.5)
        # The half width falls as the tail grows: halve the range of its logarithm until it is the distance.
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(np.exp(middle)) > abs(away) else (low, middle)
        tail = float(np.exp((low + high) / 2))
        return tail if away > 0 else 1 - tail

    @property
    def statistic(self) -> float:
        """The mean in standard errors."""
        error = np.sqrt(self.patients + self.seeds)
        return float(self.mean / error) if error > 0 else float("nan")


class Components(NamedTuple):
    """Variance of the paired difference of one run of each model on one patient, by its source."""

    patient: float
    seed: float
    patient_seed: float


def blocks(rows: pd.DataFrame, patients: pd.Index) -> list[ScoreBlock]:
    """Return the blocks of one model from its rows of one metric and region; cases are averaged within patients.

    A checkpoint that did not score all patients of its block is left out.
    """
    values = rows.groupby(["patient_id", "fold", "seed"])["value"].mean().unstack(["fold", "seed"]).reindex(patients)
    folds = values.notna().T.groupby(level="fold").any().T.reset_index(drop=True)
    result = []
    for places in folds.groupby(list(folds.columns), sort=False).indices.values():
        own = values.iloc[places].dropna(axis="columns", how="all").dropna(axis="columns")
        result.append(ScoreBlock(np.asarray(places), np.round(own.to_numpy(), 12)))
    return result


def model_blocks(rows: pd.DataFrame, patients: pd.Index) -> dict[str, list[ScoreBlock]]:
    """Return the ``blocks`` of each model in rows of one metric and region."""
    return {str(model): blocks(own, patients) for model, own in rows.groupby("model")}


def patient_differences(first: list[ScoreBlock], second: list[ScoreBlock]) -> np.ndarray:
    """Return the difference of each patient's values, each averaged over the checkpoints of its block."""
    return np.asarray(np.round(_patient_values(first) - _patient_values(second), 12))


def _patient_values(own: list[ScoreBlock]) -> np.ndarray:
    values = np.full(sum(len(block.places) for block in own), np.nan)
    for block in own:
        values[block.places] = block.values.mean(axis=1) if block.values.size else np.nan
    return values


def estimate(first: list[ScoreBlock], second: list[ScoreBlock]) -> tuple[Estimate, Components]:
    """Estimate the mean difference of two models over patients and checkpoints, and the sources of its variance.

    With S the sample variance of patients' differences, M the mean square of patient x checkpoint of a model and V the
    variance over checkpoints of their means, each pooled over blocks, and k checkpoints in a block of n:
    E[S] = patient + sum M / k, E[M] = patient x checkpoint, E[V] = checkpoint + M / n.
    The mean's variance is (S - sum M / k) / n, with n - 1 degrees of freedom, plus V sum w^2 / k with those of V, where
    w is a block's share of patients. V is pooled over both models, so that two seeds of either leave 2 degrees of
    freedom; where the luck of one model's training is ten times the other's, errors at 2 seeds rise to 9%.

    All but the mean is NaN where a model has no block of two checkpoints and two patients.
    """
    return estimate_mean([first, second], patient_differences(first, second))


def estimate_mean(sides: list[list[ScoreBlock]], differences: np.ndarray) -> tuple[Estimate, Components]:
    """Estimate the mean of ``differences``, one per patient, from the blocks of two models, or of one side.

    One side holds changes, new minus old under the same fold and seed. Where a checkpoint was trained anew, its change
    holds the luck of two trainings; where only what follows training is new, checkpoints change alike and hardly add to
    the variance.
    """
    count, mean = len(differences), float(differences.mean())
    parts = [_model_parts(own, count) for own in sides]
    if min(part.df for part in parts) == 0:
        nan = float("nan")
        return Estimate(mean, nan, count - 1, nan, 0), Components(nan, nan, nan)
    spread, df = float(differences.var(ddof=1)), sum(part.df for part in parts)
    between = sum(part.df * part.between for part in parts) / df
    patient = max(0.0, spread - sum(part.residual * part.per_patient for part in parts))
    found = Estimate(mean, patient / count, count - 1, between * sum(part.weight for part in parts), df)
    seed = sum(max(0.0, part.between - part.residual * part.per_block) for part in parts)
    return found, Components(patient, seed, sum(part.residual for part in parts))


def two_level(rows: pd.DataFrame, patients: pd.Index, pairs: pd.DataFrame, margin: float) -> dict[str, np.ndarray]:
    """Return columns of ``compare`` by name, one value per row of ``pairs``, where the declared test is of methods.

    Statistic, p and interval are those of ``estimate``; ``above`` and ``below`` are the one-sided p against -margin and
    +margin (NaN without one). With one seed p is 1 and the note says so. The note also says where a checkpoint was left
    out because it lacks scores of some of its patients.
    """
    own = model_blocks(rows, patients)
    whole = {str(model): _whole(part, own[str(model)]) for model, part in rows.groupby("model")}
    found = []
    for a, b in pairs.itertuples(index=False):
        one, _ = estimate(own[a], own[b])
        low, high = one.interval()
        row = {"difference": one.mean, "ci_low": low, "ci_high": high, "statistic": one.statistic, "p": one.p}
        above, below = (one.p_above(-margin), one.p_below(margin)) if margin > 0 else (np.nan, np.nan)
        row |= {"p_smallest": 0.0 if one.seeds_df else 1.0, "above": above, "below": below}
        found.append(row | {"note": ONE_SEED if not one.seeds_df else "" if whole[a] and whole[b] else INCOMPLETE})
    return {str(column): values.to_numpy() for column, values in pd.DataFrame(found).items()}


def _whole(rows: pd.DataFrame, found: list[ScoreBlock]) -> bool:
    """Say whether every score of a model is in a block."""
    scored = rows.dropna(subset="value")[["patient_id", "fold", "seed"]].drop_duplicates()
    return len(scored) == sum(block.values.size for block in found)


def superiority(first: list[ScoreBlock], second: list[ScoreBlock], higher: bool) -> tuple[float, float, float]:
    """Estimate the probability that model a beats model b on a new patient, each newly trained, with a 95% interval.

    It is the share of patients and pairs of checkpoints where a is better, a tie counting half. Each model's part is
    its share of wins against all checkpoints of the other (the projection of a U statistic), analysed like any score;
    the interval is symmetric in log odds. Where a always or never wins there is no variance, and the bound is that of n
    patients won by chance alone; it then says nothing about seeds. The interval is NaN where ``estimate`` has none.
    """
    count = sum(len(block.places) for block in first)
    sides = [
        [ScoreBlock(block.places, np.full(block.values.shape, np.nan)) for block in own] for own in (first, second)
    ]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            _, own, other = np.intersect1d(a.places, b.places, return_indices=True)
            if len(own) and a.values.size and b.values.size:
                gap = a.values[own][:, :, None] - b.values[other][:, None, :]
                won = ((np.sign(gap) if higher else -np.sign(gap)) + 1) / 2
                sides[0][i].values[own], sides[1][j].values[other] = won.mean(axis=2), won.mean(axis=1)
    found, _ = estimate_mean(sides, _patient_values(sides[0]))
    tail = (1 - CONFIDENCE) / 2
    if found.mean in (0.0, 1.0) and found.seeds_df:
        reach = tail ** (1 / count)
        return (1.0, reach, 1.0) if found.mean else (0.0, 0.0, 1 - reach)
    half = found.half_width(tail) / (found.mean * (1 - found.mean)) if 0 < found.mean < 1 else float("nan")
    centre = special.logit(found.mean)
    return found.mean, float(special.expit(centre - half)), float(special.expit(centre + half))


class _Parts(NamedTuple):
    between: float
    residual: float
    df: int
    weight: float
    per_patient: float
    per_block: float


def _model_parts(found: list[ScoreBlock], count: int) -> _Parts:
    """Pool one model's mean squares over its blocks, with the weights by which they enter the mean's variance.

    A block of one checkpoint (a run is missing) or of one patient does not count in the mean squares, but has its
    weight in the mean.
    """
    between, residual, left, df, per_block = 0.0, 0.0, 0, 0, 0.0
    for block in (block for block in found if min(block.values.shape) > 1):
        patients, checkpoints = block.values.shape
        means = block.values.mean(axis=0)
        between += ((means - means.mean()) ** 2).sum()
        rest = block.values - means - block.values.mean(axis=1, keepdims=True) + block.values.mean()
        residual += (rest**2).sum()
        left += (patients - 1) * (checkpoints - 1)
        df += checkpoints - 1
        per_block += (checkpoints - 1) / patients
    sizes, nan = [(len(block.places), block.values.shape[1]) for block in found], float("nan")
    if not df or not all(checkpoints for _, checkpoints in sizes):
        return _Parts(nan, nan, 0, nan, nan, nan)
    weight = sum((patients / count) ** 2 / checkpoints for patients, checkpoints in sizes)
    per_patient = sum(patients / count / checkpoints for patients, checkpoints in sizes)
    return _Parts(between / df, residual / left, df, weight, per_patient, per_block / df)
