"""What stands beside the comparisons of a report: plans of patients, ranks, and methods beyond the networks at hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from helpers.papers import lines
from helpers.synthetic_scores import realistic, rows, table
from statsmodels.stats.power import TTestPower

from benchmark.data.manifest import LesionRule
from benchmark.report.evidence import method_blocks, needed, power_table, ranking_blocks
from benchmark.report.tables import in_unit, lesion_table
from benchmark.scoring.metrics import LESION_COUNTS, METRICS
from benchmark.stats.compare import compare_methods
from benchmark.stats.patients import with_models
from benchmark.stats.power import methods_needed
from benchmark.stats.ranking import patient_ranks, rank_models

COMPARE = {"metrics": ["dice"], "test": "paired_t", "alpha": 0.05}
BETTER = {name: metric.better for name, metric in METRICS.items()}


def two(differences, metric="dice"):
    values = {f"P{index}": 0.5 for index in range(len(differences))}
    other = {name: 0.5 + change for name, change in zip(values, differences, strict=True)}
    return with_models(table(rows("a", values, metric=metric), rows("b", other, metric=metric)))


def power_of(scores, compare=COMPARE, name="dice", family=6):
    return power_table(needed(scores, compare, [name], 6), [name], family, METRICS)


def test_a_plan_of_patients_is_that_of_the_t_test_on_the_differences_at_hand():
    differences = np.array([0.02, -0.01, 0.03, 0.0, -0.02, 0.01, 0.04, -0.03])
    found = power_of(two(differences))
    assert found.header == ["Metric", "Difference", "These networks", "Hardest"]
    for row, target in zip(lines(found), (0.005, 0.01, 0.02), strict=True):
        effect = target / differences.std(ddof=1)
        counts = [TTestPower().solve_power(effect, alpha=alpha, power=0.8) for alpha in (0.05, 0.05 / 6)]
        assert row == [
            "Dice" if target == 0.005 else "",
            f"{target:g}",
            *(str(int(np.ceil(count))) for count in counts),
        ]
    assert "here there are 8" in found.caption and "over 6 comparisons" in found.notes[0]


def test_more_patients_than_any_set_has_are_not_counted():
    found = power_of(two(np.array([0.5, -0.5, 0.3, -0.2])))
    assert lines(found)[0][2:] == [">10000", ">10000"]


def test_a_plan_for_methods_says_where_patients_are_no_help():
    # A shift of each run of a model by 0, 0.02 or 0.04 of Dice up or down.
    scores, compare = with_models(realistic()), {**COMPARE, "test": "two_level"}
    size = np.where(scores["seed"] == 1, 0.02, -0.02) * pd.factorize(scores["model"])[0]
    scores["value"] += size * (scores["metric"] == "dice")
    found = power_of(scores, compare, family=None)
    assert found.header[2:] == ["These networks", *(f"Methods, {seeds} seeds" for seeds in (2, 3, 5))]
    ours = methods_needed(scores, ["dice"], list(combinations(pd.unique(scores["model"]), 2)))
    for row, target in zip(lines(found), (0.005, 0.01, 0.02), strict=True):
        medians = ours[ours["target"] == target].groupby("seeds")["patients"].median()
        expected = ["none" if np.isinf(count) else f"{count:.0f}" for count in medians]
        assert row[3:] == [">10000" if one != "none" and int(one) > 10000 else one for one in expected]
    assert "none" in {cell for row in lines(found) for cell in row} and "None: with so few seeds" in found.notes[0]


def test_a_difference_far_beyond_the_spread_takes_few_patients_and_one_patient_has_no_plan():
    for differences in (np.array([1e-4, -1e-4, 2e-4]), np.zeros(5)):
        assert {cell for row in lines(power_of(two(differences))) for cell in row[2:]} == {"<10"}
    assert power_of(two(np.array([0.1]))) is None


def test_seeds_in_a_plan_are_those_of_the_pair():
    # A tool with one run under a seed of its own is no third seed of the models.
    scores = with_models(realistic())
    tool = scores[(scores["model"] == "unet") & (scores["seed"] == 1)].assign(bundle="tool", model="tool", seed=0)
    compare = {**COMPARE, "test": "two_level"}
    alone, found = (power_of(rows, compare, family=None) for rows in (scores, pd.concat([scores, tool])))
    assert found.header == alone.header
    assert [row[3:] for row in lines(found)] == [row[3:] for row in lines(alone)]
    assert "(the 9 of 18 pairs and regions with two seeds of both)" in found.notes[0]


def test_a_metric_that_is_not_declared_has_no_part_in_the_family():
    found = power_of(two(np.array([0.1, -0.2, 0.05]), "iou"), name="iou", family=None)
    assert found.header == ["Metric", "Difference", "These networks"] and "Holm" not in found.notes[0]


def test_lesions_are_means_over_patients_not_over_runs_or_cases():
    # Patient P1 has two cases, one of them under two seeds: found (1 + 3) / 2 = 2 and 4, so 3; P2 has 0: 1.5 in all.
    counts = pd.DataFrame(
        [("unet", "P1", "c1", 1), ("unet", "P1", "c1", 3), ("unet", "P1", "c2", 4), ("unet", "P2", "c3", 0)],
        columns=["model", "patient_id", "case_id", "lesion_tp"],
    ).assign(region="ET", lesion_fn=1, lesion_fp=0, instance_tp=2, instance_fn=0, instance_fp=7)
    found = lesion_table(counts)
    assert lines(found) == [["ET", "unet", "1.5", "1.0", "0.0", "2.0", "0.0", "7.0"]]
    assert [title for title, _ in found.groups] == ["", "BraTS 2023", "panoptica"]
    more = [counts, counts.assign(region="WT"), counts.assign(model="other"), counts.assign(region="WT", model="other")]
    assert [row[:2] for row in lesion_table(pd.concat(more)).rows] == [
        ["ET", "unet"], ["", "other"], ["WT", "unet"], ["", "other"]
    ]  # fmt: skip
    rule = LesionRule(dilations=3, smallest=20, smallest_of={"ET": 10}, source="Their code.")
    assert lesion_table(counts, rule).notes == [
        *found.notes,
        "Lesions and lesion-wise scores follow this set's manifest: 3 dilations, and lesions of up to 20, in ET 10 mm³ "
        "left out. Their code.",
    ]
    assert lesion_table(counts.drop(columns="instance_fp")) is None
    assert lesion_table(counts.assign(**{name: np.nan for name in LESION_COUNTS})) is None


def test_models_are_ranked_once_with_how_sure_the_order_is():
    found = rank_models(patient_ranks(realistic(), ["dice"], BETTER))
    heading, ranks = ranking_blocks(found, ["dice"], METRICS)
    assert heading.text == "Ranking" and [row[0] for row in lines(ranks)] == ["1", "2", "3"]
    assert ranks.rows[0][1] == "la_resunet" and "as trained here" in ranks.notes[0]
    assert ranking_blocks(None, ["dice"], METRICS) == []


@pytest.mark.parametrize(("test", "columns"), [("wilcoxon", 13), ("two_level", 10)])
def test_methods_have_one_verdict_in_a_report(test, columns):
    compare = {**COMPARE, "test": test}
    found = compare_methods(realistic(), compare, BETTER)
    _, shown = method_blocks(found, compare, METRICS)
    assert len(shown.header) == columns and ("Verdict" in shown.header) == (test == "wilcoxon")
    assert len(shown.rows) == 9
    assert method_blocks(None, compare, METRICS) == []


def test_methods_show_how_far_training_sets_are_apart_and_whether_seeds_share_them():
    values = {(0, 1): 0.1, (0, 2): 0.3, (1, 1): 0.0, (1, 2): 0.4}

    def scores(fold_of):
        parts = [
            rows(model, {f"P{patient}": 0.5 + (model == "a") * value + patient / 100}, fold=fold, seed=seed)
            for model in ("a", "b")
            for (fold, seed), value in values.items()
            for patient in range(6)
            if fold_of(patient, seed) == fold
        ]
        return table(*parts)

    found = compare_methods(scores(lambda patient, seed: patient % 2), COMPARE, BETTER)
    assert found[["n_sets", "df"]].to_numpy().tolist() == [[2, 1]]
    _, shown = method_blocks(found, COMPARE, METRICS)
    line = dict(zip(shown.header, lines(shown)[0], strict=True))
    assert (line["By set"], line["df"]) == ("+0.200 to +0.200", "1") and "Seeds share their folds" in shown.notes[-1]
    apart = compare_methods(scores(lambda patient, seed: patient // 3 if seed == 2 else patient % 2), COMPARE, BETTER)
    assert apart[["n_sets", "df"]].to_numpy().tolist() == [[4, 3]]
    _, shown = method_blocks(apart, COMPARE, METRICS)
    line = dict(zip(shown.header, lines(shown)[0], strict=True))
    assert line["By set"] == "+0.000 to +0.400" and not any("share" in note for note in shown.notes[2:])


def test_units_are_those_of_the_data():
    assert in_unit(METRICS, "mm") == METRICS and METRICS["volume_error"].unit == "ml"
    pixels = in_unit(METRICS, "pixels")
    assert (pixels["hd95"].unit, pixels["volume_error"].unit, pixels["dice"].unit) == ("pixels", "1000 pixels", "")
    assert pixels["nsd"].title == "NSD at 1 pixel"
