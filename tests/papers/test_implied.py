import numpy as np
import pytest
from helpers.papers import PAPERS, REPORTS, alike, lines, table, write
from helpers.synthetic_scores import counted
from scipy import stats

from benchmark.papers import implied
from benchmark.papers.implied import relations, reports
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
    text, listed = implied_blocks(found)
    assert text.text.startswith(
        "3 relations: 1 contradiction, 1 conditional, 0 only by rounding, 1 consistent. A contr"
    )
    assert [row[0] for row in listed.rows] == ["contradiction", "conditional"]
    assert implied_blocks(made(tmp_path, table(columns, {"a": ["0.80", "0.67"]})))[1:] == []


# The four papers


def test_hossen_no_confusion_matrix_gives_table_1():
    found = of("hossen2025")
    assert verdicts(found, "F1 of precision, recall", "Table I, 1") == ["contradiction"]
    assert verdicts(found, "F1 of precision, recall", "Table I, 0") == ["consistent"]
    (matrix,) = [finding for finding in found if finding.relation == "a confusion matrix"]
    assert matrix.verdict == "contradiction" and matrix.follows.startswith("0 of 78192 matrices")
    pairs = [finding.printed for finding in found if finding.relation == "two cells"]
    assert "accuracy 98%, weighted average of recall 97" in pairs
    assert matrix.follows.endswith(
        "without 3 of these, recall of class 1, f1 of class 1, weighted average of recall, one does: TN 358, FP 3, "
        "FN 11, TP 204"
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
    assert (share.verdict, share.follows) == ("only by rounding", "tumour is 12.27 to 12.5% of the voxels")
    (joint,) = [finding for finding in found if finding.relation == "runs behind all p"]
    assert "paired t, r = 0: 15 or more" in joint.follows and "Welch's t: 14 or more" in joint.follows
    # Section 4.5 averages over sub-regions, so that pooled counts alone are not enough.
    assert "not averaged over patients, images or regions" in share.sentence
    # Only the margins over nnU-Net and Swin-UNETR are outside of 3 to 6% in both readings.
    assert verdicts(found, "claimed margin") == ["only by rounding", *["consistent"] * 2, *["contradiction"] * 2]


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
    [("mandekar2025", (2, 7)), ("hossen2025", (9, 0)), ("deng2024", (3, 3)), ("fozzati2024", (0, 5))],
)
def test_contradictions_are_counted_apart_from_conditional_ones(name, counts):
    found = of(name)
    assert tuple(sum(f.verdict == verdict for f in found) for verdict in ("contradiction", "conditional")) == counts
    assert f": {counts[0]} contradictions, {counts[1]} conditional, " in implied.summary(found)
    assert all("only if" in f.sentence for f in found if f.verdict == "conditional")


def test_the_command_prints_a_table(command, tmp_path, monkeypatch):
    monkeypatch.chdir(REPORTS.parent)
    for name in PAPERS:
        code, out, err = command("implied", name)
        assert (code, err) == (0, "") and "contradiction" in out
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
