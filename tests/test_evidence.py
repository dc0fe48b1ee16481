"""What stands beside the comparisons of a report: plans of patients, ranks, and methods beyond the networks at hand."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower
from synthetic_scores import realistic, rows, table

from benchmark import stats
from benchmark.metrics import METRICS
from benchmark.report.evidence import method_blocks, power_notes, ranking_blocks
from benchmark.report.tables import in_unit
from benchmark.stats import with_models

COMPARE = {"metrics": ["dice"], "test": "paired_t", "alpha": 0.05}
BETTER = {name: metric.better for name, metric in METRICS.items()}


def two(differences, metric="dice"):
    values = {f"P{index}": 0.5 for index in range(len(differences))}
    other = {name: 0.5 + change for name, change in zip(values, differences, strict=True)}
    return with_models(table(rows("a", values, metric=metric), rows("b", other, metric=metric)))


def test_a_plan_of_patients_is_that_of_the_t_test_on_the_differences_at_hand():
    differences = np.array([0.02, -0.01, 0.03, 0.0, -0.02, 0.01, 0.04, -0.03])
    note = power_notes(two(differences), COMPARE, ["dice"], METRICS, family=6)["dice"]
    for target, alpha in ((0.005, 0.05), (0.01, 0.05), (0.02, 0.05), (0.01, 0.05 / 6)):
        needed = TTestPower().solve_power(target / differences.std(ddof=1), alpha=alpha, power=0.8)
        assert f"{int(np.ceil(needed))}" in note
    assert "the hardest of 6 declared comparisons" in note and "here there are 8" in note
    assert "methods" not in note
    methods = power_notes(two(differences), {**COMPARE, "test": "two_level"}, ["dice"], METRICS, family=6)["dice"]
    assert "To show it of the methods takes more" in methods


def test_no_plan_is_made_of_differences_far_below_what_is_asked():
    assert power_notes(two(np.array([1e-4, -1e-4, 2e-4])), COMPARE, ["dice"], METRICS, 1) == {}
    assert power_notes(two(np.zeros(5)), COMPARE, ["dice"], METRICS, 1) == {}


def test_a_metric_that_is_not_declared_has_no_part_in_the_family():
    note = power_notes(two(np.array([0.1, -0.2, 0.05]), "iou"), COMPARE, ["iou"], METRICS, 6)["iou"]
    assert "hardest" not in note


def test_models_are_ranked_once_with_how_sure_the_order_is():
    found = stats.rank_models(stats.patient_ranks(realistic(), ["dice"], BETTER))
    heading, ranks = ranking_blocks(found, ["dice"], METRICS)
    assert heading.text == "Ranking" and [row[0] for row in ranks.rows] == ["1", "2", "3"]
    assert ranks.rows[0][1] == "la_resunet" and "as trained here" in ranks.notes[0]
    assert ranking_blocks(None, ["dice"], METRICS) == []


@pytest.mark.parametrize(("test", "columns"), [("wilcoxon", 11), ("two_level", 8)])
def test_methods_have_one_verdict_in_a_report(test, columns):
    compare = {**COMPARE, "test": test}
    found = stats.compare_methods(realistic(), compare, BETTER)
    _, shown = method_blocks(found, compare, METRICS)
    assert len(shown.header) == columns and ("Verdict" in shown.header) == (test == "wilcoxon")
    assert len(shown.rows) == 9
    assert method_blocks(None, compare, METRICS) == []


def test_units_are_those_of_the_data():
    assert in_unit(METRICS, "mm") == METRICS and METRICS["volume_error"].unit == "ml"
    pixels = in_unit(METRICS, "pixels")
    assert (pixels["hd95"].unit, pixels["volume_error"].unit, pixels["dice"].unit) == ("pixels", "1000 pixels", "")
    assert pixels["nsd"].title == "NSD at 1 pixel"
