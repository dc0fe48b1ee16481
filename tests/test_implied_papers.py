import pytest
from synthetic_scores import counted
from test_implied import of, verdicts
from test_published import PAPERS, REPORTS

from benchmark import implied
from benchmark.published import FILE, load
from benchmark.report.paper import Paper, paper_table


def test_hossen_no_confusion_matrix_gives_table_1():
    found = of("hossen2025")
    assert verdicts(found, "F1 of precision, recall", "Table I, 1") == ["contradiction"]
    assert verdicts(found, "F1 of precision, recall", "Table I, 0") == ["consistent"]
    (matrix,) = [finding for finding in found if finding.relation == "a confusion matrix"]
    assert matrix.verdict == "contradiction" and matrix.follows.startswith("0 of 78192 matrices")
    pairs = [finding.printed for finding in found if finding.relation == "two cells"]
    assert "accuracy 98%, weighted average of recall 97" in pairs


def test_fozzati_mean_iou_does_not_go_with_dice():
    found = of("fozzati2024")
    (dice,) = [finding for finding in found if finding.relation == "mean IoU, means"]
    assert (dice.verdict, dice.printed) == ("conditional", "mean IoU 0.98, Dice 0.75")
    (fscore,) = [finding for finding in found if "Mean F-score" in finding.printed]
    assert fscore.verdict == "conditional" and "contours" in fscore.sentence
    # Read as the background's IoU, the printed number goes with the printed Dice.
    assert verdicts(found, "IoU of the background") == ["only by rounding"]


def test_mandekar_rates_need_one_share_of_tumour_and_p_values_a_number_of_runs():
    found = of("mandekar2025")
    (share,) = [finding for finding in found if finding.relation == "prevalence, all rows"]
    assert (share.verdict, share.follows) == ("only by rounding", "tumour is 12.27 to 12.5% of the voxels")
    (joint,) = [finding for finding in found if finding.relation == "all rows, p as a ladder"]
    assert "paired t, r = 0: none" in joint.follows and "paired t, r = 0.75: 6" in joint.follows
    # Only the margins over nnU-Net and Swin-UNETR are outside of 3 to 6% in both readings.
    assert verdicts(found, "claimed margin") == ["only by rounding", *["consistent"] * 2, *["contradiction"] * 2]


def test_deng_layers_contradict_each_other_and_the_total():
    found = of("deng2024")
    wrong = [(f.relation, f.where) for f in found if f.verdict == "contradiction" and f.where.startswith("Table 2")]
    assert [relation for relation, _ in wrong] == ["pooling keeps channels", "concatenation adds up"]
    assert "row 5" in wrong[0][1] and "row 14" in wrong[1][1]
    # The structure of a block is not printed; it is the one under which the other reading gives the total.
    assert verdicts(found, "total of parameters") == ["conditional", "consistent"]
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
    scores = counted(["unet_dice_focal/as_in_paper"], regions=("tumour",), patients=3)
    shown = paper_table(Paper(published, scores, scores[:0]), published.tables[0])
    said = {row[2]: row[-1] for row in shown.rows}
    assert said["Mean F-score"].startswith("not comparable: measure not sure, see below (would be: ")
    assert not said["Mean IoU"].startswith("not comparable")
    assert any(note.startswith("Mean F-score: the same measure as ours only if") for note in shown.notes)
