"""Read and write score tables: files have one row per run, case and region, tidy tables one row per score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.files import read_table, write_text
from benchmark.base.records import SCORE_COLUMNS, InputError, check_safe, model_name
from benchmark.scoring.metrics import COUNTS, EVERY, LESION_COUNTS, METRICS, ON_REQUEST

KEYS = ("bundle", "variant", "fold", "seed", "patient_id", "case_id", "region")
"""What identifies a row of a file: one region of one case of one run."""

HEAD = (*KEYS, "note")
"""The columns before the numbers."""

SCHEMA, VERSION = "schema", 1
"""The last column of a file and what it holds, the version of this layout; a file without it is of version 1."""

TYPES: dict[str, Any] = {key: int if key in ("fold", "seed") else str for key in HEAD}
"""Types of the columns before the numbers, as pandas is to read them."""


def column(metric: str, version: str) -> str:
    """Return the name of a metric's column: the metric's name, followed by a dot and the version from 2 on."""
    return metric if version == "1" else f"{metric}.{version}"


def metric_of(name: str) -> tuple[str, str]:
    """Return metric and version of a column: the inverse of ``column``."""
    metric, _, version = name.partition(".")
    return metric, version or "1"


COLUMNS = (*HEAD, *COUNTS, *LESION_COUNTS, *(column(metric.name, metric.version) for metric in METRICS.values()))
"""Columns of a whole ``scores.csv``, in order; those that a study asks for come after them.

Blank where a metric does not apply, as distances of slices.
"""


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make a table with COLUMNS from rows of KEYS and of ``metrics.score_case``; scores have nine digits."""
    columns = {name: column(name, metric.version) for name, metric in EVERY.items()}
    table = pd.DataFrame(rows).rename(columns=columns)
    table = table.reindex(columns=[*COLUMNS, *(columns[name] for name in ON_REQUEST)]).dropna(axis="columns", how="all")
    # What a file holds and what was computed are the same numbers.
    for name in table.columns.difference([*HEAD]):
        table[name] = [float(f"{value:.9g}") for value in table[name]]
    return table


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table as ``frame`` makes it, whole or not at all."""
    write_text(path, as_text(table))


def as_text(table: pd.DataFrame) -> str:
    """Write a table as ``frame`` makes it to CSV."""
    return table.assign(**{SCHEMA: VERSION}).to_csv(index=False, float_format="%.9g", lineterminator="\n")


def model_names(table: pd.DataFrame) -> pd.Series:
    """Return the name of each row's model, as ``records.model_name`` gives it."""
    bundle, variant = table["bundle"].astype(str), table["variant"].astype(str)
    return bundle.where(variant == "default", bundle + "/" + variant)


def read(path: Path) -> pd.DataFrame:
    """Read a file of scores as it stands.

    Raises:
        InputError: if the file is missing, is of another version, has other columns or no rows, or holds what cannot
            be: no number in one of a score or none in a row, a name that is blank or ``check_safe`` refuses, a case of
            two patients, a row twice, a score beyond its metric's range, a metric in two versions.
    """
    what = "a table of scores"
    # The version before the columns, as another may have others.
    first = read_table(path, what, nrows=1, dtype=str)
    check_version(first, path)
    names = [str(name) for name in first if name != SCHEMA]
    numbers = [name for name in names if name not in HEAD]
    if (
        not {metric_of(name)[0] for name in numbers} <= {*COUNTS, *LESION_COUNTS, *EVERY}
        or tuple(names[: len(HEAD)]) != HEAD
    ):
        raise InputError(
            f"{path}: expected the columns {', '.join(HEAD)} and columns of metrics, found {', '.join(names)}."
        )
    # Only a blank number is absent; the texts that pandas takes for absent are ids like any other.
    blank = {name: [""] for name in numbers}
    table = read_table(path, what, numbers=numbers, dtype=TYPES, keep_default_na=False, na_values=blank)
    if table.empty:
        raise InputError(f"{path} has no rows: expected one per run, case and region, found none.")
    check_version(table, path)
    table = table.drop(columns=SCHEMA, errors="ignore").astype(dict.fromkeys(numbers, float))
    _check_keys(table, path)
    _check_numbers(table, numbers, path)
    return table


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Turn each score of a table into a row with SCORE_COLUMNS and ``model``, one region after the other.

    COUNTS are rows too, of version "1"; LESION_COUNTS stay in the file. A row's note is that of its case and region:
    which of the two masks was empty or full, or that the prediction was missing; METRICS says what follows for a
    metric.
    """
    names = [name for name in table.columns if name not in (*HEAD, *LESION_COUNTS)]
    values = table[names].to_numpy(dtype=float).ravel()
    there = ~np.isnan(values)
    keys = table[[*HEAD]].assign(model=model_names(table))
    long = {key: np.repeat(keys[key].to_numpy(), len(names))[there] for key in keys}
    for key, own in zip(("metric", "metric_version"), zip(*map(metric_of, names), strict=True), strict=True):
        long[key] = np.tile(np.array(own, dtype=object), len(table))[there]
    return pd.DataFrame(long | {"value": values[there]}, columns=[*SCORE_COLUMNS, "model"])


def read_tidy(path: Path) -> pd.DataFrame:
    """Read a file of scores as rows with SCORE_COLUMNS and ``model``, one row per score.

    >>> from pathlib import Path
    >>> import benchmark
    >>> scores = benchmark.read_scores(Path("reports/quickstart/scores.csv"))
    >>> scores.loc[0, ["model", "case_id", "region", "metric"]].tolist()
    ['unet', 'Phantom_002_1', 'WT', 'tp']

    Raises:
        InputError: as ``read``.
    """
    return tidy(read(path))


def contradicted(table: pd.DataFrame) -> list[str]:
    """Say in how many rows the Dice is not that of the row's counts, and in which first: one of the two was changed."""
    if "dice" not in table or not {"tp", "fp", "fn"} <= {*table.columns}:
        return []
    size = 2 * table["tp"] + table["fp"] + table["fn"]
    # Empty masks have no Dice by counts. Scores are written with nine digits.
    counted = 2 * table["tp"] / size.where(size > 0)
    wrong = table[(table["dice"] - counted).abs() > 1e-6]
    if wrong.empty:
        return []
    row = wrong.iloc[0]
    return [
        f"CONTRADICTED: {len(wrong)} of {len(table)} rows of scores have another Dice than their counts give, such as "
        f"{row['dice']:.6g} instead of {counted[wrong.index[0]]:.6g} in {_place(row)}: someone changed one of the two."
    ]


def check_version(table: pd.DataFrame, path: Path) -> None:
    """Raise InputError where the column SCHEMA, if there is one, says another version than this release reads."""
    found = [version for version in table.get(SCHEMA, []) if str(version) != str(VERSION)]
    if found:
        raise InputError(f"{path}: {SCHEMA}: expected {VERSION}, as this release reads it, found {found[0]}.")


def check_people(table: pd.DataFrame, path: Path) -> None:
    """Raise InputError, naming ``path``, where a table has a case of two patients."""
    people = table[["case_id", "patient_id"]].drop_duplicates()
    several = people[people["case_id"].duplicated(keep=False)]
    if len(several):
        case = several["case_id"].iloc[0]
        found = " and ".join(several.loc[several["case_id"] == case, "patient_id"])
        raise InputError(f"{path}: expected one patient of case {case}, found {found}.")


def check_references(tables: Mapping[Path, pd.DataFrame]) -> None:
    """Refuse scores that were computed against other references, in which a region of a case has another size.

    Raises:
        InputError: naming the two files and the first such case.
    """
    sizes: dict[tuple[str, str], tuple[float, Path]] = {}
    for one, table in tables.items():
        counts = table.reindex(columns=["case_id", "region", "tp", "fn"]).dropna()
        for case, region, tp, fn in counts.itertuples(index=False, name=None):
            size, path = sizes.setdefault((case, region), (tp + fn, one))
            if size != tp + fn:
                raise InputError(
                    f"{one}: expected scores against the references of {path}, where {region} of case {case} has "
                    f"{size:.0f} voxels, found {tp + fn:.0f}."
                )


def _check_keys(table: pd.DataFrame, path: Path) -> None:
    for key in ("bundle", "variant", "patient_id", "case_id", "region"):
        blank = [name for name in pd.unique(table[key]) if pd.isna(name) or not name.strip()]
        if blank:
            first = table[table[key].isin(blank)].iloc[0]
            raise InputError(f"{path}: expected a {key} in every row, found none in {_place(first)}.")
    for key in (key for key in HEAD if TYPES[key] is str):
        check_safe(path, f"a {key}", pd.unique(table[key]), file=key in ("bundle", "variant"))
    check_people(table, path)
    twice = table[table.duplicated([key for key in KEYS if key != "patient_id"])]
    if len(twice):
        raise InputError(
            f"{path} has {len(twice)} rows twice: expected one per run, case and region, found "
            f"{_place(twice.iloc[0])} again."
        )


def _check_numbers(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    blank = table[list(names)].isna().all(axis="columns")
    if blank.any():
        raise InputError(f"{path}: expected a score in every row, found none in {_place(table[blank].iloc[0])}.")
    versions: dict[str, list[str]] = {}
    for name in names:
        metric, version = metric_of(name)
        values = table[name].to_numpy()
        if not np.isnan(values).all():
            versions.setdefault(metric, []).append(version)
        possible, expected = _range(metric, values)
        wrong = ~(possible | np.isnan(values))
        if wrong.any():
            row = np.argmax(wrong)
            raise InputError(
                f"{path}: expected {name} to be {expected}, found {values[row]:.12g} in {_place(table.iloc[row])}"
                f"{f' and {wrong.sum() - 1} more rows' if wrong.sum() > 1 else ''}."
            )
    for metric, found in versions.items():
        if len(found) > 1:
            raise InputError(
                f"{path} mixes versions of {metric}: expected one, found {' and '.join(found)}; score anew."
            )


def _range(metric: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return which values a count or metric may have, and say so in words; metrics without a unit are shares."""
    finite = (values >= 0) & (values < np.inf)
    if metric not in EVERY:
        return finite & (np.floor(values) == values), "a whole number from 0 up"
    if EVERY[metric].unit:
        return finite, "a finite number from 0 up"
    return finite & (values <= 1), "from 0 to 1"


def _place(row: pd.Series) -> str:
    run = f"{model_name(row['bundle'], row['variant'])}, fold {row['fold']}, seed {row['seed']}"
    return f"{row['region']} of case {row['case_id']} ({run})"
