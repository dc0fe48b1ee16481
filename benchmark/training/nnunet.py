"""Augment whole batches of slices as nnU-Net v2's default trainer does, on the training device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn import functional

BLUR_REACH = 3
"""Pixels that the widest blur (sigma 1, cut at six sigma as nnU-Net cuts it) reaches either way."""

SMALLEST_RANGE = 1e-7
"""Spread below which gamma takes a channel for constant, as nnU-Net does."""


def canvas_size(patch_size: Sequence[int], rotation: float = 180.0, smallest: float = 0.85) -> list[int]:
    """Return the size of the canvas that nnU-Net cuts a patch from, so that rotation brings in few zeros.

    ``smallest`` is nnU-Net's constant, not the lower end of its scaling. A side is enlarged by a pixel where needed so
    that the patch lies in the middle without half a pixel's shift.
    """
    turn = math.radians(min(90.0, rotation))
    height, width = patch_size
    turned = (
        abs(height * math.cos(turn) + width * math.sin(turn)),
        abs(width * math.cos(turn) - height * math.sin(turn)),
    )
    sides = [int(max(side, patch) / smallest) for side, patch in zip(turned, patch_size, strict=True)]
    return [side + (side - patch) % 2 for side, patch in zip(sides, patch_size, strict=True)]


@dataclass(frozen=True)
class NnunetAugmentation:
    """nnU-Net v2's spatial and intensity augmentation of 2D patches, with its probabilities and ranges.

    In its order: rotation, scaling (one resampling with mirroring), noise, blur, brightness, contrast, low resolution,
    gamma of the inverted image, gamma; last, what lies outside the brain is set to zero again. Every number that is
    drawn comes from a sample's own row of random numbers, the noise through a hash of it, so that neither batch nor
    worker decides it.

    Args:
        channels: modalities.
        spatial_size: size of the patch that is left of the canvas.
        labels: label values but for the background's.
        rotation: largest angle either way, degrees; nnU-Net: 15 where one side is more than 1.5 times the other.
        scaling: smallest and largest factor; above 1 makes what is seen smaller.
        noise: largest standard deviation.
        blur: smallest and largest sigma, pixels.
        contrast: smallest and largest factor of brightness and of contrast, below and above 1 equally likely.
        resolution: smallest and largest share of the pixels along each axis that low resolution leaves.
        gamma: smallest and largest exponent.
    """

    channels: int
    spatial_size: Sequence[int]
    labels: Sequence[int]
    rotation: float = 180.0
    scaling: tuple[float, float] = (0.7, 1.4)
    noise: float = 0.1
    blur: tuple[float, float] = (0.5, 1.0)
    contrast: tuple[float, float] = (0.75, 1.25)
    resolution: tuple[float, float] = (0.5, 1.0)
    gamma: tuple[float, float] = (0.7, 1.5)
    spatial_probability: float = 0.2
    noise_probability: float = 0.1
    blur_probability: float = 0.2
    brightness_probability: float = 0.15
    contrast_probability: float = 0.15
    resolution_probability: float = 0.25
    inverted_gamma_probability: float = 0.1
    gamma_probability: float = 0.3
    channel_probability: float = 0.5

    @property
    def numbers(self) -> int:
        """Random numbers that one sample needs, each uniform in [0, 1)."""
        return 16 + 9 * self.channels

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn canvases (N, C, H, W) and labels (N, H, W) into augmented patches of ``spatial_size``."""
        one = [random[:, column] for column in range(16)]
        each = random[:, 16:].view(-1, 9, self.channels).unbind(1)
        image, label, inside = self.resample(image, label, self.grid(random[:, :6], image.shape[2:]))
        image = _where(one[6] < self.noise_probability, image, _noisy, self.noise * one[7], one[8], one[9])
        sigma = [torch.where(each[0] < self.channel_probability, _between(self.blur, u), 0.0) for u in each[1:3]]
        image = _where(one[10] < self.blur_probability, image, _blurred, *sigma)
        image = _where(one[11] < self.brightness_probability, image, _brighter, _around_one(self.contrast, each[3]))
        image = _where(one[12] < self.contrast_probability, image, _contrasted, _around_one(self.contrast, each[4]))
        share = torch.where(each[5] < self.channel_probability, _between(self.resolution, each[6]), 1.0)
        image = _where(one[13] < self.resolution_probability, image, _coarse, share)
        inverted, plain = (_around_one(self.gamma, u) for u in each[7:9])
        image = _where(one[14] < self.inverted_gamma_probability, image, lambda x, g: -_gamma(-x, g), inverted)
        image = _where(one[15] < self.gamma_probability, image, _gamma, plain)
        return torch.where(inside[:, None], image, 0.0), label

    def resample(
        self, image: torch.Tensor, label: torch.Tensor, grid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images, labels, and what lies inside the brain (N, H, W), at the positions of ``grid``.

        Images are interpolated bilinearly. So is, for each label, where it is; the highest score gives the label. A
        pixel that is zero in every modality and without a label is outside, as is what lies beyond the canvas.
        """
        tumour = [label == value for value in self.labels]
        brain = (image != 0).any(1) & (label == 0)
        scores = torch.stack([brain, *tumour], dim=1).to(image.dtype)
        both = functional.grid_sample(torch.cat([image, scores], dim=1), grid, mode="bilinear", align_corners=False)
        image, scores = both[:, : self.channels], both[:, self.channels :]
        # All scores add up to 1; the first is that of the outside, which wins where two are equal.
        best = torch.cat([1 - scores.sum(1, keepdim=True), scores], dim=1).argmax(1)
        values = sum(value * (best == place) for place, value in enumerate(self.labels, start=2))
        return image, torch.as_tensor(values).to(label.dtype), best > 0

    def grid(self, random: torch.Tensor, canvas: Sequence[int]) -> torch.Tensor:
        """Return sampling positions (N, H, W, 2) on the canvas for a patch in its middle.

        ``random`` (N, 6): whether to rotate and to scale; angle and factor; whether to mirror each axis.
        """
        rotate, scale = (random[:, :2] < self.spatial_probability).unbind(1)
        angle = torch.where(rotate, (2 * random[:, 2] - 1) * math.radians(self.rotation), 0.0)
        zoom = torch.where(scale, _between(self.scaling, random[:, 3]), 1.0)
        mirror = 1 - 2 * (random[:, 4:6] < 0.5).to(random.dtype)
        (height, width), device = self.spatial_size, random.device
        row = _centres(height, device)[None, :, None] * mirror[:, 0, None, None]
        column = _centres(width, device)[None, None, :] * mirror[:, 1, None, None]
        cos, sin = ((f(angle) * zoom)[:, None, None] for f in (torch.cos, torch.sin))
        # grid_sample wants the position along W first, both in halves of the canvas from its middle.
        return torch.stack(
            [(cos * column + sin * row) * (2 / canvas[1]), (cos * row - sin * column) * (2 / canvas[0])], dim=-1
        )


def _where(
    chosen: torch.Tensor, image: torch.Tensor, change: Callable[..., torch.Tensor], *numbers: torch.Tensor
) -> torch.Tensor:
    """Change the chosen samples of a batch, with each sample's own numbers."""
    if image.is_cuda:
        # Which samples are chosen is not known to the processor, and asking would stop it until the GPU is done.
        return torch.where(chosen[:, None, None, None], change(image, *numbers), image)
    rows = chosen.nonzero().flatten()
    return image.index_copy(0, rows, change(image[rows], *(n[rows] for n in numbers))) if len(rows) else image


def _between(ends: tuple[float, float], u: torch.Tensor) -> torch.Tensor:
    return ends[0] + (ends[1] - ends[0]) * u


def _around_one(ends: tuple[float, float], u: torch.Tensor) -> torch.Tensor:
    """Below 1 in one half of all draws and above it in the other, uniform in each."""
    return torch.where(u < 0.5, ends[0] + (1 - ends[0]) * 2 * u, 1 + (ends[1] - 1) * (2 * u - 1))


def _noisy(image: torch.Tensor, sigma: torch.Tensor, *keys: torch.Tensor) -> torch.Tensor:
    return image + sigma[:, None, None, None] * normal(keys, image[0].numel()).view_as(image)


def normal(keys: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """Return (N, count) normally distributed numbers that follow from each sample's two keys in [0, 1).

    A 32-bit integer hash (MurmurHash3's finaliser) of a counter gives two 16-bit uniform numbers, and those by Box and
    Muller's method two normal ones; none is beyond 4.9.
    """
    half = (count + 1) // 2
    first, second = ((key * 2**24).long()[:, None] for key in keys)
    counter = torch.arange(half, device=first.device)
    bits = (counter * 0x9E3779B1 + first * 0x85EBCA6B + second * 0xC2B2AE35) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = ((bits ^ (bits >> shift)) * factor) & 0xFFFFFFFF
    radius = torch.sqrt(-2 * torch.log(((bits >> 16).float() + 0.5) / 2**16))
    angle = (bits & 0xFFFF).float() * (2 * math.pi / 2**16)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]


def _blurred(image: torch.Tensor, *sigmas: torch.Tensor) -> torch.Tensor:
    """Blur each channel along rows and columns with its own sigmas (N, C), 0 for not at all; edges are mirrored."""
    rows, columns = (
        _blur_matrices(sigma, size) for sigma, size in zip(sigmas, image.shape[2:], strict=True)
    )  # fmt: skip
    return rows @ image @ columns.mT


def _blur_matrices(sigma: torch.Tensor, size: int) -> torch.Tensor:
    steps = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=sigma.device)
    wide = sigma[..., None].clamp(min=0.1)
    weights = torch.exp(-0.5 * (steps / wide) ** 2) * (steps.abs() <= torch.floor((6 * wide + 0.5) / 2))
    weights = torch.where(sigma[..., None] > 0, weights / weights.sum(-1, keepdim=True), (steps == 0).to(sigma.dtype))
    return (weights @ _shifts(size, sigma.device)).view(*sigma.shape, size, size)


@lru_cache(maxsize=8)
def _shifts(size: int, device: torch.device) -> torch.Tensor:
    """Matrices (steps, size * size) that each fetch the pixel so many steps further on, mirrored at the edges."""
    place = torch.arange(size)
    fetched = [(size - 1 - (size - 1 - (place + step).abs()).abs()) for step in range(-BLUR_REACH, BLUR_REACH + 1)]
    return torch.stack([functional.one_hot(index, size) for index in fetched]).flatten(1).float().to(device)


@lru_cache(maxsize=8)
def _centres(size: int, device: torch.device) -> torch.Tensor:
    """Positions of pixels from the middle."""
    return (torch.arange(size) - (size - 1) / 2).to(device)


def _brighter(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return image * factor[:, :, None, None]


def _contrasted(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Stretch each channel around its mean, within its range."""
    mean, least, most = image.mean((2, 3), keepdim=True), image.amin((2, 3), True), image.amax((2, 3), True)
    return ((image - mean) * factor[:, :, None, None] + mean).clamp(least, most)


def _coarse(image: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Keep the nearest pixels of a coarser grid, a share (N, C) of each side, and interpolate linearly between them."""
    rows, columns = (_coarse_matrices(share, size) for size in image.shape[2:])
    return rows @ image @ columns.mT


def _coarse_matrices(share: torch.Tensor, size: int) -> torch.Tensor:
    place = torch.arange(size, device=share.device)
    coarse = torch.round(size * share)[..., None]
    position = ((place + 0.5) * coarse / size - 0.5).clamp(min=0)
    low = position.floor()
    high = torch.minimum(low + 1, coarse - 1)
    weight = (position - low)[..., None]
    # Divided and multiplied in this order, which is torch's own, ties fall to the same pixel.
    step = torch.full_like(coarse, size) / coarse
    low, high = (torch.floor((at + 0.5) * step)[..., None] == place for at in (low, high))
    return (1 - weight) * low + weight * high


def _gamma(image: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Raise each channel, scaled to its range, to a power, and restore its mean and standard deviation."""
    least = image.amin((2, 3), True)
    spread = image.amax((2, 3), True) - least
    raised = ((image - least) / spread.clamp(min=SMALLEST_RANGE)) ** exponent[:, :, None, None] * spread + least
    mean, deviation = (f((2, 3), keepdim=True) for f in (image.mean, image.std))
    factor = deviation / raised.std((2, 3), keepdim=True).clamp(min=SMALLEST_RANGE)
    return (raised - raised.mean((2, 3), keepdim=True)) * factor + mean
