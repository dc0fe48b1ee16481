"""Pad images to a size that a network can take, and crop its output back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Padded(nn.Module):
    """A network whose input is padded with zeros to a size it takes and whose output is cropped back.

    Nothing is resized, so a voxel stays a voxel. Zeros are what a normalised scan has around the brain. A size that
    the network takes is passed on as it is; else the zeros are split over both sides, the odd one at the end.

    Args:
        network: the network; its output has its input's spatial size.
        divisor: every spatial size is padded to a multiple of it.
        least: no spatial size is smaller than this (a multiple of ``divisor``).

    Example:
        >>> Padded(nn.MaxPool2d(3, stride=1, padding=1), divisor=32)(torch.zeros(1, 4, 30, 17)).shape
        torch.Size([1, 4, 30, 17])
    """

    def __init__(self, network: nn.Module, divisor: int, least: int = 0) -> None:
        super().__init__()
        self.network = network
        self.divisor = divisor
        self.least = least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial) to the network's (N, K, *spatial) for any spatial size."""
        sides: list[int] = []  # as torch pads: the last axis first
        for axis in range(x.dim() - 1, 1, -1):
            size = x.size(axis)
            missing = max((size + self.divisor - 1) // self.divisor * self.divisor, self.least) - size
            sides += [missing // 2, missing - missing // 2]
        if max(sides) == 0:
            same: torch.Tensor = self.network(x)
            return same
        y: torch.Tensor = self.network(nn.functional.pad(x, sides))
        for axis in range(2, x.dim()):
            # From the end, since a deeply supervised network puts a stage axis before the channels.
            y = y.narrow(axis - x.dim(), sides[2 * (x.dim() - 1 - axis)], x.size(axis))
        return y


class PaddedByAxis(nn.Module):
    """``Padded`` with a divisor for each axis, for networks that halve some axes more often than others.

    All zeros are at the end of an axis, so that a coarse stage's voxels keep their place in the image: a deeply
    supervised loss compares them with the mask's voxels there.

    Args:
        network: the network; its output has its input's spatial size.
        divisor: each spatial size is padded to a multiple of that axis's.
        least: no spatial size is smaller than this.
    """

    def __init__(self, network: nn.Module, divisor: Sequence[int], least: int = 0) -> None:
        super().__init__()
        self.network = network
        self.divisor = list(divisor)
        self.least = least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, *spatial) to the network's (N, K, *spatial) for any spatial size."""
        sides: list[int] = []  # as torch pads: the last axis first
        for axis in range(x.dim() - 1, 1, -1):
            size, divisor = x.size(axis), self.divisor[axis - 2]
            sides += [0, max((size + divisor - 1) // divisor * divisor, self.least) - size]
        if max(sides) == 0:
            same: torch.Tensor = self.network(x)
            return same
        y: torch.Tensor = self.network(nn.functional.pad(x, sides))
        for axis in range(2, x.dim()):
            y = y.narrow(axis - x.dim(), 0, x.size(axis))
        return y
