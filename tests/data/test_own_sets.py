"""A foreign layout, two modalities and five labels, described by ``data new`` and scanned: plain, nnU-Net's, BIDS."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.base.records import InputError
from benchmark.data.folds import load_folds, remake
from benchmark.data.manifest import load_cases, load_manifest, scanned_patients
from benchmark.data.new_set import written
from benchmark.data.scan import scan, verify

MODALITIES = ["--modality", "ADC=_ADC", "--modality", "T1gd=_T1gd"]
LABELS = [
    "--label",
    "1=oedema",
    "--label",
    "2=necrosis",
    "--label",
    "3=enhancing",
    "--label",
    "4=rim",
    "--label",
    "5=vessel",
]
REGIONS = ["--region", "ET=3", "--region", "WT=1,2,3,4", "--region", "VESSEL=5", "--region", "RIM=4"]
PATTERN = ["--patient", r"(?P<patient>pat\d)_scan\d"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder as the working directory, outside of any project."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def save(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def pictures(number):
    rng = np.random.default_rng(number)
    images = rng.integers(1, 900, (2, 6, 7, 5)).astype(np.int16)
    images[:, 0] = 0
    labels = np.zeros((6, 7, 5), np.uint8)
    labels[1:, 1:, 1:] = rng.integers(0, 6, (5, 6, 4))
    return *images, labels


def plain(folder, cases=6):
    for n in range(cases):
        case, (adc, t1, labels) = f"pat{n // 2}_scan{n}", pictures(n)
        save(folder / "images" / f"{case}_ADC.nii.gz", adc)
        save(folder / "images" / f"{case}_T1gd.nii.gz", t1)
        save(folder / "masks" / f"{case}_lab.nii.gz", labels)
    return folder


def nnunet(folder, labels=None, order=(), channels="channel_names"):
    for n in range(4):
        adc, t1, label = pictures(n)
        for channel, image in enumerate((adc, t1)):
            save(folder / "imagesTr" / f"C_{n:03d}_{channel:04d}.nii.gz", image)
            save(folder / "imagesTs" / f"T_{n:03d}_{channel:04d}.nii.gz", image)
        save(folder / "labelsTr" / f"C_{n:03d}.nii.gz", label)
    regions = {
        "background": 0,
        "whole": [1, 2, 3, 4, 5],
        "core": [2, 3, 4],
        "enhancing": [3, 4],
        "vessel": 5,
        "rim": [4],
    }
    described = {channels: {"0": "ADC", "1": "T1gd"}, "labels": labels or regions, "numTraining": 4}
    order = list(order) or ([] if labels else [1, 2, 3, 5, 4])
    (folder / "dataset.json").write_text(json.dumps({**described, **({"regions_class_order": order} if order else {})}))
    return folder


def bids(folder):
    for n in range(4):
        place, session = f"sub-{n // 2:02d}/ses-{n % 2}/anat", f"sub-{n // 2:02d}_ses-{n % 2}"
        adc, t1, labels = pictures(n)
        save(folder / place / f"{session}_T1w.nii.gz", adc)
        save(folder / place / f"{session}_ce-GAD_T1w.nii.gz", t1)
        save(folder / "derivatives/manual" / place / f"{session}_desc-tumour_dseg.nii.gz", labels)
    table = "index\tname\n0\tbackground\n1\toedema\n2\tnecrosis\n3\tenhancing\n4\trim\n5\tvessel\n"
    (folder / "derivatives/manual/desc-tumour_dseg.tsv").write_text(table)
    return folder


def test_a_foreign_layout_from_description_to_folds(here, command):
    plain(here / "set")
    options = [*MODALITIES, *LABELS, *REGIONS, *PATTERN, "--label-end", "_lab", "--title", "Ours"]
    code, out, err = command("data", "new", "mine", *options)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"Wrote {here}/here/data_manifests/mine.json: 2 modalities, 5 labels.",
        "Next: benchmark data scan mine FOLDER",
    ]
    manifest = load_manifest("mine")
    # What lies within another region comes after it, as it is written over it.
    assert dict(manifest.regions) == {"WT": (1, 2, 3, 4), "ET": (3,), "VESSEL": (5,), "RIM": (4,)}
    assert manifest.regions_class_order == (1, 3, 5, 4)
    code, out, _ = command("data", "scan", "mine", here / "set")
    assert code == 0 and out.startswith(f"6 cases of 3 patients: {here}/here/data_manifests/mine.cases.json (written)")
    case = load_cases("mine").cases[0]
    assert (case.case_id, case.patient_id, case.label) == ("pat0_scan0", "pat0", "masks/pat0_scan0_lab.nii.gz")
    assert case.images == {"ADC": "images/pat0_scan0_ADC.nii.gz", "T1gd": "images/pat0_scan0_T1gd.nii.gz"}
    assert verify("mine") == []
    remake("mine", k=3, validation=0.3)
    assert [fold.test for fold in load_folds("mine")] != []
    code, _, err = command("data", "new", "mine", *MODALITIES, *LABELS)
    assert code == 2 and "mine: expected a name that no data set has" in err
    code, _, err = command("data", "new", "brats2018", *MODALITIES, *LABELS)
    assert code == 2 and "expected a name that no data set has" in err


def test_without_regions_each_label_is_one_and_without_a_pattern_each_case_a_patient(here, command):
    folder = plain(here / "set", 2)
    assert "Each label is a region" in command("data", "new", "mine", *MODALITIES, *LABELS, "--label-end", "_lab")[1]
    assert [*load_manifest("mine").regions] == ["oedema", "necrosis", "enhancing", "rim", "vessel"]
    assert "every case counts as a patient of its own" in " ".join(scan("mine", folder).warnings)
    for table, said in {
        "scan,subject\npat0_scan0,A\npat0_scan1,A\n": None,
        "scan,patient,subject\npat0_scan0,A,1\npat0_scan1,A,1\n": r"the columns case_id and .* one called patient",
        "scan,age\npat0_scan0,3\n": r"case_id and patient_id, with cases such as pat0_scan0 .* found scan, age",
        "scan,patient\npat0_scan0,A\n": r"expected a patient of every case, found none of 1, pat0_scan1 first",
        "scan,patient\npat0_scan0,A\npat0_scan0,B\npat0_scan1,B\n": r"one patient of case pat0_scan0, found several",
    }.items():
        Path("people.csv").write_text(table)
        if said:
            with pytest.raises(InputError, match=said):
                scan("mine", folder, replace=True, patients=Path("people.csv"))
        else:
            found = scan("mine", folder, replace=True, patients=Path("people.csv"))
            assert found.listed.patients == ("A",) and "of its own" not in " ".join(found.warnings)
            # Scores of the set's cases take the patients that the scan listed.
            assert scanned_patients("mine")["pat0_scan1"] == "A"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "masks/pat0_scan1_lab.nii.gz").unlink(), r"case pat0_scan1 lacks label: .* found none\.$"),
        (lambda f: (f / "images/pat0_scan0_ADC.nii.gz").unlink(), r"case pat0_scan0 lacks ADC: expected it beside"),
        (lambda f: shutil.rmtree(f / "masks"), r"found none of any case; scans without labels .* --without-labels"),
        (
            lambda f: shutil.copy(f / "images/pat0_scan0_ADC.nii.gz", f / "pat0_scan0_ADC.nii.gz"),
            r"expected one file of ADC, found pat0_scan0_ADC.nii.gz and images/pat0_scan0_ADC.nii.gz",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(here, command, spoil, said):
    folder = plain(here / "set", 2)
    command("data", "new", "mine", *MODALITIES, *LABELS, "--label-end", "_lab")
    spoil(folder)
    with pytest.raises(InputError, match=said):
        scan("mine", folder)
    assert sorted(path.name for path in Path("data_manifests").iterdir()) == ["mine.json"]


def test_labels_named_for_their_case_alone(here, command):
    folder = plain(here / "set", 2)
    for path in (folder / "masks").iterdir():
        path.rename(path.with_name(path.name.replace("_lab", "")))
    save(folder / "masks" / "atlas.nii.gz", pictures(9)[2])
    command("data", "new", "mine", *MODALITIES, *LABELS, "--label-end", "")
    found = scan("mine", folder)
    assert [case.label for case in found.listed.cases] == ["masks/pat0_scan0.nii.gz", "masks/pat0_scan1.nii.gz"]
    assert "masks/atlas.nii.gz" in " ".join(found.warnings)


def test_a_raw_set_of_nnunet(here, command):
    folder = nnunet(here / "set")
    code, out, _ = command("data", "new", "mine", "--from", folder)
    assert code == 0 and out.endswith(f"Next: benchmark data scan mine {folder}\n")
    manifest = load_manifest("mine")
    assert manifest.labels == {
        "0": "background",
        "1": "label 1",
        "2": "label 2",
        "3": "label 3",
        "4": "rim",
        "5": "vessel",
    }
    assert [*manifest.regions] == ["whole", "core", "enhancing", "vessel", "rim"]
    assert manifest.regions_class_order == (1, 2, 3, 5, 4)
    case = scan("mine", folder).listed.cases[0]
    assert case.images == {"ADC": "imagesTr/C_000_0000.nii.gz", "T1gd": "imagesTr/C_000_0001.nii.gz"}
    assert case.label == "labelsTr/C_000.nii.gz"
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1gd", "1": "ADC"}, "labels": {}}))
    with pytest.raises(InputError, match=r"dataset.json: expected the channels .*'0': 'ADC'.* found .*'0': 'T1gd'"):
        scan("mine", folder, replace=True)


def test_a_raw_set_of_nnunets_first_version_and_what_cannot_be_taken(here, command):
    folder = nnunet(here / "set", {str(value): f"l{value}" for value in range(6)}, channels="modality")
    assert command("data", "new", "mine", "--from", folder)[0] == 0
    assert dict(load_manifest("mine").regions) == {f"l{value}": (value,) for value in range(1, 6)}
    for labels, said in (
        ({"background": 0, "tumour": 1, "ignore": 2}, "found the label 'ignore'"),
        ({"background": 0, "tumour": "one"}, "expected whole numbers for the label tumour, found one"),
    ):
        nnunet(here / "set", labels)
        code, _, err = command("data", "new", "other", "--from", folder)
        assert code == 2 and said in err and not Path("data_manifests/other.json").exists()


def test_scans_without_labels_are_for_prediction_only(here, command):
    folder = nnunet(here / "set")
    command("data", "new", "mine", "--from", folder)
    code, out, _ = command("data", "scan", "mine", folder, "--name", "new_scans", "--without-labels")
    assert code == 0 and "warning: no case has a label" in out
    assert not Path("data_manifests/new_scans.folds.json").exists()
    listed = load_cases("new_scans")
    assert [case.label for case in listed.cases] == [None] * 4
    assert listed.cases[0].images["T1gd"] == "imagesTs/T_000_0001.nii.gz"
    assert verify("new_scans") == []
    said = "new_scans: expected cases with labels, to train on them and to test on them, found none"
    for ask in (lambda: load_folds("new_scans"), lambda: remake("new_scans", k=2)):
        with pytest.raises(InputError, match=said):
            ask()
    code, out, _ = command("data", "audit", "new_scans")
    assert (
        "could not be checked: " in " ".join(out.split()) and "every picture a tumour" in out.split("could not be")[1]
    )
    with pytest.raises(
        InputError, match="lgg: expected a set of volumes to list without labels, found one of pictures"
    ):
        scan("lgg", folder, labels=False)


def test_a_study_on_scans_without_labels_is_refused(project, command):
    for path in Path("runs/data/phantom").rglob("*_seg.nii.gz"):
        path.rename(path.with_name("put_away.bin"))
    found = scan("phantom", Path("runs/data/phantom"), "bare", labels=False)
    assert {case.label for case in found.listed.cases} == {None}
    study = Path("reports/tiny/study.json")
    study.write_text(json.dumps({**json.loads(study.read_text()), "data": "bare"}))
    for words in ("plan", "run-all"):
        code, _, err = command(words, "tiny")
        assert code == 2 and err.startswith("Error: bare: expected cases with labels, to train on them")


def test_a_folder_by_bids(here, command):
    folder = bids(here / "set")
    options = ["--modality", "T1=_T1w", "--modality", "T1c=_ce-GAD_T1w", "--region", "WT=1,2,3,4,5", "--region", "ET=3"]
    assert command("data", "new", "mine", "--from", folder, *options)[0] == 0
    assert load_manifest("mine").labels["4"] == "rim"
    listed = scan("mine", folder).listed
    assert listed.patients == ("sub-00", "sub-01")
    case = listed.cases[1]
    assert (case.case_id, case.images["T1"]) == ("sub-00_ses-1", "sub-00/ses-1/anat/sub-00_ses-1_T1w.nii.gz")
    assert case.label == "derivatives/manual/sub-00/ses-1/anat/sub-00_ses-1_desc-tumour_dseg.nii.gz"
    other = folder / "derivatives/other/sub-00/ses-1/anat/sub-00_ses-1_desc-other_dseg.nii.gz"
    other.parent.mkdir(parents=True)
    shutil.copy(folder / case.label, other)
    with pytest.raises(
        InputError, match=r"case sub-00_ses-1: expected one file of label, found .* longer end of names"
    ):
        scan("mine", folder, replace=True)


def test_what_is_missing_or_wrong_is_said_where_nobody_can_be_asked(here, command):
    for words, said in (
        ([], "mine: expected modalities and labels, found none given"),
        ([*MODALITIES], "mine: expected labels, found none given"),
        ([*MODALITIES, "--label", "x=1"], "--label x=1: expected a whole number above 0"),
        ([*MODALITIES, *LABELS, "--region", "WT=all"], "--region WT=all: expected label values such as WT=1,3"),
        ([*MODALITIES, *LABELS, "--region", "WT=1,9"], "regions: expected only values that labels names"),
        ([*MODALITIES, "--modality", "ADC"], "--modality 'ADC': expected NAME=VALUE, each name once"),
        (["--source", "dicom"], "--source dicom: expected one of files (files named"),
        (["--from", "nowhere"], "nowhere: expected a folder with a data set, found none"),
    ):
        code, _, err = command("data", "new", "mine", *words)
        assert code == 2 and said in err and len(err.splitlines()) == 1
    assert not Path("data_manifests").exists()


def test_a_terminal_is_asked(here, command, monkeypatch):
    answers = iter(["ADC=_ADC T1gd=_T1gd", "_lab", "1=oedema, 2=enhancing tumour", "WT=1,2 ET=2"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    assert command("data", "new", "mine")[0] == 0
    manifest = load_manifest("mine")
    assert (manifest.layout.label, manifest.labels["2"]) == ("_lab", "enhancing tumour")
    assert dict(manifest.regions) == {"WT": (1, 2), "ET": (2,)}


def test_labels_are_written_in_their_own_regions():
    gli = load_manifest("brats2024_gli")
    assert written(gli.regions) == list(gli.regions_class_order) == [2, 1, 1, 2, 3, 4]


def test_two_labels_of_one_meaning_are_no_regions(here, command):
    labels = ["--label", "1=core", "--label", "2=core"]
    code, _, error = command("data", "new", "mine", *MODALITIES, *labels)
    assert code == 2 and "expected labels of different meanings, as each is a region, found 1=core, 2=core" in error
    assert not Path("data_manifests").exists()
    assert command("data", "new", "mine", *MODALITIES, *labels, "--region", "CORE=1,2")[0] == 0
