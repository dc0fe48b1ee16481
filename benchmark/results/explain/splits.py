"""Follow the numbers of one model under two splits to patients and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError
from benchmark.report.splits import NO_TUMOUR, OF_NEGATIVES, POOLED, SplitPair, split_pairs
from benchmark.results.explain import printed
from benchmark.results.explain.answers import Computed, Derived
from benchmark.results.explain.counts import FORMULAS, OF_CLASS, case_counts, filled, plain
from benchmark.results.explain.means import about, paired
from benchmark.results.explain.runs import runs_used
from benchmark.results.results import Results
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import COUNTS
from benchmark.stats.estimates import patient_scores
from benchmark.stats.patients import with_models

MEASURES = {
    "dice": FORMULAS["Dice"],
    "iou": FORMULAS["IoU"],
    "accuracy": FORMULAS["GlobalAccuracy"],
    "sensitivity": OF_CLASS["1"]["recall"],
    "specificity": OF_CLASS["0"]["recall"],
    "precision": OF_CLASS["1"]["precision"],
}
"""Formulas of ``report.splits.POOLED``."""


def two_splits(results: Results, model: str, against: str, region: str | None, metric: str) -> Derived:
    """Follow the numbers of one model under two splits, pooled and as means, to its patients.

    Raises:
        InputError: for models that are not one under two splits, or a metric or region in which they are not compared.
    """
    pair, study = _pair(results, model, against), results.study
    rows = with_models(results.every)
    rows = rows[rows["model"].isin(pair.models)]
    regions = list(dict.fromkeys(map(str, rows["region"])))
    names = [name for name in study.compare["metrics"] if name in POOLED and not results.metrics[name].unit]
    names = ["accuracy"] if region == SLICE else names
    if region not in regions or metric not in names:
        raise InputError(
            f"Study {study.name} sets {pair.honest} and {pair.other} side by side: expected --region one of "
            f"{', '.join(regions)} and --metric one of {', '.join(names)}, found {region or 'none'} and {metric}."
        )
    parts = _parts(rows[rows["region"] == region], pair, str(region), metric)
    kept = parts[parts["left out"] == ""]
    # By slice, what is not tested of a volume counts as right: the report sets no such numbers side by side.
    apart = pair.split == SLICE and region != SLICE and metric in OF_NEGATIVES
    shown = kept.set_index("patient").rename(columns=_sides(pair))
    return Derived(
        **{**about(results, model, metric, region, rows),
           "printed": printed.of_pair(results, *pair.models, metric, region),
           "runs": [run for name in pair.models for run in runs_used(results, name, _of(rows, name))]},
        title=f"{results.metrics[metric].title} of {region} under two splits", unit="",
        parts=[{str(key): value for key, value in row.items()} for row in parts.to_dict("records")],
        how=f"A row is a patient tested under both splits: A is {pair.other} (by {pair.split}), B is {pair.honest}. "
        "Counts are summed over cases and seeds averaged; values are means over cases. Pooled: of the sums over all "
        "these patients. Mean: over those that are not left out, for want of tumour in what was "
        "tested under either split, where a rule decides the score.",
        results=[] if apart else _pooled(parts, pair, metric) + _means(kept, pair),
        paired=paired(shown[[*_sides(pair).values()]]) if len(kept) else None,
    )  # fmt: skip


def _pair(results: Results, model: str, against: str) -> SplitPair:
    pairs = split_pairs(results.study)
    for pair in pairs:
        if {model, against} == set(pair.models):
            return pair
    beside = [name for pair in pairs if model in pair.models for name in pair.models if name != model]
    apart = " and ".join(name for name in (model, against) if name in set(results.apart["model"]))
    raise InputError(
        f"Study {results.study.name} sets {model} and {against} beside each other nowhere, as scores of {apart} stand "
        f"apart: expected --against {' or '.join(beside) or 'left out'}."
    )


def _sides(pair: SplitPair) -> dict[str, str]:
    """The two models as A less B, as the report takes their difference."""
    return {"A": pair.other, "B": pair.honest}


def _of(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    return rows[rows["model"] == model]


def _parts(rows: pd.DataFrame, pair: SplitPair, region: str, metric: str) -> pd.DataFrame:
    """One row per patient of both splits: counts and value under each, and why it is not in the mean."""
    both = _sides(pair)
    values = pd.DataFrame(
        {side: patient_scores(rows, model, metric, [region]) for side, model in both.items()}
    ).dropna()
    table = pd.DataFrame(index=values.index)
    for side, model in both.items():
        counts = case_counts(_of(rows, model))
        if len(counts):
            counts = counts.groupby(level="patient_id").sum().reindex(values.index).map(plain).astype(object)
            table = table.join(counts.add_suffix(f" {side}"))
    table = table.join(values)
    table["A - B"], table["left out"] = values["A"] - values["B"], ""
    own = rows[rows["metric"] == metric]
    ruled = set(own.loc[own["note"].isin(NO_TUMOUR), "patient_id"]) if metric not in OF_NEGATIVES else set()
    table.loc[table.index.isin(list(ruled)), "left out"] = "no tumour"
    return table.rename_axis("patient").reset_index()


def _pooled(parts: pd.DataFrame, pair: SplitPair, metric: str) -> list[Computed]:
    found = []
    for side, model in _sides(pair).items():
        columns = [f"{name} {side}" for name in COUNTS]
        if len(parts) and set(columns) <= set(parts):
            sums = parts[columns].astype(float).sum()
            numbers: dict[str, Any] = dict(zip(COUNTS, map(plain, sums), strict=True))
            value = float(np.squeeze(POOLED[metric](sums.to_numpy()[None])))
            found.append(Computed(f"pooled, {model}", filled(MEASURES[metric], numbers), value))
    if len(found) == 2:
        found.append(Computed("pooled, A - B", "their difference", found[0].value - found[1].value))
    return found


def _means(kept: pd.DataFrame, pair: SplitPair) -> list[Computed]:
    if kept.empty:
        return []
    over = f"mean over {len(kept)} patients"
    columns = {**_sides(pair), "A - B": "A - B"}
    return [Computed(f"mean, {name}", over, float(kept[column].mean())) for column, name in columns.items()]
