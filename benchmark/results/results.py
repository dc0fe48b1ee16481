"""Read a study once, and hold every table that its report, its explanations and its check are made from."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.base import project
from benchmark.base.declared import cut_comments
from benchmark.base.files import read_json, read_table
from benchmark.base.records import Case, InputError, Run, model_name, number_of
from benchmark.data.characteristics import characteristics
from benchmark.data.folds import Fold, Sides, folds_path, load_folds, read_folds, read_sides
from benchmark.data.manifest import CaseList, Manifest, find_manifest, load_cases, manifest_of
from benchmark.data.prepare import DataSet
from benchmark.data.volumes import sha256_file
from benchmark.papers import published as printed
from benchmark.papers.values import Paper
from benchmark.report import evidence
from benchmark.report.costs import costs
from benchmark.report.document import CELL_COLUMNS
from benchmark.report.failures import Failures
from benchmark.report.figures import Panel, View
from benchmark.report.tables import Metrics, in_unit
from benchmark.results.failures import find_failures
from benchmark.results.made import made
from benchmark.results.other_tests import cautions
from benchmark.results.panels import panels, views
from benchmark.scoring import lesion_table, score_table
from benchmark.scoring.counts import SLICE, merge_parts
from benchmark.scoring.metrics import COUNTS, EVERY, LESION_COUNTS, METRICS, ON_REQUEST
from benchmark.stats.compare import compare, compare_methods, declared_pairs
from benchmark.stats.families import NETWORKS, family_sizes
from benchmark.stats.learned import Plateau, plateau
from benchmark.stats.other_tests import changes
from benchmark.stats.patients import incomplete_runs, shared_patients, summarise, with_models
from benchmark.stats.ranking import patient_ranks, rank_models
from benchmark.stats.sensitivity import sensitivity
from benchmark.stats.subgroups import COUNTED
from benchmark.studies import bundle, ensemble, provenance, store, tune
from benchmark.studies import other_tests as others
from benchmark.studies.study import Study, apart, split_of

BETTER = {name: metric.better for name, metric in METRICS.items()}
KEPT = ("calibration.csv", "reliability.csv", "ensembles.csv", "disagreement.csv")
"""What follows from the probabilities that runs kept; a study whose runs kept none has none of these files."""

GATHERED = ("scores.csv", "histories.csv", "provenance.json", lesion_table.NAME, *KEPT)
"""What is gathered from run folders; with study.json it is all that a report is made from, besides pictures."""

OUTPUTS = ("comparisons", "methods", "sensitivity", "subgroups", "recall", "ranking", "power", "costs", "other_tests")
"""Tables that follow from what is gathered and are written beside the report, each as a CSV file of that name."""

STALE_NAMED = 3
"""Runs of other settings up to which a sentence names them."""


PATIENTS, COMPARED = "patients.csv", "compared.json"
"""Beside the tables of a study that trains nothing: its table of patients, and what was compared."""


class External(NamedTuple):
    """Scores that no run of the study made, of another tool or an ensemble: their file, or the folder of several; the
    model's rows as they are there, and one row per score."""

    path: Path
    raw: pd.DataFrame
    scores: pd.DataFrame


class Results:
    """A study and its tables, each read or computed when it is first asked for.

    Tables that are ``given``, by the names of these properties, are taken as they are.
    """

    def __init__(self, study: Study, **given: Any) -> None:
        self.study = study
        vars(self).update(given)

    @cached_property
    def tables(self) -> Path:
        """Folder with the tables that were gathered: the study's, but while a report is being written."""
        return self.study.folder

    @cached_property
    def runs(self) -> list[Run]:
        """Every declared run."""
        return self.study.runs()

    @cached_property
    def done(self) -> list[Run]:
        """Declared runs that are scored on their own test cases on this machine."""
        return [run for run in self.runs if store.scored(run)]

    @cached_property
    def models(self) -> list[str]:
        """Names of the declared models."""
        return [model.name for model in self.study.models]

    @property
    def trains(self) -> bool:
        """Whether the study trains models; else it compares the tables in its folder ``external/`` only."""
        return bool(self.study.models)

    @cached_property
    def apart_models(self) -> list[str]:
        """Names of the models under another split than the study's."""
        return apart(self.study)

    @cached_property
    def segmenters(self) -> list[str]:
        """Names of the declared models that are compared: those that segment, under the split of the study."""
        return [
            model.name for model in self.study.models
            if model.name not in self.apart_models
            and bundle.read(self.study.recipe(model).bundle)["inference"].get("task") != "classification"
        ]  # fmt: skip

    @cached_property
    def compared_models(self) -> list[str]:
        """Names of all models that are compared; other tools' and ensembles that a declared pair names come last."""
        pairs = self.study.compare.get("pairs", "all")
        named = [] if pairs == "all" else [name for pair in pairs for name in pair]
        possible = [ensemble.name_of(model) for model in self.study.models if model.name in self.segmenters]
        return [*self.segmenters, *self.external, *(name for name in dict.fromkeys(possible) if name in named)]

    @cached_property
    def names(self) -> dict[str, str]:
        """What figures call each model that has another name there than in tables.

        Raises:
            InputError: for a name of no model here, or where two models would be called the same.
        """
        path, names = self.study.folder / "study.json", self.study.names
        known = dict.fromkeys([*self.models, *self.external, *self.ensembles])
        for name in set(names) - set(known):
            raise InputError(f"{path}: names: expected models of the study, {', '.join(known)}; found {name!r}.")
        shown = [names.get(name, name) for name in known]
        for name in {name for name in shown if shown.count(name) > 1}:
            raise InputError(f"{path}: names: expected a name of its own for each model, found {name!r} twice.")
        return names

    @cached_property
    def cases(self) -> CaseList:
        """The cases of the data set; where nothing is trained, those that were scored, by their ids alone."""
        if self.trains:
            return load_cases(self.study.data)
        ids = self.raw[["case_id", "patient_id"]].drop_duplicates().sort_values("case_id")
        cases = tuple(Case(case, patient, {}) for case, patient in ids.itertuples(index=False, name=None))
        return CaseList(self.study.data, self.manifest, cases)

    @cached_property
    def manifest(self) -> Manifest:
        """The description of the data set, from the study's own folder where nothing is trained."""
        return manifest_of(self.study.data) if self.trains else find_manifest(str(self._own_manifest))

    @property
    def _own_manifest(self) -> Path:
        return self.tables / f"{self.study.data}.json"

    @property
    def phantom(self) -> bool:
        """Whether the data were generated."""
        return self.manifest.source == "phantom"

    @cached_property
    def metrics(self) -> Metrics:
        """All metrics, in the unit of the data set."""
        return in_unit(EVERY, str(self.manifest.unit))

    @cached_property
    def folds(self) -> list[tuple[Sides | Fold, ...]]:
        """The folds of every partition of the study's own split, unchecked where they are in a file."""
        paths = {split: folds_path(self.study.data, split) for split in self.study.splits_of(self.study.split)}
        return [
            read_sides(path).folds if path.exists() else tuple(read_folds(self.study.data, split))
            for split, path in paths.items()
        ]

    @cached_property
    def raw(self) -> pd.DataFrame:
        """``scores.csv`` as it is; where nothing is trained, all tables of ``external``.

        Raises:
            InputError: if it has a run that the study does not declare, or of a split by slice what no fold tests; if
                a case is of two patients.
        """
        if not self.trains:
            joined = pd.concat([one.raw for one in self.external.values()], ignore_index=True)
            score_table.check_people(joined, self.tables / "external")
            return joined
        path = self.tables / "scores.csv"
        found = score_table.read(path)
        _check_declared(found, self.runs, path)
        _check_slices(self, found, path)
        return found

    @cached_property
    def merged(self) -> pd.DataFrame:
        """``scores.csv`` with each case joined that the folds of a split by slice tested in parts."""
        return merge_parts(self.raw, self._by_slice)

    @property
    def _by_slice(self) -> list[str]:
        return [model.name for model in self.study.models if split_of(self.study, model) == "slice"]

    @cached_property
    def every(self) -> pd.DataFrame:
        """One row per score and count of the study's models."""
        return score_table.tidy(self.merged)

    @cached_property
    def _external_files(self) -> dict[Path, pd.DataFrame]:
        """Tables of other tools' scores in the study's folder, by their files."""
        folder = (self.study.folder if self.trains else self.tables) / "external"
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() == ".csv")
        return {path: score_table.read(path) for path in paths}

    @cached_property
    def external(self) -> dict[str, External]:
        """Tables of ``reports/<study>/external/``, made by ``benchmark score``, by the model's name.

        Raises:
            InputError: if a model there is named like one of the study's, or one training of it is in two files; if
                there is none and nothing is trained.
        """
        if not self.trains and not self._external_files:
            raise InputError(
                f"{self.tables / 'external'}: expected a table of scores, as the study trains nothing, found none."
            )
        parts: dict[str, dict[Path, pd.DataFrame]] = {}
        for path, raw in self._external_files.items():
            for name, rows in raw.groupby(score_table.model_names(raw)):
                if name in self.models:
                    raise InputError(f"{path} holds scores of {name!r}: expected a name that no other model here has.")
                parts.setdefault(str(name), {})[path] = rows
        tables = {name: _whole(name, own) for name, own in parts.items()}
        if self.trains:
            return tables
        given = [name for name in self.origin.get("models", ()) if name in tables]
        return {name: tables[name] for name in dict.fromkeys([*given, *tables])}

    @cached_property
    def ensembles(self) -> dict[str, External]:
        """Scores of ensembles over seeds, by the ensemble's name; none where runs kept no probabilities."""
        path = self.tables / "ensembles.csv"
        raw = score_table.read(path) if path.exists() and path.stat().st_size else pd.DataFrame()
        rows = raw.groupby(score_table.model_names(raw), sort=False) if len(raw) else ()
        return {str(name): External(path, own, score_table.tidy(own)) for name, own in rows}

    @cached_property
    def ensemble_of(self) -> dict[str, str]:
        """The model that each ensemble joins the seeds of; of models under another split none."""
        found = {ensemble.name_of(run): run.model for run in self.runs if run.model in self.segmenters}
        return {name: found[name] for name in self.ensembles if name in found}

    @property
    def added(self) -> dict[str, External]:
        """Tables of ``external`` that are no part of ``raw``."""
        return self.external if self.trains else {}

    @property
    def beside(self) -> dict[str, External]:
        """Scores that no run of the study made: other tools' and ensembles'."""
        return {**self.external, **self.ensembles}

    def kept(self, name: str) -> pd.DataFrame | None:
        """A table of KEPT, by its name without ending: rows of compared models and their ensembles; None without any.

        Raises:
            InputError: if it is no such table.
        """
        path, (columns, numbers) = self.tables / f"{name}.csv", ensemble.TABLES[name]
        if not path.exists() or not path.stat().st_size:
            return None
        table = read_table(path, f"a table of {name}", [*columns, *numbers], numbers, dtype=score_table.TYPES)
        score_table.check_version(table, path)
        table = table.assign(model=score_table.model_names(table))
        table = table[table["model"].isin([*self.segmenters, *self.ensemble_of])]
        return table if len(table) else None

    @cached_property
    def own(self) -> pd.DataFrame:
        """Scores of segmentations under the study's split: no counts, no slices, no model under another split.

        Metrics that are scored on request are left out too: they stand beside a paper's numbers.

        Raises:
            InputError: if there are none.
        """
        scores = with_models(self.every)
        left_out = scores["metric"].isin([*COUNTS, *ON_REQUEST]) | (scores["region"] == SLICE)
        kept = scores[~(left_out | scores["model"].isin(self.apart_models))]
        if kept.empty:
            raise InputError(
                f"Study {self.study.name} has no scores of a segmentation: expected a finished run of a model that "
                "segments under the study's split."
            )
        return kept

    def rows(self, model: str) -> pd.DataFrame:
        """All rows of a model, counts included, with no patient left out."""
        rows = self.beside[model].scores if model in self.beside else self.every
        return rows[rows["model"] == model]

    def regions(self, model: str) -> list[str]:
        """Regions in which a model has scores, slices left out."""
        return [str(name) for name in pd.unique(self.rows(model)["region"]) if name != SLICE]

    @cached_property
    def apart(self) -> pd.DataFrame:
        """Scores that are compared with no others: of slices, and of models under another split; no counts."""
        rest = with_models(self.every).drop(self.own.index)
        return rest[~rest["metric"].isin([*COUNTS, *ON_REQUEST])]

    @cached_property
    def _shared(self) -> tuple[pd.DataFrame, dict[str, str]]:
        # Of a split by slice a run may have tested a part of a case.
        own = {self.tables / "scores.csv": self.raw} if self.trains and not self._by_slice else {}
        score_table.check_references(own | self._external_files)
        if not self.trains:
            lacking = set(self._lacking_metrics)
            return shared_patients(self.own[~self.own["metric"].isin(lacking)])
        beside = {**self.added, **self.ensembles}
        declared = [other for name, other in beside.items() if name in self.compared_models]
        tables = [self.own, *(_on_cases_of(self.own, other) for other in declared)]
        return shared_patients(pd.concat(tables, ignore_index=True))

    @property
    def _lacking_metrics(self) -> dict[str, list[str]]:
        """The metrics that only some tables of ``external`` have, with the models that have none."""
        there = self.own.groupby("metric", sort=False)["model"].unique()
        models = list(pd.unique(self.own["model"]))
        return {
            str(name): [one for one in models if one not in own]
            for name, own in there.items()
            if len(own) < len(models)
        }

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores that are compared, on the patients that every model was scored on."""
        return self._shared[0]

    @cached_property
    def limits(self) -> list[str]:
        """Sentences on models that keep patients out of ``scores``, and on how to leave out those of other tools."""
        found = []
        for name, said in self._shared[1].items():
            if not self.trains:
                said += f" To compare the others without it, leave {name} out of the command."
            elif name in self.added:
                said += f" To compare the others without it, move {self.added[name].path.name} out of external/."
            found.append(said)
        return found

    @cached_property
    def incomplete(self) -> list[str]:
        """Sentences on runs that lack what others have."""
        shared = len(self.study.splits_of(self.study.split)) == 1
        # Another tool's fold and seed say nothing of whom it was tested on.
        known = self.scores if shared else self.scores[~self.scores["model"].isin(self.added)]
        return incomplete_runs(known, shared)

    @cached_property
    def counted(self) -> pd.DataFrame:
        """Counts on the cases and regions of ``scores``, one row per run, as ``subgroups.COUNTED``."""
        tables = [self.merged, *(other.raw for other in self.added.values())]
        every = pd.concat([table.assign(model=score_table.model_names(table)) for table in tables], ignore_index=True)
        shared = self.scores[["model", "case_id", "region"]].drop_duplicates()
        return every.reindex(columns=[*COUNTED]).merge(shared)

    @cached_property
    def lesions(self) -> pd.DataFrame:
        """Counts of lesions on the cases and regions of ``scores``.

        Columns: model, patient_id, case_id, region and LESION_COUNTS.
        """
        return self.counted[["model", "patient_id", "case_id", "region", *LESION_COUNTS]]

    @cached_property
    def single_lesions(self) -> pd.DataFrame:
        """Lesions of the reference on the cases and regions of ``scores``, one row per model (``lesion_table.MEANS``).

        Empty where no run has a table of them.
        """
        path = self.tables / lesion_table.NAME
        if not path.exists() or not path.stat().st_size:
            return pd.DataFrame(columns=["model", *lesion_table.MEANS])
        table = lesion_table.read(path, lesion_table.MEANS)
        shared = self.scores[["model", "case_id", "region"]].drop_duplicates()
        return table.assign(model=score_table.model_names(table)).merge(shared)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Means over patients (``stats.summarise``) of the compared scores."""
        return summarise(self.scores)

    @cached_property
    def ensemble_scores(self) -> pd.DataFrame:
        """Scores, on the compared patients, of ensembles that are no part of the comparison; no counts."""
        rest = [self.ensembles[name].scores for name in self.ensemble_of if name not in self.compared_models]
        scores = pd.concat([self.scores.iloc[:0], *rest], ignore_index=True)
        return scores[scores["patient_id"].isin(self.scores["patient_id"]) & ~scores["metric"].isin(COUNTS)]

    @property
    def several(self) -> bool:
        """Whether more than one model is compared."""
        return bool(self.scores["model"].nunique() > 1)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Declared comparisons, as ``comparisons.csv`` has them (``stats.compare``)."""
        return compare(self.scores, self.study.compare, BETTER, self.compared_models, self.external)

    @cached_property
    def methods(self) -> pd.DataFrame | None:
        """Declared pairs as methods, as ``methods.csv`` has them; None where no model has two seeds, or no pair."""
        if len(self.compared_models) < 2 or self.scores.groupby("model")["seed"].nunique().max() < 2:
            return None
        found = compare_methods(self.scores, self.study.compare, BETTER, self.compared_models, self.external)
        return found if len(found) else None

    @cached_property
    def sensitivity(self) -> pd.DataFrame | None:
        """Declared pairs by other methods, as ``sensitivity.csv`` has them; None where one model is compared."""
        return sensitivity(self.scores, self.study.compare, BETTER, self.compared_models) if self.several else None

    @cached_property
    def failures(self) -> Failures | None:
        """Where the compared models fail by the primary metric; None where there are no counts."""
        if self.counted.empty:
            return None
        declared, unit = self.study.compare, self.metrics["volume_error"].unit
        metric, pairs = self.metrics[declared["metrics"][0]], declared_pairs(self.compared_models, declared)
        return find_failures(self.scores, self.counted, self.known, metric, pairs, unit, self.single_lesions)

    @cached_property
    def known(self) -> pd.DataFrame:
        """What is known of each patient beside the scans, from ids and from a table of patients."""
        return characteristics(self.cases, None if self.trains else self.tables / PATIENTS)

    @property
    def subgroups(self) -> pd.DataFrame | None:
        """Scores by group of patients, as ``subgroups.csv`` has them; None where no group can be shown."""
        if self.failures is None or self.failures.subgroups.empty:
            return None
        return self.failures.subgroups.map(_six_digits)

    @property
    def recall(self) -> pd.DataFrame | None:
        """Share of lesions found by their volume, as ``recall.csv`` has it; None without a table of lesions."""
        if self.failures is None or self.failures.by_lesion.empty:
            return None
        return self.failures.by_lesion.map(_six_digits)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Mean rank of each compared model for each patient."""
        return patient_ranks(self.scores, self.study.compare["metrics"], BETTER)

    @cached_property
    def ranking(self) -> pd.DataFrame | None:
        """Order of the compared models, as ``ranking.csv`` has it; None where there is one."""
        return rank_models(self.ranks) if self.several else None

    @cached_property
    def needed(self) -> evidence.PatientsNeeded | None:
        """Patients needed to show small differences by the declared metrics; None where one model is compared."""
        there = [name for name in pd.unique(self.scores["metric"]) if name in self.study.compare["metrics"]]
        return self.needed_by(there) if self.several else None

    def needed_by(self, metrics: Sequence[str]) -> evidence.PatientsNeeded:
        """Patients needed to show small differences by ``metrics``."""
        return evidence.needed(self.scores, self.study.compare, metrics, family_sizes(self.comparisons))

    @cached_property
    def power(self) -> pd.DataFrame | None:
        """Rows behind the medians of the report's table of power, as ``power.csv`` has them; None without any.

        ``of`` says whether a row is of these networks or of the methods; what is the same in every row is left out.
        """
        if self.needed is None:
            return None
        tables = [rows.assign(of=of) for of, rows in self.needed._asdict().items()]
        rows = pd.concat([rows for rows in tables if len(rows)] or tables)
        if rows.empty:
            return None
        same = ("of", "test", "n_patients", "n_folds", "power", "alpha", "alpha_family")
        # A size of samples from an estimated spread has no more digits than this.
        kept = rows[["of", *(name for name in rows if name not in same)]]
        rounded: pd.DataFrame = kept.map(_six_digits)
        return rounded

    @cached_property
    def other_scores(self) -> dict[str, pd.DataFrame]:
        """Scores of the declared other tests that there are, one row per score and count, by the test's name."""
        tests = {test: self.tables / f"scores.{test.name}.csv" for test in self.study.other_tests}
        raw = {test: score_table.read(path) for test, path in tests.items() if path.exists()}
        for test, scores in raw.items():
            _check_declared(scores, self.runs, tests[test])
        return {
            test.name: score_table.tidy(scores if test.data else merge_parts(scores, self._by_slice))
            for test, scores in raw.items()
        }

    @cached_property
    def other_tests(self) -> pd.DataFrame | None:
        """Means and changes in other tests by the declared metrics, as ``other_tests.csv`` has them; None without any.

        Models under another split are among them; nothing here is compared between models.
        """
        declared = self.study.compare["metrics"]
        tables = [
            changes(self.every, self.other_scores[test.name], declared, not test.data).assign(test=test.name)
            for test in self.study.other_tests
            if test.name in self.other_scores
        ]
        found = pd.concat([table for table in tables if len(table)] or [pd.DataFrame()])
        return None if found.empty else found[["test", *(name for name in found if name != "test")]]

    @cached_property
    def histories(self) -> dict[str, pd.DataFrame]:
        """Training histories by the id of their run; none where the study has no table of them."""
        path = self.tables / "histories.csv"
        if not path.exists():
            return {}
        rows = read_table(path, "a table of training histories", ["run"], ["epoch", "seconds"])
        by_run = rows.groupby("run", sort=False)
        return {str(run): own.drop(columns="run").reset_index(drop=True) for run, own in by_run}

    @cached_property
    def plateaus(self) -> dict[str, Plateau]:
        """Whether each training with a history ended on its plateau, by the id of its run."""
        found = {}
        for run, history in self.histories.items():
            made, config = self.provenance.runs.get(run), self.configs.get(model_name(*run.split("/")[:2]), {})
            epochs = (made.overrides if made else {}).get("max_epochs", config.get("max_epochs"))
            if isinstance(epochs, int):
                found[run] = plateau(history, epochs)
        return found

    @cached_property
    def provenance(self) -> provenance.Provenance:
        """``provenance.json``; without runs where nothing is trained."""
        if not self.trains:
            nothing: dict[str, Any] = {key: {} for key in ("folds_sha256", "code", "runs")}
            return provenance.Provenance(gathered="", cases_sha256="", versions=(), **nothing)
        return provenance.read(self.tables)

    @cached_property
    def costs(self) -> pd.DataFrame | None:
        """What each model cost, as ``costs.csv`` has it; None where no run is on record."""
        if not self.trains:
            return None
        tested = self.raw.groupby(["bundle", "variant", "fold", "seed"])["case_id"].nunique()
        keys = tested.index.to_list()
        cases = {Run("", *key).id: int(count) for key, count in zip(keys, tested, strict=True)}
        models = {
            model.name: f"{model.joining} and costs what they do together" if model.joins else ""
            for model in self.study.models
        }
        ensembles = {model.name: model.ensemble for model in self.study.models if model.ensemble}
        models |= dict.fromkeys(self.external, "made by another tool, at a cost that is not known")
        return costs(self.provenance, self.histories, cases, models, ensembles)

    @cached_property
    def origin(self) -> dict[str, Any]:
        """What the report prints of where the scores are from."""
        if not self.trains:
            path = self.tables / COMPARED
            return read_json(path, "what was compared") if path.exists() else {}
        return provenance.summary(self.provenance, self.histories)

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """Training config of each model's first run; an ensemble has none of its own."""
        first = {run.model: run for run in reversed(self.runs) if not run.by}
        return {name: bundle.frozen(run, self.study.data)["train"] for name, run in reversed(first.items())}

    @cached_property
    def differences(self) -> Mapping[str, Mapping[str, Any]]:
        """Ids in which the models' training configs differ, each with its value by model."""
        return bundle.differences(self.configs)

    @cached_property
    def missing(self) -> dict[str, str]:
        """Ids of the declared runs without scores, with the reason."""
        if not self.trains:
            return {}
        keys = self.raw[["bundle", "variant", "fold", "seed"]].drop_duplicates()
        have = {Run("", *key).id for key in keys.itertuples(index=False, name=None)}
        lost = [run for run in self.runs if run.id not in have]
        return {run.id: store.last_error(run) if store.state(run) == "failed" else "not run" for run in lost}

    @cached_property
    def warnings(self) -> list[str]:
        """Sentences on the data, on what runs lack, and on how they were made."""
        return [
            *score_table.contradicted(self.raw),
            *self.study.notes,
            *self.cases.warnings,
            *_lacking(self.known),
            *self.incomplete,
            *_without_metrics({} if self.trains else self._lacking_metrics),
            *_of_tools(self),
            *_of_runs(self),
            *cautions(self),
        ]

    @cached_property
    def panels(self) -> list[Panel]:
        """The best, median and worst case of each segmenter, as far as their run folders are here."""
        return panels([run for run in self.done if run.model in self.segmenters], self.cases, self.every)

    @cached_property
    def views(self) -> list[View]:
        """Cases from best to worst, each beside all segmenters, as far as their run folders are here."""
        return views([run for run in self.done if run.model in self.segmenters], self.cases, self.every)

    @cached_property
    def published(self) -> printed.Published | None:
        """What the study's paper prints; None in a study on no paper."""
        path = printed.find(self.study.folder) if self.trains else None
        return None if path is None else printed.load(path)

    @cached_property
    def paper(self) -> Paper | None:
        """What the study's paper prints, with all that it is set beside; None in a study on no paper."""
        if self.published is None:
            return None
        settings = {}
        for table in self.published.tables:
            name = table.get("model", "")
            if table["kind"] == "settings" and name in self.configs:
                keys = [row["config"] for row in table["rows"] if "config" in row]
                settings[name] = {key: _at(self.configs[name], key) for key in keys}
                settings[name]["modalities"] = ", ".join(self.cases.manifest.modalities)
        why = self.study.not_comparable
        tests, histories = self.comparisons, self.histories
        return Paper(self.published, self.every, tests, settings, made(self), why, histories, self.costs)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The numbers that the study's report prints, by what they show; none where there is no report."""
        path = self.study.folder / "cells.csv"
        if not path.exists():
            return pd.DataFrame(columns=list(CELL_COLUMNS))
        found = read_table(path, "a list of a report's cells", CELL_COLUMNS, dtype=str, keep_default_na=False)
        return found.replace("^'(?=[=+@-])", "", regex=True)

    def files(self, beside: Path | None = None) -> dict[str, str]:
        """Hashes of the files that the report is made from and of the tables beside it, by their path from reports/.

        That of a ``study.json`` is of what it would be without comments.
        ``beside`` holds these tables while they are not yet in the study's folder. A local table of patients is not
        among them: from the hash of a few columns of a few patients what they hold could be guessed.
        """
        if not self.trains:
            return self._files_of_tables(beside)
        place = self.study.folder
        gathered = [*GATHERED, *(f"scores.{test.name}.csv" for test in self.study.other_tests)]
        paths = [*declarations(place / "study.json"), *(place / name for name in gathered), *self._external_files]
        if paper := printed.find(place):
            paths.append(paper)
        if self.study.tune:
            paths.append(tune.path_of(self.study))
        there = {path: self.tables / path.name if path.name in gathered else path for path in paths}
        there |= {place / f"{name}.csv": (beside or place) / f"{name}.csv" for name in OUTPUTS}
        return {
            Path(os.path.relpath(path, project.reports())).as_posix(): _hash(now)
            for path, now in there.items()
            if now.exists() and now.stat().st_size
        }

    def _files_of_tables(self, beside: Path | None) -> dict[str, str]:
        """As ``files``, where nothing is trained, by their paths from the folder above the study's."""
        own = [self.tables / name for name in ("study.json", PATIENTS, COMPARED)]
        paths = {path.relative_to(self.tables): path for path in (*own, self._own_manifest, *self._external_files)}
        paths |= {Path(f"{name}.csv"): (beside or self.tables) / f"{name}.csv" for name in OUTPUTS}
        return {
            (self.study.name / name).as_posix(): _hash(path)
            for name, path in paths.items()
            if path.exists() and path.stat().st_size
        }


def _hash(path: Path) -> str:
    if path.name != "study.json":
        return sha256_file(path)
    return hashlib.sha256(cut_comments(path.read_bytes().decode()).encode()).hexdigest()


def _lacking(known: pd.DataFrame) -> list[str]:
    if lacking := known.attrs.get("lacking", 0):
        return [f"{known.attrs['table']} has no row for {lacking} of {len(known)} patients, who are in no group by it."]
    return []


def _check_declared(scores: pd.DataFrame, declared: Sequence[Run], path: Path) -> None:
    """Refuse scores of a run that the study does not declare."""
    keys = scores[["bundle", "variant", "fold", "seed"]].drop_duplicates()
    for more in {Run("", *key).id for key in keys.itertuples(index=False, name=None)} - {run.id for run in declared}:
        raise InputError(
            f"{path}: expected runs that study.json declares, found {more}; declare it or remove its rows."
        )


def _check_slices(results: Results, scores: pd.DataFrame, path: Path) -> None:
    """Refuse scores of slices that a fold does not test: of a case repeated in another fold, or of the whole volume.

    Each row's voxels must be those of its slices, as far as the folds, the case list and the counts are there to tell.

    Raises:
        InputError: naming the first row.
    """
    columns = ("bundle", "variant", "fold", "seed")
    split_of_run = {tuple(getattr(run, key) for key in columns): run.overrides.get("split", "") for run in results.runs}
    splits = [split_of_run[key] for key in scores[[*columns]].itertuples(index=False, name=None)]
    data, slices = results.study.data, dict[tuple[str, int], tuple[Counter[str], Counter[str]]]()
    for split in {one for one in splits if one.startswith("slice") and folds_path(data, one).exists()}:
        for number, fold in enumerate(load_folds(data, split)):
            test, every = (Counter(unit.rpartition("/")[0] for unit in part) for part in (fold.test, fold.units))
            slices[split, number] = test, every
    if not slices or not {*COUNTS} <= {*scores}:
        return
    sizes = {case.case_id: math.prod(case.shape) for case in results.cases.cases}
    told = scores[[*COUNTS]].notna().all(axis="columns") & (scores["region"] != SLICE) & scores["case_id"].isin(sizes)
    voxels, folds, cases = (
        scores[[*COUNTS]].sum(axis="columns").tolist(),
        scores["fold"].tolist(),
        list(scores["case_id"]),
    )
    for index in np.flatnonzero(told):
        split, fold, case = splits[index], folds[index], cases[index]
        if (split, fold) not in slices:
            continue
        test, every = slices[split, fold]
        if voxels[index] != (expected := sizes[case] * test[case] // max(every[case], 1)):
            raise InputError(
                f"{path}: expected {expected} voxels of case {case} in fold {fold}, those of the slices that it tests, "
                f"found {voxels[index]:.0f}; run and score it again."
            )


def _whole(name: str, parts: Mapping[Path, pd.DataFrame]) -> External:
    """Join the tables of another tool's trainings, each of which is in one of them."""
    found: dict[tuple[int, int], Path] = {}
    for path, rows in parts.items():
        for fold, seed in rows[["fold", "seed"]].drop_duplicates().itertuples(index=False, name=None):
            if found.setdefault((fold, seed), path) != path:
                raise InputError(
                    f"{path} holds scores of {name!r} of fold {fold} and seed {seed}, as {found[fold, seed]} does: "
                    "expected each training in one table."
                )
    # Each file counts its rows from 0.
    raw, path = pd.concat(list(parts.values()), ignore_index=True), next(iter(parts))
    place = path if len(parts) == 1 else path.parent
    score_table.check_people(raw, place)
    return External(place, raw, score_table.tidy(raw))


def _six_digits(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _at(config: Any, key: str) -> Any:
    """The value of an id of a config, None where there is none."""
    for part in key.split("#"):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def declarations(path: Path) -> Iterator[Path]:
    """A ``study.json`` and those that it extends."""
    yield path
    if path.exists() and (parent := read_json(path, "a study").get("extends")):
        yield from declarations(project.reports() / parent / "study.json")


def _on_cases_of(own: pd.DataFrame, other: External) -> pd.DataFrame:
    """Another tool's scores on the cases that the study tested, without counts; it may have been scored on more.

    Raises:
        InputError: if there is no such case, or one of another patient.
    """
    patients = own.drop_duplicates("case_id").set_index("case_id")["patient_id"]
    theirs = other.scores.drop_duplicates("case_id").set_index("case_id")["patient_id"]
    shared = theirs[theirs.index.isin(patients.index)]
    if shared.empty:
        raise InputError(
            f"{other.path}: expected cases of the study, such as {patients.index[0]}, found {len(theirs)} others, such "
            f"as {theirs.index[0]}."
        )
    wrong = shared[shared != patients[shared.index]]
    if len(wrong):
        case = wrong.index[0]
        raise InputError(f"{other.path}: expected case {case} of patient {patients[case]}, found {wrong[case]}.")
    return other.scores[
        other.scores["case_id"].isin(shared.index) & ~other.scores["metric"].isin([*COUNTS, *ON_REQUEST])
    ]


def _without_metrics(lacking: Mapping[str, Sequence[str]]) -> list[str]:
    by_models: dict[str, list[str]] = {}
    for metric, models in lacking.items():
        by_models.setdefault(", ".join(models), []).append(metric)
    return [f"Not compared, as {models} has no such scores: {', '.join(names)}." for models, names in by_models.items()]


def _of_tools(results: Results) -> list[str]:
    if not results.added:
        return []
    found = [f"{', '.join(results.added)}: label maps of another tool; how it was trained, and on whom, is not known."]
    tests = results.comparisons
    corrected = tests.loc[tests["family"] != NETWORKS, ["model_a", "model_b"]].isin([*results.added]).any(axis=None)
    if results.study.compare.get("pairs", "all") == "all" and corrected:
        found.append("As all pairs are compared, each model of another tool enlarges the family of comparisons.")
    if (tests["family"] == NETWORKS).any():
        found.append(
            "Where another tool's model has too few trainings to be compared as a method, it is compared as the "
            "network it is, by Wilcoxon's test over patients, in a family of comparisons of its own."
        )
    return found


def _of_runs(results: Results) -> list[str]:
    """Sentences on runs that do not fit together, or not the study as it is now."""
    recorded = results.provenance
    found = provenance.leaks(recorded)
    if stale := _stale(results):
        parts = ", ".join(sorted({part for parts in stale.values() for part in parts}))
        listed = ", ".join([*list(stale)[:STALE_NAMED], *["…"] * (len(stale) > STALE_NAMED)])
        found.append(
            f"{_were(stale)} made before a change in {parts}: {listed}. Do not compare them (`benchmark plan` "
            "lists them)."
        )
    if recorded.mixed:
        found.append("The runs were made with different library versions or different code (provenance.json).")
    trained = [stage for run in recorded.runs.values() for kind, stage in (run.stages or {}).items() if kind == "train"]
    if len({(stage.device, stage.precision) for stage in trained}) > 1:
        found.append("The runs were trained on different devices or in different precision (provenance.json).")
    if any(run.commit.endswith("-dirty") or run.commit == "unknown" for run in recorded.runs.values()):
        found.append("Some runs were made from a working tree with uncommitted changes.")
    declared = {run.id: run.overrides for run in results.runs}
    changed = [id_ for id_, run in recorded.runs.items() if run.overrides != declared.get(id_)]
    if changed:
        first = recorded.runs[changed[0]].overrides
        extra = {k: v for k, v in first.items() if declared.get(changed[0], {}).get(k) != v}
        found.append(
            f"{_were(changed)} made with other settings than study.json declares now: {', '.join(extra)} "
            "(provenance.json)."
        )
    return found


def _were(runs: Collection[str]) -> str:
    return f"{number_of(len(runs), 'run')} {'was' if len(runs) == 1 else 'were'}"


def _stale(results: Results) -> dict[str, list[str]]:
    """Runs whose configs, manifest, folds or cases are no longer the project's, and which of these differ."""
    found = {}
    for run in results.done:
        record = store.read_record(store.folder(run))
        as_run = dataclasses.replace(run, overrides=record.overrides)
        configs = bundle.frozen(as_run, results.study.data)
        data = DataSet(results.study.data, configs["train"]["split"])
        what = store.identity(as_run, data, configs)
        changed = {run.id: store.differing(record, what)}
        for test in others.begun(run):
            recorded = store.read_record(store.other_folder(run, test))
            changed[f"{run.id} on {test.name}"] = store.differing(recorded, others.identity(run, test, what))
        for name, keys in changed.items():
            if differing := sorted({key.partition("#")[0] for key, _, _ in keys} - {"versions", "code"}):
                found[name] = differing
    return found
