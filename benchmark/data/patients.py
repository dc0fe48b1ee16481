"""Read a user's table of patients, which says whose each case is in the columns ``case_id`` and ``patient_id``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.base.files import read_rows, read_table
from benchmark.base.records import InputError

CASE, PATIENT = "case_id", "patient_id"
"""Columns of a table of patients. Tables with others are read too, as ``columns_of`` finds them."""

Row = Mapping[str, str]


def read_patients(path: Path, known: Collection[str] = ()) -> dict[str, str]:
    """Read the patient of each case, blank ones left out; ``known`` are ids of cases that the table should hold.

    Raises:
        InputError: if it is no such table, or a case has several patients.
    """
    rows = read_rows(path)
    case, patient = columns_of(path, rows, known)
    if patient is None:
        raise _other_columns(path, rows, known)
    found: dict[str, str] = {}
    for one, whose in ((row[case].strip(), row[patient].strip()) for row in rows):
        if whose and found.setdefault(one, whose) != whose:
            raise InputError(f"{path}: expected one patient of case {one}, found several.")
    return found


def columns_of(
    path: Path, rows: Sequence[Row], known: Collection[str], plain: Callable[[str], str] = str
) -> tuple[str, str | None]:
    """Return the columns of cases and of patients, None where no column is of these.

    They are ``case_id``, or the column with most of the ``known`` ids, once ``plain`` has written its texts as these
    are; and ``patient_id``, or the only column that is called, or else is named after, a patient or subject.

    Raises:
        InputError: if no column holds cases.
    """
    counts = {column: sum(plain(row[column].strip()) in known for row in rows) for column in rows[0]}
    case = CASE if counts.get(CASE) or (CASE in counts and not known) else max(counts, key=lambda name: counts[name])
    if (known and not counts[case]) or (not known and case != CASE):
        raise _other_columns(path, rows, known)
    others = [column for column in counts if column != case]
    for pattern in (PATIENT, "(patient|subject)(_?id)?", ".*(patient|subject).*"):
        if len(named := [one for one in others if re.fullmatch(pattern, one, re.IGNORECASE)]) == 1:
            return case, named[0]
    return case, None


def check_patients(path: Path, patients: Mapping[str, str], cases: Iterable[str]) -> list[str]:
    """Say how many cases a table of patients, as ``read_patients`` gives it, lacks.

    Raises:
        InputError: if it has none of them.
    """
    every = set(cases)
    lacking = sorted(every - set(patients))
    if lacking and len(lacking) == len(every):
        raise InputError(f"{path}: expected the patients of cases such as {lacking[0]}, found none of {len(every)}.")
    if not lacking:
        return []
    return [f"{path.name} lacks {len(lacking)} of {len(every)} cases, such as {lacking[0]}: what their ids say holds."]


def copy_patients(path: Path, target: Path, known: Collection[str]) -> None:
    """Copy a table of patients; one with other columns for cases and patients gets the usual names."""
    case, patient = columns_of(path, read_rows(path), known)
    if (case, patient) == (CASE, PATIENT):
        shutil.copyfile(path, target)
        return
    table = read_table(path, "a table of patients", dtype=str, keep_default_na=False)
    for column, name in ((case, CASE), (str(patient), PATIENT)):
        if column != name:
            # A column of that name that holds something else.
            table = table.drop(columns=name, errors="ignore").rename(columns={column: name})
    table.to_csv(target, index=False)


def _other_columns(path: Path, rows: Sequence[Row], known: Collection[str]) -> InputError:
    if known and {CASE, PATIENT} <= {*rows[0]}:
        return InputError(f"{path}: expected the patients of cases such as {min(known)}, found none of {len(known)}.")
    such = f", with cases such as {min(known)}" if known else ""
    return InputError(
        f"{path}: expected the columns {CASE} and {PATIENT}{such} (or a column with the cases' ids and one called "
        f"patient or subject), found {', '.join(rows[0])}."
    )
