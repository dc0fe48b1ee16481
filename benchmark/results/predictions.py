"""Compare predictions that exist: score them, and write a study that trains nothing, with its whole report."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

import benchmark
from benchmark.base import declared
from benchmark.base.declared import Record
from benchmark.base.files import entries, replacing_files, write_json
from benchmark.base.progress import Progress
from benchmark.base.records import InputError, check_safe
from benchmark.data.conventions import parse_labels
from benchmark.data.label_maps import label_files
from benchmark.data.manifest import Manifest, find_manifest, manifest_file, scanned_patients
from benchmark.data.patients import check_patients, copy_patients, read_patients
from benchmark.results import publish
from benchmark.results.results import COMPARED, OUTPUTS, PATIENTS, Results
from benchmark.scoring import external, score_table
from benchmark.scoring.external import Missing
from benchmark.scoring.other_tables import read_other
from benchmark.stats.compare import as_networks, declared_pairs
from benchmark.stats.patients import shared_patients
from benchmark.stats.seeds import TWO_LEVEL
from benchmark.studies.study import Study, check_compare, named_after

DEFAULT_METRICS = ("dice", "hd95")
PAGES = ("report.md", "appendix.md", "report.html", "report.tex")
REMADE = (*PAGES, "report.json", "cells.csv", "figures", *(f"{name}.csv" for name in OUTPUTS))
"""What a report writes anew in the folder."""
DRAWN = ("boxplot_", "differences_", "training_sets_", "critical_differences_")
"""How the names of its figures begin; others in their folder are not the report's."""
KEPT = ("baseline.csv", "baseline_first.csv", "superseded")
"""What `benchmark check` puts into the folder; a new comparison leaves it there."""
LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "nibabel")


class Made(Record):
    """What ``compared.json`` holds: what was compared, with what, and the checksum of each file that was written."""

    made: str
    benchmark: str
    reference: str
    models: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True)
class Source:
    """Label maps or scores of one training of a model; ``fold`` and ``seed`` are None where nobody said them."""

    model: str
    path: Path
    fold: int | None
    seed: int | None

    @property
    def described(self) -> str:
        """The path with fold and seed, as far as these were said."""
        said = [f"{name} {value}" for name, value in (("fold", self.fold), ("seed", self.seed)) if value is not None]
        return " ".join([str(self.path), *([f"({', '.join(said)})"] if said else [])])


@dataclass(frozen=True)
class _Asked:
    """How label maps are to be scored."""

    reference: Path | None
    manifest: Manifest
    labels: Mapping[str, str]
    missing: Missing
    people: Mapping[str, str] | None
    progress: Progress | None


@dataclass(frozen=True)
class Compared:
    """What a comparison found: its folder, the tables of its report, and sentences on what looks wrong.

    ``summary`` has means by model, region and metric (``stats.summarise``), ``comparisons`` a row per test
    (``stats.compare``), ``ranking`` the order of the models, None for one model.
    """

    folder: Path
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    ranking: pd.DataFrame | None
    odd: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, with None for a number that is not finite."""
        tables = {"summary": self.summary, "comparisons": self.comparisons, "ranking": self.ranking}
        rows = {
            name: [] if table is None else table.astype(object).where(table.notna(), None).to_dict("records")
            for name, table in tables.items()
        }
        return {"folder": str(self.folder), "report": str(self.folder / "report.md"), "odd": self.odd, **rows}


def compare_predictions(
    predictions: Mapping[str, str | Path],
    out: str | Path,
    *,
    manifest: str,
    reference: str | Path | None = None,
    metrics: Sequence[str] = (),
    margin: float | Mapping[str, float] | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    test: str | None = None,
    fold: int | None = None,
    labels: str | Mapping[str, str] = "",
    missing: Missing = "refuse",
    patients: str | Path | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Compare predictions of several models with a reference, and write tables, tests, figures and report into ``out``.

    ``predictions`` maps a model's name to a folder of label maps, or to a file of per-case scores: of `benchmark
    score`, nnU-Net's ``summary.json``, panoptica's ``.tsv`` or MIST's ``results.csv``. Several trainings of one model
    are ``NAME@seed1``, ``NAME@fold0``, ``NAME@fold0-seed1``; ``fold`` is that of all others. ``manifest`` is the name
    of a known data set, or the path of a manifest. ``metrics`` are Dice and HD95 if none are given (Dice where a file
    has no HD95), ``margin`` is that of equivalence, in the metric's unit, ``pairs`` are all. ``test`` is ``two_level``
    where several trainings allow it, else ``wilcoxon``. ``labels`` maps label values (``conventions.parse_labels``), of
    all models or by model. ``missing`` says what becomes of a reference without a prediction: "refuse", "worst" or
    "leave out". ``patients`` is a table with the columns case_id and patient_id (``data.patients``); its other columns
    are groups of patients.

    >>> import tempfile, nibabel, numpy as np, benchmark
    >>> from pathlib import Path
    >>> folder = tempfile.TemporaryDirectory()
    >>> for number, model in enumerate(["truth", "one", "two"]):
    ...     for patient in range(1, 4):
    ...         labels = np.zeros((12, 12, 12), np.uint8)
    ...         labels[2:9, 2 : 9 - number * (patient % 2), 2:9] = 2
    ...         labels[4:7, 4:7, 4:7], labels[5, 5, 5 : 7 + number] = 1, 4
    ...         Path(folder.name, model).mkdir(exist_ok=True)
    ...         nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), f"{folder.name}/{model}/Phantom_00{patient}_1.nii")
    >>> found = benchmark.compare_predictions(
    ...     {name: f"{folder.name}/{name}" for name in ("one", "two")}, f"{folder.name}/out", manifest="phantom",
    ...     reference=f"{folder.name}/truth", metrics=["dice"])
    >>> found.comparisons.loc[0, ["model_a", "model_b", "region", "verdict"]].tolist()
    ['one', 'two', 'WT', 'no difference shown']
    >>> folder.cleanup()

    Returns:
        The tables that were written; the folder is a study for `benchmark report`, `explain` and `check`.

    Raises:
        InputError: for anything that cannot be compared, before anything is written: an unknown metric, pair, manifest
            or file, labels that the manifest does not name, references without a prediction, or a folder ``out`` that
            holds what no comparison made.
    """
    place, described, table = Path(out).resolve(), find_manifest(manifest), Path(patients) if patients else None
    earlier = _check_out(place)
    by_model = _check_sources([_source(key, Path(path), fold) for key, path in predictions.items()])
    folder = Path(reference) if reference else None
    people = {**scanned_patients(manifest), **external.patients_for(table, folder, described)}
    asked = _Asked(folder, described, _labels_of(labels, list(by_model)), missing, people, progress)
    files = {one: _read_scores(one, asked) for own in by_model.values() for one in own if one.path.is_file()}
    unread = _unread(by_model, files, missing)
    compare: dict[str, Any] = {"metrics": _metrics(metrics, files), "pairs": [*map(list, pairs)] or "all"}
    compare |= {key: value for key, value in (("margin", margin), ("test", test)) if value is not None}
    # What cannot be compared is said before the long work.
    _declare(compare, described, list(by_model), place)
    tables, odd = _tables(by_model, asked, files)
    joined = pd.concat(tables.values(), ignore_index=True)
    odd += unread + _of_people(joined["case_id"], asked, table)
    compare.setdefault("test", _test(joined, compare["metrics"], declared_pairs(list(by_model), compare)))
    folds, seeds = (sorted({int(value) for value in joined[name]}) for name in ("fold", "seed"))
    study = _declare(compare, described, list(by_model), place, folds, seeds, odd)
    about = {name: tuple(one.described for one in own) for name, own in by_model.items()}
    # Scores in files were computed against references that nobody named.
    used = reference if len(files) < sum(map(len, by_model.values())) else None
    return _write(study, tables, _made(about, used), (manifest_file(manifest), table), earlier)


def _of_people(cases: pd.Series, asked: _Asked, table: Path | None) -> list[str]:
    """Sentences on cases that a table of patients lacks, and on those whose patient nothing says."""
    lacking = check_patients(table, read_patients(table, set(cases)), cases) if table else []
    return [*lacking, *external.patients_of(pd.unique(cases), asked.manifest, asked.people)[1]]


def _source(key: str, path: Path, fold: int | None) -> Source:
    """Read ``NAME``, ``NAME@seed1``, ``NAME@fold0`` or ``NAME@fold0-seed1``."""
    match = re.fullmatch(r"(?P<name>[^@]*)(@(?=.)(fold(?P<fold>\d+))?-?(seed(?P<seed>\d+))?)?", key)
    if match is None:
        raise InputError(f"{key}: expected NAME, NAME@seed1, NAME@fold0 or NAME@fold0-seed1 before the path.")
    external.check_model(match["name"])
    own = int(match["fold"]) if match["fold"] else fold
    return Source(match["name"], path, own, int(match["seed"]) if match["seed"] else None)


def _check_sources(sources: Sequence[Source]) -> dict[str, list[Source]]:
    by_model: dict[str, list[Source]] = {}
    for one in sources:
        by_model.setdefault(one.model, []).append(one)
        if not one.path.exists():
            raise InputError(f"{one.path}: expected a folder of label maps or a file of scores, found nothing.")
    if not sources:
        raise InputError("Nothing to compare: expected one or more of NAME=FOLDER or NAME=FILE, found none.")
    if len({name.casefold() for name in by_model}) < len(by_model):
        raise InputError(f"Names of models: expected some that differ in more than capitals, found {list(by_model)}.")
    for name, own in by_model.items():
        runs = [(one.fold or 0, one.seed or 0) for one in own]
        if len(set(runs)) < len(runs):
            raise InputError(
                f"{name} is there {len(own)} times: expected a fold or seed of its own for each, as @seed1."
            )
    return by_model


def _labels_of(labels: str | Mapping[str, str], models: Sequence[str]) -> dict[str, str]:
    if isinstance(labels, str):
        return dict.fromkeys(models, labels)
    for unknown in set(labels) - set(models):
        raise InputError(f"--labels {unknown}: expected one of {', '.join(models)}.")
    return {name: labels.get(name, "") for name in models}


def _declare(
    compare: Mapping[str, Any],
    manifest: Manifest,
    models: Sequence[str],
    place: Path,
    folds: Sequence[int] = (0,),
    seeds: Sequence[int] = (0,),
    notes: Sequence[str] = (),
) -> Study:
    """Return the study that is written to ``study.json``, checked as any other.

    Raises:
        InputError: for what a study cannot declare.
    """
    content = _content(compare, manifest, models, folds, seeds, notes)
    where = "the comparison"
    study = declared.check(where, {"name": named_after(place), **content}, Study)
    check_compare(Path(where), study.compare)
    declared_pairs(models, study.compare)
    return study.at(place)


def _content(
    compare: Mapping[str, Any],
    manifest: Manifest,
    names: Sequence[str],
    folds: Sequence[int],
    seeds: Sequence[int],
    notes: Sequence[str],
) -> dict[str, Any]:
    title = f"{', '.join(names[:-1])} and {names[-1]}" if 1 < len(names) <= 4 else names[0]
    title = f"Predictions of {title if len(names) <= 4 else f'{len(names)} models'}" + " compared" * (len(names) > 1)
    first, margin = compare["metrics"][0], compare.get("margin", 0)
    rule = {"metrics": [first], "margin": margin.get(first, 0) if isinstance(margin, Mapping) else margin}
    return {
        "title": title, "data": manifest.name, "folds": [*folds], "seeds": [*seeds],
        "models": [], "compare": {**compare, "metrics": [*compare["metrics"]]}, "check": rule, "notes": [*notes],
    }  # fmt: skip


def _read_scores(one: Source, asked: _Asked) -> pd.DataFrame:
    """Read a file of scores as a table of one model, with folds, seeds and patients."""
    manifest = asked.manifest
    if asked.labels[one.model] and one.path.suffix.lower() != ".json":
        raise InputError(
            f"--labels: expected none for {one.path}, which has scores and no label values; name the models that it is "
            "for, as NAME=SPEC."
        )
    found = read_other(one.path, manifest, parse_labels(asked.labels[one.model], manifest))
    if "bundle" in found:
        several = pd.unique(score_table.model_names(found))
        if len(several) > 1:
            raise InputError(f"{one.path}: expected the scores of one model, found {', '.join(several)}.")
        lacking = sorted(set(manifest.regions) - set(found["region"]))
        if lacking:
            raise InputError(f"{one.path}: expected the regions of {manifest.name}, found none of {lacking[0]}.")
    else:
        if found.empty:
            raise InputError(f"{one.path}: expected scores of one case or more, found none.")
        if len(twice := found.loc[found.duplicated(["case_id", "region"]), "case_id"]):
            raise InputError(f"{one.path}: expected one score of each case and region, found {twice.iloc[0]} twice.")
        who, _ = external.patients_of(found["case_id"], manifest, asked.people)
        check_safe(one.path, "an id of a case", found["case_id"])
        rows: list[dict[str, Any]] = found.to_dict("records")  # type: ignore[assignment]
        run = {"bundle": one.model, "variant": "default", "fold": 0, "seed": 0}
        found = score_table.frame([{**row, **run, "patient_id": who[row["case_id"]]} for row in rows])
    said = {key: value for key, value in (("fold", one.fold), ("seed", one.seed)) if value is not None}
    for key in said:
        if len(there := sorted(set(found[key]))) > 1:
            raise InputError(f"{one.path}: expected scores of one {key}, as {key} {said[key]}, found {there}.")
    return found.assign(bundle=one.model, variant="default", **said)


def _unread(by_model: Mapping[str, Sequence[Source]], files: Collection[Source], missing: Missing) -> list[str]:
    """Say of which files of scores ``missing`` says nothing: what they lack is known to nobody.

    Raises:
        InputError: if there are no others.
    """
    if missing == "refuse" or not files:
        return []
    option = "--missing worst" if missing == "worst" else "--only-predicted"
    if len(files) == sum(map(len, by_model.values())):
        raise InputError(
            f"{option}: expected folders of label maps, found files of scores only, which it cannot change."
        )
    named = ", ".join(str(one.path) for one in files)
    return [f"{option} says nothing of {named}, which hold scores: a case that one of them lacks is left out of all."]


def _metrics(asked: Sequence[str], files: Mapping[Source, pd.DataFrame]) -> list[str]:
    """Return the metrics to compare by, those that were asked for or the usual ones, as far as all files have them."""
    for one, table in files.items():
        scored = {score_table.metric_of(str(name))[0] for name in table.columns}
        for name in asked or DEFAULT_METRICS[:1]:
            if name not in scored:
                raise InputError(f"{one.path}: expected scores by {name}, found none.")
    common = [{score_table.metric_of(str(name))[0] for name in table.columns} for table in files.values()]
    return [*asked] or [name for name in DEFAULT_METRICS if all(name in own for own in common)]


def _tables(
    by_model: Mapping[str, Sequence[Source]], asked: _Asked, files: Mapping[Source, pd.DataFrame]
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the scores of each model, of ``files`` and of folders, and what looks odd."""
    scored, odd = _score([one for own in by_model.values() for one in own if one not in files], asked)
    found = {**files, **scored}
    score_table.check_references({one.path: table for one, table in found.items()})
    tables = {name: pd.concat([found[one] for one in own], ignore_index=True) for name, own in by_model.items()}
    return tables, odd


def _score(folders: Sequence[Source], asked: _Asked) -> tuple[dict[Source, pd.DataFrame], list[str]]:
    """Score each folder; sentences on what looks odd begin with the model's name."""
    if not folders:
        return {}, []
    if asked.reference is None:
        raise InputError(f"--reference: expected the folder of references for {folders[0].path}, found none.")
    tables, odd = dict[Source, pd.DataFrame](), list[str]()
    cases = sorted(label_files(asked.reference, asked.manifest.layout.label_names))
    shares = _shares(folders, cases)
    total, done = sum(len(share) for share in shares.values()), 0

    for one in folders:
        before = done

        def step(count: int, _: int, case: str, name: str = one.model, before: int = before) -> None:
            if asked.progress:
                asked.progress(before + count, total, f"{name}: {case}")

        tables[one] = external.score_folder(
            asked.reference, one.path, asked.manifest, one.model, one.fold or 0, one.seed or 0, step,
            labels=asked.labels[one.model], missing=asked.missing, patients=asked.people, only=shares[one],
            option=f"--labels {one.model}=",
        )  # fmt: skip
        odd += [f"{one.model}: {said}" for said in tables[one].attrs["odd"]]
        done += len(shares[one])
    return tables, odd


def _shares(folders: Sequence[Source], cases: Sequence[str]) -> dict[Source, list[str]]:
    """Return the references that each folder has to answer for: all, or its own where folds divide the cases.

    A case that no fold of a seed predicted is the first fold's to answer for.
    """
    shares: dict[Source, list[str]] = {}
    for key in dict.fromkeys((one.model, one.seed) for one in folders):
        own = [one for one in folders if (one.model, one.seed) == key]
        predicted = {one: set(label_files(one.path)) for one in own}
        counts = [case for there in predicted.values() for case in there]
        if len(own) == 1 or len(set(counts)) < len(counts):
            shares |= {one: [*cases] for one in own}
            continue
        lost = [case for case in cases if case not in set(counts)]
        shares |= {one: sorted(predicted[one]) for one in own}
        shares[own[0]] = sorted([*shares[own[0]], *lost])
    return shares


def _test(scores: pd.DataFrame, metrics: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    """Return the test to declare where none was asked for: of methods if any pair has the trainings for it."""
    names = list(pd.unique(scores["bundle"]))
    tidy = score_table.tidy(scores)
    whole = tidy[tidy["metric"].isin(metrics[:1])]
    shared, _ = shared_patients(whole)
    several = shared.groupby("model")["seed"].nunique().max() > 1
    return TWO_LEVEL if several and len(as_networks(shared, metrics, pairs, names)) < len(pairs) else "wilcoxon"


def _made(models: dict[str, tuple[str, ...]], reference: str | Path | None) -> Made:
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return Made(
        made=time.strftime("%Y-%m-%d"), benchmark=benchmark.__version__, reference=str(reference or ""),
        models=models, versions=versions, files={},
    )  # fmt: skip


def _write(
    study: Study, tables: Mapping[str, pd.DataFrame], made: Made, copied: tuple[Path, Path | None],
    earlier: Sequence[str],
) -> Compared:  # fmt: skip
    """Write the study, its tables and its report; ``copied`` are the manifest and, perhaps, a table of patients."""
    with _removing_if_empty(study.folder), replacing_files(study.folder) as whole:
        write_json(whole / "study.json", study.model_dump(mode="json", exclude_unset=True, exclude={"name"}))
        manifest, people = copied
        shutil.copyfile(manifest, whole / f"{study.data}.json")
        if people:
            ids = {case for table in tables.values() for case in table["case_id"]}
            copy_patients(people, whole / PATIENTS, ids)
        for name, table in tables.items():
            score_table.write(whole / "external" / f"{name}.csv", table)
        files = sorted(path for path in whole.rglob("*") if path.is_file())
        hashes = {path.relative_to(whole).as_posix(): _sha256(path) for path in files}
        write_json(whole / COMPARED, {**made.model_dump(mode="json"), "files": hashes})
        results = Results(study, tables=whole)
        publish.write(results, whole, study.folder)
        for name in earlier:
            if not (whole / name).exists():
                # An empty file removes what an earlier comparison left.
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (whole / name).touch()
    publish.renew_index(study)
    odd = [*results.limits, *study.notes]
    return Compared(study.folder, results.summary, results.comparisons, results.ranking, odd)


@contextmanager
def _removing_if_empty(place: Path) -> Iterator[None]:
    """Leave no empty folder behind where the block fails."""
    try:
        yield
    except InputError:
        with suppress(OSError):
            place.rmdir()
        raise


def _check_out(place: Path) -> list[str]:
    """Return the files that an earlier comparison left in a folder.

    Raises:
        InputError: if the folder holds anything that no comparison made, or that was changed since.
    """
    if place.exists() and not place.is_dir():
        raise InputError(f"{place}: expected a folder or nothing there, found a file.")
    names = [name for part in entries(place) for name in part] if place.exists() else []
    if not names:
        return []
    if COMPARED not in names:
        raise InputError(f"{place}: expected an empty folder or one that compare made, found {names[0]} in it.")
    known = declared.read(place / COMPARED, Made, "what was compared").files
    there = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
    own = {
        name: path
        for name, path in there.items()
        if name.split("/")[0] not in (*REMADE, *KEPT, COMPARED)
        or (name.startswith("figures/") and not path.name.startswith(DRAWN))
    }
    for name, path in own.items():
        if name not in known:
            raise InputError(f"{path}: expected only what compare wrote in {place}, found this file too.")
        if _sha256(path) != known[name]:
            raise InputError(f"{path}: expected it as compare wrote it, found it changed; choose another folder.")
    return sorted(name for name in there if name.split("/")[0] not in KEPT)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
