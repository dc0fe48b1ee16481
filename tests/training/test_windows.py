"""Volumes predicted by 3D windows: what each window shows, and how windows are joined."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from benchmark.training.mirror import Mirrored
from benchmark.training.windows import VolumeInferer


def test_windows_have_the_axes_x_y_z_and_logits_come_back_slices_first():
    volume, seen = torch.randn(1, 2, 9, 14, 11), []

    def network(window):
        seen.append(window.shape[2:])
        return window[:, :1] * 2

    found = VolumeInferer((8, 6, 4), sw_batch_size=3)(volume, network)
    assert {tuple(shape) for shape in seen} == {(8, 6, 4)}
    torch.testing.assert_close(found, volume[:, :1] * 2)


@pytest.mark.parametrize("shape", [(9, 14, 11), (3, 5, 20)])
def test_it_is_monais_sliding_window_with_gaussian_weights(shape):
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    volume = torch.randn(1, 1, *shape)
    with torch.no_grad():
        found = VolumeInferer((8, 6, 4), 2)(volume, network)
        theirs = SlidingWindowInferer((8, 6, 4), 2, overlap=0.5, mode="gaussian")(
            volume.permute(0, 1, 3, 4, 2), network
        )
        assert torch.equal(found, theirs.permute(0, 1, 4, 2, 3)) and found.shape == (1, 2, *shape)
        mirrored = Mirrored(VolumeInferer((8, 6, 4), 2), [-3, -2, -1])
        assert len(mirrored.flips) == 8
        even = torch.nn.Conv3d(1, 1, 3, padding=1)
        even.weight.fill_(1)
        torch.testing.assert_close(mirrored(volume, even), VolumeInferer((8, 6, 4), 2)(volume, even))


def test_a_size_of_two_axes_is_refused():
    with pytest.raises(ValueError, match="expected three numbers"):
        VolumeInferer((8, 6), 2)
