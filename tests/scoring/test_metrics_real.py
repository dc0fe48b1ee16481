"""Equality with the libraries on real predictions, where a folder with some is given.

``BENCHMARK_TRUTH_AND_PREDICTIONS`` names a folder of ``truth/<case>_seg.nii.gz`` and ``result/<model>/<case>.nii.gz``,
label maps of BraTS (1, 2, 4). 60 predictions take a quarter of an hour; ``-s`` prints the largest differences.
"""

import os
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import other_scores
from helpers.synthetic_masks import REGIONS

from benchmark.base.boxes import bounding_box
from benchmark.scoring.metrics import AREA_METRICS, METRICS, score_case

FOLDER = os.environ.get("BENCHMARK_TRUTH_AND_PREDICTIONS")
EVERY = METRICS | AREA_METRICS
MARGIN = 4
"""Voxels around both masks, more than BraTS 2023's dilation reaches, that a library is given with them."""

pytestmark = pytest.mark.skipif(not FOLDER, reason="BENCHMARK_TRUTH_AND_PREDICTIONS is not set")


def label_map(path):
    image = nib.load(path)
    return np.asarray(image.dataobj).astype(np.uint8), tuple(float(step) for step in image.header.get_zooms())


def theirs(truth, guess, spacing, evaluator):
    overlap = other_scores.monai_overlap(*other_scores.monai_tensors(truth, guess))
    box = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in bounding_box(truth | guess))
    truth, guess = (np.ascontiguousarray(mask[box]) for mask in (truth, guess))
    found = {"monai": overlap, "brats 2023": other_scores.brats_2023(truth, guess, spacing)}
    if truth.any() and guess.any():
        tensors = other_scores.monai_tensors(truth, guess)
        found["monai"] |= other_scores.monai_surface(*tensors, spacing)
        found["monai"] |= other_scores.monai_subvoxels(*tensors, spacing)
        found["surface-distance"] = other_scores.deepmind(truth, guess, spacing)
        if evaluator:
            found["panoptica"] = other_scores.panoptica(evaluator, truth, guess, spacing)
    else:
        del found["monai"]
    return found


def test_every_prediction_scores_as_the_libraries_say():
    evaluator, largest, pairs = other_scores.panoptica_evaluator(), defaultdict(float), defaultdict(int)
    definitions = defaultdict(list)
    for path in sorted(Path(FOLDER).glob("result/*/*.nii.gz")):
        reference, spacing = label_map(Path(FOLDER) / "truth" / path.name.replace(".nii.gz", "_seg.nii.gz"))
        prediction = label_map(path)[0]
        rows = score_case(reference, prediction, spacing, REGIONS, EVERY)
        for row, labels in zip(rows, REGIONS.values(), strict=True):
            truth, guess = np.isin(reference, labels), np.isin(prediction, labels)
            if not (truth.any() or guess.any()):
                continue
            for library, values in theirs(truth, guess, spacing, evaluator).items():
                for name, value in values.items():
                    off = abs(row[name] - float(value))
                    largest[library, name] = max(largest[library, name], off)
                    pairs[library, name] += 1
                    tolerance = 1e-3 if name in EVERY and EVERY[name].unit == "mm" else 1e-6
                    assert off <= tolerance, (path, row["region"], library, name, row[name], float(value))
            if not row["note"]:
                for name in ("hd95", "hd95_pooled", "hd95_area", "nsd", "nsd_area"):
                    definitions[name].append(row[name])
    assert pairs
    for (library, name), off in largest.items():
        print(f"{library:<18}{name:<20}{pairs[library, name]:>5} pairs of masks, largest difference {off:.1e}")
    for name, values in definitions.items():
        other = "nsd" if name.startswith("nsd") else "hd95"
        away = np.abs(np.subtract(values, definitions[other]))
        print(
            f"{name:<18} mean {np.mean(values):.3f} over {len(values)}, away from {other} by at most {away.max():.3f}"
        )
