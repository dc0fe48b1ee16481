import numpy as np
import pytest
from helpers.papers import REPORTS, lines, table, write
from helpers.synthetic_scores import counted, realistic
from scipy import stats

from benchmark.papers.published import FILE, load
from benchmark.papers.risks import gains, risk_blocks
from benchmark.papers.values import Paper, places
from benchmark.stats.patients import patient_table

COLUMN = {"name": "Dice", "metric": "dice", "regions": "mean", "aggregate": "patients"}
BETTER = {"kind": "better", "best": "T1/ours/Dice", "others": ["T1/base/Dice"]}


def paper(tmp_path, values=("0.91", "0.90"), models=("la_resunet", "unet"), column=COLUMN, relations=(BETTER,)):
    content = table([column], {"ours": [values[0]], "base": [values[1]]})
    for row, model in zip(content["rows"], models, strict=True):
        row["model"] = model
    scores = realistic()
    return Paper(load(write(tmp_path, tables=[content], relations=list(relations))), scores, scores[:0])


def test_a_printed_claim_has_the_spread_and_correlation_of_our_scores(tmp_path):
    _, found = risk_blocks(paper(tmp_path))
    (row,) = lines(found)
    assert row[:3] == ["0.91 over 0.90", "ours", "base"]
    tables = {region: patient_table(realistic(), "dice", region) for region in ("WT", "TC", "ET")}
    tables["mean"] = sum(tables.values()) / 3
    spreads = {name: own["la_resunet"] - own["unet"] for name, own in tables.items()}
    first = [own["la_resunet"].std() for own in tables.values()]
    assert row[3] == f"{first[-1]:.2f} ({min(first):.2f} to {max(first):.2f})"
    r = [own["la_resunet"].corr(own["unet"]) for own in tables.values()]
    assert row[5] == f"{r[-1]:.2f} ({min(r):.2f} to {max(r):.2f})"
    # As printed the gain is 0.01, and 0 to 0.02 before rounding.
    p = [stats.t.cdf(-np.sqrt(18) * gain / own.std(), 17) for own in spreads.values() for gain in (0.0, 0.01, 0.02)]
    assert row[6].startswith(f"{stats.t.cdf(-np.sqrt(18) * 0.01 / spreads['mean'].std(), 17):.3f} (")
    assert row[6].endswith(f"{max(p):.3f})") and max(p) == 0.5
    count = int(row[7].split(" ")[0].replace(",", ""))
    risk = [stats.t.cdf(-np.sqrt(n) * 0.01 / spreads["mean"].std(), n - 1) for n in (count, count - 1)]
    assert risk[0] <= 0.05 < risk[1]
    assert row[7].endswith("to no number)")
    assert "on 18 patients" in found.notes[0]


def test_one_region_has_no_range_over_regions(tmp_path):
    row = lines(risk_blocks(paper(tmp_path, column=COLUMN | {"regions": ["WT"]}))[1])[0]
    assert "(" not in row[3] + row[4] + row[5]


def test_a_claim_over_a_model_that_was_not_run_is_left_out(tmp_path):
    assert risk_blocks(paper(tmp_path, models=("la_resunet", "nnunet"))) == []
    assert risk_blocks(paper(tmp_path, relations=())) == []


def test_a_row_cited_from_other_data_has_a_reason_and_no_probability(tmp_path):
    own = paper(tmp_path, models=("la_resunet", "unet"))
    own.published.tables[0]["rows"][1]["none"] = "cited from another paper, on other data"
    said = "No P(false) over base (T1, cited from another paper, on other data): it needs both models' scores of the"
    blocks = risk_blocks(own)
    assert blocks[-1].text.startswith(said)
    own = paper(tmp_path, relations=())
    own.published.tables[0]["rows"][1]["none"] = "cited from another paper, on other data"
    (_, alone) = risk_blocks(own)
    assert alone.text.startswith(said)


def test_each_claim_of_the_papers_tables_on_models_of_ours_has_a_probability():
    published = load(REPORTS / "mandekar2025" / FILE)
    models = ["unet", "la_resunet", "la_resunet/plain", "la_resunet/residual", "la_resunet/dice"]
    scores = counted(models, regions=("WT", "TC"), patients=8)
    _, shown = risk_blocks(Paper(published, scores, scores[:0]))
    assert [row[:3] for row in lines(shown)] == [
        ["0.91 over 0.84", "Proposed LA-ResUNet", "U-Net"],
        ["0.93 over 0.86", "Proposed LA-ResUNet", "U-Net"],
        ["0.87 over 0.84", "+ Residual blocks", "U-Net (baseline)"],
        ["0.91 over 0.90", "+ Dice + Focal loss (LA-ResUNet)", "+ Dice loss only"],
        ["0.93 over 0.91", "+ Dice + Focal loss (LA-ResUNet)", "+ Dice loss only"],
    ]
    (hossen,) = risk_blocks(Paper(load(REPORTS / "hossen2025" / FILE), scores, scores[:0]))[1:]
    assert "Micallef et al. [2], U-Net++" in hossen.text


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("dice", ("0.91", "0.90"), (0.01, 0.0, 0.02)),
        ("dice", ("0.91", "0.84"), (0.07, 0.06, 0.08)),
        ("dice", ("0.90", "0.91"), (0.0, 0.0, 0.0)),
        ("hd95", ("4.5", "5.0"), (0.5, 0.4, 0.6)),
    ],
)
def test_gains_before_and_after_rounding(metric, values, expected):
    column = {"name": "x", "metric": metric}
    content = table([column], {"ours": [values[0]], "base": [values[1]]})
    assert gains(*places(content)) == pytest.approx(expected)
