"""Add up the losses of a decoder's stages, weighted by their resolution."""

from __future__ import annotations

import torch
from torch import nn


class DeepSupervision(nn.Module):
    """A loss of each stage's logits, weighted 1, 1/2, 1/4, ... from the finest on and normalised to sum to 1.

    These are nnU-Net v2's weights, whose coarsest stage has the weight 0 and is not among the logits here. Where
    nnU-Net shrinks the masks to a stage's size, the stage's logits are enlarged to the masks'.

    Args:
        loss: maps logits and masks, both (N, C, *spatial), to a number.

    Example:
        >>> DeepSupervision(nn.L1Loss())(torch.zeros(1, 2, 1, 2, 2), torch.ones(1, 1, 2, 2))
        tensor(1.)
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    @staticmethod
    def weights(stages: int) -> list[float]:
        """Weights of so many stages' losses, the finest first."""
        total = sum(2.0**-stage for stage in range(stages))
        return [2.0**-stage / total for stage in range(stages)]

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map logits (N, stages, C, *spatial), or (N, C, *spatial) of one stage, and masks (N, C, *spatial)."""
        stages = (input,) if input.dim() == target.dim() else input.unbind(1)
        terms = [
            weight * self.loss(logits, target) for weight, logits in zip(self.weights(len(stages)), stages, strict=True)
        ]
        return torch.stack(terms).sum()
