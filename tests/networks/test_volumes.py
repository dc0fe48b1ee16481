"""Every bundle's network in 3D: forward and backward on a small patch, by operations that GPUs repeat to the bit."""

import json

import pytest
import torch
from helpers.project import CHANNELS, REPOSITORY
from monai.bundle import ConfigParser
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.networks.block_max import BlockMax
from benchmark.networks.planned_res_unet import MeanPool, PlannedResUNet
from benchmark.studies import bundle
from benchmark.training.trainer import NoEmptyPadding

RAISING = (
    "adaptive_avg_pool2d_backward", "adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward", "avg_pool3d_backward", "bincount", "cumsum", "fractional_max_pool",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward",
    "histc", "kthvalue", "max_pool3d_with_indices", "max_unpool",
    "median", "nll_loss", "put_", "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
    "replication_pad1d_backward", "replication_pad3d_backward", "upsample_bicubic2d", "upsample_bilinear2d",
    "upsample_linear1d", "upsample_trilinear3d",
)  # fmt: skip
"""Operations that torch.use_deterministic_algorithms documents as raising on a GPU in a version from 2.8 on."""


class Deterministic(TorchDispatchMode):
    """Fails on an operation that raises on a GPU where algorithms are to be deterministic."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").partition(".")[0].lstrip("_")
        if name == "put_" or name.startswith(tuple(one for one in RAISING if one != "put_")):
            raise AssertionError(f"{name} raises on a GPU under deterministic algorithms")
        return func(*args, **(kwargs or {}))


BUNDLES = [
    name
    for name in sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/configs/model.json"))
    if 3 in json.loads((REPOSITORY / f"bundles/{name}/configs/model.json").read_text()).get("dimensions", [2, 3])
]
SLOW = pytest.mark.slow(reason="pads a patch to 64 voxels a side, eight times the others'")
CHANGES = [
    *(pytest.param(name, {}, marks=[SLOW] * (name == "swin_unetr")) for name in BUNDLES),
    ("nnunet", {"preset": "M"}),
    ("nnunet", {"preset": "L"}),
]


def parts(name, dimensions=3, **changes):
    made = ConfigParser()
    made.read_config(f"{REPOSITORY}/bundles/{name}/configs/train.json")
    made.update({"in_channels": 4, "out_channels": 3, "channels": CHANNELS, "spatial_dims": dimensions})
    made.update({"spatial_size": [32] * dimensions, **changes})
    return made.get_parsed_content("network_def"), made.get_parsed_content("loss")


@pytest.mark.parametrize(
    ("name", "changes"), CHANGES, ids=lambda value: value if isinstance(value, str) else str(value)
)
def test_a_step_in_3d_uses_no_operation_that_raises_on_a_gpu(name, changes):
    torch.manual_seed(0)
    network, loss = parts(name, **changes)
    image, truth = torch.randn(1, 4, 32, 32, 32), (torch.rand(1, 3, 32, 32, 32) > 0.5).float()
    with Deterministic(), NoEmptyPadding():
        loss(network.train()(image), truth).mean().backward()
    without = {key for key, value in network.named_parameters() if value.grad is None}
    unused = {f"network.final_conv_0_{node}.{kind}" for node in (1, 2, 3) for kind in ("weight", "bias")}
    assert without == (unused if name == "unetpp" else set())
    with torch.no_grad():
        # Padded where the bundle pads, and cropped back.
        assert network.eval()(image[..., :30, :28]).shape == (1, 3, 32, 30, 28)


@pytest.mark.parametrize(
    "part", [nn.MaxPool3d(2), nn.AvgPool3d(2), nn.AdaptiveAvgPool3d(2), nn.Upsample(scale_factor=2, mode="trilinear")]
)
def test_the_operations_that_raise_are_told(part):
    with Deterministic(), pytest.raises(AssertionError, match="raises on a GPU"):
        part(torch.rand(1, 2, 4, 4, 4, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("size", [(6, 4, 8), (7, 5, 2), (9, 6)])
def test_block_max_is_max_pooling(size):
    """Values and gradients, where no two of a block are equal."""
    x = torch.randn(2, 3, *size, requires_grad=True)
    own = BlockMax()(x)
    torchs = (nn.functional.max_pool3d if len(size) == 3 else nn.functional.max_pool2d)(x, 2)
    assert torch.equal(own, torchs)
    weight = torch.randn_like(own)
    (one,), (other,) = (torch.autograd.grad((value * weight).sum(), x) for value in (own, torchs))
    assert torch.equal(one, other)


def test_2d_keeps_torchs_pooling_and_has_equal_weights_in_name():
    for name in ("unet", "unetpp", "resunet"):
        flat, deep = (parts(name, dimensions)[0] for dimensions in (2, 3))
        assert any(isinstance(module, nn.MaxPool2d) for module in flat.modules())
        assert not any(isinstance(module, nn.MaxPool3d) for module in deep.modules())
        assert [*flat.state_dict()] == [*deep.state_dict()]


def test_mean_pool_is_average_pooling():
    x = torch.randn(2, 3, 6, 4, 8)
    torch.testing.assert_close(MeanPool([2, 1, 2])(x), nn.functional.avg_pool3d(x, (2, 1, 2)))


def test_a_residual_encoder_begins_as_its_shortcuts_and_has_nnunets_number_of_parameters():
    """nnU-Net's ResidualEncoderUNet of these stages, without the biases that its normalisations cancel."""
    steps, kernels = [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1)], [(3, 3, 3)] * 4
    network = PlannedResUNet(3, 4, 3, (8, 16, 32, 64), steps, kernels)
    block = network.encoder[1][1]
    x = torch.randn(1, 16, 8, 8, 8)
    assert torch.equal(block(x), nn.functional.leaky_relu(x, 0.01))
    assert network.train()(torch.randn(1, 4, 16, 16, 8)).shape == (1, 2, 3, 16, 16, 8)


def test_the_classifier_says_that_it_has_no_3d(project):
    from benchmark.base.records import InputError, Run

    run = Run("x", "resnet50_classifier", "3d", 0, 1, {"spatial_dims": 3, "spatial_size": [32, 32, 32]})
    with pytest.raises(InputError, match="resnet50_classifier works in 2D only: expected spatial_dims 2"):
        bundle.frozen(run, "phantom")
