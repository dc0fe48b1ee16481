"""Mirroring at test time: exact on what a mirror image changes, nothing on what it does not."""

import pytest
import torch
from monai.inferers import SimpleInferer, SliceInferer

from benchmark.training.mirror import Mirrored


def test_logits_are_averaged_over_every_combination_of_flips():
    """A network that weighs each position differently: the mean of all flips weighs all mirrored positions alike."""
    weights = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    seen = []

    def network(x):
        seen.append(x)
        return x * weights

    image = torch.ones(1, 1, 2, 2)
    assert torch.equal(Mirrored(SimpleInferer(), [-2, -1])(image, network), image * 15 / 4)
    assert len(seen) == 4
    expected = image * torch.tensor([[2.5, 5.0], [2.5, 5.0]])
    assert torch.equal(Mirrored(SimpleInferer(), [-2])(image, network), expected)


def test_flips_are_flipped_back():
    image = torch.randn(1, 2, 3, 5, 4)
    mirrored = Mirrored(SimpleInferer(), [-2, -1])
    torch.testing.assert_close(mirrored(image, lambda x: 2 * x + 1), 2 * image + 1)


@pytest.mark.parametrize("axis", [-2, -1])
def test_a_prediction_of_a_mirror_image_is_the_mirror_image_of_the_prediction(axis):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 3, 3, padding=1).eval()
    inferer = Mirrored(SliceInferer(roi_size=(6, 6), spatial_dim=0, sw_batch_size=2), [axis])
    volume = torch.randn(1, 2, 4, 6, 6)
    with torch.no_grad():
        found, flipped = inferer(volume, network), inferer(volume.flip(axis), network)
    assert found.shape == (1, 3, 4, 6, 6)
    torch.testing.assert_close(flipped, found.flip(axis))
