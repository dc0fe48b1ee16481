"""Calibration errors and reliability from 8-bit codes: hand-made counts, the plain definition, and MONAI's metric."""

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import CalibrationErrorMetric

from benchmark.data.probabilities import MOST
from benchmark.scoring.calibration import bins_of_case, errors, pooled, reliability

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
WHO = {"bundle": "unet", "variant": "default", "fold": 0, "seed": 1, "patient_id": "P1", "case_id": "P1_1"}


def table(codes, label, regions=REGIONS, **who):
    return pd.DataFrame([{**WHO, **who, **row} for row in bins_of_case(codes, label, regions)])


def made(seed, shape=(9, 10, 11)):
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, (3, *shape)).astype(np.uint8)
    return codes, random.choice([0, 1, 2, 4], shape).astype(np.uint8)


def test_a_hand_made_case_has_the_errors_that_follow():
    # Four voxels at probability 0, one of them tumour; two at 1, one of them tumour; four at 0.6, all of them tumour.
    codes = np.array([0, 0, 0, 0, 255, 255, 153, 153, 153, 153], np.uint8)
    label = np.array([4, 0, 0, 0, 4, 0, 4, 4, 4, 4], np.uint8)
    rows = table([codes], label, {"ET": (4,)})
    assert rows[["bin", "n", "n_true", "sum_codes"]].values.tolist() == [[0, 4, 1, 0], [11, 4, 4, 612], [19, 2, 1, 510]]
    (found,) = errors(rows).to_dict("records")
    assert found["ece"] == pytest.approx((4 * 0.25 + 4 * 0.4 + 2 * 0.5) / 10)
    assert found["ace"] == pytest.approx((0.25 + 0.4 + 0.5) / 3)


@pytest.mark.parametrize("seed", range(4))
def test_errors_are_those_of_monai(seed):
    codes, label = made(seed)
    ours = errors(table(codes, label)).set_index("region")
    truth = np.stack([np.isin(label, values) for values in REGIONS.values()])
    for name, reduction in (("ece", "expected"), ("ace", "average")):
        metric = CalibrationErrorMetric(calibration_reduction=reduction, metric_reduction="none")
        metric(y_pred=torch.from_numpy(codes / MOST)[None].float(), y=torch.from_numpy(truth)[None])
        np.testing.assert_allclose(ours[name], metric.aggregate()[0], atol=1e-6)


def test_every_code_is_in_the_bin_where_monai_has_it():
    codes, label = np.arange(256, dtype=np.uint8), np.full(256, 4, np.uint8)
    for code in range(256):
        metric = CalibrationErrorMetric(calibration_reduction="average", metric_reduction="none")
        pair = [np.append(codes, code)[None, None], np.append(label, 0)[None, None] == 4]
        metric(y_pred=torch.from_numpy(pair[0] / MOST).float(), y=torch.from_numpy(pair[1]))
        (ours,) = errors(table([pair[0][0, 0]], np.append(label, 0).astype(np.uint8), {"ET": (4,)}))["ace"]
        # The one voxel that is no tumour changes the share of one bin only.
        assert ours == pytest.approx(metric.aggregate().item(), abs=1e-6)


def test_a_large_background_is_counted_exactly():
    codes = np.zeros(20_000_000, np.uint8)
    codes[:10_000_000] = 1
    label = np.zeros(20_000_000, np.uint8)
    (found,) = errors(table([codes], label, {"ET": (4,)})).to_dict("records")
    assert found["ece"] == found["ace"] == 0.5 / MOST


def test_a_model_is_as_reliable_as_all_its_cases_together():
    parts = [made(1), made(2)]
    rows = pd.concat([table(*part, case_id=f"P1_{place}") for place, part in enumerate(parts)])
    found = reliability(pooled(rows))
    codes = np.concatenate([part[0][2].ravel() for part in parts])
    truth = np.concatenate([part[1].ravel() for part in parts]) == 4
    inside = (codes / MOST > 0.5) & (codes / MOST <= 0.55)
    (row,) = found[(found["region"] == "ET") & (found["bin"] == 10)].to_dict("records")
    assert row["n"] == inside.sum() and row["share"] == pytest.approx(truth[inside].mean())
    assert row["probability"] == pytest.approx(codes[inside].mean() / MOST)
    assert found["n"].sum() == 3 * len(codes)
