"""What a run keeps beside label maps: probabilities that are cut where these are, and the space it was trained in."""

import json
import shutil
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from helpers.project import write_study
from helpers.scans import AFFINES, brain, save_case

from benchmark.data.prepare import prepare
from benchmark.data.probabilities import CUT, MOST, read_probabilities
from benchmark.data.scan import scan
from benchmark.scoring import calibration
from benchmark.studies import ensemble, store, study
from benchmark.studies import run as running
from benchmark.training import handlers

REGIONS = ("WT", "TC", "ET")


def written(case, logits, folder):
    state = SimpleNamespace(batch={"index": torch.tensor([0])}, output={"pred": logits})
    handlers.ProbabilityWriter(str(folder / "probabilities"), [case], REGIONS)(SimpleNamespace(state=state))
    handlers.LabelMapWriter(str(folder / "predictions"), [case], [2, 1, 4])(SimpleNamespace(state=state))
    name = f"{case.case.case_id}.nii.gz"
    return read_probabilities(folder / "probabilities" / name), nibabel.load(folder / "predictions" / name)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_codes_are_cut_exactly_where_label_maps_are(kind):
    near = [step * 2.0**-power for power in range(0, 24) for step in (-1, 1)]
    logits = torch.tensor([*near, 0.0, -0.0, 1e-45, -1e-45, 100, -100, *torch.randn(1000).tolist()]).to(kind)
    codes = handlers.eight_bits(logits)
    assert codes.dtype == torch.uint8
    assert torch.equal(codes >= CUT, logits > 0)
    # In 32 bits the sigmoid of the smallest of these is one half itself.
    assert torch.sigmoid(torch.tensor(2.0**-23)).item() > 0.5 or kind is not torch.float32
    error = (codes.double() / MOST - torch.sigmoid(logits.double())).abs()
    assert error.max() <= 0.5 / MOST + 1e-6
    assert handlers.eight_bits(torch.tensor([-100.0, 100.0])).tolist() == [0, MOST]


@pytest.mark.parametrize("name", ["RAS", "oblique, permuted"])
def test_probabilities_lie_in_the_cases_own_space_and_give_its_label_map(project, tmp_path, name):
    images, label = brain()
    save_case("Brats18_A_1_1", images, label, AFFINES[name])
    scan("brats2018", project / "scans")
    (case,) = prepare("brats2018")
    logits = torch.randn((1, 3, *case.label.shape), generator=torch.Generator().manual_seed(0)) * 1e-4
    codes, labels = written(case, logits, tmp_path)
    assert codes.shape == (*label.shape, 3)
    np.testing.assert_array_equal(ensemble.label_map(codes, [2, 1, 4]), np.asarray(labels.dataobj))
    assert (np.asarray(labels.dataobj) > 0).any()
    np.testing.assert_array_equal(case.crop(codes[..., 2]), handlers.eight_bits(logits[0, 2]))
    header = nibabel.load(tmp_path / "probabilities" / "Brats18_A_1_1.nii.gz").affine
    np.testing.assert_allclose(header, labels.affine)


@pytest.fixture
def unet(finished):
    """A finished run of `unet`."""
    return study.load("tiny").runs()[0]


def test_a_run_keeps_probabilities_of_its_test_cases_and_counts_them(unet):
    folder = store.folder(unet)
    names = {path.name for path in (folder / "predictions").iterdir()}
    assert names == {path.name for path in (folder / "probabilities").iterdir()} and names
    for name in names:
        codes = read_probabilities(folder / "probabilities" / name)
        labels = np.asarray(nibabel.load(folder / "predictions" / name).dataobj)
        np.testing.assert_array_equal(ensemble.label_map(codes, [2, 1, 4]), labels)
    errors, counts = calibration.read(folder)
    scores = store.scores(unet).groupby("region", sort=False)[["tp", "fp"]].sum()
    assert len(errors) == len(names) * len(REGIONS) and errors["ece"].between(0, 1).all()
    # Bins above one half hold what the label maps mark, and no other bin does.
    above = counts[counts["bin"] >= calibration.BINS / 2].groupby("region")[["n", "n_true"]].sum()
    wt = above.reindex(["WT"], fill_value=0).loc["WT"]
    assert (wt["n"], wt["n_true"]) == (scores.loc["WT"].sum(), scores.loc["WT", "tp"])


def test_the_space_of_the_training_set_is_recorded(unet):
    record = store.read_record(store.folder(unet))
    # The phantom at 6 mm, whose files are stored otherwise than networks see them.
    assert record.version == 3 and record.trained_on.orientation == "RAS"
    assert record.trained_on.spacing == dict.fromkeys(("median", "smallest", "largest"), (6.0, 6.0, 6.0))
    cases = [case for case in prepare("phantom") if case.case.patient_id in record.patients["train"]]
    assert sum(record.trained_on.stored_as.values()) == len(cases)
    one = "".join(nibabel.orientations.aff2axcodes(cases[0].affine))
    assert record.trained_on.stored_as[one] >= 1


def test_voxel_sizes_are_along_the_axes_that_networks_see():
    affines = [AFFINES["RAS"], AFFINES["LIA"], np.diag([-3.0, -2.0, 4.0, 1.0])]
    cases = [SimpleNamespace(affine=affine, spacing=nibabel.affines.voxel_sizes(affine)) for affine in affines]
    found = running.space(cases)
    # LIA's file has its second axis from top to bottom, 3 mm, and its third from back to front, 2 mm.
    assert found["spacing"] == {"median": [1, 2, 3], "smallest": [1, 2, 3], "largest": [3, 2, 4]}
    assert found["stored_as"] == {"RAS": 1, "LIA": 1, "LPS": 1}


def test_nothing_but_probabilities_depends_on_whether_they_are_kept(unet):
    folder = store.folder(unet)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.glob("predictions/*")}
    scores, record = (folder / "scores.csv").read_bytes(), json.loads((folder / "run.json").read_text())
    for name in ("predictions", "probabilities"):
        shutil.rmtree(folder / name)
    for name in ("scores.csv", "calibration.csv", "reliability.csv"):
        (folder / name).unlink()
    write_study("tiny", set={**json.loads((folder / "run.json").read_text())["overrides"], "keep_probabilities": False})
    without = study.load("tiny").runs()[0]
    running.run(without, "phantom")
    assert (folder / "scores.csv").read_bytes() == scores
    assert {path: (folder / path).read_bytes() for path in before} == before
    assert not (folder / "probabilities").exists() and not (folder / "calibration.csv").exists()
    assert json.loads((folder / "run.json").read_text())["fingerprint"] == record["fingerprint"]
