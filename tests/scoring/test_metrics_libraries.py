"""Equality with the library that defines a metric, on random blobs and on degenerate shapes."""

import importlib.util
import math

import numpy as np
import pandas as pd
import pytest
from helpers import other_scores, panoptica_table
from helpers.area_metrics import AREA_METRICS
from helpers.synthetic_masks import ANISOTROPIC, ISOTROPIC, ONE, REGIONS, SHAPES, blobs

from benchmark.scoring.metrics import METRICS, score_case

EVERY = METRICS | AREA_METRICS
SPACINGS = [ISOTROPIC, ANISOTROPIC]


def ours(reference, prediction, spacing, regions):
    rows = score_case(reference, prediction, spacing, regions, EVERY)
    return {row["region"]: row for row in rows}


def same(row, expected):
    for name, value in expected.items():
        in_mm = name in EVERY and EVERY[name].unit == "mm"
        assert row[name] == pytest.approx(float(value), rel=0, abs=1e-3 if in_mm else 1e-6), name


def each_region(reference, prediction, spacing):
    rows = ours(reference, prediction, spacing, REGIONS)
    for region, labels in REGIONS.items():
        truth, guess = np.isin(reference, labels), np.isin(prediction, labels)
        assert truth.any() and guess.any()
        yield rows[region], truth, guess


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_random_blobs_equal_scikit_learn_monai_and_surface_distance(seed, spacing):
    for row, truth, guess in each_region(*blobs(seed), spacing):
        tensors = other_scores.monai_tensors(truth, guess)
        same(row, other_scores.sklearn_overlap(truth, guess))
        same(row, other_scores.monai_overlap(*tensors))
        same(row, other_scores.monai_surface(*tensors, spacing))
        same(row, other_scores.monai_subvoxels(*tensors, spacing))
        same(row, other_scores.deepmind(truth, guess, spacing))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_degenerate_shapes_equal_monai_and_surface_distance(shape, spacing):
    reference, prediction = SHAPES[shape]
    row = ours(reference, prediction, spacing, ONE)["ET"]
    # A picture of one slice has two dimensions; given three, MONAI takes all of a mask for its surface.
    used = [axis for axis, size in enumerate(reference.shape) if size > 1]
    truth, guess = ((array > 0).squeeze() for array in (reference, prediction))
    flat = tuple(spacing[axis] for axis in used)
    same(row, other_scores.monai_surface(*other_scores.monai_tensors(truth, guess), flat))
    same(row, other_scores.deepmind(truth, guess, flat))


def test_scores_equal_the_table_of_what_panoptica_gave():
    table = panoptica_table.read()
    asked = [key for key, *_ in panoptica_table.masks()]
    assert table[panoptica_table.KEYS].to_dict("records") == asked
    given = table[panoptica_table.VALUES].to_dict("records")
    for expected, (key, reference, prediction, spacing, labels) in zip(given, panoptica_table.masks(), strict=True):
        row = ours(reference, prediction, spacing, {key["region"]: labels})[key["region"]]
        # Of two empty masks panoptica says nothing, and of one that a distance is infinite; a score here is a number.
        best = {"dice": 1.0, "hd95_pooled": 0.0, "lesion_pq": 1.0}
        worst = {"hd95_pooled": math.hypot(*np.multiply(reference.shape, spacing))}
        for name, value in expected.items():
            expected[name] = best[name] if math.isnan(value) else worst[name] if math.isinf(value) else value
        same(row, expected)


@pytest.fixture(scope="module")
def panoptica():
    if not importlib.util.find_spec("panoptica"):
        pytest.skip("panoptica is not installed here; `tox -e panoptica` asks it")
    return other_scores.panoptica_evaluator()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(100, 104))
def test_random_blobs_equal_panoptica_itself(panoptica, seed, spacing):
    for row, truth, guess in each_region(*blobs(seed, (40, 30, 24)), spacing):
        same(row, other_scores.panoptica(panoptica, truth, guess, spacing))


def test_the_table_is_what_panoptica_gives(panoptica):
    pd.testing.assert_frame_equal(panoptica_table.read(), panoptica_table.ask(panoptica), rtol=0, atol=1e-8)
