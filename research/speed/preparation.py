"""Print how the time of ``benchmark data prepare`` and of asking for what is prepared grows with the number of cases.

    python research/speed/preparation.py [--cases 50 250 1250]

Each set holds BraTS-like cases of 12 x 12 x 8 voxels: what is done once per case or set is seen, not arithmetic.
"""

import argparse
import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from benchmark.data.prepare import DataSet, prepare
from benchmark.data.scan import scan

ROOT = Path(__file__).parents[2]


def write_set(folder: Path, count: int) -> None:
    """Write so many cases in the layout of BraTS 2021."""
    random = np.random.default_rng(count)
    for number in range(count):
        case = f"BraTS2021_{number:05d}"
        (folder / case).mkdir(parents=True)
        for suffix in ("_t1", "_t1ce", "_t2", "_flair", "_seg"):
            voxels = np.zeros((12, 12, 8), np.int16)
            voxels[2:10, 2:10, 1:7] = random.integers(1, 900, (8, 8, 6)) if suffix != "_seg" else 1
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / case / f"{case}{suffix}.nii")


def measure(count: int) -> None:
    """Print seconds per case of a scan, of preparing, and of two questions that every run asks."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("bundles").mkdir()
        Path("data_manifests").mkdir()
        shutil.copy(ROOT / "data_manifests" / "brats2021.json", "data_manifests")
        write_set(Path("set"), count)
        steps = {
            "scan": lambda: scan("brats2021", Path("set")),
            "prepare": lambda: prepare("brats2021"),
            "prepare again": lambda: prepare("brats2021"),
            "a fold's training side": lambda: DataSet("brats2021").part(0, "train"),
        }
        for step, work in steps.items():
            start = time.perf_counter()
            work()
            taken = time.perf_counter() - start
            print(f"{count:5d} cases  {step:24s} {taken:7.2f} s  {1000 * taken / count:7.2f} ms per case", flush=True)


def main() -> None:
    """Measure each number of cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[50, 250, 1250])
    for count in parser.parse_args().cases:
        measure(count)


if __name__ == "__main__":
    main()
