"""Change files of a study at random, and print each that is answered with anything but a result or one sentence.

    python research/fuzz/studies.py [--seconds 600] [--seed 1] [--only reports/quickstart/scores.csv]

The files are those of the quickstart study, of one of its runs, of a bundle and of a paper; each is read by what a
report, an explanation, a check or the next run reads it with. JSON files lose, double or change entries, tables lose,
double or change cells, rows and columns. Exit code 1 if anything was found.
"""

import csv
import io
import json
import random
import shutil
from pathlib import Path

from readers import ROOT, VALUES, Target, changed_json, main, spoiled

from benchmark.base.files import write_json
from benchmark.base.records import InputError, Run
from benchmark.papers import implied, published
from benchmark.results import check
from benchmark.results.explain import explain
from benchmark.results.results import BETTER, Results
from benchmark.scoring import score_table
from benchmark.studies import bundle, provenance, store, study

STUDY, PAPER, BUNDLE = (
    Path("reports/quickstart"),
    Path("reports/mandekar2025/published.json"),
    Path("bundles/unet/configs"),
)
RUN = Run("quickstart", "unet", "default", 0, 1)


def project() -> dict[str, Target]:
    """Write a small project into the working directory, with a run that is done, and return its files."""
    for name in ("bundles", "data_manifests", STUDY, PAPER.parent):
        shutil.copytree(ROOT / name, name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "figures"))
    folder = Path("runs") / RUN.study / RUN.id
    table = score_table.read(STUDY / "scores.csv")
    own = table[(table["bundle"] == RUN.bundle) & (table["seed"] == RUN.seed)]
    declared = [run for run in study.load(RUN.study).runs() if run.id == RUN.id]
    [(run, what)] = store.identities(declared, "phantom")
    store.record(run, what, "benchmark run")
    score_table.write(folder / "scores.csv", own)
    (folder / "models").mkdir()
    shutil.copy(STUDY / "histories.csv", folder / "models" / "history.csv")
    (folder / "models" / "model.pt").write_bytes(b"weights")
    recorded = json.loads((folder / "run.json").read_text())
    made = {"trained": store.trained(folder), "predictions_sha256": store.predictions_sha256(folder)}
    write_json(folder / "run.json", {**recorded, **made})
    (folder / "error.txt").write_text("Traceback (most recent call last):\nValueError: of what was trained\n")
    score_table.write(STUDY / "external" / "tool.csv", own.assign(bundle="tool"))
    jsons = {
        STUDY / "study.json": read_study, STUDY / "provenance.json": read_results, STUDY / "report.json": follow,
        BUNDLE / "model.json": read_bundle, BUNDLE / "train.json": read_bundle, PAPER: read_paper,
        folder / "run.json": read_run,
    }  # fmt: skip
    tables = {
        STUDY / "scores.csv": follow, STUDY / "histories.csv": read_results, STUDY / "baseline.csv": read_baseline,
        STUDY / "cells.csv": follow, STUDY / "external" / "tool.csv": read_results, folder / "scores.csv": read_run,
        folder / "models" / "history.csv": lambda path: store.history(run),
        folder / "error.txt": read_error,
    }  # fmt: skip
    return {
        str(path): Target(path.read_bytes(), change, read)
        for files, change in ((jsons, changed_json), (tables, changed_table))
        for path, read in files.items()
    }


def changed_table(content: bytes, draw: random.Random) -> bytes:
    """Lose, double or change a cell, a row or a column, or a few bytes."""
    if draw.random() < 0.15:
        return spoiled(content, draw)
    rows, what = list(csv.reader(io.StringIO(content.decode()))), draw.random()
    row = draw.choice([0, draw.randrange(len(rows))])
    column = draw.randrange(len(rows[row]))
    if what < 0.1:
        del rows[row]
    elif what < 0.2:
        rows.insert(draw.randrange(len(rows)), rows[row])
    elif what < 0.3:
        rows = [[*cells[:column], *cells[column + 1 :]] for cells in rows]
    elif what < 0.4:
        rows = [[*cells, *cells[column : column + 1]] for cells in rows]
    elif what < 0.45:
        del rows[draw.choice([1, 2, row]) :]
    else:
        value = draw.choice([*map(str, VALUES), draw.choice(draw.choice(rows) or [""])])
        for cells in rows[1:] if what > 0.9 else [rows[row]]:
            cells[column : column + 1] = [value]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def read_study(path: Path) -> None:
    """Read a study, all its runs and what is set beside its scores."""
    found = study.load(RUN.study)
    runs = found.runs()
    study.check_code(found, {})
    list(store.identities(runs, found.data))
    read_results(path)


def read_results(path: Path) -> None:
    """Read all that a report is made from."""
    results = Results(study.load(RUN.study))
    for name in ("scores", "lesions", "histories", "origin", "warnings", "missing", "differences"):
        getattr(results, name)
    results.files()


def follow(path: Path) -> None:
    """Explain a number of each kind."""
    found = study.load(RUN.study)
    explain(found, "unet", "WT")
    explain(found, "unet", metric="train_loss")


def read_baseline(path: Path) -> None:
    """Compare the scores with a baseline."""
    found = study.load(RUN.study)
    check.compare_with_baseline(Results(found).every, score_table.read_tidy(path), found.check, BETTER)


def read_bundle(path: Path) -> None:
    """Read a bundle and freeze it for a run."""
    bundle.compose("unet")
    bundle.code("unet")
    bundle.frozen(RUN, "phantom")


def read_paper(path: Path) -> None:
    """Read what a paper prints, and judge it."""
    implied.findings(published.load(path))


def read_run(path: Path) -> None:
    """Read a run's record and scores, and gather them."""
    found = study.load(RUN.study)
    run = next(run for run in found.runs() if run.id == RUN.id)
    record = store.read_record(store.folder(run))
    store.scores(run)
    store.check_predictions(store.folder(run))
    json.dumps(provenance.of_runs(found, {run.id: record}))
    [(run, what)] = store.identities([run], found.data)
    store.check(run, what)


def read_error(path: Path) -> None:
    """Read why a run failed, in one line."""
    if len(store.last_error(RUN).splitlines()) != 1:
        raise InputError(store.last_error(RUN))


if __name__ == "__main__":
    main(__doc__, project)
