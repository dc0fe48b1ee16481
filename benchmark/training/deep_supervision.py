"""Add up the losses of a decoder's stages, weighted by their resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class DeepSupervision(nn.Module):
    """A loss of each stage's logits, weighted 1, 1/2, 1/4, ... from the finest on and normalised to sum to 1.

    These are nnU-Net v2's weights, whose coarsest stage has the weight 0 and is not among the logits here. As in
    nnU-Net a stage's loss is taken at its own resolution, against masks shrunk to it: the network returns logits that
    were enlarged by repetition, of which one per repetition is read.

    Args:
        loss: maps logits and masks, both (N, C, *spatial), to a number.
        strides: of each stage from the finest on, along each axis, as the network has them; none for equal sizes.

    Example:
        >>> DeepSupervision(nn.L1Loss())(torch.zeros(1, 2, 1, 2, 2), torch.ones(1, 1, 2, 2))
        tensor(1.)
    """

    def __init__(self, loss: nn.Module, strides: Sequence[Sequence[int]] = ()) -> None:
        super().__init__()
        self.loss = loss
        self.strides = [list(steps) for steps in strides]

    @staticmethod
    def weights(stages: int) -> list[float]:
        """Weights of so many stages' losses, the finest first."""
        total = sum(2.0**-stage for stage in range(stages))
        return [2.0**-stage / total for stage in range(stages)]

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map logits (N, stages, C, *spatial), or (N, C, *spatial) of one stage, and masks (N, C, *spatial)."""
        if input.dim() == target.dim():
            only: torch.Tensor = self.loss(input, target)
            return only
        stages = input.unbind(1)
        steps, terms = [1] * (target.dim() - 2), []
        for stage, (weight, logits) in enumerate(zip(self.weights(len(stages)), stages, strict=True)):
            if self.strides:
                steps = [step * stride for step, stride in zip(steps, self.strides[stage], strict=True)]
            # The middle of each repetition, which is the pixel that "nearest-exact" resizing keeps.
            every: tuple[Any, ...] = (..., *(slice(step // 2, None, step) for step in steps))
            terms.append(weight * self.loss(logits[every], target[every]))
        return torch.stack(terms).sum()
