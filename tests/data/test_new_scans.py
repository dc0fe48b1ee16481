"""New scans: found by the names of their files, and refused where a name leaves open what is meant."""

from pathlib import Path

import pytest

from benchmark.base.records import InputError
from benchmark.data.manifest import load_manifest
from benchmark.data.new_scans import find_scans

MODALITIES = ("T1", "T1c", "T2", "FLAIR")


@pytest.fixture
def made(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "scans" / name).touch()
        return tmp_path / "scans"

    return make


@pytest.mark.parametrize(
    ("names", "case_id"),
    [
        (["A 1_t1.nii.gz", "A 1_t1ce.nii.gz", "A 1_t2.nii", "A 1_FLAIR.nii.gz"], "A 1"),
        ([f"GLI-7/GLI-7-{end}.nii.gz" for end in ("t1n", "t1c", "t2w", "t2f")], "GLI-7"),
        ([f"imagesTs/p_3_{number:04d}.nii.gz" for number in range(4)], "p_3"),
        ([f"bob/{end}.mha" for end in ("t1", "T1c", "t2", "flair")], "bob"),
    ],
)
def test_files_are_known_by_their_ends(made, names, case_id):
    (case,), others = find_scans(made(*names, f"{case_id}_seg.nii.gz", "notes.txt"), MODALITIES)
    assert case.case_id == case.patient_id == case_id and case.label is None
    assert case.images == dict(zip(MODALITIES, names, strict=True))
    assert others == [f"{case_id}_seg.nii.gz"]


def test_flat_and_foldered_cases_are_sorted_by_id(made):
    names = [f"{case}_{number:04d}.nii.gz" for case in ("b", "deep/er/a") for number in range(2)]
    assert [case.case_id for case in find_scans(made(*names), ("pre", "post"))[0]] == ["a", "b"]


def test_a_manifest_says_other_ends_or_one_file_of_all_sequences(made, template, monkeypatch):
    monkeypatch.chdir(template)
    names = [f"A/A_{end}.nii.gz" for end in ("t1", "t1ce", "t2", "flair")]
    (case,), _ = find_scans(made(*names), MODALITIES, load_manifest("brats2018"))
    assert list(case.images.values()) == names
    msd = load_manifest("msd_brain")
    (case,), _ = find_scans(made("four/BRATS_9.nii.gz") / "four", msd.modalities, msd)
    assert case.case_id == "BRATS_9"
    assert case.images == {name: f"BRATS_9.nii.gz[{msd.layout.images[name]}]" for name in msd.modalities}
    with pytest.raises(InputError, match="tumor2146: expected a manifest that says which files are T1, T1c"):
        find_scans(Path(), MODALITIES, load_manifest("tumor2146"))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "expected a folder with scans, found nothing"),
        (["A_seg.nii.gz"], "expected scans, files ending in .* named T1 as _t1 or -t1 or _t1n .*; found none"),
        (["A_t1.nii.gz", "A_t2.nii.gz", "A_flair.nii.gz"], "lacks T1c: expected a file .* T1c as _t1c or"),
        (["A_t1.nii.gz", "A_0000.nii.gz"], "expected one T1 of A, found A_.* and A_"),
        ([f"{place}/A_{n:04d}.nii" for place in "ab" for n in range(4)], "expected one case A, found two, in"),
        ([f"=A_{n:04d}.nii" for n in range(4)], "expected an id of a case that is no formula"),
    ],
)  # fmt: skip
def test_what_leaves_open_what_is_meant_is_refused(made, names, sentence):
    with pytest.raises(InputError, match=sentence):
        find_scans(made(*names), MODALITIES)
