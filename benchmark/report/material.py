"""All that a report is made from, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmark.papers.values import Paper
from benchmark.report import tables
from benchmark.report.deviations import Deviation, deviations
from benchmark.report.evidence import Plans
from benchmark.report.figures import Panel
from benchmark.scoring.metrics import METRICS
from benchmark.studies.study import Study


@dataclass(frozen=True)
class Material:
    """All that a report is made from; nothing else is read.

    ``study`` is study.json, ``manifest`` the data set's, ``scores`` and ``comparisons`` are the two tables (the latter
    by ``stats.compare``), ``plans`` are by ``evidence.plans``, ``ranking`` by ``stats.rank_models`` and ``methods`` by
    ``stats.compare_methods``, None where there is one model or, for methods, one seed. ``lesions`` are counts of
    lesions beside ``scores``, ``histories`` maps a run's id to its training history, ``panels`` are cases to show,
    ``folds`` is the folds file, ``missing`` maps the id of a run without scores to the reason, ``differences`` an id of
    the configs to each model's value, ``provenance`` names to values (nested mappings are flattened); ``warnings`` are
    sentences on the data or the runs. ``apart`` are scores of what is not compared with the others: of slices, and of
    models under another split.
    ``paper`` holds the printed numbers of the paper that the study is on.
    """

    study: Study
    manifest: Mapping[str, Any]
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    folds: Mapping[str, Any] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    plans: Plans | None = None
    ranking: pd.DataFrame | None = None
    methods: pd.DataFrame | None = None
    lesions: pd.DataFrame | None = None
    apart: pd.DataFrame | None = None
    paper: Paper | None = None
    metrics: tables.Metrics = field(default_factory=lambda: METRICS)

    @property
    def phantom(self) -> bool:
        """Whether the data were generated."""
        return self.manifest.get("source") == "phantom"

    @property
    def prefix(self) -> str:
        """What every caption opens with."""
        return tables.PHANTOM if self.phantom else ""

    @property
    def declared(self) -> list[str]:
        """Metrics that are compared, the primary one first."""
        return list(self.study.compare["metrics"])

    @property
    def models(self) -> list[str]:
        """Names of the declared models."""
        return [model.name for model in self.study.models]

    @property
    def every_score(self) -> pd.DataFrame:
        """Scores that are compared and those that are not."""
        return self.scores if self.apart is None else pd.concat([self.scores, self.apart], ignore_index=True)

    @property
    def deviations(self) -> list[Deviation]:
        """Declared deviations from the protocol, and native models' own settings."""
        return deviations(self.study, self.differences)
