"""Read prepared cases as batches of 2D slices for training, and as whole volumes for validation and inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmark.base.records import InputError
from benchmark.data.prepare import PreparedCase

Item = tuple[int, np.ndarray, np.ndarray]
"""A slice's index, its pixel (row, column) that lies in the canvas's corner, and the sample's random numbers."""


class SliceDataset(Dataset[dict[str, torch.Tensor]]):
    """Axial slices of prepared cases, read from the memory map and placed on a canvas of ``spatial_size``.

    ``corners`` (slices, 2) are those of centred slices: a brain larger than the canvas is cut at the canvas's border,
    in training only. A batch is a dict of ``image`` (N, modalities, H, W) float16, ``label`` (N, H, W) uint8 label
    values and ``random`` (N, numbers) float32.
    """

    def __init__(self, cases: Sequence[PreparedCase], spatial_size: Sequence[int]) -> None:
        self.cases = list(cases)
        self.spatial_size = tuple(spatial_size)
        shapes = [case.label.shape for case in self.cases]
        self.slices = [(case, z) for case, shape in zip(self.cases, shapes, strict=True) for z in range(shape[0])]
        self.counts = np.array([shape[0] for shape in shapes])
        self.shapes = np.repeat(np.array([shape[1:] for shape in shapes]), self.counts, axis=0)
        free = self.shapes - np.array(self.spatial_size)
        self.corners = np.where(free < 0, -((-free) // 2), free // 2)
        tumour = np.array([z in case.header["foreground"] for case, z in self.slices])
        self.foreground, self.background = np.flatnonzero(tumour), np.flatnonzero(~tumour)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, item: Item) -> dict[str, torch.Tensor]:
        return {key: value[0] for key, value in self.__getitems__([item]).items()}

    def __getitems__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Read a batch at once: one copy from the memory map into the batch, none in between."""
        modalities = len(self.cases[0].slice_at(0)[0])
        image = np.zeros((len(items), modalities, *self.spatial_size), np.float16)
        label = np.zeros((len(items), *self.spatial_size), np.uint8)
        for n, (index, corner, _) in enumerate(items):
            case, z = self.slices[index]
            pixels, labels = case.slice_at(z)
            read: list[slice] = []
            write: list[slice] = []
            for first, have, want in zip(corner.tolist(), labels.shape, self.spatial_size, strict=True):
                start, stop = max(first, 0), max(min(first + want, have), 0)
                read.append(slice(start, stop))
                write.append(slice(start - first, max(stop, start) - first))
            image[n][(slice(None), *write)] = pixels[(slice(None), *read)]
            label[n][tuple(write)] = labels[tuple(read)]
        random = np.stack([row for _, _, row in items])
        return {"image": torch.from_numpy(image), "label": torch.from_numpy(label), "random": torch.from_numpy(random)}


class EpochSampler(Sampler[list[Item]]):
    """Batches of items for one epoch, decided by (seed, epoch, position) alone.

    One pass shows every slice with tumour once and as many drawn from the others, without replacement, shuffled.
    ``length`` is the number of slices in an epoch: part of a pass, or several passes, each in a new order; 0 is one
    pass. Neither the number of workers nor an earlier interruption changes what it yields, because no random state
    outlives an epoch. The last, incomplete batch is dropped: batch normalisation of one slice is not what a batch size
    of 8 asks for. InputError if there are fewer slices than one batch.
    """

    def __init__(self, dataset: SliceDataset, batch_size: int, seed: int, numbers: int, length: int = 0) -> None:
        self.dataset, self.batch_size, self.seed, self.numbers = dataset, batch_size, seed, numbers
        count = length or self.one_pass()
        self.count = count // batch_size * batch_size
        self.epoch = 1
        if not self.count:
            raise InputError(f"An epoch has {count} images: expected at least one batch of {batch_size}.")

    def one_pass(self) -> int:
        """Slices of one pass."""
        tumour, total = len(self.dataset.foreground), len(self.dataset)
        return min(2 * tumour, total) if tumour else total

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 1, that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch_size

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the epoch's slices (count,), their corners (count, 2) and random numbers (count, numbers)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = self._order(rng)
        return order, self.dataset.corners[order], rng.random((self.count, self.numbers), dtype=np.float32)

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        foreground, background = self.dataset.foreground, self.dataset.background
        passes: list[np.ndarray] = []
        while sum(map(len, passes)) < self.count:
            others = rng.permutation(background)[: len(foreground) or None]
            passes.append(rng.permutation(np.concatenate([foreground, others])))
        return np.concatenate(passes)[: self.count]

    def __iter__(self) -> Iterator[list[Item]]:
        columns = self.draw()
        for start in range(0, self.count, self.batch_size):
            yield list(zip(*(column[start : start + self.batch_size] for column in columns), strict=True))


class PatchSampler(EpochSampler):
    """Patches as nnU-Net v2 draws them: a third of each batch around a voxel of a region chosen at random.

    Each patch is of a case drawn with replacement. The last ``share`` of a batch have their centre at a voxel of one of
    the case's regions, each region equally likely; the others lie anywhere in a slice drawn at random. Where a slice is
    smaller than the patch, it is centred, except that a chosen voxel beyond the middle moves it. A canvas larger than
    the patch holds what rotation and scaling bring in.

    Args:
        dataset: slices on the canvas.
        batch_size: patches in a batch.
        seed: with the epoch's number, what everything drawn follows from.
        numbers: random numbers per patch.
        length: patches in an epoch.
        patch_size: what augmentation leaves of the canvas.
        regions: region to its label values.
        share: of each batch, forced onto a region.
        most: voxels remembered per case and region, drawn once.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        batch_size: int,
        seed: int,
        numbers: int,
        length: int,
        patch_size: Sequence[int],
        regions: Mapping[str, Sequence[int]],
        share: float = 0.33,
        most: int = 10_000,
    ) -> None:
        super().__init__(dataset, batch_size, seed, numbers, length)
        self.first = np.concatenate([[0], np.cumsum(dataset.counts)])[:-1]
        self.forced = np.arange(batch_size) >= round(batch_size * (1 - share))
        canvas = np.array(dataset.spatial_size)
        # nnU-Net's get_bbox, on the canvas: the patch itself may lie anywhere inside the slice.
        beyond = np.maximum(canvas - np.array(patch_size), canvas - dataset.shapes)
        self.lowest, self.highest = -beyond // 2, dataset.shapes + beyond // 2 + beyond % 2 - canvas
        found = [_voxels(case, values, most) for case in dataset.cases for values in regions.values()]
        counts = np.array([len(voxels) for voxels in found]).reshape(len(dataset.cases), -1)
        self.voxels = np.concatenate(found)
        self.voxel_counts = counts
        self.voxel_first = np.concatenate([[0], np.cumsum(counts)])[:-1].reshape(counts.shape)
        # Each case's regions that have a voxel first.
        self.eligible, self.eligible_count = np.argsort(counts == 0, axis=1, kind="stable"), (counts > 0).sum(axis=1)

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the epoch's slices (count,), their corners (count, 2) and random numbers (count, numbers)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        case = rng.integers(len(self.dataset.cases), size=self.count)
        anywhere = rng.random((self.count, 5))
        slices = self.first[case] + (anywhere[:, 0] * self.dataset.counts[case]).astype(int)
        corners = self.lowest[slices] + np.floor(anywhere[:, 1:3] * (self.highest - self.lowest + 1)[slices]).astype(
            int
        )
        forced = np.flatnonzero(np.tile(self.forced, len(self)) & (self.eligible_count[case] > 0))
        case, pick = case[forced], anywhere[forced, 3:]
        region = self.eligible[case, (pick[:, 0] * self.eligible_count[case]).astype(int)]
        count = self.voxel_counts[case, region]
        voxels = self.voxels[self.voxel_first[case, region] + (pick[:, 1] * count).astype(int)]
        slices[forced] = self.first[case] + voxels[:, 0]
        centred_there = voxels[:, 1:] - np.array(self.dataset.spatial_size) // 2
        corners[forced] = np.maximum(self.lowest[slices[forced]], centred_there)
        return slices, corners, rng.random((self.count, self.numbers), dtype=np.float32)


class DeviceLoader:
    """Batches of a dataset whose slices all lie in a device's memory: the same as a ``DataLoader``'s, cut by index.

    Args:
        dataset: slices on a canvas.
        sampler: what an epoch shows.
        device: where slices are held and batches are made.

    Batches are made on ``stream`` where one is set, and are only to be used there.
    """

    stream: torch.cuda.Stream | None = None

    def __init__(self, dataset: SliceDataset, sampler: EpochSampler, device: torch.device) -> None:
        self.sampler, self.device, self.spatial_size = sampler, device, dataset.spatial_size
        areas = dataset.shapes.prod(axis=1)
        starts = np.concatenate([[0], np.cumsum(areas)])
        self.modalities = len(dataset.cases[0].slice_at(0)[0])
        self.labels = torch.empty(int(starts[-1]), dtype=torch.uint8, device=device)
        self.pixels = torch.empty(int(starts[-1]) * self.modalities, dtype=torch.float16, device=device)
        for case, first in zip(dataset.cases, np.cumsum(dataset.counts) - dataset.counts, strict=True):
            for flat, stored, size in ((self.labels, case.label, 1), (self.pixels, case.image, self.modalities)):
                values = torch.from_numpy(np.array(stored)).flatten()
                flat[int(starts[first]) * size :][: len(values)] = values.to(device)
        self.starts, self.shapes = (torch.from_numpy(a).to(device) for a in (starts[:-1], dataset.shapes))
        self.axes = [torch.arange(size, device=device) for size in dataset.spatial_size]

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        with torch.cuda.stream(self.stream):
            columns = [torch.from_numpy(column).to(self.device) for column in self.sampler.draw()]
        size = self.sampler.batch_size
        for start in range(0, self.sampler.count, size):
            with torch.cuda.stream(self.stream):
                index, corner, random = (column[start : start + size] for column in columns)
                image, label = self.read(index, corner)
            yield {"image": image, "label": label, "random": random}

    def read(self, index: torch.Tensor, corner: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N, modalities, H, W) and labels (N, H, W) of slices (N,) with these corners (N, 2)."""
        # Every slice's pixels lie in one row of memory, modality after modality; its labels in another.
        height, width = self.shapes[index].unbind(1)
        row, column = (corner[:, axis, None] + self.axes[axis] for axis in (0, 1))
        inside_rows, inside_columns = (row >= 0) & (row < height[:, None]), (column >= 0) & (column < width[:, None])
        inside = inside_rows[:, :, None] & inside_columns[:, None, :]
        at = torch.where(inside, row[:, :, None] * width[:, None, None] + column[:, None, :], 0)
        first = self.starts[index][:, None, None]
        label = torch.where(inside, self.labels[first + at], 0)
        step = torch.arange(self.modalities, device=at.device)[:, None, None] * (height * width)[:, None, None, None]
        image = torch.where(inside[:, None], self.pixels[self.modalities * first[:, None] + step + at[:, None]], 0)
        return image, label


def loader(
    dataset: SliceDataset,
    sampler: EpochSampler,
    device: torch.device,
    on_device: bool,
    num_workers: int = 0,
    persistent_workers: bool = True,
) -> DeviceLoader | DataLoader[dict[str, torch.Tensor]]:
    """Return batches from the device's memory (``on_device``), or read by workers from the memory map; equal bits."""
    if on_device:
        return DeviceLoader(dataset, sampler, device)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def fits(cases: Sequence[PreparedCase], device: torch.device, share: float = 0.4) -> bool:
    """Return whether all slices of the cases take at most this share of a GPU's free memory; never on a processor."""
    if device.type != "cuda":
        return False
    size = sum(case.label.nbytes + case.label.size * 2 * len(case.slice_at(0)[0]) for case in cases)
    return size <= share * torch.cuda.mem_get_info(device)[0]


class VolumeDataset(Dataset[dict[str, Any]]):
    """Whole prepared cases: ``image`` (modalities, slices, x, y), ``index`` and, with labels, ``label``.

    Images are float32; those of a ``device`` are float16 and stay in its memory once read.
    """

    def __init__(
        self, cases: Sequence[PreparedCase], with_label: bool = True, device: torch.device | None = None
    ) -> None:
        self.cases = list(cases)
        self.with_label = with_label
        self.device = device
        self.held: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in self.held:
            return self.held[index]
        case, kind = self.cases[index], np.float32 if self.device is None else np.float16
        item = {"image": torch.from_numpy(case.image.transpose(1, 0, 2, 3).astype(kind)), "index": index}
        if self.with_label:
            item["label"] = torch.from_numpy(np.array(case.label))
        if self.device is not None:
            parts = {key: value.to(self.device) for key, value in item.items() if isinstance(value, torch.Tensor)}
            self.held[index] = item = {**item, **parts}
        return item


def centred(source: Sequence[int], target: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices that copy the middle of an array of shape ``source`` into that of shape ``target``."""
    pairs = []
    for have, want in zip(source, target, strict=True):
        size = min(have, want)
        start, to = (have - size) // 2, (want - size) // 2
        pairs.append((slice(start, start + size), slice(to, to + size)))
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def _voxels(case: PreparedCase, values: Sequence[int], most: int) -> np.ndarray:
    """Positions (slice, row, column) of a region's voxels, at most so many of them, drawn with a fixed seed."""
    found = np.argwhere(np.isin(np.asarray(case.label), values)).astype(np.int16)
    if len(found) <= most:
        return found
    return found[np.random.default_rng(1234).choice(len(found), most, replace=False)]


def _as_it_is(batch: Any) -> Any:
    return batch
