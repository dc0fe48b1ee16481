"""Compute the losses that MONAI lacks: focal Tversky, and a weighted sum of losses.

What papers of this benchmark use and MONAI has under another name is configured in the bundles and not written again.
The poster's focal loss (Fozzati and Assinck), alpha (1 - exp(-BCE))^gamma BCE for each pixel, is alpha times MONAI's
``FocalLoss`` without class weights, because exp(-BCE) is the probability given to the true class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.losses.tversky import TverskyLoss
from torch import nn

from benchmark.base.records import InputError


class FocalTverskyLoss(TverskyLoss):
    """(1 - TI)^gamma for each region, then the mean, with TI = TP / (TP + alpha FP + beta FN).

    Deng et al. name the loss and print no exponent. Their Tversky index of 0.9168 with a loss of 0.1546 gives it:
    (1 - 0.9168)^0.75 = 0.1549, which is also Abraham and Khan's 1 / gamma with gamma = 4/3.

    Args:
        gamma: the exponent; below 1 it keeps the gradient of regions that are nearly right.
        alpha: weight of false positives.
        beta: weight of false negatives.
        sigmoid: whether inputs are logits.
        batch: whether TP, FP and FN are summed over the batch first, so that an image without the region counts by
            its false positives only.
        options: any further argument of ``monai.losses.TverskyLoss`` but ``reduction``.

    Example:
        >>> FocalTverskyLoss()(torch.full((1, 1, 2, 2), 100.0), torch.ones(1, 1, 2, 2)) < 1e-4
        tensor(True)
    """

    def __init__(
        self,
        gamma: float = 0.75,
        alpha: float = 0.3,
        beta: float = 0.7,
        sigmoid: bool = True,
        batch: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, sigmoid=sigmoid, batch=batch, reduction="none", **options)
        self.gamma = gamma

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map logits and masks, both (N, C, *spatial), to one number."""
        # At 0 the derivative of x^0.75 is infinite; and rounding can put 1 - TI below 0.
        return super().forward(input, target).clamp(min=1e-6).pow(self.gamma).mean()


class WeightedSum(nn.Module):
    """The sum of losses, each times its weight.

    MONAI's ``DiceCELoss`` takes the softmax over several channels, which excludes regions that contain one another
    (ET in TC in WT); ``WeightedSum([DiceLoss(sigmoid=True), BCEWithLogitsLoss()], [1, 1])`` does not.

    Args:
        losses: modules that map logits and masks to a number.
        weights: one per loss.

    Raises:
        InputError: if there are not as many weights as losses.

    Example:
        >>> WeightedSum([nn.L1Loss(), nn.MSELoss()], [1, 0.5])(torch.zeros(2), torch.full((2,), 2.0))
        tensor(4.)
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if len(losses) != len(weights):
            raise InputError(f"There are {len(weights)} weights for {len(losses)} losses: expected one per loss.")
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(float(weight) for weight in weights)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map logits and masks, both (N, C, *spatial), to one number."""
        terms = [weight * loss(input, target) for weight, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(terms).sum()
