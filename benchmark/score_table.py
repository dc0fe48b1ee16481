"""Score tables as files, a row for a region of a case of a run, to tidy rows of one score each, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.files import write_text
from benchmark.metrics import COUNTS, LESION_COUNTS, METRICS
from benchmark.patients import model_names
from benchmark.records import SCORE_COLUMNS, InputError, model_name

KEYS = ("bundle", "variant", "fold", "seed", "patient_id", "case_id", "region")
"""What a row of a file is of: one region of one case of one run."""

HEAD = (*KEYS, "note")
"""The columns before the numbers."""

_TYPES = {key: int if key in ("fold", "seed") else str for key in HEAD}


def column(metric: str, version: str) -> str:
    """Name of a metric's column: the metric's own for its first version, with the version after a dot from then on."""
    return metric if version == "1" else f"{metric}.{version}"


def metric_of(name: str) -> tuple[str, str]:
    """Metric and version of a column: the inverse of ``column``."""
    metric, _, version = name.partition(".")
    return metric, version or "1"


COLUMNS = (
    *HEAD,
    *COUNTS,
    *LESION_COUNTS,
    *(column(metric.name, metric.version) for metric in METRICS.values()),
)
"""Columns of a whole ``scores.csv``, in order. A blank cell is a metric that does not apply, a distance of slices."""


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Put rows of KEYS and what ``metrics.score_case`` gives into a table with COLUMNS; scores to nine digits."""
    table = pd.DataFrame(rows).rename(columns={name: column(name, m.version) for name, m in METRICS.items()})
    table = table.reindex(columns=list(COLUMNS)).dropna(axis="columns", how="all")
    # What a file holds and what was computed are the same numbers.
    for name in table.columns.difference([*HEAD]):
        table[name] = [float(f"{value:.9g}") for value in table[name]]
    return table


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table as ``frame`` makes it, whole or not at all."""
    write_text(path, as_text(table))


def as_text(table: pd.DataFrame) -> str:
    """Write a table as ``frame`` makes it to CSV."""
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def read(path: Path) -> pd.DataFrame:
    """Read a file of scores as it stands.

    Raises:
        InputError: if the file is missing, has other columns, or holds what is no number in one of a score.
    """
    try:
        table = pd.read_csv(path, dtype=_TYPES, keep_default_na=False, na_values=_blank_numbers(path))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: expected a table of scores.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a table of scores: {error}.") from error
    numbers = table.columns.difference([*HEAD])
    found = [name for name in numbers if metric_of(name)[0] not in (*COUNTS, *LESION_COUNTS, *METRICS)]
    if found or tuple(table.columns[: len(KEYS) + 1]) != HEAD:
        raise InputError(
            f"{path}: expected the columns {', '.join((*KEYS, 'note'))} and columns of metrics, found "
            f"{', '.join(table.columns)}."
        )
    for name in numbers:
        if table[name].dtype == object or not pd.api.types.is_numeric_dtype(table[name]):
            wrong = table[name][pd.to_numeric(table[name], errors="coerce").isna()].iloc[0]
            raise InputError(f"{path}: expected numbers in the column {name}, found {wrong!r}.")
    return table.astype(dict.fromkeys(numbers, float))


def _blank_numbers(path: Path) -> dict[str, list[str]]:
    """Only a blank number is absent; the texts that pandas takes for absent are ids like any other."""
    header = pd.read_csv(path, nrows=0).columns
    return {name: [""] for name in header if name not in _TYPES}


def tidy(table: pd.DataFrame, source: str = "the score table") -> pd.DataFrame:
    """Turn each score of a table into a row with SCORE_COLUMNS and ``model``, a region's scores one after the other.

    COUNTS are rows too, of version "1"; LESION_COUNTS stay in the file. A row's note is that of its case and region:
    which of the two masks was empty or full, or that the prediction was missing; METRICS says what follows for a
    metric.

    Raises:
        InputError: if a score is infinite, a row is there twice, or a metric has two versions.
    """
    _check(table, source)
    names = [name for name in table.columns if name not in (*HEAD, *LESION_COUNTS)]
    split = [metric_of(name) for name in names]
    values = table[names].to_numpy(dtype=float)
    there = ~np.isnan(values).ravel()
    keys = table[[*HEAD]].assign(model=model_names(table))
    long = {key: np.repeat(keys[key].to_numpy(), len(names))[there] for key in keys}
    long["metric"] = np.tile(np.array([metric for metric, _ in split], dtype=object), len(table))[there]
    versions = np.array([version for _, version in split], dtype=object)
    long["metric_version"] = np.tile(versions, len(table))[there]
    long["value"] = values.ravel()[there]
    return pd.DataFrame(long, columns=[*SCORE_COLUMNS, "model"])


def read_tidy(path: Path) -> pd.DataFrame:
    """Read a file of scores as rows with SCORE_COLUMNS and ``model``.

    Raises:
        InputError: as ``read`` and ``tidy``.
    """
    return tidy(read(path), str(path))


def _check(table: pd.DataFrame, source: str) -> None:
    metrics = [name for name in table.columns if name not in HEAD]
    wrong = np.isinf(table[metrics].to_numpy(dtype=float))
    if wrong.any():
        row, column_ = np.argwhere(wrong)[0]
        raise InputError(
            f"{source} has {int(wrong.sum())} infinite scores: expected numbers, found one in {metrics[column_]} of "
            f"{_place(table.iloc[row])}."
        )
    twice = table.duplicated([key for key in KEYS if key != "patient_id"])
    if twice.any():
        raise InputError(
            f"{source} has {int(twice.sum())} rows twice: expected one per run, case and region, found "
            f"{_place(table[twice].iloc[0])} again."
        )
    by_metric: dict[str, list[str]] = {}
    for name in metrics:
        by_metric.setdefault(metric_of(name)[0], []).append(name)
    for metric, columns in by_metric.items():
        if len(columns) > 1 and sum(table[name].notna().any() for name in columns) > 1:
            found = " and ".join(metric_of(name)[1] for name in columns)
            raise InputError(f"{source} mixes versions of {metric}: expected one, found {found}; score anew.")


def _place(row: pd.Series) -> str:
    return f"{row['region']} in case {row['case_id']} of {model_name(row['bundle'], row['variant'])}"
