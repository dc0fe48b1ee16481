"""Build a residual U-Net with attention gates on its skip connections, for ResUNet+ of Metlek and Cetiner."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn

from benchmark.networks.res_unet import ResUNet


class ResUNetPlus(ResUNet):
    """``ResUNet`` in whose skip connections an attention gate weighs each voxel (Oktay et al., Fig. 2).

    A gate takes what the encoder hands over and the upsampled features of the next coarser level, has half as many
    inner channels as the encoder's features, and gives a weight in 0..1 for each voxel, the same for all channels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits, one per region.
        channels: feature channels from full resolution down.

    Example:
        >>> ResUNetPlus(2, 4, 3)(torch.zeros(1, 4, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
    ) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, channels)
        self.gates = nn.ModuleList(
            AttentionBlock(spatial_dims, f_int=max(skip // 2, 1), f_g=deep, f_l=skip)
            for deep, skip in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to logits (N, out_channels, *spatial).

        Every spatial size must be divisible by 2 ** (len(channels) - 1).
        """
        x = self.stem(x)
        skips = []
        for block in self.encoder:
            skips.append(x)
            x = block(self.pool(x))
        for gate, block in zip(self.gates, self.decoder, strict=True):
            deep = self.upsample(x)
            x = block(torch.cat([deep, gate(deep, skips.pop())], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits
