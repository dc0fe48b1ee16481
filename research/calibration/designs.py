"""Compare designs of a study at equal cost: which folds its seeds train on, and which test of methods holds alpha.

Run ``PYTHONPATH=. python research/calibration/designs.py [--trials 2000] [--out research/calibration]``. It needs no
data but the scores of brats_small. Two methods are trained k x s times each and tested on n patients. ``shared``: every
seed has the same k folds. ``new``: every seed has a partition of its own. A score is

    patient + patient x method + training set x method + luck of the run + noise,

and the methods are equal on average. The effect of the training set, of variance ``fold`` times that of the luck of a
run, is drawn in three ways. ``each``: one per set, however much two sets overlap. ``influence``: each patient has a
share of its own in the effect of every set that it is in, so that sets which overlap act alike; over all sets drawn
from these patients the effect is zero on average. ``influence of new patients``: the same without that zero, so that
the methods are equal on sets of any patients, but not quite on sets of these. ``each, both methods``: another effect of
the set, of twice the variance of the luck, on both methods alike. ``each, unequal``: the luck of one method has twice
the variance, and that of the other none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import candidates
import numpy as np
import pandas as pd
from drawing import modelled, partitions
from rates import ALPHA, LABELS, two_sides
from several import holm
from simulate import DESIGNS, SMALL, provenance
from sources import DICE, OUTCOMES, Seeds, two_seeds

from benchmark.base.files import read_json, write_json, write_text

NOISE, PATIENT = 7.1, 3.0
"""Variances per method of the noise and of patient x method over that of the luck of a run: 1 / rho, and about the
shares of brats_small."""
POWER = 0.9
"""Power of a z test with known variances on new partitions, for the difference that is planted."""
PLANTED = 0.5
"""Difference of logit Dice that is planted where real scores are drawn."""
COLUMNS = ("scores", "n_patients", "k", "n_seeds", "cost", "fold", "acts", "design", "test", "trials", "error", "power")


@dataclass(frozen=True)
class Study:
    """Sizes of a study, the variance of a training set's effect over that of a run's luck, and how it acts."""

    patients: int
    k: int
    seeds: int
    fold: float
    acts: str = "each"


STUDIES = (
    *(Study(n, k, s, fold) for n in (18, 50, 250, 1000) for k, s in ((3, 2), (3, 3), (5, 3))
      for fold in (0, 0.5, 1, 2)),
    *(Study(n, k, s, 0.5) for n in (18, 250) for k, s in ((3, 5), (5, 2), (5, 5), (10, 2), (10, 3), (10, 5))),
    *(Study(1000, k, s, 0.5) for k, s in ((3, 5), (5, 2), (5, 5), (10, 3))), Study(1250, 10, 3, 0.5),
    *(Study(n, k, 3, 1.0, acts) for n, k in ((18, 3), (250, 5), (1000, 5))
      for acts in ("influence", "influence of new patients")),
    *(Study(n, k, 3, 0.5, acts) for n, k in ((18, 3), (250, 5)) for acts in ("each, both methods", "each, unequal")),
)  # fmt: skip
MIXED = ((18, 3, 3), (250, 5, 3), (1000, 5, 3), (250, 3, 2))
"""Sizes at which the mixed models, which are slow, are fitted, and to a fifth of the studies."""
REAL = tuple(
    Study(n, k, s, fold) for n, k, s in ((18, 3, 2), (18, 3, 3), (250, 5, 3), (1250, 5, 3)) for fold in (0, 1.0)
)


def draw(
    random: np.random.Generator, study: Study, trials: int, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Draw the scores of two methods that are equal on average, (trials, patients, seeds) each."""
    n, k, s = study.patients, study.k, study.seeds
    rows = 1 if candidates.is_shared(folds) else s
    luck = (0.0, 2.0) if study.acts == "each, unequal" else (1.0, 1.0)
    both = random.standard_normal((trials, rows, k)) * np.sqrt(2.0 * (study.acts == "each, both methods"))
    sides = []
    for variance in luck:
        run = np.sqrt(variance) * random.standard_normal((trials, s, k)) + both
        run = run + np.sqrt(study.fold) * _training(random, study, trials, folds[:rows])
        own = np.sqrt(NOISE) * random.standard_normal((trials, n, s))
        own += np.sqrt(PATIENT) * random.standard_normal((trials, n, 1))
        for seed in range(s):
            own[:, :, seed] += run[:, seed, folds[seed]]
        sides.append(own)
    return sides[0], sides[1]


def _training(random: np.random.Generator, study: Study, trials: int, folds: np.ndarray) -> np.ndarray:
    """Effects of training sets on one method, (trials, partitions, k), of variance 1 over sets of new patients."""
    if study.acts.startswith("each"):
        return random.standard_normal((trials, len(folds), study.k))
    share = random.standard_normal((trials, study.patients))
    if study.acts == "influence":
        share -= share.mean(axis=1, keepdims=True)
    trained = np.stack([own != fold for own in folds for fold in range(study.k)], axis=1).astype(float)
    return (share @ (trained / np.sqrt(trained.sum(axis=0)))).reshape(trials, len(folds), study.k)


def normal_rows(study: Study, trials: int) -> Iterator[dict[str, Any]]:
    """Error and power of each test on normal scores, under both designs."""
    n, k, s = study.patients, study.k, study.seeds
    known = np.sqrt(2 * ((1 + study.fold) / (k * s) + (PATIENT + NOISE / s) / n))
    gain = (1.959964 + 1.281552) * known
    for design, tests in (("shared", candidates.SHARED), ("new", candidates.NEW)):
        random = np.random.default_rng([20265, n, k, s, design == "new"])
        hits: dict[str, list[np.ndarray]] = {test.__name__: [] for test in tests}
        part = max(20, min(trials // 20, int(2e6 / (n * s))))
        for done in range(0, trials, part):
            folds = partitions(random, n, k, s, shared=design == "shared")
            first, second = draw(random, study, part, folds)
            for test in tests:
                slow = test.__name__.startswith("mixed")
                if not slow or ((n, k, s) in MIXED and done < trials / 5):
                    result = test(first, second, folds)
                    hits[test.__name__].append(
                        np.stack([candidates.reject(result, ALPHA, shift) for shift in (0, gain)])
                    )
        if design == "shared":
            hits["fold_means and by_runs"] = [a & b for a, b in zip(hits["fold_means"], hits["by_runs"], strict=True)]
        for name, found in hits.items():
            if found:
                rates = np.concatenate(found, axis=1)
                yield _row("normal", study, design, name, rates.shape[1], rates.mean(axis=1))


def real_rows(real: Seeds, study: Study, trials: int) -> Iterator[dict[str, Any]]:
    """Error and power where scores are drawn from real ones: Dice of WT and ET, and Holm's family of 18.

    Three methods, equal on average: each patient's level under each is that of a real model drawn for it.
    """
    n, k, s = study.patients, study.k, study.seeds
    planted = np.zeros((3, len(OUTCOMES)))
    planted[0] = np.where(DICE, PLANTED, -PLANTED)
    tests = {
        "shared": (candidates.unpaired, candidates.two_level, candidates.resampled_t),
        "new": (candidates.unpaired, candidates.two_level, candidates.resampled_t),
    }
    for design, own in tests.items():
        random = np.random.default_rng([20266, n, k, s, design == "new"])
        hits: dict[tuple[str, str], list[np.ndarray]] = {}
        part = max(5, min(trials // 20, int(1e5 / (n * s))))
        for _ in range(0, trials, part):
            folds = partitions(random, n, k, s, shared=design == "shared")
            for place, shift in enumerate((None, planted)):
                drawn = modelled(random, real, real.rho, part, n, 3, s, folds, study.fold, shift, methods=True)
                for test in own:
                    result = test(*two_sides(drawn), folds)
                    p = result if isinstance(result, np.ndarray) else candidates.p_values(result)
                    p = p.reshape(part, 3, len(OUTCOMES))
                    found = {f"real {name}": p[:, 0, LABELS.index(name)] for name in ("dice WT", "dice ET")}
                    # The first two pairs hold the planted difference.
                    found["real family"] = (
                        holm(p.reshape(part, -1)).reshape(p.shape)[:, : 2 + (place == 0)].min(axis=(1, 2))
                    )
                    for scores, values in found.items():
                        hits.setdefault((scores, test.__name__), [[], []])[place].append(values < ALPHA)  # type: ignore[arg-type]
        for (scores, name), found in hits.items():
            rates = [np.concatenate(one) for one in found]
            yield _row(scores, study, design, name, len(rates[0]), [rate.mean() for rate in rates])


def _row(scores: str, study: Study, design: str, test: str, trials: int, rates: Any) -> dict[str, Any]:
    own = (scores, study.patients, study.k, study.seeds, study.k * study.seeds, study.fold, study.acts, design, test)
    return dict(zip(COLUMNS, (*own, trials, *(round(float(rate), 4) for rate in rates)), strict=True))


def markdown(table: pd.DataFrame) -> str:
    """Return error and power of every test side by side, a row per study, in bold where a 99% interval excludes 5%."""
    lines = [
        "# Designs\n",
        "Error at alpha 0.05 / power, by design, test and study; README.md says what they are. **Bold**: the error is "
        "above 0.05 by more than chance (2.6 standard errors). Cost: trainings per method.\n",
    ]
    for scores, rows in table.groupby("scores", sort=False):
        above = rows["error"] > ALPHA + 2.576 * np.sqrt(ALPHA * (1 - ALPHA) / rows["trials"])
        cell = rows["error"].map("{:.3f}".format).where(~above, rows["error"].map("**{:.3f}**".format))
        keys = ["acts", "n_patients", "k", "n_seeds", "cost", "fold"]
        wide = rows.assign(
            cell=cell + " / " + rows["power"].map("{:.2f}".format), at=rows["design"] + ": " + rows["test"]
        )
        order = list(dict.fromkeys(wide["at"]))
        wide = wide.pivot(index=keys, columns="at", values="cell")[order].fillna("").reset_index()
        head = ["sets act", "patients", "k", "seeds", "cost", "fold", *order]
        body = [" | ".join(map(str, row)) for row in wide.itertuples(index=False)]
        lines += [
            f"## Scores: {scores}\n",
            *(f"| {line} |" for line in (" | ".join(head), "---|" * (len(head) - 1) + "---", *body)),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("research/calibration"))
    chosen = parser.parse_args()
    begun, real, found = time.process_time(), two_seeds(SMALL[0]), []
    for study in STUDIES:
        # Half as many where a study takes as long as ten others.
        found += normal_rows(study, chosen.trials // (1 + (study.patients > 250)))
        print(f"{study}: {time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    for study in REAL:
        found += real_rows(real, study, chosen.trials // (2 + 2 * (study.patients > 250)))
        print(f"{study}, real scores: {time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(found, columns=COLUMNS)
    chosen.out.mkdir(parents=True, exist_ok=True)
    text, record = markdown(table), chosen.out / "provenance.json"
    write_text(chosen.out / "designs.csv", table.to_csv(index=False))
    write_text(chosen.out / "designs.md", text)
    made = provenance(real, chosen.trials, time.process_time() - begun)
    made["command"] = f"PYTHONPATH=. python research/calibration/designs.py --trials {chosen.trials}"
    known = read_json(record, "what the rates were made from") if record.exists() else {}
    write_json(record, known | {DESIGNS: made})
    print(text)


if __name__ == "__main__":
    main()
