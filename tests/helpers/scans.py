"""Write small scans with known values and affines, for tests."""

from pathlib import Path

import nibabel
import numpy as np

SUFFIXES = {"T1": "_t1", "T1c": "_t1ce", "T2": "_t2", "FLAIR": "_flair"}
SHAPE = (7, 8, 9)
TURN = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])
TILT = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])

MODALITIES = ("T1", "T1c", "T2", "FLAIR")


def affine(matrix, origin=(-20.0, 13.0, 5.0)):
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = matrix, origin
    return result


AFFINES = {
    "RAS": affine(np.diag([1.0, 2.0, 3.0])),
    "LPS": affine(np.diag([-1.0, -2.0, 3.0])),
    "LIA": affine([[-1.0, 0, 0], [0, 0, 2.0], [0, -3.0, 0]]),
    "PSR": affine([[0, 0, 1.0], [-2.0, 0, 0], [0, 3.0, 0]]),
    "oblique": affine(TURN @ TILT @ np.diag([-1.0, 1.5, 2.0])),
    "oblique, permuted": affine(TURN @ TILT @ np.array([[0, 0, -1.0], [1.5, 0, 0], [0, -2.0, 0]])),
}


def save_case(case_id, images, label, matrix=AFFINES["RAS"]):
    """Write one BraTS 2018 subject into scans/; ``images`` is by modality."""
    folder = Path("scans", case_id)
    folder.mkdir(parents=True, exist_ok=True)
    for modality, suffix in SUFFIXES.items():
        nibabel.save(nibabel.Nifti1Image(images[modality], matrix), folder / f"{case_id}{suffix}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, matrix), folder / f"{case_id}_seg.nii.gz")


def brain(seed=0, box=((1, 6), (2, 7), (3, 8))):
    """Four random modalities that are not zero exactly in ``box``, and labels that are there too."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(SHAPE, np.int16)
    inside[tuple(slice(*side) for side in box)] = 1
    images = {modality: inside * rng.integers(1, 900, SHAPE, dtype=np.int16) for modality in SUFFIXES}
    return images, (inside * rng.choice([0, 1, 2, 4], SHAPE)).astype(np.uint8)
