"""Blocks of volumes and their order: what an epoch shows follows from (seed, epoch), whatever reads it."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.base.records import InputError
from benchmark.data.patches import DevicePatches, PatchDataset, RegionSampler, TumourSampler, loader

SHAPES = [(9, 12, 10), (7, 5, 8)]
"""Slices, x and y of two hand-made volumes; the second is smaller than a block along x."""


@dataclass(frozen=True)
class Volume:
    """What a dataset reads of a prepared case; each voxel of a modality has its own number."""

    image: np.ndarray
    label: np.ndarray
    slices: tuple | None = None
    case: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(case_id="one"))


def volume(shape, tumour=(), value=4):
    z, x, y = shape
    image = np.arange(z * 2 * x * y, dtype=np.float16).reshape(z, 2, x, y) + 1
    label = np.zeros(shape, np.uint8)
    for voxel in tumour:
        label[voxel] = value
    return Volume(image, label)


@pytest.fixture
def dataset():
    return PatchDataset([volume(SHAPES[0], [(4, 6, 5), (8, 11, 9)]), volume(SHAPES[1], [(3, 2, 4)])], (6, 6, 4))


def expected(case, corner, size):
    """The block by padding the whole volume with zeros and cutting it out of that."""
    image, label = case.image.transpose(1, 2, 3, 0), case.label.transpose(1, 2, 0)
    wide = [(20, 20)] * 3
    place = tuple(slice(20 + first, 20 + first + side) for first, side in zip(corner, size, strict=True))
    return np.pad(image, [(0, 0), *wide])[(slice(None), *place)], np.pad(label, wide)[place]


def test_blocks_are_what_the_volume_has_there_along_x_y_z_and_zero_beyond(dataset):
    rng = np.random.default_rng(0)
    items = [(n % 2, rng.integers(-8, 12, 3), rng.random(3, np.float32)) for n in range(200)]
    batch = dataset.__getitems__(items)
    assert batch["image"].shape == (200, 2, 6, 6, 4) and batch["image"].dtype == torch.float16
    assert batch["label"].shape == (200, 6, 6, 4) and batch["label"].dtype == torch.uint8
    for n, (index, corner, row) in enumerate(items):
        image, label = expected(dataset.cases[index], corner, (6, 6, 4))
        assert np.array_equal(batch["image"][n], image) and np.array_equal(batch["label"][n], label)
        assert np.array_equal(batch["random"][n], row)
    assert batch["label"].any() and (batch["image"] == 0).any()


def test_a_block_is_read_from_the_memory_map_alone(project, monkeypatch):
    from benchmark.data.prepare import DataSet

    case = DataSet("phantom").part(0, "train")[0]
    assert isinstance(case.image, np.memmap) and isinstance(case.label, np.memmap)
    asked = []

    class Watched(np.memmap):
        def __getitem__(self, key):
            asked.append(key)
            return super().__getitem__(key)

    data = PatchDataset([case], (8, 6, 4))
    for name, stored in (("image", case.image), ("label", case.label)):
        watched = stored.view(Watched)
        monkeypatch.setattr(type(case), name, property(lambda _, watched=watched: watched))
        case.__dict__.pop(name, None)
    batch = data[(0, np.array([3, 5, 2]), np.zeros(1, np.float32))]
    monkeypatch.undo()
    block = (slice(2, 6), slice(3, 11), slice(5, 11))
    assert block in asked and (block[0], slice(None), *block[1:]) in asked
    np.testing.assert_array_equal(batch["image"], case.image[2:6, :, 3:11, 5:11].transpose(1, 2, 3, 0))
    assert float(batch["image"].abs().sum()) > 0


def samplers(dataset):
    regions = {"WT": [1, 2, 4], "ET": [1]}
    return [
        lambda seed=5, **more: TumourSampler(dataset, **{"batch_size": 2, "seed": seed, "numbers": 3, **more}),
        lambda seed=5, **more: RegionSampler(
            dataset, **{"batch_size": 3, "seed": seed, "numbers": 3, "length": 60, **more},
            patch_size=(4, 4, 4), regions=regions,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("which", [0, 1])
def test_an_epoch_follows_from_seed_and_number_alone_and_all_ways_to_read_it_agree(dataset, which):
    make = samplers(dataset)[which]

    def epoch(sampler, number):
        sampler.set_epoch(number)
        return [column.tolist() for column in sampler.draw()]

    first, second = make(), make()
    wanted = {number: epoch(first, number) for number in (1, 2, 3)}
    np.random.seed(0), torch.manual_seed(0)
    assert {number: epoch(second, number) for number in (3, 1, 2)} == wanted
    assert wanted[1] != wanted[2] and epoch(make(seed=6), 1) != wanted[1]
    sampler = make()
    held = loader(dataset, sampler, torch.device("cpu"), on_device=True)
    ways = [held, *(loader(dataset, sampler, torch.device("cpu"), False, num_workers) for num_workers in (0, 2))]
    assert isinstance(held, DevicePatches)
    read = [list(way) for way in ways]
    assert len(held) == len(read[0]) == len(read[1]) == len(read[2]) > 0
    for batches in zip(*read, strict=True):
        for key in ("image", "label", "random"):
            assert all(torch.equal(batches[0][key], other[key]) for other in batches[1:])


def test_every_other_block_is_around_a_tumours_voxel_and_none_leaves_a_volume_that_is_larger(dataset):
    sampler = TumourSampler(dataset, 2, seed=1, numbers=1, length=400)
    cases, corners, _ = sampler.draw()
    assert np.bincount(cases).tolist() == [200, 200]
    batch = dataset.__getitems__(list(zip(cases, corners, np.zeros((400, 1), np.float32), strict=True)))
    labelled = batch["label"].flatten(1).any(1)
    assert labelled[::2].all() and not labelled[1::2].all()
    own = corners[cases == 0]
    assert own.min(0).tolist() == [0, 0, 0] and own.max(0).tolist() == [6, 4, 5]
    # 5 voxels along x lie in the middle of a block of 6, as centring rounds.
    assert set(corners[cases == 1][:, 0]) == {0} and set(corners[cases == 1][:, 1]) == {0, 1, 2}
    # The voxel (x 6, y 5, z 4) lies in the middle, that in the volume's corner as near to it as can be.
    assert {tuple(corner) for corner in corners[::2][cases[::2] == 0].tolist()} == {(3, 2, 2), (6, 4, 5)}


def test_one_pass_has_as_many_voxels_as_the_cases(dataset):
    voxels = sum(np.prod(shape) for shape in SHAPES)
    sampler = TumourSampler(dataset, 1, seed=1, numbers=1)
    assert len(sampler) == -(-voxels // (6 * 6 * 4)) == 10
    with pytest.raises(InputError, match="An epoch has 10"):
        TumourSampler(dataset, 11, seed=1, numbers=1)


def test_a_case_without_tumour_gives_blocks_anywhere():
    sampler = TumourSampler(PatchDataset([volume(SHAPES[0])], (6, 6, 4)), 2, seed=1, numbers=1, length=300)
    assert len(np.unique(sampler.draw()[1][::2], axis=0)) > 100


def test_the_last_third_of_a_batch_holds_a_region_and_the_others_lie_anywhere(dataset):
    sampler = samplers(dataset)[1](length=600)
    assert sampler.forced.tolist() == [False, False, True]
    cases, corners, _ = sampler.draw()
    forced = np.tile(sampler.forced, 200)
    assert np.mean(cases == 0) == pytest.approx(0.5, abs=0.07)
    # nnU-Net moves a block back into the volume at its lower end only: beyond is 2, 2, 0 here.
    assert {tuple(c) for c in corners[forced & (cases == 0)].tolist()} == {(3, 2, 2), (8, 6, 6)}
    free = corners[~forced & (cases == 0)]
    assert free.min(0).tolist() == [-1, -1, 0] and free.max(0).tolist() == [7, 5, 5]


@pytest.mark.parametrize(
    ("case", "size", "said"),
    [
        (volume(SHAPES[0]), (6, 6), "expected three numbers, as spatial_dims is 3"),
        (volume((1, 9, 9)), (6, 6, 4), "is a single slice: expected a volume"),
        (replace(volume(SHAPES[0]), slices=(1, 2)), (6, 6, 4), "has some of its slices only"),
    ],
)  # fmt: skip
def test_what_has_no_three_dimensions_is_refused(case, size, said):
    with pytest.raises(InputError, match=said):
        PatchDataset([case], size)
