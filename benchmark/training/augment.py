"""Augment whole batches of slices on the training device and turn label values into region masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Random rotation, flip, scaling and elastic deformation of whole batches in one resampling.

    Mandekar et al. name these four (sections 3.5 and 4.2) and give no ranges; the ranges are the protocol's.

    Args:
        rotation: largest angle either way, degrees.
        flip: probability of mirroring left and right.
        scale: largest relative change of size either way.
        elastic: largest displacement of a control point either way, as a share of the image's size.
        elastic_grid: control points along each side; displacements between them are interpolated bicubically.
        probability: of rotation, of scaling and of elastic deformation, each by itself.
    """

    rotation: float = 15.0
    flip: float = 0.5
    scale: float = 0.1
    elastic: float = 0.03
    elastic_grid: int = 5
    probability: float = 0.5

    @property
    def numbers(self) -> int:
        """Random numbers that one sample needs, each uniform in [0, 1)."""
        return 6 + 2 * self.elastic_grid**2

    def grid(self, random: torch.Tensor, spatial_size: Sequence[int]) -> torch.Tensor:
        """Return sampling positions (N, H, W, 2), in [-1, 1] as ``grid_sample`` wants them.

        ``random`` (N, numbers): whether to flip, rotate, scale, deform; the angle; the scale; the displacements.
        """
        n, (height, width), points = len(random), spatial_size, self.elastic_grid
        rotate, scale, deform = (random[:, 1:4] < self.probability).to(random.dtype).unbind(1)
        angle = (2 * random[:, 4] - 1) * math.radians(self.rotation) * rotate
        zoom = 1 + (2 * random[:, 5] - 1) * self.scale * scale
        mirror = 1 - 2 * (random[:, 0] < self.flip).to(random.dtype)
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        # Normalised coordinates are stretched where the canvas is not square; the ratio keeps rotations rigid.
        # grid_sample's first coordinate runs along W. Slices are (x, y), so left-right is H, the second one.
        ratio = height / width
        # Position = sum of c[i, j] * f_i(row) * f_j(column), the f being the splines, the coordinate and 1: the
        # affine map and the displacements are one pair of small matrix products instead of two passes over images.
        c = random.new_zeros(n, 2, points + 2, points + 2)
        moves = (2 * random[:, 6:] - 1).view(n, 2, points, points)
        c[:, :, :points, :points] = moves * (2 * self.elastic * deform).view(n, 1, 1, 1)
        c[:, 0, -1, -2], c[:, 0, -2, -1] = cos, -sin * ratio * mirror
        c[:, 1, -1, -2], c[:, 1, -2, -1] = sin / ratio, cos * mirror
        rows, columns = (_basis(points, size, random.device) for size in (height, width))
        return torch.stack((rows @ c @ columns.T).unbind(1), dim=-1)

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Resample images (N, C, H, W) bilinearly and label values (N, H, W) to the nearest voxel; zero outside."""
        return resample(image, label, self.grid(random, image.shape[2:]))


def resample(image: torch.Tensor, label: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take images bilinearly and label values from the nearest voxel at the positions of ``grid``; zero outside."""
    image = functional.grid_sample(image, grid, mode="bilinear", align_corners=False)
    moved = functional.grid_sample(label[:, None].to(image.dtype), grid, mode="nearest", align_corners=False)
    return image, moved[:, 0].to(label.dtype)


class PrepareBatch:
    """What a trainer or evaluator calls on a batch: moves it to the device, augments it and makes region masks.

    Args:
        regions: region to its label values, in channel order, as a manifest states them.
        augmentation: applied where the batch has random numbers; None for validation.
        channels_last: whether images are laid out channels last, which is faster for 2D convolutions.
    """

    def __init__(
        self,
        regions: Mapping[str, Sequence[int]],
        augmentation: Augmentation | None = None,
        channels_last: bool = True,
    ) -> None:
        self.regions = [list(values) for values in regions.values()]
        self.augmentation = augmentation
        self.channels_last = channels_last

    def masks(self, label: torch.Tensor) -> torch.Tensor:
        """Map label values (N, *spatial) to float region masks (N, regions, *spatial)."""
        masks = [reduce(torch.logical_or, (label == value for value in values)) for values in self.regions]
        return torch.stack(masks, dim=1).float()

    def __call__(
        self, batch: Mapping[str, torch.Tensor], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (image, masks), the masks None where the batch has no label."""
        image = batch["image"].to(device, non_blocking=non_blocking).float()
        if "label" not in batch:
            return image, None
        label = batch["label"].to(device, non_blocking=non_blocking)
        if self.augmentation is not None:
            image, label = self.augmentation(image, label, batch["random"].to(device, non_blocking=non_blocking))
        if self.channels_last and image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        return image, self.masks(label)


@lru_cache(maxsize=8)
def _basis(points: int, size: int, device: torch.device) -> torch.Tensor:
    """Functions along one axis at the centres of ``size`` pixels: ``points`` bicubic splines, the coordinate, 1."""
    splines = functional.interpolate(
        torch.eye(points)[None, None], size=(points, size), mode="bicubic", align_corners=True
    )[0, 0].T
    coordinate = (2 * torch.arange(size) + 1) / size - 1
    return torch.cat([splines, coordinate[:, None], torch.ones(size, 1)], dim=1).to(device)
