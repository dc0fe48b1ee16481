"""Make scans as a hospital has them of the phantom: each sequence moved, on an oblique grid of its own, with a bias."""

from pathlib import Path

import nibabel
import numpy as np
from scipy.spatial.transform import Rotation

from benchmark.data.raw.geometry import Grid, Volume, bring
from benchmark.data.sources import phantom
from benchmark.data.sources._phantom_brain import grid


def rigid(degrees, mm):
    """The 4x4 matrix of rotations about x, y and z, and a shift."""
    return nibabel.affines.from_matvec(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix(), mm)


MOTIONS = {
    "T1": rigid((-3, 5, -4), (-6, 3, 8)),
    "T1c": rigid((6, -4, 8), (5, -7, 4)),
    "T2": rigid((7, 2, -5), (12, -4, -6)),
    "FLAIR": rigid((-5, -3, 5), (-3, 9, 5)),
}
"""Where the head lay during each sequence: a point of the phantom, mm, to that of the scan."""

SIZES = {"T1": (0.9, 0.9, 1.5), "T1c": (1.0, 1.1, 1.2), "T2": (0.7, 0.7, 3.0), "FLAIR": (1.0, 1.0, 4.0)}
"""Voxels in mm."""

OBLIQUE = {"T1": (5, -6, 7), "T1c": (-4, 7, 5), "T2": (3, 4, -9), "FLAIR": (5, -6, 7)}
"""Turns of each scan's axes in degrees."""

FIELD_OF_VIEW = (190, 220, 190)


def bias_of(shape, strength=0.3):
    """A smooth factor over a scan's voxels, other than 1 by up to about ``strength`` on a log scale."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij")
    return np.exp(strength * (x - 0.6 * y**2 + 0.5 * x * z))


def raw_grid(name, coarser=1.0):
    """The grid of a sequence, about the moved head's middle."""
    size = np.array(SIZES[name]) * coarser
    shape = tuple(np.ceil(np.array(FIELD_OF_VIEW) / size).astype(int).tolist())
    linear = Rotation.from_euler("xyz", OBLIQUE[name], degrees=True).as_matrix() * size
    return Grid(shape, nibabel.affines.from_matvec(linear, MOTIONS[name][:3, 3] - linear @ ((np.array(shape) - 1) / 2)))


def raw_case(spacing=1.0, coarser=1.0, seed=11, patient=1, biased=True):
    """Return the phantom's volumes and grid, raw scans by sequence, and the brain's mask on the raw T1c's grid."""
    truth = phantom.patient_volumes(seed, patient, spacing=spacing)
    known = Grid(truth["T1c"].shape, grid(spacing)[1])
    rng, scans = np.random.default_rng(3), {}
    for name, motion in MOTIONS.items():
        own = raw_grid(name, coarser)
        voxels = bring(Volume(truth[name], known.affine), own, np.linalg.inv(motion))[0]
        voxels = voxels * (bias_of(own.shape) if biased else 1)
        # Air has noise too, so that nothing is exactly 0.
        scans[name] = Volume(np.abs(voxels + rng.normal(0, 6, own.shape)).astype(np.float32), own.affine)
    return truth, known, scans, moved_mask(truth["T1c"] > 0, known, "T1c", coarser)


def moved_mask(mask, known, name, coarser=1.0):
    """A mask of the phantom on a raw sequence's grid."""
    own = raw_grid(name, coarser)
    return bring(Volume(mask, known.affine), own, np.linalg.inv(MOTIONS[name]), order=1)[0] > 0.5


def true_transform(name):
    """Points of the raw T1c to those of a raw sequence."""
    return MOTIONS[name] @ np.linalg.inv(MOTIONS["T1c"])


def errors(found, true, mask, affine):
    """Largest distance in mm over a mask's voxels, and angle in degrees, between two rigid transforms."""
    points = nibabel.affines.apply_affine(affine, np.argwhere(mask))
    apart = nibabel.affines.apply_affine(found, points) - nibabel.affines.apply_affine(true, points)
    turn = Rotation.from_matrix((found @ np.linalg.inv(true))[:3, :3]).magnitude()
    return float(np.linalg.norm(apart, axis=1).max()), float(np.degrees(turn))


def write_case(folder: Path, case_id, scans, mask):
    """Write scans, and the mask as ``<case>_mask.nii.gz``, into a folder of the case's own."""
    (folder / case_id).mkdir(parents=True)
    ends = {"T1": "t1", "T1c": "t1ce", "T2": "t2", "FLAIR": "flair"}
    for name, scan in scans.items():
        nibabel.Nifti1Image(scan.voxels, scan.affine).to_filename(folder / case_id / f"{case_id}_{ends[name]}.nii.gz")
    image = nibabel.Nifti1Image(mask.astype(np.uint8), scans["T1c"].affine)
    image.to_filename(folder / case_id / f"{case_id}_mask.nii.gz")
    return folder
