import numpy as np
import pandas as pd
import pytest
from helpers.papers import PAPERS, REPORTS, alike, lines, table, write
from helpers.synthetic_scores import counted
from scipy import stats

from benchmark.base.records import InputError
from benchmark.papers import implied
from benchmark.papers.implied import relations, reports, sizes
from benchmark.papers.published import FILE, Interval, load, parse
from benchmark.papers.tables import Paper, implied_blocks, paper_table

GAIN = {"kind": "largest_gain", "what": "Dice"}


def of(name):
    return implied.findings(load(REPORTS / name / FILE))


def verdicts(found, relation, where=""):
    return [finding.verdict for finding in found if finding.relation == relation and where in finding.where]


def made(tmp_path, *tables, **content):
    return implied.findings(load(write(tmp_path, tables=list(tables), **content)))


# One relation at a time, on numbers worked by hand


@pytest.mark.parametrize(
    ("dice", "iou", "one_mask", "means"),
    [
        ("0.80", "0.67", "consistent", "consistent"),  # 2 * 0.67 / 1.67 = 0.802
        ("0.98", "0.95", "only by rounding", "only by rounding"),  # 0.974, at most 0.977 before rounding
        ("0.70", "0.67", "conditional", "consistent"),  # between IoU and 0.802, as means may be
        ("0.60", "0.67", None, "contradiction"),  # below IoU, as neither means nor pooled counts may be: said once
        ("0.90", "0.67", None, "contradiction"),  # above what Jensen allows
    ],
)
def test_dice_beside_iou(tmp_path, dice, iou, one_mask, means):
    found = {f.relation: f for f in made(tmp_path, table(["Dice", "IoU"], {"a": [dice, iou]}))}
    assert {relation: finding.verdict for relation, finding in found.items()} == {
        "Dice and IoU, means": means,
        **({"Dice and IoU, one mask": one_mask} if one_mask else {}),
    }
    if one_mask == "conditional":
        assert "A contradiction only if counts are pooled" in found["Dice and IoU, one mask"].sentence


def test_pooled_dice_and_iou_are_one_mask(tmp_path):
    columns = [{"name": "Dice", "aggregate": "pooled"}, {"name": "IoU", "aggregate": "pooled"}]
    (found,) = made(tmp_path, table(columns, {"a": ["0.70", "0.67"]}))
    assert (found.relation, found.verdict) == ("Dice and IoU, one mask", "contradiction")


def test_a_mean_beside_a_pooled_number_is_conditional(tmp_path):
    columns = [{"name": "Dice", "aggregate": "patients"}, {"name": "IoU", "aggregate": "pooled"}]
    (found,) = made(tmp_path, table(columns, {"a": ["0.60", "0.67"]}))
    assert (found.relation, found.verdict) == ("Dice and IoU, means", "conditional")
    # Two tumours of 1000 and 10 pixels, no false positive, 950 and 1 found: the pooled IoU exceeds the mean Dice.
    dice = [2 * 950 / 1950, 2 * 1 / 11]
    assert sum(dice) / 2 < 951 / 1010


def test_a_column_of_an_unsure_measure_makes_its_contradictions_conditional(tmp_path):
    columns = [{"name": "Mean IoU", "role": "mean_iou"}, {"name": "Mean F", "role": "mean_f"}]
    assert verdicts(made(tmp_path, table(columns, {"a": ["0.98", "0.75"]})), "order of measures") == ["contradiction"]
    columns[1]["if"] = "it is no score of contours"
    (found,) = made(tmp_path, table(columns, {"a": ["0.98", "0.75"]}))
    assert found.verdict == "conditional" and found.sentence.endswith("only if it is no score of contours.")


def test_regions_are_not_mixed(tmp_path):
    columns = [
        {"name": "Dice WT", "role": "dice", "regions": ["WT"]},
        {"name": "IoU TC", "role": "iou", "regions": ["TC"]},
    ]
    assert made(tmp_path, table(columns, {"a": ["0.9", "0.1"]})) == []


@pytest.mark.parametrize(("f1", "verdict"), [("99", "consistent"), ("94", "contradiction")])
def test_f1_of_precision_and_recall(tmp_path, f1, verdict):
    columns = [{"name": name, "unit": "%", "aggregate": "slices"} for name in ("Precision", "Recall", "F1")]
    (found,) = made(tmp_path, table(columns, {"a": ["99", "99", f1]}))
    assert found.verdict == verdict
    assert found.follows == "F1 98.5 to 99.5%"


def test_a_mean_f1_need_not_follow_from_mean_precision_and_recall(tmp_path):
    # Precision and recall of 1 and 0.5, and of 0.5 and 1: F1 is 0.67 for each, and 0.75 of the two means.
    columns = [{"name": name, "aggregate": "patients"} for name in ("Precision", "Recall", "F1")]
    (found,) = made(tmp_path, table(columns, {"a": ["0.75", "0.75", "0.67"]}))
    assert found.verdict == "conditional"


def test_prevalence_solves_accuracy():
    exact = [Interval(x, x) for x in (0.9, 0.98, 0.972)]
    assert relations.prevalence(*exact) == pytest.approx((0.1, 0.1))
    assert relations.prevalence(Interval(0.9, 0.9), Interval(0.98, 0.98), Interval(0.85, 0.85)) is None


def test_one_test_set_has_one_prevalence(tmp_path):
    names = ["Sensitivity", "Specificity", "Accuracy"]
    fitting = {"a": ["0.900", "0.980", "0.972"], "b": ["0.800", "0.990", "0.971"]}
    found = made(tmp_path, table(names, fitting, one_test_set=True))
    assert verdicts(found, "prevalence, all rows") == ["consistent"]
    unfit = {**fitting, "c": ["0.900", "0.980", "0.940"]}
    for aggregate, verdict in (("pooled", "contradiction"), ("patients", "conditional")):
        columns = [{"name": name, "aggregate": aggregate} for name in names]
        found = made(tmp_path, table(columns, unfit, one_test_set=True))
        assert verdicts(found, "prevalence, all rows") == [verdict]


def test_means_over_patients_reproduce_a_row_that_pooled_counts_do_not():
    # Tumour is 1, 3 and 25% of three patients (9.7% of all voxels); their means round to the proposed row of Table II.
    share = np.array([0.01, 0.03, 0.25])
    sensitivity, specificity = np.array([0.9641, 0.9272, 0.8897]), np.array([0.9988, 0.995, 0.977])
    tp, fp = share * sensitivity, (1 - share) * (1 - specificity)
    rates = [2 * tp / (tp + fp + share), sensitivity, specificity, tp + (1 - share) * specificity]
    assert [round(float(rate.mean()), digits) for rate, digits in zip(rates, (2, 2, 2, 3), strict=True)] == [
        0.91, 0.93, 0.99, 0.982,
    ]  # fmt: skip
    assert {*verdicts(of("mandekar2025"), "Dice of the rates", "Proposed")} == {"conditional"}


def test_dice_follows_from_prevalence_sensitivity_and_accuracy():
    counts = np.array([90.0, 18.0, 10.0, 882.0])  # tp, fp, fn, tn
    tp, fp, fn, _ = counts
    share, sensitivity, accuracy = 0.1, 0.9, (90 + 882) / 1000
    assert relations.dice_of_rates(share, sensitivity, accuracy) == pytest.approx(2 * tp / (2 * tp + fp + fn))


def test_dice_beside_a_background_iou():
    tp, fp, fn, tn = 30.0, 8.0, 9.0, 953.0
    found = relations.dice_beside_background((tp + tn) / 1000, tn / (tn + fp + fn))
    assert found == pytest.approx(2 * tp / (2 * tp + fp + fn))


def test_every_matrix_of_a_true_report_is_found():
    printed = {
        ("0", "precision"): "0.96", ("0", "recall"): "0.98", ("1", "precision"): "0.97", ("1", "recall"): "0.93",
        ("1", "f1"): "0.95", ("accuracy", "accuracy"): "0.96", ("weighted", "recall"): "0.96",
    }  # fmt: skip
    found = reports.matrices(50, 30, {cell: parse(text) for cell, text in printed.items()})
    assert [49, 1, 2, 28] in found.fitting.tolist()
    assert found.alone == [] and found.pairs == []


def test_p_values_are_those_of_scipy():
    random = np.random.default_rng(2)
    a, b = random.normal(0.9, 0.01, 9), random.normal(0.88, 0.02, 9)
    r = float(np.corrcoef(a, b)[0, 1])
    arguments = (a.mean() - b.mean(), a.std(ddof=1), b.std(ddof=1))
    runs = np.array([9])
    assert reports.p_paired(*arguments, r, runs)[0] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert reports.p_welch(*arguments, runs)[0] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_numbers_of_runs_are_those_whose_p_is_printed():
    row, reference = parse("0.90 ± 0.014"), parse("0.91 ± 0.011")
    found = reports.runs_for(row, reference, Interval(0.0, 0.05), rounding=False)["Welch's t"]
    p = [stats.ttest_ind_from_stats(0.91, 0.011, n, 0.90, 0.014, n, equal_var=False).pvalue for n in (13, 14)]
    assert p[0] >= 0.05 > p[1] and found[0] == 14
    assert reports.runs_for(row, reference, Interval(0.0, 0.05), rounding=True)["Welch's t"][0] < 14


def test_the_ends_of_what_rounds_to_a_number_are_printed_in_full(tmp_path):
    equal = {"kind": "equal", "what": "a share"}
    found = made(tmp_path, relations=[equal | {"values": [text, text]} for text in ("91.68%", "0.2353", "0.91")])
    assert [f.follows for f in found] == [
        "both are 91.675 to 91.685%", "both are 0.23525 to 0.23535", "both are 0.905 to 0.915",
    ]  # fmt: skip


def test_parameters_of_the_papers_network():
    assert relations.res_unet_parameters([16, 32, 64, 128, 256], 3) == 1_210_513


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ({"kind": "sum", "parts": ["85%", "11.25%", "3.75%"], "total": "100%"}, ["consistent"]),
        ({"kind": "sum", "parts": ["85%", "11.25%"], "total": "100%"}, ["contradiction"]),
        ({"kind": "equal", "values": ["0.98", "0.9827"]}, ["consistent"]),
        ({"kind": "equal", "values": ["0.87", "0.88"]}, ["contradiction"]),
        ({"kind": "margin", "claim": "3–6%", "best": "0.91", "others": ["0.87"]}, ["consistent"]),  # noqa: RUF001
        ({"kind": "margin", "claim": "8%", "best": "0.91", "others": ["0.84"]}, ["consistent"]),  # 0.91 / 0.84 = 1.083
        ({"kind": "margin", "claim": "3–6%", "best": "0.91", "others": ["0.90"]}, ["contradiction"]),  # noqa: RUF001
        ({"kind": "margin", "claim": "3–6%", "best": "0.91", "others": ["0.00"]}, ["contradiction"]),  # noqa: RUF001
        ({"kind": "equal", "values": ["0.87", "0.88"], "if": "both are one model's"}, ["conditional"]),
        ({"kind": "focal_tversky", "tversky": "0.9168", "loss": "0.1546", "usual": 0.75}, ["consistent"] * 2),
        ({"kind": "focal_tversky", "tversky": "0.9168", "loss": "0.9168", "usual": 0.75}, ["conditional"] * 2),
        ({"kind": "focal_tversky", "tversky": "100%", "loss": "0", "usual": 0.75}, ["consistent"] * 2),
        ({"kind": "focal_tversky", "tversky": "0", "loss": "1", "usual": 0.75}, ["consistent"] * 2),
        ({"kind": "focal_tversky", "tversky": "1.00", "loss": "0.15", "usual": 0.75}, ["conditional"] * 2),
        ({"kind": "background_iou", "accuracy": "1.0000", "iou": "1.0000", "dice": "1.0000"}, ["consistent"]),
        ({"kind": "background_iou", "accuracy": "0.9000", "iou": "1.0000", "dice": "0.7500"}, ["conditional"]),
        ({**GAIN, "claimed": ["0.80", "0.90"], "others": [["0.90", "0.91"]]},
         ["consistent"]),
        ({**GAIN, "claimed": ["0.90", "0.91"], "others": [["0.80", "0.90"]]},
         ["contradiction"]),
    ],
)  # fmt: skip
def test_declared_relations(tmp_path, relation, expected):
    assert [finding.verdict for finding in made(tmp_path, relations=[relation])] == expected


def test_numbers_at_the_ends_of_their_range_raise_nothing(tmp_path):
    names = ["Dice", "IoU", "Precision", "Recall", "F1", "Sensitivity", "Specificity", "Accuracy"]
    rows = {"all": ["1"] * 8, "none": ["0"] * 8, "1.0": ["1.00"] * 8, "0.0": ["0.00"] * 8}
    found = made(tmp_path, table(names, rows))
    assert len(found) == 20 and {finding.verdict for finding in found} == {"consistent"}
    spread = table(
        ["Mean DSC ± Std", {"name": "p", "metric": "dice"}], {"a": ["0.5 ± 0", "> 0.05"], "b": ["0.5 ± 0", "-"]}
    )
    found = made(tmp_path, {**spread, "kind": "significance", "reference": "b"})
    assert verdicts(found, "runs behind p") == ["consistent"]


def test_a_report_lists_conditional_findings_after_contradictions(tmp_path):
    columns = [{"name": "Dice", "aggregate": "patients"}, {"name": "IoU", "aggregate": "patients"}]
    found = made(tmp_path, table(columns, {"a": ["0.70", "0.67"], "b": ["0.60", "0.67"]}))
    (text, listed), (rest,) = implied_blocks(found)
    assert text.text.startswith(
        "3 relations: 1 contradiction, 0 unsupported, 1 conditional, 0 only by rounding, 1 consistent. A contr"
    )
    assert [[row[0] for row in one.rows] for one in (listed, rest)] == [["contradiction"], ["conditional"]]
    (_,), none = implied_blocks(made(tmp_path, table(columns, {"a": ["0.80", "0.67"]})))
    assert none == []


# Sizes of test sets, and statements without a number


def test_sizes_that_allow_a_share_by_hand(tmp_path):
    # 2/3 rounds to 66.7% and so do 4/6 and 6/9; 7 gives 57.1, 71.4 and 85.7%.
    relation = {"kind": "sizes", "share": "T1/a/Acc", "of": [{"size": 9, "what": "nine"}, {"size": 7, "what": "seven"}]}
    columns = [{"name": "Acc", "role": "accuracy", "unit": "%"}]
    found = made(tmp_path, table(columns, {"a": ["66.7%"]}), relations=[relation])
    by_relation = {f.sentence: f for f in found}
    assert len(by_relation) == 3
    seven, every, nine = found
    assert (nine.verdict, nine.follows) == ("consistent", "6 of 9; cut off after its last digit, no count gives it")
    assert nine.sentence.endswith("It assumes that it is rounded, not cut off.")
    assert every.follows.startswith(
        f"{len(_brute(0.667, 0.0005))} of the sizes up to 1,000 allow it: 3, 6, 9, 12, 15, 18"
    )
    assert seven.verdict == "conditional"
    assert seven.follows == "no count of 7 gives it: 4 is 57.1429% and 5 is 71.4286%"


def _brute(share, half):
    return [n for n in range(1, 1001) if any(abs(k / n - share) <= half + 1e-12 for k in range(n + 1))]


def test_sizes_are_those_of_a_search_of_all_fractions():
    for share, half in ((0.9475, 5e-5), (0.98, 0.005), (1.0, 0.005)):
        fit = [
            n for n in range(1, 1001) if sizes.count_for(Interval(share - half, min(share + half, 1)), n) is not None
        ]
        assert fit == _brute(share, half)


def test_a_random_draw_is_hypergeometric():
    assert sizes.draw_chance(2, 2, 2, 4) == pytest.approx(2 / 6)  # both of two positives of four: 1 of 6, twice
    chance = sizes.draw_chance(215, 576, 1373, 3929)
    drawn = stats.hypergeom(3929, 1373, 576)
    assert chance == pytest.approx(2 * sum(drawn.pmf(k) for k in range(215, 577)))


def test_classes_unlike_a_random_draw_are_conditional(tmp_path):
    content = table(["Support"], {"1": ["400"], "all": ["576"]})
    relation = {"kind": "drawn", "positives": "T1/1/Support", "total": "T1/all/Support", "what": "a set",
                "of_positives": 1373, "of_total": 3929, "batch": "16"}  # fmt: skip
    draw, batches = made(tmp_path, content, relations=[relation])
    assert draw.verdict == "conditional" and draw.follows.endswith("0% of random draws differ as much")
    assert batches.follows == "576 = 36 x 16"
    parts = [{"size": 590, "what": "one part"}, {"size": 20, "what": "another"}]
    *_, batches = made(tmp_path, content, relations=[relation | {"of": parts}])
    assert batches.follows == "576 = 36 x 16; in whole batches one part, 590, are 576; another, 20, are 16"
    assert len(made(tmp_path, content, relations=[relation | {"batch": "17"}])) == 1


STATES = {"states": "it is so", "where": "abstract"}
OF_REGION = {"name": "Dice ET", "role": "dice", "regions": ["ET"]}
LAYERS = table([{"name": "Shape", "role": "shape"}], {"1": ["(None,8,8,1)"], "2": ["(None,8,8,3)"]}, kind="layers")
TESTED = table(
    ["Dice", {"name": "p", "metric": "dice"}], {"ours": ["0.9", None], "one": ["0.8", "< 0.05"]},
    kind="significance", reference="ours", id="T2",
)  # fmt: skip
BASELINES = table(["Dice", "IoU"], {"ours": ["0.9", "0.8"], "one": ["0.8", "N/A"], "two": ["0.7", "N/A"]})


@pytest.mark.parametrize(
    ("relation", "tables", "verdict", "follows"),
    [
        ({"kind": "regions", "regions": ["TC", "ET"]}, [table([OF_REGION], {"a": ["0.8"]})], "unsupported",
         "no column of any table is of TC"),
        ({"kind": "regions", "regions": ["ET"]}, [table([OF_REGION], {"a": ["0.8"]})], "consistent",
         "every region has a column"),
        ({"kind": "one_output", "shape": "T1/1/Shape", "regions": ["TC", "ET"]}, [LAYERS], "unsupported",
         "the last layer has 1 channel for 2 regions"),
        ({"kind": "one_output", "shape": "T1/2/Shape", "regions": ["TC", "ET"]}, [LAYERS], "consistent",
         "the last layer has 3 channels for 2 regions"),
        ({"kind": "untested", "table": "T1", "significance": "T2"}, [BASELINES, TESTED], "unsupported",
         "1 of 2 baselines have no p in T2: two"),
        ({"kind": "untested", "table": "T2", "significance": "T2"}, [TESTED], "consistent",
         "0 of 1 baselines have no p in T2"),
        ({"kind": "alone", "table": "T1", "column": "IoU", "row": "ours"}, [BASELINES], "unsupported",
         "0 of 2 other rows of T1 have a number in the column IoU"),
        ({"kind": "alone", "table": "T1", "column": "Dice", "row": "ours"}, [BASELINES], "consistent",
         "2 of 2 other rows of T1 have a number in the column Dice"),
        ({"kind": "better", "best": "T1/ours/Dice", "others": ["T1/one/Dice"]}, [BASELINES], "unsupported",
         "no number of test patients is printed"),
        ({"kind": "better", "best": "T1/ours/Dice", "others": ["T1/one/Dice"], "patients": "25"}, [BASELINES],
         "consistent", "over 25 patients"),
    ],
)  # fmt: skip
def test_a_statement_without_a_number_is_unsupported(tmp_path, relation, tables, verdict, follows):
    relation = relation if relation["kind"] == "better" else relation | STATES
    (found,) = [
        f for f in made(tmp_path, *tables, relations=[relation])
        if f.relation not in ("Dice and IoU, one mask", "Dice and IoU, means") and not f.relation.endswith("as printed")
        and not f.relation.endswith("ladder")
    ]  # fmt: skip
    assert (found.verdict, found.follows) == (verdict, follows)
    if relation["kind"] != "better":
        assert found.said.startswith("abstract: the paper says that it is so; what follows: ")


def test_statements_without_a_number_of_patients_are_one_finding(tmp_path):
    relation = {"kind": "better", "best": "T1/ours/Dice", "others": ["T1/one/Dice"]}
    more = [relation | {"others": [f"T1/{name}/Dice"]} for name in ("one", "two")]
    for count, others in ((2, "1 other statement"), (3, "2 other statements")):
        found = made(tmp_path, BASELINES, relations=[relation | {"best": "T1/two/Dice"}, *more][:count])
        (one,) = [f for f in found if f.relation == "number of patients"]
        assert one.follows == f"no number of test patients is printed, nor for {others} of this kind"


@pytest.mark.parametrize(
    ("relation", "said"),
    [
        ({"kind": "alone", "table": "T1", "column": "HD95", "row": "ours"}, "expected one of Dice, IoU"),
        ({"kind": "untested", "table": "T1", "significance": "T1"}, "expected a table of p values"),
        ({"kind": "untested", "table": "T9", "significance": "T1"}, "has no table 'T9'"),
        ({"kind": "one_output", "shape": "T1/9/Shape", "regions": ["ET"]}, "has no number at 'T1/9/Shape'"),
        ({"kind": "regions", "regions": []}, "regions: "),
    ],
)
def test_a_statement_on_what_is_not_there_is_refused(tmp_path, relation, said):
    with pytest.raises(InputError, match=said):
        made(tmp_path, BASELINES, relations=[relation | STATES])


# The four papers


def test_deng_accuracy_is_of_no_part_that_is_stated_but_of_both_held_out_parts():
    found = {f.follows for f in of("deng2024") if f.relation == "size of a test set"}
    assert sum(one.startswith("no count of") for one in found) == 4
    # 3723 / 3929 is 94.7569% and 559 / 590 is 94.7458%: cut off instead of rounded, the finding turns round.
    assert "559 of 590; cut off after its last digit, no count gives it" in found
    (whole,) = [f for f in of("deng2024") if f.follows.startswith("no count of 3,929")]
    assert whole.follows.endswith("; cut off after its last digit, 3723 of 3,929 gives it")
    assert whole.sentence.endswith("only if it is of all 3,929 slices of LGG and it is rounded, not cut off.")
    assert sum("cut off" in f.follows + f.sentence for f in of("deng2024")) == 2


def test_hossen_classes_may_be_a_random_draw_of_lgg():
    (draw,) = [f for f in of("hossen2025") if f.relation == "a random draw"]
    assert (draw.verdict, draw.printed) == ("consistent", "215 of 576")
    assert draw.follows.startswith("37.3%, where 1,373 of 3,929 are 34.9%: ")
    # The held-out 15% that also fits the accuracy of deng2024, less what did not fill the last batch of 16.
    (batches,) = [f for f in of("hossen2025") if f.relation == "whole batches"]
    assert "; 15%, 590, are 576; " in batches.follows


def test_hossen_no_confusion_matrix_gives_table_1():
    found = of("hossen2025")
    assert verdicts(found, "F1 of precision, recall", "Table I, 1") == ["contradiction"]
    assert verdicts(found, "F1 of precision, recall", "Table I, 0") == ["consistent"]
    (matrix,) = [finding for finding in found if finding.relation == "a confusion matrix"]
    assert matrix.verdict == "contradiction" and matrix.follows.startswith("0 of 78192 matrices")
    pairs = [finding.printed for finding in found if finding.relation == "two cells"]
    assert "accuracy 98%, weighted average of recall 97" in pairs
    assert matrix.follows.endswith(
        "without 3 of these, recall of class 1, f1 of class 1, weighted average of recall, 5 do, such as TN 358, "
        "FP 3, FN 11, TP 204"
    )
    assert implied.summary(found).endswith(f"9 contradictions are of Table I and not independent: {matrix.follows}.")


def test_fozzati_mean_iou_does_not_go_with_dice():
    found = of("fozzati2024")
    (dice,) = [finding for finding in found if finding.relation == "mean IoU, means"]
    assert (dice.verdict, dice.printed) == ("conditional", "mean IoU 0.98, Dice 0.75")
    (fscore,) = [finding for finding in found if "Mean F-score" in finding.printed]
    assert fscore.verdict == "conditional" and "contours" in fscore.sentence
    # Read as the background's IoU, the printed number goes with the printed Dice.
    assert verdicts(found, "IoU of the background") == ["only by rounding"]


def test_few_cells_of_a_report_are_enough_to_explain_its_contradictions():
    table = load(REPORTS / "hossen2025" / FILE).table("Table I")
    kept = {name: value for name, value in reports.printed_report(table).items()
            if name not in (("1", "recall"), ("1", "f1"), ("weighted", "recall"))}  # fmt: skip
    assert len(reports.matrices(361, 215, kept).fitting) > 0


def test_mandekar_rates_need_one_share_of_tumour_and_p_values_a_number_of_runs():
    found = of("mandekar2025")
    (share,) = [finding for finding in found if finding.relation == "prevalence, all rows"]
    assert (share.verdict, share.follows) == ("only by rounding", "tumour is 12.273 to 12.5% of the voxels")
    (joint,) = [finding for finding in found if finding.relation == "runs behind all p"]
    assert "paired t, r = 0: 15 or more (before rounding 6 or more)" in joint.follows
    assert "Welch's t: 14 or more (before rounding " in joint.follows
    # Section 4.5 averages over sub-regions, so that pooled counts alone are not enough.
    assert "not averaged over patients, images or regions" in share.sentence
    # Only the margins over nnU-Net and Swin-UNETR are outside of 3 to 6% in both readings.
    assert verdicts(found, "claimed margin") == [*["contradiction"] * 2, "only by rounding", *["consistent"] * 2]


def test_deng_layers_contradict_each_other_and_the_total():
    found = of("deng2024")
    wrong = [
        (f.relation, f.printed + f.where + f.follows)
        for f in found
        if f.verdict == "contradiction" and f.where.startswith("Table 2")
    ]
    assert [relation for relation, _ in wrong] == ["pooling keeps channels", "concatenation adds up"]
    assert "Table 2/5/" in wrong[0][1] and "Table 2/6/" in wrong[1][1] and wrong[1][1].endswith("144")
    # The structure of a block is not printed; it is the one under which the other reading gives the total.
    assert verdicts(found, "total of parameters") == ["conditional", "consistent"]
    totals = [f.follows for f in found if f.relation == "total of parameters"]
    assert totals[0].startswith("1101553 ") and totals[1].startswith("1210513 ")
    assert verdicts(found, "focal Tversky exponent") == ["consistent"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mandekar2025", (2, 3, 7)), ("hossen2025", (9, 1, 0)), ("deng2024", (3, 2, 7)), ("fozzati2024", (0, 0, 6))],
)
def test_contradictions_are_counted_apart_from_conditional_ones(name, counts):
    found = of(name)
    first = ("contradiction", "unsupported", "conditional")
    assert tuple(sum(f.verdict == verdict for f in found) for verdict in first) == counts
    assert "{} contradictions, {} unsupported, {} conditional, ".format(*counts) in implied.summary(found)
    assert [f.verdict for f in found] == sorted((f.verdict for f in found), key=implied.VERDICTS.index)
    assert all("only if" in f.sentence for f in found if f.verdict == "conditional")


def test_the_command_lists_contradictions_first(command, tmp_path, monkeypatch):
    monkeypatch.chdir(REPORTS.parent)
    for name in PAPERS:
        code, out, err = command("implied", name)
        assert (code, err) == (0, "") and "contradiction" in out
        assert out.startswith("Conditional:\n- " if name == "fozzati2024" else "Contradiction:\n- ")
    assert "conditional" in command("implied", "fozzati2024")[1]
    code, _, err = command("implied", "brats_small")
    assert code == 2 and "has no published.json" in err


def test_a_printed_measure_that_may_be_another_is_not_compared_without_saying_so():
    published = load(REPORTS / "fozzati2024" / FILE)
    scores = counted(["unet_dice_focal/assumed"], regions=("tumour",), patients=3)
    whole = alike(published, "unet_dice_focal/assumed")
    paper = Paper(published, scores, scores[:0], made={"unet_dice_focal/assumed": whole})
    shown = paper_table(paper, published.tables[0])
    said = {row[2]: row[-1] for row in lines(shown)}
    assert said["Mean F-score"].startswith("higher if [") and said["Mean F-score"] != said["Mean IoU"]
    assert any("; Mean F-score is the same measure as ours" in note for note in shown.notes)
    assert any(note.startswith("Mean F-score: the same measure as ours only if") for note in shown.notes)


def test_a_printed_number_of_two_readings_stands_beside_both_of_ours():
    published = load(REPORTS / "fozzati2024" / FILE)
    pixels = counted(["unet_dice_focal/assumed"], regions=("tumour",), patients=3)
    contours = pixels[pixels["metric"] == "dice"].assign(metric="mean_bf", value=[0.7, 0.8, 0.9])
    for scores, expected in ((pixels, "not scored"), (pd.concat([pixels, contours]), "0.800")):
        shown = paper_table(Paper(published, scores, scores[:0]), published.tables[0])
        own = [row for row in lines(shown) if row[1] == "unet_dice_focal/assumed"]
        names = [row[2] for row in own]
        place = names.index("Mean F-score")
        assert names[place + 1] == "Mean F-score, of contours" and names.count("Mean F-score, of contours") == 1
        assert own[place][3] == own[place + 1][3] == "0.75"
        assert own[place + 1][4] == expected != own[place][4]
    assert any(note.startswith("Mean F-score, of contours: the same measure as ours only") for note in shown.notes)
