"""Label conventions by name and by pairs, and what a command line says of a mapping."""

import numpy as np
import pytest
from helpers.project import REPOSITORY

from benchmark.base.records import InputError
from benchmark.data.conventions import mapped, option_for, parse_labels, tissues
from benchmark.data.manifest import find_manifest


def known(name):
    return find_manifest(str(REPOSITORY / "data_manifests" / f"{name}.json"))


def test_a_convention_is_mapped_by_the_tissues_of_the_manifest():
    assert tissues(known("msd_brain")) == {"core": 2, "oedema": 1, "enhancing": 3}
    assert parse_labels("msd", known("brats2020")) == {1: 2, 2: 1, 3: 4} == parse_labels("nnunet", known("brats2020"))
    assert parse_labels("brats", known("msd_brain")) == {1: 2, 2: 1, 4: 3}
    assert parse_labels("brats2023", known("brats2020")) == {1: 1, 2: 2, 3: 4}
    assert parse_labels("", known("brats2020")) == {} and parse_labels("3:4", known("brats2020")) == {3: 4}


@pytest.mark.parametrize(
    ("text", "manifest", "words"),
    [
        ("msd", "lgg", "expected a manifest whose WT, TC and ET"),
        ("swapped", "brats2020", "expected brats, brats2023, msd, nnunet or pairs"),
        ("1:2,1:4", "brats2020", "each value once"),
        ("1:3", "brats2020", "after a colon, 0, 1, 2, 4, found 3"),
    ],
)
def test_other_mappings_are_refused(text, manifest, words):
    with pytest.raises(InputError, match=words):
        parse_labels(text, known(manifest))


def test_a_mapping_is_named_where_it_has_a_name():
    assert option_for({1: 2, 2: 1}, known("brats2020")) == "msd"
    assert option_for({3: 4}, known("brats2020")) == "brats2023"
    assert option_for({1: 4, 4: 1}, known("brats2020")) == "1:4,4:1"


def test_values_are_exchanged_all_at_once():
    assert mapped(np.array([0, 1, 2, 3]), {1: 2, 2: 1, 3: 4}).tolist() == [0, 2, 1, 4]
    same = np.array([0, 1])
    assert mapped(same, {1: 1}) is same
