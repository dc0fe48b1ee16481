"""Read blocks of prepared volumes as batches of 3D patches for training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmark.base.records import InputError
from benchmark.data import slices
from benchmark.data.prepare import PreparedCase
from benchmark.data.slices import EpochSampler, Item, _voxels


class PatchDataset(Dataset[dict[str, torch.Tensor]]):
    """Blocks of prepared cases, each read from the memory map by itself; beyond a volume there is zero.

    An item is a case's index, the voxel (x, y, z) that lies in the block's corner, and the sample's random numbers. A
    batch is a dict of ``image`` (N, modalities, X, Y, Z) float16, ``label`` (N, X, Y, Z) uint8 label values and
    ``random`` (N, numbers) float32; axes are those of RAS orientation. ``shapes`` (cases, 3) are in voxels.

    Args:
        cases: prepared cases, whole ones.
        spatial_size: size of a block along x, y and z, voxels.

    Raises:
        InputError: if the size is not of three axes, or a case holds some of its slices or a single one.
    """

    def __init__(self, cases: Sequence[PreparedCase], spatial_size: Sequence[int]) -> None:
        self.cases = list(cases)
        self.spatial_size = tuple(spatial_size)
        if len(self.spatial_size) != 3:
            raise InputError(f"spatial_size is {list(spatial_size)}: expected three numbers, as spatial_dims is 3.")
        for case in self.cases:
            _check_volume(case)
        # In the store slices come first.
        self.shapes = np.array([(*shape[1:], shape[0]) for shape in (case.label.shape for case in self.cases)])

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, item: Item) -> dict[str, torch.Tensor]:
        return {key: value[0] for key, value in self.__getitems__([item]).items()}

    def __getitems__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Read a batch; of each volume only the block is touched."""
        batch = self.empty(len(items), torch.device("cpu"))
        for n, (index, corner, _) in enumerate(items):
            case = self.cases[index]
            (z, x, y), place = self.overlap(index, corner)
            batch["image"][n][(slice(None), *place)] = torch.from_numpy(np.array(case.image[z, :, x, y])).permute(
                1, 2, 3, 0
            )
            batch["label"][n][place] = torch.from_numpy(np.array(case.label[z, x, y])).permute(1, 2, 0)
        return {**batch, "random": torch.from_numpy(np.stack([row for _, _, row in items]))}

    def empty(self, count: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return zeros for the images and labels of so many blocks."""
        modalities = self.cases[0].image.shape[1]
        return {
            "image": torch.zeros(count, modalities, *self.spatial_size, dtype=torch.float16, device=device),
            "label": torch.zeros(count, *self.spatial_size, dtype=torch.uint8, device=device),
        }

    def overlap(self, index: int, corner: np.ndarray) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return what a block has of a case: its place in the store (z, x, y), and in the block (x, y, z)."""
        read, write = list[slice](), list[slice]()
        for first, have, want in zip(corner.tolist(), self.shapes[index].tolist(), self.spatial_size, strict=True):
            start, stop = max(first, 0), max(min(first + want, have), 0)
            stop = max(start, stop)
            read.append(slice(start, stop))
            write.append(slice(start - first, stop - first))
        return (read[2], read[0], read[1]), tuple(write)


class TumourSampler(EpochSampler):
    """Blocks of an epoch, decided by (seed, epoch, position) alone: every other one around a tumour's voxel.

    All cases are shown equally often to within one block, in orders drawn anew. A block around a voxel has it in its
    middle, unless it would leave the volume; the others lie anywhere, as do those of a case without tumour. Along an
    axis on which the volume is smaller than the block, it lies in its middle. ``length`` is the number of blocks in an
    epoch; 0 is as many as together have the voxels of all cases. InputError if there are fewer than one batch.

    Args:
        dataset: blocks of volumes.
        batch_size: blocks in a batch.
        seed: with the epoch's number, what everything drawn follows from.
        numbers: random numbers per block.
        length: blocks in an epoch.
        most: voxels remembered per case, drawn once.
    """

    def __init__(
        self, dataset: PatchDataset, batch_size: int, seed: int, numbers: int, length: int = 0, most: int = 10_000
    ) -> None:
        self.shapes, self.size = dataset.shapes, np.array(dataset.spatial_size)
        super().__init__(dataset, batch_size, seed, numbers, length)  # type: ignore[arg-type]
        free = self.shapes - self.size
        self.lowest = np.where(free < 0, -((-free) // 2), 0)
        self.highest = np.maximum(free, self.lowest)
        self.voxels = [_tumour(case, most) for case in dataset.cases]

    def one_pass(self) -> int:
        """Blocks that together have as many voxels as all cases."""
        return int(np.ceil(self.shapes.prod(axis=1).sum() / self.size.prod()))

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the epoch's cases (count,), their blocks' corners (count, 3) and random numbers (count, numbers)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        passes = -(-self.count // len(self.shapes))
        cases = np.concatenate([rng.permutation(len(self.shapes)) for _ in range(passes)])[: self.count]
        random = rng.random((self.count, 4))
        lowest, highest = self.lowest[cases], self.highest[cases]
        corners = lowest + np.floor(random[:, :3] * (highest - lowest + 1)).astype(int)
        for n in range(0, self.count, 2):
            if len(voxels := self.voxels[cases[n]]):
                middle = voxels[int(random[n, 3] * len(voxels))]
                corners[n] = np.clip(middle - self.size // 2, lowest[n], highest[n])
        return cases, corners, rng.random((self.count, self.numbers), dtype=np.float32)


class RegionSampler(EpochSampler):
    """Blocks as nnU-Net v2 draws them: a third of each batch (one of two) around a voxel of a region chosen at random.

    As ``slices.PatchSampler``, in 3D: each block is of a case drawn with replacement, the last ``share`` of a batch
    have their middle at a voxel of one of the case's regions, each equally likely, and the others lie anywhere.

    Args:
        dataset: blocks of the canvas's size.
        batch_size: blocks in a batch.
        seed: with the epoch's number, what everything drawn follows from.
        numbers: random numbers per block.
        length: blocks in an epoch.
        patch_size: what augmentation leaves of the canvas.
        regions: region to its label values.
        share: of each batch, forced onto a region.
        most: voxels remembered per case and region, drawn once.
    """

    def __init__(
        self,
        dataset: PatchDataset,
        batch_size: int,
        seed: int,
        numbers: int,
        length: int,
        patch_size: Sequence[int],
        regions: Mapping[str, Sequence[int]],
        share: float = 0.33,
        most: int = 10_000,
    ) -> None:
        super().__init__(dataset, batch_size, seed, numbers, length)  # type: ignore[arg-type]
        self.canvas = np.array(dataset.spatial_size)
        self.forced = np.arange(batch_size) >= round(batch_size * (1 - share))
        # nnU-Net's get_bbox, on the canvas: the patch itself may lie anywhere inside the volume.
        beyond = np.maximum(self.canvas - np.array(patch_size), self.canvas - dataset.shapes)
        self.lowest, self.highest = -beyond // 2, dataset.shapes + beyond // 2 + beyond % 2 - self.canvas
        every = [[_tumour(case, most, values) for values in regions.values()] for case in dataset.cases]
        self.voxels = [[voxels for voxels in of_case if len(voxels)] for of_case in every]

    def one_pass(self) -> int:
        """Refuse an epoch of no stated length, which nnU-Net does not know."""
        raise InputError("epoch_images is 0: expected the number of patches in an epoch, which cases do not decide.")

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the epoch's cases (count,), their blocks' corners (count, 3) and random numbers (count, numbers)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        cases = rng.integers(len(self.voxels), size=self.count)
        random = rng.random((self.count, 5))
        lowest, highest = self.lowest[cases], self.highest[cases]
        corners = lowest + np.floor(random[:, :3] * (highest - lowest + 1)).astype(int)
        for n in np.flatnonzero(np.tile(self.forced, len(self))):
            if regions := self.voxels[cases[n]]:
                voxels = regions[int(random[n, 3] * len(regions))]
                middle = voxels[int(random[n, 4] * len(voxels))]
                corners[n] = np.maximum(lowest[n], middle - self.canvas // 2)
        return cases, corners, rng.random((self.count, self.numbers), dtype=np.float32)


class DevicePatches:
    """Batches of a dataset whose volumes all lie in a device's memory: the same as a ``DataLoader``'s, cut there.

    Args:
        dataset: blocks of volumes.
        sampler: what an epoch shows.
        device: where volumes are held and batches are made.

    Batches are made on ``stream`` where one is set, and are only to be used there.
    """

    stream: torch.cuda.Stream | None = None

    def __init__(self, dataset: PatchDataset, sampler: EpochSampler, device: torch.device) -> None:
        self.dataset, self.sampler, self.device = dataset, sampler, device
        stored = ((case.image, case.label) for case in dataset.cases)
        self.held = [tuple(torch.from_numpy(np.array(part)).to(device) for part in parts) for parts in stored]

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        indices, corners, random = self.sampler.draw()
        size = self.sampler.batch_size
        with torch.cuda.stream(self.stream):
            on_device = torch.from_numpy(random).to(self.device)
        for start in range(0, self.sampler.count, size):
            with torch.cuda.stream(self.stream):
                batch = self.dataset.empty(size, self.device)
                for n in range(size):
                    image, label = self.held[indices[start + n]]
                    (z, x, y), place = self.dataset.overlap(indices[start + n], corners[start + n])
                    batch["image"][n][(slice(None), *place)] = image[z, :, x, y].permute(1, 2, 3, 0)
                    batch["label"][n][place] = label[z, x, y].permute(1, 2, 0)
            yield {**batch, "random": on_device[start : start + size]}


def loader(
    dataset: PatchDataset,
    sampler: EpochSampler,
    device: torch.device,
    on_device: bool,
    num_workers: int = 0,
    persistent_workers: bool = True,
) -> DevicePatches | slices.DeviceLoader | DataLoader[dict[str, torch.Tensor]]:
    """Return batches from the device's memory (``on_device``), or read by workers from the memory map; equal bits."""
    if on_device:
        return DevicePatches(dataset, sampler, device)
    return slices.loader(dataset, sampler, device, False, num_workers, persistent_workers)  # type: ignore[arg-type]


def _check_volume(case: PreparedCase) -> None:
    where = f"Case {case.case.case_id}"
    if case.slices is not None:
        raise InputError(
            f"{where} has some of its slices only: expected whole volumes, to train in 3D; split by patient."
        )
    if case.label.shape[0] < 2:
        raise InputError(f"{where} is a single slice: expected a volume, to train in 3D.")


def _tumour(case: PreparedCase, most: int, values: Sequence[int] | None = None) -> np.ndarray:
    """Positions (x, y, z) of voxels with one of the label values, by default any but 0; at most so many of them."""
    found = range(1, 256) if values is None else values
    return _voxels(case, list(found), most)[:, [1, 2, 0]].astype(int)
