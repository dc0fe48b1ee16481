"""Augment whole batches of 3D patches on the training device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn import functional

from benchmark.training.augment import Augmentation, _basis


@dataclass(frozen=True)
class VolumeAugmentation(Augmentation):
    """Random rotation, flip, scaling and elastic deformation of whole batches of patches in one resampling.

    As ``Augmentation`` does it in 2D, with its arguments: angles about each of the three axes, control points along
    each. What would come from beyond a patch is its mirror image, as a patch ends within the brain. Rotations are of
    the grid, and rigid where voxels are cubes.
    """

    @property
    def numbers(self) -> int:
        """Random numbers that one sample needs, each uniform in [0, 1)."""
        return 8 + 3 * self.elastic_grid**3

    def grid(self, random: torch.Tensor, spatial_size: Sequence[int]) -> torch.Tensor:
        """Return sampling positions (N, X, Y, Z, 3), in [-1, 1] as ``grid_sample`` wants them, along z first.

        ``random`` (N, numbers): whether to flip, rotate, scale, deform; three angles; the scale; the displacements.
        """
        n, points = len(random), self.elastic_grid
        rotate, scale, deform = (random[:, 1:4] < self.probability).to(random.dtype).unbind(1)
        angles = (2 * random[:, 4:7] - 1) * math.radians(self.rotation) * rotate[:, None]
        zoom = 1 + (2 * random[:, 7] - 1) * self.scale * scale
        mirror = torch.ones_like(random[:, :3])
        mirror[:, 0] = 1 - 2 * (random[:, 0] < self.flip).to(random.dtype)
        # Coordinates are halves of the patch's sides, which differ; the ratio keeps rotations rigid.
        side = on_device(tuple(spatial_size), random.device)
        turn = turns(angles) / zoom[:, None, None] * mirror[:, None, :] * (side / side[:, None])
        # As in 2D: position = sum of c[i, j, k] * f_i(x) * f_j(y) * f_k(z), the f being splines, the coordinate and 1.
        c = random.new_zeros(n, 3, points + 2, points + 2, points + 2)
        moves = (2 * random[:, 8:] - 1).view(n, 3, points, points, points)
        c[:, :, :points, :points, :points] = moves * (2 * self.elastic * deform).view(n, 1, 1, 1, 1)
        c[:, :, -2, -1, -1], c[:, :, -1, -2, -1], c[:, :, -1, -1, -2] = turn.unbind(2)
        x, y, z = (_basis(points, size, random.device) for size in spatial_size)
        positions = ((c @ z.T).transpose(-1, -2) @ y.T).permute(0, 1, 4, 3, 2) @ x.T
        return positions.permute(0, 4, 2, 3, 1).flip(-1)

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Resample images (N, C, X, Y, Z) trilinearly and label values (N, X, Y, Z) to the nearest voxel."""
        grid = self.grid(random, image.shape[2:])
        image = functional.grid_sample(image, grid, "bilinear", padding_mode="reflection", align_corners=False)
        values = label[:, None].to(image.dtype)
        moved = functional.grid_sample(values, grid, "nearest", padding_mode="reflection", align_corners=False)
        return image, moved[:, 0].to(label.dtype)


@lru_cache(maxsize=8)
def on_device(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return numbers as a tensor on a device, copied there once: a CUDA graph that is captured cannot copy."""
    return torch.tensor(numbers, dtype=torch.float32).to(device)


def turns(angles: torch.Tensor) -> torch.Tensor:
    """Return matrices (N, 3, 3) that turn by angles (N, 3), radians, about the first, second and third axis in turn."""
    matrix = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3)
    for axis, (one, other) in enumerate(((1, 2), (2, 0), (0, 1))):
        cos, sin = torch.cos(angles[:, axis]), torch.sin(angles[:, axis])
        turn = torch.zeros_like(matrix)
        turn[:, axis, axis] = 1
        turn[:, one, one], turn[:, other, other] = cos, cos
        turn[:, one, other], turn[:, other, one] = -sin, sin
        matrix = turn @ matrix
    return matrix
