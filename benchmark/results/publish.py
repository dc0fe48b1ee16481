"""Run folders to a study's tables in ``reports/``, those tables to its report, and its scores to a check."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import report, stats
from benchmark.base import project
from benchmark.base.files import read_json, write_json, write_text
from benchmark.base.records import InputError, Run
from benchmark.data.folds import folds_path
from benchmark.data.manifest import load_cases
from benchmark.data.prepare import DataSet
from benchmark.papers.reproduce import histories, paper
from benchmark.report import evidence
from benchmark.results import check as checking
from benchmark.results import compared
from benchmark.results.panels import panels
from benchmark.scoring import score_table
from benchmark.scoring.counts import merge_parts
from benchmark.studies import bundle, provenance, store
from benchmark.studies.study import Study

TABLES = ("scores.csv", "histories.csv", "provenance.json")
"""What is gathered from run folders; with study.json it is all that a report is made from, besides pictures."""


def publish(study: Study) -> Path:
    """Gather what finished runs made, compare the models and write the report; return the path of ``report.md``.

    Where this machine has no finished run of the study, the report is made anew from the tables in its folder.

    Raises:
        InputError: if there is neither a finished run nor a table of scores.
    """
    runs = study.runs()
    done = [run for run in runs if store.state(run) == "done"]
    if done:
        _gather(study, done)
    elif not (study.folder / "scores.csv").exists():
        raise InputError(f"Study {study.name} has no finished run: expected one; run `benchmark run-all {study.name}`.")
    material, tables = _material(study, runs, done)
    # All is read and computed before anything is written: no table is newer than the report beside it.
    for name, rows in tables.items():
        _write(study.folder / name, rows)
    return report.write_report(study.folder, material, project.runs() / study.name / "figures")


def _material(
    study: Study, runs: Sequence[Run], done: Sequence[Run]
) -> tuple[report.Material, dict[str, pd.DataFrame | None]]:
    """What the report is made of, and the tables beside it by file name, None for one that the scores do not give."""
    table = compared.compared_scores(study)
    cases, found, trained = load_cases(study.data), provenance.read(study), histories(study)
    comparisons = compared.comparisons(study, table)
    ranking, methods = _ranking(study, table.scores), compared.methods(study, table)
    scored = list(pd.unique(table.scores["metric"]))
    several = table.scores["model"].nunique() > 1
    plans = evidence.plans(table.scores, study.compare, scored, len(comparisons)) if several else None
    segmenters, others = compared.models(study, compared=True), list(table.others)
    material = report.Material(
        study=study,
        manifest=cases.manifest.model_dump(),
        scores=table.scores,
        comparisons=comparisons,
        ranking=ranking,
        methods=methods,
        plans=plans,
        histories=trained,
        panels=panels([run for run in done if run.model in segmenters], cases, table.every),
        differences=_differences(runs, study.data),
        folds=read_json(folds_path(study.data, study.split), "folds"),
        missing=_missing(runs, done, table.raw),
        provenance=provenance.summary(found, trained),
        warnings=[*study.notes, *cases.warnings, *table.left_out, *_cautions(study, found, done, others)],
        lesions=table.lesions,
        apart=table.apart,
        paper=paper(study, runs, cases, table.every, comparisons),
    )
    tables = {"comparisons.csv": comparisons, "methods.csv": methods, "ranking.csv": ranking}
    return material, {**tables, "power.csv": _power(study, plans)}


def _ranking(study: Study, scores: pd.DataFrame) -> pd.DataFrame | None:
    """Order of the compared models; None where there is one."""
    if len(scores[["bundle", "variant"]].drop_duplicates()) < 2:
        return None
    return stats.rank_models(stats.patient_ranks(scores, study.compare["metrics"], compared.BETTER))


def _power(study: Study, plans: evidence.Plans | None) -> pd.DataFrame | None:
    """Rows behind the medians of the report's table of power, by the declared metrics; None where there are none.

    ``of`` says whether a row is of these networks or of the methods; what is the same in every row is left out.
    """
    if plans is None:
        return None
    tables = [rows[rows["metric"].isin(study.compare["metrics"])].assign(of=of) for of, rows in plans._asdict().items()]
    rows = pd.concat([rows for rows in tables if len(rows)] or tables)
    if rows.empty:
        return None
    kept = [
        name for name in rows if name not in ("of", "test", "n_patients", "n_folds", "power", "alpha", "alpha_family")
    ]
    # A size of samples from an estimated spread has no more digits than this.
    return rows[["of", *kept]].map(lambda value: float(f"{value:.6g}") if isinstance(value, float) else value)


def _write(path: Path, rows: pd.DataFrame | None) -> None:
    """Write a table that the report is made of, or remove the one of scores that are no more."""
    if rows is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, rows.to_csv(index=False))


def check_pairs(study: Study) -> None:
    """Refuse declared pairs of unknown models before anything is trained.

    Raises:
        InputError: for a pair that is not two models of the study or of ``external/``.
    """
    stats.declared_pairs([*compared.models(study, compared=True), *compared.external(study)], study.compare)


def check(study: Study, accept: bool = False) -> list[checking.Finding]:
    """Compare a study's scores with its baseline, or with ``accept`` make them the baseline.

    Raises:
        InputError: if the study has no scores, no rule or no baseline.
    """
    if not study.check:
        raise InputError(f"{study.folder / 'study.json'} has no entry 'check': expected metrics and a margin.")
    scores = merge_parts(score_table.read(study.folder / "scores.csv"))
    baseline = study.folder / "baseline.csv"
    if accept:
        _supersede(study, baseline)
        kept = [name for name in map(str, scores.columns) if score_table.metric_of(name)[0] in study.check["metrics"]]
        score_table.write(baseline, scores[[*score_table.HEAD, *kept]].dropna(subset=kept, how="all"))
        return []
    if not baseline.exists():
        raise InputError(
            f"{baseline} does not exist: expected a baseline; make one by `benchmark check {study.name} --accept`."
        )
    old = score_table.read_tidy(baseline)
    return checking.compare_with_baseline(score_table.tidy(scores), old, study.check, compared.BETTER)


def _gather(study: Study, done: Sequence[Run]) -> None:
    """Write the three tables from run folders, after a copy of what they replace."""
    records = {run.id: store.read_record(store.folder(run)) for run in done}
    histories = pd.concat([store.history(run).assign(run=run.id) for run in done], ignore_index=True)
    for name in TABLES:
        _supersede(study, study.folder / name)
    before = study.folder / "provenance.json"
    lost = set(provenance.read(study).runs) - set(records) if before.exists() else set()
    if lost:
        print(
            f"{study.folder / 'scores.csv'} had {len(lost)} runs that are not finished here; the tables with them are "
            f"kept in {project.runs() / study.name / 'superseded'}.",
            file=sys.stderr,
        )
    score_table.write(study.folder / "scores.csv", store.collect(done))
    write_text(study.folder / "histories.csv", histories.round(6).to_csv(index=False))
    write_json(study.folder / "provenance.json", provenance.of_runs(study, records))


def _supersede(study: Study, path: Path) -> None:
    """Copy a table that will be replaced to ``runs/<study>/superseded``; nothing that was computed is lost."""
    if not path.exists():
        return
    name = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}{path.suffix}"
    target = project.runs() / study.name / "superseded" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def _differences(runs: Sequence[Run], dataset: str) -> dict[str, dict[str, Any]]:
    first = {run.model: run for run in reversed(runs)}
    return bundle.differences({name: bundle.frozen(run, dataset)["train"] for name, run in reversed(first.items())})


def _missing(runs: Sequence[Run], done: Sequence[Run], scores: pd.DataFrame) -> dict[str, str]:
    have = {run.id for run in done} or {
        Run("", *key).id for key in scores[["bundle", "variant", "fold", "seed"]].itertuples(index=False, name=None)
    }
    lost = [run for run in runs if run.id not in have]
    return {run.id: store.last_error(run) if store.state(run) == "failed" else "not run" for run in lost}


def _cautions(study: Study, recorded: provenance.Provenance, done: Sequence[Run], others: Sequence[str]) -> list[str]:
    found = []
    if others:
        found.append(
            f"{', '.join(others)}: label maps that another tool made; how it was trained, and on whom, is not known "
            "here."
        )
        if study.compare.get("pairs", "all") == "all":
            found.append("With all pairs compared, each model that another tool made enlarges the family.")
    found += provenance.leaks(recorded)
    stale = _stale(study, done)
    if stale:
        parts = ", ".join(sorted({part for parts in stale.values() for part in parts}))
        found.append(
            f"{len(stale)} runs were made before a change in {parts}: {', '.join(stale)}. Do not compare them."
        )
    if recorded.mixed:
        found.append("The runs were made with different library versions or different code (provenance.json).")
    if any(run.commit.endswith("-dirty") or run.commit == "unknown" for run in recorded.runs.values()):
        found.append("Some runs were made from a working tree with changes that no commit holds.")
    declared = {run.id: run.overrides for run in study.runs()}
    changed = [id_ for id_, run in recorded.runs.items() if run.overrides != declared.get(id_)]
    if changed:
        first = recorded.runs[changed[0]].overrides
        extra = {k: v for k, v in first.items() if declared.get(changed[0], {}).get(k) != v}
        found.append(
            f"{len(changed)} runs were made with other settings than study.json declares: {json.dumps(extra)}."
        )
    return found


def _stale(study: Study, done: Sequence[Run]) -> dict[str, list[str]]:
    """Runs whose configs, manifest, folds or cases are no longer the project's, and which of these differ."""
    found = {}
    for run in done:
        record = store.read_record(store.folder(run))
        as_run = dataclasses.replace(run, overrides=record.overrides)
        configs = bundle.frozen(as_run, study.data)
        data = DataSet(study.data, configs["train"]["split"])
        rows = store.differing(record, store.identity(as_run, data, configs))
        changed = {key.partition("#")[0] for key, _, _ in rows}
        differing = sorted(changed - {"versions", "code"})
        if differing:
            found[run.id] = differing
    return found
