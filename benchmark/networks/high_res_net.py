"""Build the network of Li et al. without pooling, with logits that can be negative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from monai.networks.nets import highresnet
from torch import nn

from benchmark.base.records import InputError


class HighResNet(nn.Module):
    """MONAI's ``HighResNet``, dilated residual blocks at full resolution, whose last layer is a plain convolution.

    MONAI ends with batch normalisation and ReLU, after which no logit is below 0 and no voxel is ever surely outside a
    region. Li et al. end with a 1x1 convolution and softmax (Fig. 1); the softmax is left to the loss.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits, one per region.
        channels: channels of the blocks that are dilated by 1, 2 and 4; further ones, which other models of a study
            may need, are ignored.

    Raises:
        InputError: for fewer than three channels.

    Example:
        >>> HighResNet(2, 4, 3)(torch.zeros(1, 4, 20, 17)).shape
        torch.Size([1, 3, 20, 17])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, channels: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        first, *residual, last, unused = highresnet.DEFAULT_LAYER_PARAMS_3D
        widths = list(channels[: len(residual)])
        if len(widths) < len(residual):
            raise InputError(f"channels are {list(channels)}: expected those of {len(residual)} kinds of blocks.")
        blocks = [{**layer, "n_features": width} for layer, width in zip(residual, widths, strict=True)]
        layers = [{**first, "n_features": widths[0]}, *blocks, last, unused]
        network = highresnet.HighResNet(spatial_dims, in_channels, out_channels, layer_params=layers)
        # All but the last block, in whose place is the head.
        self.blocks = network.blocks[:-1]
        self.head = Conv[Conv.CONV, spatial_dims](last["n_features"], out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to logits (N, out_channels, *spatial) for any spatial size."""
        logits: torch.Tensor = self.head(self.blocks(x))
        return logits
