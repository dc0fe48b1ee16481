"""Build the ResUNet of Deng et al., Table 2, with its layers in the table's order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn


class ResBlock(nn.Module):
    """1x1 convolution, BN, ReLU, 3x3 convolution, BN, plus a 1x1 convolution + BN shortcut; ReLU on the sum.

    The paper's table gives only a block's output shape; this inside is the one whose parameters add up to its total.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.main = nn.Sequential(
            conv(in_channels, out_channels, kernel_size=1),
            norm(out_channels),
            nn.ReLU(inplace=True),
            conv(out_channels, out_channels, kernel_size=3, padding=1),
            norm(out_channels),
        )
        self.shortcut = nn.Sequential(conv(in_channels, out_channels, kernel_size=1), norm(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        return torch.relu(self.main(x) + self.shortcut(x))


class ResUNet(nn.Module):
    """U-Net of residual blocks with max pooling, nearest upsampling and concatenation (Deng et al., Table 2).

    With 3 input channels and 1 output channel it has 1,210,513 parameters, BatchNorm's running mean and variance
    counted as Keras counts them. The table's first and last stages are two 3x3 convolutions and a residual block;
    its sigmoid is left to the loss and to inference.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits, one per region.
        channels: feature channels from full resolution down; the table's are 16, 32, 64, 128, 256.

    Example:
        >>> ResUNet(2, 3, 1)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1, 64, 64])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
    ) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        first = channels[0]
        self.stem = nn.Sequential(
            conv(in_channels, first, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            norm(first),
            conv(first, first, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            norm(first),
        )
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.encoder = nn.ModuleList(ResBlock(spatial_dims, low, high) for low, high in pairwise(channels))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.decoder = nn.ModuleList(
            ResBlock(spatial_dims, deep + skip, skip)
            for deep, skip in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = conv(first, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to logits (N, out_channels, *spatial).

        Every spatial size must be divisible by 2 ** (len(channels) - 1).
        """
        x = self.stem(x)
        skips = []
        for block in self.encoder:
            skips.append(x)
            x = block(self.pool(x))
        for block in self.decoder:
            x = block(torch.cat([self.upsample(x), skips.pop()], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits
