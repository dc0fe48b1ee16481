"""Draw simulated studies of one method from real patients: scores (trials, patients, names, seeds, outcomes).

Every name is the same method, so any difference that a test shows between two names is a false one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from candidates import is_shared
from scipy.special import expit, logit
from sources import DICE, EMPTY_HD95, ET, Seeds, from_latent

FOLDS = 3
"""Folds of a simulated study, as in brats_small."""
NO_ET = 4 / 34
"""Share of patients without enhancing tumour: 4 of the first 34 real subjects looked at."""


def shuffled(
    random: np.random.Generator, runs: np.ndarray, trials: int, patients: int, names: int, seeds: int
) -> np.ndarray:
    """Draw patients with replacement and hand each one's real runs to names and seeds at random.

    Names are exchangeable within every patient: a true null for 'these checkpoints on new patients', with the ties,
    tails and dependence between regions and metrics that real scores have. ``runs`` is (patients, runs, outcomes).
    """
    who = random.integers(0, len(runs), (trials, patients))
    order = random.random((trials, patients, runs.shape[1])).argsort(axis=-1)[..., : names * seeds]
    drawn = runs[who[..., None], order].reshape(trials, patients, names, seeds, -1)
    return without_et(random, drawn)


def modelled(
    random: np.random.Generator,
    real: Seeds,
    rho: float | tuple[float, ...],
    trials: int,
    patients: int,
    names: int,
    seeds: int,
    folds: np.ndarray | None = None,
    training: float = 0.0,
    shift: np.ndarray | None = None,
    methods: bool = False,
) -> np.ndarray:
    """Draw new patients and new checkpoints of one real model per trial.

    On the latent scale a score is the patient's centre + the noise of this seed on this patient (the patient's own
    covariance, from its seed differences under all models) + the checkpoint's shift of all patients of its fold, whose
    variance is ``rho`` (one for each name, or for all) times that of the noise. Their sum keeps the variance seen.
    ``folds`` (seeds, patients) are the patients' folds under each seed, one for all by default. A training set adds a
    shift of its own of ``training`` times the checkpoint's variance, the same under every seed that shares the folds.
    ``shift`` (names, outcomes) plants differences on the latent scale.

    With ``methods`` the names are different methods that are equal on average: each patient's centre under each name
    is that of a real model drawn for it, so that names truly differ on a patient and not over patients.
    """
    count, models, size = real.differences.shape
    who = random.integers(0, count, (trials, patients))
    model = random.integers(0, models, (trials, patients, names) if methods else (trials, 1, 1))
    centre = real.centres[who[..., None], model]  # (trials, patients, names or 1, outcomes)
    weights = random.standard_normal((trials, patients, names, seeds, models)) / np.sqrt(2 * models)
    noise = np.einsum("tpnsm,tpmo->tpnso", weights, real.differences[who])
    ratio = np.broadcast_to(rho, names)[:, None, None]
    root = np.linalg.cholesky(real.covariance)
    places = np.zeros((seeds, patients), dtype=int) if folds is None else folds
    sets, k = 1 if is_shared(places) else seeds, places.max() + 1
    run = random.standard_normal((trials, seeds, k, names, size)) @ root.T
    if training:
        run = run + np.sqrt(training) * random.standard_normal((trials, sets, k, names, size)) @ root.T
    own = np.stack([run[:, seed, places[seed]] for seed in range(seeds)], axis=3)  # trials, patients, names, seeds
    latent = centre[:, :, :, None] + (noise + np.sqrt(ratio) * own) / np.sqrt(1 + ratio)
    if shift is not None:
        latent = latent + shift[:, None]
    # Checkpoints that segment more also invent more: the shift of Dice ET moves the chance of an empty prediction.
    tendency = np.sqrt(ratio / (1 + ratio))[..., 0] * own[..., np.flatnonzero(DICE & ET)[0]]
    return without_et(random, from_latent(latent), tendency)


def partitions(random: np.random.Generator, patients: int, k: int, seeds: int, shared: bool = False) -> np.ndarray:
    """Draw the fold of each patient under each seed, (seeds, patients); sizes of folds differ by one at most."""
    own = [random.permutation(np.arange(patients) % k) for _ in range(1 if shared else seeds)]
    return np.stack(own * seeds if shared else own)


def by_run(values: np.ndarray, folds: np.ndarray) -> pd.DataFrame:
    """Return scores (patients, seeds) as ``benchmark.stats.seeds`` has them: a column per run, NaN elsewhere."""
    runs = pd.MultiIndex.from_product([range(len(folds)), range(folds.max() + 1)], names=["seed", "fold"]).swaplevel()
    there = folds.T[:, :, None] == np.arange(folds.max() + 1)
    return pd.DataFrame(np.where(there, values[:, :, None], np.nan).reshape(len(values), -1), columns=runs)


def without_et(random: np.random.Generator, scores: np.ndarray, tendency: np.ndarray | float = 0.0) -> np.ndarray:
    """Take the enhancing tumour away from a share of the patients.

    There Dice is 1 and HD95 0 where the prediction is empty too, else 0 and the diagonal. Most such patients are easy
    or hard for all: the chance of an empty prediction is Beta(1/2, 1/2) over patients (assumed, not estimated).
    """
    trials, patients, names, seeds, _ = scores.shape
    absent = random.random((trials, patients)) < NO_ET
    easy = logit(np.clip(random.beta(0.5, 0.5, (trials, patients, 1, 1)), 1e-6, 1 - 1e-6))
    empty = random.random((trials, patients, names, seeds)) < expit(easy + tendency)
    dice, hd95 = (int(np.flatnonzero(ET & kind)[0]) for kind in (DICE, ~DICE))
    scores[..., dice] = np.where(absent[..., None, None], empty, scores[..., dice])
    scores[..., hd95] = np.where(absent[..., None, None], np.where(empty, 0.0, EMPTY_HD95), scores[..., hd95])
    return scores
