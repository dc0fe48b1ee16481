"""Exchanged label values are noticed, and bad networks are not taken for them."""

import itertools

import numpy as np
import pytest
from helpers.project import REPOSITORY

from benchmark.data.conventions import mapped
from benchmark.data.manifest import find_manifest
from benchmark.scoring.swapped import mistaken, overlap

MANIFEST = find_manifest(str(REPOSITORY / "data_manifests" / "brats2020.json"))


def tumour(size=24, shift=0):
    grid = np.stack(np.indices((size,) * 3)).astype(float) - size / 2
    grid[0] -= shift
    radius = np.sqrt((grid**2).sum(axis=0))
    return np.select([radius < 3, radius < 6, radius < 10], [1, 4, 2], 0).astype(np.uint8)


@pytest.mark.parametrize("order", [*itertools.permutations((1, 2, 4))][1:])
def test_every_order_of_three_labels_is_noticed_in_a_fair_network(order):
    given = dict(zip((1, 2, 4), order, strict=True))
    found = mistaken([overlap(tumour(), mapped(tumour(shift=1), given))], MANIFEST)
    assert found is not None and found.mapped - found.as_it_is > 0.3
    assert found.mapping == {value: label for label, value in given.items() if value != label}


@pytest.mark.parametrize("shift", [0, 1, 2, 4, 8])
def test_a_prediction_that_is_merely_off_is_not_taken_for_exchanged(shift):
    assert mistaken([overlap(tumour(), tumour(shift=shift))], MANIFEST) is None


@pytest.mark.parametrize("given", [{1: 2}, {4: 2}, {1: 2, 4: 2}, {2: 0}, {1: 4}, {2: 1, 4: 1}])
def test_a_network_that_takes_one_tissue_for_another_is_not_taken_for_exchanged(given):
    assert mistaken([overlap(tumour(), mapped(tumour(shift=1), given))], MANIFEST) is None


def test_noise_and_nothing_are_not_taken_for_exchanged():
    noise = np.random.default_rng(3).choice([0, 1, 2, 4], (24, 24, 24)).astype(np.uint8)
    assert mistaken([overlap(tumour(), noise)], MANIFEST) is None
    assert mistaken([overlap(tumour(), np.zeros_like(noise))], MANIFEST) is None


def test_a_value_that_the_manifest_lacks_always_means_another():
    found = mistaken([overlap(tumour(), mapped(tumour(), {4: 3}))], MANIFEST)
    assert found is not None and found.mapping == {3: 4} and (found.as_it_is, found.mapped) == (0, 1)
    assert found.option(MANIFEST) == "brats2023"


def test_the_overlap_is_dice_of_each_value_with_each_label():
    reference, prediction = np.array([1, 1, 2, 0]), np.array([1, 2, 2, 2])
    found = overlap(reference, prediction)
    assert (found.values, found.labels) == ((1, 2), (1, 2))
    np.testing.assert_allclose(found.dice, [[2 / 3, 0], [2 / 5, 2 / 4]])
