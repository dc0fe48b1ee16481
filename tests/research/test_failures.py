"""The simulation of `benchmark check` fails the studies that the check fails."""

import numpy as np
from failures import failed
from helpers.synthetic_scores import rows, table
from sources import EMPTY_HD95, OUTCOMES

from benchmark.results.check import compare_with_baseline, fewest_failed


def study(scores):
    """A table of (patients, seeds, outcomes) scores; an HD95 of an empty prediction has its note."""
    return table(
        *(
            rows("unet", {f"P{patient}": value}, metric=metric, region=region, seed=seed,
                 note="prediction empty" if scores[patient, seed, 3 + place % 3] == EMPTY_HD95 else "")
            for place, (metric, region) in enumerate(OUTCOMES)
            for (patient, seed), value in np.ndenumerate(scores[..., place])
        )
    )  # fmt: skip


def test_failed_patients_are_those_of_the_check():
    random, seen = np.random.default_rng(1), set()
    rule, better = {"metrics": ["dice", "hd95"], "margin": 1e6}, {"dice": "higher", "hd95": "lower"}
    for _ in range(30):
        old, new = (
            np.concatenate([
                random.choice([0.0, 0.04, 0.09, 0.1, 0.45, 0.8], (9, 2, 3)),
                random.choice([2.0, 60.0, 120.0, EMPTY_HD95], (9, 2, 3)),
            ], axis=-1)
            for _ in range(2)
        )  # fmt: skip
        by_outcome = failed(old, new).sum(axis=0).max(axis=0) >= fewest_failed(9)
        found = compare_with_baseline(study(new), study(old), rule, better)
        expected = {(metric, region) for (metric, region), hit in zip(OUTCOMES, by_outcome, strict=True) if hit}
        assert {(one.metric, one.region) for one in found if one.failed} == expected
        seen |= {len(expected)}
    assert len(seen) > 2
