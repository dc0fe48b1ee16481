"""Collect the single lesions of finished runs' test cases, and make the table of a run that has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base.files import write_text
from benchmark.base.progress import reporting
from benchmark.base.records import Case, InputError, Run
from benchmark.data.manifest import CaseList
from benchmark.data.prepare import PreparedCase, stored_case
from benchmark.data.scan import parallel
from benchmark.data.volumes import read_volume
from benchmark.scoring import lesion_table
from benchmark.scoring.masks import mask_pairs
from benchmark.studies import store


def gather(done: Sequence[Run], scores: pd.DataFrame, cases: CaseList) -> pd.DataFrame:
    """Return ``lesion_table.MEANS`` of finished runs, whose ``scores`` are given as ``store.collect`` returns them.

    A run that was scored by an earlier release has no such table: it is made from the run's predictions and kept in its
    folder, where both and the prepared cases are there; else the run is left out. So are runs that classify, and those
    of a split by slice, which test parts of lesions.

    Raises:
        InputError: if a table has other lesions than the scores count, or predictions are not those that the run made.
    """
    keys = ["bundle", "variant", "fold", "seed"]
    counted = scores.reindex(columns=[*keys, "case_id", "region", "lesion_tp", "lesion_fn"])
    by_run = dict(iter(counted[counted["lesion_tp"].notna()].groupby(keys, sort=False)))
    runs = [
        (run, by_run[key]) for run in done if (key := (run.bundle, run.variant, run.fold, run.seed)) in by_run
        and store.read_record(store.folder(run)).identity["fold"].get("by") != "slice"
    ]  # fmt: skip
    _make_missing([(run, list(pd.unique(own["case_id"]))) for run, own in runs if not _path(run).exists()], cases)
    tables = [_checked(_path(run), own) for run, own in runs if _path(run).exists()]
    return lesion_table.means(pd.concat(tables, ignore_index=True)) if tables else pd.DataFrame()


def _path(run: Run) -> Path:
    return store.folder(run) / lesion_table.NAME


def _checked(path: Path, scores: pd.DataFrame) -> pd.DataFrame:
    table = lesion_table.read(path)
    if wrong := lesion_table.contradicted(table, scores):
        raise InputError(
            f"{path}: expected the lesions that scores.csv counts, found others in {wrong}; remove the file and report "
            "again to make it anew."
        )
    return table


def _make_missing(tested: Sequence[tuple[Run, Sequence[str]]], listed: CaseList) -> None:
    """Make the tables of runs, given with the ids of the cases that they tested, where all that takes is here."""
    possible = [(run, cases) for run, ids in tested if (cases := _cases(run, ids, listed))]
    if not possible:
        return
    with reporting("single lesions of") as progress:
        for done, (run, cases) in enumerate(possible, start=1):
            store.check_predictions(store.folder(run))
            of_cases = parallel(partial(_lesions, run, cases, listed), [case.case for case in cases.values()], None)
            write_text(_path(run), lesion_table.as_text([row for rows in of_cases for row in rows]))
            progress(done, len(possible), run.id)


def _cases(run: Run, ids: Sequence[str], listed: CaseList) -> dict[str, PreparedCase]:
    """The cases that a run tested, in the order of their ids; none where one or its prediction is not here."""
    there = {case.case_id: stored_case(case, listed) for case in listed.cases}
    cases = {name: there[name] for name in ids if name in there}
    here = all(case.folder.is_dir() and _prediction(run, name).exists() for name, case in cases.items())
    return cases if here and len(cases) == len(ids) else {}


def _prediction(run: Run, case: str) -> Path:
    return store.folder(run) / "predictions" / f"{case}.nii.gz"


def _lesions(run: Run, cases: Mapping[str, PreparedCase], listed: CaseList, case: Case) -> list[dict[str, Any]]:
    prepared, labels = cases[case.case_id], read_volume(_prediction(run, case.case_id))[0]
    manifest = listed.manifest
    pairs = mask_pairs(prepared.original_label(), labels, prepared.spacing, manifest.regions, manifest.lesions)
    whose = store.whose(run, case)
    return [{**whose, **row} for region, pair in pairs for row in lesion_table.rows(region, pair)]
