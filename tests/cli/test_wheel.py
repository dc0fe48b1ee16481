"""The package as others get it: a wheel, installed alone, in a folder that is no project."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers.project import REPOSITORY

from benchmark.data.manifest import data_folder

CASES = ("Brats18_A_1_1", "Brats18_A_2_1", "Brats18_A_3_1")


@pytest.fixture(scope="module")
def installed(once):
    """A folder with nothing but what the wheel holds."""

    def build(folder):
        source = folder / "source"
        for part in ("benchmark", "bundles", "data_manifests"):
            ignored = shutil.ignore_patterns("__pycache__", "models", "predictions", "probabilities")
            shutil.copytree(REPOSITORY / part, source / part, ignore=ignored)
        for path in REPOSITORY.glob("reports/*/published.json"):
            (source / path.relative_to(REPOSITORY)).parent.mkdir(parents=True)
            shutil.copy(path, source / path.relative_to(REPOSITORY))
        for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / name, source)
        options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
        wheels = [*options, "--no-build-isolation", "--wheel-dir", folder, source]
        subprocess.run([sys.executable, "-m", "pip", "wheel", *map(str, wheels)], check=True)
        (wheel,) = folder.glob("*.whl")
        target = ["--target", str(folder / "site"), str(wheel)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *target], check=True)
        shutil.rmtree(source)

    return once("wheel", build)[0] / "site"


@pytest.fixture
def run(installed, tmp_path):
    """Run the installed program in an empty folder, where it finds no clone."""

    def run(*words, code=0, cwd=tmp_path):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, "-m", "benchmark", *map(str, words)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def save_cases(folder):
    rng = np.random.default_rng(0)
    for case in CASES:
        for end in ("_t1", "_t1ce", "_t2", "_flair", "_seg"):
            voxels = rng.integers(0, 3, (8, 8, 6)).astype(np.uint8)
            (folder / case).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / case / f"{case}{end}.nii.gz")


def test_the_wheel_holds_what_is_known_and_nothing_scanned(installed):
    shipped = installed / "benchmark" / "shipped"
    known = {path.name for path in (REPOSITORY / "data_manifests").glob("*.json") if "." not in path.stem}
    assert {path.name for path in (shipped / "data_manifests").iterdir()} == known
    papers = {path.parent.name for path in REPOSITORY.glob("reports/*/published.json")}
    assert {path.parent.name for path in shipped.glob("reports/*/*")} == papers
    for path in (path for path in shipped.rglob("*") if path.is_file()):
        assert path.read_bytes() == (REPOSITORY / path.relative_to(shipped)).read_bytes()
    assert {path.name for path in (REPOSITORY / "bundles").iterdir()} == {
        path.name for path in (shipped / "bundles").iterdir()
    }


def test_what_trains_nothing_works_in_any_folder(run, tmp_path):
    save_cases(tmp_path / "scans")
    assert f"3 cases of 3 patients: {tmp_path}/data_manifests/brats2018.cases.json" in run(
        "data", "scan", "brats2018", "scans"
    )
    audited = run("data", "audit", "brats2018")
    assert "brats2018, clean: unknown patients" in audited and "could not be checked: patients across" in audited
    (tmp_path / "predicted").mkdir()
    (tmp_path / "truth").mkdir()
    for case in CASES:
        shutil.copy(tmp_path / "scans" / case / f"{case}_seg.nii.gz", tmp_path / "truth" / f"{case}.nii.gz")
        shutil.copy(tmp_path / "scans" / case / f"{case}_seg.nii.gz", tmp_path / "predicted" / f"{case}.nii.gz")
    files = ["--reference", "truth", "--prediction", "predicted", "--name", "same", "--out", "same.csv"]
    assert "Wrote same.csv: 9 rows of 3 cases." in run("score", "--manifest", "brats2018", *files)
    assert "relations: 9 contradictions" in run("implied", "hossen2025")
    assert "is not inside a benchmark project" in run("run-all", "hossen2025", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data_manifests",
        "predicted",
        "runs",
        "same.csv",
        "scans",
        "truth",
    ]


def test_init_makes_a_project_that_plans_and_refuses_a_folder_in_use(run, tmp_path):
    assert "Next: cd project" in run("init", "project", "--study", "mine")
    assert "expected an empty folder, or none of that name, found one that holds something" in run(
        "init", "project", code=2
    )
    project = tmp_path / "project"
    assert json.loads((project / "reports/mine/study.json").read_text())["models"] == [{"bundle": "unet"}]
    assert "pending  unet/default/fold0-seed1" in run("plan", "mine", cwd=project)
    assert "unet: unchanged" in run("compose", "unet", cwd=project)
    (tmp_path / "empty").mkdir()
    run("init", ".", cwd=tmp_path / "empty")
    assert Path(tmp_path / "empty" / ".gitignore").read_text().startswith("/runs/\n")


@pytest.mark.slow(reason="a project is trained once, and a process of its own loads torch")
def test_a_copied_run_predicts_new_scans_from_the_wheel_alone(run, unbroken, tmp_path):
    project = unbroken[0]
    frozen = shutil.copytree(project / "runs/tiny/unet/default/fold0-seed1", tmp_path / "frozen")
    with contextlib.chdir(project):
        folder = data_folder("phantom")
    for path in sorted((frozen / "predictions").iterdir()):
        case = path.name.removesuffix(".nii.gz")
        shutil.copytree(folder / case, tmp_path / "scans" / case, ignore=shutil.ignore_patterns("*_seg*"))
    assert "by one network, trained on phantom" in run("predict", "frozen", "scans", "made")
    for path in (frozen / "predictions").iterdir():
        assert (tmp_path / "made" / path.name).read_bytes() == path.read_bytes()
    assert "There already, by the same weights" in run("predict", "frozen", "scans", "made")


@pytest.mark.slow(reason="a whole report is made from its tables by a process of its own")
def test_a_report_is_made_from_a_folder_of_scores(run, tmp_path):
    shutil.copytree(REPOSITORY / "reports/brats_small", tmp_path / "reports/brats_small")
    (tmp_path / "data_manifests").mkdir()
    for path in (REPOSITORY / "data_manifests").glob("brats_small.*.json"):
        shutil.copy(path, tmp_path / "data_manifests")
    assert f"Report: {tmp_path}/reports/brats_small/report.md" in run("report", "brats_small")
    for name in ("scores.csv", "comparisons.csv", "methods.csv", "power.csv", "ranking.csv"):
        here, there = (folder / "reports/brats_small" / name for folder in (tmp_path, REPOSITORY))
        # Another processor adds in another order.
        pd.testing.assert_frame_equal(pd.read_csv(here), pd.read_csv(there), rtol=1e-9, atol=1e-12)
