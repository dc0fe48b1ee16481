"""Tables of a study: what they hold that the study or its folds do not is refused."""

import math

import pandas as pd
import pytest
from helpers.project import write_study
from helpers.synthetic_scores import rows, table, wide

from benchmark.base.records import InputError
from benchmark.data.folds import load_folds, make_folds, units_of, write_folds
from benchmark.data.manifest import load_cases
from benchmark.results.results import Results
from benchmark.scoring import score_table
from benchmark.studies import study


def test_runs_that_the_study_does_not_declare_are_refused(project):
    declared = study.load("tiny")
    parts = [rows("unet", {"P1/a": 0.5, "P2/a": 0.5}), rows("unet", {"P1/a": 1.0, "P2/a": 1.0}, fold=1)]
    score_table.write(declared.folder / "scores.csv", wide(table(*parts[:1])))
    assert len(Results(declared).raw) == 2
    score_table.write(declared.folder / "scores.csv", wide(table(*parts)))
    with pytest.raises(
        InputError, match=r"scores\.csv: expected runs that study\.json declares, found unet/default/fold1"
    ):
        _ = Results(declared).raw


def test_a_case_repeated_in_a_split_by_slice_is_refused(project):
    """Two of three folds of slices are run; the rows of a case stand again in the third, or are of whole volumes."""
    listed = load_cases("phantom")
    write_folds("phantom", make_folds(units_of(listed, "slice"), seed=1, k=3, by="slice"), {"seed": 1}, "slice")
    write_study("slices", split="slice", folds=[0, 1, 2], models=[{"bundle": "unet"}])
    declared, folds, made = study.load("slices"), load_folds("phantom", "slice"), []
    for number, fold in enumerate(folds):
        for case in listed.cases:
            tested = sum(unit.startswith(f"{case.case_id}/") for unit in fold.test)
            every = math.prod(case.shape) // case.shape[2] * tested
            values = {"dice": 0.5, "tp": 1, "fp": 1, "fn": 1, "tn": every - 3}
            made += [
                (*("unet", "default", number, 1, case.patient_id, case.case_id, "WT"), name, "1", value, "")
                for name, value in values.items()
            ]
    whole = wide(table(made))
    path = declared.folder / "scores.csv"
    score_table.write(path, whole)
    assert len(Results(declared).merged) == len(listed.cases)
    part = whole[whole["fold"] < 2]
    again = part[(part["fold"] == 1) & (part["case_id"] == "Phantom_004_1")].assign(fold=2)
    score_table.write(path, pd.concat([part, again]))
    with pytest.raises(InputError, match=r"expected \d+ voxels of case Phantom_004_1 in fold 2, .* found \d+; run and"):
        _ = Results(declared).merged
    score_table.write(path, part.assign(tn=part["tn"] + 1))
    with pytest.raises(InputError, match=r"expected \d+ voxels of case Phantom_\d+_1 in fold 0"):
        _ = Results(declared).merged
