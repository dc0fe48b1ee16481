"""Augment whole batches of 3D patches as nnU-Net v2's default trainer does, on the training device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from benchmark.training.augment_volumes import on_device, turns
from benchmark.training.nnunet import (
    NnunetAugmentation,
    _around_one,
    _between,
    _blur_matrices,
    _brighter,
    _centres,
    _coarse_matrices,
    _contrasted,
    _gamma,
    _noisy,
    _where,
)


def flat_axis(rotation: Sequence[float]) -> int:
    """Return the axis about which alone patches are turned, -1 where there are several."""
    turned = [axis for axis, angle in enumerate(rotation) if angle]
    return turned[0] if len(turned) == 1 else -1


def canvas_size(patch_size: Sequence[int], rotation: Sequence[float], smallest: float = 0.85) -> list[int]:
    """Return the size of the canvas that nnU-Net cuts a patch (x, y, z) from, so that rotation brings in few zeros.

    ``rotation`` has the largest angles about x, y and z, degrees; ``smallest`` is nnU-Net's constant. As in
    ``nnunet.canvas_size`` a side is enlarged by a voxel where the patch would else lie half a voxel off the middle.
    """
    flat = flat_axis(rotation)
    # nnU-Net's axes are z, y, x; the coarsest of them comes first.
    order = [2, 1, 0] if flat < 0 else [flat, *(axis for axis in (2, 1, 0) if axis != flat)]
    size = [float(patch_size[axis]) for axis in order]
    angle, largest = math.radians(min(90.0, max(rotation))), list(size)
    cos, sin = math.cos(angle), math.sin(angle)
    for one, other in ((1, 2), (2, 0), (0, 1)):
        # batchgenerators' rotation of a row: about the first axis, the second and the third.
        largest[one] = max(largest[one], abs(size[one] * cos + size[other] * sin))
        largest[other] = max(largest[other], abs(size[other] * cos - size[one] * sin))
    canvas = [0, 0, 0]
    for axis, side in zip(order, largest, strict=True):
        canvas[axis] = patch_size[axis] if axis == flat else int(side / smallest)
    return [side + (side - patch) % 2 for side, patch in zip(canvas, patch_size, strict=True)]


@dataclass(frozen=True)
class VolumeNnunetAugmentation(NnunetAugmentation):
    """nnU-Net v2's spatial and intensity augmentation of 3D patches, with its probabilities and ranges.

    In the order of ``NnunetAugmentation``, and with its arguments, but that ``rotation`` has the largest angles about
    x, y and z. One factor scales all axes, and one makes them coarser; where patches are turned about one axis only,
    as nnU-Net does with few thick slices, nothing moves or becomes coarser along that axis.
    """

    rotation: Sequence[float] = (30.0, 30.0, 30.0)  # type: ignore[assignment]

    @property
    def numbers(self) -> int:
        """Random numbers that one sample needs, each uniform in [0, 1)."""
        return 19 + 10 * self.channels

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn canvases (N, C, X, Y, Z) and labels (N, X, Y, Z) into augmented patches of ``spatial_size``."""
        one = [random[:, column] for column in range(19)]
        each = random[:, 19:].view(-1, 10, self.channels).unbind(1)
        image, label, inside = self.resample(image, label, self.grid(random[:, :9], image.shape[2:]))
        # What follows knows two axes, and does not ask which: the last two are one, but where it goes along them.
        image = image.flatten(3)
        image = _where(one[9] < self.noise_probability, image, _noisy, self.noise * one[10], one[11], one[12])
        sigma = [torch.where(each[0] < self.channel_probability, _between(self.blur, u), 0.0) for u in each[1:4]]
        image = _where(one[13] < self.blur_probability, image, partial(_blurred, self.spatial_size), *sigma)
        image = _where(one[14] < self.brightness_probability, image, _brighter, _around_one(self.contrast, each[4]))
        image = _where(one[15] < self.contrast_probability, image, _contrasted, _around_one(self.contrast, each[5]))
        share = torch.where(each[6] < self.channel_probability, _between(self.resolution, each[7]), 1.0)
        coarse = partial(_coarse, self.spatial_size, flat_axis(self.rotation))
        image = _where(one[16] < self.resolution_probability, image, coarse, share)
        inverted, plain = (_around_one(self.gamma, u) for u in each[8:10])
        image = _where(one[17] < self.inverted_gamma_probability, image, lambda x, g: -_gamma(-x, g), inverted)
        image = _where(one[18] < self.gamma_probability, image, _gamma, plain).unflatten(
            3, tuple(self.spatial_size[1:])
        )
        return torch.where(inside[:, None], image, 0.0), label

    def grid(self, random: torch.Tensor, canvas: Sequence[int]) -> torch.Tensor:
        """Return sampling positions (N, X, Y, Z, 3) on the canvas for a patch in its middle, along z first.

        ``random`` (N, 9): whether to rotate and to scale; three angles and the factor; whether to mirror each axis.
        """
        rotate, scale = (random[:, :2] < self.spatial_probability).unbind(1)
        most = on_device(tuple(math.radians(angle) for angle in self.rotation), random.device)
        angles = torch.where(rotate[:, None], (2 * random[:, 2:5] - 1) * most, 0.0)
        zoom = torch.where(scale, _between(self.scaling, random[:, 5]), 1.0)[:, None]
        zoom = torch.where(torch.arange(3, device=random.device) == flat_axis(self.rotation), 1.0, zoom)
        mirror = 1 - 2 * (random[:, 6:9] < 0.5).to(random.dtype)
        # nnU-Net's axes are z, y, x: it turns about these, one after the other.
        turn = turns(angles.flip(1)).flip(1, 2) * (zoom * mirror)[:, None, :]
        axes = [_centres(size, random.device) for size in self.spatial_size]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        # grid_sample wants the position along z first, in halves of the canvas from its middle.
        return (
            ((place.view(1, -1, 3) @ turn.mT) * (2 / on_device(tuple(canvas), random.device)))
            .flip(-1)
            .view(-1, *self.spatial_size, 3)
        )


def _along(image: torch.Tensor, size: Sequence[int], matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Multiply a batch (N, C, X, Y * Z) along each axis with matrices (N, C, side, side)."""
    x, y, z = matrices
    image = (x @ image).unflatten(3, tuple(size[1:]))
    return (y[:, :, None] @ image @ z.mT[:, :, None]).flatten(3)


def _blurred(size: Sequence[int], image: torch.Tensor, *sigmas: torch.Tensor) -> torch.Tensor:
    """Blur each channel along each axis with its own sigmas (N, C), 0 for not at all; edges are mirrored."""
    return _along(image, size, [_blur_matrices(sigma, side) for sigma, side in zip(sigmas, size, strict=True)])


def _coarse(size: Sequence[int], flat: int, image: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Keep the nearest voxels of a coarser grid, a share (N, C) of each side, and interpolate linearly between them."""
    shares = [torch.ones_like(share) if axis == flat else share for axis in range(3)]
    return _along(image, size, [_coarse_matrices(share, side) for share, side in zip(shares, size, strict=True)])
