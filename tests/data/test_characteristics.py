"""What is known of patients beside their scans: from their ids, and from a table."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmark.base.records import Case, InputError
from benchmark.data.characteristics import characteristics
from benchmark.data.manifest import CaseList, load_manifest

REPOSITORY = Path(__file__).parents[2]
IDS = {
    "brats2018": ["Brats18_2013_11_1", "Brats18_CBICA_ABM_1", "Brats18_TCIA01_201_1"],
    "lgg": ["TCGA_CS_4941_19960909", "TCGA_HT_A61B_19991127"],
    "brats2021": ["BraTS2021_00000"],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "bundles").mkdir()
    (tmp_path / "data_manifests").mkdir()
    for name in IDS:
        shutil.copy(REPOSITORY / "data_manifests" / f"{name}.json", tmp_path / "data_manifests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(source, name="mine"):
    manifest = load_manifest(source)
    cases = tuple(Case(case_id=one, patient_id=manifest.patient_of(one), images={}) for one in IDS[source])
    return CaseList(name, manifest, cases)


@pytest.mark.parametrize(
    ("source", "centres"), [("brats2018", ["2013", "CBICA", "TCIA01"]), ("lgg", ["CS", "HT"]), ("brats2021", None)]
)
def test_a_centre_is_read_from_ids_that_have_one(project, source, centres):
    found = characteristics(listed(source))
    assert list(found.index) == list(listed(source).patients)
    assert (list(found["centre"]) if centres else list(found)) == (centres or [])


@pytest.mark.parametrize("name", ["mine", "brats2018"])
def test_a_table_of_patients_adds_columns_and_goes_before_the_ids(project, name):
    text = "patient_id,grade,age,centre\nBrats18_2013_11,HGG,61,Bern\nBrats18_CBICA_ABM,LGG,,Penn\nunknown,HGG,1,\n"
    (project / "data_manifests" / f"{name}.patients.csv").write_text(text)
    found = characteristics(listed("brats2018"))
    assert list(found["centre"][:2]) == ["Bern", "Penn"] and found["age"].tolist()[:1] == [61]
    assert list(found["grade"][:2]) == ["HGG", "LGG"] and pd.isna(found.loc["Brats18_TCIA01_201"]).all()
    assert found.attrs == {"table": f"{name}.patients.csv", "columns": ["grade", "age", "centre"], "lacking": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,grade\nBrats18_2013_11,HGG\n", "expected the columns patient_id too, found subject, grade"),
        ("patient_id,grade\nBrats18_2013_11,HGG\nBrats18_2013_11,LGG\n", "found Brats18_2013_11 twice"),
        ("patient_id,grade\nP1,HGG\n", "expected patients of mine, such as Brats18_2013_11, found 1 others"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(project, text, said):
    (project / "data_manifests" / "mine.patients.csv").write_text(text)
    with pytest.raises(InputError, match=said) as error:
        characteristics(listed("brats2018"))
    assert "mine.patients.csv" in str(error.value)
