"""Read what is known of a set's patients beside their scans: from their ids, and from a table of them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from benchmark.base import project
from benchmark.base.files import read_table
from benchmark.base.records import InputError
from benchmark.data.manifest import CaseList
from benchmark.data.patients import CASE, PATIENT


def characteristics(listed: CaseList, table_of: Path | None = None) -> pd.DataFrame:
    """Return a row per patient of a set, by id, and a column per characteristic; without columns if nothing is known.

    They are the named groups of the manifest's ``patient_pattern``, such as the centre, of a patient's first case; and
    the columns of ``data_manifests/<name>.patients.csv``, or of the source's, beside ``patient_id``. A patient that the
    table lacks has NaN. ``attrs`` has the name of that ``table``, its ``columns``, and how many patients it is
    ``lacking``. ``table_of`` is the path of another table of patients, to be read instead if it exists; its column
    ``case_id`` is left out.

    Raises:
        InputError: if that file is no table with one row per patient, or knows no patient of the set.
    """
    found: dict[str, dict[str, str]] = {patient: {} for patient in listed.patients}
    for case in reversed(listed.cases):
        match = re.fullmatch(listed.manifest.patient_pattern, case.case_id)
        said = match.groupdict() if match else {}
        found[case.patient_id] |= {key: text for key, text in said.items() if key != "patient" and text}
    table = pd.DataFrame.from_dict(found, orient="index")
    path = table_of or patients_table(listed.name, listed.manifest.name)
    if path is None or not path.exists():
        return table
    rows = read_table(path, "a table of patients", [PATIENT], dtype={PATIENT: str})
    if table_of:
        rows = rows.drop(columns=CASE, errors="ignore").drop_duplicates()
    rows = rows.set_index(PATIENT)
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()][0]
        raise InputError(f"{path}: expected one row per {PATIENT}, found {twice} twice.")
    if not rows.index.isin(table.index).any():
        known = f"expected patients of {listed.name}, such as {listed.patients[0]}"
        raise InputError(f"{path}: {known}, found {len(rows)} others.")
    found_in = table.drop(columns=rows.columns, errors="ignore").join(rows)
    lacking = int((~table.index.isin(rows.index)).sum())
    found_in.attrs = {"table": path.name, "columns": list(rows.columns), "lacking": lacking}
    return found_in


def patients_table(*names: str) -> Path | None:
    """Return the first table of patients that there is of these: a set's name, and its source's; None without any."""
    paths = (project.manifests() / f"{name}.patients.csv" for name in names)
    return next((path for path in paths if path.exists()), None)
