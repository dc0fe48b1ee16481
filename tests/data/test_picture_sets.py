"""Sets of pictures from folder to prepared slices: what is a case, a patient and a side, and what a split leaves."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.base.records import Case, InputError
from benchmark.data.folds import SIDES, Fold, leaked_patients, load_folds, remake
from benchmark.data.manifest import load_cases, load_manifest
from benchmark.data.prepare import DataSet, prepare
from benchmark.data.scan import scan, verify
from benchmark.data.slices import SliceDataset, VolumeDataset
from benchmark.data.sources import coco, lgg
from benchmark.data.volumes import read_image
from benchmark.studies import store

REPOSITORY = Path(__file__).parents[2]
NAMES = ("lgg", "lgg_small", "tumor2146", "tumor2146_small", "tumor2146_expert", "tumor2146_expert_small")
FOLDERS = {"TCGA_CS_4941_19960909": 11, "TCGA_DU_A5TP_19970614": 4, "TCGA_HT_7602_19951103": 5}
"""Folders of the made-up LGG set and their number of slices."""

SIZE = 20


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "project" / "bundles").mkdir(parents=True)
    (tmp_path / "project" / "data_manifests").mkdir()
    for name in NAMES:
        shutil.copy(REPOSITORY / "data_manifests" / f"{name}.json", tmp_path / "project" / "data_manifests")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def save(path, pixels):
    """Save an array of shape (column, row) or (column, row, channel) as a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.swapaxes(np.asarray(pixels, np.uint8), 0, 1)).save(path)


@pytest.fixture
def kaggle(tmp_path):
    """Three LGG patients of 20 x 20 pixels; slices 2 and 4 have tumour, and the second has only FLAIR."""
    folder = tmp_path / "kaggle_3m"
    rng = np.random.default_rng(0)
    for name, count in FOLDERS.items():
        for number in range(1, count + 1):
            pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
            pixels[2:18, 4:16] = rng.integers(1, 255, (16, 12, 3))
            if name == "TCGA_DU_A5TP_19970614":
                pixels[...] = pixels[..., 1:2]
            mask = np.zeros((SIZE, SIZE), np.uint8)
            if number in (2, 4):
                mask[4:8, 6 : 6 + 2 * number] = 255
            save(folder / name / f"{name}_{number}.tif", pixels)
            save(folder / name / f"{name}_{number}_mask.tif", mask)
    (folder / "README.md").touch()
    return folder


def test_the_manifests_of_pictures_fit_together(project):
    for name in NAMES:
        manifest = load_manifest(name)
        assert list(manifest.regions) == ["tumour"] and manifest.pictures == "private"
        assert manifest.regions_class_order == manifest.regions["tumour"]
        assert "not mm" in manifest.warnings[0]
        assert (manifest.layout.shrink > 1) == name.endswith("_small")
    assert load_manifest("lgg_small").layout.channels == load_manifest("lgg").layout.channels


def test_a_patient_of_lgg_is_a_case_of_all_slices(project, kaggle):
    cases = {case.case_id: case for case in lgg.find_cases(kaggle, load_manifest("lgg_small"))}
    assert list(cases) == list(FOLDERS)
    name = "TCGA_CS_4941_19960909"
    start = f"{name}/{name}_*"
    assert cases[name].patient_id == "TCGA_CS_4941"
    assert cases[name].images == {
        "pre-contrast": f"{start}.tif[0](2x2)",
        "FLAIR": f"{start}.tif[1](2x2)",
        "post-contrast": f"{start}.tif[2](2x2)",
    }
    assert cases[name].label == f"{start}_mask.tif(2x2 majority)"
    assert lgg.find_cases(kaggle, load_manifest("lgg"))[0].label == f"{start}_mask.tif"


def test_lgg_that_does_not_fit(project, kaggle):
    manifest = load_manifest("lgg")
    place = kaggle / "TCGA_DU_A5TP_19970614"
    (place / f"{place.name}_3_mask.tif").unlink()
    with pytest.raises(InputError, match=r"19970614_3_mask\.tif: expected a mask for each picture"):
        lgg.find_cases(kaggle, manifest)
    save(place / f"{place.name}_3_mask.png", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"19970614: expected pictures of one file type, found \.png and \.tif"):
        lgg.find_cases(kaggle, manifest)
    (place / f"{place.name}_3_mask.png").rename(place / "other_3_mask.tif")
    with pytest.raises(InputError, match=r"other_3_mask\.tif: expected .*19970614_3_mask\.tif, found other_3_mask"):
        lgg.find_cases(kaggle, manifest)
    shutil.rmtree(place)
    for end in ("", "_mask"):
        save(kaggle / "somebody" / f"somebody_1{end}.tif", np.zeros((SIZE, SIZE)))
    with pytest.raises(InputError, match=r"expected a case id like .*TCGA.*, found somebody"):
        lgg.find_cases(kaggle, manifest)


def test_scan_measures_stacks_and_finds_copied_channels(project, kaggle):
    result = scan("lgg_small", kaggle)
    case = result.listed.cases[0]
    assert (case.shape, case.spacing) == ((10, 10, 11), (2.0, 2.0, 1.0))
    assert case.voxels == {"0": 1100 - 4 - 8, "255": 4 + 8}
    assert list(case.sha256) == [f"{case.case_id}/{case.case_id}_*{end}" for end in (".tif", "_mask.tif")]
    assert [text for text in result.warnings if "same voxels" in text] == [
        "pre-contrast and FLAIR and post-contrast hold the same voxels in 1 of 3 cases, as where a missing sequence "
        "was replaced by another: TCGA_DU_A5TP_19970614."
    ]
    assert verify("lgg_small") == []


def test_verify_names_pictures(project, kaggle):
    scan("lgg", kaggle)
    first, second, third = ((kaggle / name / f"{name}_2.tif", count) for name, count in FOLDERS.items())
    first[0].unlink()
    second[0].with_name(second[0].name.replace("_2", "_4")).unlink()
    save(third[0], np.zeros((SIZE, SIZE, 3)))
    gap, short, changed = verify("lgg")
    assert gap == f"{first[0]}: expected every picture from number 1 to 11, found none of number 2."
    assert "19970614_*.tif: expected sha256" in short
    assert "there are 3 pictures, TCGA_DU_A5TP_19970614_1.tif to TCGA_DU_A5TP_19970614_3.tif, and there were 4" in short
    assert changed.endswith("one or more of its 5 pictures have other content or other names.")


def test_prepared_stacks_go_back_to_the_pictures(project, kaggle):
    scan("lgg", kaggle)
    for prepared in prepare("lgg"):
        assert prepared.header["box"] == [[2, 4, 0], [18, 16, FOLDERS[prepared.case.case_id]]]
        label, affine = read_image(kaggle, prepared.case.label)
        np.testing.assert_array_equal(prepared.original_label(), label)
        np.testing.assert_array_equal(prepared.affine, affine)
        # Up in the picture is the front and left is the patient's right: both axes turn over on the way to RAS.
        np.testing.assert_array_equal(prepared.label[1], label[::-1, ::-1, 1][2:18, 4:16])
        assert prepared.z == list(range(FOLDERS[prepared.case.case_id]))


def test_a_split_by_slice_leaves_slices_of_cases(project, kaggle):
    scan("lgg", kaggle)
    _, (fold,), state = remake("lgg", fractions=(0.5, 0.2, 0.3), split="slice")
    assert state == "written" and fold.by == "slice"
    assert sorted(len(getattr(fold, side)) for side in SIDES) == [4, 6, 10]
    assert fold.units == {f"{name}/{z}" for name, count in FOLDERS.items() for z in range(count)}
    data, whole = DataSet("lgg", "slice"), {case.case.case_id: case for case in prepare("lgg")}
    seen = []
    for side in SIDES:
        for case in data.part(0, side):
            of = whole[case.case.case_id]
            seen += [f"{case.case.case_id}/{z}" for z in case.slices]
            assert list(case.slices) == case.z == case.rows
            np.testing.assert_array_equal(case.image, of.image[case.rows])
            np.testing.assert_array_equal(case.label, of.label[case.rows])
            assert case.header["foreground"] == np.flatnonzero(case.label.any(axis=(1, 2))).tolist()
            left = np.isin(np.arange(of.header["shape"][2]), case.slices)
            np.testing.assert_array_equal(case.original_label(), of.original_label() * left)
            np.testing.assert_array_equal(case.crop(of.original_label()), case.label)
            np.testing.assert_array_equal(case.restore(case.crop(of.original_label())), of.original_label() * left)
    assert sorted(seen) == sorted(fold.units)
    assert len(data.part(0, "all")) == 3 and data.part(0, "all")[0].slices is None


def test_a_crop_box_that_begins_above_the_first_slice(project, kaggle):
    name = "TCGA_HT_7602_19951103"
    for number in (1, 5):
        save(kaggle / name / f"{name}_{number}.tif", np.zeros((SIZE, SIZE, 3)))
    scan("lgg", kaggle)
    path = remake("lgg", fractions=(0.5, 0.2, 0.3), split="slice")[0]
    data = json.loads(path.read_text())
    rest = [f"{other}/{z}" for other, count in FOLDERS.items() if other != name for z in range(count)]
    sides = {
        "train": [*rest, f"{name}/2"],
        "validation": [f"{name}/0"],
        "test": [f"{name}/1", f"{name}/3", f"{name}/4"],
    }
    path.write_text(json.dumps({**data, "folds": [sides]}))
    (test,) = DataSet("lgg", "slice").part(0, "test")
    assert (test.slices, test.rows, test.z) == ((1, 3, 4), [0, 2], [1, 3])
    assert np.flatnonzero(test.original_label().any(axis=(0, 1))).tolist() == [1, 3]
    with pytest.raises(InputError, match="Fold 0 of lgg has no case on its validation side"):
        DataSet("lgg", "slice").part(0, "validation")


def test_slices_and_volumes_of_a_restricted_case_are_read_alike(project, kaggle):
    scan("lgg", kaggle)
    remake("lgg", fractions=(0.5, 0.2, 0.3), split="slice")
    cases = DataSet("lgg", "slice").part(0, "train")
    data = SliceDataset(pickle.loads(pickle.dumps(cases)), (16, 12))
    assert len(data) == 10 and len(data.foreground) == sum(len(case.header["foreground"]) for case in cases)
    batch = data.__getitems__([(index, data.corners[index], np.zeros(1, np.float32)) for index in range(10)])
    np.testing.assert_array_equal(batch["image"].numpy(), np.concatenate([case.image for case in cases]))
    np.testing.assert_array_equal(batch["label"].numpy(), np.concatenate([case.label for case in cases]))
    item = VolumeDataset(cases)[0]
    assert item["image"].shape == (3, len(cases[0].rows), 16, 12)


def test_a_split_that_does_not_hold_every_slice_is_refused(project, kaggle):
    scan("lgg", kaggle)
    with pytest.raises(InputError, match=r"lgg\.slice\.folds\.json.*`benchmark data folds lgg --by slice`"):
        load_folds("lgg", "slice")
    path = remake("lgg", fractions=(0.5, 0.2, 0.3), split="slice")[0]
    assert remake("lgg", fractions=(0.5, 0.2, 0.3), split="slice")[2] == "unchanged"
    data = json.loads(path.read_text())
    lost = data["folds"][0]["train"].pop()
    path.write_text(json.dumps(data))
    message = rf"expected every case of lgg in every fold, found 1 that are not, {lost[:-2]}.* --by slice --replace"
    with pytest.raises(InputError, match=message):
        DataSet("lgg", "slice").fold(0)
    data["folds"][0]["train"].append(data["folds"][0]["test"][0])
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"slice TCGA.*: expected on one side of a fold, found in train and test"):
        load_folds("lgg", "slice")
    with pytest.raises(InputError, match="split: expected one of patient, slice, published, found weekday"):
        DataSet("lgg", "weekday").fold(0)


def test_patients_on_both_sides_are_counted():
    cases = [Case(f"{patient}_{session}", patient, {}) for patient in "ABCD" for session in (1, 2)]
    assert leaked_patients(Fold(("A", "B"), ("C",), ("D",)), cases) == []
    by_case = Fold(("A_1", "B_1", "B_2"), ("C_1",), ("A_2", "C_2", "D_1"), "case")
    assert leaked_patients(by_case, cases) == ["A", "C"]
    # A patient in training and validation alone was not tested on.
    by_slice = Fold(("A_1/0", "B_2/7"), ("A_2/1", "D_1/0"), ("B_1/0", "C_1/10"), "slice")
    assert leaked_patients(by_slice, cases) == ["B"]


def test_a_fingerprint_says_which_slices(project, kaggle):
    fold = Fold(("A/0", "A/1"), (), ("B/0",), "slice")
    units = store._units(fold)
    assert units["by"] == "slice" and {len(units[side]) for side in SIDES} == {64}
    assert units != store._units(Fold(("A/0", "A/2"), (), ("B/0",), "slice"))
    assert store._units(Fold(("A",), (), ("B",))) == {"train": ["A"], "validation": [], "test": ["B"]}
    assert store._units(Fold(("A",), (), ("B",), "case"))["test"] == ["B"]


PICTURES = {"train": (16, 17, 120), "valid": (18,), "test": (121, 5)}


def picture(number):
    return f"{number}_jpg.rf.{number:04x}.jpg"


@pytest.fixture
def rectangles(tmp_path):
    """Six pictures of 20 x 10 pixels; each has a rectangle of 4 x 2 at (its image id, 3), which begins anew a side."""
    folder = tmp_path / "tumor"
    for side, numbers in PICTURES.items():
        images = [
            {"id": index, "file_name": picture(number), "width": 20, "height": 10}
            for index, number in enumerate(numbers)
        ]
        annotations = [
            {"id": i, "image_id": i, "segmentation": [[i, 3, i + 4, 3, i + 4, 5, i, 5]]} for i in range(len(numbers))
        ]
        for number in numbers:
            save(folder / side / picture(number), np.random.default_rng(number).integers(1, 255, (20, 10)))
        content = json.dumps({"images": images, "annotations": annotations})
        (folder / side / "_annotations.coco.json").write_text(content)
    return folder


def know_patients(folder, patients=("a", "a", "b", "a", "b", "c")):
    numbers = [number for side in PICTURES.values() for number in side]
    rows = [f"{number},{picture(number)},{patient}" for number, patient in zip(numbers, patients, strict=True)]
    (folder / "index.csv").write_text("\n".join(["number,file_name,patient_group", *rows]))


def test_a_picture_with_annotations_is_a_case_of_one_slice(project, rectangles):
    know_patients(rectangles)
    result = scan("tumor2146", rectangles)
    assert [case.case_id for case in result.listed.cases] == sorted(f"image_{n}" for s in PICTURES.values() for n in s)
    case = next(case for case in result.listed.cases if case.case_id == "image_17")
    assert case.patient_id == "patient_a"
    assert case.images == {"MR": f"train/{picture(17)}"} and case.label == "train/_annotations.coco.json[1]"
    assert (case.shape, case.voxels) == ((20, 10, 1), {"0": 192, "1": 8})
    assert not any("unknown" in text or "same file" in text for text in result.warnings)
    assert result.listed.patients == ("patient_a", "patient_b", "patient_c")
    prepared = next(case for case in prepare("tumor2146") if case.case.case_id == "image_17")
    assert prepared.image.shape == (1, 1, 20, 10)
    assert np.argwhere(prepared.original_label()[..., 0])[[0, -1]].tolist() == [[1, 3], [4, 4]]


def test_without_a_table_patients_are_unknown(project, rectangles):
    result = scan("tumor2146", rectangles)
    assert any("no index.csv" in text and "patient-level" in text for text in result.warnings)
    assert result.listed.patients == tuple(sorted(case.case_id for case in result.listed.cases))


def test_the_published_split_and_its_leak(project, rectangles, command):
    know_patients(rectangles)
    scan("tumor2146_small", rectangles)
    code, out, _ = command("data", "folds", "tumor2146_small", "--by", "published")
    assert code == 0
    assert out.splitlines()[1] == (
        "fold 0: train 3, validation 1, test 2 cases; 1 patients of the test side are also in training or validation"
    )
    (fold,) = load_folds("tumor2146_small", "published")
    assert fold == Fold(("image_120", "image_16", "image_17"), ("image_18",), ("image_121", "image_5"), "case")
    assert leaked_patients(fold, load_cases("tumor2146_small").cases) == ["patient_b"]
    parts = {side: DataSet("tumor2146_small", "published").part(0, side) for side in SIDES}
    assert {side: tuple(case.case.case_id for case in cases) for side, cases in parts.items()} == {
        side: getattr(fold, side) for side in SIDES
    }
    assert parts["train"][0].image.shape == (1, 1, 4, 2)
    written = json.loads(Path("data_manifests/tumor2146_small.published.folds.json").read_text())
    assert written["by"] == "case" and "seed" not in written
    code, _, err = command("data", "folds", "tumor2146_small", "--by", "published", "--k", "3")
    assert code == 2 and "expected no other option with the published split" in err
    code, out, _ = command("data", "folds", "tumor2146_small", "--by", "slice", "--k", "3", "--validation", "0.2")
    assert code == 0 and "test 2 slices" in out


def test_a_set_without_a_published_split_has_none(project, kaggle):
    scan("lgg", kaggle)
    with pytest.raises(InputError, match="lgg: expected a publisher's split"):
        remake("lgg", split="published")


def test_experts_outlines_take_the_place_of_rectangles(project, rectangles):
    with pytest.raises(InputError, match=r"expert_contours\.json: expected a file, found: No such file"):
        scan("tumor2146_expert", rectangles)
    points = {str(n): [[0, 0], [5, 0], [5, 5], [0, 5]] for side in PICTURES.values() for n in side if n != 18}
    (rectangles / "expert_contours.json").write_text(json.dumps(points))
    with pytest.raises(InputError, match=r"expert_contours\.json: expected an outline of number 18, found none"):
        scan("tumor2146_expert", rectangles)
    (rectangles / "expert_contours.json").write_text(json.dumps({**points, "18": [[0, 0], [2, 0], [2, 2], [0, 2]]}))
    cases = {case.case_id: case for case in scan("tumor2146_expert", rectangles).listed.cases}
    assert cases["image_18"].label == "expert_contours.json[18:20x10]"
    assert {case.voxels["1"] for case in cases.values()} == {25, 4}
    assert {case.voxels["1"] for case in scan("tumor2146_expert_small", rectangles).listed.cases} == {1, 0}


def change(path, **entries):
    data = json.loads(path.read_text())
    data["images"][0].update(entries)
    path.write_text(json.dumps(data))


def test_annotated_pictures_that_do_not_fit(project, rectangles):
    manifest, annotations = load_manifest("tumor2146"), rectangles / "train" / "_annotations.coco.json"
    whole = annotations.read_text()
    know_patients(rectangles, ("a", "a", "", "a", "b", "c"))
    with pytest.raises(InputError, match=r"index\.csv: expected a patient for every picture, found none for 120_jpg"):
        coco.find_cases(rectangles, manifest)
    (rectangles / "index.csv").write_text("number,name\n1,2\n")
    with pytest.raises(InputError, match=r"index\.csv: expected a table with columns file_name and patient_group"):
        coco.find_cases(rectangles, manifest)
    (rectangles / "index.csv").unlink()
    for name in ("99_jpg.rf.aa.jpg", "../valid/" + picture(18)):
        change(annotations, file_name=name)
        with pytest.raises(InputError, match=r"jpg: expected this picture, which train/_annotations\.coco\.json lists"):
            coco.find_cases(rectangles, manifest)
    save(rectangles / "train" / "scan.jpg", np.ones((20, 10)))
    change(annotations, file_name="scan.jpg")
    with pytest.raises(InputError, match=r"scan\.jpg: expected a picture named like .*, found scan\.jpg"):
        coco.find_cases(rectangles, manifest)
    annotations.write_text(whole)
    change(annotations, width=21)
    with pytest.raises(InputError, match=r"16_jpg.*jpg: expected pictures of the size .* 21 x 10 pixels, found 20"):
        scan("tumor2146", rectangles)
    annotations.unlink()
    with pytest.raises(InputError, match=r"train/_annotations\.coco\.json: expected the annotations of this folder"):
        coco.find_cases(rectangles, manifest)


def test_a_network_sees_one_slice_cases_as_any_other(project, rectangles):
    import torch
    from monai.inferers import SliceInferer

    scan("tumor2146", rectangles)
    cases = prepare("tumor2146")
    item = VolumeDataset(cases)[0]
    assert item["image"].shape == (1, 1, 20, 10) and item["label"].shape == (1, 20, 10)
    found = SliceInferer(roi_size=(24, 24), spatial_dim=0)(item["image"][None], torch.nn.Identity())
    assert torch.equal(found[0], item["image"])


def test_a_table_of_patients_without_one_is_refused(project, rectangles):
    for text, message in {
        "": "found an empty one",
        "number,file_name,patient_group\n": "found an empty one",
        f"number,file_name,patient_group\n16,{picture(16)},\n": "expected patients in the column .*, found none",
        "file_name,patient_group\na.jpg,1\na.jpg,2\n": "expected one patient of a.jpg, found patient_1 and patient_2",
    }.items():
        (rectangles / "index.csv").write_text(text)
        with pytest.raises(InputError, match=rf"index\.csv: .*{message}"):
            scan("tumor2146", rectangles)


def test_an_endless_name_is_refused(project, rectangles):
    annotations = rectangles / "train" / "_annotations.coco.json"
    change(annotations, file_name="a" * 5000 + ".jpg")
    with pytest.raises(InputError, match=r"_annotations\.coco\.json: images/0/file_name: expected .*250"):
        scan("tumor2146", rectangles)
