"""Follow a model's scores to the runs that they came from, and to the folders of these runs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchmark.base.records import Run
from benchmark.results.results import Results
from benchmark.studies import provenance, store


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


def source_of(results: Results, model: str) -> str:
    """File that the model's rows are in."""
    own = results.study.folder / "scores.csv"
    return str(results.external[model].path if model in results.external else own)


def runs_used(results: Results, model: str, own: pd.DataFrame) -> list[RunUsed]:
    """Every run that the study declares of a model, and any other that it has scores of; none of another tool's."""
    if model in results.external:
        return []
    study, raw = results.study, results.raw
    known = results.provenance.runs if (study.folder / "provenance.json").exists() else {}
    keys = ["bundle", "variant", "fold", "seed"]
    scored = {Run(study.name, *key).id for key in raw[keys].drop_duplicates().itertuples(index=False)}
    rows = raw[raw["case_id"].isin(own["case_id"])]
    counts = rows.groupby(keys)["case_id"].nunique()
    runs = [*results.runs, *(Run(study.name, *key) for key in raw[keys].drop_duplicates().itertuples(index=False))]
    mine = {run.id: run for run in reversed(runs) if run.model == model}
    return [
        RunUsed(
            id=run.id, fold=run.fold, seed=run.seed,
            cases=int(counts.get((run.bundle, run.variant, run.fold, run.seed), 0)),
            **{key: str(getattr(known.get(run.id), key, "")) for key in ("commit", "fingerprint", "started")},
            state=_state(run, known.get(run.id), run.id in scored), folder=str(store.folder(run)),
        )
        for run in sorted(mine.values(), key=lambda run: (run.fold, run.seed))
    ]  # fmt: skip


def _state(run: Run, recorded: provenance.Ran | None, scored: bool) -> str:
    done = store.state(run) == "done"
    if not scored:
        return "done here, but not in the study's scores; run `benchmark report`" if done else "no scores yet"
    if recorded is None:
        return "not in provenance.json"
    if not done:
        return "not here"
    here = store.read_record(store.folder(run)).fingerprint
    return "here" if here == recorded.fingerprint else "the folder here has another fingerprint than these scores"
