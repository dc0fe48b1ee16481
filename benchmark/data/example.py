"""Write label maps of the phantom and two made sets of predictions, to try a comparison on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.base.files import is_free, replacing_folder
from benchmark.base.progress import Progress
from benchmark.base.records import InputError
from benchmark.data.sources import phantom
from benchmark.data.sources._phantom_brain import anatomy, grid, smooth_field

SEED, SPACING = 2026, 2.0
"""Those of the manifest ``phantom``, whose ids and patients the cases have."""

SHIFTS = {"network_a": 1.5, "network_b": 3.0}
"""Predictions and how far their outlines lie from the truth: standard deviation along each axis, mm."""


def write(folder: Path, *, patients: int = 12, progress: Progress | None = None) -> None:
    """Write ``labels``, ``network_a`` and ``network_b`` into a new folder, one NIfTI file per case in each.

    No network made the predictions: they are the truth, its outlines shifted at random, smoothly, by ``SHIFTS``; and
    ``network_b`` finds no tumour in the last case. Raises InputError if the folder holds anything.
    """
    if not is_free(folder):
        raise InputError(f"{folder}: expected a folder that is empty or not there yet, found something in its place.")
    todo = phantom.sessions(patients)
    with replacing_folder(folder) as beside:
        for name in ("labels", *SHIFTS):
            (beside / name).mkdir()
        for done, (patient, session) in enumerate(todo, start=1):
            name = phantom.case_id(patient, session)
            brain = anatomy(SEED, patient, phantom.plan(SEED, patient).volumes, spacing=SPACING)
            truth = phantom.tumour_labels(SEED, patient, session, brain, spacing=SPACING)
            _save(beside / "labels", name, truth)
            for number, (network, shift) in enumerate(SHIFTS.items()):
                found = _shifted(truth, np.random.default_rng([SEED, patient, session, number]), shift)
                missed = network == "network_b" and done == len(todo)
                _save(beside / network, name, np.zeros_like(found) if missed else found)
            if progress:
                progress(done, len(todo), name)


def _shifted(truth: npt.NDArray[np.uint8], rng: np.random.Generator, shift: float) -> npt.NDArray[np.uint8]:
    """Pull labels (x, y, z) along smooth random fields of this standard deviation in mm."""
    from scipy import ndimage

    moved = [
        axis + shift / SPACING * smooth_field(rng, SPACING, 8.0)
        for axis in np.meshgrid(*map(np.arange, truth.shape), indexing="ij")
    ]
    return np.asarray(ndimage.map_coordinates(truth, moved, order=0), dtype=np.uint8)


def _save(folder: Path, name: str, labels: npt.NDArray[np.uint8]) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(labels, grid(SPACING)[1]), folder / f"{name}.nii.gz")
