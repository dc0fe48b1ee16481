"""Build the plain U-Net of nnU-Net with as many stages as planned, and logits of every decoder stage.

MONAI's ``DynUNet`` is the same network; with deep supervision it cannot be compiled to TorchScript, and a bundle must
be. The blocks and the initialisation are MONAI's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from monai.networks.nets.dynunet import DynUNet
from torch import nn
from torch.nn import functional


class PlannedUNet(nn.Module):
    """A U-Net with two convolutions per stage, each followed by instance normalisation and leaky ReLU (slope 0.01).

    Strided convolutions lead down, transposed ones up; skips are concatenated.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: regions.
        widths: channels of each stage, from the finest to the lowest; at least three.
        strides: of each stage's first convolution, along each axis.
        kernel_sizes: of each stage's convolutions, along each axis.

    Example:
        >>> steps, kernels = [(1, 1), (2, 2), (2, 2)], [(3, 3)] * 3
        >>> PlannedUNet(2, 4, 3, (8, 16, 32), steps, kernels).eval()(torch.zeros(1, 4, 32, 32)).shape
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
        norm = ("INSTANCE", {"affine": True})
        inputs = (in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(
            UnetBasicBlock(spatial_dims, before, width, kernel, stride, norm)
            for before, width, kernel, stride in zip(inputs, widths, kernel_sizes, strides, strict=True)
        )
        self.decoder = nn.ModuleList(
            UnetUpBlock(
                spatial_dims, widths[stage + 1], widths[stage], kernel_sizes[stage], 1, strides[stage + 1], norm,
                trans_bias=True,
            )
            for stage in reversed(range(len(widths) - 1))
        )  # fmt: skip
        # None for the coarsest decoder stage: nnU-Net gives its loss the weight 0.
        self.heads = nn.ModuleList(
            UnetOutBlock(spatial_dims, widths[stage], out_channels) for stage in reversed(range(len(widths) - 2))
        )
        self.apply(DynUNet.initialize_weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial), divisible by the strides, to logits (N, K, *spatial).

        In training to (N, stages, K, *spatial): the finest stage's first, the others' enlarged to its size.
        """
        skips: list[torch.Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        features: list[torch.Tensor] = []
        for index, block in enumerate(self.decoder):
            x = block(x, skips[len(skips) - 2 - index])
            features.append(x)
        if not self.training:
            finest: torch.Tensor = self.heads[-1](x)
            return finest
        size = x.shape[2:]
        logits: list[torch.Tensor] = []
        for index, head in enumerate(self.heads):
            logits.insert(0, functional.interpolate(head(features[index + 1]), size=size))
        return torch.stack(logits, dim=1)
