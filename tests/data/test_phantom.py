"""The phantom: promised tumours, contrasts and geometry, equal bytes for equal seeds, and all or nothing on disk."""

import hashlib
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from benchmark.base.records import InputError
from benchmark.data.sources import phantom
from benchmark.data.sources._phantom_brain import anatomy, smooth_field

MANIFEST = Path(__file__).parents[2] / "data_manifests" / "phantom.json"
COARSE = 6.0


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def foci(labels: np.ndarray) -> int:
    return ndimage.label(labels > 0, structure=np.ones((3, 3, 3)))[1]


def millilitres(mask: np.ndarray, spacing: float) -> float:
    return mask.sum() * spacing**3 / 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    phantom.generate(folder, seed=7, patients=4, spacing=COARSE)
    return folder


@pytest.fixture(scope="module")
def cohort() -> dict[tuple[int, int], dict[str, np.ndarray]]:
    return {case: phantom.patient_volumes(2026, *case, spacing=4.0) for case in phantom.sessions(24)}


def test_same_seed_same_bytes_and_another_seed_others(made: Path, tmp_path: Path) -> None:
    np.random.seed(1)
    phantom.generate(tmp_path / "again", seed=7, patients=4, spacing=COARSE)
    phantom.generate(tmp_path / "other", seed=8, patients=4, spacing=COARSE)
    first, again, other = hashes(made), hashes(tmp_path / "again"), hashes(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys() and not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first)


def test_case_in_memory_is_the_case_on_disk_whatever_was_made_before(made: Path) -> None:
    volumes = phantom.patient_volumes(7, 4, 2, spacing=COARSE)
    image = nibabel.load(made / "Phantom_004_2" / "Phantom_004_2_t1ce.nii")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), volumes["T1c"])


def test_files_follow_the_manifest(made: Path) -> None:
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    suffixes = [*manifest["layout"]["images"].values(), manifest["layout"]["label"]]
    cases = [phantom.case_id(*case) for case in phantom.sessions(4)]
    assert cases == ["Phantom_001_1", "Phantom_002_1", "Phantom_003_1", "Phantom_004_1", "Phantom_004_2"]
    assert {str(p.relative_to(made)) for p in made.rglob("*.nii")} == {
        f"{c}/{c}{s}.nii" for c in cases for s in suffixes
    }
    patients = {re.match(manifest["patient_pattern"], case)["patient"] for case in cases}
    assert patients == {"Phantom_001", "Phantom_002", "Phantom_003", "Phantom_004"}
    assert len(phantom.sessions(manifest["generator"]["patients"])) == manifest["expected_cases"]
    assert phantom.NOTICE.split("Templates: ")[1] in manifest["licence"]


def test_headers_state_spacing_orientation_and_type(made: Path) -> None:
    for path in made.rglob("*.nii"):
        image = nibabel.load(path)
        assert image.get_data_dtype() == (np.uint8 if path.stem.endswith("_seg") else np.int16)
        assert image.shape == (27, 32, 27)
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_allclose(image.header.get_zooms(), COARSE)
        np.testing.assert_allclose(image.affine @ [13, 15.5, 13, 1], [0, 0, 0, 1], atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)


def test_images_are_zero_exactly_outside_the_brain(cohort: dict) -> None:
    for volumes in cohort.values():
        masks = [volumes[modality] > 0 for modality in phantom.SUFFIXES]
        assert all((mask == masks[0]).all() for mask in masks)
        assert 1000 < millilitres(masks[0], 4.0) < 1900
        assert set(np.unique(volumes["label"])) <= {0, 1, 2, 4}
        assert not volumes["label"][~masks[0]].any()
        assert not any(masks[0].take(side, axis).any() for axis in range(3) for side in (0, -1))


def test_promised_kinds_of_tumour(cohort: dict) -> None:
    count = {case: foci(volumes["label"]) for case, volumes in cohort.items()}
    assert [patient for patient, _ in count if count[patient, 1] == 0] == [8]
    assert [patient for patient, _ in count if count[patient, 1] > 1] == [3, 10, 17, 24]
    tumours = {case: volumes["label"] for case, volumes in cohort.items() if case != (8, 1)}
    assert [patient for (patient, _), labels in tumours.items() if not (labels == 4).any()] == [6, 13, 20]
    assert all((labels == 1).any() or (labels == 4).any() for labels in tumours.values())
    assert all((labels == 2).any() for labels in tumours.values())


def test_tumour_sizes_vary_widely(cohort: dict) -> None:
    sizes = [millilitres(v["label"] > 0, 4.0) for case, v in cohort.items() if case != (8, 1)]
    assert 10 <= min(sizes) < 40 and 90 < max(sizes) <= 150


@pytest.mark.parametrize("seed", range(3))
def test_promises_hold_for_other_seeds(seed: int) -> None:
    labels = {p: phantom.patient_volumes(seed, p, spacing=COARSE)["label"] for p in (1, 3, 6, 8)}
    assert foci(labels[1]) == 1 and (labels[1] == 4).any()
    assert foci(labels[3]) in (2, 3)
    assert foci(labels[6]) == 1 and not (labels[6] == 4).any()
    assert not labels[8].any()


def test_follow_up_shares_the_anatomy_and_has_grown(cohort: dict) -> None:
    first, second = cohort[4, 1], cohort[4, 2]
    assert ((first["T1"] > 0) == (second["T1"] > 0)).all()
    assert (second["label"] > 0)[first["label"] > 0].all()
    ratio = (second["label"] > 0).sum() / (first["label"] > 0).sum()
    assert ratio == pytest.approx(phantom.GROWTH, rel=0.1)
    healthy = (first["T1"] > 0) & (second["label"] == 0)

    def agreement(other: dict) -> float:
        both = healthy & (other["T1"] > 0)
        return float(np.corrcoef(first["T1"][both], other["T1"][both])[0, 1])

    assert 0.9 < agreement(second) < 1
    assert agreement(cohort[5, 1]) < 0.8


@pytest.mark.parametrize("patient", [1, 2, 5, 7])
def test_contrasts(cohort: dict, patient: int) -> None:
    volumes = cohort[patient, 1]
    brain = anatomy(2026, patient, phantom.plan(2026, patient).volumes, spacing=4.0)
    white = np.zeros(brain.mask.shape, bool)
    white[brain.mask] = brain.white > 0.9
    white &= volumes["label"] == 0
    mean = {
        (modality, label): volumes[modality][volumes["label"] == label].mean() / volumes[modality][white].mean()
        for modality in phantom.SUFFIXES
        for label in (1, 2, 4)
    }
    assert mean["FLAIR", 2] > 1.3 and mean["T2", 2] > 1.3 and mean["T1", 2] < 0.95
    assert mean["T1c", 4] > 1.1 and mean["T1c", 4] > 1.2 * mean["T1", 4]
    assert mean["T1", 1] < 0.85 and mean["T1c", 1] < 0.9 * mean["T1c", 4]
    assert mean["T2", 1] > mean["T2", 2] and mean["FLAIR", 1] < mean["FLAIR", 2]


def test_tumour_spares_fluid() -> None:
    brain = anatomy(3, 1, phantom.plan(3, 1).volumes, spacing=4.0)
    labels = phantom.tumour_labels(3, 1, 1, brain, spacing=4.0)
    np.testing.assert_array_less(brain.csf[labels[brain.mask] > 0], 0.56)
    np.testing.assert_array_less(brain.white + brain.grey + brain.csf, 1 + 1e-9)


def test_same_patient_at_another_spacing() -> None:
    coarse, fine = (phantom.patient_volumes(2026, 1, spacing=s)["label"] for s in (6.0, 3.0))
    assert millilitres(fine > 0, 3.0) == pytest.approx(millilitres(coarse > 0, 6.0), rel=0.05)
    centres = [
        np.argwhere(m > 0).mean(0) * s - (np.array(m.shape) - 1) / 2 * s for m, s in ((coarse, 6.0), (fine, 3.0))
    ]
    np.testing.assert_allclose(centres[0], centres[1], atol=2.0)


def test_smooth_field_has_unit_variance_and_gaussian_correlation() -> None:
    rng, scale = np.random.default_rng(0), 8.0
    fields = np.stack([smooth_field(rng, 8.0, scale) for _ in range(60)])
    assert fields.var() == pytest.approx(1, abs=0.05)
    neighbours = (fields[:, 1:] * fields[:, :-1]).mean()
    assert neighbours == pytest.approx(np.exp(-(8.0**2) / (4 * scale**2)), abs=0.05)


def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int, name: str) -> None:
        assert (done, total, name) == (1, 2, "Phantom_001_1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        phantom.generate(tmp_path / "data", seed=7, patients=2, spacing=COARSE, progress=stop)
    assert not list(tmp_path.iterdir())


def test_of_two_at_once_the_first_to_finish_stays(made: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "data", []

    def overtake(done: int, total: int, name: str) -> None:
        seen.append(name)
        if done == 1:
            phantom.generate(folder, seed=7, patients=4, spacing=COARSE)
            seen.append((folder / "phantom.json").stat().st_ino)

    phantom.generate(folder, seed=7, patients=4, spacing=COARSE, progress=overtake)
    assert (folder / "phantom.json").stat().st_ino == seen[1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    assert hashes(folder) == hashes(made)


def test_present_phantom_is_kept_and_anything_else_refused(made: Path, tmp_path: Path) -> None:
    phantom.generate(made, seed=7, patients=4, spacing=6, progress=lambda *_: pytest.fail("made again"))
    with pytest.raises(InputError, match=r"data: expected no such folder, or a phantom of the same seed"):
        phantom.generate(made, seed=8, patients=4, spacing=COARSE)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "patient.nii").touch()
    with pytest.raises(InputError, match="found something else"):
        phantom.generate(tmp_path / "scans", seed=7, patients=4, spacing=COARSE)


def test_unusable_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 patient"):
        phantom.generate(tmp_path / "data", seed=7, patients=0, spacing=COARSE)
    with pytest.raises(InputError, match="spacing must be between"):
        phantom.generate(tmp_path / "data", seed=7, patients=1, spacing=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="data was not written: "):
        phantom.generate(tmp_path / "file" / "data", seed=7, patients=1, spacing=COARSE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
