"""Build the LA-ResUNet of Mandekar et al., sections 3.2 and 3.3."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn


class FusionBlock(nn.Module):
    """Two 3x3 convolutions with BN and ReLU and a shortcut, y = F(x) + x (section 3.2.1).

    With ``groups`` the first convolution and the shortcut keep that many groups of channels apart and the second
    convolution sees all of them: section 3.3's fusion inside residual blocks, whose shortcut preserves what is specific
    to a modality. A group holds one modality where the block is the first after the stems; what it adds to a group is
    of all modalities, so that further groups are mostly, not wholly, of one. With one group it is a plain block.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, groups: int, residual: bool) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.main = nn.Sequential(
            conv(in_channels, out_channels, kernel_size=3, padding=1, groups=groups, bias=False),
            norm(out_channels),
            nn.ReLU(inplace=True),
            conv(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            norm(out_channels),
        )
        self.shortcut: nn.Module | None = None
        if residual:
            # The paper's x is the identity; where the number of channels changes it has to be a projection.
            self.shortcut = (
                nn.Identity()
                if in_channels == out_channels
                else nn.Sequential(
                    conv(in_channels, out_channels, kernel_size=1, groups=groups, bias=False), norm(out_channels)
                )
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        y = self.main(x)
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class LAResUNet(nn.Module):
    """Residual U-Net with strided convolutions down, transposed convolutions up and progressive modality fusion.

    Fusion is progressive: one stem per modality, then at the first ``fusion_levels`` resolutions residual blocks of one
    group of channels per modality. The first block's first convolution sees one modality in each group; its output, and
    so every later group, has all of them in it, its own most. Deeper levels have no groups.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of modalities, one channel each.
        out_channels: channels of the logits, one per region.
        channels: feature channels from full resolution down. Where there is a group per modality, a number of channels
            is rounded up to a multiple of ``in_channels``.
        residual: whether blocks have their shortcut (Table III, "+ Residual blocks").
        fusion: whether modalities have their own stems and are fused in the blocks (Table III, "+ Multimodal
            fusion"); without it they are stacked at the input.
        fusion_levels: number of resolutions with a group of channels per modality; the paper does not say.

    Example:
        >>> LAResUNet(2, 4, 3, channels=(8, 16, 32))(torch.zeros(1, 4, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        residual: bool = True,
        fusion: bool = True,
        fusion_levels: int = 2,
    ) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        groups = [in_channels if fusion and level < fusion_levels else 1 for level in range(len(channels))]
        widths = [-(-width // group) * group for width, group in zip(channels, groups, strict=True)]

        def down(low: int, high: int, group: int) -> nn.Module:
            return nn.Sequential(
                conv(low, high, kernel_size=3, stride=2, padding=1, groups=group, bias=False),
                norm(high),
                nn.ReLU(inplace=True),
            )

        self.stem = nn.Sequential(
            conv(in_channels, widths[0], kernel_size=3, padding=1, groups=groups[0], bias=False),
            norm(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.first = FusionBlock(spatial_dims, widths[0], widths[0], groups[0], residual)
        self.encoder = nn.ModuleList(
            FusionBlock(spatial_dims, width, width, group, residual)
            for width, group in zip(widths[1:], groups[1:], strict=True)
        )
        self.down = nn.ModuleList(down(widths[i], widths[i + 1], groups[i + 1]) for i in range(len(widths) - 1))
        self.up = nn.ModuleList(
            Conv[Conv.CONVTRANS, spatial_dims](widths[i + 1], widths[i], kernel_size=2, stride=2)
            for i in reversed(range(len(widths) - 1))
        )
        self.decoder = nn.ModuleList(
            FusionBlock(spatial_dims, 2 * widths[i], widths[i], 1, residual) for i in reversed(range(len(widths) - 1))
        )
        self.head = conv(widths[0], out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to logits (N, out_channels, *spatial).

        Every spatial size must be divisible by 2 ** (len(channels) - 1).
        """
        x = self.first(self.stem(x))
        skips = []
        for down, block in zip(self.down, self.encoder, strict=True):
            skips.append(x)
            x = block(down(x))
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([up(x), skips.pop()], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits
