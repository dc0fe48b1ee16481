"""Our parts of nnU-Net's recipe against numbers that nnU-Net itself computed (`research/nnunet_answers.py`)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.project import REPOSITORY
from monai.bundle import ConfigParser
from monai.inferers import SliceInferer

from benchmark.data.slices import PatchSampler, SliceDataset
from benchmark.networks.planned_unet import PlannedUNet
from benchmark.training.mirror import Mirrored
from benchmark.training.nnunet import NnunetAugmentation

ANSWERS = json.loads(Path(__file__).with_name("nnunet_2.8.1.json").read_text(encoding="utf-8"))
GIVEN = ANSWERS["augmentation"]


def weights(number, like):
    place = torch.arange(like.numel(), dtype=torch.float64)
    return (torch.sin(place * 12.9898 + number * 78.233) / 4).float().view(like.shape)


def of_range(low, high, value):
    return (value - low) / (high - low)


def around_one(value, low, high):
    """The random number from which a factor below or above 1 follows."""
    return (value - low) / (1 - low) / 2 if value < 1 else 0.5 + (value - 1) / (high - 1) / 2


def drawn(*changes):
    """One sample's random numbers that give the answers' own, with the named changes and no noise and mirroring."""
    chances = {"spatial": (0, 1), "blur": (10,), "contrast": (11, 12), "resolution": (13,), "gamma": (14, 15)}
    one, each = torch.full((16,), 0.9999), torch.zeros(9, 2)
    for change in changes:
        one[list(chances[change])] = 0
    one[2], one[3] = of_range(-math.pi, math.pi, 0.5), of_range(0.7, 1.4, 1.2)
    each[1] = torch.tensor([of_range(0.5, 1, sigma) for sigma in (0.6, 0.8)])
    each[2] = torch.tensor([of_range(0.5, 1, sigma) for sigma in (0.9, 0.55)])
    each[3] = torch.tensor([around_one(factor, 0.75, 1.25) for factor in (0.8, 1.15)])
    each[4] = each[3].flip(0)
    each[6] = torch.tensor([of_range(0.5, 1, share) for share in (0.6, 0.87)])
    each[7] = torch.tensor([around_one(exponent, 0.7, 1.5) for exponent in (0.75, 1.3)])
    each[8] = each[7].flip(0)
    return torch.cat([one, each.flatten()])[None]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_augmentation(steps):
    """Each transform after the one before; outside the brain there is nothing but zero after any of them."""
    image, label = torch.tensor(GIVEN["image"])[None], torch.tensor(GIVEN["label"], dtype=torch.uint8)[None]
    changes = ["spatial", "blur", "contrast", "resolution", "gamma"][:steps]
    found, labels = NnunetAugmentation(2, (10, 14), [1, 2, 3])(image, label, drawn(*changes))
    assert labels.tolist() == [GIVEN["labels"]] and labels.dtype == torch.uint8
    expected = torch.tensor(GIVEN["masked" if steps == 5 else changes[-1]])
    inside = (torch.tensor(GIVEN["masked"]) != 0).any(0)
    assert 20 < int(inside.sum()) < 120
    torch.testing.assert_close(found[0], torch.where(inside, expected, 0.0), rtol=0, atol=1e-4)


def test_outside_the_brain_augmentation_would_leave_something():
    """What nnU-Net has there before it sets it to zero, by which the test above can fail."""
    outside = (torch.tensor(GIVEN["masked"]) == 0).all(0)
    assert float(torch.tensor(GIVEN["resolution"])[:, outside].abs().max()) > 0.1


def network():
    """The answers' network with the answers' weights."""
    steps = [(1, 1), (2, 2), (2, 2), (2, 2)]
    made = PlannedUNet(2, 2, 3, (4, 8, 16, 16), steps, [(3, 3)] * 4)
    blocks = [*made.encoder, *(up.conv_block for up in made.decoder)]
    modules = [convolution.conv for block in blocks for convolution in (block.conv1, block.conv2)]
    modules += [*(up.transp_conv.conv for up in made.decoder), *(head.conv.conv for head in made.heads)]
    with torch.no_grad():
        for number, module in enumerate(modules):
            module.weight.copy_(weights(number, module.weight))
    return made


def recipe():
    """The native recipe as it is committed."""
    made = ConfigParser()
    made.read_config([f"{REPOSITORY}/bundles/nnunet/configs/{kind}.json" for kind in ("train", "native")])
    return made


def test_network_and_loss():
    image = weights(99, torch.empty(2, 2, 16, 16)) * 8
    masks = (weights(77, torch.empty(2, 3, 16, 16)) > 0).float()
    logits = network()(image)
    expected = ANSWERS["network"]
    torch.testing.assert_close(logits[:, 0, :, 5], torch.tensor(expected["logits"]), rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[:, 1, :, 7, 1::2], torch.tensor(expected["coarse"]), rtol=0, atol=1e-4)
    made = recipe()
    made["loss"]["strides"] = [(1, 1), (2, 2)]
    loss = made.get_parsed_content("loss")(logits, masks)
    # nnU-Net's Dice loss is minus the Dice, ours one minus it.
    assert float(loss) == pytest.approx(expected["loss"] + 1, abs=2e-5)


def test_windows():
    """Slices of 5x9 pixels in a patch of 8x12, in nnU-Net's half precision."""
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, stride=2, padding=1), torch.nn.Upsample(scale_factor=2))
    with torch.no_grad():
        layers[0].weight.copy_(weights(3, layers[0].weight) * 8)
        layers[0].bias.fill_(0.25)
        inferer = SliceInferer(roi_size=(8, 12), sw_batch_size=2, spatial_dim=0, overlap=0.5, mode="gaussian")
        found = Mirrored(inferer, [-2, -1])(weights(5, torch.empty(1, 2, 5, 9))[None] * 4, layers)
    torch.testing.assert_close(found[0], torch.tensor(ANSWERS["windows"]), rtol=0, atol=5e-3)


class Case:
    """What a sampler reads of a prepared case: slices of which each holds one voxel of each of two regions."""

    def __init__(self, shape, voxel):
        self.label = np.zeros(shape, np.uint8)
        self.label[tuple(voxel)] = 1
        self.header = {"foreground": [voxel[0]]}

    def slice_at(self, z):
        return self.label[z][None], self.label[z]


@pytest.mark.parametrize("slices", ANSWERS["sampling"]["slices"], ids=lambda found: str(found["shape"]))
def test_sampling(slices):
    for voxel, corner in zip(slices["voxels"], slices["forced"], strict=True):
        dataset = SliceDataset([Case(slices["shape"], voxel)], (18, 18))
        sampler = PatchSampler(dataset, 49, 1, 1, 49 * 60, (10, 14), {"WT": [1]})
        assert int(sampler.forced.sum()) == ANSWERS["sampling"]["forced_of_49"]
        _, corners, _ = sampler.draw()
        forced = np.tile(sampler.forced, 60)
        assert np.unique(corners[forced], axis=0).tolist() == [corner]
        assert corners[~forced].min(0).tolist() == slices["lowest"]
        assert corners[~forced].max(0).tolist() == slices["highest"]


def test_learning_rates():
    made = recipe()
    made.update({"network": torch.nn.Linear(1, 1), "max_epochs": 10, "device": torch.device("cpu")})
    optimizer, schedule = made.get_parsed_content("optimizer"), made.get_parsed_content("lr_scheduler")
    found = []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(ANSWERS["rates"], abs=1e-9)
    defaults = {name: optimizer.defaults[name] for name in ("momentum", "nesterov", "weight_decay", "dampening")}
    assert defaults == {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5, "dampening": 0}
