"""The section on where models fail, as a report prints it."""

import numpy as np
import pandas as pd
from helpers.papers import lines
from helpers.synthetic_scores import realistic

from benchmark.report.document import Cell, Table, to_markdown
from benchmark.report.evidence import sensitivity_blocks
from benchmark.report.failures import failure_blocks
from benchmark.results.failures import find_failures
from benchmark.scoring.metrics import METRICS
from benchmark.stats.compare import compare
from benchmark.stats.patients import with_models
from benchmark.stats.sensitivity import sensitivity
from benchmark.stats.subgroups import COUNTED, stands_out

BETTER = {name: metric.better for name, metric in METRICS.items()}
PAIRS = [("unet", "la_resunet"), ("resunet_tversky", "la_resunet")]
COMPARE = {"metrics": ["dice"], "test": "two_level", "margin": 0.02, "alpha": 0.05}


def counts_of(scores):
    """Counts as a file has them: patient n has n voxels of 1 ml in every region, as one lesion that P00 loses."""
    keys = ["model", "patient_id", "case_id", "region"]
    found = scores[scores["metric"] == "dice"][keys].assign(note="")
    size = found["patient_id"].str[1:].astype(int) + 1
    lost = found["patient_id"] == "P00"
    found = found.assign(
        tp=size, fp=1, fn=0, volume_error=1.0, lesion_tp=(~lost).astype(int), lesion_fn=lost.astype(int)
    )
    return found.reindex(columns=[*COUNTED])


def found_in(scores, known=None):
    known = pd.DataFrame(index=pd.unique(scores["patient_id"])) if known is None else known
    return find_failures(scores, counts_of(scores), known, METRICS["dice"], PAIRS, "ml")


def scores_with_a_hard_centre():
    scores = with_models(realistic())
    hard = scores["patient_id"].isin([f"P{place:02d}" for place in range(4)]) & (scores["metric"] == "dice")
    scores.loc[hard, "value"] /= 4
    known = pd.DataFrame({"centre": ["A"] * 4 + ["B"] * 7 + ["C"] * 7}, index=[f"P{place:02d}" for place in range(18)])
    return scores, known


def test_a_centre_in_which_all_models_fail_is_bold_and_shared_by_the_worst():
    found = found_in(*scores_with_a_hard_centre())
    _, bullets, groups, recall, worst = failure_blocks(found, METRICS["dice"])
    (row,) = [row for row in groups.rows if row[1] == "A"]
    assert row[0] == "centre" and all(isinstance(cell, Cell) and cell.bold for cell in row[2:5])
    shown = found.subgroups[found.subgroups["model_a"] == "all models"].set_index(["group", "region"])
    assert row[2].text.startswith(f"{shown.loc[('A', 'WT'), 'to_others']:+.3f} (") and row[2].text.endswith("n = 4")
    assert "centre A (4 of these 5, 4 of all 18 patients)" in worst.notes[0]
    assert {line[0] for line in lines(worst)} >= {"P00", "P01", "P02", "P03"}
    assert lines(worst)[0][4].startswith("centre ")
    assert len(lines(recall)) == 6 and lines(recall)[0][:6] == ["WT", "up to 9.5", "9", "9", "9", "89 %"]
    assert "Not declared, and not corrected" in bullets.items[0]
    assert sum("The patient explains more than the model." in item for item in bullets.items) >= 2


def test_how_many_intervals_were_looked_at_is_said_with_how_many_leave_out_zero():
    found = found_in(*scores_with_a_hard_centre())
    table = failure_blocks(found, METRICS["dice"])[2]
    own = found.subgroups["model_a"] == "all models"
    pairs = found.subgroups["model_b"] != ""
    hits = [int(stands_out(found.subgroups[rows]).sum()) for rows in (own, pairs)]
    assert f"{hits[0]} of {own.sum()} intervals of groups and {hits[1]} of {pairs.sum()} of pairs" in table.notes[0]
    assert sum(isinstance(cell, Cell) and cell.bold for row in table.rows for cell in row) == hits[0] >= 3


def single_lesions(scores):
    """Two lesions of each patient, of 0.5 and 20 ml; unet finds no small one of the first nine patients."""
    counted = counts_of(scores)
    one = counted.groupby(["model", "patient_id", "case_id", "region"], sort=False).size().rename("runs").reset_index()
    large, small = one.assign(volume=20.0, found=1.0, dice=0.8), one.assign(volume=0.5, found=1.0, dice=0.4)
    lost = (small["model"] == "unet") & (small["patient_id"] < "P09")
    small.loc[lost, ["found", "dice"]] = 0.0
    return counted.assign(lesion_tp=1, lesion_fn=1), pd.concat([large, small], ignore_index=True)


def test_lesions_are_counted_by_their_own_volume_where_runs_have_a_table():
    scores = with_models(realistic())
    counted, lesions = single_lesions(scores)
    known = pd.DataFrame(index=pd.unique(scores["patient_id"]))
    found = find_failures(scores, counted, known, METRICS["dice"], PAIRS, "ml", lesions)
    (table,) = [one for one in failure_blocks(found, METRICS["dice"]) if "Lesions found" in getattr(one, "caption", "")]
    assert table.header == ["Region", "Lesion (ml)", "Lesions", "Patients", "unet", "resunet_tversky", "la_resunet"]
    whole, half = "100 % (80 to 100)", "50 % (27 to 73)"
    assert lines(table)[:2] == [["WT", "0.1 to 1", "18", "18", half, whole, whole],
                                ["", "above 10", "18", "18", whole, whole, whole]]  # fmt: skip
    assert "touches it once it is dilated by 3 voxels, and one of up to 0.05 ml does not count" in table.notes[0]
    # A model with a run that has no table, or with more lesions in it than were counted, is left out, and named.
    for more in (-1, 1):
        other = lesions.assign(runs=lesions["runs"] + more * (lesions["model"] == "unet"))
        found = find_failures(scores, counted, known, METRICS["dice"], PAIRS, "ml", other)
        (table,) = [
            one for one in failure_blocks(found, METRICS["dice"]) if "Lesions found" in getattr(one, "caption", "")
        ]
        assert table.header[4:] == ["resunet_tversky", "la_resunet"]
        assert "Left out, as lesions.csv has not as many lesions as their scores count: unet." in table.notes[0]
    # Of many models the lowest and the highest are shown.
    many = pd.concat([lesions.assign(model=f"m{place}") for place in range(6)] + [lesions])
    more = pd.concat([counted.assign(model=f"m{place}") for place in range(6)] + [counted])
    found = find_failures(scores, more, known, METRICS["dice"], PAIRS, "ml", many[many["model"] != "m0"])
    (table,) = [one for one in failure_blocks(found, METRICS["dice"]) if "Lesions found" in getattr(one, "caption", "")]
    assert table.header[4:] == ["Lowest", "Highest"] and lines(table)[0][4].endswith(", unet")


def test_what_trainings_do_is_set_beside_patients_and_models():
    found = found_in(with_models(realistic()))
    row = {"metric": "dice", "region": "WT", "patient": 0.12, "model": 0.0, "patient_model": 0.01, "seed": np.nan,
           "fold": np.nan, "training": 0.78, "patient_training": 0.09}  # fmt: skip
    shared = {**row, "seed": 0.3, "fold": 0.48, "training": np.nan}
    patient = "patient x training 9 %. The patient explains more than the model"
    for own, said in [
        (row, f"training 78 %, {patient}, training more than either."),
        (shared, f"seed 30 %, fold 48 %, {patient}, seed and fold together more than either."),
        ({**row, "model": 0.2}, "patient x training 9 %. Most is explained by training."),
        ({**row, "patient": 0.8}, f"{patient}."),
    ]:
        items = failure_blocks(found._replace(shares=pd.DataFrame([own])), METRICS["dice"])[1].items
        assert items[1].endswith(said), items[1]
        assert any("each seed has folds of its own" in item for item in items) == (own is not shared)


def test_what_a_table_says_of_all_the_worst_patients_is_not_said_of_each():
    scores, known = scores_with_a_hard_centre()
    known["centre"] = ["A"] * 5 + ["B"] * 13
    hard = scores["patient_id"] == "P04"
    scores.loc[hard & (scores["metric"] == "dice"), "value"] /= 8
    for columns in ([], ["centre"]):
        known.attrs = {"columns": columns}
        worst = failure_blocks(found_in(scores, known), METRICS["dice"])[-1]
        assert ("centre A (5 of these 5" in worst.notes[0]) == (not columns)
        assert (
            all("centre" not in line[4] for line in lines(worst)) == ("centre" not in worst.notes[0]) == bool(columns)
        )


def test_a_study_with_nothing_to_show_has_a_section_of_sentences_or_none():
    assert failure_blocks(None, METRICS["dice"]) == []
    few = with_models(realistic(patients=2))
    blocks = failure_blocks(found_in(few), METRICS["dice"])
    assert not any(isinstance(block, Table) and not block.rows for block in blocks)
    assert "nan" not in to_markdown(blocks)


def test_scores_without_counts_are_grouped_by_what_is_known_alone():
    scores, known = scores_with_a_hard_centre()
    bare = counts_of(scores)
    bare[["tp", "fp", "fn", "lesion_tp", "lesion_fn", "volume_error"]] = np.nan
    _, _, groups, worst = failure_blocks(
        find_failures(scores, bare, known, METRICS["dice"], PAIRS, "ml"), METRICS["dice"]
    )
    assert [row[:2] for row in lines(groups)] == [["centre", "A"], ["", "B"], ["", "C"]]
    assert "Volumes are split" not in groups.notes[0] and {line[3] for line in lines(worst)} == {"-"}


def test_the_sensitivity_table_sets_every_method_beside_the_declared_test():
    scores = with_models(realistic())
    tests, found = compare(scores, COMPARE, BETTER), sensitivity(scores, COMPARE, BETTER)
    _, _, table = sensitivity_blocks(found, tests, METRICS["dice"])
    first, row = lines(table)[0], found.iloc[0]
    assert len(lines(table)) == 9 and first[:3] == [row["region"], row["model_a"], row["model_b"]]
    assert first[3] == ("<0.001" if tests["p"].iloc[0] < 0.001 else f"{tests['p'].iloc[0]:.3f}")
    assert first[4].startswith(f"{row['mixed_difference']:+.3f} (")
    assert first[6] == f"{row['p_a_better']:.2f} / {row['p_within']:.2f} / {row['p_b_better']:.2f}"
    assert np.isclose(row[["p_a_better", "p_within", "p_b_better"]].sum(), 1)
    assert "margin of 0.020" in table.notes[0]


def test_of_many_comparisons_those_are_shown_that_hang_on_the_method():
    names = ["unet", "resunet_tversky", "la_resunet", "nnunet"]
    scores = with_models(realistic([(name, 0.008 * place) for place, name in enumerate(names)], patients=12))
    declared = {**COMPARE, "test": "wilcoxon"}
    tests, found = compare(scores, declared, BETTER), sensitivity(scores, declared, BETTER)
    tests.loc[0, "p"] = 1 - tests.loc[0, "p"]
    _, bullets, *tables = sensitivity_blocks(found, tests, METRICS["dice"])
    sure = found[["p_a_better", "p_b_better"]].max(axis=1) > 0.95
    apart = (tests["p"] < 0.05) != sure
    assert 0 < apart.sum() < len(found) == 18
    assert f"(probability of one side above 0.95) in {apart.sum()} of 18 comparisons" in bullets.items[0]
    (table,) = tables
    expected = found.loc[apart, ["region", "model_a", "model_b"]].to_numpy().tolist()
    assert [line[:3] for line in lines(table)] == expected
    assert f"Shown are the {apart.sum()} of 18 rows" in table.notes[1]


def test_without_a_margin_or_a_second_training_set_the_cells_say_so():
    scores = with_models(realistic(folds=1, seeds=(1,)))
    declared = {"metrics": ["dice"], "test": "wilcoxon"}
    found = sensitivity(scores, declared, BETTER)
    _, _, table = sensitivity_blocks(found, compare(scores, declared, BETTER), METRICS["dice"])
    assert table.header[6] == "A / B" and lines(table)[0][4] == "-" and lines(table)[0][6].count("/") == 1
    assert sensitivity_blocks(None, pd.DataFrame(), METRICS["dice"]) == []
