from dataclasses import replace

import numpy as np
from helpers.papers import REPORTS, alike, lines
from helpers.synthetic_scores import counted, table

from benchmark.papers.claims import box
from benchmark.papers.published import FILE, load
from benchmark.papers.tables import Verdicts
from benchmark.papers.values import Paper
from benchmark.report.document import Bullets, Table
from benchmark.scoring.metrics import METRICS
from benchmark.stats.compare import compare

COMPARE = {"metrics": ["dice"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05}
BETTER = {name: metric.better for name, metric in METRICS.items()}
PUBLISHED = load(REPORTS / "mandekar2025" / FILE)


def paper_of(models=("unet", "resunet", "la_resunet"), **entries):
    scores = counted(models, regions=("WT", "TC"), patients=8)
    tests = compare(scores[scores["metric"] == "dice"], COMPARE, BETTER)
    # Of a pair one is la_resunet, which is 0.3 better in WT, and as much worse than resunet in TC.
    sign = np.where(tests["model_a"] == "la_resunet", 1.0, -1.0)
    worse = (tests["region"] == "TC") & tests[["model_a", "model_b"]].eq("resunet").any(axis=1)
    tests = tests.assign(difference=np.where(worse, -0.3, 0.3) * sign, significant=tests["region"].eq("WT") | worse)
    tests = tests.assign(ci_low=tests["difference"] - 0.1, ci_high=tests["difference"] + 0.1)
    better = np.where(tests["difference"] > 0, "a better", "b better")
    tests = tests.assign(verdict=np.where(tests["significant"], better, "no difference shown"))
    return Paper(PUBLISHED, scores, tests, **{"made": {name: alike(PUBLISHED, name) for name in models}, **entries})


def claims_of(paper):
    blocks = box(paper, Verdicts(paper))
    (found,) = [block for block in blocks if isinstance(block, Table)]
    return blocks, {row[0]: row[1:] for row in lines(found)}


UNET = "la_resunet over unet, Dice (abstract; printed +0.07, 3\N{EN DASH}6%)"
DICE = "Dice of the proposed network (abstract; printed 0.91)"


def test_each_claim_has_a_line_with_what_is_printed_and_what_is_shown():
    blocks, found = claims_of(paper_of())
    assert found[UNET] == [
        "shown in WT; not shown in TC",
        "WT +0.300 (+0.200 to +0.400), TC +0.300 (+0.200 to +0.400)",
    ]  # fmt: skip
    over = found[UNET.replace("over unet", "over resunet").replace("7", "3", 1)]
    assert over[0] == "shown in WT; the opposite shown in TC" and over[1].endswith("TC -0.300 (-0.400 to -0.200)")
    assert (
        found[UNET.replace("over unet", "over swin_unetr").replace("7", "1", 1)][0] == "cannot be judged here: not run"
    )
    assert found["la_resunet over unet, Sensitivity (section 5.2; printed +0.07)"][0].endswith(
        "here: the pair was not declared"
    )
    (said,) = [block.items for block in blocks if isinstance(block, Bullets)]
    assert "after Holm's correction over all 6 declared comparisons; on 8 patients." in said[1]
    assert "intervals are not corrected" in said[1] and "Gate" not in " ".join(said)
    assert said[0].startswith(
        "16 claims that one model is better than another: 1 in some regions only, 1 with the opposite"
    )
    assert said[0].endswith(", 14 cannot be judged here.") and said[2].endswith("not about the methods.")


def test_a_claim_is_answered_as_the_verdict_is_where_ranks_and_mean_disagree():
    paper = paper_of()
    turned = paper.comparisons.assign(difference=-paper.comparisons["difference"])
    _, found = claims_of(replace(paper, comparisons=turned))
    assert found[UNET][0] == "shown in WT; not shown in TC" and found[UNET][1].startswith("WT -0.300")


def test_a_gated_claim_is_not_called_not_shown_where_it_was_never_tested():
    scores = counted(["unet", "resunet", "la_resunet"], regions=("WT", "TC"), patients=8)
    primary = {**COMPARE, "primary": {"pairs": [["la_resunet", "resunet"]]}}
    tests = compare(scores[scores["metric"] == "dice"], primary, BETTER)
    # By its own p, which nothing may be read from, the gated pair would differ.
    tests = tests.assign(p=np.where(tests["family"] == "gated", 1e-9, tests["p"]))
    paper = replace(paper_of(), comparisons=tests.assign(significant=False, verdict="no difference shown"))
    blocks, found = claims_of(paper)
    over = {name: found[head][0] for head in found for name in ("unet", "resunet") if f"over {name}, Dice (abs" in head}
    assert over == {"unet": "not tested (gate shut)", "resunet": "not shown"}
    (items,) = [block.items for block in blocks if isinstance(block, Bullets)]
    said = " ".join(items)
    assert "1 not shown" in said and "1 not tested (gate shut)." in said and "Gate shut: some primary" in said
    assert "over the 2 primary comparisons, and over the 4 others only if all primary ones" in said
    # An open gate: the same row is tested.
    opened = paper.comparisons.assign(significant=tests["family"] == "primary", note="")
    assert claims_of(replace(paper, comparisons=opened))[1][UNET][0] == "not shown"


def test_a_claim_of_other_regions_than_were_compared_is_not_tested():
    paper = paper_of(("la_resunet", "la_resunet/fusion"))
    _, found = claims_of(paper)
    (line,) = [row for head, row in found.items() if "in TC and ET" in head]
    # WT, where it is shown, is not claimed; ET was not compared.
    assert line == ["not shown in TC; not tested in ET", "TC +0.300 (+0.200 to +0.400)"]
    other = replace(paper, comparisons=paper.comparisons[paper.comparisons["region"] == "WT"])
    (line,) = [row for head, row in claims_of(other)[1].items() if "in TC and ET" in head]
    assert line[0] == "cannot be judged here: the pair was not declared"


def test_what_keeps_all_claims_from_being_verdicts_is_said_once():
    few = {name: alike(PUBLISHED, name, learning=1) for name in ("unet", "resunet", "la_resunet")}
    blocks, found = claims_of(paper_of(made=few))
    assert found[UNET][0] == "shown in WT; not shown in TC"
    assert found[DICE][0] == "cannot be judged here"
    (notes,) = [block.items for block in blocks if isinstance(block, Bullets)]
    assert notes[-1] == "Of every line: [1] no verdict on the paper: no training reached its plateau."
    # Where other lines have no such reason, each that has it names it.
    _, found = claims_of(paper_of(made={name: alike(PUBLISHED, name, learning=name == "unet") for name in few}))
    assert found[UNET][0] == "shown in WT; not shown in TC [1]" and "cannot" not in found[DICE][0]


def test_a_level_stands_beside_ours_and_an_accuracy_beside_always_naming_one_class():
    _, found = claims_of(paper_of())
    said, shown = found[DICE]
    assert shown.startswith("la_resunet: 0.") and said.endswith("if [1]")
    published = load(REPORTS / "deng2024" / FILE)
    scores = counted(["resnet50_classifier"], regions=("slice",), size=600, patients=8)
    model = "resnet50_classifier"
    _, found = claims_of(Paper(published, scores, table(), made={model: alike(published, model, weights="")}))
    said, shown = found["accuracy of the classifier (section 4.1; printed 94.75%)"]
    assert said == "cannot be judged here" and "; always naming " in shown
    assert found["Tversky index of the segmenter (abstract; printed 91.68%)"] == [
        "cannot be judged here: not run",
        "none",
    ]
