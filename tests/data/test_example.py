"""Tests of benchmark.data.example."""

import pytest

from benchmark.base.records import InputError
from benchmark.data import example
from benchmark.data.volumes import read_image

WHOLE = {"WT": [1, 2, 4]}


def test_predictions_are_of_the_same_cases_and_the_second_are_worse(tmp_path):
    from benchmark import score_case

    example.write(tmp_path / "made", patients=2)
    folders = {name: tmp_path / "made" / name for name in ("labels", *example.SHIFTS)}
    cases = {name: sorted(path.name for path in folder.iterdir()) for name, folder in folders.items()}
    assert cases["labels"] == cases["network_a"] == cases["network_b"] == [f"Phantom_00{n}_1.nii.gz" for n in (1, 2)]
    labels = {name: [read_image(folder, case)[0] for case in cases["labels"]] for name, folder in folders.items()}
    assert not labels["network_b"][-1].any()
    good, bad = (
        score_case(labels["labels"][0], labels[name][0], (2, 2, 2), WHOLE)[0]["dice"] for name in example.SHIFTS
    )
    assert 0.7 < bad < good - 0.05 < 0.98


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="expected a folder that is empty or not there yet"):
        example.write(tmp_path, patients=2)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
