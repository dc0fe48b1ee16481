import json
import math
import random

import pytest

from benchmark.base.records import InputError
from benchmark.data.folds import (
    Fold,
    load_folds,
    make,
    make_folds,
    make_fractions,
    read_folds,
    remake,
    write_partitions,
)

PATIENTS = [f"P{number:03d}" for number in range(43)]


def test_a_patient_cannot_be_on_two_sides():
    with pytest.raises(InputError, match="patient B: expected on one side of a fold, found in train and test"):
        Fold(("A", "B"), ("C",), ("B",))
    with pytest.raises(InputError, match="patient A"):
        Fold(("A", "A"), (), ())


@pytest.mark.parametrize("k", [2, 3, 5, 43])
def test_each_patient_is_tested_once_and_is_in_every_fold(k):
    folds = make_folds(PATIENTS, seed=1, k=k)
    assert sorted(patient for fold in folds for patient in fold.test) == PATIENTS
    assert all(sorted(fold.train + fold.validation + fold.test) == PATIENTS for fold in folds)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_five_folds_of_40_are_70_10_20():
    folds = make_folds(PATIENTS[:40], seed=7)
    assert {(len(f.train), len(f.validation), len(f.test)) for f in folds} == {(28, 4, 8)}
    assert len({fold.validation for fold in folds}) == 5


def test_stable_under_order_and_repeated_patients():
    shuffled = PATIENTS * 3
    random.Random(0).shuffle(shuffled)
    assert make_folds(shuffled, seed=2026) == make_folds(PATIENTS, seed=2026)
    fractions = {"train": 0.6, "validation": 0.1, "test": 0.3}
    assert make_fractions(shuffled, 5, **fractions) == make_fractions(PATIENTS, 5, **fractions)
    assert make_folds(PATIENTS, seed=2027) != make_folds(PATIENTS, seed=2026)


def test_known_folds():
    # By SHA-256 of "1:<patient>" the order is d a f e b c; a change here would move patients of every committed split.
    folds = make_folds(["a", "b", "c", "d", "e", "f"], seed=1, k=3, validation=0.25)
    assert [fold.test for fold in folds] == [("d", "e"), ("a", "b"), ("c", "f")]
    assert [fold.validation for fold in folds] == [("a",), ("f",), ("d",)]


def test_slices_are_dealt_like_patients():
    units = [f"c/{z}" for z in range(10)]
    (fold,) = make(units, {"fractions": {"train": 0.6, "validation": 0.1, "test": 0.3}, "seed": 1}, "slice")
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (6, 1, 3)
    assert (fold.by, fold.units) == ("slice", set(units))
    with pytest.raises(InputError, match=r"number of slices \(10\), found 11"):
        make(units, {"k": 11, "seed": 1}, "slice")


def test_fractions_of_the_papers():
    (fold,) = make_fractions(range_names(400), 3, train=0.85, validation=0.1125, test=0.0375)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (340, 45, 15)
    (fold,) = make_fractions(range_names(10), 3, train=0.7, validation=0.0, test=0.3)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (7, 0, 3)
    (fold,) = make_fractions(range_names(3), 3, train=0.9, validation=0.05, test=0.05)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (1, 1, 1)


def range_names(count):
    return [f"P{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ({"k": 1, "seed": 1}, "expected k from 2 to the number of patients"),
        ({"k": 44, "seed": 1}, r"number of patients \(43\), found 44"),
        ({"k": 5, "validation": 1.0, "seed": 1}, "expected a validation share from 0 to below 1, found 1.0"),
        ({"k": 5, "validation": -0.1, "seed": 1}, "expected a validation share"),
        ({"fractions": {"train": 0.5, "validation": 0.1, "test": 0.5}, "seed": 1}, "fractions that add up to 1"),
        ({"fractions": {"train": 0.0, "validation": 0.5, "test": 0.5}, "seed": 1}, "fractions that add up to 1"),
        ({"fractions": {"train": 1.0}, "seed": 1}, "expected seed with k"),
        ({"k": 5}, "expected seed with k"),
        ({"k": 5, "sede": 3, "seed": 1}, "expected seed with k"),
    ],
)
def test_schemes_that_cannot_be(scheme, message):
    with pytest.raises(InputError, match=message):
        make(PATIENTS, scheme)


def test_too_few_patients_for_three_sides():
    with pytest.raises(InputError, match="more than 2 patients"):
        make_folds(["A", "B"], seed=1, k=2)
    with pytest.raises(InputError, match="found only 2 patients"):
        make_fractions(["A", "B"], 1, 0.6, 0.2, 0.2)
    for fractions in ((math.nan, math.nan, math.nan), (0.5, math.nan, 0.5), (math.inf, 0.0, 0.0)):
        with pytest.raises(InputError, match="expected fractions that add up to 1"):
            make_fractions("ABCDEFGH", 1, *fractions)


@pytest.fixture
def scanned(tmp_path, monkeypatch):
    """A project with a manifest and the cases of ten patients, one of them with two cases."""
    (tmp_path / "bundles").mkdir()
    manifests = tmp_path / "data_manifests"
    manifests.mkdir()
    monkeypatch.chdir(tmp_path)
    manifest = {
        **{"name": "toy", "title": "Toy", "source": "brats", "modalities": ["T1"], "labels": {"0": "a", "1": "b"}},
        **{
            "regions": {"WT": [1]},
            "regions_class_order": [1],
            "layout": {"images": {"T1": "_t1"}, "label": "_seg"},
            "patient_pattern": "(?P<patient>.+)_.",
        },
        **{"expected_cases": 11, "licence": "CC0", "citation": "none", "address": "https://example.org"},
        **{"access": "open", "pictures": "public", "warnings": [], "folds": {"k": 5, "validation": 0.125, "seed": 1}},
    }
    (manifests / "toy.json").write_text(json.dumps(manifest))
    write_case_list(manifests, ["P0_1", "P0_2", *(f"P{number}_1" for number in range(1, 10))])
    return manifests


def write_case_list(manifests, case_ids):
    cases = [
        {
            **{"case_id": case_id, "patient_id": case_id[:-2], "images": {"T1": "a.nii"}, "label": "a.nii"},
            **{"sha256": {"a.nii": "0" * 64}, "shape": [], "spacing": []},
        }
        for case_id in case_ids
    ]
    (manifests / "toy.cases.json").write_text(
        json.dumps({"name": "toy", "source": "toy", "warnings": [], "cases": cases})
    )


def test_written_folds_are_read_back(scanned):
    path, made, state = remake("toy")
    assert (path, state) == (scanned / "toy.folds.json", "written")
    assert load_folds("toy") == made == make_folds(range_names(10), 1)
    assert json.loads(path.read_text())["scheme"] == {"k": 5, "validation": 0.125}
    assert remake("toy")[2] == "unchanged"


def test_other_folds_are_kept_unless_replaced(scanned):
    remake("toy")
    before = (scanned / "toy.folds.json").read_bytes()
    with pytest.raises(InputError, match=r"toy\.folds\.json: expected no folds or these ones.*--replace"):
        remake("toy", k=3)
    assert (scanned / "toy.folds.json").read_bytes() == before
    assert len(remake("toy", k=3, replace=True)[1]) == 3
    assert len(remake("toy", fractions=(0.6, 0.1, 0.3), replace=True)[1]) == 1
    with pytest.raises(InputError, match="found both"):
        remake("toy", k=3, fractions=(0.6, 0.1, 0.3), replace=True)


def test_new_sessions_keep_the_folds_and_new_patients_are_refused(scanned):
    made = remake("toy")[1]
    write_case_list(scanned, [f"P{number}_{session}" for number in range(10) for session in (1, 2, 3)])
    assert load_folds("toy") == made
    assert remake("toy")[1] == made
    write_case_list(scanned, [*(f"P{number}_1" for number in range(10)), "Q_1"])
    with pytest.raises(InputError, match=r"toy\.folds\.json: .*Q first; run: benchmark data folds toy --replace"):
        load_folds("toy")


def test_folds_that_were_edited_by_hand(scanned):
    path = remake("toy")[0]
    data = json.loads(path.read_text())
    data["folds"][0]["train"].append(data["folds"][0]["test"][0])
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"toy\.folds\.json: patient P. *: expected on one side"):
        read_folds("toy")
    path.write_text('{"folds": [{"train": []}]}')
    with pytest.raises(InputError, match=r"toy\.folds\.json: folds/0: expected an entry 'validation', found none"):
        read_folds("toy")
    path.unlink()
    with pytest.raises(InputError, match=r"toy\.folds\.json.*benchmark data folds toy"):
        read_folds("toy")


def test_more_partitions_deal_the_same_patients_by_the_same_scheme(scanned):
    first = remake("toy", k=3)[1]
    second = load_folds("toy", "patient-2")
    assert second == make_folds(range_names(10), seed=2, k=3) != first
    assert not (scanned / "toy.patient-2.folds.json").exists()
    assert write_partitions("toy", ["patient", "patient-2"]) == [scanned / "toy.patient-2.folds.json"]
    assert write_partitions("toy", ["patient", "patient-2"]) == []
    assert load_folds("toy", "patient-2") == second
    assert json.loads((scanned / "toy.patient-2.folds.json").read_text())["seed"] == 2


def test_a_partition_of_other_folds_is_refused_until_the_first_is_made_anew(scanned):
    remake("toy", k=3)
    write_partitions("toy", ["patient-2"])
    path = scanned / "toy.folds.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "scheme": {"k": 5, "validation": 0.125}}))
    with pytest.raises(
        InputError, match=r"toy\.patient-2\.folds\.json: expected partition 2 of the folds in toy\.folds"
    ):
        load_folds("toy", "patient-2")
    remake("toy", k=4, replace=True)
    assert load_folds("toy", "patient-2") == make_folds(range_names(10), seed=2, k=4)
    assert len(json.loads((scanned / "toy.patient-2.folds.json").read_text())["folds"]) == 4


def test_folds_without_a_scheme_have_one_partition(scanned):
    path = remake("toy")[0]
    path.write_text(json.dumps({"folds": json.loads(path.read_text())["folds"]}))
    with pytest.raises(InputError, match=r'toy\.folds\.json: expected a seed and a scheme.*"partitions": "shared"'):
        load_folds("toy", "patient-2")


@pytest.mark.parametrize("split", ["patient-1", "patient-02", "patient-x", "patient-", "published-2", "random", ""])
def test_a_split_that_is_none_is_refused(scanned, split):
    with pytest.raises(InputError, match=f"split: expected one of patient, slice, published, found {split}"):
        read_folds("toy", split)
