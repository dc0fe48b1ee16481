"""Score folders of label maps that any tool made, as a table like a run's own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmark.base.files import write_text
from benchmark.base.progress import Progress
from benchmark.base.records import InputError, check_safe
from benchmark.data.conventions import Labels, mapped, parse_labels
from benchmark.data.label_maps import check_unread, count_labels, label_files
from benchmark.data.manifest import Manifest, find_manifest, scanned_patients
from benchmark.data.patients import check_patients, read_patients
from benchmark.data.scan import AFFINE_TOLERANCE
from benchmark.data.volumes import pick_image, read_volume, spacing_of
from benchmark.scoring.metrics import score_case
from benchmark.scoring.score_table import as_text, frame
from benchmark.scoring.swapped import CASES, LEAST, Mistaken, Overlap, mistaken, overlap

Missing = Literal["refuse", "worst", "leave out"]
"""What becomes of a reference without a prediction."""

LOOKED_AT = 4 * CASES
"""Cases that are read at most to find some with all labels."""


def score_folder(
    reference: Path,
    prediction: Path,
    manifest: str | Manifest,
    name: str,
    fold: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    labels: str = "",
    missing: Missing = "refuse",
    patients: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    option: str = "--labels ",
) -> pd.DataFrame:
    """Score every reference in a folder against the prediction of the same case id.

    Each folder holds ``<case>.nii.gz`` or ``<case>_seg.nii.gz`` (``-seg``, .nii, .mha and .nrrd too), or case folders
    with such a file, ``<case>/<case>_seg.nii.gz``, at any depth, or a folder ``labelsTr`` of such files. ``manifest``
    names the data set whose regions, labels and patient pattern apply; ``name`` is the model's; ``fold`` and ``seed``
    are written into every row. ``labels`` maps the predictions' values (``conventions.parse_labels``); messages name it
    by ``option``. ``patients`` maps cases to patients; other cases have the patient that a scan of the set found, or
    that the pattern finds in their id, or are their own. ``only`` are the cases to score, by default all.

    Returns:
        A table as ``score_table.frame`` makes it, with bundle = name and variant = "default", sorted by case id. With
        ``missing`` "worst" a reference without a prediction has its rows too, with the worst values and the note
        "missing prediction". ``attrs["odd"]`` has sentences on what looks wrong.

    Raises:
        InputError: for an unsafe name, a folder that is missing or has no label map, two files of one case id, a
            prediction without a reference, a reference without a prediction unless ``missing`` allows it, an
            unreadable file, labels outside the manifest, and predictions whose shape or affine (beyond
            AFFINE_TOLERANCE) is not the reference's.
    """
    check_model(name)
    described = manifest if isinstance(manifest, Manifest) else find_manifest(manifest)
    references, predictions = _matched(reference, prediction, described)
    if only is not None:
        references = {case: path for case, path in references.items() if case in only}
    references, said = _present(references, predictions, prediction, missing)
    mapping = parse_labels(labels, described)
    said += _odd_values({case: (references[case], predictions[case]) for case in references if case in predictions},
                        described, mapping, option)  # fmt: skip
    check_safe(reference, "an id of a case", references)
    scanned = scanned_patients(manifest) if isinstance(manifest, str) else {}
    people, unknown = patients_of(references, described, {**scanned, **(patients or {})})
    rows = _score_each(references, predictions, described, mapping, progress)
    run = {"bundle": name, "variant": "default", "fold": fold, "seed": seed}
    table = frame([{**run, "patient_id": people[row["case_id"]], **row} for row in rows])
    table.attrs["odd"] = [*said, *_empty(table)]
    table.attrs["people"] = unknown
    return table


class OtherGrid(InputError):
    """A prediction has another shape or affine than its reference."""


def check_model(name: str) -> None:
    """Raise InputError unless a text can be the name of a model in tables and of a file."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9 ._+-]*[A-Za-z0-9._+-])?", name):
        raise InputError(
            f"--name: expected letters, digits, spaces and . _ + -, beginning with a letter or digit, found {name!r}."
        )


def patients_of(
    cases: Iterable[str], manifest: Manifest, given: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Return the patient of each case, and sentences on those whose patient is not known: each is its own.

    It is the one that is given, or that the id says by the manifest's pattern.

    Raises:
        InputError: for a patient's id that cannot be a name.
    """
    people, unknown, pattern = dict[str, str](), list[str](), re.compile(manifest.patient_pattern)
    for case in sorted(cases):
        if given is not None and case in given:
            people[case] = given[case]
        elif match := pattern.fullmatch(case):
            people[case] = match["patient"]
        else:
            people[case] = case
            unknown.append(case)
    check_safe("--patients", "an id of a patient", people.values())
    if not unknown:
        return people, []
    return people, [
        f"{len(unknown)} of {len(people)} case ids, such as {unknown[0]}, do not say whose they are in the way of "
        f"{manifest.name}: each counts as a patient of its own; where a patient has several cases, give a table by "
        "--patients."
    ]


def patients_for(table: Path | None, reference: Path | None, manifest: Manifest) -> dict[str, str]:
    """Read a table of patients for the references in a folder, where both are given; nothing without a table.

    Raises:
        InputError: if it is no such table, or has the patient of no reference.
    """
    if table is None:
        return {}
    cases = label_files(reference, manifest.layout.label_names) if reference else {}
    found = read_patients(table, cases)
    check_patients(table, found, cases)
    return found


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
        other = f", but {min(references)} and others" if len(unknown) == len(predictions) else ""
        raise InputError(
            f"{predictions[unknown[0]]}: expected a reference of case {unknown[0]} in {reference}, found none{other} "
            f"({len(unknown)} of {len(predictions)} predictions have none)."
        )
    check_unread(prediction, references, predictions)
    return references, predictions


def _present(
    references: Mapping[str, Path], predictions: Mapping[str, Path], folder: Path, missing: Missing
) -> tuple[dict[str, Path], list[str]]:
    """Return the references to score, and what to say of those without a prediction."""
    lost = sorted(set(references) - set(predictions))
    if not lost:
        return dict(references), []
    said = f"{len(lost)} of {len(references)} have no prediction"
    few = f"{', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}"
    if missing == "refuse":
        raise InputError(
            f"{folder}: expected a prediction of each reference, found that {said} ({few}); --missing worst gives them "
            "the worst scores, --only-predicted leaves them out."
        )
    if missing == "worst":
        return dict(references), [f"{said} and get the worst scores: {few}."]
    kept = {case: path for case, path in references.items() if case in predictions}
    return kept, [f"{said} and are left out: {few}."]


def _odd_values(pairs: Mapping[str, tuple[Path, Path]], manifest: Manifest, mapping: Labels, option: str) -> list[str]:
    """Look at a few cases for values that mean another label; InputError where the manifest does not name them."""
    found, every = list[Overlap](), {int(label) for label in manifest.labels} - {0}
    for _, (reference, prediction) in sorted(pairs.items())[:LOOKED_AT]:
        truth, _ = _read_labels(reference, manifest, {})
        guess = mapped(pick_image(read_volume(prediction)[0], None, prediction), mapping)
        if not np.array_equal(guess, np.round(guess)) or guess.shape != truth.shape:
            continue  # what is wrong with it is said when it is scored
        one = overlap(truth, guess)
        if not {*one.values} <= every:
            _refuse_values(prediction, guess, mistaken([*found, one], manifest), manifest, option)
        if every <= {*one.labels}:
            found.append(one)
        if len(found) == CASES:
            break
    odd = mistaken(found, manifest) if found else None
    if odd is None:
        return []
    values = " and ".join(map(str, sorted(odd.mapping)))
    return [
        f"The label values {values} seem to stand for others: over {len(found)} cases their mean Dice is "
        f"{odd.as_it_is:.3f} as they are and {odd.mapped:.3f} with {option}{odd.option(manifest)}."
    ]


def _refuse_values(path: Path, labels: np.ndarray, odd: Mistaken | None, manifest: Manifest, option: str) -> None:
    try:
        count_labels(path, labels, manifest)
    except InputError as error:
        if odd is None or odd.mapped < LEAST:
            raise
        raise InputError(
            f"{str(error).removesuffix('.')}; give {option}{odd.option(manifest)}, with which the mean Dice of these "
            f"values is {odd.mapped:.3f}."
        ) from error


def _empty(table: pd.DataFrame) -> list[str]:
    """Say in how many cases one of the two masks is empty, by region."""
    cases, found = table["case_id"].nunique(), []
    for note, what in (
        ("prediction empty", "Nothing is predicted where there is something"),
        ("reference empty", "Something is predicted where there is nothing"),
    ):
        counts = table[table["note"] == note].groupby("region", sort=False).size()
        if len(counts):
            shown = ", ".join(f"{region} in {count}" for region, count in counts.items())
            found.append(f"{what}: {shown} of {cases} cases.")
    return found


def _score_each(
    references: Mapping[str, Path],
    predictions: Mapping[str, Path],
    manifest: Manifest,
    mapping: Labels,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """Score each reference; InputError, once all were read, where predictions are on another grid."""
    rows, elsewhere = list[dict[str, Any]](), list[str]()
    for done, (case, path) in enumerate(sorted(references.items()), start=1):
        try:
            scores = _score_files(path, predictions.get(case), manifest, mapping)
        except OtherGrid as error:
            elsewhere.append(str(error))
            continue
        rows += [{"case_id": case, **row} for row in scores]
        if progress:
            progress(done, len(references), case)
    if elsewhere:
        count = f" ({len(elsewhere)} of {len(predictions)} predictions are on another grid)" * (len(elsewhere) > 1)
        raise InputError(elsewhere[0].removesuffix(".") + f"{count}.")
    return rows


def _score_files(reference: Path, prediction: Path | None, manifest: Manifest, mapping: Labels) -> list[dict[str, Any]]:
    truth, affine = _read_labels(reference, manifest, {})
    if prediction is None:
        return score_case(truth, None, spacing_of(affine), manifest.regions, lesions=manifest.lesions)
    guess, guess_affine = _read_labels(prediction, manifest, mapping)
    if guess.shape != truth.shape:
        raise OtherGrid(f"{prediction}: expected shape {truth.shape} as {reference} has, found {guess.shape}.")
    apart = float(np.abs(guess_affine - affine).max())
    if apart > AFFINE_TOLERANCE:
        raise OtherGrid(
            f"{prediction}: expected the affine of {reference} to within {AFFINE_TOLERANCE:g}, found entries that "
            f"differ by up to {apart:.4g}."
        )
    return score_case(truth, guess, spacing_of(affine), manifest.regions, lesions=manifest.lesions)


def _read_labels(path: Path, manifest: Manifest, mapping: Labels) -> tuple[np.ndarray, np.ndarray]:
    voxels, affine = read_volume(path)
    labels = mapped(pick_image(voxels, None, path), mapping)
    count_labels(path, labels, manifest)
    return labels, affine
