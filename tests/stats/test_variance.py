"""Shares of variance: all of one source is found as that, and a mixture as what it was made of."""

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import rows, table

from benchmark.stats.patients import with_models
from benchmark.stats.variance import SHARE_COLUMNS, variance_shares

PARTS = SHARE_COLUMNS[2:]


def made(patient=0.0, model=0.0, patient_model=0.0, training=0.0, rest=0.0, patients=30, models=3, seeds=2, folds=3):
    """Scores that add normal parts of these SD, each seed with folds of its own."""
    random, found = np.random.default_rng(11), []
    of_patient, of_model = random.normal(0, patient, patients), random.normal(0, model, models)
    of_both = random.normal(0, patient_model, (models, patients))
    of_run = random.normal(0, training, (models, seeds, folds))
    for seed in range(seeds):
        fold = random.permutation(patients) % folds
        for one in range(models):
            for place in range(patients):
                value = of_patient[place] + of_model[one] + of_both[one, place] + of_run[one, seed, fold[place]]
                value += random.normal(0, rest)
                found += rows(f"m{one}", {f"P{place}": value}, seed=seed + 1, fold=int(fold[place]))
    return with_models(table(found))


@pytest.mark.parametrize("part", ["patient", "model", "patient_model"])
def test_what_all_variance_comes_from_has_all_of_it(part):
    (row,) = variance_shares(made(**{part: 0.1}), "dice").to_dict("records")
    # What patients seem to share under three models is partly chance.
    assert row[part] > (0.85 if part == "patient_model" else 0.98), row


def test_trainings_have_what_all_patients_of_a_run_share():
    (row,) = variance_shares(made(training=0.1), "dice").to_dict("records")
    assert row["training"] > 0.9, row


def test_a_mixture_has_the_shares_that_it_was_made_of():
    parts = {"patient": 0.1, "model": 0.05, "patient_model": 0.06, "training": 0.03, "rest": 0.05}
    (row,) = variance_shares(made(**parts, patients=150, models=10, seeds=3, folds=5), "dice").to_dict("records")
    total = sum(size**2 for size in parts.values())
    expected = [size**2 / total for size in parts.values()]
    assert pd.isna(row["seed"]) and pd.isna(row["fold"])
    known = [row[name] for name in PARTS if name not in ("seed", "fold")]
    assert sum(known) == pytest.approx(1)
    assert known == pytest.approx(expected, abs=0.08)


def test_with_one_seed_trainings_cannot_be_told_apart():
    (row,) = variance_shares(made(patient=0.1, rest=0.05, seeds=1), "dice").to_dict("records")
    assert pd.isna(row["training"]) and pd.isna(row["patient_training"])
    assert row["patient"] + row["model"] + row["patient_model"] == pytest.approx(1)
    assert row["patient"] > 0.6


def test_one_model_is_not_split():
    assert variance_shares(made(patient=0.1, models=1), "dice").empty


def test_a_shared_fold_has_a_share_of_its_own():
    """Three seeds share 40 folds; what a fold does to all of its runs is told from what a seed does."""
    random, found = np.random.default_rng(4), []
    for one in range(2):
        of_patient, of_fold = random.normal(0, 0.05, 400), random.normal(0, 0.1, 40)
        of_run = random.normal(0, 0.05, (3, 40))
        for seed, place in np.ndindex(3, 400):
            fold = place % 40
            value = of_patient[place] + of_fold[fold] + of_run[seed, fold] + random.normal(0, 0.02)
            found += rows(f"m{one}", {f"P{place}": value}, seed=seed + 1, fold=fold)
    (row,) = variance_shares(with_models(table(found)), "dice").to_dict("records")
    assert pd.isna(row["training"]) and sum(row[name] for name in PARTS if name != "training") == pytest.approx(1)
    assert row["fold"] / row["seed"] == pytest.approx(4, rel=0.5) and row["fold"] > 0.45
