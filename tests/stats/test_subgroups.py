"""Groups of patients, sizes of lesions and worst patients, on tables that are counted by hand."""

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import rows, table
from scipy import stats

from benchmark.stats.patients import with_models
from benchmark.stats.subgroups import (
    ALL,
    COUNTED,
    above_zero,
    case_facts,
    in_common,
    patient_groups,
    ranges,
    recall_by_size,
    split,
    stands_out,
    subgroups,
    worst_patients,
)


def counted(cases, model="a", region="ET"):
    """Counts of cases by id: tp, fp, fn, lesions found and missed; a voxel has 0.008 ml."""
    found = [
        {"model": model, "patient_id": case.split("/")[0], "case_id": case, "region": region, "note": "",
         "tp": tp, "fp": fp, "fn": fn, "lesion_tp": hit, "lesion_fn": missed, "volume_error": 0.008 * abs(fp - fn)}
        for case, (tp, fp, fn, hit, missed) in cases.items()
    ]  # fmt: skip
    return pd.DataFrame(found).reindex(columns=[*COUNTED])


CASES = {
    "P1/a": (50, 5, 50, 1, 0), "P1/b": (100, 0, 200, 1, 1), "P2/a": (900, 100, 100, 1, 0), "P3/a": (0, 10, 0, 0, 0),
}  # fmt: skip


def test_the_reference_follows_from_counts():
    facts = case_facts(pd.concat([counted(CASES), counted({**CASES, "P2/a": (800, 0, 200, 0, 1)}, "b")]))
    assert not facts.attrs["in_voxels"]
    by_case = facts.set_index("case_id")
    assert by_case["voxels"].to_dict() == {"P1/a": 100, "P1/b": 300, "P2/a": 1000, "P3/a": 0}
    assert by_case["volume"].to_dict() == pytest.approx({"P1/a": 0.8, "P1/b": 2.4, "P2/a": 8.0, "P3/a": 0.0})
    assert by_case["lesions"].to_dict() == {"P1/a": 1, "P1/b": 2, "P2/a": 1, "P3/a": 0}
    assert by_case["lesion_volume"].dropna().to_dict() == pytest.approx({"P1/a": 0.8, "P1/b": 1.2, "P2/a": 8.0})


def test_without_the_volume_of_a_voxel_sizes_are_voxels():
    # In the one run of P2 there is no error of volume to tell it by.
    assert case_facts(counted(CASES)).attrs["in_voxels"]
    facts = case_facts(counted(CASES).assign(volume_error=np.nan))
    assert facts.attrs["in_voxels"] and facts["volume"].tolist() == [100, 300, 1000, 0]
    # A missing prediction has the volume's size as its error, which is no number of voxels.
    lost = counted(CASES).assign(note="missing prediction")
    assert case_facts(lost).attrs["in_voxels"]


def test_sizes_are_split_in_halves_and_from_thirty_on_in_thirds():
    sizes = pd.Series([5.0, 1, 3, 0, 9, np.nan])
    parts, bounds = split(above_zero(sizes))
    assert parts.to_dict() == {0: 1, 1: 0, 2: 0, 4: 1} and bounds == [4.0]
    parts, bounds = split(sizes - 4)
    assert parts.to_dict() == {0: 1, 1: 0, 2: 0, 3: 0, 4: 1} and bounds == [-1.0]
    parts, bounds = split(pd.Series(np.arange(1.0, 31)))
    assert parts.value_counts().to_dict() == {0: 10, 1: 10, 2: 10}
    assert ranges(bounds) == ["up to 10.7", "10.7 to 20.3", "above 20.3"]
    parts, bounds = split(pd.Series([2.0, 2.0]))
    assert parts.empty and ranges(bounds) == []


def test_patients_are_grouped_by_what_is_known_and_by_counts():
    cases = {f"P{place}/a": (100 * place, 1, 0, min(place, 2), 0) for place in range(9)}
    known = pd.DataFrame({"grade": ["HGG"] * 4 + ["LGG"] * 3 + ["x", None], "age": [40.0 + place for place in range(9)],
                          "site": "A"}, index=[f"P{place}" for place in range(9)])  # fmt: skip
    groups = patient_groups(case_facts(counted(cases)), known, "ET")
    assert list(groups) == ["grade", "age", "volume", "lesions"]
    assert groups["grade"].tolist() == ["HGG"] * 4 + ["LGG"] * 3 + ["others"] * 2
    # A number may be zero or less and is known then.
    centred = patient_groups(case_facts(counted(cases)), known[["age"]] - 44, "ET")
    assert centred["age"].value_counts().to_dict() == {"up to 0": 5, "above 0": 4}
    assert groups["age"].value_counts().to_dict() == {"up to 44": 5, "above 44": 4}
    assert groups["volume"].tolist() == ["others"] + ["smaller half"] * 4 + ["larger half"] * 4
    assert groups["lesions"].tolist() == ["others"] * 2 + ["several"] * 7


def test_a_set_without_lesion_counts_or_voxels_has_no_such_groups():
    empty = counted({f"P{place}/a": (10, 1, 0, 1, 0) for place in range(6)})
    empty[["tp", "fp", "fn", "lesion_tp", "lesion_fn", "volume_error"]] = np.nan
    facts = case_facts(empty)
    assert patient_groups(facts, pd.DataFrame(index=["P0"]), "ET").empty
    assert recall_by_size(empty, facts).empty


def groups_of(*names):
    return {"WT": pd.DataFrame({"centre": names}, index=[f"P{place}" for place in range(len(names))])}


def scored(values, model="a"):
    return rows(model, {f"P{place}": value for place, value in enumerate(values)})


def test_a_group_is_compared_with_all_other_patients_by_welchs_interval():
    first, second = [0.5, 0.6, 0.4, 0.9, 0.8, 0.95, 0.7, 0.85], [0.45, 0.6, 0.5, 0.8, 0.7, 0.9, 0.75, 0.8]
    scores = with_models(table(scored(first), scored(second, "b")))
    found = subgroups(scores, groups_of(*["X"] * 3, *["Y"] * 5), "dice", [("a", "b")])
    # Of two groups the second says the same.
    assert found[["group", "model_a", "model_b"]].to_numpy().tolist() == [["X", ALL, ""], ["X", "a", ""],
                                                                          ["X", "b", ""], ["X", "a", "b"]]  # fmt: skip
    for column, own in ((first, 1), (np.subtract(first, second), 3)):
        row, expected = found.iloc[own], stats.ttest_ind(column[:3], column[3:], equal_var=False)
        assert row["to_others"] == pytest.approx(np.mean(column[:3]) - np.mean(column[3:]))
        assert tuple(row[["to_others_low", "to_others_high"]]) == pytest.approx(tuple(expected.confidence_interval()))
        inside = stats.ttest_1samp(column[:3], 0).confidence_interval()
        assert tuple(row[["low", "high"]]) == pytest.approx(tuple(inside))
    assert stands_out(found).tolist() == [True, True, True, False]


def test_groups_of_fewer_than_three_patients_are_left_out():
    scores = with_models(table(scored(np.linspace(0.2, 0.9, 8))))
    found = subgroups(scores, groups_of(*["X"] * 3, *["Y"] * 3, *["others"] * 2), "dice", [])
    assert found["group"].tolist() == ["X", "X", "Y", "Y"]
    assert set(found["n_patients"]) == {3} and set(found["n_others"]) == {5}
    assert subgroups(scores, groups_of(*["X"] * 6, *["Y"] * 2), "dice", []).empty


def test_equal_scores_have_no_interval_to_stand_out_by():
    scores = with_models(table(scored([0.5] * 8)))
    found = subgroups(scores, groups_of(*["X"] * 4, *["Y"] * 4), "dice", [])
    assert (found["to_others"] == 0).all() and not stands_out(found).any()


def test_recall_is_of_lesions_by_their_mean_volume_in_a_case():
    cases = {
        "P1/a": (50, 5, 50, 1, 0), "P2/a": (100, 0, 100, 1, 1), "P3/a": (0, 3, 250, 0, 1), "P4/a": (900, 10, 100, 2, 1),
    }  # fmt: skip
    # A second run of P1 misses its lesion.
    again = counted({"P1/a": (0, 5, 100, 0, 1)})
    every = pd.concat([counted(cases), again], ignore_index=True)
    found = recall_by_size(every, case_facts(every)).to_dict("records")
    assert [(row["n_cases"], row["single"], row["n_lesions"]) for row in found] == [(2, 1, 3), (2, 1, 4)]
    assert [row["recall"] for row in found] == pytest.approx([(0.5 + 1) / 3, 2 / 4])
    # 100 voxels in one lesion, 200 in two, 250 in one, 1000 in three, of 0.008 ml each: 0.8, 0.8, 2.0 and 2.67 ml.
    assert [row["lesion_volume"] for row in found] == ["up to 1.4", "above 1.4"]


def test_the_worst_patients_and_what_they_have_in_common():
    first = [0.1, 0.2, 0.9, 0.8, 0.7, 0.95, 0.6, 0.85, 0.75]
    scores = with_models(table(scored(first), scored([0.3, 0.0, *first[2:]], "b")))
    worst = worst_patients(scores, "dice", higher=True)
    assert worst.to_dict() == pytest.approx({"P1": 0.1, "P0": 0.2, "P6": 0.6})
    assert list(worst_patients(scores, "dice", higher=False).index) == ["P5", "P2", "P7"]
    groups = groups_of("X", "X", "Y", "Y", "Y", "Y", "X", "Y", "Y")
    (row,) = in_common(list(worst.index), groups).to_dict("records")
    # 3 of 3 in a group of 3 of 9: 1 of the 84 ways to choose three.
    assert (row["group"], row["n_worst"], row["n_all"], row["p"]) == ("X", 3, 3, pytest.approx(1 / 84))
