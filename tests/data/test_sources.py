import json
from pathlib import Path

import pytest

from benchmark.base.records import InputError
from benchmark.data.label_maps import label_files
from benchmark.data.manifest import load_manifest
from benchmark.data.sources import brats, msd

REPOSITORY = Path(__file__).parents[2]
BRATS_2018 = ("_t1", "_t1ce", "_t2", "_flair", "_seg")


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def lay(folder, case_id, suffixes=BRATS_2018, ending=".nii.gz"):
    (folder / case_id).mkdir(parents=True)
    for suffix in suffixes:
        (folder / case_id / f"{case_id}{suffix}{ending}").touch()


def test_brats2018_with_grades_and_other_files(tmp_path):
    lay(tmp_path / "HGG", "Brats18_TCIA02_322_1")
    lay(tmp_path / "LGG", "Brats18_2013_0_1", ending=".mha")
    (tmp_path / "survival_data.csv").touch()
    (tmp_path / "HGG" / "Brats18_TCIA02_322_1" / "Brats18_TCIA02_322_1_mask.nii.gz").touch()
    (tmp_path / "HGG" / "Brats18_TCIA02_322_1" / "._Brats18_TCIA02_322_1_t1.nii.gz").touch()
    cases = sorted(brats.find_cases(tmp_path, load_manifest("brats2018")), key=lambda case: case.case_id)
    assert [(case.case_id, case.patient_id) for case in cases] == [
        ("Brats18_2013_0_1", "Brats18_2013_0"),
        ("Brats18_TCIA02_322_1", "Brats18_TCIA02_322"),
    ]
    assert cases[1].images == {
        "T1": "HGG/Brats18_TCIA02_322_1/Brats18_TCIA02_322_1_t1.nii.gz",
        "T1c": "HGG/Brats18_TCIA02_322_1/Brats18_TCIA02_322_1_t1ce.nii.gz",
        "T2": "HGG/Brats18_TCIA02_322_1/Brats18_TCIA02_322_1_t2.nii.gz",
        "FLAIR": "HGG/Brats18_TCIA02_322_1/Brats18_TCIA02_322_1_flair.nii.gz",
    }
    assert cases[0].label == "LGG/Brats18_2013_0_1/Brats18_2013_0_1_seg.mha"


@pytest.mark.parametrize(
    ("name", "case_id", "patient", "suffixes"),
    [
        ("brats2020", "BraTS20_Training_001", "BraTS20_Training_001", BRATS_2018),
        ("brats2021", "BraTS2021_00017", "BraTS2021_00017", BRATS_2018),
        ("brats2023", "BraTS-GLI-00005-001", "BraTS-GLI-00005", ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")),
    ],
)
def test_later_editions(tmp_path, name, case_id, patient, suffixes):
    lay(tmp_path, case_id, suffixes, ".nii")
    (case,) = brats.find_cases(tmp_path, load_manifest(name))
    assert case.patient_id == patient
    expected = dict(zip(("T1", "T1c", "T2", "FLAIR"), suffixes, strict=False))
    assert case.images == {m: f"{case_id}/{case_id}{suffix}.nii" for m, suffix in expected.items()}


def test_the_case_folder_itself(tmp_path, monkeypatch):
    lay(tmp_path, "BraTS2021_00017")
    monkeypatch.setattr("benchmark.base.project.manifests", lambda: REPOSITORY / "data_manifests")
    monkeypatch.chdir(tmp_path / "BraTS2021_00017")
    (case,) = brats.find_cases(Path(), load_manifest("brats2021"))
    assert case.label == "BraTS2021_00017_seg.nii.gz"


def test_the_misnamed_label_of_brats2020(tmp_path):
    lay(tmp_path, "BraTS20_Training_355", BRATS_2018[:4], ".nii")
    (tmp_path / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii").touch()
    (case,) = brats.find_cases(tmp_path, load_manifest("brats2020"))
    assert case.label == "BraTS20_Training_355/W39_1998.09.19_Segm.nii"


@pytest.mark.parametrize(("missing", "what"), [("_t2", "T2"), ("_seg", "label")])
def test_a_missing_file_is_named(tmp_path, missing, what):
    lay(tmp_path, "BraTS2021_00017", [suffix for suffix in BRATS_2018 if suffix != missing])
    message = rf"BraTS2021_00017 lacks {what}: expected a file BraTS2021_00017{missing} with one of .*, found none"
    with pytest.raises(InputError, match=message):
        brats.find_cases(tmp_path, load_manifest("brats2021"))


def test_odd_folders(tmp_path):
    manifest = load_manifest("brats2021")
    lay(tmp_path / "a", "BraTS2021_00017")
    (tmp_path / "a" / "BraTS2021_00017" / "BraTS2021_00017_t1.nii").touch()
    with pytest.raises(InputError, match=r"expected one file BraTS2021_00017_t1, found .*_t1\.nii and .*_t1\.nii\.gz"):
        brats.find_cases(tmp_path / "a", manifest)
    lay(tmp_path / "b", "BraTS2021_00017")
    (tmp_path / "b" / "BraTS2021_00017").rename(tmp_path / "b" / "patient7")
    with pytest.raises(InputError, match=r"patient7/BraTS2021_00017_t1\.nii\.gz: expected .* patient7_t1\.nii\.gz"):
        brats.find_cases(tmp_path / "b", manifest)
    lay(tmp_path / "c", "BraTS2021_00017", BRATS_2018[:4])
    (tmp_path / "c" / "BraTS2021_00017" / "BraTS2021_00017_seg.nii").mkdir()
    with pytest.raises(InputError, match=r"_seg\.nii: expected an image file, found a folder of that name"):
        brats.find_cases(tmp_path / "c", manifest)
    lay(tmp_path / "d", "somebody")
    with pytest.raises(InputError, match=r"brats2021: expected a case id like .*, found somebody"):
        brats.find_cases(tmp_path / "d", manifest)
    (tmp_path / "e").mkdir()
    assert brats.find_cases(tmp_path / "e", manifest) == []


def lay_msd(folder, case_ids, modality=None):
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
        for case_id in case_ids:
            (folder / part / f"{case_id}.nii.gz").touch()
            (folder / part / f"._{case_id}.nii.gz").touch()
    modality = modality or {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    (folder / "dataset.json").write_text(json.dumps({"name": "BRATS", "modality": modality}))


def test_msd_channels_are_in_our_order(tmp_path):
    lay_msd(tmp_path, ["BRATS_002", "BRATS_001"])
    first, second = msd.find_cases(tmp_path, load_manifest("msd_brain"))
    assert (first.case_id, first.patient_id, second.case_id) == ("BRATS_001", "BRATS_001", "BRATS_002")
    assert first.label == "labelsTr/BRATS_001.nii.gz"
    assert list(first.images.items()) == [
        ("T1", "imagesTr/BRATS_001.nii.gz[1]"),
        ("T1c", "imagesTr/BRATS_001.nii.gz[2]"),
        ("T2", "imagesTr/BRATS_001.nii.gz[3]"),
        ("FLAIR", "imagesTr/BRATS_001.nii.gz[0]"),
    ]


def test_msd_that_does_not_fit(tmp_path):
    manifest = load_manifest("msd_brain")
    lay_msd(tmp_path / "a", ["BRATS_001"], {"0": "T1w", "1": "FLAIR", "2": "t1gd", "3": "T2w"})
    with pytest.raises(InputError, match=r"dataset\.json: expected the modalities .*FLAIR"):
        msd.find_cases(tmp_path / "a", manifest)
    lay_msd(tmp_path / "b", ["BRATS_001"])
    (tmp_path / "b" / "labelsTr" / "BRATS_001.nii.gz").unlink()
    with pytest.raises(InputError, match=r"labelsTr/BRATS_001\.nii\.gz: expected this file"):
        msd.find_cases(tmp_path / "b", manifest)
    (tmp_path / "b" / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"dataset\.json: expected the Decathlon's description"):
        msd.find_cases(tmp_path / "b", manifest)


def test_names_in_capitals_are_those_of_the_case(tmp_path):
    lay(tmp_path, "Brats18_A_1_1", ("_T1", "_t1ce", "_t2", "_FLAIR", "_seg"), ".NII.GZ")
    (case,) = brats.find_cases(tmp_path, load_manifest("brats2018"))
    assert case.images["FLAIR"] == "Brats18_A_1_1/Brats18_A_1_1_FLAIR.NII.GZ"
    (tmp_path / "Brats18_A_1_1" / "Brats18_A_1_1_t1.nii.gz").touch()
    with pytest.raises(InputError, match=r"expected one file Brats18_A_1_1_t1, found .*_T1\.NII\.GZ and .*\.nii\.gz"):
        brats.find_cases(tmp_path, load_manifest("brats2018"))


@pytest.mark.parametrize("name", ["W39_1998.09.19_Segm.nii", "W39_1998.09.19_Segm.nii.gz"])
def test_the_misnamed_label_of_brats2020_is_found_compressed_or_not(tmp_path, name):
    lay(tmp_path, "BraTS20_Training_355", BRATS_2018[:4])
    (tmp_path / "BraTS20_Training_355" / name).touch()
    (case,) = brats.find_cases(tmp_path, load_manifest("brats2020"))
    assert case.label == f"BraTS20_Training_355/{name}"
    names = load_manifest("brats2020").layout.label_names
    assert label_files(tmp_path, names)["BraTS20_Training_355"].name == name


@pytest.mark.parametrize("target", ["nowhere", "."])
def test_a_link_to_nowhere_or_in_a_circle_is_refused(tmp_path, target):
    lay(tmp_path, "Brats18_A_1_1")
    (tmp_path / "Brats18_A_2_1").symlink_to(target)
    with pytest.raises(InputError, match=r"Brats18_A_2_1: expected a .*, found a link"):
        brats.find_cases(tmp_path, load_manifest("brats2018"))
    if target == "nowhere":
        with pytest.raises(InputError, match=r"Brats18_A_2_1: expected a .*, found a link"):
            label_files(tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    lay(tmp_path, "Brats18_A_1_1")

    def closed(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", closed)
    for read in (lambda: brats.find_cases(tmp_path, load_manifest("brats2018")), lambda: label_files(tmp_path)):
        with pytest.raises(InputError, match="expected a folder to read, found: Permission denied"):
            read()
