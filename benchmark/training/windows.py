"""Predict a volume by 3D windows that overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers.inferer import SlidingWindowInferer


class VolumeInferer(SlidingWindowInferer):
    """Weighted mean of the logits of overlapping windows (x, y, z) of a volume whose slices come first.

    Args:
        roi_size: of a window along x, y and z, voxels, as a network was trained on.
        sw_batch_size: windows that are predicted at a time.
        spatial_dim: axis of the volume along which slices lie; in a window it is the last.
        overlap: share of a window that the next one shows again.
        mode: "gaussian" for weights that fall towards a window's border, "constant" for equal ones.

    Raises:
        ValueError: for another number of axes than three.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        sw_batch_size: int,
        spatial_dim: int = 0,
        overlap: float = 0.5,
        mode: str = "gaussian",
    ) -> None:
        if len(roi_size) != 3:
            raise ValueError(f"roi_size: expected three numbers, found {list(roi_size)}")
        super().__init__(roi_size=list(roi_size), sw_batch_size=sw_batch_size, overlap=overlap, mode=mode)
        self.axis = spatial_dim + 2

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Map a volume (N, C, slices, x, y) to logits (N, K, slices, x, y)."""
        found: Any = super().__call__(inputs.movedim(self.axis, -1), network, *args, **kwargs)
        logits: torch.Tensor = found.movedim(-1, self.axis)
        return logits
