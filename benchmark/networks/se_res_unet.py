"""Build a residual U-Net with squeeze-and-excitation in its residual blocks, for SEResU-Net of Yan et al."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer

from benchmark.networks.res_unet import ResUNet


class SEResUNet(ResUNet):
    """``ResUNet`` whose residual blocks scale each channel, before the sum, by a gate that all channels' means give.

    The gate is squeeze-and-excitation where SE-ResNet has it (Hu et al., Fig. 3): mean over the image, a dense layer
    to ``channels / reduction`` values, ReLU, a dense layer back and a sigmoid. The first stage, two convolutions, has
    no residual block and no gate.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits, one per region.
        channels: feature channels from full resolution down.
        reduction: channels for each value of a gate's hidden layer, which has at least one; 16 in Hu et al.

    Example:
        >>> import torch
        >>> SEResUNet(2, 4, 3)(torch.zeros(1, 4, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        reduction: int = 16,
    ) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, channels)
        gated = zip([*self.encoder, *self.decoder], [*channels[1:], *channels[-2::-1]], strict=True)
        for block, width in gated:
            block.main.append(ChannelSELayer(spatial_dims, width, r=min(reduction, width)))
