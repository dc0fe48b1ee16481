"""Join what a report has of runs whose folders are gone with what is gathered of the runs that are here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base import project
from benchmark.base.declared import short
from benchmark.base.files import read_json, read_table, write_json, write_text
from benchmark.base.records import InputError, Run, model_name
from benchmark.data.folds import folds_path
from benchmark.data.manifest import cases_path
from benchmark.data.volumes import sha256_file
from benchmark.results.results import GATHERED
from benchmark.scoring import lesion_table
from benchmark.scoring.score_table import model_names
from benchmark.studies import ensemble, provenance, store
from benchmark.studies.study import Study

BY_CASE = (lesion_table.NAME, "ensembles.csv", "disagreement.csv")
"""Tables with one row per case of a model, over all runs that tested it."""


def check(study: Study, done: Sequence[Run], lost: Collection[str]) -> None:
    """Refuse to join runs of a report, by their ids ``lost``, that are not what the study declares now.

    Raises:
        InputError: if their settings, cases or folds differ, if a table is not the one that the report was made from,
            or if a case was tested by runs of one model on both sides, whose tables of single lesions cannot be joined.
    """
    _check_files(study)
    path, declared = study.folder / "provenance.json", {run.id: run for run in study.runs()}
    found = provenance.read(study.folder)
    folds = {split: sha256_file(folds_path(study.data, split)) for split in found.folds_sha256}
    if (found.cases_sha256, found.folds_sha256) != (sha256_file(cases_path(study.data)), folds):
        raise InputError(f"{path}: expected runs on the cases and folds of {study.data} as they are now, found others.")
    for id_ in lost:
        then, now = found.runs[id_].overrides, declared[id_].overrides
        for key in [key for key in {**then, **now} if then.get(key) != now.get(key)]:
            raise InputError(
                f"{path}: run {id_}: expected {key} {short(now.get(key))} as the study has it, found "
                f"{short(then.get(key))}: it cannot stand beside the runs that are here."
            )
    there = _read(study.folder / "scores.csv")
    kept = there[_runs_of(there).isin(list(lost))]
    tested = set(zip(model_names(kept), kept["case_id"], strict=True))
    for run in done:
        for case in store.scores(run)["case_id"]:
            if (run.model, case) in tested:
                raise InputError(
                    f"{study.folder / 'scores.csv'}: expected runs of {run.model} on other cases than those that are "
                    f"here, found {case} on both sides: single lesions and ensembles are over all runs of a case."
                )


def join(study: Study, lost: Collection[str], whole: Path) -> None:
    """Add what the study's folder has of the runs ``lost`` to the gathered tables in ``whole``."""
    models = {model_name(*id_.split("/")[:2]) for id_ in lost}
    models |= {ensemble.name_of(run) for run in study.runs() if run.model in models}
    scores = [path.name for path in study.folder.glob("scores.*.csv")]
    for name in (*GATHERED, *scores):
        old, new = study.folder / name, whole / name
        if name == "provenance.json" or not old.exists() or not old.stat().st_size:
            continue
        table = _read(old)
        mine = _runs_of(table).isin(list(lost)) if _by_run(name) else model_names(table).isin(models)
        parts = [table[mine], *([_read(new)] if new.exists() and new.stat().st_size else [])]
        joined = pd.concat(parts, ignore_index=True).fillna("")
        if name == "reliability.csv":
            joined = _pooled(joined)
        text = _in_order(study, joined, name).to_csv(index=False, lineterminator="\n")
        write_text(new, text if len(joined) else "")
    _join_provenance(study, lost, whole / "provenance.json")


def _check_files(study: Study) -> None:
    """Refuse tables that are not those that the report was made from."""
    made = read_json(study.folder / "report.json", "what a report is made from")["made_from"]
    for name in GATHERED:
        path = study.folder / name
        wanted = made.get(path.relative_to(project.reports()).as_posix())
        if wanted and (not path.exists() or sha256_file(path) != wanted):
            raise InputError(
                f"{path} is not the table that the report was made from: expected it unchanged, to add runs to it; "
                f"`benchmark report {study.argument}` makes the report of it as it is, without runs."
            )


def _by_run(name: str) -> bool:
    return name in ("histories.csv", "calibration.csv") or name.startswith("scores.")


def _read(path: Path) -> pd.DataFrame:
    # As text, so that no digit changes.
    return read_table(path, "a table of a study", dtype=str, keep_default_na=False)


def _runs_of(table: pd.DataFrame) -> pd.Series:
    """Id of each row's run."""
    if "run" in table:
        return table["run"]
    return table["bundle"] + "/" + table["variant"] + "/fold" + table["fold"] + "-seed" + table["seed"]


def _in_order(study: Study, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows in the order of the declared runs or models, and as they were within each."""
    runs = study.runs()
    if _by_run(name):
        places = {run.id: place for place, run in enumerate(runs)}
        own = _runs_of(table)
    else:
        places = {each: place for place, run in enumerate(runs) for each in (run.model, ensemble.name_of(run))}
        own = model_names(table)
    return table.iloc[own.map(places).argsort(kind="stable")]


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Join curves of one model by the voxels of each bin."""
    keys = ["bundle", "variant", "region", "bin"]
    counted = table.astype({"n": int, "probability": float, "share": float})
    twice = counted[counted.duplicated(keys, keep=False)]
    if twice.empty:
        return table
    sums = twice.assign(**{name: twice[name] * twice["n"] for name in ("probability", "share")})
    whole = sums.groupby(keys, sort=False, as_index=False).agg(
        {"n": "sum", "probability": "sum", "share": "sum", "schema": "first"}
    )
    for name in ("probability", "share"):
        whole[name] = (whole[name] / whole["n"]).map("{:.9g}".format)
    rest = table[~table.duplicated(keys, keep=False)]
    return pd.concat([rest, whole.astype({"n": str})[list(table.columns)]], ignore_index=True)


def _join_provenance(study: Study, lost: Collection[str], path: Path) -> None:
    """Add the records of runs whose folders are gone to ``provenance.json`` at ``path``."""
    new = read_json(path, "where scores come from")
    old = read_json(study.folder / "provenance.json", "where scores come from")
    runs = {**{id_: old["runs"][id_] for id_ in lost}, **new["runs"]}
    codes = [one["code"] if isinstance(one["code"], dict) else {"all": one["code"]} for one in (old, new)]
    names = sorted({*codes[0], *codes[1]})
    tests: dict[str, Any] = {
        name: _joined_test(one) for name in {**old.get("test_on", {}), **new.get("test_on", {})}
        if (one := [side["test_on"][name] for side in (old, new) if name in side.get("test_on", {})])
    }  # fmt: skip
    joined = {
        **new,
        "versions": [*old["versions"], *(one for one in new["versions"] if one not in old["versions"])],
        "code": {name: sorted({*codes[0].get(name, []), *codes[1].get(name, [])}) for name in names},
        "runs": {run.id: runs[run.id] for run in study.runs() if run.id in runs},
        **({"networks": old["networks"]} if old.get("networks") else {}),
        **({"test_on": tests} if tests else {}),
    }
    write_json(path, joined)


def _joined_test(sides: Sequence[dict[str, Any]]) -> dict[str, Any]:
    commits = sorted({commit for side in sides for commit in side["commits"]})
    return {"runs": sum(side["runs"] for side in sides), "cases_sha256": sides[-1]["cases_sha256"], "commits": commits}
