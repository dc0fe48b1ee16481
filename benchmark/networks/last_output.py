"""Return only the last of a network's several outputs."""

from __future__ import annotations

import torch
from torch import nn


class LastOutput(nn.Module):
    """A network of which only the last of its outputs is returned, such as MONAI's U-Net++, whose output is a list.

    Args:
        network: a network that returns a list of tensors.

    Example:
        >>> from monai.networks.nets import BasicUNetPlusPlus
        >>> LastOutput(BasicUNetPlusPlus(2, 4, 3, features=(4, 8, 8, 8, 8, 4)))(torch.zeros(1, 4, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial) to the last of the network's outputs, (N, K, *spatial)."""
        last: torch.Tensor = self.network(x)[-1]
        return last
