"""Augmentation against exact mirrors, quarter turns and scipy's resampling; region masks against the manifest."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmark.data.manifest import load_manifest
from benchmark.training.augment import Augmentation, PrepareBatch

LABELS = [0, 1, 2, 4]
SIZES = [(32, 32), (24, 40), (31, 20)]
NOTHING = Augmentation(flip=0, probability=0)


def drawn(augmentation, n=2, **set_):
    """Random numbers that do nothing by themselves (one half: no angle, scale or displacement), but for ``set_``."""
    numbers = torch.full((n, augmentation.numbers), 0.5)
    for column, value in {"flip": 0, "rotate": 1, "zoom": 2, "deform": 3, "angle": 4, "scale": 5}.items():
        if column in set_:
            numbers[:, value] = set_[column]
    return numbers


def pictures(size, n=2, seed=0):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.standard_normal((n, 3, *size)), (0, 0, 2.0, 2.0)).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(rng.choice(LABELS, (n, *size)).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_the_identity(size):
    image, label = pictures(size, n=4)
    random = torch.rand(4, NOTHING.numbers, generator=torch.Generator().manual_seed(0))
    moved, labels = NOTHING(image, label, random)
    torch.testing.assert_close(moved, image, rtol=0, atol=1e-5)
    assert torch.equal(labels, label) and labels.dtype == torch.uint8


@pytest.mark.parametrize("size", SIZES)
def test_a_flip_is_an_exact_mirror_of_left_and_right(size):
    image, label = pictures(size)
    flip = Augmentation(flip=1, probability=0)
    moved, labels = flip(image, label, drawn(flip))
    torch.testing.assert_close(moved, image.flip(2), rtol=0, atol=1e-5)  # slices are (x, y): axis 2 of the batch is x
    assert torch.equal(labels, label.flip(1))


def test_a_flip_mirrors_a_tumour_of_a_phantom_to_the_other_side(project):
    """World coordinates tell that the axis that is flipped is the patient's left and right."""
    from benchmark.data.prepare import prepare

    prepared = prepare("phantom")[0]
    mirror = Augmentation(flip=1, probability=0)
    labels = torch.from_numpy(np.array(prepared.label))
    moved = mirror(labels[:, None].float(), labels, drawn(mirror, len(labels)))[1].numpy()

    def x(volume):
        return (np.argwhere(prepared.restore(volume) > 0) @ prepared.affine[0, :3] + prepared.affine[0, 3]).mean()

    brain = x((np.asarray(prepared.image[:, 0]) != 0).astype(np.uint8))
    assert abs(x(labels.numpy()) - brain) > 10
    assert x(moved) - brain == pytest.approx(brain - x(labels.numpy()), abs=6.0)


def test_a_quarter_turn_is_exact():
    image, label = pictures((16, 16))
    turn = Augmentation(rotation=90, flip=0, scale=0, elastic=0, probability=1)
    moved, labels = turn(image, label, drawn(turn, angle=1.0))
    torch.testing.assert_close(moved, torch.rot90(image, 1, (2, 3)), rtol=0, atol=1e-5)
    assert torch.equal(labels, torch.rot90(label, 1, (1, 2)))


def test_a_quarter_turn_keeps_a_bar_rigid_on_a_canvas_that_is_not_square():
    label = torch.zeros(1, 48, 32, dtype=torch.uint8)
    label[0, 14:34, 14:18] = 4
    turn = Augmentation(rotation=90, flip=0, scale=0, elastic=0, probability=1)
    _, moved = turn(label[:, None].float(), label, drawn(turn, 1, angle=1.0))
    expected = torch.zeros_like(label)
    expected[0, 22:26, 6:26] = 4
    assert torch.equal(moved, expected)


def inner(size, share=0.22):
    """The middle of a picture, which a rotation never fills from outside."""
    return tuple(slice(round(side * share), round(side * (1 - share))) for side in size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("degrees", [-15.0, 7.0, 15.0])
def test_a_rotation_is_scipys(size, degrees):
    image, label = pictures(size)
    turn = Augmentation(rotation=15, flip=0, scale=0, elastic=0, probability=1)
    moved, _ = turn(image, label, drawn(turn, angle=(degrees / 15 + 1) / 2))
    expected = ndimage.rotate(image.numpy(), degrees, axes=(2, 3), reshape=False, order=1)
    where = (..., *inner(size))
    np.testing.assert_allclose(moved.numpy()[where], expected[where], atol=2e-4)
    assert np.abs(moved.numpy() - image.numpy())[where].max() > 0.01


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zoom", [0.8, 1.2])
def test_scaling_is_scipys(size, zoom):
    image, label = pictures(size)
    scale = Augmentation(rotation=0, flip=0, scale=0.2, elastic=0, probability=1)
    moved, _ = scale(image, label, drawn(scale, scale=((zoom - 1) / 0.2 + 1) / 2))
    centre = (np.array(size) - 1) / 2
    expected = [
        [ndimage.affine_transform(c, np.eye(2) / zoom, centre - centre / zoom, order=1) for c in sample]
        for sample in image.numpy()
    ]
    where = (..., *inner(size))
    np.testing.assert_allclose(moved.numpy()[where], np.array(expected)[where], atol=2e-4)


@pytest.mark.parametrize(("size", "degrees", "zoom"), [((24, 40), 10.0, 1.1), ((31, 20), -12.0, 0.9)])
def test_rotation_scaling_and_flip_are_one_similarity(size, degrees, zoom):
    """All three together move points as one rigid motion and one scale: distances change by the zoom alone."""
    both = Augmentation(rotation=15, flip=1, scale=0.2, elastic=0, probability=1)
    random = drawn(both, angle=(degrees / 15 + 1) / 2, scale=((zoom - 1) / 0.2 + 1) / 2)
    grid = both.grid(random, size)[0].double()
    pixels = torch.stack([(grid[..., 1] + 1) * size[0] / 2, (grid[..., 0] + 1) * size[1] / 2], dim=-1)
    down, right = pixels[1, 0] - pixels[0, 0], pixels[0, 1] - pixels[0, 0]
    assert float(down.norm()) == pytest.approx(1 / zoom, rel=1e-4)
    assert float(right.norm()) == pytest.approx(1 / zoom, rel=1e-4)
    assert float(down @ right) == pytest.approx(0, abs=1e-4)
    determinant = float(down[0] * right[1] - down[1] * right[0])
    assert determinant == pytest.approx(-1 / zoom**2, rel=1e-3)  # the flip turns the picture over


def test_elastic_displacement_is_a_share_of_the_image():
    image, label = pictures((32, 32))
    elastic = Augmentation(rotation=0, flip=0, scale=0, elastic=0.25, probability=1)
    random = drawn(elastic)
    random[:, 6 : 6 + 25] = 1.0  # all control points as far as they go along W
    moved, labels = elastic(image, label, random)
    torch.testing.assert_close(moved[..., :24], image[..., 8:], rtol=0, atol=1e-4)
    assert torch.equal(labels[..., :24], label[..., 8:])
    assert float(moved[..., 24:].abs().max()) < 1e-4 and not labels[..., 24:].any()  # zero outside


def test_elastic_deformation_is_smooth_and_bounded():
    elastic = Augmentation(rotation=0, flip=0, scale=0, elastic=0.03, probability=1)
    random = torch.rand(16, elastic.numbers, generator=torch.Generator().manual_seed(1))
    shift = (elastic.grid(random, (64, 64)) - elastic.grid(drawn(elastic, 16), (64, 64))) / 2  # shares of the image
    assert 0.015 < float(shift.abs().max()) < 0.03 * 1.3  # bicubic interpolation overshoots a little
    # Neighbours keep their order: no fold.
    assert float((shift[:, 1:] - shift[:, :-1]).abs().max()) < 1 / 64


def test_image_and_label_move_together_and_labels_stay_in_the_set():
    rows, columns = np.mgrid[:40, :48]
    disc = (np.hypot(rows - 17, columns - 28) < 9) * 4
    label = torch.from_numpy(np.where((disc == 0) & (np.hypot(rows - 19, columns - 25) < 14), 2, disc).astype(np.uint8))
    label = label.expand(32, 40, 48)
    image = torch.stack([label == 4, label == 2], dim=1).float()
    augmentation = Augmentation()
    random = torch.rand(32, augmentation.numbers, generator=torch.Generator().manual_seed(2))
    moved, labels = augmentation(image, label, random)
    assert set(labels.unique().tolist()) <= {0, 2, 4}
    for channel, value in enumerate((4, 2)):
        a, b = moved[:, channel] > 0.5, labels == value
        overlap = (a & b).sum((1, 2)) / (a | b).sum((1, 2))
        assert float(overlap.min()) > 0.93
    changed = (labels != label).flatten(1).any(1)
    assert 16 < int(changed.sum()) <= 32


def test_a_sample_does_not_depend_on_its_batch():
    image, label = pictures((24, 40), n=3)
    augmentation = Augmentation()
    random = torch.rand(3, augmentation.numbers, generator=torch.Generator().manual_seed(3))
    together = augmentation(image, label, random)
    for index in range(3):
        one = slice(index, index + 1)
        alone = augmentation(image[one], label[one], random[one])
        torch.testing.assert_close(together[0][one], alone[0], rtol=0, atol=1e-6)
        assert torch.equal(together[1][one], alone[1])


def test_probabilities_are_kept():
    augmentation = Augmentation(rotation=10, flip=0.25, scale=0.1, elastic=0.03, probability=0.5)
    random = torch.rand(4000, augmentation.numbers, generator=torch.Generator().manual_seed(4))
    only = {
        "rotation": Augmentation(10, 0, 0, 0, probability=0.5),
        "scale": Augmentation(0, 0, 0.1, 0, probability=0.5),
        "elastic": Augmentation(0, 0, 0, 0.03, probability=0.5),
        "flip": Augmentation(0, 0.25, 0, 0, probability=0.5),
    }
    still = NOTHING.grid(random, (4, 6))
    moved = {key: (a.grid(random, (4, 6)) - still).abs().amax((1, 2, 3)) > 1e-6 for key, a in only.items()}
    shares = {key: float(value.float().mean()) for key, value in moved.items()}
    assert shares == pytest.approx({"rotation": 0.5, "scale": 0.5, "elastic": 0.5, "flip": 0.25}, abs=0.04)
    # Each by itself: rotation and scaling coincide as often as independent events do.
    assert float((moved["rotation"] & moved["scale"]).float().mean()) == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("name", ["brats2018", "brats2023", "msd_brain"])
def test_masks_are_the_manifests_regions(project, name):
    manifest = load_manifest(name)
    values = [int(value) for value in manifest.labels]
    label = torch.tensor(values, dtype=torch.uint8).repeat(2, 3, 1)  # (N, H, W)
    masks = PrepareBatch(manifest.regions).masks(label)
    assert masks.shape == (2, 3, 3, len(values)) and masks.dtype == torch.float32
    for channel, region in enumerate(manifest.regions.values()):
        assert masks[0, channel, 0].tolist() == [float(value in region) for value in values]
    volume = label[:, None].expand(2, 5, 3, len(values))
    assert PrepareBatch(manifest.regions).masks(volume).shape == (2, 3, 5, 3, len(values))


def test_brats_regions_by_hand():
    masks = PrepareBatch({"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}).masks(torch.tensor([[[0, 1, 2, 4]]]))
    assert masks[0, :, 0].tolist() == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]


def test_a_batch_is_prepared():
    regions, device = {"WT": [1, 2, 4], "ET": [4]}, torch.device("cpu")
    image, label = pictures((8, 10))
    flip = Augmentation(flip=1, probability=0)
    batch = {"image": image.half(), "label": label, "random": drawn(flip)}
    plain, masks = PrepareBatch(regions)(batch, device)
    assert plain.dtype == masks.dtype == torch.float32
    assert torch.equal(plain, image.half().float()) and plain.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(masks[:, 1], (label == 4).float())
    mirrored, mirrored_masks = PrepareBatch(regions, flip)(batch, device, non_blocking=True)
    torch.testing.assert_close(mirrored, plain.flip(2), rtol=0, atol=1e-5)
    assert torch.equal(mirrored_masks, masks.flip(2))
    assert PrepareBatch(regions)({"image": image}, device)[1] is None


def test_an_angle_is_in_degrees():
    turn = Augmentation(rotation=30, flip=0, scale=0, elastic=0, probability=1)
    grid = turn.grid(drawn(turn, angle=1.0), (16, 16))[0]
    step = grid[0, 1] - grid[0, 0]
    assert abs(math.degrees(math.atan2(step[1], step[0]))) == pytest.approx(30, abs=1e-3)
