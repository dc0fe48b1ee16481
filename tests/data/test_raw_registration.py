"""Raw scans of the phantom, moved by known amounts: recovered with ITK, and label maps returned.

Loading ITK's registration takes longer than what is done with it here.
"""

import json

import nibabel
import numpy as np
import pytest
from helpers.raw_scans import MOTIONS, bias_of, errors, moved_mask, raw_case, true_transform, write_case
from scipy import ndimage

from benchmark.base.records import InputError
from benchmark.data.raw import REFERENCE, Wanted, prepare, registration
from benchmark.data.raw.bias import bias_field
from benchmark.data.raw.geometry import Volume, bring, upright
from benchmark.data.raw.record import Steps, undo

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}


@pytest.fixture(scope="module")
def coarse():
    """The phantom at 4 mm: its raw T1 and FLAIR, the T1c on its upright grid, and where the metric is taken."""
    _, _, scans, mask = raw_case(4.0, 4.0)
    grid = upright(scans[REFERENCE].grid, 4.0)
    reference = Volume(bring(scans[REFERENCE], grid, np.eye(4))[0], grid.affine)
    brain = bring(Volume(mask, scans[REFERENCE].affine), grid, np.eye(4), order=1)[0] > 0.5
    return reference, scans, brain


def test_a_known_motion_is_found_the_same_each_time(coarse):
    reference, scans, brain = coarse
    near = registration.around(brain, reference.grid.spacing)
    found = registration.register(reference, scans["T1"], near)
    mm, degrees = errors(found.matrix, true_transform("T1"), brain, reference.affine)
    assert mm < 1.5 and degrees < 0.75, (mm, degrees)
    assert found.fall > registration.LEAST_FALL
    np.testing.assert_array_equal(registration.register(reference, scans["T1"], near).matrix, found.matrix)


def test_what_shows_no_brain_is_refused(coarse):
    reference, scans, brain = coarse
    near = registration.around(brain, reference.grid.spacing)
    scan = scans["T1"]
    noise = Volume(np.random.default_rng(0).normal(100, 10, scan.voxels.shape).astype(np.float32), scan.affine)
    with pytest.raises(InputError, match=r"expected mutual information|show at least"):
        registration.register(reference, noise, near)


@pytest.mark.slow(reason="N4 and registrations of four whole heads take minutes at 1 mm")
@pytest.mark.parametrize("size", [2.0, 1.0])
def test_motion_bias_and_oblique_axes_are_undone(tmp_path, size):
    truth, known, scans, mask = raw_case(size)
    folder = write_case(tmp_path / "hospital", "A", scans, mask)
    template = tmp_path / "template.nii.gz"
    nibabel.Nifti1Image(truth["T1"], known.affine).to_filename(template)
    assert prepare(folder, tmp_path / "out", Wanted("mask", template, size=size)) == (["A"], {})
    steps = Steps.model_validate(json.loads((tmp_path / "out/A/A_raw.json").read_text()))
    brain = truth["T1c"] > 0
    for name, one in steps.registrations.items():
        true = np.linalg.inv(MOTIONS[REFERENCE]) if name == "template" else true_transform(name)
        mm, degrees = errors(np.array(one.matrix), true, mask, scans[REFERENCE].affine)
        print(f"{name}: {mm:.2f} mm, {degrees:.2f} degrees, information {one.information:.2f}, fall {one.fall:.2f}")
        assert mm < 0.5 and degrees < 0.5
    for name, matrix in steps.transforms.items():
        mm, degrees = errors(np.array(matrix), MOTIONS[name], brain, known.affine)
        print(f"{name} in the template's space: {mm:.2f} mm, {degrees:.2f} degrees")
    returned_within_a_voxel(truth, known, steps)


def returned_within_a_voxel(truth, known, steps):
    assert steps.prepared.shape == known.shape
    codes = np.stack([np.isin(truth["label"], values) * np.uint8(255) for values in REGIONS.values()], axis=-1)
    returned = undo(codes, steps) >= 128
    for place, (name, values) in enumerate(REGIONS.items()):
        expected = moved_mask(np.isin(truth["label"], values), known, REFERENCE)
        found = returned[..., place]
        assert expected.any()
        near = np.ones((3, 3, 3))
        beyond = (found & ~ndimage.binary_dilation(expected, near)).sum() + (
            expected & ~ndimage.binary_dilation(found, near)
        ).sum()
        dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        print(f"{name}: {expected.sum()} voxels, Dice {dice:.4f}, {beyond} further than a voxel")
        assert beyond == 0


@pytest.mark.slow(reason="N4 twice on whole heads")
def test_an_added_bias_field_is_found():
    truth, known, scans, _ = raw_case(2.0, 2.0)
    without = raw_case(2.0, 2.0, biased=False)[2]
    inside = moved_mask(truth["T1"] > 0, known, "T1", 2.0)
    # The phantom's scans have a field of their own.
    found = np.log(bias_field(scans["T1"]) / bias_field(without["T1"]))[inside]
    added = np.log(bias_of(scans["T1"].voxels.shape))[inside]
    left = (found - added).std() / added.std()
    print(f"left of the added field: {left:.3f}")
    assert left < 0.3
