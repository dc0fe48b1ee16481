"""Augmentation of 3D patches against exact mirrors, quarter turns, 2D's own augmentation and nnU-Net's formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmark.training.augment_volumes import VolumeAugmentation, turns
from benchmark.training.nnunet import NnunetAugmentation
from benchmark.training.nnunet_volumes import VolumeNnunetAugmentation, canvas_size

SIZES = [(16, 16, 16), (12, 20, 16)]
NOTHING = VolumeAugmentation(flip=0, probability=0)


def volumes(size, n=2, seed=0):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.standard_normal((n, 2, *size)), (0, 0, 2, 2, 2)).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(rng.choice([0, 1, 2, 4], (n, *size)).astype(np.uint8))


def drawn(augmentation, n=2, **set_):
    """Random numbers that do nothing by themselves (one half: no angle, scale or displacement), but for ``set_``."""
    numbers = torch.full((n, augmentation.numbers), 0.5)
    places = {"flip": 0, "rotate": 1, "zoom": 2, "deform": 3, "about_x": 4, "about_y": 5, "about_z": 6, "scale": 7}
    for name, value in set_.items():
        numbers[:, places[name]] = value
    return numbers


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_the_identity(size):
    image, label = volumes(size)
    moved, labels = NOTHING(image, label, torch.rand(2, NOTHING.numbers, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(moved, image, rtol=0, atol=1e-5)
    assert torch.equal(labels, label) and labels.dtype == torch.uint8


@pytest.mark.parametrize("size", SIZES)
def test_a_flip_is_an_exact_mirror_of_the_first_axis(size):
    image, label = volumes(size)
    flip = VolumeAugmentation(flip=1, probability=0)
    moved, labels = flip(image, label, drawn(flip))
    torch.testing.assert_close(moved, image.flip(2), rtol=0, atol=1e-5)
    assert torch.equal(labels, label.flip(1))


@pytest.mark.parametrize(("axis", "plane"), [("about_x", (3, 4)), ("about_y", (4, 2)), ("about_z", (2, 3))])
def test_a_quarter_turn_about_each_axis_is_exact(axis, plane):
    image, label = volumes((16, 16, 16))
    turn = VolumeAugmentation(rotation=90, flip=0, scale=0, elastic=0, probability=1)
    moved, labels = turn(image, label, drawn(turn, **{axis: 1.0}))
    torch.testing.assert_close(moved, torch.rot90(image, -1, plane), rtol=0, atol=1e-5)
    assert torch.equal(labels, torch.rot90(label, -1, tuple(one - 1 for one in plane)))


def test_a_turn_keeps_a_bar_rigid_in_a_patch_that_is_no_cube():
    label = torch.zeros(1, 32, 16, 24, dtype=torch.uint8)
    label[0, 12:20, 6:10, 10:14] = 4
    turn = VolumeAugmentation(rotation=90, flip=0, scale=0, elastic=0, probability=1)
    _, moved = turn(label[:, None].float(), label, drawn(turn, 1, about_y=1.0))
    expected = torch.zeros_like(label)
    expected[0, 14:18, 6:10, 8:16] = 4
    assert torch.equal(moved, expected)


def test_a_scale_enlarges_about_the_middle():
    label = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    label[0, 8:12, 8:12, 8:12] = 2
    zoom = VolumeAugmentation(rotation=0, flip=0, scale=0.5, elastic=0, probability=1)
    _, moved = zoom(label[:, None].float(), label, drawn(zoom, 1, scale=1.0))
    expected = torch.zeros_like(label)
    expected[0, 7:13, 7:13, 7:13] = 2
    assert torch.equal(moved, expected)


def test_image_and_label_move_together_under_everything_at_once():
    """A label's own shape as image: where it is deep inside, so is the label, and outside of it there is none."""
    everything = VolumeAugmentation(rotation=30, flip=0.5, scale=0.3, elastic=0.1, probability=1)
    label = torch.zeros(4, 24, 20, 16, dtype=torch.uint8)
    label[:, 6:16, 4:15, 5:12] = 4
    random = torch.rand(4, everything.numbers, generator=torch.Generator().manual_seed(1))
    moved, labels = everything(label[:, None].float(), label, random)
    assert not torch.equal(labels[0], labels[1]) and not torch.equal(labels, label)
    assert ((moved[:, 0] > 2) == (labels == 4)).float().mean() > 0.98
    assert (labels[moved[:, 0] == 4] == 4).all() and (labels[moved[:, 0] == 0] == 0).all()


def test_beyond_the_patch_there_is_its_mirror_image_not_zero():
    image = torch.ones(1, 1, 12, 12, 12)
    turn = VolumeAugmentation(rotation=45, flip=0, probability=1)
    moved, labels = turn(
        image, torch.full((1, 12, 12, 12), 2, dtype=torch.uint8), drawn(turn, 1, about_x=0.9, about_y=0.8)
    )
    torch.testing.assert_close(moved, image)
    assert (labels == 2).all()


def test_turns_are_rotations_one_axis_after_the_other():
    angles = torch.tensor([[0.3, -0.5, 1.1], [0.0, 0.0, 0.4]])
    found = turns(angles)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(2))
    one, two, three = (turns(torch.eye(3)[n : n + 1] * angles[:1]) for n in range(3))
    torch.testing.assert_close(found[:1], three @ two @ one)


# nnU-Net's


def test_canvases_are_nnunets():
    """What nnU-Net 2.8.1's get_patch_size gives, with a voxel more where a side's difference to the patch is odd."""
    assert canvas_size([80, 96, 80], (30, 30, 30)) == [128, 144, 138]
    assert canvas_size([320, 320, 16], (0, 0, 180)) == [376, 376, 16]


def nnunets(size, rotation=(30.0, 30.0, 30.0)):
    made = VolumeNnunetAugmentation(2, size, [1, 2, 4], rotation=rotation)
    off = torch.full((2, made.numbers), 0.9999)
    return made, off


def test_without_chance_a_patch_is_the_canvass_middle():
    made, off = nnunets((8, 12, 10))
    canvas = canvas_size((8, 12, 10), (30, 30, 30))
    image, label = volumes(canvas)
    found, labels = made(image, label, off)
    place = tuple(slice((wide - side) // 2, (wide + side) // 2) for wide, side in zip(canvas, (8, 12, 10), strict=True))
    torch.testing.assert_close(found, image[(..., *place)], rtol=0, atol=1e-5)
    assert torch.equal(labels, label[(slice(None), *place)])


def test_mirroring_is_of_each_axis():
    made, off = nnunets((8, 12, 10))
    image, label = volumes((8, 12, 10))
    for axis in range(3):
        random = off.clone()
        random[:, 6 + axis] = 0.0
        found, labels = made(image, label, random)
        torch.testing.assert_close(found, image.flip(2 + axis), rtol=0, atol=1e-5)
        assert torch.equal(labels, label.flip(1 + axis))


def test_positions_are_nnunets_affine_map():
    """create_affine_matrix_3d of batchgeneratorsv2, Rz Ry Rx S on positions (z, y, x), applied by hand."""
    made, off = nnunets((6, 4, 8))
    off[:, :6] = torch.tensor([0.0, 0.0, 0.9, 0.2, 0.7, 0.25])
    angles = [(2 * u - 1) * math.radians(30) for u in (0.7, 0.2, 0.9)]  # about nnU-Net's first axis, z, and so on
    (cx, cy, cz), (sx, sy, sz) = ([f(a) for a in angles] for f in (math.cos, math.sin))
    matrix = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.diag([0.7 + 0.7 * 0.25] * 3)
    )
    zyx = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (8, 4, 6)), indexing="ij"), -1) @ matrix.T
    grid = made.grid(off[:, :9], (12, 10, 14))[0].permute(2, 1, 0, 3).numpy()  # z, y, x, and a position along z first
    np.testing.assert_allclose(grid, zyx / (np.array([14, 10, 12]) / 2), atol=1e-5)


def test_thick_slices_are_turned_and_coarsened_in_their_plane_only():
    made, off = nnunets((8, 8, 4), (0, 0, 180.0))
    image, label = volumes((12, 12, 4))
    off[:, :6] = torch.tensor([0.0, 0.0, 0.8, 0.8, 0.8, 0.9])
    off[:, 16] = 0
    off[:, 19 + 6 * 2 : 19 + 8 * 2] = 0
    grid = made.grid(off[:, :9], (12, 12, 4))
    assert torch.equal(grid[..., 0], (torch.tensor([-0.75, -0.25, 0.25, 0.75])).expand(2, 8, 8, 4))
    whole = made(image, label, off)[0]
    alone = torch.cat(
        [made(*(part[..., z : z + 1].expand_as(part) for part in (image, label)), off)[0][..., :1] for z in range(4)],
        -1,
    )
    torch.testing.assert_close(whole, alone)


CHANCES = {"noise": (9,), "blur": (13,), "brightness": (14,), "contrast": (15,), "coarse": (16,), "gamma": (17, 18)}


@pytest.mark.parametrize("change", CHANCES)
def test_intensities_change_as_in_2d_along_a_third_axis(change):
    """A volume that is equal along z, and a slice of it, by the numbers of the 2D augmentation."""
    size, rows = (8, 10, 12), torch.rand(2, 10, 2, generator=torch.Generator().manual_seed(3))
    deep, off = nnunets(size)
    flat, off2 = NnunetAugmentation(2, size[:2], [1, 2, 4]), torch.full((2, 34), 0.9999)
    rows[:, [0, 6]] = 0.0
    off[:, 19:], off[:, 10] = rows.flatten(1), 0.7
    off2[:, 16:] = rows[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]].flatten(1)
    places = {9: 6, 13: 10, 14: 11, 15: 12, 16: 13, 17: 14, 18: 15}
    for place in CHANCES[change]:
        off[:, place], off2[:, places[place]] = 0.0, 0.0
    image, label = volumes((*size[:2], 1))
    label[:] = 1  # nothing is outside
    found, _ = deep(image.expand(-1, -1, -1, -1, 12), label.expand(-1, -1, -1, 12), off)
    if change == "noise":
        noise = found - image
        assert float(noise.std()) == pytest.approx(0.07, rel=0.05) and abs(float(noise.mean())) < 0.003
        assert len(torch.unique(noise)) > 3000
        return
    wanted, _ = flat(image[..., 0], label[..., 0], off2)
    atol = 2e-2 if change == "gamma" else 1e-5  # torch's standard deviation is over one voxel fewer
    torch.testing.assert_close(found, wanted[..., None].expand_as(found), rtol=0, atol=atol)
    assert (found - image).abs().max() > 1e-3


def test_blur_and_coarseness_reach_along_z_too():
    made, off = nnunets((8, 8, 8))
    image = torch.zeros(2, 2, 8, 8, 8)
    image[..., 4:] = 1
    off[:, 13], off[:, 19 : 19 + 8] = 0, 0.0
    blurred, _ = made(image, torch.ones(2, 8, 8, 8, dtype=torch.uint8), off)
    assert 0.01 < float(blurred[0, 0, 3, 3, 3]) < 0.3 and float(blurred[0, 0, 3, 3, 0]) == pytest.approx(0, abs=1e-6)
