"""Masks that tests make from seeds to the table of what panoptica says of them, ``panoptica_table.csv``.

``.tox/panoptica/bin/python tests/helpers/panoptica_table.py`` writes it anew, after ``tox -e panoptica`` made that
environment. A row has panoptica's version, the masks by name, spacing in mm, region, a checksum of both masks, and
panoptica's value of each metric of ours that it defines: empty for what it leaves out, inf for a distance to nothing.
"""

import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import other_scores
from helpers.synthetic_masks import ANISOTROPIC, EMPTY, ISOTROPIC, ONE, REGIONS, SHAPES, blobs

TABLE = Path(__file__).with_suffix(".csv")
KEYS = ["masks", "spacing", "region", "crc32"]
VALUES = ["dice", "hd95_pooled", "lesion_pq", "instance_tp", "instance_fp", "instance_fn"]
SEEDS = range(12)


def masks():
    """Yield each pair of masks: its keys, the label maps, the spacing, and the labels that its region unites."""
    pairs = {f"blobs {seed}": (blobs(seed, (40, 30, 24)), REGIONS) for seed in SEEDS}
    # Panoptica takes a volume of one slice for three-dimensional: all of a mask is its surface.
    pairs |= {name: (pair, ONE) for name, pair in (SHAPES | EMPTY).items() if name != "volume of one slice"}
    for name, ((reference, prediction), regions) in pairs.items():
        for spacing in (ISOTROPIC, ANISOTROPIC):
            for region, labels in regions.items():
                # Seeds give the same masks until numpy or scipy change a digit: then the checksum says so, no score.
                sums = zlib.crc32(np.stack([np.isin(side, labels) for side in (reference, prediction)]).tobytes())
                key = {"masks": name, "spacing": " ".join(map(str, spacing)), "region": region, "crc32": f"{sums:08x}"}
                yield key, reference, prediction, spacing, labels


def ask(evaluator):
    """Return the table as panoptica gives it."""
    rows = []
    for key, reference, prediction, spacing, labels in masks():
        truth, guess = np.isin(reference, labels), np.isin(prediction, labels)
        row = {"panoptica": version("panoptica"), **key}
        rows.append(row | other_scores.panoptica(evaluator, truth, guess, spacing))
    return pd.DataFrame(rows)


def read():
    """Return the committed table."""
    return pd.read_csv(TABLE, dtype={"crc32": str, "panoptica": str})


if __name__ == "__main__":
    ask(other_scores.panoptica_evaluator()).to_csv(TABLE, index=False, float_format="%.9f", lineterminator="\n")
