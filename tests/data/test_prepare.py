"""The store of prepared volumes: known z-scores, the way back to the original's grid, and safe interruption."""

import dataclasses
import itertools
import json
import os
import shutil
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.scans import AFFINES, MODALITIES, SHAPE, SUFFIXES, brain, save_case

from benchmark.base import declared
from benchmark.base.files import read_json
from benchmark.base.records import InputError
from benchmark.data import prepare as module
from benchmark.data.manifest import data_folder, load_cases
from benchmark.data.prepare import DataSet, case_key, damaged, prepare, prepare_case, store_folder
from benchmark.data.scan import scan


@pytest.fixture
def one(project):
    """Write, scan and prepare one subject; returns it and its label as saved."""

    def make(images, label, matrix=AFFINES["RAS"]):
        save_case("Brats18_A_1_1", images, label, matrix)
        scan("brats2018", Path("scans"), replace=True)
        (prepared,) = prepare("brats2018")
        return prepared

    return make


def test_z_scores_are_over_the_voxels_that_are_not_zero_of_each_modality(one):
    images = {modality: np.zeros(SHAPE, np.int16) for modality in SUFFIXES}
    images["T1"][2:4, 2, 2], images["T1"][2:4, 3, 2] = [1, 2], [3, 4]  # mean 2.5, standard deviation sqrt(1.25)
    images["T1c"][2:4, 2:4, 2] = [[10, 0], [30, 0]]  # mean 20, standard deviation 10
    images["T2"][2:4, 2:4, 2] = 7  # no spread
    prepared = one(images, np.zeros(SHAPE, np.uint8))
    assert prepared.image.shape == (1, 4, 2, 2) and prepared.image.dtype == np.float16
    t1, t1c, t2, flair = np.asarray(prepared.image[0], np.float64)
    np.testing.assert_allclose(t1, np.array([[-1.5, 0.5], [-0.5, 1.5]]) / np.sqrt(1.25), rtol=1e-3)
    np.testing.assert_allclose(t1c, [[-1, 0], [1, 0]], rtol=1e-3)
    assert not t2.any() and not flair.any()


def test_every_phantom_has_mean_0_and_deviation_1_inside_and_0_outside(project):
    folder = data_folder("phantom")
    for prepared in prepare("phantom"):
        for channel, modality in enumerate(SUFFIXES):
            stored = np.asarray(prepared.image[:, channel], np.float64)
            original = nibabel.load(folder / prepared.case.images[modality]).get_fdata()
            inside = prepared.crop(original) != 0
            assert inside.sum() == (original != 0).sum() > 1000
            assert not stored[~inside].any()
            np.testing.assert_allclose([stored[inside].mean(), stored[inside].std()], [0, 1], atol=1e-3)


def test_the_crop_box_holds_every_voxel_of_any_modality_and_every_label(one):
    images, label = ({modality: np.zeros(SHAPE, np.int16) for modality in SUFFIXES}, np.zeros(SHAPE, np.uint8))
    images["T1"][3, 4, 5] = 5
    images["FLAIR"][2, 4, 6] = 5
    label[3, 6, 5] = 1
    prepared = one(images, label)
    assert prepared.header["box"] == [[2, 4, 5], [4, 7, 7]]
    assert prepared.image.shape == (2, 4, 2, 3) and prepared.label.shape == (2, 2, 3)
    assert prepared.header["shape"] == list(SHAPE)
    assert np.argwhere(np.asarray(prepared.label)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("name", AFFINES)
def test_there_and_back_again_in_any_orientation(one, name):
    images, label = brain()
    prepared = one(images, label, AFFINES[name])
    assert prepared.crop(label).shape == prepared.label.shape
    np.testing.assert_array_equal(prepared.crop(label), prepared.label)
    restored = prepared.restore(np.asarray(prepared.label))
    assert restored.shape == SHAPE and restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, label)
    np.testing.assert_array_equal(prepared.original_label(), label)
    np.testing.assert_allclose(prepared.affine, AFFINES[name], atol=1e-5)
    np.testing.assert_allclose(prepared.spacing, np.linalg.norm(AFFINES[name][:3, :3], axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", AFFINES)
def test_slices_are_axial_with_x_to_the_right_as_nibabel_turns_them(one, name):
    images, label = brain()
    prepared = one(images, label, AFFINES[name])
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(label, AFFINES[name]))
    assert nibabel.aff2axcodes(canonical.affine) == ("R", "A", "S")
    turned = np.asarray(canonical.dataobj)
    box = tuple(slice(side.min(), side.max() + 1) for side in np.nonzero(turned))
    found = np.asarray(prepared.label).transpose(1, 2, 0)
    # Labels may be missing at the border of the brain's box, so the box of the labels is compared.
    np.testing.assert_array_equal(found[tuple(slice(s.min(), s.max() + 1) for s in np.nonzero(found))], turned[box])


def test_arrays_are_mapped_not_loaded(project):
    prepared = prepare("phantom")[0]
    for array in (prepared.image, prepared.label):
        assert isinstance(array, np.memmap) and array.mode == "r"
    one_slice = prepared.image[3]
    assert isinstance(one_slice, np.memmap) and np.shares_memory(one_slice, one_slice.base)
    # A slice with all its modalities is one run of bytes: one read.
    assert one_slice.flags["C_CONTIGUOUS"]


def test_slices_with_tumour_are_noted(project):
    for prepared in prepare("phantom"):
        assert prepared.header["foreground"] == np.flatnonzero(np.asarray(prepared.label).any(axis=(1, 2))).tolist()


def test_the_key_follows_from_the_files_and_the_settings_alone(project, monkeypatch):
    case = load_cases("phantom").cases[0]
    key = case_key(case, MODALITIES)
    assert case_key(dataclasses.replace(case, spacing=(1.0, 1.0, 1.0), voxels={}), MODALITIES) == key
    path = case.images["T2"]
    changed = [
        dataclasses.replace(case, sha256={**case.sha256, path: "0" * 64}),
        dataclasses.replace(case, images={**case.images, "T2": case.images["T1"], "T1": case.images["T2"]}),
        dataclasses.replace(case, label=None),
    ]
    keys = {key, *(case_key(other, MODALITIES) for other in changed), case_key(case, MODALITIES[::-1])}
    monkeypatch.setitem(module.SETTINGS, "version", 2)
    assert len(keys | {case_key(case, MODALITIES)}) == 6


def test_other_settings_prepare_anew_beside_the_old(project, monkeypatch):
    before = {prepared.folder for prepared in prepare("phantom")}
    monkeypatch.setitem(module.SETTINGS, "version", 2)
    after = {prepared.folder for prepared in prepare("phantom")}
    assert not before & after and all(folder.is_dir() for folder in before | after)


def spoil(path):
    """Change one voxel of an uncompressed file."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_file_that_is_not_the_scanned_one_is_named(project):
    shutil.rmtree(store_folder())
    case = load_cases("phantom").cases[2]
    spoil(data_folder("phantom") / case.images["T2"])
    with pytest.raises(
        InputError, match=rf"{case.images['T2']} is not the file that was scanned: .* data verify phantom"
    ):
        prepare("phantom")
    assert not (store_folder() / case_key(case, MODALITIES)).exists()
    assert not [path for path in store_folder().iterdir() if path.name.startswith(".")]


def test_a_brain_of_zeros_is_refused(one):
    images = {modality: np.zeros(SHAPE, np.int16) for modality in SUFFIXES}
    with pytest.raises(InputError, match="Case Brats18_A_1_1 is empty: expected a brain, found only zeros"):
        one(images, np.ones(SHAPE, np.uint8))
    assert len(list(store_folder().iterdir())) == 9  # the phantom's, which were there


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_preparation_leaves_nothing_and_the_next_one_is_whole(project, monkeypatch, error):
    found = load_cases("phantom")
    case, store = found.cases[0], project / "store"
    real, calls = np.save, itertools.count()

    def save(path, array):
        if next(calls):
            raise error
        real(path, array)

    monkeypatch.setattr(module.np, "save", save)
    with pytest.raises((KeyboardInterrupt, InputError)):
        prepare_case(case, found, store)
    assert list(store.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.chdir(project)
    prepared = prepare_case(case, found, store)
    assert sorted(path.name for path in prepared.folder.iterdir()) == ["case.json", "image.npy", "label.npy"]
    other = store_folder() / case_key(case, MODALITIES)
    for name in ("image.npy", "label.npy"):
        assert (prepared.folder / name).read_bytes() == (other / name).read_bytes()


def test_two_at_once_give_one_whole_case(project):
    found = load_cases("phantom")
    case, store = found.cases[0], project / "store"
    barrier, errors = threading.Barrier(2), []

    def work():
        barrier.wait()
        try:
            prepare_case(case, found, store)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in store.iterdir()] == [case_key(case, MODALITIES)]
    for name in ("image.npy", "label.npy"):
        assert (store / case_key(case, MODALITIES) / name).read_bytes() == (
            store_folder() / case_key(case, MODALITIES) / name
        ).read_bytes()


def test_what_is_prepared_is_not_read_again(project):
    folder = data_folder("phantom")
    shutil.rmtree(folder)
    folder.mkdir()
    assert len(prepare("phantom")) == 9
    assert not any(folder.iterdir())


def test_progress_counts_cases(project):
    seen = []
    prepare("phantom", progress=lambda done, total, text: seen.append((done, total, text)))
    assert [row[:2] for row in seen] == [(n, 9) for n in range(1, 10)]
    assert seen[0][2] == "Phantom_001_1"


def test_a_part_is_the_cases_of_that_sides_patients(project):
    data = DataSet("phantom")
    assert (data.in_channels, data.out_channels) == (4, 3)
    fold, sides = data.fold(0), {}
    for side in ("train", "validation", "test"):
        sides[side] = {prepared.case.case_id for prepared in data.part(0, side)}
        assert {prepared.case.patient_id for prepared in data.part(0, side)} == set(getattr(fold, side))
    assert sum(map(len, sides.values())) == len(set().union(*sides.values())) == 9
    # The patient with two sessions is on one side with both.
    assert [{"Phantom_004_1", "Phantom_004_2"} <= ids for ids in sides.values()].count(True) == 1


def test_folds_and_sides_that_are_not_there_are_refused(project):
    with pytest.raises(InputError, match="phantom has folds 0 to 0, found fold 3"):
        DataSet("phantom").fold(3)
    path = Path("data_manifests/phantom.folds.json")
    folds = json.loads(path.read_text())
    folds["folds"][0]["test"] += folds["folds"][0]["validation"]
    folds["folds"][0]["validation"] = []
    path.write_text(json.dumps(folds))
    with pytest.raises(InputError, match="Fold 0 of phantom has no case on its validation side"):
        DataSet("phantom").part(0, "validation")


def test_a_withheld_label_is_refused_only_when_asked_for(project):
    found = load_cases("phantom")
    case = dataclasses.replace(found.cases[0], label=None)
    prepared = prepare_case(case, found, store_folder())
    assert prepared.image.ndim == 4
    with pytest.raises(InputError, match="Case Phantom_001_1 has no label"):
        _ = prepared.label


@pytest.mark.parametrize("lost", [("cases", "folds"), ("folds",)])
def test_a_kill_between_generating_and_listing_a_set_is_made_good(project, lost):
    for what in lost:
        Path(f"data_manifests/phantom.{what}.json").unlink()
    assert len(prepare("phantom")) == 9
    assert len(DataSet("phantom").fold(0).units) == 8


def test_a_generated_set_that_comes_out_otherwise_is_listed_anew_and_said(project, capsys):
    path = Path("data_manifests/phantom.cases.json")
    listed = json.loads(path.read_text())
    listed["cases"][0]["sha256"] = {key: "0" * 64 for key in listed["cases"][0]["sha256"]}
    path.write_text(json.dumps(listed))
    shutil.rmtree("runs")
    assert len(prepare("phantom")) == 9
    assert "the files generated here differ from those listed; it now lists these" in capsys.readouterr().err
    assert "0" * 64 not in path.read_text()


def overwrite(path):
    array = np.load(path)
    np.save(path, np.ones_like(array))


def overwrite_in_time(path):
    """Change content, and neither size nor time of change."""
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("file", ["label.npy", "image.npy"])
@pytest.mark.parametrize("spoil", [overwrite, Path.unlink, lambda path: path.write_bytes(b"")])
def test_what_was_changed_in_the_store_is_prepared_anew(one, file, spoil):
    prepared = one(*brain())
    before = {name: (prepared.folder / name).read_bytes() for name in ("image.npy", "label.npy")}
    spoil(prepared.folder / file)
    problems = damaged("brats2018")
    assert len(problems) == 1 and f"{file}: expected what was prepared of case Brats18_A_1_1" in problems[0]
    (again,) = prepare("brats2018")
    assert {name: (again.folder / name).read_bytes() for name in before} == before
    np.testing.assert_array_equal(again.image, np.load(again.folder / "image.npy"))
    assert damaged("brats2018") == []


def moved(header):
    header["box"][0][0] += 1
    return json.dumps(header)


@pytest.mark.parametrize(
    "change", [lambda header: "{", lambda header: "[]", lambda header: '{"files": {"image.npy": []}}', moved]
)
def test_a_broken_header_or_one_without_checksums_is_prepared_anew(one, change):
    prepared = one(*brain())
    expected = (prepared.folder / "case.json").read_text()
    (prepared.folder / "case.json").write_text(change(json.loads(expected)))
    (again,) = prepare("brats2018")
    found = json.loads((again.folder / "case.json").read_text())
    # The arrays' times of change, and so the checksum over them, are new.
    assert {**found, "files": 0, "checksum": 0} == {**json.loads(expected), "files": 0, "checksum": 0}
    assert found["files"].keys() == {"image.npy", "label.npy"}


def test_a_label_that_was_changed_secretly_scores_nothing(one):
    prepared = one(*brain())
    overwrite_in_time(prepared.folder / "label.npy")
    (found,) = prepare("brats2018")
    with pytest.raises(InputError, match=r"label\.npy: expected what was prepared of case Brats18_A_1_1"):
        found.original_label()


def test_a_copy_of_the_store_is_taken_as_it_is(one):
    prepared = one(*brain())
    for file in prepared.folder.iterdir():
        os.utime(file, ns=(0, 0))
    before = sorted(path.stat().st_ino for path in prepared.folder.iterdir())
    (again,) = prepare("brats2018")
    assert sorted(path.stat().st_ino for path in again.folder.iterdir()) == before


def test_the_case_list_is_read_once_however_many_cases_there_are(project, monkeypatch):
    shutil.rmtree(store_folder())
    read = []
    monkeypatch.setattr(declared, "read_json", lambda path, what: (read.append(path.name), read_json(path, what))[1])
    prepare("phantom")
    assert len(load_cases("phantom").cases) == 9
    assert read.count("phantom.cases.json") <= 4


def test_what_is_prepared_of_another_case_is_prepared_anew(project):
    """Both folders are whole; only their names say that they were swapped."""
    first, second = prepare("phantom")[:2]
    before = np.array(first.label)
    first.folder.rename(store_folder() / "aside")
    second.folder.rename(first.folder)
    (store_folder() / "aside").rename(second.folder)
    module._mapped.cache_clear()
    again = prepare("phantom")[0]
    assert again.header["case_id"] == first.case.case_id
    np.testing.assert_array_equal(again.label, before)
