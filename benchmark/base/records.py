"""Define the records that rooms hand to each other: cases, runs and the columns of a score table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SCORE_COLUMNS = (
    *("bundle", "variant", "fold", "seed", "patient_id", "case_id"),
    *("region", "metric", "metric_version", "value", "note"),
)
"""Columns of a table of scores in memory, in order, with one row per run, case, region and metric.

Files have one row per region (``score_table``).
"""

SLICE_COLUMNS = ("z", "truth", "probability")
"""Columns of a classifier's prediction of a case, one row per slice: place, 1 where there is tumour, prediction."""


def model_name(bundle: str, variant: str = "default") -> str:
    """Name of a model in every table: the bundle, followed by the variant where that is not the default."""
    return bundle if variant == "default" else f"{bundle}/{variant}"


def number_of(count: int, what: str) -> str:
    """Say how many there are of ``what``, a noun that takes an s: "1 run", "2 runs"."""
    return f"{count} {what}{'s' * (count != 1)}"


def patient_known(source: str, case_id: str, patient_id: str) -> bool:
    """Whether the patient of a case is known.

    The reader of COCO annotations (``source`` "coco") names the patient after the picture where nobody says who.
    """
    return source != "coco" or patient_id != case_id


class InputError(Exception):
    """Something a user gave cannot be used.

    The message is one sentence that names the file or argument, what was expected and what was found.
    The command line prints it and exits with code 2. What cannot be printed in a line, from a name or a value of a
    file, is shown as its escape: a line break as ``\\n``.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence))


def check_safe(place: object, what: str, names: Iterable[str], file: bool = True) -> None:
    """Raise InputError unless names from data can be cells of tables as they are, and with ``file`` names of files.

    A spreadsheet would run a cell that begins with = + - or @ as a formula.
    """
    safe = r"(?![ .=+@-])[^\x00-\x1f\x7f/\\:]{1,200}(?<! )" if file else r"(?![=+@-])[^\x00-\x1f\x7f]*"
    expected = "is no formula in a table" + " and can be the name of a file" * file
    for name in names:
        if not re.fullmatch(safe, name):
            raise InputError(f"{place}: expected {what} that {expected}, found {name!r}.")


def first_cause(error: BaseException) -> BaseException:
    """Return what happened, below what MONAI wraps around it for each expression and component that it was in."""
    while error.__cause__ is not None and str(error).startswith(("Failed to evaluate", "Failed to instantiate")):
        error = error.__cause__
    return error


def sentence(error: BaseException) -> str:
    """Say in one line what happened."""
    cause = first_cause(error)
    text = " ".join(str(cause).split())
    return text if isinstance(cause, InputError) else f"{type(cause).__name__}: {text or 'without a message'}"


@dataclass(frozen=True)
class Case:
    """One imaging session of a patient.

    ``images`` maps modality to a path relative to the data folder; ``label`` is such a path, or None where the
    publisher withholds it. ``sha256`` maps each of those paths to its hash; ``voxels`` maps a label value, as text,
    to its number of voxels. ``shape`` counts voxels and ``spacing`` is in mm, both in the file's own axis order.
    """

    case_id: str
    patient_id: str
    images: dict[str, str]
    label: str | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    voxels: dict[str, int] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - of a case list's file, as ``declared`` reads it


@dataclass(frozen=True)
class OtherTest:
    """Another test of trained networks: on all cases of another set, or on their own test cases, corrupted.

    ``data`` is that set, "" for a ``corruption`` of the own cases at a ``level``. ``name`` is that of its files.
    """

    name: str
    data: str = ""
    corruption: str = ""
    level: float | str = ""


@dataclass(frozen=True)
class Run:
    """One training of one variant of one bundle on one fold with one seed; a list of runs is a sweep.

    A run with ``stages`` trains nothing: it joins other runs of its study, fold and seed, given by their ids: those of
    an ensemble ``by`` "mean", "majority" or "staple", or else a classifier that says in which slices there is tumour
    and the segmenter whose label maps hold there only. What it is ``test_on`` besides its own test cases is no part of
    what it is. A ``trial`` is trained to choose a value on validation patients, and tested on nobody.
    """

    study: str
    bundle: str
    variant: str
    fold: int
    seed: int
    overrides: dict[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    test_on: tuple[OtherTest, ...] = ()
    by: str = ""
    trial: bool = False

    @property
    def model(self) -> str:
        """Name of the model in every table."""
        return model_name(self.bundle, self.variant)

    @property
    def recipe(self) -> str:
        """Name of the bundle whose configs it has: of a run that joins others, that of the last of them."""
        return self.stages[-1].partition("/")[0] if self.stages else self.bundle

    @property
    def id(self) -> str:
        """Readable name, and the path of the run's folder below the study's."""
        return f"{self.bundle}/{self.variant}/fold{self.fold}-seed{self.seed}"
