"""Take growing sets of full-size cases from scan to report: time, memory and growth of each command, in one table.

    python research/speed/scale.py [--cases 250 500 1251] [--folder DIR]

A case is made like one of BraTS 2021 (four sequences of 240 x 240 x 155, int16, compressed, and a label map, 10 MB).
A set of 1,251 takes about 13 GB, prepared 37 GB more; a larger set keeps the cases of the smaller one, and
``--folder`` keeps them for the next time. The study has 12 systems on 5 folds with 3 seeds; the scores of its 180 runs
are drawn at random, of each run's own test cases. Growth is the exponent of the number of cases that the processor's
seconds follow from one size to the next: 1 is linear.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import drawn
import nibabel as nib
import numpy as np
import pandas as pd

from benchmark.data.folds import load_folds
from benchmark.data.prepare import DataSet, store_folder
from benchmark.data.slices import SliceDataset
from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS

ROOT = Path(__file__).parents[2]
SHAPE, SET, STUDY = (240, 240, 155), "brats2021", "large"
SEEDS = [1, 2, 3]
COLUMNS = ["command", "cases", "s", "s of processor", "peak GiB", "growth"]
WATCHED = """
import atexit, pathlib, runpy, sys
place = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: place.write_text(pathlib.Path("/proc/self/status").read_text()))
runpy.run_module("benchmark", run_name="__main__", alter_sys=True)
"""
"""The program, which leaves what the system says of its memory; getrusage would count that of the process before it."""

ENDS = ("_t1", "_t1ce", "_t2", "_flair")


class Took(NamedTuple):
    """Seconds of the clock and of the processor, and peak memory in GiB, of one command."""

    clock: float
    processor: float
    memory: float


def write_case(folder: Path, number: int) -> None:
    """Write one case with noise in an ellipsoid brain and a tumour of three labels at a random place."""
    random = np.random.default_rng(number)
    case = folder / f"BraTS2021_{number:05d}"
    if (case / "done").exists():
        return
    case.mkdir(parents=True, exist_ok=True)
    grid = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in SHAPE)]
    brain = sum((axis / radius) ** 2 for axis, radius in zip(grid, (0.58, 0.75, 0.85), strict=True)) < 1
    place = random.uniform(-0.3, 0.3, 3)
    distance = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(grid, place, strict=True)))
    radius = random.uniform(0.12, 0.35)
    label = np.select([distance < radius / 2, distance < radius / 1.5, distance < radius], [1, 4, 2], 0) * brain
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    for contrast, end in enumerate(ENDS, start=1):
        volume = random.normal(400 + 40 * contrast, 60, SHAPE) + 60 * contrast * (label > 0)
        image = np.where(brain, volume, 0).astype(np.int16)
        nib.save(nib.Nifti1Image(image, affine), case / f"{case.name}{end}.nii.gz")
    nib.save(nib.Nifti1Image(label.astype(np.uint8), affine), case / f"{case.name}_seg.nii.gz")
    (case / "done").touch()


def write_study(place: Path) -> int:
    """Write the study of 180 runs with their scores into a project whose set is scanned; return the scores."""
    models = json.loads((ROOT / "reports/mandekar2025/study.json").read_text())["models"][:12]
    declared = {"title": "Large", "data": SET, "folds": [*range(5)], "seeds": SEEDS, "models": models,
                "partitions": "shared", "compare": {"metrics": ["dice", "hd95"]}}  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    (place / "study.json").write_text(json.dumps(declared))
    random, tables = np.random.default_rng(1), []
    for fold, parts in enumerate(load_folds(SET)):
        patients = np.repeat(parts.test, 3)
        difficulty = random.normal(0.8, 0.1, len(patients))
        for model in models:
            for seed in SEEDS:
                dice = np.clip(difficulty + random.normal(0, 0.02, len(patients)), 0, 1)
                variant = model.get("variant", model.get("track", "default").replace("identical", "default"))
                run = {"bundle": model["bundle"], "variant": variant, "fold": fold, "seed": seed}
                regions = ["WT", "TC", "ET"] * len(parts.test)
                tables.append(drawn.scores(random, run, patients, regions, dice))
    everything = pd.concat(tables, ignore_index=True)
    score_table.write(place / "scores.csv", everything)
    (place / "provenance.json").write_text(json.dumps(drawn.provenance(drawn.run_ids(everything))))
    return len(everything) * (len(METRICS) + len(COUNTS))


def run(*arguments: str) -> Took:
    """Run a command of the program in this folder; exit codes 0 and 1 are answers."""
    with tempfile.TemporaryDirectory() as folder:
        said, status = Path(folder, "said"), Path(folder, "status")
        command = [sys.executable, "-c", WATCHED, str(status), *arguments]
        started = time.perf_counter()
        with said.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
            _, ended, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(ended)
        if process.returncode not in (0, 1):
            sys.exit(f"{' '.join(arguments)}: {said.read_text()[-2000:]}")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return Took(seconds, usage.ru_utime + usage.ru_stime, int(peak[1]) / 2**20 if peak else math.nan)


def reading(count: int = 2000) -> str:
    """Say how large the store is, and how fast training reads slices of it beside plain reading of the same files."""
    whole_set = DataSet(SET)
    files = [path for path in store_folder().rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    data = SliceDataset(whole_set.part(0, "train"), SHAPE[:2])
    order = np.random.default_rng(1).permutation(len(data))[:count]
    none = np.zeros(0, np.float32)
    _forget(files)
    started, read = time.perf_counter(), 0
    for start in range(0, len(order), 8):
        batch = data.__getitems__([(index, data.corners[index], none) for index in order[start : start + 8].tolist()])
        read += sum(batch[key].numpy().nbytes for key in ("image", "label"))
    slices = read / (time.perf_counter() - started)
    _forget(files)
    started, plain = time.perf_counter(), 0
    for path in files:
        plain += len(path.read_bytes())
        if plain > 2**31:
            break
    whole = plain / (time.perf_counter() - started)
    return (
        f"The prepared store has {size / 1e9:.2f} GB, {size / 1e6 / len(whole_set.cases.cases):.0f} MB a case. Slices "
        f"in random order: {slices / 1e6:.0f} MB/s of batches; its files from end to end: {whole / 1e6:.0f} MB/s; "
        "each after the system forgot them."
    )


def _forget(files: list[Path]) -> None:
    os.sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def project_of(folder: Path, scans: Path, cases: int) -> Path:
    """Make a project in which only so many of the cases are there, by links."""
    place, there = folder / f"project{cases}", folder / f"scans{cases}"
    for old in (place, there):
        shutil.rmtree(old, ignore_errors=True)
    (place / "data_manifests").mkdir(parents=True)
    shutil.copy(ROOT / f"data_manifests/{SET}.json", place / "data_manifests")
    (place / "bundles").symlink_to(ROOT / "bundles")
    there.mkdir()
    for number in range(cases):
        write_case(scans, number)
        case = there / f"BraTS2021_{number:05d}"
        case.mkdir()
        for path in (scans / case.name).glob("*.nii.gz"):
            os.link(path, case / path.name)
    return there


def measure(folder: Path, cases: int) -> Iterator[tuple[str, Took]]:
    """Run each command once on a set of so many cases."""
    there = project_of(folder, folder / "scans", cases)
    os.chdir(folder / f"project{cases}")
    yield "data scan", run("data", "scan", SET, str(there))
    scores = write_study(Path("reports") / STUDY)
    yield "data verify", run("data", "verify", SET)
    yield "data audit", run("data", "audit", SET)
    yield "data prepare", run("data", "prepare", SET)
    yield "plan, 180 runs", run("plan", STUDY)
    print(f"{cases} cases: {scores / 1e6:.2f} million scores and counts. {reading()}", flush=True)
    yield "report, 180 runs", run("report", STUDY)
    shutil.rmtree("runs")
    os.chdir(ROOT)


def main() -> None:
    """Print a row per command and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[250, 500, 1251])
    parser.add_argument("--folder", type=Path, help="Where the cases are made and kept; by default a temporary folder.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        before: dict[str, tuple[int, Took]] = {}
        rows = []
        for cases in given.cases:
            for name, took in measure(folder, cases):
                growth = ""
                if name in before:
                    fewer, then = before[name]
                    growth = f"{math.log(took.processor / then.processor) / math.log(cases / fewer):.2f}"
                rows.append([name, cases, f"{took.clock:.1f}", f"{took.processor:.1f}", f"{took.memory:.2f}", growth])
                print(*rows[-1], sep=", ", flush=True)
                before[name] = (cases, took)
    print(pd.DataFrame(rows, columns=COLUMNS).to_string(index=False))


if __name__ == "__main__":
    main()
