"""Build nnU-Net's U-Net with a residual encoder, with as many stages as planned and logits of every decoder stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks.dynunet_block import UnetOutBlock, get_conv_layer
from monai.networks.layers.factories import Act, Norm
from monai.networks.nets.dynunet import DynUNet
from torch import nn
from torch.nn import functional

BLOCKS = (1, 3, 4, *(6,) * 10)
"""Residual blocks of each stage of the encoder."""


class MeanPool(nn.Module):
    """The mean of blocks of voxels that do not overlap, whose gradient is deterministic on a GPU, unlike AvgPool3d's.

    Args:
        stride: edge of a block along each axis, which divides the image's.
    """

    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = [int(step) for step in stride]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial) to the means (N, C, *spatial / stride)."""
        for axis, step in enumerate(self.stride):
            if step > 1:
                x = x.unflatten(axis + 2, [x.size(axis + 2) // step, step]).mean(axis + 3)
        return x


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut, which is averaged where the block has strides: the block of ResNet-D."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = _layer(spatial_dims, in_channels, out_channels, kernel, stride)
        self.conv2 = _layer(spatial_dims, out_channels, out_channels, kernel, [1] * spatial_dims, active=False)
        shortcut: list[nn.Module] = [MeanPool(stride)] if max(stride) > 1 else []
        if in_channels != out_channels:
            ones = [1] * spatial_dims
            shortcut.append(_layer(spatial_dims, in_channels, out_channels, ones, ones, active=False))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to (N, out_channels, *spatial / stride)."""
        return functional.leaky_relu(self.conv2(self.conv1(x)) + self.shortcut(x), 0.01)


class PlannedResUNet(nn.Module):
    """``PlannedUNet`` with nnU-Net's residual encoder (1, 3, 4, 6, 6, ... blocks) and one convolution a stage up.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: regions.
        widths: channels of each stage, from the finest to the lowest; at least three.
        strides: of each stage's first convolution, along each axis.
        kernel_sizes: of each stage's convolutions, along each axis.

    Example:
        >>> steps, kernels = [(1, 1), (2, 2), (2, 2)], [(3, 3)] * 3
        >>> PlannedResUNet(2, 4, 3, (8, 16, 32), steps, kernels).eval()(torch.zeros(1, 4, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernel_sizes: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        ones, lower = [1] * spatial_dims, list(reversed(range(len(widths) - 1)))
        self.stem = _layer(spatial_dims, in_channels, widths[0], kernel_sizes[0], ones)
        self.encoder = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(spatial_dims, before, width, kernel, stride),
                *(ResidualBlock(spatial_dims, width, width, kernel, ones) for _ in range(BLOCKS[stage] - 1)),
            )
            for stage, (before, width, kernel, stride) in enumerate(
                zip((widths[0], *widths[:-1]), widths, kernel_sizes, strides, strict=True)
            )
        )
        self.up = nn.ModuleList(
            get_conv_layer(
                spatial_dims, widths[stage + 1], widths[stage], strides[stage + 1], strides[stage + 1],
                bias=True, is_transposed=True,
            )
            for stage in lower
        )  # fmt: skip
        self.decoder = nn.ModuleList(
            _layer(spatial_dims, 2 * widths[stage], widths[stage], kernel_sizes[stage], ones) for stage in lower
        )
        # None for the coarsest decoder stage: nnU-Net gives its loss the weight 0.
        self.heads = nn.ModuleList(UnetOutBlock(spatial_dims, widths[stage], out_channels) for stage in lower[1:])
        self.apply(DynUNet.initialize_weights)
        for module in self.modules():
            # As nnU-Net begins: a block is its shortcut.
            if isinstance(module, ResidualBlock):
                last: Any = module.conv2[-1]
                nn.init.zeros_(last.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial), divisible by the strides, to logits (N, K, *spatial).

        In training to (N, stages, K, *spatial): the finest stage's first, the others' enlarged to its size.
        """
        x = self.stem(x)
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        features: list[torch.Tensor] = []
        for index, (up, block) in enumerate(zip(self.up, self.decoder)):  # noqa: B905 (TorchScript knows no strict)
            x = block(torch.cat([up(x), skips[len(skips) - 2 - index]], dim=1))
            features.append(x)
        if not self.training:
            finest: torch.Tensor = self.heads[-1](x)
            return finest
        size = x.shape[2:]
        logits: list[torch.Tensor] = []
        for index, head in enumerate(self.heads):
            logits.insert(0, functional.interpolate(head(features[index + 1]), size=size))
        return torch.stack(logits, dim=1)


def _layer(
    spatial_dims: int, inside: int, outside: int, kernel: Sequence[int], stride: Sequence[int], active: bool = True
) -> nn.Sequential:
    """Return a convolution with instance normalisation and leaky ReLU (slope 0.01); without it if not ``active``."""
    parts = [
        get_conv_layer(spatial_dims, inside, outside, kernel, stride),
        Norm[Norm.INSTANCE, spatial_dims](outside, affine=True),
        *([Act[Act.LEAKYRELU](negative_slope=0.01, inplace=True)] if active else []),
    ]
    return nn.Sequential(*parts)
