"""Folders of small label maps with known scores, and everything a folder can have wrong."""

import math
from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from benchmark.base.records import InputError
from benchmark.data.manifest import Manifest
from benchmark.scoring import external
from benchmark.scoring.external import label_files, save_scores
from benchmark.scoring.score_table import COLUMNS, read, tidy

score_folder = partial(external.score_folder, missing="worst")
SHAPE = (6, 7, 8)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}


@pytest.fixture(autouse=True)
def manifest(monkeypatch):
    """A data set of cases P1_a, P1_b, P2_a ..., of which the letter counts a patient's sessions."""
    described = Manifest(
        name="small",
        title="Small",
        source="brats",
        modalities=("T1",),
        labels={"0": "background", "1": "core", "2": "oedema", "4": "rim"},
        regions=REGIONS,
        regions_class_order=(2, 1, 4),
        layout={"label_names": {"P3_a": "odd.nii"}},
        patient_pattern=r"(?P<patient>P\d)_[a-z]",
        expected_cases=3,
        **{"licence": "", "citation": "", "address": "", "access": "open", "pictures": "public", "warnings": ()},
        folds={"seed": 1},
    )
    known = {"small": described}
    monkeypatch.setattr("benchmark.scoring.external.find_manifest", lambda name: known[name])
    return described


@pytest.fixture
def folders(tmp_path):
    """Two patients with three sessions: found in full, found in part, and one that no prediction was made for."""
    reference, prediction = tmp_path / "reference", tmp_path / "prediction"
    save(reference / "P1_a_seg.nii.gz", labels())
    save(reference / "P1_b_seg.nii.gz", labels())
    save(reference / "P2_a_seg.nii.gz", labels())
    save(prediction / "P1_a.nii.gz", labels())
    save(prediction / "P1_b.nii.gz", labels(rim=0))
    return reference, prediction


def labels(oedema=2, core=1, rim=4):
    array = np.zeros(SHAPE, np.uint8)
    array[1:5, 1:5, 1:5], array[2:4, 2:4, 2:4], array[2, 2, 2:4] = oedema, core, rim
    return array


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def value(table, **where):
    table = tidy(table)
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    (row,) = table.to_dict("records")
    return row["value"], row["note"]


def test_scores_have_known_values_and_one_row_each(folders):
    table = score_folder(*folders, "small", "nnU-Net v2")
    assert tuple(table.columns) == COLUMNS and table.notna().all(axis=None)
    assert len(table) == 3 * len(REGIONS) and not table.duplicated(["case_id", "region"]).any()
    assert set(table["bundle"]) == {"nnU-Net v2"} and set(table["variant"]) == {"default"}
    assert set(table["fold"]) == {0} and set(table["seed"]) == {0}
    assert list(table["case_id"].unique()) == ["P1_a", "P1_b", "P2_a"]
    assert dict(zip(table["case_id"], table["patient_id"], strict=True)) == {"P1_a": "P1", "P1_b": "P1", "P2_a": "P2"}
    assert value(table, case_id="P1_a", region="TC", metric="dice") == (1.0, "")
    # The core's 8 voxels lack the rim's 2: 2 * 6 / (8 + 6).
    assert value(table, case_id="P1_b", region="TC", metric="dice") == (pytest.approx(12 / 14), "")
    assert value(table, case_id="P1_b", region="ET", metric="dice") == (0.0, "prediction empty")


def test_a_reference_without_prediction_has_the_worst_values(folders):
    table = score_folder(*folders, "small", "x", fold=2, seed=5)
    missing = table[table["case_id"] == "P2_a"]
    assert set(missing["note"]) == {"missing prediction"}
    assert set(missing["fold"]) == {2} and set(missing["seed"]) == {5}
    diagonal = math.sqrt(6**2 + (7 * 2) ** 2 + (8 * 3) ** 2)
    assert value(table, case_id="P2_a", region="WT", metric="hd95")[0] == pytest.approx(diagonal)
    assert (missing[["dice", "iou", "sensitivity", "precision"]] == 0).all(axis=None)


def test_distances_are_in_mm_of_the_affine(tmp_path):
    truth, guess = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    truth[1, 1, 1] = guess[1, 2, 3] = 4
    save(tmp_path / "r" / "P1_a.nii.gz", truth)
    save(tmp_path / "p" / "P1_a.nii.gz", guess)
    table = score_folder(tmp_path / "r", tmp_path / "p", "small", "x")
    assert value(table, region="ET", metric="hd95")[0] == pytest.approx(math.sqrt(2**2 + 6**2))


def test_progress_counts_cases(folders):
    steps = []
    score_folder(*folders, "small", "x", progress=lambda *step: steps.append(step))
    assert steps == [(1, 3, "P1_a"), (2, 3, "P1_b"), (3, 3, "P2_a")]


def test_label_maps_are_found_as_publishers_and_tools_lay_them_out(tmp_path):
    for path in (
        "HGG/P1_a/P1_a_seg.nii.gz",
        "HGG/P1_a/P1_a_t1.nii.gz",
        "LGG/P1_b/P1_b-seg.nii",
        "P3_a/odd.nii",
        "P3_a/P3_a_t1.nii",
        "P2_a.nii.gz",
        ".hidden.nii.gz",
    ):
        save(tmp_path / path, labels())
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    found = label_files(tmp_path, {"P3_a": "odd.nii"})
    assert {case: path.relative_to(tmp_path).as_posix() for case, path in found.items()} == {
        "P1_a": "HGG/P1_a/P1_a_seg.nii.gz",
        "P1_b": "LGG/P1_b/P1_b-seg.nii",
        "P2_a": "P2_a.nii.gz",
        "P3_a": "P3_a/odd.nii",
    }


def test_the_manifests_odd_names_are_used(folders):
    reference, prediction = folders
    save(reference / "P3_a" / "odd.nii", labels())
    save(prediction / "P3_a.nii", labels())
    table = score_folder(reference, prediction, "small", "x")
    assert value(table, case_id="P3_a", region="WT", metric="dice") == (1.0, "")


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_other_formats_are_matched_with_nifti(folders, ending):
    itk = pytest.importorskip("itk")
    reference, prediction = folders
    (prediction / "P1_a.nii.gz").unlink()
    itk.imwrite(itk.imread(str(reference / "P1_a_seg.nii.gz"), itk.UC), str(prediction / f"P1_a{ending}"))
    table = score_folder(reference, prediction, "small", "x")
    assert value(table, case_id="P1_a", region="ET", metric="dice") == (1.0, "")


def refused(folders, *words, name="x"):
    with pytest.raises(InputError) as caught:
        score_folder(*folders, "small", name)
    for word in words:
        assert str(word) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prediction_without_reference_is_refused(folders):
    save(folders[1] / "P9_z.nii.gz", labels())
    refused(folders, "P9_z.nii.gz", folders[0], "1 of 3")


def test_two_files_of_one_case_are_refused(folders):
    save(folders[1] / "P1_a_seg.nii", labels())
    refused(folders, "P1_a.nii.gz", "P1_a_seg.nii", "one label map of case P1_a")


def test_another_shape_is_refused_naming_both_files(folders):
    save(folders[1] / "P1_a.nii.gz", labels()[:-1])
    refused(folders, folders[1] / "P1_a.nii.gz", folders[0] / "P1_a_seg.nii.gz", "(6, 7, 8)", "(5, 7, 8)")


def test_another_affine_is_refused_and_rounding_is_not(folders):
    moved = AFFINE.copy()
    moved[0, 3] = 5e-4
    save(folders[1] / "P1_a.nii.gz", labels(), moved)
    assert len(score_folder(*folders, "small", "x"))
    moved[0, 3] = 2e-3
    save(folders[1] / "P1_a.nii.gz", labels(), moved)
    refused(folders, folders[1] / "P1_a.nii.gz", folders[0] / "P1_a_seg.nii.gz", "0.002")
    save(folders[1] / "P1_b.nii.gz", labels(), moved)
    refused(folders, "2 of 2 predictions are on another grid")


@pytest.mark.parametrize(("array", "shown"), [(labels(rim=3), "also 3"), (labels().astype("f4") / 8, "also 0.125, ")])
def test_labels_outside_the_manifest_are_refused(folders, array, shown):
    save(folders[1] / "P1_a.nii.gz", array)
    refused(folders, folders[1] / "P1_a.nii.gz", "0, 1, 2, 4", shown)


def test_a_truncated_file_is_refused(folders):
    path = folders[1] / "P1_a.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    refused(folders, path)


def test_an_empty_or_missing_folder_is_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    refused((folders[0], tmp_path / "empty"), tmp_path / "empty", "found none")
    refused((tmp_path / "empty", folders[1]), tmp_path / "empty", "found none")
    refused((folders[0], tmp_path / "absent"), tmp_path / "absent", "found nothing")
    refused((folders[0] / "P1_a_seg.nii.gz", folders[1]), "found a file")


def test_a_case_folder_without_label_map_is_refused(folders):
    save(folders[0] / "P3_b" / "P3_b_t1.nii.gz", labels())
    refused(folders, folders[0] / "P3_b", "P3_b_seg", "P3_b_t1.nii.gz")


def test_a_case_id_that_names_no_patient_is_its_own_patient_and_that_is_said(folders):
    for folder in folders:
        save(folder / "stranger.nii.gz", labels())
    table = score_folder(*folders, "small", "x")
    assert set(table.loc[table["case_id"] == "stranger", "patient_id"]) == {"stranger"}
    (said,) = table.attrs["people"]
    assert "1 of 4 case ids, such as stranger" in said and "--patients" in said
    table = score_folder(*folders, "small", "x", patients={"stranger": "P1"})
    assert set(table.loc[table["case_id"] == "stranger", "patient_id"]) == {"P1"} and table.attrs["people"] == []


def test_references_without_prediction_are_refused_unless_asked_for(folders):
    with pytest.raises(InputError, match=r"1 of 3 have no prediction \(P2_a\); --missing worst .* --only-predicted"):
        external.score_folder(*folders, "small", "x")
    table = external.score_folder(*folders, "small", "x", missing="leave out")
    assert set(table["case_id"]) == {"P1_a", "P1_b"} and "are left out: P2_a" in table.attrs["odd"][0]
    assert "get the worst scores: P2_a" in score_folder(*folders, "small", "x").attrs["odd"][0]


def test_empty_masks_are_said(folders):
    odd = score_folder(*folders, "small", "x").attrs["odd"]
    assert "Nothing is predicted where there is something: ET in 1 of 3 cases." in odd


def test_label_maps_of_nnunet_and_the_decathlon_are_matched_with_those_of_brats(tmp_path):
    save(tmp_path / "raw" / "labelsTr" / "P1_a.nii.gz", labels())
    save(tmp_path / "raw" / "imagesTr" / "P1_a_0000.nii.gz", labels())
    save(tmp_path / "brats" / "P1_a" / "P1_a-seg.nii.gz", labels())
    for pair in (("raw", "brats"), ("brats", "raw")):
        table = score_folder(*(tmp_path / name for name in pair), "small", "x")
        assert value(table, case_id="P1_a", region="ET", metric="dice") == (1.0, "")


def test_exchanged_labels_are_noticed_and_mapped(folders):
    save(folders[1] / "P1_a.nii.gz", labels(oedema=1, core=2))
    save(folders[1] / "P1_b.nii.gz", labels(oedema=1, core=2))
    assert value(score_folder(*folders, "small", "x"), case_id="P1_a", region="TC", metric="dice")[0] < 0.2
    (said,) = [text for text in score_folder(*folders, "small", "x").attrs["odd"] if "label values" in text]
    assert said.startswith("The label values 1 and 2 seem to stand for others: over 2 cases their mean Dice is 0.000")
    assert said.endswith("1.000 with --labels msd.")
    mapped = score_folder(*folders, "small", "x", labels="msd")
    assert value(mapped, case_id="P1_a", region="TC", metric="dice") == (1.0, "")
    assert not [text for text in mapped.attrs["odd"] if "label values" in text]


def test_values_that_the_manifest_lacks_are_refused_with_what_maps_them(folders):
    save(folders[1] / "P1_a.nii.gz", labels(rim=3))
    refused(folders, "found also 3; give --labels brats2023, with which the mean Dice of these values is 1.000.")
    table = score_folder(*folders, "small", "x", labels="brats2023")
    assert value(table, case_id="P1_a", region="ET", metric="dice") == (1.0, "")


def test_a_case_id_that_a_spreadsheet_would_run_is_refused(folders):
    save(folders[0] / "=P3_b.nii.gz", labels())
    refused(folders, folders[0], "no formula", "=P3_b")


def test_references_are_not_scored_against_themselves(folders):
    refused((folders[0], folders[0]), folders[0], "folder of their own")


@pytest.mark.parametrize("name", ["", "a,b", "a\nb", "a/b", "..", "=1+1", "a ", " a", 'a"b', "a\n"])
def test_an_unsafe_name_is_refused(folders, name):
    refused(folders, "--name", name=name)


def test_scores_are_saved_once_and_replaced_only_by_force(folders, tmp_path):
    out = tmp_path / "new" / "scores.csv"
    table = score_folder(*folders, "small", "x")
    save_scores(table, out)
    pd.testing.assert_frame_equal(read(out), table, check_dtype=False, check_exact=True)
    before = out.read_bytes(), out.stat().st_mtime_ns
    save_scores(table, out)
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before
    other = score_folder(*folders, "small", "y")
    with pytest.raises(InputError, match=r"scores\.csv: expected no such file or the same scores"):
        save_scores(other, out)
    assert out.read_bytes() == before[0]
    save_scores(other, out, force=True)
    assert set(pd.read_csv(out)["bundle"]) == {"y"}
    assert [path.name for path in out.parent.iterdir()] == ["scores.csv"]
    with pytest.raises(InputError, match="found a folder"):
        save_scores(table, tmp_path, force=True)


@pytest.mark.parametrize("name", ["P2_a.img", "p2_a.nii.gz.part", "P2_a_pred.npz"])
def test_a_file_like_a_missing_prediction_is_named(folders, name):
    (folders[1] / "P2_a.txt").touch()
    (folders[1] / "P1_a.npz").touch()
    save(folders[0] / "P2_b_seg.nii.gz", labels())
    save(folders[1] / "P2_b.nii.gz", labels())
    (folders[1] / "P2_b.npz").touch()
    assert len(score_folder(*folders, "small", "m"))
    (folders[1] / name).touch()
    refused(folders, folders[1] / name, "expected a label map P2_a with one of .nii.gz", "which is not read")
