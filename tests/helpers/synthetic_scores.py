"""Score tables with known shape for tests: models of known skill on patients of varied difficulty."""

import numpy as np
import pandas as pd

from benchmark.base.records import SCORE_COLUMNS
from benchmark.scoring.score_table import KEYS

REGIONS = ("WT", "TC", "ET")


def rows(model, values, *, metric="dice", region="WT", seed=1, fold=0, note=""):
    """One row a case for hand-worked tables; ``values`` maps a case (patient or patient/session) to its value."""
    bundle, _, variant = model.partition("/")
    return [
        (bundle, variant or "default", fold, seed, case.split("/")[0], case, region, metric, "1", value, note)
        for case, value in values.items()
    ]


def table(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=list(SCORE_COLUMNS))


def wide(tidy):
    """Rows of one score each as a file has them, a row a region."""
    keys = [*KEYS, "note"]
    filled = tidy.assign(note=tidy["note"].fillna(""))
    order = pd.MultiIndex.from_frame(filled[keys].drop_duplicates())
    scores = filled.set_index([*keys, "metric"])["value"].unstack("metric").loc[order, list(pd.unique(tidy["metric"]))]
    return scores.rename_axis(columns=None).reset_index()


def realistic(
    models=(("unet", 0.0), ("resunet_tversky", 0.002), ("la_resunet", 0.03)), patients=18, folds=3, seeds=(1, 2)
):
    """Dice, IoU and HD95 of three regions; the last of every six patients has no ET and its first model finds one."""
    random = np.random.default_rng(7)
    skill = {"WT": 0.84, "TC": 0.74, "ET": 0.7}
    difficulty = random.normal(0, 0.07, (patients, len(REGIONS)))
    found = []
    for model, gain in models:
        for patient in range(patients):
            for seed in seeds:
                for index, region in enumerate(REGIONS):
                    noise = random.normal(0, 0.012)
                    dice = float(np.clip(skill[region] + difficulty[patient, index] + gain + noise, 0.02, 0.98))
                    distance, note = 45 * (1 - dice) * random.uniform(0.6, 1.4), ""
                    if region == "ET" and patient % 6 == 5:
                        empty = model != models[0][0]
                        dice, distance, note = (1.0, 0.0, "both empty") if empty else (0.0, 373.13, "reference empty")
                    name = f"P{patient:02d}"
                    for metric, value in (("dice", dice), ("hd95", distance), ("iou", dice / (2 - dice))):
                        found += rows(model, {f"{name}/a": value}, metric=metric, region=region, seed=seed,
                                      fold=patient % folds, note=note)  # fmt: skip
    return table(found)


def histories(models=("unet", "resunet_tversky", "la_resunet"), folds=3, seeds=(1, 2), epochs=20):
    """Training histories that fall and rise as such curves do."""
    random = np.random.default_rng(3)
    found = {}
    for index, model in enumerate(models):
        for fold in range(folds):
            for seed in seeds:
                epoch = np.arange(1, epochs + 1 - fold * index)
                fall = np.exp(-epoch / (4 + index)) * (1 + 0.1 * random.normal(size=len(epoch)))
                found[f"{model}/default/fold{fold}-seed{seed}"] = pd.DataFrame(
                    {"epoch": epoch, "train_loss": 0.1 + 0.6 * fall, "val_loss": 0.16 + 0.6 * fall,
                     "val_dice": 0.82 - 0.7 * fall, "learning_rate": 1e-4, "seconds": 10.0}
                )  # fmt: skip
    return found


def disc(size, centre, radius):
    grid = np.indices((size, size))
    return (grid[0] - centre[0]) ** 2 + (grid[1] - centre[1]) ** 2 <= radius**2


def counted(models=("unet",), patients=12, size=4000, regions=("tumour",), folds=(0,), variant_folds=1, seed=5):
    """Counts and the metrics that follow from them; ``variant_folds`` > 1 tests each case in that many parts."""
    from benchmark.scoring.counts import Counted
    from benchmark.scoring.metrics import COUNTS, METRICS, score_pair

    random = np.random.default_rng(seed)
    found = []
    for model in models:
        for patient in range(patients):
            for region in regions:
                for part in range(variant_folds):
                    true = int(random.integers(40, 400))
                    hit = int(true * random.uniform(0.6, 0.95))
                    extra = int(random.integers(5, 60))
                    pair = Counted(hit, extra, true - hit, size - true - extra)
                    values = {
                        name: score_pair(metric, pair) for name, metric in METRICS.items() if metric.needs == "counts"
                    }
                    values |= {name: float(getattr(pair, name)) for name in COUNTS}
                    fold = part if variant_folds > 1 else folds[patient % len(folds)]
                    for name, value in values.items():
                        case = {f"P{patient:02d}/a": value}
                        found += rows(model, case, metric=name, region=region, fold=fold)
    return table(*[found])
