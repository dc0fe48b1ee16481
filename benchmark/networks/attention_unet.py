"""Build the Attention U-Net of Oktay et al. from MONAI's parts, with one kind of normalisation throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.attentionunet import AttentionLayer, AttentionUnet


class AttentionUNet(AttentionUnet):
    """MONAI's AttentionUnet with batch normalisation and ReLU in the convolutions that join skip connections, too.

    MONAI leaves these to its default, instance normalisation, which takes away how strong a feature is in the whole
    slice; one of them stands right before the output. Trained slice by slice with cross-entropy, that network finds
    next to nothing (measured in the bundle's docs). All its other convolutions have batch normalisation.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of the input's channels.
        out_channels: number of the output's.
        channels: widths, finest first.
        strides: of each step down, one fewer than ``channels``.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, channels, strides)
        for layer in self.modules():
            if isinstance(layer, AttentionLayer):
                old: Any = layer.merge.conv
                layer.merge = Convolution(
                    spatial_dims, old.in_channels, old.out_channels, adn_ordering="NDA", act="relu", norm="batch"
                )
