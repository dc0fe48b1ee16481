"""Models that were trained elsewhere in a comparison of methods: with seeds they take part in it."""

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import rows, table

from benchmark.stats.compare import compare, compare_methods
from benchmark.stats.families import NETWORKS, PRIMARY
from benchmark.stats.seeds import ONE_SET, SAME_SET

BETTER = {"dice": "higher"}
DECLARED = {"metrics": ["dice"], "test": "two_level"}


def scores(*models, patients=12, folds=3):
    """Dice of each model (name, gain, seeds); seeds have folds of their own, or one fold all."""
    found = []
    for name, gain, seeds in models:
        for seed in seeds:
            random = np.random.default_rng([seed, *name.encode()])
            for patient in range(patients):
                value = 0.7 + 0.02 * (patient % 5) + gain + random.normal(0, 0.003)
                fold = (patient * (1 + 2 * seed)) % folds
                found.append(rows(name, {f"P{patient:02d}": value}, seed=seed, fold=fold))
    return table(*found)


OWN = (("one", 0.0, (1, 2)), ("two", 0.001, (1, 2)))


def test_a_model_without_seeds_is_compared_as_a_network_and_widens_no_family():
    alone = compare(scores(*OWN), DECLARED, BETTER)
    parts = [scores(*OWN), scores(("tool", 0.05, (0,)), folds=1)]
    both = compare(pd.concat(parts, ignore_index=True), DECLARED, BETTER, outside=["tool"])
    first = both.iloc[0]
    assert (first["model_a"], first["model_b"], first["family"]) == ("one", "two", PRIMARY)
    assert first["p_holm"] == alone.iloc[0]["p_holm"] == first["p"]
    apart = both[both["family"] == NETWORKS]
    assert len(apart) == 2 and set(apart["test"]) == {"wilcoxon"} and set(apart["verdict"]) == {"b better"}
    assert apart["note"].str.contains("compared as these networks").all()
    # Corrected over the two of them.
    assert apart["p_holm"].tolist() == pytest.approx([2 * p for p in apart["p"]])


def test_what_this_study_trained_once_is_still_not_tested():
    found = compare(scores(*OWN, ("tool", 0.05, (1,)), folds=1), DECLARED, BETTER)
    assert set(found["verdict"]) == {"not tested"} and set(found["note"]) == {ONE_SET}


def test_seeds_that_share_a_training_set_are_tested_where_the_model_is_from_elsewhere():
    given = scores(("one", 0.0, (1, 2, 3)), ("two", 0.05, (1, 2, 3)), folds=1)
    (row,) = compare(given, DECLARED, BETTER, outside=["one", "two"]).to_dict("records")
    assert (row["test"], row["family"], row["verdict"]) == ("two_level", PRIMARY, "b better")
    assert row["note"] == SAME_SET and row["ci_low"] < -0.05 < row["ci_high"] < 0
    (method,) = compare_methods(given, DECLARED, BETTER, outside=["one", "two"]).to_dict("records")
    assert method["df"] == 2 and method["p"] == row["p"] and method["note"] == SAME_SET


def test_the_table_of_methods_has_no_pairs_of_networks():
    given = scores(*OWN, ("tool", 0.05, (0,)), folds=1)
    found = compare_methods(given, DECLARED, BETTER, outside=["tool", "one", "two"])
    assert found[["model_a", "model_b"]].to_numpy().tolist() == [["one", "two"]]
    assert found["p_holm"].tolist() == found["p"].tolist()
    only = scores(("one", 0.0, (1, 2)), ("tool", 0.05, (0,)), folds=1)
    assert compare_methods(only, DECLARED, BETTER, outside=["tool", "one"]).empty
    assert set(compare(only, DECLARED, BETTER, outside=["tool", "one"])["family"]) == {NETWORKS}
