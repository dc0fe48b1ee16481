"""Match the lesions of two masks, by the rule of BraTS 2023 or by that of the organisers' evaluator since 2025.

A lesion is a connected component; voxels that share a face, an edge or a corner are connected (26 neighbours). The
rules differ in what one lesion is, in what matches it and in what counts:

=================  ===========================================  ==================================================
question           BraTS 2023 and 2024                          panoptica, as BraTS_evaluation 0.0.10 sets it up
=================  ===========================================  ==================================================
reference lesion   components that are connected once the       a component
                   reference was dilated
match              every predicted component that touches the   one to one, so that the sum of Dice is largest;
                   dilated lesion; it may match several         Dice of at least 0.000001
minimal size       a reference lesion of no more than 50 mm³    none
                   is left out, what matches it is no false
                   positive; none for the prediction
score              sum over lesions / (TP + FN + FP), with      sum of Dice / (TP + FN / 2 + FP / 2), the panoptic
                   Dice 0 and HD95 374 mm for FN and FP         quality; HD95 and NSD there are of matches only
=================  ===========================================  ==================================================

Numbers in the table are those for glioma. A manifest's ``lesions`` has those of another edition, as metastases have one
dilation and 2 mm³.

Sources: github.com/rachitsaluja/BraTS-2023-Metrics and synapse.org thread 10357 of syn51156910 (2023);
``config_gli.yaml`` of BraTS_evaluation and github.com/BrainLesion/panoptica (Kofler et al., arXiv:2312.02608).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cc3d
import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

DILATIONS = 3
"""Dilations of the reference by 18 neighbours, each a voxel: BraTS 2023's number for glioma (GLI, SSA and PED)."""

SMALLEST_LESION = 50.0
"""Volume in mm³ up to which a reference lesion is left out: BraTS 2023's for glioma."""

HD95_PENALTY = 374.0
"""HD95 in mm of a missed or false lesion: BraTS 2023's, the diagonal of 240x240x155 mm rounded up."""

SMALLEST_MATCH = 1e-6
"""Dice from which a predicted instance may match one of the reference: the organisers' configuration of panoptica."""


@dataclass(frozen=True, eq=False)
class Instances:
    """Components of both masks matched one to one, as panoptica counts them; ``dice`` has an entry for each match."""

    tp: int
    fp: int
    fn: int
    dice: tuple[float, ...]


class Lesion(NamedTuple):
    """A lesion of the reference: its volume in ml; whether a predicted component touches it, once it is dilated; and
    the Dice of it and of all components that do, 0 where none does."""

    volume: float
    found: bool
    dice: float


@dataclass(frozen=True, eq=False)
class Lesions(Instances):
    """Reference lesions above the minimal size and their matches, by BraTS 2023's rule.

    ``tp`` and ``fn`` count reference lesions, ``fp`` predicted components that match none of any size. ``groups`` and
    ``components`` label lesions and predicted components from 1, and ``matches`` says for each true positive its label
    and, by component (0 the background), which match it. ``reference`` has every lesion that counts, the largest first.
    """

    groups: np.ndarray
    components: np.ndarray
    matches: tuple[tuple[int, np.ndarray], ...]
    reference: tuple[Lesion, ...]


def match_lesions(
    reference: np.ndarray,
    prediction: np.ndarray,
    voxel: float,
    dilations: int = DILATIONS,
    smallest: float = SMALLEST_LESION,
) -> Lesions:
    """Match lesions by BraTS 2023's rule; masks are boolean and of one shape, ``voxel`` is a voxel's volume in mm³.

    ``dilations`` and ``smallest``, in mm³, are what the rule leaves to an edition.
    """
    # Cropped masks give the same: moving a path through a dilated mask into a box around the mask leaves it connected.
    extents, lesions = _components(dilate(reference, dilations))
    groups = extents * reference
    components, predicted = _components(prediction)
    touching = _overlaps(extents, lesions, components, predicted)[1:] > 0
    touching[:, 0] = False
    sizes = np.bincount(groups[reference], minlength=lesions + 1)[1:]
    counted = sizes * voxel > smallest
    found = counted & touching.any(axis=1)
    shared = np.bincount(groups[prediction], minlength=lesions + 1)[1:]
    dice = 2 * shared / (sizes + touching @ np.bincount(components[prediction], minlength=predicted + 1))
    # Labels depend on the box that the masks were cropped to, and so on the prediction; sizes do not.
    by_size = [index for index in np.argsort(-sizes, kind="stable") if counted[index]]
    return Lesions(
        tp=int(found.sum()),
        fp=predicted - int(touching.any(axis=0).sum()),
        fn=int((counted & ~found).sum()),
        dice=tuple(dice[found].tolist()),
        groups=groups,
        components=components,
        matches=tuple((int(index) + 1, touching[index]) for index in np.flatnonzero(found)),
        reference=tuple(
            Lesion(float(sizes[index] * voxel / 1000), bool(found[index]), float(dice[index])) for index in by_size
        ),
    )


def match_instances(reference: np.ndarray, prediction: np.ndarray) -> Instances:
    """Match components of two boolean masks of one shape one to one, so that the sum of their Dice is largest."""
    first, found = _components(reference)
    second, predicted = _components(prediction)
    shared = _overlaps(first, found, second, predicted)[1:, 1:]
    sizes = np.bincount(first[reference])[1:], np.bincount(second[prediction])[1:]
    dice = 2 * shared / np.add.outer(*sizes)
    dice[dice < SMALLEST_MATCH] = 0
    matched = dice[linear_sum_assignment(dice, maximize=True)]
    matched = matched[matched > 0]
    return Instances(len(matched), predicted - len(matched), found - len(matched), tuple(matched.tolist()))


def dilate(mask: np.ndarray, times: int) -> np.ndarray:
    """Dilate by the neighbours that share a face or an edge (18 in a volume, all 8 in a picture), within the array."""
    for _ in range(times):
        # Every two axes' 3x3 squares together are the 18 neighbours, and each square is two lines in turn.
        lines = [_spread(mask, axis) for axis in range(mask.ndim)]
        wide = lines[-1].copy()
        for axis, line in enumerate(lines):
            for other in range(axis + 1, mask.ndim):
                wide |= _spread(line, other)
        mask = wide
    return mask


def _spread(mask: np.ndarray, axis: int) -> np.ndarray:
    out = mask.copy()
    wide, narrow = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
    wide[1:] |= narrow[:-1]
    wide[:-1] |= narrow[1:]
    return out


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    if mask.ndim == 3 and mask.size:
        labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    else:
        # In two dimensions cc3d 4.1 joins and counts 8-connected components wrongly, or fails; up to 4.1.0 it gives an
        # empty box back with one axis.
        labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return labels, int(count)


def _overlaps(first: np.ndarray, rows: int, second: np.ndarray, columns: int) -> np.ndarray:
    # Voxels by label of both, of shape (rows + 1, columns + 1); only what the second has is counted.
    inside = np.flatnonzero(second > 0)
    joint = first.ravel()[inside].astype(np.int64) * (columns + 1) + second.ravel()[inside]
    return np.bincount(joint, minlength=(rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
