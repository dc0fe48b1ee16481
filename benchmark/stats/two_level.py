"""Rows of one metric and region to a two-level test of pairs of models: over patients and over checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.stats.seeds import Block, estimate, model_blocks, patient_differences

TWO_LEVEL = "two_level"
"""Name of the test in study.json, beside those of ``paired.TESTS``, which are over patients alone."""
INCOMPLETE = "a run that lacks scores of some patients is left out, so that the difference is not that of the means"
ONE_SEED = "a model has no fold with two seeds and two patients: what differs may be these checkpoints, not the methods"


def two_level(
    rows: pd.DataFrame, patients: pd.Index, pairs: Sequence[tuple[str, str]], margin: float
) -> dict[str, np.ndarray]:
    """Columns of ``compare`` by name, a value a pair, where the declared test is of methods and not of checkpoints.

    Statistic, p and interval are of ``seeds.estimate``; ``above`` and ``below`` are the one-sided p against -margin
    and +margin (NaN without one). With one seed p is 1 and the note says so, as it does where a run lacks scores of
    some of its patients: such a checkpoint is left out.
    """
    own = model_blocks(rows, patients)
    whole = {str(model): _whole(part, own[str(model)]) for model, part in rows.groupby("model")}
    found = [estimate(own[a], own[b], patient_differences(own[a], own[b]))[0] for a, b in pairs]
    intervals = np.array([one.interval() for one in found])
    none = np.full(len(found), np.nan)
    return {
        "difference": np.array([one.mean for one in found]),
        "ci_low": intervals[:, 0],
        "ci_high": intervals[:, 1],
        "statistic": np.array([one.statistic for one in found]),
        "p": np.array([one.p for one in found]),
        "p_smallest": np.array([0.0 if one.seeds_df else 1.0 for one in found]),
        "above": np.array([one.p_above(-margin) for one in found]) if margin > 0 else none,
        "below": np.array([one.p_below(margin) for one in found]) if margin > 0 else none,
        "note": np.array(
            [
                ONE_SEED if not one.seeds_df else "" if whole[a] and whole[b] else INCOMPLETE
                for one, (a, b) in zip(found, pairs, strict=True)
            ],
            dtype=object,
        ),
    }


def _whole(rows: pd.DataFrame, found: list[Block]) -> bool:
    """Whether every score of a model is in a block."""
    scored = rows.dropna(subset="value")[["patient_id", "fold", "seed"]].drop_duplicates()
    return len(scored) == sum(block.values.size for block in found)
