"""List a study's cases from best to worst, each with its score by every model."""

from __future__ import annotations

import pandas as pd

from benchmark.report.document import Cell, Table
from benchmark.report.tables import number, title
from benchmark.scoring.metrics import Metric
from benchmark.stats.patients import with_models

MOST = 40
"""Cases that are listed: half of them the best, half the worst."""


def cases_table(scores: pd.DataFrame, metric: Metric, source: str = "scores.csv") -> Table:
    """Cases by ``metric``, mean over models, regions and seeds, the best first: a column per model, and its notes.

    Of more than ``MOST`` cases those between the best and the worst are left out; ``source`` has them all.
    """
    own = with_models(scores)
    own = own[own["metric"] == metric.name]
    models = list(pd.unique(own["model"]))
    values = own.groupby(["case_id", "model"], sort=False)["value"].mean().unstack("model")[models]
    means = values.mean(axis="columns").sort_values(ascending=metric.better == "lower", kind="stable")
    noted = own[own["note"] != ""].groupby("case_id")
    notes = {case: "; ".join(dict.fromkeys(f"{r} {n}" for r, n in zip(rows["region"], rows["note"], strict=True)))
             for case, rows in noted}  # fmt: skip
    shown = list(means.index)
    said = ["A case's score is its mean over regions and seeds."]
    if len(shown) > MOST:
        said.append(f"{len(shown) - MOST} of {len(shown)} cases, between the best and the worst, are left out here.")
        shown = [*shown[: MOST // 2], *shown[-MOST // 2 :]]
    rows: list[list[str | Cell]] = [
        [case, number(means[case], metric), *(number(one, metric) for one in values.loc[case]), notes.get(case, "")]
        for case in shown
    ]
    header = ["Case", "Mean", *models, "Decided by a rule"]
    if not notes:
        header, rows = header[:-1], [row[:-1] for row in rows]
    said.append(f"All are in {source}.")
    return Table(f"{title(metric)} by case, the best first.", header, rows, notes=said, wrap=bool(notes), name="Cases")
