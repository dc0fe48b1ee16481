"""Read committed score tables as pools of real patients, and estimate the size of a checkpoint's own effect.

A pool is an array (patients, runs, outcomes); the outcomes are ``OUTCOMES``. Noise of seeds is described on a latent
scale, the logit of Dice and the log of HD95, where a shift cannot leave the range of the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from benchmark.scoring import score_table
from benchmark.stats.patients import with_models

OUTCOMES = tuple((metric, region) for metric in ("dice", "hd95") for region in ("WT", "TC", "ET"))
DICE = np.array([metric == "dice" for metric, _ in OUTCOMES])
ET = np.array([region == "ET" for _, region in OUTCOMES])
EMPTY_HD95 = 373.13
"""HD95 in mm of a mask that is empty on one side only: the diagonal of 240 x 240 x 155 voxels of 1 mm."""
EDGE = 0.004
"""Dice is held this far from 0 and 1 before its logit; a latent value at the edge is drawn as 0 or 1 again."""
BROKEN, WIDEST = 150.0, 106.0
"""A latent HD95 above ``BROKEN`` mm without overlap is an empty prediction; no mask in these pools that is not empty is
farther off than ``WIDEST``."""


@dataclass(frozen=True)
class Seeds:
    """What two seeds of one model say: centres (patients, models, outcomes), differences of seed 1 and 2 likewise,
    the pooled covariance of a seed's noise (outcomes, outcomes), and rho with its 90% interval.

    rho is the variance of a checkpoint's shift of all its patients over that of its noise on one patient. ``shared``
    is the mean F of a seed's shift being the same in all its folds against each fold's own: 1 if it is not.
    """

    centres: np.ndarray
    differences: np.ndarray
    covariance: np.ndarray
    rho: float
    rho_low: float
    rho_high: float
    shared: float


def read(path: Path) -> pd.DataFrame:
    """Tidy rows of a committed score table, with the name of each row's model."""
    return with_models(score_table.read_tidy(path))


def pool(*paths: Path) -> np.ndarray:
    """Return the scores of every run in the tables, (patients, runs, outcomes); a run is a model under one seed."""
    rows = pd.concat([read(path).assign(source=str(path)) for path in paths])
    runs = rows.pivot_table(index="patient_id", columns=["metric", "region", "source", "model", "seed"], values="value")
    arrays = [runs[metric, region].to_numpy() for metric, region in OUTCOMES]
    return np.stack(arrays, axis=-1)


def to_latent(values: np.ndarray) -> np.ndarray:
    """Scores (..., outcomes) on the latent scale."""
    held = np.where(DICE, np.clip(values, EDGE, 1 - EDGE), 0.5)
    return np.where(DICE, logit(held), np.log(np.maximum(values, 1.0)))


def from_latent(latent: np.ndarray) -> np.ndarray:
    """Latent values (..., outcomes) as scores: without overlap and far off, the prediction of that region is empty."""
    dice, hd95 = latent[..., DICE], latent[..., ~DICE]
    edge = logit(EDGE) * 0.95
    overlap = np.where(dice <= edge, 0.0, np.where(dice >= -edge, 1.0, expit(dice)))
    empty = (overlap == 0) & (hd95 > np.log(BROKEN))
    distance = np.where(empty, EMPTY_HD95, np.minimum(np.exp(np.minimum(hd95, 9.0)), WIDEST))
    return np.concatenate([overlap, distance], axis=-1)


def two_seeds(path: Path) -> Seeds:
    """Return what a study with seeds 1 and 2 says about the noise of seeds.

    Seed differences D of the patients of one model and fold share that pair of checkpoints: with m patients in a group,
    E[MS between] = 2 (sigma_e^2 + m sigma_c^2) and E[MS within] = 2 sigma_e^2, around a mean that is zero by symmetry.
    rho = (MSB / MSW - 1) / m, averaged over the outcomes; its interval is from resampling the groups.
    """
    rows = read(path)
    table = rows.pivot_table(
        index=["fold", "patient_id"], columns=["metric", "region", "model", "seed"], values="value"
    )
    models = list(pd.unique(rows["model"]))
    scores = np.stack([
        np.stack([table[metric, region][model][[1, 2]].to_numpy() for model in models], axis=1)
        for metric, region in OUTCOMES
    ], axis=-1)  # fmt: skip
    latent = to_latent(scores)  # (patients, models, seeds, outcomes)
    differences = latent[:, :, 0] - latent[:, :, 1]
    folds = table.index.get_level_values("fold")
    groups = np.stack(
        [differences[folds == fold, model] for fold in sorted(set(folds)) for model in range(len(models))]
    )
    low, high = np.quantile(_resampled_rho(groups), [0.05, 0.95])
    return Seeds(
        centres=latent.mean(axis=2),
        differences=differences,
        covariance=np.einsum("pmi,pmj->ij", differences, differences) / (2 * differences[..., 0].size),
        rho=float(_rho(groups[None])[0]),
        rho_low=float(low),
        rho_high=float(high),
        shared=_shared(groups, len(models)),
    )


def _shared(groups: np.ndarray, models: int) -> float:
    """Mean over outcomes of the F of models' mean differences against those of their folds, around zero."""
    means = groups.mean(axis=1).reshape(-1, models, groups.shape[-1])  # folds, models, outcomes
    folds = len(means)
    own = ((means - means.mean(axis=0)) ** 2).sum(axis=(0, 1)) / (models * (folds - 1))
    return float((folds * (means.mean(axis=0) ** 2).mean(axis=0) / own).mean())


def _rho(groups: np.ndarray) -> np.ndarray:
    """Mean rho over outcomes for each (..., groups, patients, outcomes)."""
    size = groups.shape[-2]
    means = groups.mean(axis=-2)
    within = ((groups - means[..., None, :]) ** 2).sum(axis=(-3, -2)) / (groups.shape[-3] * (size - 1))
    return ((size * (means**2).mean(axis=-2) / within - 1) / size).mean(axis=-1)


def _resampled_rho(groups: np.ndarray, resamples: int = 4000) -> np.ndarray:
    drawn = np.random.default_rng(1).integers(0, len(groups), (resamples, len(groups)))
    return np.concatenate([_rho(groups[part]) for part in np.array_split(drawn, 8)])
