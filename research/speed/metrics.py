"""Time all our scores of cases of BraTS size, and each library on the part of them that it has.

Run ``python research/speed/metrics.py [--cases 3] [--folder FOLDER]``; FOLDER holds real predictions, as
``tests/scoring/test_metrics_real.py`` takes them. Generated predictions are close to the reference (Dice of WT 0.93)
or far off. Each library gets label maps in memory and makes the masks of three regions from them in the same way. All
are timed in turns in this one process, with one thread: the best of three, in seconds of processor time, which other
programs on the machine disturb least. Panoptica is left out where it is not installed; ``tox -e panoptica`` makes an
environment that has it, ``.tox/panoptica/bin/python``. The last lines show that our time grows with the tumour and not
with the volume around it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_CITATION_REMINDER", "true")

import argparse
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from sklearn.metrics import confusion_matrix

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from helpers import other_scores as other
from helpers.area_metrics import AREA_METRICS
from helpers.synthetic_masks import REGIONS

from benchmark.scoring.metrics import METRICS, score_case

SHAPE, SPACING = (240, 240, 155), (1.0, 1.0, 1.0)
EVERY = METRICS | AREA_METRICS

Case = tuple[np.ndarray, np.ndarray]


def roughness(seed: int) -> np.ndarray:
    """Return a smooth random field of unit deviation."""
    coarse = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=tuple(n // 5 for n in SHAPE)), 1.5)
    return ndimage.zoom(coarse / coarse.std(), [n / m for n, m in zip(SHAPE, coarse.shape, strict=True)], order=1)


def label_map(rough: np.ndarray, radius: float, shift: float = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return an uneven ball of ``radius`` voxels with core and enhancing rim, in Fortran order as nibabel reads it."""
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij", sparse=True)
    away = np.sqrt(sum((axis - n / 2 - shift) ** 2 for axis, n in zip(grid, SHAPE, strict=True)))
    depth = 1 - away / radius + 0.12 * rough
    labels = np.array([0, 2, 4, 1], np.uint8)[np.digitize(depth, [0.0, 0.4, 0.6])]
    return np.asfortranarray(np.pad(labels, [(0, new - old) for new, old in zip(shape, SHAPE, strict=True)]))


def generated(seed: int, close: bool) -> Case:
    """Return label maps of a large tumour and of a prediction, whose roughness is in part or in whole another one."""
    first, second = roughness(seed), roughness(seed + 1000)
    return label_map(first, 45), label_map(first + 0.4 * second, 44, 1) if close else label_map(second, 42, 4)


def real_cases(folder: Path, count: int) -> Iterator[Case]:
    """Yield label maps of the first predictions of a folder."""
    for path in sorted(folder.glob("result/*/*.nii.gz"))[:count]:
        truth = folder / "truth" / path.name.replace(".nii.gz", "_seg.nii.gz")
        yield tuple(np.asfortranarray(np.asarray(nib.load(file).dataobj, dtype=np.uint8)) for file in (truth, path))


def masks(case: Case) -> list[Case]:
    """Return reference and predicted mask of each region, by a look-up of labels, the fastest way."""
    tables = [np.isin(np.arange(256), members) for members in REGIONS.values()]
    return [(table.take(case[0]), table.take(case[1])) for table in tables]


def of_tensors(function: Callable, case: Case) -> Any:
    """Call one of ``other_scores`` with MONAI's tensors of all regions."""
    pairs = masks(case)
    guess, truth = (torch.from_numpy(np.stack([pair[side] for pair in pairs]))[None] for side in (1, 0))
    return function(guess, truth)


def of_masks(function: Callable, case: Case) -> Any:
    """Call a function with each region's masks."""
    return [function(truth, guess) for truth, guess in masks(case)]


def counted(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Return scikit-learn's confusion matrix, from which its scores of overlap follow."""
    return confusion_matrix(truth.ravel(order="K"), guess.ravel(order="K"))


def ours(names: list[str], case: Case) -> list[dict[str, Any]]:
    """Return our scores of the metrics named."""
    return score_case(*case, SPACING, REGIONS, {name: EVERY[name] for name in names})


def rivals() -> dict[str, tuple[list[str], Callable[[Case], Any]]]:
    """Return what each library has of our metrics, by a name for it, with a call of a case."""
    monai = {name: partial(monai_one, name) for name in ("hd95", "hd100", "assd", "nsd")}
    found: dict[str, tuple[list[str], Callable[[Case], Any]]] = {
        "MONAI overlap": (list(METRICS)[:7], partial(of_tensors, other.monai_overlap)),
        "scikit-learn overlap": (list(METRICS)[:7], partial(of_masks, counted)),
        **{f"MONAI {name}": ([name], partial(of_tensors, function)) for name, function in monai.items()},
        "MONAI nsd_area": (["nsd_area"], partial(of_tensors, partial(other.monai_subvoxels, spacing=SPACING))),
        "surface-distance": (list(AREA_METRICS), partial(of_masks, partial(other.deepmind, spacing=SPACING))),
    }
    evaluator = other.panoptica_evaluator()
    if evaluator:
        part = ["dice", "hd95_pooled", "nsd", "lesion_pq"]
        found["panoptica"] = (part, partial(of_masks, lambda truth, guess: run_panoptica(evaluator, truth, guess)))
        from panoptica.metrics.hausdorff_distance import _compute_hausdorff_distance95 as pooled

        found["panoptica hd95_pooled"] = (
            ["hd95_pooled"],
            partial(of_masks, lambda truth, guess: pooled(*cropped(truth, guess), SPACING)),
        )
    return found


def monai_one(name: str, guess: torch.Tensor, truth: torch.Tensor) -> Any:
    """Return one of MONAI's surface scores."""
    return other.MONAI_SURFACE[name](guess, truth, include_background=True, spacing=SPACING)


def cropped(truth: np.ndarray, guess: np.ndarray) -> Case:
    """Crop masks to their box, which panoptica's function is not given otherwise."""
    box = ndimage.find_objects((truth | guess).astype(np.uint8))[0]
    return truth[box], guess[box]


def run_panoptica(evaluator: Any, truth: np.ndarray, guess: np.ndarray) -> dict[str, Any]:
    """Return all of panoptica's scores that the organisers ask for."""
    result = evaluator.evaluate(guess.astype(np.uint8), truth.astype(np.uint8), voxelspacing=SPACING, verbose=False)
    return result["ungrouped"].to_dict()


def seconds(function: Callable[[Case], Any], case: Case) -> float:
    """Return the best of three times of a call."""
    times = []
    for _ in range(3):
        start = time.process_time()
        function(case)
        times.append(time.process_time() - start)
    return min(times)


def compare(cases: list[Case]) -> None:
    """Print seconds a case and ratios, of every library's part and of all of ours."""
    spent: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        spent["ours"].append(seconds(partial(ours, list(METRICS)), case))
        for name, (part, call) in rivals().items():
            spent[name].append(seconds(call, case))
            spent[f"ours for {name}"].append(seconds(partial(ours, part), case))
    mean = {name: float(np.mean(times)) for name, times in spent.items()}
    print(f"all {len(METRICS)} metrics of ours, {len(REGIONS)} regions: {mean['ours']:.3f} s a case")
    print(f"{'library, part':<26}{'theirs':>9}{'ours, part':>12}{'times':>7}{'ours, all':>12}{'times':>7}")
    for name in rivals():
        part = mean[f"ours for {name}"]
        ratios = f"{part:>12.3f}{mean[name] / part:>7.1f}{mean['ours']:>12.3f}{mean[name] / mean['ours']:>7.1f}"
        print(f"{name:<26}{mean[name]:>9.3f}{ratios}")


def growth() -> None:
    """Print our time by the tumour's radius, and by the size of the volume around one tumour."""
    every = partial(ours, list(METRICS))
    truth, guess = roughness(0), roughness(1000)
    for radius in (10, 20, 40):
        case = label_map(truth, radius), label_map(guess, radius, 2)
        print(f"tumours of radius {radius} mm in {SHAPE}: {seconds(every, case):.3f} s")
    for factor in (1, 2):
        shape = (SHAPE[0] * factor, SHAPE[1] * factor, SHAPE[2])
        case = label_map(truth, 40, 0, shape), label_map(guess, 40, 2, shape)
        print(f"tumours of radius 40 mm in {shape}: {seconds(every, case):.3f} s")


def main() -> None:
    """Print times and ratios."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    for close in (True, False):
        print(f"{arguments.cases} generated cases of {SHAPE}, predictions {'close' if close else 'far off'}")
        compare([generated(seed, close) for seed in range(arguments.cases)])
    if arguments.folder:
        print(f"{arguments.cases} real cases")
        compare(list(real_cases(arguments.folder, arguments.cases)))
    growth()


if __name__ == "__main__":
    main()
