"""Collect the single lesions of finished runs' test cases, and make the table of a run that has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    volumes = {
        run: by_run[key] for run in done if (key := (run.bundle, run.variant, run.fold, run.seed)) in by_run
        and store.read_record(store.folder(run)).identity["fold"].get("by") != "slice"
    }  # fmt: skip
    _make_missing(
        {run: list(pd.unique(own["case_id"])) for run, own in volumes.items() if not _path(run).exists()}, cases
    )
    tables = [_checked(_path(run), own) for run, own in volumes.items() if _path(run).exists()]
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


def _make_missing(tested: Mapping[Run, Sequence[str]], cases: CaseList) -> None:
    """Make the tables of runs, given with the ids of the cases that they tested."""
    if not tested:
        return
    with reporting("single lesions of") as progress:
        for done, (run, ids) in enumerate(tested.items(), start=1):
            _make(run, _path(run), ids, cases)
            progress(done, len(tested), run.id)


def _make(run: Run, path: Path, ids: Sequence[str], listed: CaseList) -> None:
    """Write the table of a run from its predictions, where these and the prepared cases are here."""
    cases = {case.case_id: stored_case(case, listed) for case in listed.cases if case.case_id in ids}
    predictions = {case: path.parent / "predictions" / f"{case}.nii.gz" for case in ids}
    here = all(case.folder.is_dir() for case in cases.values()) and all(one.exists() for one in predictions.values())
    if len(cases) < len(ids) or not here:
        return
    store.check_predictions(path.parent)

    def lesions(case: Case) -> list[dict[str, Any]]:
        return list(_lesions(run, cases[case.case_id], predictions[case.case_id], listed))

    of_cases = parallel(lesions, [case.case for case in cases.values()], None)
    write_text(path, lesion_table.as_text([row for rows in of_cases for row in rows]))


def _lesions(run: Run, case: PreparedCase, prediction: Path, listed: CaseList) -> Iterator[dict[str, Any]]:
    labels, regions = read_volume(prediction)[0], listed.manifest.regions
    for region, pair in mask_pairs(case.original_label(), labels, case.spacing, regions):
        for row in lesion_table.rows(region, pair):
            yield {**store.whose(run, case.case), **row}
