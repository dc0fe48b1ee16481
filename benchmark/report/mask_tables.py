"""Scores of masks to tables of what rules decided: empty masks, missing predictions, and lesions found and missed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.report.document import Cell, Table
from benchmark.report.tables import Metrics, rule, title
from benchmark.stats import with_models

LESION_RULES = {"lesion": "BraTS 2023", "instance": "panoptica"}
"""Rules by which lesions are counted, by the first word of their counts in ``metrics.LESION_COUNTS``."""
LESION_NAMES = tuple(f"{rule}_{kind}" for rule in LESION_RULES for kind in ("tp", "fn", "fp"))
"""Those counts in the order of the table's columns."""


def rules_table(names: Sequence[str], metrics: Metrics) -> Table:
    """Metrics with their direction, version and what they are worth for empty masks and missing predictions."""
    rows: list[list[str | Cell]] = []
    for metric in (metrics[name] for name in names):
        rules = [rule(value, metric) for value in (metric.both_empty, metric.one_empty, metric.worst)]
        rows.append([title(metric, arrow=False), metric.better, metric.version, *rules])
    header = ["Metric", "Better", "Version", "Both masks empty", "One mask empty", "Prediction missing"]
    return Table("What a metric is worth where a mask is empty or a prediction is missing.", header, rows)


def notes_table(scores: pd.DataFrame, prefix: str = "") -> Table | None:
    """Cases by region and note, a column a model; None where no row has a note."""
    table = with_models(scores)
    models, noted = list(pd.unique(table["model"])), table[table["note"] != ""]
    if noted.empty:
        return None
    counts = noted.groupby(["region", "note", "model"], sort=False)["case_id"].nunique().unstack("model", fill_value=0)
    rows: list[list[str | Cell]] = [
        [region, note, *[str(counts.at[(region, note), model]) if model in counts else "0" for model in models]]
        for region, note in counts.index
    ]
    caption = f"{prefix}Cases with an empty or full mask or a missing prediction, under any seed."
    return Table(caption, ["Region", "Note", *models], rows)


def lesion_table(counts: pd.DataFrame, prefix: str = "") -> Table | None:
    """Lesions of a patient that were found, missed and made up by region, model and rule; None without such counts.

    ``counts`` has columns model, patient_id, case_id, region and ``metrics.LESION_COUNTS``, a row a run and case. Runs
    are averaged within a case, cases within a patient, and then patients.
    """
    names = list(LESION_NAMES)
    if not set(names) <= set(counts) or counts[names].isna().all(axis=None):
        return None
    cases = counts.groupby(["region", "model", "patient_id", "case_id"], sort=False)[names].mean()
    patients = cases.groupby(["region", "model", "patient_id"], sort=False).mean()
    means = patients.groupby(["region", "model"]).mean()
    rows: list[list[str | Cell]] = []
    for region in pd.unique(counts["region"]):
        own = [model for model in pd.unique(counts["model"]) if (region, model) in means.index]
        for place, model in enumerate(own):
            found = means.loc[(region, model), names]
            rows.append(["" if place else region, model, *(f"{one:.1f}" for one in found)])
    return Table(
        caption=f"{prefix}Lesions a patient by region, model and rule: found (TP), missed (FN) and made up (FP).",
        header=["Region", "Model", *["TP", "FN", "FP"] * len(LESION_RULES)],
        groups=[("", 1), *[(name, 3) for name in LESION_RULES.values()]],
        rows=rows,
        notes=[
            "Means over patients. By the rule of BraTS 2023 components that lie close together are one lesion, and "
            "tiny ones are not among the missed; by panoptica's, which the organisers use since, each component is one."
        ],
    )
