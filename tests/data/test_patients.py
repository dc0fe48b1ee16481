"""One table of patients for scans, scores, comparisons and audits: its columns, and other names that are understood."""

import pandas as pd
import pytest

from benchmark.base.records import InputError
from benchmark.data.patients import CASE, PATIENT, copy_patients, read_patients


@pytest.mark.parametrize(
    "text",
    [
        "case_id,patient_id,grade\na,1,HGG\nb,1,HGG\n",
        "case_id,patient_id\na,1\na,1\nb,1\nc,\n",
        "scan,subject\na,1\nb,1\nother,2\n",
        "file,patient_group,case_id\nx,1,a\ny,1,b\n",
        "Patient,case_id\n1,a\n1,b\n",
    ],
)
def test_the_patient_of_each_case_is_read_by_any_names_of_columns_that_leave_no_doubt(tmp_path, text):
    path = tmp_path / "patients.csv"
    path.write_text(text)
    found = read_patients(path, {"a", "b"})
    assert {case: found[case] for case in "ab"} == {"a": "1", "b": "1"} and "c" not in found
    copy_patients(path, tmp_path / "copy.csv", {"a", "b"})
    assert {CASE, PATIENT} <= set(pd.read_csv(tmp_path / "copy.csv"))
    assert read_patients(tmp_path / "copy.csv") == found


@pytest.mark.parametrize(
    ("text", "known", "words"),
    [
        ("case_id,patient_id\na,1\na,2\n", "ab", "one patient of case a, found several"),
        ("case,patient_id\na,1\n", "", "the columns case_id and patient_id .* found case, patient_id"),
        ("case,patient_id\nx,1\n", "ab", "with cases such as a .* found case, patient_id"),
        ("case_id,patient,subject\na,1,1\n", "ab", "one called patient or subject"),
        ("case_id,age\na,1\n", "ab", "found case_id, age"),
    ],
)
def test_a_table_that_leaves_a_doubt_is_refused(tmp_path, text, known, words):
    path = tmp_path / "patients.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_patients(path, set(known))


def test_blanks_around_ids_are_no_part_of_them_and_a_copy_has_one_column_of_cases(tmp_path):
    path, copy = tmp_path / "people.csv", tmp_path / "copy.csv"
    path.write_text("case_id,scan,patient_id\n9,a ,p1 \n8,b,p1\n", encoding="utf-8")
    assert read_patients(path, {"a", "b"}) == {"a": "p1", "b": "p1"}
    copy_patients(path, copy, {"a", "b"})
    assert copy.read_text(encoding="utf-8").splitlines()[0] == "case_id,patient_id"
    assert read_patients(copy, {"a", "b"}) == {"a": "p1", "b": "p1"}
