"""Build U-Nets for 3D whose max pooling has a deterministic gradient on a GPU, which torch's own has not everywhere."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus
from torch import nn

from benchmark.networks.res_unet import ResUNet
from benchmark.networks.res_unet_plus import ResUNetPlus
from benchmark.networks.se_res_unet import SEResUNet


class BlockMax(nn.Module):
    """The largest of each block of 2 voxels along each axis: max pooling in operations with a deterministic gradient.

    Where the largest value stands twice in a block, both places share the gradient; torch's pooling gives it to the
    first. A last voxel along an axis of odd size is left out, as there.

    Example:
        >>> BlockMax()(torch.arange(8.0).view(1, 1, 2, 2, 2))
        tensor([[[[[7.]]]]])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial) to (N, C, *spatial // 2)."""
        for axis in range(2, x.dim()):
            half = x.size(axis) // 2
            x = x.narrow(axis, 0, 2 * half).unflatten(axis, [half, 2]).amax(axis + 1)
        return x


class _WithBlockMax(nn.Module):
    """What a network's class is derived from, before that network, to have ``BlockMax`` for its pooling."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Pooling over blocks of 2 voxels, which has no weights.
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.MaxPool3d):
                self.set_submodule(name, BlockMax())


class BlockMaxUNet(_WithBlockMax, BasicUNet):
    """MONAI's ``BasicUNet``, with its arguments, and ``BlockMax`` for its pooling."""


class BlockMaxUNetPlusPlus(_WithBlockMax, BasicUNetPlusPlus):
    """MONAI's ``BasicUNetPlusPlus``, with its arguments, and ``BlockMax`` for its pooling."""


class BlockMaxResUNet(_WithBlockMax, ResUNet):
    """``ResUNet``, with its arguments, and ``BlockMax`` for its pooling."""


class BlockMaxResUNetPlus(_WithBlockMax, ResUNetPlus):
    """``ResUNetPlus``, with its arguments, and ``BlockMax`` for its pooling."""


class BlockMaxSEResUNet(_WithBlockMax, SEResUNet):
    """``SEResUNet``, with its arguments, and ``BlockMax`` for its pooling."""
