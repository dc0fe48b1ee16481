import hashlib
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.base.records import Case, InputError
from benchmark.data.manifest import CaseList, check_names, data_folder, known, load_cases, load_manifest
from benchmark.data.scan import scan, verify
from benchmark.data.volumes import read_image

REPOSITORY = Path(__file__).parents[2]
SOURCES = ["brats2018", "brats2020", "brats2021", "brats2023", "msd_brain", "phantom"]
AFFINE = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])
SUFFIXES = ("_t1", "_t1ce", "_t2", "_flair")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project that knows the published sets."""
    (tmp_path / "project" / "bundles").mkdir(parents=True)
    folder = tmp_path / "project" / "data_manifests"
    folder.mkdir()
    for name in SOURCES:
        shutil.copy(REPOSITORY / "data_manifests" / f"{name}.json", folder)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def save_case(folder, case_id, seed):
    rng = np.random.default_rng(seed)
    for suffix in SUFFIXES:
        image = rng.integers(0, 900, (4, 5, 6)).astype(np.int16)
        image[0, 0, 0] = 0
        save(folder / case_id / f"{case_id}{suffix}.nii.gz", image)
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[seed % 4, seed % 5, :] = [1, 1, 2, 2, 2, 4]
    save(folder / case_id / f"{case_id}_seg.nii.gz", labels)


@pytest.fixture
def scans(tmp_path):
    """Six BraTS 2018 subjects of 4x5x6 voxels; one patient has two sessions."""
    folder = tmp_path / "scans"
    for seed, case_id in enumerate(("A_1_1", "A_1_2", "A_2_1", "A_3_1", "A_4_1", "A_5_1")):
        save_case(folder / ("HGG" if seed % 2 else "LGG"), f"Brats18_{case_id}", seed)
    return folder


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SOURCES)
def test_published_manifests_are_valid(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    manifest = load_manifest(name)
    assert list(manifest.regions) == ["WT", "TC", "ET"]
    assert manifest.modalities == ("T1", "T1c", "T2", "FLAIR")
    assert set(manifest.layout.images) == set(manifest.modalities)
    # Writing the regions' labels one over the other must give every label its own regions back.
    for label in (int(text) for text in manifest.labels if text != "0"):
        member = [label in values for values in manifest.regions.values()]
        written = [value for value, inside in zip(manifest.regions_class_order, member, strict=True) if inside]
        assert written[-1] == label
    assert manifest.pictures == ("public" if name in ("msd_brain", "phantom") else "private")


def test_a_remark_about_a_case_holds_where_that_case_is(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    manifest = load_manifest("brats2020")
    whole = manifest.warnings
    assert "BraTS20_Training_355" in whole[1] and len(whole) == 2
    cases = [Case(f"BraTS20_Training_{number}", f"BraTS20_Training_{number}", {}) for number in ("354", "355")]
    assert CaseList("mine", manifest, tuple(cases)).remarks == whole
    assert CaseList("mine", manifest, tuple(cases[:1])).remarks == whole[:1]


def test_enhancing_tumour_per_edition(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert {name: load_manifest(name).regions["ET"] for name in SOURCES[:5]} == {
        **{"brats2018": (4,), "brats2020": (4,), "brats2021": (4,)},
        **{"brats2023": (3,), "msd_brain": (3,)},
    }
    assert load_manifest("msd_brain").labels["1"] == "oedema"
    assert any("swapped" in warning for warning in load_manifest("msd_brain").warnings)
    counts = [load_manifest(name).expected_cases for name in SOURCES[:5]]
    assert counts == [285, 369, 1251, 1251, 484]


def test_unknown_set_lists_the_known_ones(project):
    for name in ("brats2017", "../brats2018", ""):
        with pytest.raises(InputError, match=r"expected one of: brats2018, brats2020, .*phantom"):
            load_manifest(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acces": "open"}, "acces: expected no such entry"),
        ({"expected_cases": "285"}, "expected_cases: expected a valid integer, found"),
        ({"regions": {"WT": [1, 3]}, "regions_class_order": [1]}, "regions: expected only values that labels names"),
        ({"regions_class_order": [1]}, "regions_class_order: expected a label per region"),
        ({"regions": {"=WT": [1, 2, 4]}, "regions_class_order": [1]}, "expected a region that is no formula"),
        ({"source": "dicom"}, "source: expected 'bids', 'brats', 'coco', 'files', 'lgg', 'msd', .*, found \"dicom\""),
        (
            {"patient_pattern": "Brats18_(.+)"},
            "patient_pattern: expected a regular expression with a group named patient",
        ),
        ({"patient_pattern": "["}, "patient_pattern: expected a regular expression .unterminated"),
        ({"layout": {}}, "layout: expected images and label for brats, found no images, label"),
        ({"layout": {"images": {"T1": "_t1"}, "label": "_seg"}}, "layout: expected each modality, found T1"),
        ({"layout": {"images": {"T1": 1, "T1c": 2, "T2": 3, "FLAIR": 0}, "label": "_seg"}}, "images: expected ends of"),
        ({"labels": {"0": "a", "01": "b"}}, "labels/01: expected a whole number as text, found"),
        ({"name": "other"}, "name: expected brats2018, found other"),
        ({"title": None}, "title: expected a valid string, found null"),
    ],
)
def test_invalid_manifest_names_file_and_field(project, change, message):
    path = project / "data_manifests" / "brats2018.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=rf"brats2018\.json: .*{message}"):
        load_manifest("brats2018")
    path.write_text("{")
    with pytest.raises(InputError, match=r"brats2018\.json is not JSON"):
        load_manifest("brats2018")


def test_scan_measures_what_is_there(project, scans):
    lines = []
    result = scan("brats2018", scans, progress=lambda *step: lines.append(step))
    assert result.written
    assert result.warnings == ("6 cases found; brats2018 as published has 285.",)
    listed = load_cases("brats2018")
    assert listed == result.listed
    assert [case.case_id for case in listed.cases] == sorted(case.case_id for case in listed.cases)
    assert listed.patients == tuple(f"Brats18_A_{number}" for number in range(1, 6))
    case = listed.cases[0]
    assert case.voxels == {"0": 114, "1": 2, "2": 3, "4": 1}
    assert (case.shape, case.spacing) == ((4, 5, 6), (2.0, 2.0, 2.5))
    for relpath, digest in case.sha256.items():
        assert hashlib.sha256((scans / relpath).read_bytes()).hexdigest() == digest
    assert set(case.sha256) == {*case.images.values(), case.label}
    assert lines[-1] == (6, 6, "Brats18_A_5_1")
    assert data_folder("brats2018") == scans.resolve()
    assert len(json.loads((project / "data_manifests" / "brats2018.folds.json").read_text())["folds"]) == 5


def test_same_bytes_whatever_the_order_of_files(project, scans, monkeypatch):
    scan("brats2018", scans)
    path = project / "data_manifests" / "brats2018.cases.json"
    before = path.read_bytes()
    path.unlink()
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: reversed(sorted(listed(folder))))
    scan("brats2018", scans)
    assert path.read_bytes() == before
    assert not scan("brats2018", scans).written


def test_a_scan_that_differs_is_refused(project, scans):
    scan("brats2018", scans)
    before = files(project)
    shutil.rmtree(scans / "LGG" / "Brats18_A_1_1")
    save_case(scans, "Brats18_A_9_1", 77)
    save(scans / "HGG" / "Brats18_A_3_1" / "Brats18_A_3_1_t1.nii.gz", np.ones((4, 5, 6), np.int16))
    message = r"brats2018\.cases\.json.*1 added, 1 removed, 1 changed.*--replace.*--name"
    with pytest.raises(InputError, match=message):
        scan("brats2018", scans)
    assert files(project) == before
    result = scan("brats2018", scans, replace=True)
    assert "1 patient is in no fold, Brats18_A_9 first; run: benchmark data folds brats2018" in result.warnings[-1]
    assert len(load_cases("brats2018").cases) == 6


def test_a_second_copy_has_its_own_name(project, scans):
    scan("brats2018", scans)
    save_case(scans, "Brats18_A_9_1", 77)
    scan("brats2018", scans, name="subset")
    listed = load_cases("subset")
    assert (listed.manifest.name, len(listed.cases)) == ("brats2018", 7)
    rows = {row.name: row for row in known()}
    assert (rows["brats2018"].cases, rows["subset"].cases, rows["msd_brain"].cases) == (6, 7, None)
    assert (rows["subset"].folder, rows["msd_brain"].folder) == (scans.resolve(), None)
    with pytest.raises(InputError, match="--name msd_brain: expected a name that no manifest has"):
        scan("brats2018", scans, name="msd_brain")
    with pytest.raises(InputError, match="expected a data set name"):
        scan("brats2018", scans, name="../out")


def drop(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def put_nan(path):
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 2, 3] = np.nan
    save(path, data)


def put_inf(path):
    save(path, np.full((4, 5, 6), np.inf, np.float32))


def reshape(path):
    save(path, np.zeros((4, 5, 7), np.uint8))


def move(path):
    affine = AFFINE.copy()
    affine[0, 3] += 0.5
    save(path, np.zeros((4, 5, 6), np.uint8), affine)


@pytest.mark.parametrize(
    ("spoil", "suffix", "message"),
    [
        (drop, "_t2", "lacks T2: expected a file Brats18_A_3_1_t2"),
        (cut, "_t2", r"A_3_1_t2\.nii\.gz: expected a whole image file"),
        (put_nan, "_flair", r"A_3_1_flair\.nii\.gz: expected finite voxels, found 1 that"),
        (put_inf, "_flair", r"A_3_1_flair\.nii\.gz: expected finite voxels, found 120 that"),
        (reshape, "_t1ce", r"A_3_1_t1ce\.nii\.gz: expected shape \(4, 5, 6\) as in .*_t1\.nii\.gz, found \(4, 5, 7\)"),
        (reshape, "_seg", r"A_3_1_seg\.nii\.gz: expected shape \(4, 5, 6\)"),
        (move, "_seg", r"A_3_1_seg\.nii\.gz: expected the affine of .*_t1\.nii\.gz, found one that differs by 0\.5 mm"),
        (put_inf, "_seg", r"A_3_1_seg\.nii\.gz: expected finite voxels"),
    ],
)
def test_bad_files_write_nothing(project, scans, spoil, suffix, message):
    spoil(scans / "HGG" / "Brats18_A_3_1" / f"Brats18_A_3_1{suffix}.nii.gz")
    before = files(project)
    with pytest.raises(InputError, match=message):
        scan("brats2018", scans)
    assert files(project) == before


@pytest.mark.parametrize(("value", "found"), [(3, "3"), (0.5, "0.5"), (-1, "-1"), (4.25, "4.25")])
def test_other_label_values(project, scans, value, found):
    labels = np.zeros((4, 5, 6), np.float32)
    labels[0, 0, 0] = value
    save(scans / "HGG" / "Brats18_A_3_1" / "Brats18_A_3_1_seg.nii.gz", labels)
    with pytest.raises(InputError, match=rf"A_3_1_seg\.nii\.gz: expected label values 0, 1, 2, 4 .* also {found}\."):
        scan("brats2018", scans)


def test_folders_without_cases_and_cases_twice(project, scans, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: expected cases laid out as data_manifests/brats2018\.json says"):
        scan("brats2018", tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere: expected the folder of brats2018, found nothing"):
        scan("brats2018", tmp_path / "nowhere")
    shutil.copytree(scans / "LGG" / "Brats18_A_1_1", scans / "again" / "Brats18_A_1_1")
    with pytest.raises(InputError, match=r"case Brats18_A_1_1: .* found two: .*LGG.* and .*again|again.* and .*LGG"):
        scan("brats2018", scans)


def test_equal_files_under_two_patients_are_reported(project, scans):
    twin = scans / "HGG" / "Brats18_A_3_1" / "Brats18_A_3_1_t1.nii.gz"
    shutil.copy(scans / "LGG" / "Brats18_A_1_1" / "Brats18_A_1_1_t1.nii.gz", twin)
    # Two sessions of one patient may share a file.
    session = scans / "HGG" / "Brats18_A_1_2" / "Brats18_A_1_2_t2.nii.gz"
    shutil.copy(scans / "LGG" / "Brats18_A_1_1" / "Brats18_A_1_1_t2.nii.gz", session)
    # Nor do label maps without a tumour say that two patients are one.
    for case_id in ("Brats18_A_2_1", "Brats18_A_4_1"):
        save(scans / "LGG" / case_id / f"{case_id}_seg.nii.gz", np.zeros((4, 5, 6), np.uint8))
    result = scan("brats2018", scans, replace=True)
    shared = [warning for warning in result.warnings if "same file" in warning]
    assert len(shared) == 1
    assert "2 patient ids" in shared[0]
    assert "A_1_1_t1" in shared[0]
    assert "A_3_1_t1" in shared[0]
    assert load_cases("brats2018").warnings == result.warnings


def test_verify(project, scans, tmp_path):
    scan("brats2018", scans)
    assert verify("brats2018") == []
    copy = tmp_path / "copy"
    shutil.copytree(scans, copy)
    assert verify("brats2018", copy) == []
    cut(copy / "HGG" / "Brats18_A_1_2" / "Brats18_A_1_2_t1.nii.gz")
    save(copy / "LGG" / "Brats18_A_2_1" / "Brats18_A_2_1_t1.nii.gz", np.ones((4, 5, 6), np.int16))
    first, second = verify("brats2018", copy)
    assert "A_1_2_t1.nii.gz: expected sha256" in first
    assert "cannot be read" in first
    assert "A_2_1_t1.nii.gz: expected sha256" in second
    assert "other content" in second
    shutil.rmtree(copy)
    shutil.copytree(scans, copy)
    drop(copy / "HGG" / "Brats18_A_3_1" / "Brats18_A_3_1_t1.nii.gz")
    (problem,) = verify("brats2018", copy)
    assert problem.endswith("A_3_1_t1.nii.gz: expected a file of case Brats18_A_3_1, found none.")
    save_case(scans, "Brats18_A_9_1", 77)
    (problem,) = verify("brats2018")
    assert "case Brats18_A_9_1 is not in" in problem
    with pytest.raises(InputError, match="expected the folder of brats2018, found no such folder"):
        verify("brats2018", tmp_path / "nowhere")


def test_data_folder_says_what_to_run(project, scans):
    for call in (data_folder, load_cases):
        with pytest.raises(
            InputError, match=r"get the set at https://.* \(registration\) and run: .* scan brats2018 F"
        ):
            call("brats2018")
    scan("brats2018", scans, name="subset")
    shutil.rmtree(scans)
    with pytest.raises(InputError, match=r"which is gone; .* benchmark data scan brats2018 FOLDER --name subset"):
        data_folder("subset")


def test_msd_volumes_and_counts(project, tmp_path):
    folder = tmp_path / "Task01_BrainTumour"
    (folder / "imagesTr").mkdir(parents=True)
    modality = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    (folder / "dataset.json").write_text(json.dumps({"modality": modality}))
    for number in (1, 2, 3):
        data = np.random.default_rng(number).random((3, 4, 5, 4)).astype(np.float32)
        save(folder / "imagesTr" / f"BRATS_00{number}.nii.gz", data)
        labels = np.full((3, 4, 5), number, np.uint8)
        save(folder / "labelsTr" / f"BRATS_00{number}.nii.gz", labels)
    scan("msd_brain", folder)
    case = load_cases("msd_brain").cases[2]
    assert case.voxels == {"0": 0, "1": 0, "2": 0, "3": 60}
    assert case.shape == (3, 4, 5)
    assert list(case.sha256) == ["imagesTr/BRATS_003.nii.gz", "labelsTr/BRATS_003.nii.gz"]
    np.testing.assert_array_equal(read_image(folder, case.images["T1c"])[0], data[..., 2])
    save(folder / "imagesTr" / "BRATS_002.nii.gz", data[..., :3])
    with pytest.raises(InputError, match=r"BRATS_002\.nii\.gz: expected a 4-D image with at least 4 volumes"):
        scan("msd_brain", folder)


def test_a_generated_set_is_made_on_first_use(project, monkeypatch):
    path = project / "data_manifests" / "phantom.json"
    calls = []

    def generate(folder, *, seed, patients, spacing, progress=None):
        calls.append((folder, seed, patients, spacing))
        folder.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr("benchmark.data.sources.phantom.generate", generate)
    settings = json.loads(path.read_text())["generator"]
    assert data_folder("phantom") == project / "runs" / "data" / "phantom"
    assert calls == [(project / "runs" / "data" / "phantom", *settings.values())]
    # Scanning it in its own place records nothing: the place follows from the project.
    for number in range(3):
        save_case(project / "runs" / "data" / "phantom", f"Phantom_00{number + 1}_1", number)
    scan("phantom", project / "runs" / "data" / "phantom")
    assert not (project / "runs" / "data" / "locations.json").exists()
    assert {row.name: row.cases for row in known()}["phantom"] == 3


@pytest.mark.parametrize("name", ["../x", "a/b", "a:b", " a", "a ", "a\n", "a\x00", "", "=1+1", "+1", "-1", "@a"])
@pytest.mark.parametrize("key", ["case_id", "patient_id"])
def test_an_id_that_is_no_name_of_a_file_or_is_a_formula_is_refused(key, name):
    case = Case(**{"case_id": "Grün 1-2", "patient_id": "Grün", "images": {}, key: name})
    with pytest.raises(InputError, match=f"expected an id of a {key[:-3]} that is no formula in a table and can"):
        check_names(Path("folder"), [case])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"case_id": "../../../outside"}, r"expected an id of a case that .* can be the name of a file, found '\.\./"),
        ({"case_id": "a\n"}, r"expected an id of a case that .* can be the name of a file, found 'a\\n'"),
        ({"case_id": ".hidden"}, "expected an id of a case"),
        ({"patient_id": "a/b"}, "expected an id of a patient"),
        ({"case_id": "brats18_a_1_2"}, r"ids of cases that differ in more than capital letters"),
        ({"images": {}}, r"case Brats18_A_1_1: expected an image of each modality, found none of T1, T1c, T2, FLAIR"),
        ({"sha256": {}}, r"case Brats18_A_1_1: expected the sha256 of LGG/.*_t1\.nii\.gz, found none"),
        ({"label": "../x.nii.gz", "sha256": None}, r"case Brats18_A_1_1: expected files inside the folder of the set"),
        ({"shape": "4"}, r"cases/0/shape: expected"),
        ({"shape": [4, 0, 6]}, r"case Brats18_A_1_1: expected a shape and spacing above 0, found \(4, 0, 6\)"),
        ({"spacing": [1.0, float("nan"), 1.0]}, "case Brats18_A_1_1: expected a shape and spacing above 0|not JSON"),
        ({"voxels": {"0": "many"}}, r"cases/0/voxels/0: expected a valid integer, found \"many\""),
        ({"colour": 1}, r"cases/0/colour: expected no such entry"),
    ],
)
def test_a_case_list_that_was_edited_is_refused(project, scans, change, message):
    scan("brats2018", scans)
    path = project / "data_manifests" / "brats2018.cases.json"
    data = json.loads(path.read_text())
    if change.get("sha256", 1) is None:
        change = {**change, "sha256": {**data["cases"][0]["sha256"], "../x.nii.gz": "0"}}
    data["cases"][0] |= change
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=rf"brats2018\.cases\.json: .*{message}"):
        load_cases("brats2018")


def test_scan_names_images_of_no_case_and_without_background(project, scans):
    place = scans / "LGG" / "Brats18_A_1_1"
    save(place / "Brats18_A_1_1_t2.nii.gz", np.full((4, 5, 6), 7, np.int16))
    for name in ("Brats18_A_1_1_t1_old.nii.gz", "Brats18_A_1_1_t1.nii.gz.part", "notes.txt", "Brats18_A_1_1.json"):
        (place / name).touch()
    (scans / "other.mha").touch()
    warnings = scan("brats2018", scans).warnings
    assert any("1 of 6 cases have images without a voxel that is exactly 0" in text for text in warnings)
    (unused,) = (text for text in warnings if "are of no case" in text)
    assert unused == (
        "3 files that look like images are of no case and are not used: other.mha, "
        "LGG/Brats18_A_1_1/Brats18_A_1_1_t1.nii.gz.part, LGG/Brats18_A_1_1/Brats18_A_1_1_t1_old.nii.gz."
    )


@pytest.mark.parametrize("value", [4 - 2e-9, 1e-9, 2.5])
def test_a_label_value_is_shown_as_it_is(project, scans, value):
    labels = np.zeros((4, 5, 6), np.float64)
    labels[0, 0, 0] = value
    save(scans / "HGG" / "Brats18_A_3_1" / "Brats18_A_3_1_seg.nii.gz", labels)
    with pytest.raises(InputError, match=rf"found also {value}\."):
        scan("brats2018", scans)


@pytest.mark.parametrize("content", ["[]", '{"phantom": 3}', "[[[", '{"phantom": {}}'])
def test_a_list_of_folders_of_another_kind_is_refused(project, content):
    path = project / "runs" / "data" / "locations.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(InputError, match=r"locations\.json"):
        known()
