"""Gather what a study's report sets beside a paper: printed numbers, our scores, settings and histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.base.files import read_table
from benchmark.base.records import Run
from benchmark.data.manifest import CaseList
from benchmark.papers import published
from benchmark.papers.values import Paper
from benchmark.studies import bundle
from benchmark.studies.study import Study


def paper(
    study: Study, runs: Sequence[Run], cases: CaseList, scores: pd.DataFrame, comparisons: pd.DataFrame
) -> Paper | None:
    """What the paper of a study printed, with all that its tables are set beside; None for a study on no paper."""
    path = published.find(study.folder)
    if path is None:
        return None
    printed = published.load(path)
    return Paper(
        published=printed,
        scores=scores,
        comparisons=comparisons,
        settings=_settings(study, runs, cases, printed),
        why_not=study.not_comparable,
        histories=histories(study),
    )


def histories(study: Study) -> dict[str, pd.DataFrame]:
    """Training histories of a study's table by the id of their run; none where it has no such table.

    Raises:
        InputError: if the file is no table of histories.
    """
    path = study.folder / "histories.csv"
    if not path.exists():
        return {}
    table = read_table(path, "a table of training histories", ["run"], ["epoch", "seconds"])
    return {str(run): rows.drop(columns="run").reset_index(drop=True) for run, rows in table.groupby("run", sort=False)}


def _settings(
    study: Study, runs: Sequence[Run], cases: CaseList, printed: published.Published
) -> dict[str, dict[str, Any]]:
    """Values of the ids that a printed table of settings names, from the configs of its model's first run."""
    first = {run.model: run for run in reversed(runs)}
    found: dict[str, dict[str, Any]] = {}
    for table in printed.tables:
        name = table.get("model", "")
        if table["kind"] == "settings" and name in first:
            config = bundle.frozen(first[name], study.data)["train"]
            values = {row["config"]: _at(config, row["config"]) for row in table["rows"] if "config" in row}
            found[name] = {**values, "modalities": ", ".join(cases.manifest.modalities)}
    return found


def _at(config: Any, key: str) -> Any:
    for part in key.split("#"):
        config = config.get(part) if isinstance(config, dict) else None
    return config
