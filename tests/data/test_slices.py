"""Slices and their order: what an epoch shows follows from (seed, epoch), whatever reads it."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from benchmark.base.records import InputError
from benchmark.data.slices import DeviceLoader, EpochSampler, PatchSampler, SliceDataset, VolumeDataset, centred, loader

TUMOUR = {0: (1, 2, 5), 1: (0, 3)}
"""Slices with tumour of the two hand-made cases."""


class Volume(NamedTuple):
    """What a dataset reads of a prepared case."""

    name: int
    image: np.ndarray
    label: np.ndarray
    header: dict

    def slice_at(self, z):
        return self.image[z], self.label[z]


def volume(case, slices, shape, tumour):
    """Every voxel of modality m in slice z is 100 * case + 10 * m + z; a slice with tumour has one labelled voxel."""
    image = np.zeros((slices, 2, *shape), np.float16)
    image += (100 * case + np.arange(slices)[:, None] + 10 * np.arange(2)).reshape(slices, 2, 1, 1).astype(np.float16)
    label = np.zeros((slices, *shape), np.uint8)
    for z in tumour:
        label[z, 1, 2] = 4
    return Volume(case, image, label, {"foreground": list(tumour)})


@pytest.fixture
def dataset():
    return SliceDataset([volume(0, 9, (4, 6), TUMOUR[0]), volume(1, 7, (5, 3), TUMOUR[1])], (6, 6))


def epoch(sampler, number):
    sampler.set_epoch(number)
    return [(int(index), tuple(row.tolist())) for batch in sampler for index, _, row in batch]


def test_slices_with_and_without_tumour_are_told_apart(dataset):
    assert len(dataset) == 16
    found = [(case.name, z) for case, z in (dataset.slices[index] for index in dataset.foreground)]
    assert found == [(case, z) for case, slices in TUMOUR.items() for z in slices]
    assert sorted([*dataset.foreground, *dataset.background]) == list(range(16))


def test_an_epoch_follows_from_seed_and_number_alone(dataset):
    first, second = EpochSampler(dataset, 2, seed=5, numbers=3), EpochSampler(dataset, 2, seed=5, numbers=3)
    expected = {number: epoch(first, number) for number in (1, 2, 3)}
    assert {number: epoch(second, number) for number in (3, 1, 2)} == expected
    second.set_epoch(2)
    next(iter(second))  # an epoch that was broken off
    np.random.seed(0), torch.manual_seed(0)
    assert epoch(second, 2) == expected[2]
    other = EpochSampler(dataset, 2, seed=6, numbers=3)
    runs = [*expected.values(), epoch(other, 1)]
    assert all(a != b for a, b in itertools.combinations(runs, 2))
    rows = [row for run in runs for _, row in run]
    assert len(set(rows)) == len(rows) and all(0 <= number < 1 for row in rows for number in row)


def test_an_epoch_shows_each_tumour_slice_once_and_as_many_others(dataset):
    sampler = EpochSampler(dataset, 2, seed=1, numbers=1)
    assert len(sampler) == 5
    others = set()
    for number in range(1, 9):
        indices = [index for index, _ in epoch(sampler, number)]
        assert len(set(indices)) == len(indices) == 10
        assert set(dataset.foreground) <= set(indices)
        others |= set(indices) - set(dataset.foreground)
    assert others == set(dataset.background)


def test_tumour_in_most_slices_shows_all_of_them_once():
    sampler = EpochSampler(SliceDataset([volume(0, 9, (4, 6), range(7))], (6, 6)), 1, seed=1, numbers=1)
    assert sorted(index for index, _ in epoch(sampler, 1)) == list(range(9))


def test_without_any_tumour_all_slices_are_shown():
    sampler = EpochSampler(SliceDataset([volume(0, 9, (4, 6), ())], (6, 6)), 3, seed=1, numbers=1)
    assert sorted(index for index, _ in epoch(sampler, 1)) == list(range(9))


@pytest.mark.parametrize(("batch_size", "length", "images"), [(4, 0, 8), (3, 0, 9), (2, 5, 4), (2, 6, 6), (2, 99, 98)])
def test_length_is_kept_and_incomplete_batches_dropped(dataset, batch_size, length, images):
    sampler = EpochSampler(dataset, batch_size, seed=1, numbers=1, length=length)
    sampler.set_epoch(1)
    batches = list(sampler)
    assert {len(batch) for batch in batches} == {batch_size}
    assert len(sampler) == len(batches) == images / batch_size


def test_an_epoch_longer_than_the_set_goes_through_it_again_in_new_orders(dataset):
    """The first pass is what a shorter epoch shows."""
    one = EpochSampler(dataset, 2, seed=1, numbers=1)
    sampler = EpochSampler(dataset, 2, seed=1, numbers=1, length=25)
    indices = [index for index, _ in epoch(sampler, 3)]
    assert len(indices) == 24
    assert indices[:10] == [index for index, _ in epoch(one, 3)]
    passes = [indices[start : start + 10] for start in (0, 10)]
    assert passes[0] != passes[1]
    assert all(len(set(shown)) == 10 and set(dataset.foreground) <= set(shown) for shown in passes)
    rows = [row for _, row in epoch(sampler, 3)]
    assert len(set(rows)) == 24


def test_fewer_slices_than_a_batch_are_refused(dataset):
    with pytest.raises(InputError, match="An epoch has 10 images: expected at least one batch of 11"):
        EpochSampler(dataset, 11, seed=1, numbers=1)


def test_workers_change_nothing(dataset):
    runs = {}
    for workers in (0, 1, 2):
        sampler = EpochSampler(dataset, 3, seed=2, numbers=4)
        loader = DataLoader(
            dataset, batch_sampler=sampler, collate_fn=lambda b: b, num_workers=workers, persistent_workers=workers > 0
        )
        runs[workers] = []
        for number in (1, 2):
            sampler.set_epoch(number)
            runs[workers] += list(loader)
    assert len(runs[0]) == 6
    for workers in (1, 2):
        for batch, other in zip(runs[0], runs[workers], strict=True):
            assert all(torch.equal(batch[key], other[key]) for key in ("image", "label", "random"))


def test_a_batch_is_the_slices_asked_for_in_the_middle_of_the_canvas(dataset):
    rows = np.random.default_rng(0).random((2, 3), dtype=np.float32)
    items = [(index, dataset.corners[index], row) for index, row in zip((5, 9 + 3), rows, strict=True)]
    batch = dataset.__getitems__(items)
    assert batch["image"].shape == (2, 2, 6, 6) and batch["image"].dtype == torch.float16
    assert batch["label"].shape == (2, 6, 6) and batch["label"].dtype == torch.uint8
    expected = torch.zeros(2, 2, 6, 6, dtype=torch.float16)
    expected[0, 0, 1:5, :], expected[0, 1, 1:5, :] = 5, 15  # 4 x 6 in 6 x 6
    expected[1, 0, 0:5, 1:4], expected[1, 1, 0:5, 1:4] = 103, 113  # 5 x 3 in 6 x 6
    assert torch.equal(batch["image"], expected)
    assert batch["label"].nonzero().tolist() == [[0, 2, 2], [1, 1, 3]]
    assert torch.equal(batch["random"], torch.from_numpy(rows))
    single = dataset[items[0]]
    assert all(torch.equal(single[key], batch[key][0]) for key in batch)


def anywhere(dataset, seed=0):
    """Items whose corners lie inside, across and beyond the borders of slices."""
    rng = np.random.default_rng(seed)
    return [(int(index), rng.integers(-7, 7, 2), rng.random(2, np.float32)) for index in rng.integers(0, 16, 500)]


def test_the_memory_of_a_device_gives_the_same_bits(dataset):
    """Whole epochs, and slices cut anywhere."""
    for sampler in (EpochSampler(dataset, 3, seed=2, numbers=4), patches(dataset)):
        held = loader(dataset, sampler, torch.device("cpu"), on_device=True)
        read = loader(dataset, sampler, torch.device("cpu"), on_device=False)
        assert isinstance(held, DeviceLoader) and len(held) == len(read) == len(list(held))
        for number in (1, 2):
            sampler.set_epoch(number)
            for one, other in zip(held, read, strict=True):
                assert one.keys() == other.keys()
                assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)
    items = anywhere(dataset)
    index, corner = (torch.tensor(np.array([item[part] for item in items])) for part in (0, 1))
    image, label = held.read(index, corner)
    batch = dataset.__getitems__(items)
    assert torch.equal(image, batch["image"]) and torch.equal(label, batch["label"])
    assert (label != 0).any() and (image == 0).any()


def patches(dataset, batch_size=6, length=600, **changes):
    settings = {"patch_size": (4, 4), "regions": {"WT": [1, 2, 4], "ET": [4]}, "share": 0.33, **changes}
    return PatchSampler(dataset, batch_size, seed=3, numbers=2, length=length, **settings)


def test_the_last_third_of_a_batch_of_patches_holds_the_chosen_voxel(dataset):
    """Each case is drawn equally often; the voxel (1, 2) of a slice with tumour lies on the canvas, at its middle."""
    slices, corners, rows = patches(dataset).draw()
    assert rows.shape == (600, 2) and len(np.unique(rows)) == 1200
    forced = np.tile([False] * 4 + [True] * 2, 100)
    tumour = {0: set(TUMOUR[0]), 9: {9 + z for z in TUMOUR[1]}}
    assert set(slices[forced]) == tumour[0] | tumour[9]
    assert np.mean(slices < 9) == pytest.approx(0.5, abs=0.06)
    assert set(slices[~forced]) == set(range(16))
    # A canvas of 6x6 on slices of 4x6 and 5x3: at the voxel minus half the canvas, but not before the lowest corner.
    assert {tuple(c) for c in corners[forced & (slices < 9)]} == {(-1, -1)}
    assert {tuple(c) for c in corners[forced & (slices >= 9)]} == {(-1, -1)}
    free = corners[~forced & (slices < 9)]
    assert free.min(0).tolist() == [-1, -1] and free.max(0).tolist() == [-1, 1]


def test_a_case_without_any_region_gives_patches_anywhere():
    dataset = SliceDataset([volume(0, 9, (4, 6), ()), volume(1, 7, (5, 3), (3,))], (6, 6))
    slices, _, _ = patches(dataset).draw()
    forced = np.tile([False] * 4 + [True] * 2, 100)
    assert set(slices[forced & (slices < 9)]) == set(range(9))
    assert set(slices[forced & (slices >= 9)]) == {9 + 3}


@pytest.mark.parametrize(
    ("have", "want", "source", "target"),
    [
        (4, 8, (0, 4), (2, 6)),
        (8, 4, (2, 6), (0, 4)),
        (5, 8, (0, 5), (1, 6)),
        (8, 5, (1, 6), (0, 5)),
        (7, 7, (0, 7), (0, 7)),
    ],
)
def test_centring(have, want, source, target):
    assert centred((have, 3), (want, 3)) == ((slice(*source), slice(0, 3)), (slice(*target), slice(0, 3)))


def test_a_slice_is_read_from_the_memory_map_alone(project):
    from benchmark.data.prepare import DataSet

    cases = DataSet("phantom").part(0, "train")
    data = SliceDataset(cases, (32, 32))
    index = int(data.foreground[0])
    case, z = data.slices[index]
    assert isinstance(case.image, np.memmap) and isinstance(case.label, np.memmap)
    image = np.asarray(case.image[z], np.float32)
    batch = data[(index, data.corners[index], np.zeros(1, np.float32))]
    source, target = centred(image.shape[1:], (32, 32))
    np.testing.assert_array_equal(batch["image"].numpy()[(slice(None), *target)], image[(slice(None), *source)])
    assert float(batch["image"].abs().sum()) == pytest.approx(float(np.abs(image).sum()), rel=1e-2)


def test_volumes_are_whole_cases():
    data = VolumeDataset([volume(0, 9, (4, 6), (2,)), volume(1, 7, (5, 3), ())])
    item = data[1]
    assert len(data) == 2 and item["index"] == 1
    assert item["image"].shape == (2, 7, 5, 3) and item["image"].dtype == torch.float32
    assert item["label"].shape == (7, 5, 3) and item["label"].dtype == torch.uint8
    assert item["image"][1, 3].unique().tolist() == [113]
    assert "label" not in VolumeDataset(data.cases, with_label=False)[0]
