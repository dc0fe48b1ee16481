"""Hold an explanation: cases and patients behind a mean, parts behind any other number, runs and printed cells."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Row = dict[Any, Any] | None
"""A row of a table by its columns; None where the table has none."""


class Printed(NamedTuple):
    """A place of the report, what it prints there of the number, and the page: ``report.md`` or ``appendix.md``."""

    where: str
    text: str
    page: str


@dataclass(frozen=True)
class RunUsed:
    """A run of the model: how many cases of the cell it scored, where it came from, and whether its folder is here.

    ``state`` is "here", "not here", or says in which way the folder here is not the run that the scores came from.
    """

    id: str
    fold: int
    seed: int
    cases: int
    commit: str
    fingerprint: str
    started: str
    state: str
    folder: str


@dataclass(frozen=True)
class CaseValue:
    """A case: its value by seed, their mean, the folds that tested it, and the notes of rules that decided a value."""

    case_id: str
    value: float
    seeds: dict[int, float]
    folds: list[int]
    note: str
    predictions: list[str]


@dataclass(frozen=True)
class PatientValue:
    """A patient: the mean of the cases' values, and "below" or "above" where that is beyond a fence."""

    patient_id: str
    value: float
    outlier: str
    cases: list[CaseValue]


@dataclass(frozen=True)
class Power:
    """How many patients true differences of a pair in one region would need.

    ``rows`` have a target and the patients to show it: of these networks by the SD of their differences, alone and in
    the worst case of Holm's correction, and of the methods by ``variances`` (of patients, seeds and both) with a number
    of seeds; infinite where no number is enough. ``printed`` has the medians over pairs and regions.
    """

    sd_difference: float
    variances: dict[str, float]
    rows: list[dict[Any, float]]
    printed: list[Printed]


@dataclass(frozen=True)
class Paired:
    """Two models patient by patient, as A less B.

    ``row`` is the pair's row of ``comparisons.csv``, ``methods`` that of ``methods.csv`` and ``sensitivity`` that of
    ``sensitivity.csv``, None where there is none.
    ``patients`` are sorted by difference; each has ``without``, the mean difference without that patient, and
    ``change``, how far that is from the mean. ``driving`` are those of the largest change; leaving out one of
    ``deciding`` changes the sign of the mean.
    """

    model_a: str
    model_b: str
    difference: float
    ci_low: float
    ci_high: float
    row: Row
    patients: list[dict[Any, Any]]
    driving: list[str]
    deciding: list[str]
    methods: Row = None
    power: Power | None = None
    sensitivity: Row = None


@dataclass(frozen=True)
class Number:
    """A number of a model: what it is of, where it is from, and where the report prints it.

    ``title`` names it in words, ``unit`` is as of a metric, ``source`` is the file of its rows, ``beside`` are models
    that the report sets beside it and ``warnings`` say what does not fit together.
    """

    study: str
    model: str
    metric: str
    region: str | None
    source: str
    printed: list[Printed]
    beside: list[str]
    runs: list[RunUsed]
    warnings: list[str]
    title: str
    unit: str

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, with None for a number that is not finite."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


@dataclass(frozen=True)
class Explanation(Number):
    """A mean over patients of the scores of cases, and all that it was made from.

    ``summary`` is its row of ``stats.summarise`` and ``by_seed`` the mean of each seed. ``fences`` are the low and the
    high one; ``patients`` begin with the worst; ``worst`` are ids of cases. ``left_out`` says who is not in the
    comparison.
    """

    version: str
    summary: dict[Any, Any]
    by_seed: dict[int, float]
    patients: list[PatientValue]
    outlier_rule: str
    fences: tuple[float, float]
    worst: list[str]
    left_out: list[str]
    patients_left_out: list[str]
    paired: Paired | None

    @property
    def cases(self) -> list[CaseValue]:
        """All cases, in the patients' order."""
        return [case for patient in self.patients for case in patient.cases]


@dataclass(frozen=True)
class Computed:
    """A value, how it follows from the parts, and its 95% interval where it has one."""

    name: str
    formula: str
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Derived(Number):
    """A number that follows from others than the scores of one region: from counts, ranks, regions or trainings.

    ``parts`` are rows of names to values, ``how`` says what a row is and what is done with them.
    """

    parts: list[dict[Any, Any]]
    how: str
    results: list[Computed]
    paired: Paired | None = None


def _plain(value: Any) -> Any:
    """Numbers of numpy to Python's, and what is not finite to None, all the way down."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
