"""nnU-Net's augmentation against exact crops, scipy, torch's own resizing, and formulas written out."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmark.training import nnunet
from benchmark.training.nnunet import NnunetAugmentation, canvas_size

PATCH, CANVAS = (10, 14), (18, 18)
LABELS = [1, 2, 4]
AUGMENTATION = NnunetAugmentation(2, PATCH, LABELS)


def drawn(n=2, **chosen):
    """Random numbers of which every chance fails and no axis is mirrored, but for the columns that are set."""
    numbers = torch.full((n, AUGMENTATION.numbers), 0.9999)
    columns = {"rotate": 0, "scale": 1, "angle": 2, "factor": 3, "rows": 4, "columns": 5, "noise": 6, "sigma": 7}
    for name, value in chosen.items():
        numbers[:, columns[name]] = value
    return numbers


def canvases(n=2, seed=0):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.standard_normal((n, 2, *CANVAS)), (0, 0, 1.5, 1.5)).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(rng.choice([0, 1, 2, 4], (n, *CANVAS)).astype(np.uint8))


def pixels(n=3, size=(31, 40), seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 2, *size)).astype(np.float32))


def test_where_nothing_is_chosen_the_middle_of_the_canvas_is_left():
    image, label = canvases()
    found, labels = AUGMENTATION(image, label, drawn())
    torch.testing.assert_close(found, image[:, :, 4:14, 2:16], rtol=0, atol=1e-5)
    assert torch.equal(labels, label[:, 4:14, 2:16]) and labels.dtype == torch.uint8


@pytest.mark.parametrize(
    ("chosen", "axes"), [({"rows": 0}, [-2]), ({"columns": 0}, [-1]), ({"rows": 0, "columns": 0}, [-2, -1])]
)
def test_both_axes_are_mirrored_exactly(chosen, axes):
    image, label = canvases()
    found, labels = AUGMENTATION(image, label, drawn(**chosen))
    torch.testing.assert_close(found, image[:, :, 4:14, 2:16].flip(axes), rtol=0, atol=1e-5)
    assert torch.equal(labels, label[:, 4:14, 2:16].flip(axes))


def test_a_half_turn_is_exact_and_a_factor_of_one_half_enlarges():
    image, label = canvases()
    found, labels = AUGMENTATION(image, label, drawn(rotate=0, angle=1.0))
    torch.testing.assert_close(found, image[:, :, 4:14, 2:16].flip([-2, -1]), rtol=0, atol=1e-4)
    assert torch.equal(labels, label[:, 4:14, 2:16].flip([-2, -1]))
    grid = NnunetAugmentation(2, PATCH, LABELS, scaling=(0.5, 0.5)).grid(drawn(scale=0)[:, :6], CANVAS)
    still = AUGMENTATION.grid(drawn()[:, :6], CANVAS)
    torch.testing.assert_close(grid, still / 2)


def test_a_quarter_turn_brings_in_what_the_canvas_holds_beyond_the_patch():
    image, label = canvases()
    quarter = NnunetAugmentation(2, PATCH, LABELS, rotation=90.0)
    _, labels = quarter(image, label, drawn(rotate=0, angle=1.0))
    turned = [torch.rot90(label, k, (1, 2))[:, 4:14, 2:16] for k in (1, 3)]
    assert any(torch.equal(labels, each) for each in turned)


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 1), (0.7, 2), (1.0, 3)])
def test_blur_is_scipys(sigma, radius):
    image = pixels()
    found = nnunet._blurred(image, torch.full((3, 2), sigma), torch.zeros(3, 2))
    expected = ndimage.gaussian_filter1d(image.numpy(), sigma, axis=2, mode="mirror", radius=radius)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    found = nnunet._blurred(image, torch.zeros(3, 2), torch.full((3, 2), sigma))
    expected = ndimage.gaussian_filter1d(image.numpy(), sigma, axis=3, mode="mirror", radius=radius)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.63, 0.99, 1.0])
def test_low_resolution_is_torchs_nearest_down_and_linear_up(share):
    image = pixels()
    size = [round(side * share) for side in image.shape[2:]]
    coarse = torch.nn.functional.interpolate(image, size, mode="nearest-exact")
    expected = torch.nn.functional.interpolate(coarse, image.shape[2:], mode="bilinear")
    torch.testing.assert_close(nnunet._coarse(image, torch.full((3, 2), share)), expected, rtol=0, atol=2e-5)


def test_contrast_stays_in_the_channels_range_and_gamma_keeps_its_mean_and_deviation():
    image = pixels()
    stretched = nnunet._contrasted(image, torch.full((3, 2), 1.25))
    x = image[1, 0]
    expected = ((x - x.mean()) * 1.25 + x.mean()).clamp(x.min(), x.max())
    torch.testing.assert_close(stretched[1, 0], expected)
    raised = nnunet._gamma(image, torch.full((3, 2), 1.5))
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(statistic(raised, (2, 3)), statistic(image, (2, 3)), rtol=0, atol=1e-5)
    shape = ((x - x.min()) / (x.max() - x.min())) ** 1.5
    expected = (shape - shape.mean()) / shape.std() * x.std() + x.mean()
    torch.testing.assert_close(raised[1, 0], expected, rtol=0, atol=1e-4)
    flat = torch.full((1, 2, 4, 4), 3.0)
    torch.testing.assert_close(nnunet._gamma(flat, torch.full((1, 2), 0.7)), flat)


def test_what_lies_outside_the_brain_stays_zero_whatever_is_changed_inside():
    image, label = (part.repeat(100, *[1] * (part.ndim - 1)) for part in canvases())
    outside = torch.zeros(CANVAS, dtype=torch.bool)
    outside[:, :5] = outside[12:] = True
    image[..., outside], label[..., outside] = 0.0, 0
    image[:, 0, 8, 8] = 0.0  # in one modality only
    random = torch.rand(len(image), AUGMENTATION.numbers, generator=torch.Generator().manual_seed(5))
    random[:, :2], random[:, 4:6], random[:, 11] = 0.9999, 0.9999, 0.0  # brightness for all, none turned or mirrored
    found, _ = AUGMENTATION(image, label, random)
    assert (found[..., outside[4:14, 2:16]] == 0).all()
    assert (found[..., ~outside[4:14, 2:16]] != 0).float().mean() > 0.99


def test_a_turned_pixel_has_the_label_with_the_highest_score():
    """Where four pixels of labels 1, 1, 2 and 4 meet, between them and nearer to the last."""
    image, label = torch.ones(1, 2, 2, 2), torch.tensor([[[1, 1], [2, 4]]], dtype=torch.uint8)
    at = torch.tensor([[[[0.1, 0.1], [0.3, 0.3], [0.3, -0.1], [3.0, 3.0]]]])
    found, labels, inside = AUGMENTATION.resample(image, label, at)
    # Weights of the last pixel 0.36, 0.64, 0.32: of label 1 together 0.40, 0.20, 0.60.
    assert labels.tolist() == [[[1, 4, 1, 0]]] and inside.tolist() == [[[True, True, True, False]]]
    assert found[0, 0, 0].tolist() == pytest.approx([1, 1, 1, 0])


def test_noise_is_normal_and_follows_from_a_samples_keys():
    keys = torch.rand(2, 500, generator=torch.Generator().manual_seed(0))
    numbers = nnunet.normal(list(keys), 2001)
    assert numbers.shape == (500, 2001)
    moments = [float((numbers**power).mean()) for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.02)
    between = np.corrcoef(numbers[:20].numpy())[~np.eye(20, dtype=bool)]
    assert np.abs(between).max() < 0.1
    assert torch.equal(nnunet.normal([keys[0, 7:8], keys[1, 7:8]], 2001)[0], numbers[7])
    assert len(numbers[:, 0].unique()) > 490


def test_a_sample_does_not_depend_on_its_batch():
    image, label = canvases(40)
    random = torch.rand(40, AUGMENTATION.numbers, generator=torch.Generator().manual_seed(3))
    together = AUGMENTATION(image, label, random)
    for index in range(40):
        one = slice(index, index + 1)
        alone = AUGMENTATION(image[one], label[one], random[one])
        torch.testing.assert_close(together[0][one], alone[0], rtol=0, atol=1e-6)
        assert torch.equal(together[1][one], alone[1])


def test_probabilities_are_kept():
    """Of intensity changes by the share of samples that one of them changes, all others switched off."""
    image, label = (part.repeat(1000, *[1] * (part.ndim - 1)) for part in canvases(2))
    random = torch.rand(2000, AUGMENTATION.numbers, generator=torch.Generator().manual_seed(4))
    names = ("spatial", "noise", "blur", "brightness", "contrast", "resolution", "inverted_gamma", "gamma")
    off = {f"{name}_probability": 0.0 for name in names}
    still, _ = NnunetAugmentation(2, PATCH, LABELS, **off)(image, label, random)
    shares = {}
    for name in names[1:]:
        on = {**off, f"{name}_probability": getattr(AUGMENTATION, f"{name}_probability")}
        changed = NnunetAugmentation(2, PATCH, LABELS, **on)(image, label, random)[0] != still
        shares[name] = float(changed.flatten(1).any(1).float().mean())
    # Blur and low resolution change a channel with probability 1/2, so one of four samples chosen stays as it is.
    expected = {"noise": 0.1, "blur": 0.15, "brightness": 0.15, "contrast": 0.15, "resolution": 0.1875}
    assert shares == pytest.approx({**expected, "inverted_gamma": 0.1, "gamma": 0.3}, abs=0.03)


def test_the_canvas_is_nnunets():
    """Its ``get_patch_size`` gives 112x112 for 80x96 pixels turned freely, and 98x117 for 60x100 within 15 degrees."""
    assert canvas_size((80, 96)) == [112, 112]
    assert canvas_size((60, 100), 15.0) == [98, 118]  # one more, so that the patch lies in the middle
