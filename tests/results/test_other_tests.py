"""What limits the trust in a test on another set: patients of both sets, and voxels of another size."""

from types import SimpleNamespace

from benchmark.base.records import Case
from benchmark.data.manifest import CaseList
from benchmark.results import other_tests

BRATS = SimpleNamespace(source="brats", unit="mm")


def case(patient, digest, spacing=(1.0, 1.0, 1.0), name=None):
    return Case(name or f"{patient}_1", patient, {}, sha256={f"{patient}.nii.gz": digest}, spacing=spacing)


def listed(name, *cases, manifest=BRATS):
    return CaseList(name, manifest, cases)


def test_patients_of_both_sets_are_found_by_id_and_by_file():
    own = listed("here", case("A", "1"), case("B", "2"), case("C", "3"))
    other = listed("there", case("A", "9"), case("X", "2"), case("Y", "8"))
    assert other_tests.shared_patients(own, other) == (["A"], ["X"])
    (found,) = other_tests._of_set(own, other)
    assert found.startswith("LEAK: 2 of 3 patients of there seem to be in here too (1 by the same id, 1 by the same fi")
    assert other_tests._of_set(own, listed("there", case("Y", "8"))) == []


def test_pictures_of_nobody_knows_whom_are_compared_by_file_only():
    coco = SimpleNamespace(source="coco", unit="mm")
    own = listed("here", case("1", "a", name="1"), case("2", "b", name="2"), manifest=coco)
    other = listed("there", case("1", "c", name="1"), case("7", "b", name="7"), manifest=coco)
    assert other_tests.shared_patients(own, other) == ([], ["7"])


def test_voxels_of_another_size_are_said():
    own = listed("here", case("A", "1", (2.0, 2.0, 2.0)))
    (found,) = other_tests._of_set(own, listed("there", case("B", "2")))
    assert "A voxel is 2 x 2 x 2 mm in here and 1 x 1 x 1 in there" in found
