"""Scores that are drawn for the measurements of speed are ones that a report takes."""

from pathlib import Path

import drawn
import numpy as np

from benchmark.scoring import score_table


def test_runs_of_one_set_have_the_same_references():
    random, patients = np.random.default_rng(1), np.repeat(["P1", "P2", "P3"], 2)
    tables = {}
    for seed in (1, 2):
        run = {"bundle": "unet", "variant": "default", "fold": 0, "seed": seed}
        tables[Path(f"{seed}.csv")] = drawn.scores(random, run, patients, ["WT", "ET"] * 3, np.full(6, 0.8))
    first, second = tables.values()
    assert (first["tp"] != second["tp"]).any() and (first["tp"] + first["fn"]).nunique() > 1
    score_table.check_references(tables)
