"""Measure time and memory of ``benchmark report`` on studies of growing size, up to 500 runs of 250 cases.

    python research/speed/report.py [--runs 100 200 500] [--metrics 12]

Each study has 20 models on 5 folds with as many seeds as make up the runs, 250 cases a fold, three regions and two
declared metrics with all pairs of models: at 500 runs 4.5 million scores. Scores are drawn at random; a report is made
from a study's tables alone, in a process of its own, on phantom folds that are written for it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import drawn
import numpy as np
import pandas as pd

from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS

ROOT = Path(__file__).parents[2]
MODELS, FOLDS, CASES, REGIONS = 20, 5, 250, ("WT", "TC", "ET")


def write_study(folder: Path, runs: int, metrics: int) -> int:
    """Write a study of so many runs into a project at ``folder``; return the number of scores."""
    seeds = runs // (MODELS * FOLDS)
    random = np.random.default_rng(1)
    place = folder / "reports" / "large"
    place.mkdir(parents=True)
    names = [name for name in METRICS][:metrics]
    tables = []
    for model in range(MODELS):
        for fold in range(FOLDS):
            difficulty = np.random.default_rng(fold).normal(0.8, 0.1, (CASES, len(REGIONS)))
            for seed in range(1, seeds + 1):
                dice = np.clip(difficulty + 0.002 * model + random.normal(0, 0.02, difficulty.shape), 0, 1).ravel()
                patients = np.repeat([f"P{fold}{case:03d}" for case in range(CASES)], len(REGIONS))
                run = {"bundle": "unet", "variant": f"v{model}", "fold": fold, "seed": seed}
                tables.append(drawn.scores(random, run, patients, REGIONS * CASES, dice, names))
    everything = pd.concat(tables, ignore_index=True)
    score_table.write(place / "scores.csv", everything)
    run_ids = drawn.run_ids(everything)
    history = pd.DataFrame({"epoch": range(1, 51), "train_loss": 0.3, "val_loss": 0.3, "val_dice": 0.8,
                            "learning_rate": 1e-4, "seconds": 10.0})  # fmt: skip
    pd.concat([history.assign(run=run) for run in run_ids]).to_csv(place / "histories.csv", index=False)
    (place / "provenance.json").write_text(json.dumps(drawn.provenance(run_ids)))
    study = {"title": "Large", "data": "phantom", "folds": [*range(FOLDS)], "seeds": [*range(1, seeds + 1)],
             "models": [{"bundle": "unet", "variant": f"v{model}"} for model in range(MODELS)],
             "compare": {"metrics": ["dice", "hd95"], "alpha": 0.05}}  # fmt: skip
    (place / "study.json").write_text(json.dumps(study))
    for name in ("bundles", "data_manifests"):
        (folder / name).symlink_to(ROOT / name)
    return len(everything) * (len(COUNTS) + len(names))


def main() -> None:
    """Print a line for each size, and how time grows between them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 200, 500])
    parser.add_argument("--metrics", type=int, default=12)
    chosen = parser.parse_args()
    spent, before = 0.0, None
    for runs in chosen.runs:
        if runs % (MODELS * FOLDS):
            parser.error(f"--runs {runs}: expected a multiple of {MODELS * FOLDS}, {MODELS} models on {FOLDS} folds.")
        with tempfile.TemporaryDirectory() as name:
            scores = write_study(Path(name), runs, chosen.metrics)
            started = time.perf_counter()
            command = [sys.executable, "-m", "benchmark", "report", "large"]
            done = subprocess.run(command, cwd=name, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - started
            if done.returncode:
                sys.exit(done.stderr)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor, spent = usage.ru_utime + usage.ru_stime - spent, usage.ru_utime + usage.ru_stime
        growth = f", {processor / before:.2f} times the line above" if before else ""
        print(f"{runs} runs, {scores / 1e6:.2f} million scores and counts: {seconds:.1f} s, {processor:.1f} s of "
              f"processor{growth}, peak {usage.ru_maxrss / 2**20:.2f} GiB", flush=True)  # fmt: skip
        before = processor


if __name__ == "__main__":
    main()
