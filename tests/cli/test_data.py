import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.project import copy_manifests

from benchmark.base.progress import reporting

SUFFIXES = ("_t1", "_t1ce", "_t2", "_flair", "_seg")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that knows the published sets, beside scans/ with three BraTS 2018 subjects."""
    (tmp_path / "bundles").mkdir()
    copy_manifests(tmp_path)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for case_id in ("Brats18_A_1_1", "Brats18_A_2_1", "Brats18_A_3_1"):
        (tmp_path / "scans" / case_id).mkdir(parents=True)
        for suffix in SUFFIXES:
            data = rng.integers(0, 3, (4, 5, 6)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / f"scans/{case_id}/{case_id}{suffix}.nii.gz")
    return tmp_path


def test_scan_verify_folds_list(project, command):
    code, out, err = command("data", "scan", "brats2018", "scans")
    assert (code, out.splitlines()[0][:24]) == (0, "3 cases of 3 patients: /")
    assert "warning: 3 cases found; brats2018 as published has 285." in out
    assert "benchmark data folds brats2018 --k K" in out
    assert "scanning 3/3 Brats18_A_3_1" in err

    code, out, _ = command("data", "folds", "brats2018", "--k", "3", "--validation", "0.3", "--seed", "4")
    assert (code, out.count("train 1, validation 1, test 1")) == (0, 3)
    code, out, _ = command("data", "folds", "brats2018", "--fractions", "0.4", "0.3", "0.3", "--replace")
    assert (code, out.count("fold ")) == (0, 1)
    assert json.loads(Path("data_manifests/brats2018.folds.json").read_text())["scheme"] == {
        "fractions": {"train": 0.4, "validation": 0.3, "test": 0.3}
    }

    assert command("data", "verify", "brats2018")[:2] == (0, "brats2018: every file is as it was scanned\n")
    (project / "scans" / "Brats18_A_2_1" / "Brats18_A_2_1_t2.nii.gz").write_bytes(b"")
    code, out, _ = command("data", "verify", "brats2018")
    assert code == 1
    assert "Brats18_A_2_1_t2.nii.gz: expected sha256" in out
    assert out.endswith("brats2018: 1 problem found\n")

    code, out, _ = command("data", "list")
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= 100
    for expected in ("3 of 285", "- of 484", "CC BY-SA 4.0", "open: http://medicaldecathlon.com", "generated"):
        assert expected in out
    assert "https://www.med.upenn.edu/sbia/brats2018/registration.html" in out
    code, out, err = command("data", "list", "--json")
    sets = {one["name"]: one for one in json.loads(out)}
    assert (code, err) == (0, "") and sets["msd_brain"]["cases"] is None and sets["msd_brain"]["folder"] is None
    assert (sets["brats2018"]["cases"], sets["brats2018"]["expected_cases"]) == (3, 285)
    assert sets["brats2018"]["folder"] == str(project / "scans") and sets["brats2018"]["regions"] == ["WT", "TC", "ET"]


def test_fetch_of_a_registered_set(project, command):
    code, out, _ = command("data", "fetch", "brats2020", "somewhere")
    assert code == 0
    assert "https://www.med.upenn.edu/cbica/brats2020/registration.html" in out


def first(project, suffix):
    return project / "scans" / "Brats18_A_1_1" / f"Brats18_A_1_1{suffix}.nii.gz"


def missing(project):
    first(project, "_t1ce").unlink()


def truncated(project):
    first(project, "_flair").write_bytes(first(project, "_flair").read_bytes()[:100])


def save(path, data, affine=None):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)


def not_finite(project):
    save(first(project, "_t2"), np.full((4, 5, 6), np.nan, np.float32))


def other_shape(project):
    save(first(project, "_t2"), np.zeros((4, 5, 7), np.uint8))


def other_affine(project):
    save(first(project, "_seg"), np.zeros((4, 5, 6), np.uint8), np.diag([1, 1, 2, 1]))


def other_label(project):
    save(first(project, "_seg"), np.full((4, 5, 6), 3, np.uint8))


def empty(project):
    shutil.rmtree(project / "scans")
    (project / "scans").mkdir()


def twice(project):
    shutil.copytree(project / "scans" / "Brats18_A_1_1", project / "scans" / "HGG" / "Brats18_A_1_1")


@pytest.mark.parametrize(
    ("spoil", "named", "sentence"),
    [
        (missing, "Brats18_A_1_1_t1ce", "lacks T1c"),
        (truncated, "Brats18_A_1_1_flair.nii.gz", "expected a whole image file"),
        (not_finite, "Brats18_A_1_1_t2.nii.gz", "found 120 that are NaN or Inf"),
        (other_shape, "Brats18_A_1_1_t2.nii.gz", "expected shape (4, 5, 6)"),
        (other_affine, "Brats18_A_1_1_seg.nii.gz", "expected the affine of Brats18_A_1_1_t1.nii.gz"),
        (other_label, "Brats18_A_1_1_seg.nii.gz", "expected label values 0, 1, 2, 4"),
        (empty, "scans", "expected cases"),
        (twice, "Brats18_A_1_1", "expected one case of this id, found two"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(project, command, spoil, named, sentence):
    spoil(project)
    before = sorted(project.joinpath("data_manifests").iterdir())
    code, out, err = command("data", "scan", "brats2018", "scans")
    *progress, last = err.splitlines()
    assert code == 2
    assert named in last
    assert sentence in last
    assert all(line.startswith("scanning ") for line in progress)
    assert out == ""
    assert sorted(project.joinpath("data_manifests").iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("scan", "brats2017", "scans"), "brats2017 is not a known data set"),
        (("verify", "brats2018"), "benchmark data scan brats2018 FOLDER"),
        (("folds", "msd_brain"), "benchmark data scan msd_brain FOLDER"),
        (("fetch", "nothing", "out"), "nothing is not a known data set"),
    ],
)
def test_other_refusals(project, command, arguments, sentence):
    code, _, err = command("data", *arguments)
    assert code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_progress_without_a_terminal_is_a_line_each_tenth(capsys, monkeypatch):
    with reporting("counting") as progress:
        for done in range(1, 251):
            progress(done, 250, "")
    assert capsys.readouterr().err.splitlines() == [f"counting {done}/250" for done in range(25, 251, 25)]
    monkeypatch.setattr("benchmark.base.progress.LINE_EVERY_S", 0.0)
    with reporting("reading") as progress:
        progress(1, 0, "a")
        progress(2, 0, "b")
    assert capsys.readouterr().err.splitlines() == ["reading 1/? a", "reading 2/? b"]


def test_importing_the_commands_is_light():
    code = (
        "import sys, benchmark.cli.data; print([m for m in ('numpy', 'nibabel', 'torch', 'itk') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
