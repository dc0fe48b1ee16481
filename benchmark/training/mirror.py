"""Average the logits of an image and of its mirror images at test time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from typing import Any

import torch
from monai.inferers.inferer import Inferer


class Mirrored(Inferer):
    """Averages another inferer's logits over every combination of flips, each flipped back (as nnU-Net does).

    Args:
        inferer: what infers one mirror image.
        axes: axes of the image tensor that are flipped; of a volume (N, C, slices, x, y), -2 is left-right.
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int]) -> None:
        self.inferer = inferer
        self.flips = list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the mean logits, of the shape that the inferer gives."""
        total: torch.Tensor = self.inferer(inputs, network, *args, **kwargs)
        for flip in self.flips[1:]:
            total = total + self.inferer(inputs.flip(flip), network, *args, **kwargs).flip(flip)
        return total / len(self.flips)
