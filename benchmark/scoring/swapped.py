"""Find predictions whose label values mean something else than the reference's, from the overlap of a few cases.

Every value of the predictions is set against every label of the reference, and the assignment with the highest total
Dice is compared with the values as they are. A bad network mixes tissues up too, but not systematically: a warning
needs a gain of GAIN in mean Dice over the values that would be exchanged, and a gain for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmark.data.conventions import option_for
from benchmark.data.manifest import Manifest

CASES = 5
"""Cases with all labels that are looked at."""
GAIN = 0.15
"""Gain in mean Dice over the exchanged values from which on values count as exchanged."""
LEAST = 0.25
"""Mean Dice over these values, once exchanged, below which nothing is said: such overlap can be chance."""


class Overlap(NamedTuple):
    """Dice of each nonzero value of a prediction (rows) with each nonzero label of its reference (columns)."""

    values: tuple[int, ...]
    labels: tuple[int, ...]
    dice: np.ndarray


class Mistaken(NamedTuple):
    """Values that seem to mean something else: value to label, and mean Dice of these labels as it is and mapped."""

    mapping: dict[int, int]
    as_it_is: float
    mapped: float

    def option(self, manifest: Manifest) -> str:
        """Return what ``--labels`` has to say."""
        return option_for(self.mapping, manifest)


def overlap(reference: np.ndarray, prediction: np.ndarray) -> Overlap:
    """Count the overlap of two label maps of one shape, each value with each label, as Dice."""
    either = (reference != 0) | (prediction != 0)
    truth, guess = reference[either], prediction[either]
    labels, of_truth = np.unique(truth, return_inverse=True)
    values, of_guess = np.unique(guess, return_inverse=True)
    both = np.zeros((len(values), len(labels)))
    np.add.at(both, (of_guess, of_truth), 1)
    sizes = both.sum(axis=1)[:, None] + both.sum(axis=0)[None, :]
    keep = values != 0, labels != 0
    dice = (2 * both / sizes)[np.ix_(*keep)]
    return Overlap(tuple(map(int, values[keep[0]])), tuple(map(int, labels[keep[1]])), dice)


def mistaken(found: Sequence[Overlap], manifest: Manifest) -> Mistaken | None:
    """Say which values of predictions seem to mean another label than the manifest's; None where none do.

    Values that the manifest does not name always mean another: what is returned then is the best guess, with a Dice as
    it is of 0.
    """
    labels = [int(label) for label in manifest.labels if label != "0"]
    values = sorted({value for one in found for value in one.values})
    tables = np.zeros((len(found), len(values), len(labels)))
    for table, one in zip(tables, found, strict=True):
        rows = [values.index(value) for value in one.values]
        columns = [labels.index(label) for label in one.labels if label in labels]
        table[np.ix_(rows, columns)] = one.dice[:, [label in labels for label in one.labels]]
    best = dict(zip(*linear_sum_assignment(tables.mean(axis=0), maximize=True), strict=True)) if values else {}
    moved = {row: column for row, column in best.items() if values[row] != labels[column]}
    unknown = [row for row in moved if values[row] not in labels]
    gains, here = np.zeros((len(found), 0)), 0.0
    if moved:
        there = np.stack([tables[:, row, column] for row, column in moved.items()], axis=1)
        plain = [
            tables[:, row, labels.index(values[row])] if row not in unknown else np.zeros(len(found)) for row in moved
        ]
        gains, here = there - np.stack(plain, axis=1), float(there.mean())
    exchanged = len(moved) > 1 and gains.mean() >= GAIN and here >= LEAST and bool((gains.mean(axis=0) > 0).all())
    if not exchanged and not unknown:
        return None
    mapping = {values[row]: labels[column] for row, column in moved.items()}
    return Mistaken(mapping, here - float(gains.mean()), here)
