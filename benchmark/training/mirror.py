"""Average the logits of an image and of its mirror images at test time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from typing import Any

import torch
from monai.inferers.inferer import Inferer


class Mirrored(Inferer):
    """Averages the logits of each window over every combination of flips, each flipped back, as nnU-Net does.

    A window is flipped, not the image: an image is padded to whole windows, unevenly where an odd number of pixels is
    missing, and a network with strides would see the mirror image of an image on another grid.

    Args:
        inferer: what cuts the image into windows.
        axes: axes of a window that are flipped; of slices (x, y), -2 is left-right.
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int]) -> None:
        self.inferer = inferer
        self.flips = list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the mean logits, of the shape that the inferer gives."""

        def mirrored(window: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            total = network(window, *args, **kwargs)
            for flip in self.flips[1:]:
                total = total + network(window.flip(flip), *args, **kwargs).flip(flip)
            return total / len(self.flips)

        logits: torch.Tensor = self.inferer(inputs, mirrored, *args, **kwargs)
        return logits
