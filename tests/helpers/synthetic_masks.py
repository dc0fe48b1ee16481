"""Small masks and label maps that tests of scores share."""

import numpy as np
from scipy import ndimage

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
ONE = {"ET": (4,)}
ISOTROPIC, ANISOTROPIC = (1.0, 1.0, 1.0), (0.5, 1.25, 3.0)


def volume(*boxes, shape=(8, 9, 10), label=4):
    array = np.zeros(shape, np.uint8)
    for box in boxes:
        array[box] = label
    return array


def blobs(seed, shape=(24, 20, 16)):
    """Nested random blobs with labels 2 (outside), 1 and 4 (inside), and a prediction that is off by noise."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=shape), 2.5)
    other = field + 0.5 * ndimage.gaussian_filter(random.normal(size=shape), 2.5)
    return [
        np.array([0, 2, 1, 4])[np.digitize(f / field.std(), [0.5, 1.0, 1.4])].astype(np.uint8) for f in (field, other)
    ]


SHAPES = {
    "single voxels": (volume(np.s_[4, 4, 4]), volume(np.s_[6, 2, 9])),
    "one voxel in a block": (volume(np.s_[4, 4, 4]), volume(np.s_[2:7, 2:7, 2:7])),
    "touching the border": (volume(np.s_[0:3, 0:4, 0:5]), volume(np.s_[5:8, 6:9, 7:10])),
    "whole volume against a corner": (volume(np.s_[:, :, :]), volume(np.s_[0:2, 0:2, 0:2])),
    "whole volume twice": (volume(np.s_[:, :, :]), volume(np.s_[:, :, :])),
    "one slice": (volume(np.s_[2:6, 3:7, 4]), volume(np.s_[3:8, 3:7, 5])),
    "volume of one slice": (
        volume(np.s_[2:6, 3:7], shape=(8, 9, 1)),
        volume(np.s_[3:8, 3:7], np.s_[0, 0], shape=(8, 9, 1)),
    ),
    "far islands": (volume(np.s_[0:2, 0:2, 0:2]), volume(np.s_[0:2, 0:2, 0:2], np.s_[7, 8, 9])),
}
"""Degenerate pairs of label maps, by what is unusual about them."""


ISLANDS = volume(np.s_[2:4, 2:4, 2:4], np.s_[6:8, 6:8, 6:8])
EMPTY = {
    "both empty": (volume(), volume()),
    "prediction empty": (ISLANDS, volume()),
    "reference empty": (volume(), ISLANDS),
}
"""Pairs of label maps that lack a mask or two."""
