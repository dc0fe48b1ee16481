"""A model of a study to the files and runs that its scores came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark import score_table, store
from benchmark.compared import Compared
from benchmark.files import read_json
from benchmark.records import Run, model_name
from benchmark.study import Study


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


def models_of(scores: pd.DataFrame) -> list[str]:
    """Names of the models of a score table, in order of appearance."""
    pairs = scores[["bundle", "variant"]].drop_duplicates()
    return [model_name(*pair) for pair in pairs.itertuples(index=False, name=None)]


def source_of(study: Study, table: Compared, model: str) -> str:
    """File that the model's rows are in."""
    if model not in table.others:
        return str(study.folder / "scores.csv")
    files = sorted((study.folder / "external").glob("*.csv"))
    return next(str(f) for f in files if model in models_of(score_table.read(f)))


def runs_used(study: Study, raw: pd.DataFrame, model: str, own: pd.DataFrame) -> list[RunUsed]:
    """Every run that the study declares of a model, and any other that it has scores of."""
    path = study.folder / "provenance.json"
    known = read_json(path, "where the scores come from")["runs"] if path.exists() else {}
    keys = ["bundle", "variant", "fold", "seed"]
    scored = {Run(study.name, *key).id for key in raw[keys].drop_duplicates().itertuples(index=False)}
    rows = raw[raw["case_id"].isin(own["case_id"])]
    counts = rows.groupby(keys)["case_id"].nunique()
    runs = [*study.runs(), *(Run(study.name, *key) for key in raw[keys].drop_duplicates().itertuples(index=False))]
    mine = {run.id: run for run in reversed(runs) if run.model == model}
    return [
        RunUsed(
            id=run.id, fold=run.fold, seed=run.seed,
            cases=int(counts.get((run.bundle, run.variant, run.fold, run.seed), 0)),
            **{key: str(known.get(run.id, {}).get(key, "")) for key in ("commit", "fingerprint", "started")},
            state=_state(run, known.get(run.id), run.id in scored), folder=str(store.folder(run)),
        )
        for run in sorted(mine.values(), key=lambda run: (run.fold, run.seed))
    ]  # fmt: skip


def _state(run: Run, recorded: Mapping[str, Any] | None, scored: bool) -> str:
    done = store.state(run) == "done"
    if not scored:
        return "done here, but not in the study's scores; run `benchmark report`" if done else "no scores yet"
    if recorded is None:
        return "not in provenance.json"
    if not done:
        return "not here"
    here = read_json(store.folder(run) / "run.json", "a run's record")["fingerprint"]
    return "here" if here == recorded["fingerprint"] else "the folder here has another fingerprint than these scores"
