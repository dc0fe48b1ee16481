"""Every segmentation bundle learns one batch by heart, with its own network and loss, in a bounded number of steps."""

import json

import pytest
import torch
from helpers.project import REPOSITORY
from monai.bundle import ConfigParser

STEPS = 150
WIDTHS = [8, 16, 16, 16, 16]
"""Enough: with 4 channels at full resolution, all of a region's features can die in a rectifier before they learn."""


def task(name):
    return json.loads((REPOSITORY / f"bundles/{name}/configs/inference.json").read_text(encoding="utf-8"))["task"]


SEGMENTERS = [
    name
    for name in sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/configs/model.json"))
    if task(name) == "segmentation"
]


def blobs():
    """Four slices of 32x32 with two modalities: discs of two sizes, each bright in one modality, under noise."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    centres = torch.tensor([[10.0, 10], [20, 12], [15, 22], [22, 20]])
    distance = torch.stack([((y - a) ** 2 + (x - b) ** 2).sqrt() for a, b in centres])
    truth = torch.stack([distance < 9, distance < 5], dim=1).float()
    return truth * 2 + 0.5 * torch.randn(4, 2, 32, 32), truth


def dice(network, image, truth):
    """Dice of each region over the batch, with the network as it is when it predicts."""
    network.eval()
    with torch.no_grad():
        predicted = (network(image) > 0).float()
    network.train()
    return 2 * (predicted * truth).sum((0, 2, 3)) / (predicted + truth).sum((0, 2, 3))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_bundle_learns_one_batch_by_heart(name):
    torch.manual_seed(1)
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / f"bundles/{name}/configs/train.json"))
    parser.update({"channels": WIDTHS, "in_channels": 2, "out_channels": 2, "spatial_size": [32, 32]})
    network, loss = parser.get_parsed_content("network_def"), parser.get_parsed_content("loss")
    image, truth = blobs()
    before = dice(network, image, truth)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss(network(image), truth).backward()
        optimizer.step()
        if step % 10 == 0 and (found := dice(network, image, truth)).min() > 0.9:
            break
    assert before.min() < 0.5
    assert found.min() > 0.9, f"Dice {found.tolist()} after {step} steps"
