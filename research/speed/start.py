"""Time what ``benchmark run-all`` does per run before the first one starts, on sets and studies of growing size.

    python research/speed/start.py [--cases 250 1251] [--seeds 3 33]

Each study has three models on 5 folds, on a case list that is written for it without any image. All is done twice: for
runs that were never begun, and for runs that were and are compared with their records. Seconds are of the
processor; the time per run should not grow with the number of runs, and be below 5 ms.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmark.base.records import Case
from benchmark.data.folds import make_folds, write_folds
from benchmark.data.manifest import CaseList, load_manifest, write_cases
from benchmark.studies import execute, store, study

ROOT = Path(__file__).parents[2]
MODELS = ("unet", "resunet_tversky", "la_resunet")


def write_project(cases: int, seeds: int) -> None:
    """Write a set of so many cases and a study of so many seeds into the working directory."""
    shutil.copytree(ROOT / "bundles", "bundles", ignore=shutil.ignore_patterns("models"))
    Path("data_manifests").mkdir()
    shutil.copy(ROOT / "data_manifests/brats2021.json", "data_manifests")
    manifest = load_manifest("brats2021")
    names = [f"BraTS2021_{number:05d}" for number in range(cases)]
    listed = []
    for name in names:
        images = {key: f"{name}/{name}_{key.lower()}.nii.gz" for key in manifest.modalities}
        label = f"{name}/{name}_seg.nii.gz"
        sha256 = {path: hashlib.sha256(path.encode()).hexdigest() for path in (*images.values(), label)}
        patient = manifest.patient_of(name)
        listed.append(Case(name, patient, images, label, sha256, {"1": 9}, (240, 240, 155), (1.0, 1.0, 1.0)))
    write_cases(CaseList("brats2021", manifest, tuple(listed)))
    patients = sorted({case.patient_id for case in listed})
    write_folds("brats2021", make_folds(patients, seed=1), {"seed": 1})
    content = {
        "title": "Large", "data": "brats2021", "folds": [0, 1, 2, 3, 4], "seeds": [*range(1, seeds + 1)],
        "models": [{"bundle": name} for name in MODELS], "compare": {"metrics": ["dice"]},
    }  # fmt: skip
    Path("reports/large").mkdir(parents=True)
    Path("reports/large/study.json").write_text(json.dumps(content))


def start() -> int:
    """Do what ``run-all`` does before it prepares data and starts runs, and return the number of runs."""
    declared = study.load("large")
    runs = declared.runs({})
    study.check_code(declared, {})
    execute.check_declared(runs, declared.data)
    execute.check_stages(runs)
    execute.check(runs, declared.data)
    return len(runs)


def main() -> None:
    """Print milliseconds per run by cases and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[250, 1251])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 33])
    given = parser.parse_args()
    for cases in given.cases:
        for seeds in given.seeds:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                write_project(cases, seeds)
                for state in ("new", "begun"):
                    started = time.process_time()
                    runs = start()
                    took = time.process_time() - started
                    print(f"{cases} cases, {runs} {state} runs: {took:.2f} s, {took / runs * 1000:.2f} ms a run")
                    if state == "new":
                        for run, what in store.identities(study.load("large").runs(), "brats2021"):
                            store.record(run, what, "")
                os.chdir(ROOT)


if __name__ == "__main__":
    main()
