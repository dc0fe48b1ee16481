"""Scores of one model under two splits to a table of how much the split alone is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.pooled import SLICE
from benchmark.records import declared_name
from benchmark.report.document import Block, Cell, Heading, Table
from benchmark.report.paper import gap_cells
from benchmark.report.paper_values import Paper, difference, patient_values
from benchmark.stats import mean_interval, with_models


def split_of(study: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """The split that a model of a study is trained and tested on; of one with ``stages``, that of its segmenter."""
    named = {declared_name(other): other for other in study["models"]}
    trained = named[model["stages"][-1]] if model.get("stages") else model
    native = study.get("set_native", {}) if trained.get("track") == "native" else {}
    return str({"split": "patient", **study.get("set", {}), **native, **trained.get("set", {})}["split"])


def apart(study: Mapping[str, Any]) -> list[str]:
    """Names of models under another split than the study's: they are compared with themselves only."""
    base = str(study.get("set", {}).get("split", "patient"))
    return [declared_name(m) for m in study["models"] if split_of(study, m) != base]


def leak_pairs(study: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Pairs of one model under two splits: the one by patient first, then the other and the name of its split.

    The two have the same bundle, track and settings but for the split.
    """
    by_recipe: dict[str, list[tuple[str, str]]] = {}
    for model in study["models"]:
        settings = {key: value for key, value in model.get("set", {}).items() if key != "split"}
        recipe = json.dumps([model["bundle"], model.get("track"), model.get("stages"), settings], sort_keys=True)
        name = declared_name(model)
        by_recipe.setdefault(recipe, []).append((split_of(study, model), name))
    return [
        (honest, name, split)
        for models in by_recipe.values()
        for honest in [name for split, name in models if split == "patient"][:1]
        for split, name in models
        if split != "patient"
    ]


def leak_table(
    scores: pd.DataFrame, honest: str, other: str, split: str, metrics: Sequence[str], titles: Mapping[str, str]
) -> Table:
    """One model under a split by patient and under another: means over patients, and the difference on those of both.

    ``scores`` holds both models; a classifier is compared by its accuracy over slices.
    """
    rows: list[list[str | Cell]] = []
    table = with_models(scores)
    own = table[table["model"].isin([honest, other])]
    for metric in metrics:
        regions = [r for r in pd.unique(own.loc[own["metric"] == metric, "region"]) if r != SLICE]
        rows += [_row(own, honest, other, metric, region, titles.get(metric, metric)) for region in regions]
    if (own["region"] == SLICE).any():
        rows.append(_row(own, honest, other, "accuracy", SLICE, "Accuracy"))
    if not rows:
        rows = [["-", "-", "-", "-", "-", "-", "0", f"not comparable: {honest} or {other} was not run"]]
    header = ["Metric", "Region", "By patient", f"By {split}", "Difference", "95% CI", "n", "Verdict"]
    note = (
        f"By {split}: patients may be on both sides of the split. The difference is on patients who were tested under "
        "both; where it is shown to be higher, that much of the score goes with the split. "
        "Such pairs are in no family of declared comparisons."
    )
    order = [*header[:6], "Verdict", "n"]
    return Table(
        f"{honest} under two splits ({other}: by {split}).", order, [[*r[:6], r[7], r[6]] for r in rows], notes=[note]
    )


def _row(rows: pd.DataFrame, honest: str, other: str, metric: str, region: str, title: str) -> list[str | Cell]:
    own = rows[rows["region"] == region].assign(region="all")
    paper = Paper(published=None, scores=own, comparisons=own)  # type: ignore[arg-type]
    column = {"metric": metric, "aggregate": "patients"}
    shown = []
    for model in (honest, other):
        values = patient_values(paper, model, column)
        low, high = mean_interval(values.to_numpy()) if len(values) else ([float("nan")], [float("nan")])
        interval = f" ({low[0]:.3f} to {high[0]:.3f})" if len(values) > 1 else ""
        shown.append(f"{values.mean():.3f}{interval}" if len(values) else "-")
    gap = difference(paper, honest, other, column)
    if gap is None:
        return [title, region, *shown, "-", "-", "0", "not comparable: no patient was tested under both"]
    value, interval, said = gap_cells(gap, "the other split")
    return [title, region, *shown, value, interval, str(gap.patients), said]


def leak_blocks(
    scores: pd.DataFrame, study: Mapping[str, Any], metrics: Sequence[str], titles: Mapping[str, str]
) -> list[Block]:
    """A section with one table for every model that a study runs under two splits; nothing where it does not."""
    pairs = leak_pairs(study)
    if not pairs:
        return []
    return [Heading("What the split is worth"), *[leak_table(scores, *pair, metrics, titles) for pair in pairs]]
