"""Gather a study's finished runs into its tables, write its report, and check its scores against a baseline."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.base import project
from benchmark.base.files import replacing, replacing_files, write_json, write_text
from benchmark.base.records import InputError, Run, number_of
from benchmark.data.manifest import load_cases
from benchmark.report.figures import FORMATS
from benchmark.results import added, page, web
from benchmark.results import check as checking
from benchmark.results.results import BETTER, GATHERED, OUTPUTS, Results
from benchmark.scoring import lesion_table, score_table
from benchmark.stats.compare import declared_pairs
from benchmark.studies import ensemble, lesions, provenance, store
from benchmark.studies.study import Study


def publish(study: Study, replace: bool = False, formats: Sequence[str] = (), add: bool = False) -> Path:
    """Gather what finished runs made, compare the models and write the report; return the path of ``report.md``.

    Where this machine has no finished run of the study, the report is made anew from the tables in its folder. Where
    that report has runs that are not finished here, as after a trial of a few, it stays as it is, and that of the runs
    here goes to ``runs/<study>/partial``, unless ``replace`` asks for its place, or ``add`` for one report of those
    and of these. Figures are written in ``formats`` beside PNG, too, and in those that they were written in before.

    Raises:
        InputError: if there is neither a finished run nor a table of scores, for a format that is none, or as
            ``added.check``.
    """
    if unknown := set(formats) - set(FORMATS):
        raise InputError(f"Figures cannot be written as {min(unknown)!r}: expected some of {', '.join(FORMATS)}.")
    if not study.models:
        with replacing_files(study.folder) as whole:
            write(Results(study), whole, study.folder, formats)
        renew_index(study)
        return study.folder / "report.md"
    done = Results(study).done
    if not done and not (study.folder / "scores.csv").exists():
        raise InputError(f"Study {study.name} has no finished run: expected one; run `benchmark run-all {study.name}`.")
    lost = _not_here(study, done) if done else set()
    folder = project.runs() / study.name / "partial" if lost and not (replace or add) else study.folder
    if lost and add:
        added.check(study, done, lost)
    with replacing_files(folder) as whole:
        if done:
            _gather(study, done, whole, folder)
        if lost and add:
            added.join(study, lost, whole)
        write(Results(study, done=done, tables=whole if done else study.folder), whole, folder, formats)
    if lost and not add:
        _say_lost(study, len(lost), len(done), replace)
    renew_index(study)
    return folder / "report.md"


def renew_index(study: Study) -> None:
    """Write the page over all studies anew, where a study is one of a project's."""
    if project.find() and study.folder.resolve().is_relative_to(project.reports().resolve()):
        web.write_index()


def _not_here(study: Study, done: Sequence[Run]) -> set[str]:
    """Declared runs that the study's report has and that are not finished on this machine."""
    if not (study.folder / "provenance.json").exists():
        return set()
    declared = {run.id for run in study.runs()}
    return (set(provenance.read(study.folder).runs) & declared) - {run.id for run in done}


def _say_lost(study: Study, lost: int, done: int, replace: bool) -> None:
    runs = f"{number_of(lost, 'run')} that {'are' if lost > 1 else 'is'} not finished here"
    if replace:
        kept = project.runs() / study.name / "superseded"
        said = f"{study.folder / 'scores.csv'} had {runs}; the tables with them are kept in {kept}."
    else:
        said = (
            f"The report in {study.folder} has {runs} and stays as it is; this one is of {done}. "
            f"`benchmark report {study.name} --add` makes one of both, --replace puts this one in its place."
        )
    print(said, file=sys.stderr)


def write(results: Results, whole: Path, folder: Path, formats: Sequence[str] = ()) -> None:
    """Write the tables that follow from the gathered ones, and the report, into ``whole``, which goes to ``folder``."""
    drawn = folder / "figures"
    before = {path.suffix.removeprefix(".") for path in drawn.iterdir()} if drawn.is_dir() else set()
    if results.trains and drawn.is_dir():
        # Pictures that were drawn from run folders stay where these are gone.
        shutil.copytree(drawn, whole / "figures")
    for name in OUTPUTS:
        rows = getattr(results, name)
        # An empty file removes that of an earlier report.
        write_text(whole / f"{name}.csv", "" if rows is None else rows.to_csv(index=False))
    # What was once asked for would else be left as it was, beside figures of other scores.
    wanted = [name for name in FORMATS if name in (*formats, *before)]
    page.write(results, whole, project.runs() / results.study.name / "figures" if results.trains else None, wanted)


def check_pairs(study: Study) -> None:
    """Refuse declared pairs of unknown models before anything is trained.

    Raises:
        InputError: for a pair that is not two models of the study or of ``external/``.
    """
    declared_pairs(Results(study).compared_models, study.compare)


def check(study: Study, accept: bool = False) -> list[checking.Change]:
    """Compare a study's scores with its baseline, or with ``accept`` make them the baseline.

    The first baseline is kept beside later ones; what is worse than there is information, so that many small losses,
    each accepted, do not add up unseen.

    Raises:
        InputError: if the study has no scores, no rule or no baseline.
    """
    if not study.check:
        raise InputError(f"{study.folder / 'study.json'} has no entry 'check': expected metrics and a margin.")
    scores = Results(study).merged
    baseline, first = study.folder / "baseline.csv", study.folder / "baseline_first.csv"
    if accept:
        _accept(study, scores, baseline, first)
    elif not baseline.exists():
        raise InputError(
            f"{baseline} does not exist: expected a baseline; make one by `benchmark check {study.argument} --accept`."
        )
    new, rule = score_table.tidy(scores), study.check
    since = checking.compare_with_first(new, first, rule, BETTER) if first.exists() else []
    if accept:
        return since
    return checking.compare_with_baseline(new, score_table.read_tidy(baseline), rule, BETTER) + since


def _accept(study: Study, scores: pd.DataFrame, baseline: Path, first: Path) -> None:
    """Write scores as the baseline, and keep the first one."""
    kept = [name for name in map(str, scores.columns) if score_table.metric_of(name)[0] in study.check["metrics"]]
    if lacking := set(study.check["metrics"]) - {score_table.metric_of(name)[0] for name in kept}:
        raise InputError(
            f"{study.folder / 'scores.csv'}: expected {', '.join(sorted(lacking))}, which check.metrics names."
        )
    _supersede(study, baseline)
    if baseline.exists() and not first.exists():
        with replacing(first) as temporary:
            shutil.copy2(baseline, temporary)
    score_table.write(baseline, scores[[*score_table.HEAD, *kept]].dropna(subset=kept, how="all"))


def _gather(study: Study, done: Sequence[Run], whole: Path, folder: Path) -> None:
    """Write the gathered tables from run folders into ``whole``, after a copy of what they replace in ``folder``."""
    records = {run.id: store.read_record(store.folder(run)) for run in done}
    histories = pd.concat([store.history(run).assign(run=run.id) for run in done], ignore_index=True)
    others = {f"scores.{test.name}.csv": store.collect_other(done, test) for test in study.other_tests}
    # Those of a test that is no longer declared or done must not stay beside the scores of other runs.
    there = [path.name for path in folder.glob("scores.*.csv")]
    for name in dict.fromkeys([*GATHERED, *others, *there]) if folder == study.folder else ():
        _supersede(study, folder / name)
    collected, listed = store.collect(done), load_cases(study.data)
    score_table.write(whole / "scores.csv", collected)
    single = lesions.gather(done, collected, listed)
    write_text(whole / lesion_table.NAME, lesion_table.as_text(single, lesion_table.MEANS) if len(single) else "")
    for name in dict.fromkeys([*others, *there]):
        scores = others.get(name)
        write_text(whole / name, "" if scores is None or scores.empty else score_table.as_text(scores))
    write_text(whole / "histories.csv", histories.round(6).to_csv(index=False))
    of_tests = {"test_on": provenance.of_tests(study, done)} if study.other_tests else {}
    write_json(whole / "provenance.json", {**provenance.of_runs(study, records), **of_tests})
    for name, table in ensemble.tables(ensemble.gather(done, listed)).items():
        # An empty file removes that of an earlier report.
        write_text(whole / f"{name}.csv", "" if table is None else score_table.as_text(table))


def _supersede(study: Study, path: Path) -> None:
    """Copy a table that will be replaced to ``runs/<study>/superseded``; nothing that was computed is lost.

    A study that trains nothing keeps it in its own folder.
    """
    if not path.exists():
        return
    name = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}{path.suffix}"
    target = (project.runs() / study.name if study.models else study.folder) / "superseded" / name
    if not target.exists():
        with replacing(target) as temporary:
            shutil.copy2(path, temporary)
