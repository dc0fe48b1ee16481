"""A study to the tables that its report's numbers are from, and a model to the files and runs of its scores."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from benchmark import stats
from benchmark.base.files import read_table
from benchmark.base.records import Run, model_name
from benchmark.data.manifest import manifest_of
from benchmark.papers import published
from benchmark.papers.reproduce import histories
from benchmark.report import Paper
from benchmark.report.tables import Metrics, in_unit
from benchmark.results import compared
from benchmark.results.compared import BETTER, Compared
from benchmark.results.explain.counts import REPORT
from benchmark.scoring.counts import POOLED_MEASURES, SLICE
from benchmark.scoring.metrics import METRICS
from benchmark.studies import provenance, store
from benchmark.studies.study import Study

PAIR = ("metric", "region", "model_a", "model_b")
"""Columns that name a row of ``comparisons.csv`` and ``methods.csv``."""


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


@dataclass(frozen=True)
class Tables:
    """What a study's report is made from, as far as numbers go.

    ``comparisons`` is empty where ``comparisons.csv`` is not there, which ``warnings`` says. ``metrics`` are in the
    unit of the data. ``paper`` has no tables in a study on no paper.
    """

    study: Study
    compared: Compared
    comparisons: pd.DataFrame
    metrics: Metrics
    paper: Paper
    warnings: list[str]

    @property
    def known(self) -> list[str]:
        """Models that are compared."""
        return models_of(self.compared.scores)

    @property
    def apart(self) -> list[str]:
        """Models that have scores and are not compared."""
        rest = self.compared.apart
        return [name for name in models_of(rest) if name not in self.known] if rest is not None else []

    @cached_property
    def counted(self) -> pd.DataFrame:
        """All scores with their counts as files have them, a row a region, cases tested in parts joined."""
        others = (other.raw for other in self.compared.others.values())
        return pd.concat([compared.joined(self.study, self.compared.raw), *others], ignore_index=True)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """The ranking of the compared models, made as the report makes it."""
        return stats.rank_models(self.ranks)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Mean rank of each model for each patient."""
        return stats.patient_ranks(self.compared.scores, self.study.compare["metrics"], BETTER)

    @cached_property
    def made_comparisons(self) -> pd.DataFrame:
        """The declared comparisons, made as the report makes them."""
        return compared.comparisons(self.study, self.compared)

    @cached_property
    def made_methods(self) -> pd.DataFrame | None:
        """The comparison of methods, made as the report makes it."""
        return compared.methods(self.study, self.compared)

    @cached_property
    def methods(self) -> pd.DataFrame | None:
        """Comparison of methods: ``methods.csv``, or made as the report makes it; None where there is none."""
        path = self.study.folder / "methods.csv"
        if not path.exists():
            return self.made_methods
        return read_table(path, "a table of methods", PAIR, ["difference", "p", "p_holm"])

    def paper_of(self, model: str) -> Paper:
        """What papers' numbers of a model are computed from: the study's scores, or another tool's own."""
        others = self.compared.others
        return dataclasses.replace(self.paper, scores=others[model].scores) if model in others else self.paper

    def pooled_names(self, region: str | None) -> tuple[str, ...]:
        """Measures of pooled counts that a report prints: of slices those of a classifier's report, else its paper's.

        Elsewhere "Dice" is a mistyped "dice", and not the Dice of all cases together.
        """
        if region == SLICE:
            return REPORT
        return tuple(POOLED_MEASURES) if self.paper.published.tables else ()

    @property
    def report_scores(self) -> pd.DataFrame:
        """Scores that tables on two splits are made from; only a paper's have counts."""
        if self.paper.published.tables or self.compared.apart is None:
            return self.compared.every
        return pd.concat([self.compared.scores, self.compared.apart], ignore_index=True)


def load(study: Study) -> Tables:
    """Read a study's tables.

    Raises:
        InputError: for a study without scores, or whose ``comparisons.csv`` is none.
    """
    table, metrics = compared.compared_scores(study), in_unit(METRICS, str(manifest_of(study.data).unit))
    comparisons, warnings = _comparisons(study)
    path = published.find(study.folder)
    printed = published.load(path) if path else published.Published.model_construct(tables=())
    paper = Paper(
        published=printed,
        scores=table.every,
        comparisons=comparisons,
        why_not=study.not_comparable,
        histories=histories(study),
    )
    return Tables(study, table, comparisons, metrics, paper, warnings)


def _comparisons(study: Study) -> tuple[pd.DataFrame, list[str]]:
    path = study.folder / "comparisons.csv"
    if not path.exists():
        said = f"{path} does not exist: no comparison was made yet; run `benchmark report {study.name}`."
        return pd.DataFrame(columns=list(stats.COMPARISON_COLUMNS)), [said]
    numbers = ("mean_a", "sd_a", "mean_b", "sd_b", "n_patients", "difference", "p", "p_holm")
    return read_table(path, "a table of comparisons", [*PAIR, *numbers], numbers), []


def models_of(scores: pd.DataFrame) -> list[str]:
    """Names of the models of a score table, in order of appearance."""
    pairs = scores[["bundle", "variant"]].drop_duplicates()
    return [model_name(*pair) for pair in pairs.itertuples(index=False, name=None)]


def source_of(study: Study, table: Compared, model: str) -> str:
    """File that the model's rows are in."""
    if model not in table.others:
        return str(study.folder / "scores.csv")
    return str(table.others[model].path)


def runs_used(study: Study, table: Compared, model: str, own: pd.DataFrame) -> list[RunUsed]:
    """Every run that the study declares of a model, and any other that it has scores of; none of another tool's."""
    if model in table.others:
        return []
    raw, path = table.raw, study.folder / "provenance.json"
    known = provenance.read(study).runs if path.exists() else {}
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
