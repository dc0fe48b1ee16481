"""A study's scores to the table that its models are compared on, and what that table leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmark import stats
from benchmark.base.records import InputError
from benchmark.scoring import score_table
from benchmark.scoring.counts import SLICE, merge_parts
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS, METRICS
from benchmark.stats.patients import incomplete_runs
from benchmark.studies import bundle
from benchmark.studies.study import Study, apart, split_of

BETTER = {name: metric.better for name, metric in METRICS.items()}


class External(NamedTuple):
    """Another tool's scores of one model: their file, the model's rows as they are there, and a row for each score."""

    path: Path
    raw: pd.DataFrame
    scores: pd.DataFrame


@dataclass(frozen=True)
class Compared:
    """The tables between a study's files and its comparison.

    ``raw`` is ``scores.csv`` as it was read; ``every`` has a row for each score, with a case that several folds tested
    in parts joined; ``own`` is
    what the study's models have to compare and ``apart`` the rest without counts, such as models under another split,
    None where there is none; ``others`` are other tools' tables by the model's name. ``scores`` is what is compared,
    on the patients that every model was scored on, ``lesions`` the counts of lesions there (``lesion_counts``), and
    ``left_out`` says in sentences who is missing there, and which runs lack what others have.
    """

    raw: pd.DataFrame
    every: pd.DataFrame
    own: pd.DataFrame
    apart: pd.DataFrame | None
    others: dict[str, External]
    scores: pd.DataFrame
    lesions: pd.DataFrame
    left_out: list[str]


def compared_scores(study: Study) -> Compared:
    """Read a study's ``scores.csv`` and ``external/`` and keep what is compared.

    Raises:
        InputError: if there is no such table, no score of a segmentation, or no patient that all models have.
    """
    raw, others = score_table.read(study.folder / "scores.csv"), external(study)
    merged = joined(study, raw)
    every = score_table.tidy(merged)
    own = own_scores(study, every)
    tables = [own, *(_on_cases_of(own, other) for other in others.values())]
    scores, left_out = stats.shared_patients(pd.concat(tables, ignore_index=True))
    left_out += incomplete_runs(scores)
    lesions = lesion_counts([merged, *(other.raw for other in others.values())], scores)
    return Compared(raw, every, own, apart_scores(every, own), others, scores, lesions, left_out)


def joined(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    """Join cases that the folds of a split by slice tested in parts, in a table as ``score_table.read`` gives it."""
    return merge_parts(scores, [model.name for model in study.models if split_of(study, model) == "slice"])


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
    return other.scores[other.scores["case_id"].isin(shared.index) & ~other.scores["metric"].isin(COUNTS)]


def comparisons(study: Study, table: Compared) -> pd.DataFrame:
    """Compare what is declared, as ``comparisons.csv`` has it (``stats.compare``)."""
    return stats.compare(table.scores, study.compare, BETTER, _names(study, table))


def methods(study: Study, table: Compared) -> pd.DataFrame | None:
    """Declared pairs over patients and seeds, as ``methods.csv`` has them; None where no model has two seeds."""
    names, seeds = _names(study, table), table.scores.groupby("model")["seed"].nunique()
    if len(names) < 2 or seeds.max() < 2:
        return None
    return stats.compare_methods(table.scores, study.compare, BETTER, names)


def _names(study: Study, table: Compared) -> list[str]:
    return [*models(study, compared=True), *table.others]


def external(study: Study) -> dict[str, External]:
    """Read the tables of ``reports/<study>/external/``, made by ``benchmark score``, by the model's name.

    Raises:
        InputError: if a model there is named like one of the study's, or is in two files; then seeds would be mixed.
    """
    tables: dict[str, External] = {}
    for path in sorted((study.folder / "external").glob("*.csv")):
        raw = score_table.read(path)
        for name, rows in raw.groupby(score_table.model_names(raw)):
            if name in (*models(study), *tables):
                raise InputError(f"{path} holds scores of {name!r}: expected a name that no other model here has.")
            tables[str(name)] = External(path, rows, score_table.tidy(rows))
    return tables


def models(study: Study, compared: bool = False) -> list[str]:
    """Names of a study's models; with ``compared`` those that segment, under the split of the study."""
    left_out = set(apart(study)) if compared else set()
    return [
        model.name for model in study.models
        if model.name not in left_out
        and not (compared and bundle.read(model.bundle)["inference"].get("task") == "classification")
    ]  # fmt: skip


def own_scores(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of segmentations under the study's split: no counts, no slices, no model under another split.

    Raises:
        InputError: if there are none.
    """
    scores = stats.with_models(scores)
    left_out = scores["metric"].isin(COUNTS) | (scores["region"] == SLICE)
    kept = scores[~(left_out | scores["model"].isin(apart(study)))]
    if kept.empty:
        raise InputError(
            f"Study {study.name} has no scores of a segmentation: expected a finished run of a model that segments "
            "under the study's split."
        )
    return kept


def apart_scores(every: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of ``every`` that are not in ``own`` and no counts; None where there are none."""
    rest = every.drop(own.index)
    rest = rest[~rest["metric"].isin(COUNTS)]
    return rest if len(rest) else None


def lesion_counts(tables: Iterable[pd.DataFrame], scores: pd.DataFrame) -> pd.DataFrame:
    """Counts of lesions in rows of score files, of the models and on the cases and regions of ``scores``.

    Columns: model, patient_id, case_id, region and LESION_COUNTS, as far as the files have them.
    """
    columns = ["model", "patient_id", "case_id", "region", *LESION_COUNTS]
    every = pd.concat([table.assign(model=score_table.model_names(table)) for table in tables], ignore_index=True)
    return every.filter(columns).merge(scores[["model", "case_id", "region"]].drop_duplicates())
