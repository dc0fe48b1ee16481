"""Split the variance of scores by what it comes from: patients, models, both together, and trainings."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from benchmark.stats.patients import outcomes, with_models
from benchmark.stats.seeds import Components, Pair, components, estimate, fold_variance, model_runs, pair_runs

SHARE_COLUMNS = (
    "metric",
    "region",
    "patient",
    "model",
    "patient_model",
    "seed",
    "fold",
    "training",
    "patient_training",
)
"""Columns of ``variance_shares``; what is not NaN of the shares adds to 1. ``training`` is seed and fold together where
each seed has folds of its own; all but the first three are NaN where trainings cannot be told from patients."""


def variance_shares(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the shares of the variance of one run's score on one patient, by region, as SHARE_COLUMNS.

    With at least two models. ``patient`` is what all models have in common on a patient, ``model`` the models' means,
    ``patient_model`` what a model has on a patient beside both, ``training`` the luck of a training (its seed and its
    training set) that all patients share, ``patient_training`` the rest. Where seeds share their folds, ``seed`` and
    ``fold`` stand for ``training``: what runs of one fold differ by, and what all of them have in common. Estimated by
    ``seeds.components``, of each model's own scores and of the difference of each pair. Where no fold has two seeds,
    trainings are in what is left.
    """
    found = []
    for _, region, rows, values in outcomes(with_models(scores), [metric]):
        runs = model_runs(rows, values.index)
        pairs = [pair_runs(runs[a], runs[b]) for a, b in combinations(map(str, values), 2)]
        if len(values) < 2 or not pairs:
            continue
        alone = [pair_runs(one, 0 * one) for one in runs.values()]
        own, fold = _mean([_components(one) for one in alone]), float(np.mean([fold_variance(one) for one in alone]))
        apart = _mean([_components(pair) for pair in pairs])
        errors = [estimate(pair.differences(), pair.runs()).variance for pair in pairs]
        # The means of models differ by chance too, by half the variance of a difference each.
        by_chance = np.mean(errors) / 2 if np.isfinite(errors).all() else apart.patient / 2 / len(values)
        parts = {
            "patient": max(0.0, own.patient - apart.patient / 2),
            "model": max(0.0, float(values.mean().var(ddof=1)) - float(by_chance)),
            "patient_model": apart.patient / 2, "patient_training": own.patient_seed,
        }  # fmt: skip
        parts |= {"training": own.seed} if np.isnan(fold) else {"seed": own.seed - fold, "fold": fold}
        total = float(np.nansum([*parts.values()]))
        shares = {name: part / total if total > 0 else np.nan for name, part in parts.items()}
        found.append({"metric": metric, "region": region} | shares)
    return pd.DataFrame(found, columns=[*SHARE_COLUMNS])


def _components(pair: Pair) -> Components:
    """Components of a pair; those of patients hold everything where trainings cannot be told apart."""
    found = components(pair)
    if not np.isnan(found.patient):
        return found
    differences = pair.differences()
    # A patient whom the two models share no training set on says nothing.
    known = differences[~np.isnan(differences).all(axis=1)]
    return Components(float(np.nanvar(np.nanmean(known, axis=1), ddof=1)) if len(known) > 1 else np.nan, np.nan, np.nan)


def _mean(found: list[Components]) -> Components:
    return Components(*(float(np.mean(part)) for part in zip(*found, strict=True)))
