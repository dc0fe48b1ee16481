"""Generated cases of BraTS size to the time of our scores against MONAI's for the same seven metrics.

Run ``python tests/speed/metrics.py [CASES]``. Both sides get label maps in memory; masks of regions are part of each
side's time. One process, one thread each. The last line says how our time grows with the tumour.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_hausdorff_distance,
    compute_iou,
    get_confusion_matrix,
)
from monai.metrics.meandice import compute_dice
from scipy import ndimage

from benchmark.metrics import METRICS, score_case

SHAPE, SPACING = (240, 240, 155), (1.0, 1.0, 1.0)
REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
CONFUSION = ("sensitivity", "specificity", "precision", "accuracy")


def label_map(seed: int, radius: float, shift: float) -> np.ndarray:
    """Return an uneven ball of ``radius`` voxels with core and enhancing rim, in Fortran order as nibabel reads it."""
    random = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(random.normal(size=tuple(n // 5 for n in SHAPE)), 1.5)
    rough = ndimage.zoom(coarse / coarse.std(), [n / m for n, m in zip(SHAPE, coarse.shape, strict=True)], order=1)
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij", sparse=True)
    away = np.sqrt(sum((axis - n / 2 - shift) ** 2 for axis, n in zip(grid, SHAPE, strict=True)))
    depth = 1 - away / radius + 0.12 * rough
    return np.asfortranarray(np.array([0, 2, 4, 1], np.uint8)[np.digitize(depth, [0.0, 0.4, 0.6])])


def monai_masks(reference: np.ndarray, prediction: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted and reference masks as MONAI takes them: batch of one, a channel per region."""
    guess, truth = (
        torch.from_numpy(np.stack([np.isin(labels, members) for members in REGIONS.values()]))[None]
        for labels in (prediction, reference)
    )
    return guess, truth


def monai_hd95(guess: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return MONAI's HD95, one per region."""
    values = compute_hausdorff_distance(guess, truth, include_background=True, percentile=95, spacing=SPACING)
    return {"hd95": values[0]}


def monai_overlap(guess: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return MONAI's value of each other metric, one per region."""
    matrix = get_confusion_matrix(guess.float(), truth.float())
    scores = {name: compute_confusion_matrix_metric(name, matrix)[0] for name in CONFUSION}
    return scores | {"dice": compute_dice(guess, truth)[0], "iou": compute_iou(guess, truth)[0]}


def seconds(function: Callable, *args: Any) -> tuple[float, Any]:
    """Return the best of three times of a call, and its result."""
    best, result = np.inf, None
    for _ in range(3):
        start = time.perf_counter()
        result = function(*args)
        best = min(best, time.perf_counter() - start)
    return best, result


def main() -> None:
    """Print seconds a case, the ratios and the largest difference."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    names = ["ours", "ours without hd95", "monai", "monai masks", "monai without hd95", "monai hd95"]
    mean, worst = dict.fromkeys(names, 0.0), dict.fromkeys(METRICS, 0.0)
    overlap = {name: metric for name, metric in METRICS.items() if name != "hd95"}
    for seed in range(cases):
        maps = label_map(seed, 45, 0), label_map(seed + 1000, 42, 4)
        ours, rows = seconds(score_case, *maps, SPACING, REGIONS)
        ours_overlap, _ = seconds(score_case, *maps, SPACING, REGIONS, overlap)
        masking, masks = seconds(monai_masks, *maps)
        counting, theirs = seconds(monai_overlap, *masks)
        measuring, distances = seconds(monai_hd95, *masks)
        spent = (ours, ours_overlap, masking + counting + measuring, masking, counting, measuring)
        for name, value in zip(names, spent, strict=True):
            mean[name] += value / cases
        for name, expected in (theirs | distances).items():
            for row, value in zip(rows, expected, strict=True):
                worst[name] = max(worst[name], abs(row[name] - float(value)))
    print(f"{cases} cases of {SHAPE}, {len(REGIONS)} regions, {len(METRICS)} metrics; seconds a case:")
    for name, value in mean.items():
        print(f"  {name:<20}{value:8.3f}")
    print(f"ours is {mean['monai'] / mean['ours']:.1f} times as fast as MONAI for the same metrics")
    hd95 = mean["ours"] - mean["ours without hd95"]
    print(f"hd95 alone, without either side's masks: {mean['monai hd95'] / hd95:.1f} times")
    print("largest difference:", ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
    for radius in (10, 20, 40):
        spent, _ = seconds(score_case, label_map(0, radius, 0), label_map(1000, radius, 2), SPACING, REGIONS)
        print(f"ours, tumours of radius {radius} mm: {spent:.3f} s")


if __name__ == "__main__":
    main()
