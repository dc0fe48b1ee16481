"""Tables and figures of calibration and of ensembles, from hand-made rows."""

import numpy as np
import pandas as pd
from helpers.papers import lines
from helpers.synthetic_scores import rows, table
from matplotlib.image import imread

from benchmark.report.document import Text
from benchmark.report.probabilities import blocks, calibration_table, reliability, uncertainty_table, with_ensembles
from benchmark.report.tables import comparison_table
from benchmark.scoring.metrics import METRICS
from benchmark.scoring.score_table import KEYS
from benchmark.stats.patients import summarise, with_models

OF = {"unet/ensemble": "unet"}


def errors(model, values, seed=1):
    bundle, _, variant = model.partition("/")
    made = [(bundle, variant or "default", 0, seed, name, name, "ET", ece, 2 * ece) for name, ece in values.items()]
    return pd.DataFrame(made, columns=[*KEYS, "ece", "ace"]).assign(model=model)


def test_seeds_are_averaged_within_a_patient_before_the_mean():
    found = pd.concat([
        errors("unet", {"P1": 0.1, "P2": 0.2}), errors("unet", {"P1": 0.3, "P2": 0.2}, seed=2),
        errors("unet/ensemble", {"P1": 0.05, "P2": 0.15}, seed=0),
    ])  # fmt: skip
    made = calibration_table(found, OF)
    assert made.columns == ["Model", "ECE ↓ ET", "ACE ↓ ET"]
    assert lines(made) == [
        ["unet", "0.2000 ± 0.0000", "0.4000 ± 0.0000"],
        ["unet, ensemble", "0.1000 ± 0.0707", "0.2000 ± 0.1414"],
    ]


def test_a_study_that_kept_nothing_says_so_and_one_that_kept_some_names_the_rest():
    (_, only) = blocks(None, {}, None, ["unet"])
    assert "No run of this study kept the probabilities" in only.text
    found = blocks(errors("unet", {"P1": 0.1}), {}, None, ["la_resunet"])
    assert [block.text for block in found if isinstance(block, Text)] == [
        "Not every run kept its probabilities: la_resunet."
    ]
    # The SD over one patient is none.
    assert lines(found[-1]) == [["unet", "0.1000", "0.2000"]]


def scores():
    names = [f"P{place:02d}" for place in range(12)]
    good = {name: 0.3 if place < 5 else 0.8 for place, name in enumerate(names)}
    first, second = ({name: value + step for name, value in good.items()} for step in (-0.04, 0.0))
    joined = {name: value + 0.01 * (place % 3) for place, (name, value) in enumerate(good.items())}
    seeds = [rows("unet", first, region="ET"), rows("unet", second, region="ET", seed=2)]
    return with_models(table(*seeds)), with_models(table(rows("unet/ensemble", joined, region="ET", seed=0)))


def test_an_ensemble_is_a_row_more_with_no_mark():
    single, joined = scores()
    summary = summarise(single)
    bare = comparison_table(summary, pd.DataFrame(columns=["metric"]), ["dice"], METRICS)
    made = with_ensembles(bare, summarise(joined), ["dice"], METRICS, OF)
    assert made.rows[:-1] == bare.rows
    name, cell = made.rows[-1]
    values = joined["value"]
    assert name == "unet, ensemble" and cell.text == f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
    assert not cell.bold and not cell.mark and cell.key.model == "unet/ensemble"


def test_disagreement_is_set_against_failed_cases():
    single, joined = scores()
    apart = pd.DataFrame({"case_id": joined["case_id"], "region": "ET", "model": "unet/ensemble", "n_seeds": 2})
    for disagreement, expected in ((1 - joined["value"], "1.00"), (joined["value"], "0.00"), (0.5, "0.50")):
        rows_ = apart.assign(disagreement=disagreement)
        made = uncertainty_table(OF, pd.concat([single, joined]), rows_, METRICS["dice"])
        (found,) = lines(made)
        # The mean over patients of 0.01 x (0, 1 or 2), and the seeds' mean is 0.02 below the good one.
        assert found[:4] == ["ET", "unet", "2", "+0.030"] and found[6:] == ["5 of 12", expected]
    few = joined[joined["case_id"] > "P00"]
    made = uncertainty_table(OF, pd.concat([single, few]), apart[1:].assign(disagreement=0.1), METRICS["dice"])
    assert lines(made)[0][6:] == ["4 of 11", "none"]


def test_the_figure_has_a_panel_per_model_and_region(tmp_path):
    places = np.arange(20)
    curve = pd.DataFrame({"bin": places, "n": 1000, "probability": places / 20 + 0.02, "share": places / 20})
    one = reliability(tmp_path / "one.png", curve.assign(model="unet", region="ET"), {})
    parts = [curve.assign(model=model, region=region) for model in ("unet", "a", "unet/ensemble") for region in "WE"]
    four = reliability(tmp_path / "four.png", pd.concat(parts), OF)
    sizes = [imread(path).shape[:2] for path in (one, four)]
    assert sizes[1][0] > 1.5 * sizes[0][0] and sizes[1][1] > 1.5 * sizes[0][1]
    assert all(imread(path).std() > 0.02 for path in (one, four))
