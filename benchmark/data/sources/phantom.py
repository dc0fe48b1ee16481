"""Draw brain scans with synthetic gliomas and their exact labels from a seed, laid out as BraTS 2018.

Everything random is drawn in mm, not in voxels, so a patient has the same anatomy and tumour at any spacing; only the
scanner's noise depends on the grid. Arithmetic is in float64 and is rounded to integers at the very end, so that the
last bit of a library's ``exp`` does not change the bytes of a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.base.files import is_free, replacing_folder
from benchmark.base.progress import Progress
from benchmark.base.records import InputError
from benchmark.data.sources._phantom_brain import Anatomy, Array, anatomy, grid, smooth_field

VERSION = "1"
"""Raised whenever the same seed gives other voxels than before."""

NECROTIC, OEDEMA, ENHANCING = 1, 2, 4
FOLLOW_UP, TUMOUR_FREE = 4, 8
GROWTH = 1.7
"""Volume of the follow-up's tumour over that of the first session."""

SUFFIXES = {"T1": "_t1", "T1c": "_t1ce", "T2": "_t2", "FLAIR": "_flair"}
SETTINGS = "phantom.json"
NOTICE = (
    "Synthetic phantom, not a scan of anyone; made by brain-tumor-benchmark from the ICBM 152 (2009a) templates that "
    "nilearn ships. Templates: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute, McGill University. Permission to use, copy, modify, and distribute this software and its "
    "documentation for any purpose and without fee is hereby granted, provided that the above copyright notice appear "
    "in all copies. The authors and McGill University make no representations about the suitability of this software "
    'for any purpose. It is provided "as is" without express or implied warranty. The authors are not responsible for '
    "any data loss, equipment damage, property loss, or injury to subjects or patients resulting from the use or "
    "misuse of this software package."
)

#          white  grey  CSF   necrotic  oedema  enhancing
SIGNAL = {
    "T1": (1.00, 0.74, 0.30, 0.42, 0.70, 0.78),
    "T1c": (1.02, 0.78, 0.30, 0.42, 0.72, 1.70),
    "T2": (0.50, 0.66, 1.30, 1.25, 0.98, 0.84),
    "FLAIR": (0.62, 0.76, 0.24, 0.72, 1.23, 1.04),
}
"""Relative brightness of each pure tissue per modality (1.0 is white matter on T1)."""

SOLID_CORE = {"T1": 0.58, "T1c": 0.60, "T2": 1.08, "FLAIR": 1.02}
"""Brightness of label 1 in a tumour that does not enhance: solid tissue, not necrosis."""


@dataclass(frozen=True)
class Plan:
    """What the tumour of one patient is to be, before it has a place.

    ``volumes`` is ml per focus at the patient's last session, ``core`` the core's share of it, ``rim`` the rim's
    thickness in mm, ``strength`` how far lesion tissue moves from healthy brightness to that of ``SIGNAL`` (0 to 1).
    """

    volumes: tuple[float, ...]
    enhancing: bool
    core: float
    rim: float
    strength: float


def sessions(patients: int) -> list[tuple[int, int]]:
    """Return (patient, session), both from 1, of every case: one session each, and two for the fourth patient."""
    return [(p, s) for p in range(1, patients + 1) for s in range(1, 3 if p == FOLLOW_UP else 2)]


def case_id(patient: int, session: int) -> str:
    """Name a case."""
    return f"Phantom_{patient:03d}_{session}"


def plan(seed: int, patient: int) -> Plan:
    """Draw one patient's tumour; how many foci, and whether it enhances, follow from the patient's number alone.

    Patient 8 has no tumour. Patients 3, 10, 17, … have two or three foci; 6, 13, 20, … have no enhancing tumour.
    """
    rng = np.random.default_rng([seed, patient, 0, 1])
    # The follow-up's patient starts higher, so that the first session's tumour is not below the others.
    least = 15.0 * (GROWTH if patient == FOLLOW_UP else 1.0)
    total = float(np.exp(rng.uniform(np.log(least), np.log(140.0))))
    shares = np.array([1.0, rng.uniform(0.25, 0.5), rng.uniform(0.15, 0.3)])[: 2 + rng.integers(2)]
    core, rim, strength = rng.uniform(0.2, 0.55), rng.uniform(2.5, 5.0), rng.uniform(0.7, 1.0)
    if patient == TUMOUR_FREE:
        volumes: tuple[float, ...] = ()
    elif patient % 7 == 3:
        volumes = tuple(float(v) for v in total * shares / shares.sum())
    else:
        volumes = (total,)
    return Plan(volumes, patient % 7 != 6, core, rim, strength)


def _distance(rng: np.random.Generator, points: Array, centre: Array, radius: float) -> Array:
    """Return the distance from ``centre`` in units of a randomly turned ellipsoid of mean ``radius`` mm."""
    from scipy.spatial.transform import Rotation

    axes = np.exp(rng.uniform(-0.3, 0.3, 3))
    matrix = Rotation.from_quat(rng.standard_normal(4)).as_matrix() / (radius * axes / axes.prod() ** (1 / 3))[:, None]
    distance: Array = np.sqrt((np.tensordot(matrix, points - centre[:, None], axes=1) ** 2).sum(0))
    return distance


def _cheapest(cost: Array, mask: Array, voxels: int) -> Array:
    """Return, on the grid, the largest connected part of the ``voxels`` voxels of least finite cost."""
    from scipy import ndimage

    voxels = min(voxels, int(np.isfinite(cost).sum()))
    chosen = np.zeros(mask.shape, bool)
    if voxels:
        chosen[mask] = np.isfinite(cost) & (cost <= np.partition(cost, voxels - 1)[voxels - 1])
    parts, _ = ndimage.label(chosen)
    return (parts == np.bincount(parts[chosen]).argmax()) if voxels else chosen


def _core(rng: np.random.Generator, core: Array, tumour: Plan, spacing: float) -> Array:
    """Split the core into an enhancing rim of uneven thickness with gaps and what it encloses; labels on the grid."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(core, sampling=spacing) - spacing / 2
    thickness = tumour.rim * np.clip(1 + 0.4 * smooth_field(rng, spacing, 5.0), 0.4, 2.0)
    gaps = smooth_field(rng, spacing, 8.0) < -1.2
    rim = (depth < np.maximum(thickness, 0.6 * spacing)) & ~gaps & tumour.enhancing
    return np.where(core, np.where(rim, ENHANCING, NECROTIC), 0).astype(np.uint8)


def tumour_labels(seed: int, patient: int, session: int, brain: Anatomy, *, spacing: float) -> Array:
    """Grow one session's tumour in a brain; returns uint8 labels (x, y, z).

    A focus is the set of voxels of least cost: an ellipsoid's distance, disturbed by noise, dearer in grey matter and
    beyond the midline, and infinite in fluid. Growth only takes more voxels, so the first session lies in the second.
    """
    from scipy import ndimage

    tumour, labels = plan(seed, patient), np.zeros(brain.mask.shape, np.uint8)
    shrink = GROWTH if patient == FOLLOW_UP and session == 1 else 1.0
    for number, (centre, volume) in enumerate(zip(brain.foci, tumour.volumes, strict=True)):
        rng = np.random.default_rng([seed, patient, 0, 2, number])
        radius, voxels = (volume * 750 / np.pi) ** (1 / 3), volume / shrink * 1000 / spacing**3
        cost = _distance(rng, brain.points, centre, radius) + 0.3 * brain.grey
        cost += (0.16 * smooth_field(rng, spacing, 9.0) + 0.09 * smooth_field(rng, spacing, 4.0))[brain.mask]
        cost += 0.5 * np.clip(-np.sign(centre[0]) * brain.points[0] / 8, 0, 1)
        # A gap keeps foci apart in every sense of connectedness, at coarse spacing too.
        apart = ndimage.distance_transform_edt(labels == 0, sampling=spacing) > max(6.0, 2.5 * spacing)
        free = (brain.white + brain.grey > 0.45) & (apart[brain.mask] | (number == 0))
        whole = _cheapest(np.where(free, cost, np.inf), brain.mask, round(voxels))
        nucleus = centre + rng.uniform(-0.25, 0.25, 3) * radius
        cost = _distance(rng, brain.points, nucleus, radius) + 0.12 * smooth_field(rng, spacing, 6.0)[brain.mask]
        core = _cheapest(np.where(whole[brain.mask], cost, np.inf), brain.mask, round(tumour.core * voxels))
        labels[whole] = OEDEMA
        labels[core] = _core(rng, core, tumour, spacing)[core]
    return labels


def _lookalikes(rng: np.random.Generator, brain: Anatomy, spacing: float) -> tuple[Array, Array]:
    """Return what is no tumour but may pass for it: white matter lesions and vessels, each 0 to 1 per brain voxel.

    A vessel is where two smooth fields are both near zero, which is a curve; a third field hides most of them.
    """
    threshold = rng.uniform(2.2, 3.2)
    spots = 1 / (1 + np.exp(-6 * (smooth_field(rng, spacing, 3.5)[brain.mask] - threshold)))
    one, other, seen = (smooth_field(rng, spacing, scale)[brain.mask] for scale in (13.0, 13.0, 11.0))
    width = max(0.9, 0.45 * spacing) / 13.0
    vessels = np.exp(-(one**2 + other**2) / (2 * width**2)) * (seen > 0.1) * np.sqrt(np.clip(1 - brain.white, 0, 1))
    return spots * brain.white**2, vessels


def _tissue(modality: str, brain: Anatomy, spots: Array, vessels: Array) -> Array:
    """Return the healthy brain's relative brightness, one float per brain voxel."""
    white, grey, fluid = SIGNAL[modality][:3]
    signal = white * brain.white + grey * brain.grey + fluid * brain.csf
    signal += {"T1": 0.7, "T1c": 0.7, "T2": -0.4, "FLAIR": 0.0}[modality] * brain.detail
    signal += {"T1": -0.08, "T1c": -0.08, "T2": 0.35, "FLAIR": 0.45}[modality] * spots
    return signal + {"T1": 0.0, "T1c": 0.7, "T2": -0.12, "FLAIR": 0.0}[modality] * vessels


def _amounts(rng: np.random.Generator, labels: Array, mask: Array, spacing: float) -> dict[int, Array]:
    """Return how much of each label a brain voxel shows: soft at borders, oedema fading outwards, a patchy rim."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(labels > 0, sampling=spacing)
    fade = {OEDEMA: np.clip(0.55 + depth / 10, 0, 1), ENHANCING: 0.85 + 0.2 * smooth_field(rng, spacing, 5.0)}
    return {
        label: ndimage.gaussian_filter((labels == label) * fade.get(label, 1.0), max(0.6 / spacing, 0.4))[mask]
        for label in (NECROTIC, OEDEMA, ENHANCING)
    }


def patient_volumes(seed: int, patient: int, session: int = 1, *, spacing: float) -> dict[str, Array]:
    """Make one case in memory: int16 T1, T1c, T2 and FLAIR and the uint8 ``label``, each (x, y, z).

    Images are 0 outside the brain and at least 1 inside. ``spacing`` is in mm. Raises InputError if it is unusable.
    """
    tumour = plan(seed, patient)
    brain = anatomy(seed, patient, tumour.volumes, spacing=spacing)
    labels = tumour_labels(seed, patient, session, brain, spacing=spacing)
    look = np.random.default_rng([seed, patient, 0, 3])
    spots, vessels = _lookalikes(look, brain, spacing)
    texture = smooth_field(look, spacing, 2.5)[brain.mask]
    amounts = _amounts(look, labels, brain.mask, spacing)
    rng = np.random.default_rng([seed, patient, session])
    volumes = {}
    for modality in SUFFIXES:
        signal = _tissue(modality, brain, spots, vessels) * (1 + 0.02 * texture)
        targets = dict(zip((NECROTIC, OEDEMA, ENHANCING), SIGNAL[modality][3:], strict=True))
        if not tumour.enhancing:
            targets[NECROTIC] = SOLID_CORE[modality]
        change = sum(a * (targets[label] * (1 + 0.07 * texture) - signal) for label, a in amounts.items())
        signal = signal + tumour.strength * change
        signal *= np.exp(0.09 * smooth_field(rng, spacing, 55.0)[brain.mask])
        # The magnitude of a complex signal with equal noise in both parts is what makes noise Rician.
        real, imaginary = rng.uniform(0.015, 0.035) * rng.standard_normal((2, signal.size))
        signal = np.hypot(signal + real, imaginary) * 600 * np.exp(rng.normal(0, 0.25))
        volumes[modality] = np.zeros(brain.mask.shape, np.int16)
        volumes[modality][brain.mask] = np.clip(np.rint(signal), 1, 32767)
    return {**volumes, "label": labels}


def _write(folder: Path, volumes: dict[str, Array], affine: Array) -> None:
    """Write one case; uncompressed, so that the bytes do not depend on a compressor's version."""
    import nibabel

    folder.mkdir()
    for what, suffix in {**SUFFIXES, "label": "_seg"}.items():
        image = nibabel.Nifti1Image(volumes[what], affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(affine, code="scanner")
        image.set_sform(affine, code="scanner")
        image.to_filename(folder / f"{folder.name}{suffix}.nii")


def generate(folder: Path, *, seed: int, patients: int, spacing: float, progress: Progress | None = None) -> None:
    """Write the phantom as a BraTS-2018-like folder, whole or not at all; do nothing where it is there already.

    ``spacing`` is in mm. InputError for unusable settings, for a folder that holds something else, and for one that
    cannot be written.
    """
    if patients < 1 or seed < 0:
        raise InputError(f"phantom: at least 1 patient and a seed of at least 0 are needed, found {patients}, {seed}.")
    about = {"seed": seed, "patients": patients, "spacing": float(spacing), "version": VERSION, "notice": NOTICE}
    settings = json.dumps(about, indent=1) + "\n"
    folder, affine = Path(folder).absolute(), grid(spacing)[1]
    if _present(folder, settings):
        return
    with replacing_folder(folder) as beside:
        (beside / SETTINGS).write_text(settings, encoding="utf-8")
        todo = sessions(patients)
        for done, (patient, session) in enumerate(todo, start=1):
            name = case_id(patient, session)
            _write(beside / name, patient_volumes(seed, patient, session, spacing=spacing), affine)
            if progress:
                progress(done, len(todo), name)
    # Another process may have been faster, with other settings.
    _present(folder, settings)


def _present(folder: Path, settings: str) -> bool:
    """Return whether the folder holds the phantom of these settings; raises InputError if it holds anything else."""
    if is_free(folder):
        return False
    found = folder / SETTINGS
    if not found.is_file() or found.read_text(encoding="utf-8", errors="replace") != settings:
        raise InputError(
            f"{folder}: expected no such folder, or a phantom of the same seed, patients, spacing and version, found "
            "something else; delete it or name another folder."
        )
    return True
