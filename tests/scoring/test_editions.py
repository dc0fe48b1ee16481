"""Editions of BraTS with numbers of their own for lesion-wise scores: made cases, scored by manifest."""

import json

import nibabel
import numpy as np
import pytest
from helpers.other_scores import brats_2023
from helpers.project import REPOSITORY
from helpers.synthetic_masks import ISOTROPIC

from benchmark.base.records import InputError
from benchmark.data.manifest import load_manifest
from benchmark.data.scan import scan
from benchmark.data.sources import brats
from benchmark.scoring.external import score_folder
from benchmark.scoring.metrics import score_case

# As the organisers' code has them: dilations, and the volume in mm³ up to which a lesion is left out, by region.
EDITIONS = {
    "brats2023_ssa": ("BraTS-SSA-00002-000", 3, {"WT": 50, "TC": 50, "ET": 50}),
    "brats2023_ped": ("BraTS-PED-00002-000", 3, {"WT": 50, "TC": 50, "ET": 50}),
    "brats2023_men": ("BraTS-MEN-00004-000", 1, {"WT": 50, "TC": 50, "ET": 50}),
    "brats2023_met": ("BraTS-MET-00002-000", 1, {"WT": 2, "TC": 2, "ET": 2}),
    "brats2024_gli": ("BraTS-GLI-02063-101", 3, {"WT": 20, "TC": 20, "NETC": 20, "SNFH": 20, "ET": 10, "RC": 20}),
}
LABELS = {"WT": [1, 2, 3], "TC": [1, 3], "ET": [3], "NETC": [1], "SNFH": [2], "RC": [4]}


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def made_case(rng, labels):
    """Lesions of 1 to 125 voxels, some of them a few voxels apart, of all labels."""
    volume = np.zeros((40, 36, 30), np.uint8)
    for _ in range(14):
        corner, size = rng.integers(0, 30, 3), rng.integers(1, 6, 3)
        volume[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = rng.choice(labels)
    return volume


@pytest.mark.parametrize("name", EDITIONS)
def test_lesions_follow_the_editions_numbers(name):
    manifest, (_, dilations, smallest) = load_manifest(name), EDITIONS[name]
    assert {region: list(values) for region, values in manifest.regions.items()} == {
        key: LABELS[key] for key in smallest
    }
    assert "github.com/rachitsaluja/BraTS-202" in manifest.lesions.source
    rng = np.random.default_rng(3)
    truth, guess = (made_case(rng, [int(label) for label in manifest.labels if label != "0"]) for _ in range(2))
    rows = {
        row["region"]: row for row in score_case(truth, guess, ISOTROPIC, manifest.regions, lesions=manifest.lesions)
    }
    differ = 0
    for region, row in rows.items():
        masks = [np.isin(labels, manifest.regions[region]) for labels in (truth, guess)]
        expected = brats_2023(*masks, ISOTROPIC, dilations, smallest[region])
        assert {key: row[key] for key in expected} == pytest.approx(expected)
        differ += expected != brats_2023(*masks, ISOTROPIC)
    # The made case tells the numbers of one edition from those of another.
    assert bool(differ) == ((dilations, set(smallest.values())) != (3, {50}))


@pytest.mark.parametrize("name", EDITIONS)
def test_cases_are_found_and_scored_by_the_manifest(name, tmp_path):
    manifest, case = load_manifest(name), EDITIONS[name][0]
    rng = np.random.default_rng(1)
    labels = made_case(rng, [int(label) for label in manifest.labels if label != "0"])
    for end in (*manifest.layout.images.values(), "-seg"):
        (tmp_path / "set" / case).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "set" / case / f"{case}{end}.nii.gz")
    (found,) = brats.find_cases(tmp_path / "set", manifest)
    assert (found.case_id, found.patient_id) == (case, case[:-4])
    (tmp_path / "predicted").mkdir()
    nibabel.save(nibabel.Nifti1Image(labels * 0, np.eye(4)), tmp_path / "predicted" / f"{case}.nii.gz")
    (tmp_path / "truth").mkdir()
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "truth" / f"{case}-seg.nii.gz")
    table = score_folder(tmp_path / "truth", tmp_path / "predicted", name, "nothing").set_index("region")
    own = score_case(labels, labels * 0, ISOTROPIC, manifest.regions, lesions=manifest.lesions)
    assert table["lesion_fn"].to_dict() == {row["region"]: row["lesion_fn"] for row in own}


def test_a_label_that_would_be_written_in_other_regions_is_refused(tmp_path, monkeypatch):
    content = json.loads((REPOSITORY / "data_manifests/brats2024_gli.json").read_text(encoding="utf-8"))
    (tmp_path / "data_manifests").mkdir()
    path = tmp_path / "data_manifests" / "brats2024_gli.json"
    monkeypatch.chdir(tmp_path)
    for change, said in (
        ({"regions_class_order": [2, 1, 1, 2, 3, 3]}, r"regions_class_order: .* own regions, found {4: 3}"),
        ({"lesions": {**content["lesions"], "smallest_of": {"CC": 1}}}, "smallest_of: expected only regions of this"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(InputError, match=said):
            scan("brats2024_gli", tmp_path)
