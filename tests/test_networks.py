"""Networks against the papers: parameter counts, layer shapes, and what each switch changes."""

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from benchmark.networks.la_res_unet import LAResUNet
from benchmark.networks.res_unet import ResBlock, ResUNet


def keras_count(network: nn.Module) -> int:
    """Parameters as Keras counts them: BatchNorm's running mean and variance included."""
    running = (buffer.numel() for name, buffer in network.named_buffers() if "running" in name)
    return sum(parameter.numel() for parameter in network.parameters()) + sum(running)


def test_res_unet_has_the_papers_number_of_parameters() -> None:
    assert keras_count(ResUNet(2, 3, 1)) == 1_210_513


def test_res_unet_has_the_papers_layer_shapes() -> None:
    """Deng et al., Table 2, channels and sizes; its row of 64x64x16 contradicts the total, which needs 64 channels."""
    network, shapes = ResUNet(2, 3, 1), []
    for module in network.modules():
        if isinstance(module, ResBlock | nn.Upsample):
            module.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    assert network.stem(torch.zeros(1, 3, 256, 256)).shape == (1, 16, 256, 256)
    assert network(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 256, 256)
    assert keras_count(network.stem[2]) == 64
    assert keras_count(network.head) == 17
    assert shapes == [
        (32, 128, 128), (64, 64, 64), (128, 32, 32), (256, 16, 16),
        (256, 32, 32), (128, 32, 32), (128, 64, 64), (64, 64, 64),
        (64, 128, 128), (32, 128, 128), (32, 256, 256), (16, 256, 256),
    ]  # fmt: skip


def test_res_block_adds_its_shortcut() -> None:
    block = ResBlock(2, 3, 5).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(block(x), torch.relu(block.main(x) + block.shortcut(x)))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_networks_take_any_dimension_and_number_of_modalities(spatial_dims: int, in_channels: int) -> None:
    x = torch.zeros(1, in_channels, *[16] * spatial_dims)
    for network in (
        ResUNet(spatial_dims, in_channels, 3, channels=(4, 8, 16)),
        LAResUNet(spatial_dims, in_channels, 3, channels=(4, 8, 16)),
    ):
        assert network.eval()(x).shape == (1, 3, *x.shape[2:])


def test_fusion_keeps_modalities_apart_in_the_stem_and_mixes_them_in_the_first_block() -> None:
    network = LAResUNet(2, 4, 3, channels=(8, 16, 32)).eval()
    x = torch.randn(1, 4, 16, 16)
    changed = x.clone()
    changed[:, 3] += 1
    before, after = network.stem(x), network.stem(changed)
    assert torch.equal(before[:, :6], after[:, :6])  # two features a modality: those of the first three
    assert not torch.equal(before[:, 6:], after[:, 6:])
    mixed = network.first.main(before) - network.first.main(after)
    assert (mixed.abs().amax(dim=(0, 2, 3)) > 0).all()
    early = LAResUNet(2, 4, 3, channels=(8, 16, 32), fusion=False).eval()
    assert (early.stem(x) - early.stem(changed)).abs().amax(dim=(0, 2, 3)).gt(0).all()


def test_residual_switch_drops_only_the_shortcuts() -> None:
    with_, without = (LAResUNet(2, 4, 3, channels=(8, 16, 32), residual=flag) for flag in (True, False))
    names = {name for name, _ in with_.named_parameters()}
    assert {name for name, _ in without.named_parameters()} == {name for name in names if "shortcut" not in name}
    assert any("shortcut" in name for name in names)


def test_la_res_unet_goes_down_by_strides_and_up_by_transposed_convolutions() -> None:
    network = LAResUNet(2, 4, 3)
    assert not any(isinstance(module, nn.MaxPool2d | nn.Upsample) for module in network.modules())
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == 4
    assert (
        sum(getattr(module, "stride", None) == (2, 2) and isinstance(module, nn.Conv2d) for module in network.modules())
        == 4
    )


def test_monais_basic_unet_is_the_standard_unet() -> None:
    """Two 3x3 convolutions a level, each followed by BN and ReLU, as the `unet` bundle sets it."""
    network = BasicUNet(2, 4, 3, features=(8, 16, 32, 64, 128, 8), act="relu", norm="batch")
    kinds = [type(m).__name__ for m in network.conv_0.modules() if not list(m.children())]
    assert [kind for kind in kinds if kind != "Dropout"] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in network.modules()) == 18
