"""Simulate studies from committed scores: how often each test calls one method two, and finds what was planted.

Run ``PYTHONPATH=. python research/calibration/simulate.py [--trials 1000] [--out research/calibration]``. It needs no
data, only committed score tables. ``research/calibration/README.md`` says what each design means and what follows.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pandas as pd
from candidates import two_level
from drawing import FOLDS, modelled, partitions, shuffled
from failures import failure_rows
from promises import (
    equivalence_rows,
    equivalent_methods,
    interval_rows,
    pilot_rows,
    power_rows,
    superiority_rows,
)
from rates import ALPHA, NEW_PATIENTS, NEW_SEEDS, null_rows, partial_rows, row, two_sides
from sources import OUTCOMES, Seeds, pool, two_seeds
from tables import markdown

from benchmark import stats
from benchmark.base.files import read_json, write_json, write_text
from benchmark.results import check
from benchmark.studies import store

NAMES = 3
PATIENTS, SEEDS = (10, 18, 50, 250), (1, 2, 3, 5)
PARTS = (
    *("nulls", "partial", "power", "pilot", "seeds", "equivalence", "equivalent_methods", "superiority"),
    *("intervals", "methods_power", "missing", "check"),
)
DESIGNS = "compared designs"
"""What designs.py calls itself in provenance.json."""
STRESSED = (18, 250)
"""Patients in the designs that go beyond what the two seeds say."""
SEED = 20264
SMALL = Path("research/calibration/brats_small.csv"), Path("research/calibration/mandekar2025_small.csv")
"""Scores of brats_small and mandekar2025/small as of 2026-11-27 (commit 0370bad): folds alike in both seeds."""
NETWORKS = Path("research/calibration/scores.csv")


def nulls(small: np.ndarray, networks: np.ndarray, real: Seeds, trials: int) -> Iterator[dict[str, Any]]:
    """One method under several names, and different methods equal on average, at every size."""
    random = np.random.default_rng(SEED)
    for n in PATIENTS:
        for seeds in SEEDS:
            folds = partitions(random, n, FOLDS, seeds)
            yield from null_rows("shuffled", NEW_PATIENTS, shuffled(random, small, trials, n, NAMES, seeds), folds)
            if seeds < 3:
                drawn = shuffled(random, networks, trials, n, NAMES if seeds == 1 else 2, seeds)
                yield from null_rows("shuffled_networks", NEW_PATIENTS, drawn, folds)
            yield from null_rows("no_shift", NEW_PATIENTS, modelled(random, real, 0, trials, n, NAMES, seeds), folds)
            drawn = modelled(random, real, real.rho, trials, n, NAMES, seeds, folds)
            yield from null_rows("shift", NEW_SEEDS, drawn, folds)
            if n not in STRESSED:
                continue
            same = partitions(random, n, FOLDS, seeds, shared=True)
            for design, rho, own, training, methods in (
                ("shift_upper", real.rho_high, folds, 0, False),
                ("shift_sets", real.rho, folds, 1, False),
                ("shared_folds", real.rho, same, 0, False),
                ("shared_sets", real.rho, same, 1, False),
                ("shift_seeds", real.rho, None, 0, False),
                ("shift_methods", real.rho, folds, 0, True),
                ("shift_unequal", (0.0, real.rho_high, real.rho), folds, 0, False),
            ):
                drawn = modelled(random, real, rho, trials, n, NAMES, seeds, own, training, methods=methods)
                yield from null_rows(design, NEW_SEEDS, drawn, folds if own is None else own)


def partial_nulls(real: Seeds, trials: int) -> Iterator[dict[str, Any]]:
    """Two names for one method beside another method: a large true difference in four of six tests a region."""
    random = np.random.default_rng(SEED + 1)
    shift = np.zeros((NAMES, len(OUTCOMES)))
    shift[2] = [0.5 if metric == "dice" else -0.5 for metric, _ in OUTCOMES]
    for n in PATIENTS:
        for design, answers, rho, seeds in (
            ("third_differs", NEW_PATIENTS, 0.0, 1), ("third_differs_shift", NEW_SEEDS, real.rho, 3),
        ):  # fmt: skip
            folds = partitions(random, n, FOLDS, seeds)
            drawn = modelled(random, real, rho, trials, n, NAMES, seeds, folds, shift=shift)
            yield from partial_rows(design, answers, drawn, folds)


def found_with_seeds(real: Seeds, trials: int) -> Iterator[dict[str, Any]]:
    """What the two-level test finds of a shift of all Dice by the amounts named, by patients and seeds."""
    random = np.random.default_rng(SEED + 3)
    for latent in (0.25, 0.5):
        shift = np.zeros((2, len(OUTCOMES)))
        shift[0] = [latent if metric == "dice" else -latent for metric, _ in OUTCOMES]
        for n in PATIENTS[1:]:
            for seeds in SEEDS[1:]:
                folds = partitions(random, n, FOLDS, seeds)
                drawn = modelled(random, real, real.rho, trials, n, 2, seeds, folds, shift=shift)
                p = two_level(*two_sides(drawn), folds).reshape(trials, -1)
                gain = drawn[:, :, 0, :, 0].mean() - drawn[:, :, 1, :, 0].mean()
                scope = f"dice WT +{gain:.3f}"
                yield row("planted", NEW_SEEDS, "two_level", scope, (n, seeds), p[:, 0] < ALPHA, 0.8, True, held=False)


def code_hash() -> str:
    """Hash of the simulation's modules, of the statistics that it calibrates and of the check."""
    calibrated = [*Path(stats.__file__).parent.glob("*.py"), Path(check.__file__)]
    files = sorted([*Path(__file__).parent.glob("*.py"), *calibrated])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def provenance(real: Seeds, trials: int, seconds: float) -> dict[str, Any]:
    """What the tables were made from and with."""
    return {
        "command": f"PYTHONPATH=. python research/calibration/simulate.py --trials {trials}",
        "commit": store.commit(), "code_sha256": code_hash(), "seed": SEED, "trials": trials,
        "processor_seconds": round(seconds),
        "rho": round(real.rho, 4), "rho_90": [round(real.rho_low, 4), round(real.rho_high, 4)],
        "shared_f": round(real.shared, 3),
        "scores": [path.as_posix() for path in (*SMALL, NETWORKS)],
        "versions": {"python": platform.python_version()} | {
            name: metadata.version(name) for name in ("numpy", "scipy", "pandas", "statsmodels")
        },
    }  # fmt: skip


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("research/calibration"))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="the others stay as they are")
    chosen = parser.parse_args()
    trials = chosen.trials
    if trials < 10:
        parser.error(f"argument --trials: expected at least 10, as some parts take a tenth of them, found {trials}")
    small, networks, real = pool(*SMALL), pool(NETWORKS), two_seeds(SMALL[0])
    random = np.random.default_rng([SEED, 1])
    calls: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "nulls": lambda: nulls(small, networks, real, trials),
        "partial": lambda: partial_nulls(real, trials),
        "power": lambda: power_rows(real, trials, random),
        "pilot": lambda: pilot_rows(real, trials, random),
        "seeds": lambda: found_with_seeds(real, trials),
        "equivalence": lambda: equivalence_rows(real, networks, trials, PATIENTS, random),
        "equivalent_methods": lambda: equivalent_methods(real, trials, PATIENTS[1:], SEEDS[1:], random),
        "superiority": lambda: superiority_rows(real, trials, PATIENTS[1:], SEEDS[1:], random),
        "intervals": lambda: interval_rows(small, trials, PATIENTS, random),
        "methods_power": lambda: checkpoints.power_rows(real, trials, random),
        "missing": lambda: checkpoints.missing_rows(real, trials, random),
        "check": lambda: failure_rows(real, networks, trials, random),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.parts:
        begun, random = time.process_time(), np.random.default_rng([SEED, PARTS.index(name)])
        table = pd.DataFrame(list(calls[name]())).drop(columns="question").assign(part=name)
        broken = table[table["promised"] & ~table["passes"]]
        seconds = time.process_time() - begun
        print(f"{name}: {len(table)} rates, {len(broken)} promises broken, {seconds:.0f} s of processor", flush=True)
        if len(broken):
            print(broken.to_string(), flush=True)
        write(chosen.out, table, provenance(real, trials, seconds))


def write(folder: Path, table: pd.DataFrame, made: dict[str, Any]) -> None:
    """Put one part's rates among those of the other parts, and say what it was made from and with."""
    name = str(table["part"].iloc[0])
    path, record = folder / "rates.csv", folder / "provenance.json"
    before = pd.read_csv(path) if path.exists() else table.iloc[:0]
    before = before[before["part"].isin(PARTS)]
    # An index of its own: by one that parts share, the table of worst rates took rows of another part.
    rates = pd.concat([before[before["part"] != name], table], ignore_index=True) if len(before) else table
    rates = rates.sort_values("part", key=lambda parts: parts.map(PARTS.index), kind="stable")
    known = read_json(record, "what the rates were made from") if record.exists() else {}
    write_text(path, rates.to_csv(index=False))
    write_text(folder / "rates.md", markdown(rates))
    write_json(record, {part: known[part] for part in known if part in (*PARTS, DESIGNS)} | {name: made})


if __name__ == "__main__":
    main()
