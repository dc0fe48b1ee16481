"""Score folders of label maps that any tool made, as a table like a run's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.files import write_text
from benchmark.base.progress import Progress
from benchmark.base.records import InputError, check_safe
from benchmark.data.label_maps import check_unread, count_labels, label_files
from benchmark.data.manifest import Manifest, manifest_of, patients_of
from benchmark.data.scan import AFFINE_TOLERANCE
from benchmark.data.volumes import pick_image, read_volume, spacing_of
from benchmark.scoring.metrics import score_case
from benchmark.scoring.score_table import as_text, frame


def score_folder(
    reference: Path,
    prediction: Path,
    manifest: str,
    name: str,
    fold: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Score every reference in a folder against the prediction of the same case id.

    Each folder holds ``<case>.nii.gz`` or ``<case>_seg.nii.gz`` (``-seg``, .nii, .mha and .nrrd too), or case folders
    with such a file, ``<case>/<case>_seg.nii.gz``, at any depth. ``manifest`` names the data set whose regions,
    labels and patient pattern apply; ``name`` is the model's; ``fold`` and ``seed`` are written into every row.

    Returns:
        A table as ``score_table.frame`` makes it, with bundle = name and variant = "default", sorted by case id; a
        reference without a prediction has its rows too, with the worst values and the note "missing prediction".

    Raises:
        InputError: for an unsafe name, a folder that is missing or has no label map, two files of one case id, a
            prediction without a reference, an unreadable file, labels outside the manifest, and a prediction whose
            shape or affine (beyond AFFINE_TOLERANCE) is not the reference's.
    """
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9 ._+-]*[A-Za-z0-9._+-])?", name):
        raise InputError(
            f"--name: expected letters, digits, spaces and . _ + -, beginning with a letter or digit, found {name!r}."
        )
    described = manifest_of(manifest)
    references, predictions = _matched(reference, prediction, described)
    check_safe(reference, "an id of a case", references)
    patients = patients_of(manifest, described, references)
    check_safe(reference, "an id of a patient", patients.values())
    rows: list[dict[str, Any]] = []
    for done, (case, path) in enumerate(sorted(references.items()), start=1):
        scores = _score_files(path, predictions.get(case), described)
        rows += [{"patient_id": patients[case], "case_id": case} | row for row in scores]
        if progress:
            progress(done, len(references), case)
    return frame([{"bundle": name, "variant": "default", "fold": fold, "seed": seed} | row for row in rows])


def save_scores(scores: pd.DataFrame, out: Path, force: bool = False) -> None:
    """Write a table as CSV, whole or not at all; a file that holds the same already is left alone.

    Raises:
        InputError: if ``out`` holds anything else and ``force`` is False, is a folder, or cannot be written.
    """
    text = as_text(scores)
    if out.is_dir():
        raise InputError(f"{out}: expected the name of a CSV file, found a folder.")
    if out.exists():
        if out.read_bytes() == text.encode():
            return
        if not force:
            raise InputError(f"{out}: expected no such file or the same scores; --force replaces what it holds.")
    write_text(out, text)


def _matched(reference: Path, prediction: Path, manifest: Manifest) -> tuple[dict[str, Path], dict[str, Path]]:
    references, predictions = label_files(reference, manifest.layout.label_names), label_files(prediction)
    if reference.resolve() == prediction.resolve():
        raise InputError(f"{prediction}: expected predictions in a folder of their own, found the reference's folder.")
    unknown = sorted(set(predictions) - set(references))
    if unknown:
        raise InputError(
            f"{predictions[unknown[0]]}: expected a reference of case {unknown[0]} in {reference}, found none "
            f"({len(unknown)} of {len(predictions)} predictions have none)."
        )
    check_unread(prediction, references, predictions)
    return references, predictions


def _score_files(reference: Path, prediction: Path | None, manifest: Manifest) -> list[dict[str, Any]]:
    truth, affine = _read_labels(reference, manifest)
    if prediction is None:
        return score_case(truth, None, spacing_of(affine), manifest.regions, lesions=manifest.lesions)
    guess, guess_affine = _read_labels(prediction, manifest)
    if guess.shape != truth.shape:
        raise InputError(f"{prediction}: expected shape {truth.shape} as {reference} has, found {guess.shape}.")
    apart = float(np.abs(guess_affine - affine).max())
    if apart > AFFINE_TOLERANCE:
        raise InputError(
            f"{prediction}: expected the affine of {reference} to within {AFFINE_TOLERANCE:g}, found entries that "
            f"differ by up to {apart:.4g}."
        )
    return score_case(truth, guess, spacing_of(affine), manifest.regions, lesions=manifest.lesions)


def _read_labels(path: Path, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    voxels, affine = read_volume(path)
    labels = pick_image(voxels, None, path)
    count_labels(path, labels, manifest)
    return labels, affine
