"""Prepared cases to batches of 2D slices for training, and to whole volumes for validation and inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from benchmark.base.records import InputError
from benchmark.data.prepare import PreparedCase


class SliceDataset(Dataset):
    """Axial slices of prepared cases, read from the memory map and centred on a canvas of ``spatial_size``.

    An item is asked for by (index, row), where row holds the sample's random numbers; a batch is a dict of
    ``image`` (N, modalities, H, W) float16, ``label`` (N, H, W) uint8 label values and ``random`` (N, numbers)
    float32. A brain larger than the canvas is cut at the canvas's border, in training only.
    """

    def __init__(self, cases: Sequence[PreparedCase], spatial_size: Sequence[int]) -> None:
        self.cases = list(cases)
        self.spatial_size = tuple(spatial_size)
        self.slices = [(case, z) for case in self.cases for z in range(len(case.label))]
        tumour = np.array([z in case.header["foreground"] for case, z in self.slices])
        self.foreground, self.background = np.flatnonzero(tumour), np.flatnonzero(~tumour)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, item: tuple[int, np.ndarray]) -> dict[str, torch.Tensor]:
        return {key: value[0] for key, value in self.__getitems__([item]).items()}

    def __getitems__(self, items: Sequence[tuple[int, np.ndarray]]) -> dict[str, torch.Tensor]:
        """Read a batch at once: one copy from the memory map into the batch, none in between."""
        modalities = len(self.cases[0].slice_at(0)[0])
        image = np.zeros((len(items), modalities, *self.spatial_size), np.float16)
        label = np.zeros((len(items), *self.spatial_size), np.uint8)
        for n, (index, _) in enumerate(items):
            case, z = self.slices[index]
            pixels, labels = case.slice_at(z)
            (rows, columns), (to_rows, to_columns) = centred(labels.shape, self.spatial_size)
            image[n, :, to_rows, to_columns] = pixels[:, rows, columns]
            label[n, to_rows, to_columns] = labels[rows, columns]
        random = np.stack([row for _, row in items])
        return {"image": torch.from_numpy(image), "label": torch.from_numpy(label), "random": torch.from_numpy(random)}


class EpochSampler(Sampler):
    """Batches of (slice index, random numbers) for one epoch, decided by (seed, epoch, position) alone.

    An epoch shows every slice with tumour once and as many drawn from the others, without replacement, shuffled;
    ``length`` shortens it. Neither the number of workers nor an earlier interruption changes what it yields, because
    no random state outlives an epoch. The last, incomplete batch is dropped: batch normalisation of one slice is not
    what a batch size of 8 asks for. InputError if there are fewer slices than one batch.
    """

    def __init__(self, dataset: SliceDataset, batch_size: int, seed: int, numbers: int, length: int = 0) -> None:
        self.dataset, self.batch_size, self.seed, self.numbers = dataset, batch_size, seed, numbers
        count = min(2 * len(dataset.foreground), len(dataset)) if len(dataset.foreground) else len(dataset)
        self.count = min(count, length or count) // batch_size * batch_size
        self.epoch = 1
        if not self.count:
            raise InputError(f"An epoch has {count} slices: expected at least one batch of {batch_size}.")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 1, that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, np.ndarray]]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        foreground, background = self.dataset.foreground, self.dataset.background
        others = rng.permutation(background)[: len(foreground) or None]
        order = rng.permutation(np.concatenate([foreground, others]))[: self.count]
        rows = rng.random((len(order), self.numbers), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            yield list(zip(order[start : start + self.batch_size], rows[start : start + self.batch_size], strict=True))


class VolumeDataset(Dataset):
    """Whole prepared cases: ``image`` (modalities, slices, x, y) float32, ``index`` and, with labels, ``label``."""

    def __init__(self, cases: Sequence[PreparedCase], with_label: bool = True) -> None:
        self.cases = list(cases)
        self.with_label = with_label

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.cases[index]
        item = {"image": torch.from_numpy(case.image.transpose(1, 0, 2, 3).astype(np.float32)), "index": index}
        if self.with_label:
            item["label"] = torch.from_numpy(np.array(case.label))
        return item


def centred(source: Sequence[int], target: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices that copy the middle of an array of shape ``source`` to the middle of one of shape ``target``."""
    pairs = []
    for have, want in zip(source, target, strict=True):
        size = min(have, want)
        start, to = (have - size) // 2, (want - size) // 2
        pairs.append((slice(start, start + size), slice(to, to + size)))
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
