"""Losses against values worked out by hand with plain arithmetic, on tensors small enough to do so."""

import math

import pytest
import torch
from helpers.project import REPOSITORY
from monai.bundle import ConfigParser
from monai.losses import DiceLoss
from torch import nn

from benchmark.base.records import InputError
from benchmark.training.losses import FocalTverskyLoss, WeightedSum

LOGITS = torch.tensor([[[[2.0, -1.0]], [[0.5, -3.0]]], [[[-2.0, 1.0]], [[-0.5, 0.0]]]])
TRUTH = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]], [[[1.0, 0.0]], [[0.0, 1.0]]]])
"""Two images of two channels and 1x2 pixels."""

CHANNELS = [([2.0, -1.0, -2.0, 1.0], [1, 0, 1, 0]), ([0.5, -3.0, -0.5, 0.0], [1, 0, 0, 1])]
"""The same numbers, one row of logits and truths a channel, both images in one row."""


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def counts(logits, truths):
    """Soft TP, FP and FN of one channel."""
    pairs = [(sigmoid(x), y) for x, y in zip(logits, truths, strict=True)]
    return sum(p * y for p, y in pairs), sum(p * (1 - y) for p, y in pairs), sum((1 - p) * y for p, y in pairs)


def bundle_loss(name, **overrides):
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / f"bundles/{name}/configs/train.json"))
    parser.update(overrides)
    return parser.get_parsed_content("loss")


@pytest.mark.parametrize("loss", [FocalTverskyLoss(), bundle_loss("resunet_focal_tversky")])
def test_focal_tversky_is_the_power_of_each_channel_and_then_the_mean(loss):
    expected = []
    for logits, truths in CHANNELS:
        tp, fp, fn = counts(logits, truths)
        expected.append((1 - tp / (tp + 0.3 * fp + 0.7 * fn)) ** 0.75)
    assert float(loss(LOGITS, TRUTH)) == pytest.approx(sum(expected) / 2, abs=1e-5)


def test_focal_tversky_of_counted_pixels():
    """Two hits, one false alarm, three misses: TI = 2 / (2 + 0.3 + 2.1), whatever the number of images."""
    truth = torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0]).view(1, 1, 2, 4)
    logits = torch.tensor([90.0, 90, -90, -90, -90, 90, -90, -90]).view(1, 1, 2, 4)
    expected = (1 - 2 / 4.4) ** 0.75
    assert float(FocalTverskyLoss()(logits, truth)) == pytest.approx(expected, abs=1e-5)
    halves = [part.reshape(2, 1, 1, 4) for part in (logits, truth)]
    assert float(FocalTverskyLoss()(*halves)) == pytest.approx(expected, abs=1e-5)
    other = FocalTverskyLoss(gamma=2, alpha=0.5, beta=0.5)
    assert float(other(logits, truth)) == pytest.approx((1 - 2 / 4) ** 2, abs=1e-5)


def test_the_exponent_is_the_one_that_the_papers_two_numbers_imply():
    """Deng et al., section 4.1: Tversky index 91.68 %, loss 0.1546."""
    gamma = bundle_loss("resunet_focal_tversky").gamma
    assert math.log(0.1546) / math.log(1 - 0.9168) == pytest.approx(gamma, abs=0.002)


def test_the_posters_dice_and_focal_loss():
    """Fozzati and Assinck: Dice loss with smoothing on sigmoids, and alpha (1 - exp(-BCE))^gamma BCE a pixel."""
    values = {"dice_weight": 0.7, "dice_smooth": 0.5, "focal_weight": 0.6, "focal_alpha": 0.8, "focal_gamma": 1.5}
    dice, focal = [], []
    for logits, truths in CHANNELS:
        tp, fp, fn = counts(logits, truths)
        dice.append(1 - (2 * tp + 0.5) / (2 * tp + fp + fn + 0.5))
        for x, y in zip(logits, truths, strict=True):
            bce = -(y * math.log(sigmoid(x)) + (1 - y) * math.log(1 - sigmoid(x)))
            focal.append(0.8 * (1 - math.exp(-bce)) ** 1.5 * bce)
    expected = 0.7 * sum(dice) / 2 + 0.6 * sum(focal) / 8
    assert float(bundle_loss("unet_dice_focal", **values)(LOGITS, TRUTH)) == pytest.approx(expected, abs=1e-6)


def test_the_posters_dice_loss_of_an_empty_image_is_smoothed():
    """Nothing there and 0.5 everywhere on 4 pixels: 1 - 1 / (2 + 1) with smooth 1, no division by zero."""
    loss = bundle_loss("unet_dice_focal", focal_weight=0.0)
    assert float(loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))) == pytest.approx(2 / 3, abs=1e-6)


def test_a_weighted_sum_of_dice_and_cross_entropy():
    loss = WeightedSum([DiceLoss(sigmoid=True, batch=True), nn.BCEWithLogitsLoss()], [1, 0.5])
    dice, bce = [], []
    for logits, truths in CHANNELS:
        tp, fp, fn = counts(logits, truths)
        dice.append(1 - 2 * tp / (2 * tp + fp + fn))
        bce += [-math.log(sigmoid(x) if y else 1 - sigmoid(x)) for x, y in zip(logits, truths, strict=True)]
    assert float(loss(LOGITS, TRUTH)) == pytest.approx(sum(dice) / 2 + 0.5 * sum(bce) / 8, abs=1e-5)


def test_a_weighted_sum_needs_one_weight_a_loss():
    with pytest.raises(InputError, match="2 weights for 1 losses"):
        WeightedSum([nn.MSELoss()], [1, 2])


@pytest.mark.parametrize(
    "loss",
    [
        FocalTverskyLoss(),
        bundle_loss("unet_dice_focal"),
        WeightedSum([DiceLoss(sigmoid=True), nn.BCEWithLogitsLoss()], [1, 1]),
    ],
)
@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_loss_and_gradient_are_finite_where_sigmoids_are_0_or_1(loss, truth, logit):
    logits = torch.full((2, 2, 4, 4), logit, requires_grad=True)
    value = loss(logits, torch.full((2, 2, 4, 4), truth))
    value.backward()
    assert torch.isfinite(value) and value >= 0 and torch.isfinite(logits.grad).all()
