"""Measure whether power, equivalence and intervals keep what they promise, on populations of paired differences.

A population is an array of differences whose mean and SD are therefore known exactly; studies are drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from candidates import two_level
from drawing import FOLDS, by_run, modelled, partitions, without_et
from rates import ALPHA, LABELS, NEW_PATIENTS, NEW_SEEDS, SHOWN, row, two_sides
from scipy import stats
from sources import DICE, OUTCOMES, Seeds

from benchmark.stats.intervals import mean_interval
from benchmark.stats.paired import TESTS, tost
from benchmark.stats.power import POWER, sample_size
from benchmark.stats.seeds import pair_runs, superiority

PLANTED = {"dice WT": (0.01, 0.02), "dice ET": (0.02, 0.05)}
"""True mean differences of Dice to find, by outcome."""
MOST = 4000
"""Patients at most in a simulated study."""


def population(real: Seeds, outcome: str, difference: float, seeds: int = 1) -> np.ndarray:
    """Return 40,000 patients' differences of two names, the first better by ``difference`` of Dice on average."""
    return _shifted(real, outcome, planted_shift(real, outcome, difference, seeds), seeds)


def planted_shift(real: Seeds, outcome: str, difference: float, seeds: int = 1) -> np.ndarray:
    """Shift on the latent scale (names, outcomes) that makes the first name better by ``difference`` of Dice.

    Found by bisection; what it adds to a score is larger where there is room.
    """
    low, high = 0.0, 4.0
    for _ in range(18):
        size = (low + high) / 2
        found = _shifted(real, outcome, _shift(size), seeds)
        low, high = (size, high) if found.mean() < difference else (low, size)
    return _shift(high)


def _shift(size: float) -> np.ndarray:
    shift = np.zeros((2, len(OUTCOMES)))
    shift[0] = np.where(DICE, size, -size)
    return shift


def _shifted(real: Seeds, outcome: str, shift: np.ndarray, seeds: int) -> np.ndarray:
    drawn = modelled(np.random.default_rng(7), real, 0.0, 400, 100, 2, seeds, shift=shift)
    values = drawn.mean(axis=3)[..., LABELS.index(outcome)]
    return np.round(values[..., 0] - values[..., 1], 12).ravel()


def real_pairs(runs: np.ndarray, outcome: str) -> list[np.ndarray]:
    """Differences of every pair of real runs on the real patients; pairs without any difference are left out."""
    values = runs[..., LABELS.index(outcome)]
    pairs = (values[:, a] - values[:, b] for a, b in combinations(range(values.shape[1]), 2))
    return [np.round(pair, 12) for pair in pairs if np.ptp(pair) > 0]


def power_rows(real: Seeds, trials: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Share of studies of the promised size that find what was planted, at alpha on one comparison."""
    for outcome, differences in PLANTED.items():
        for difference in differences:
            for seeds in (1, 2):
                drawn = population(real, outcome, difference, seeds)
                for name, test in TESTS.items():
                    n = int(sample_size(drawn.mean() / drawn.std(), ALPHA, POWER, name))
                    if n > MOST:
                        continue
                    hits = test(draw(random, drawn, trials, n)).p < ALPHA
                    scope = f"{outcome} +{difference:g}"
                    yield row("planted", NEW_PATIENTS, name, scope, (n, seeds), hits, POWER, at_least=True)


def pilot_rows(
    real: Seeds, trials: int, random: np.random.Generator, pilots: tuple[int, ...] = (18, 50)
) -> Iterator[dict[str, Any]]:
    """As ``power_rows``, where the SD is that of a pilot study and so itself a matter of chance: no promise is made."""
    for outcome, differences in PLANTED.items():
        drawn = population(real, outcome, differences[1])
        for pilot in pilots:
            spread = draw(random, drawn, trials, pilot).std(axis=1, ddof=1)
            sizes = np.minimum(sample_size(drawn.mean() / spread, ALPHA), MOST).astype(int)
            hits = np.array([stats.ttest_1samp(random.choice(drawn, n), 0.0).pvalue < ALPHA for n in sizes])
            scope = f"{outcome} +{differences[1]:g}, SD from {pilot} patients"
            size = (int(np.median(sizes)), 1)
            yield row("planted", NEW_PATIENTS, "paired_t", scope, size, hits, POWER, at_least=True, held=False)


def equivalence_rows(
    real: Seeds, runs: np.ndarray, trials: int, patients: tuple[int, ...], random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Share of studies that call two models equivalent which truly differ by just the margin."""
    for outcome, differences in PLANTED.items():
        drawn = population(real, outcome, differences[1])
        for n in patients:
            hits = tost(draw(random, drawn, trials, n), float(drawn.mean())).equivalent < ALPHA
            yield row("at_margin", NEW_PATIENTS, "tost", outcome, (n, 1), hits, ALPHA)
    for outcome in SHOWN:
        pairs = [pair / pair.mean() for pair in real_pairs(runs, outcome) if abs(pair.mean()) > pair.std() / 10]
        for n in patients:
            hits = tost(_of_each(random, pairs, trials, n)[0], 1.0).equivalent < ALPHA
            yield row("at_margin_real", NEW_PATIENTS, "tost", outcome, (n, 1), hits, ALPHA)


def equivalent_methods(
    real: Seeds, trials: int, patients: tuple[int, ...], seeds: tuple[int, ...], random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """As ``equivalence_rows`` for methods: two one-sided two-level tests, with new checkpoints that shift patients."""
    margin = 0.02
    for n in patients:
        for count in seeds:
            folds = partitions(random, n, FOLDS, count)
            first, second = two_sides(modelled(random, real, real.rho, trials, n, 2, count, folds))
            first = first + margin
            away = first.mean(axis=(1, 2)) - second.mean(axis=(1, 2))
            both = [
                np.where(sign * (bound - away) > 0, p / 2, 1 - p / 2)
                for sign, bound in ((1, margin), (-1, -margin))
                for p in [two_level(first - bound, second, folds)]
            ]
            found = (np.maximum(*both) < ALPHA).reshape(trials, -1)
            for outcome in PLANTED:
                hits = found[:, LABELS.index(outcome)]
                yield row("at_margin_methods", NEW_SEEDS, "two_level_tost", outcome, (n, count), hits, ALPHA)


def superiority_rows(
    real: Seeds, trials: int, patients: tuple[int, ...], seeds: tuple[int, ...], random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Share of 95% intervals of the probability that a beats b which miss one half, where both are one method."""
    for n in patients:
        for count in seeds:
            folds = partitions(random, n, FOLDS, count)
            drawn = np.round(modelled(random, real, real.rho, trials, n, 2, count, folds), 12)
            empty = by_run(np.zeros((n, count)), folds)
            pair = pair_runs(empty, empty)
            for outcome in PLANTED:
                values = drawn[..., LABELS.index(outcome)]
                missed = np.empty(trials, dtype=bool)
                for trial in range(trials):
                    first, second = (by_run(values[trial, :, name], folds) for name in (0, 1))
                    _, low, high = superiority(pair._replace(first=first, second=second), higher=True)
                    missed[trial] = low > 0.5 or high < 0.5
                yield row("superiority", NEW_SEEDS, "superiority", outcome, (n, count), missed, ALPHA)


def interval_rows(
    runs: np.ndarray, trials: int, patients: tuple[int, ...], random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Share of 95% intervals that miss: of a model's mean, and of the mean difference of a real pair."""
    for outcome in SHOWN:
        values = without_et(random, np.repeat(runs[None, :, :, None], 200, axis=0))[..., 0, LABELS.index(outcome)]
        singles = list(values.reshape(-1, runs.shape[1]).T)
        for design, kinds in (("mean", singles), ("difference", real_pairs(runs, outcome))):
            for n in patients:
                rows, truth = _of_each(random, kinds, trials, n)
                for test, (low, high) in {"bca": mean_interval(rows), "t_interval": t_interval(rows)}.items():
                    missed = (truth < low) | (truth > high)
                    held = test == "bca"
                    yield row(f"interval_{design}", NEW_PATIENTS, test, outcome, (n, 1), missed, ALPHA, held=held)


def t_interval(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% t interval of the mean of each row."""
    half = stats.t.ppf(0.975, rows.shape[1] - 1) * rows.std(axis=1, ddof=1) / np.sqrt(rows.shape[1])
    return rows.mean(axis=1) - half, rows.mean(axis=1) + half


def draw(random: np.random.Generator, values: np.ndarray, trials: int, n: int) -> np.ndarray:
    """Studies of ``n`` patients drawn from a population, (trials, n)."""
    return values[random.integers(0, len(values), (trials, n))]


def _of_each(
    random: np.random.Generator, populations: list[np.ndarray], trials: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Studies of populations taken in turn, (trials, n), and the true mean of each."""
    chosen = np.arange(trials) % len(populations)
    rows = np.stack([draw(random, populations[one], 1, n)[0] for one in chosen])
    return rows, np.array([populations[one].mean() for one in chosen])
