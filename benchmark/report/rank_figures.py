"""Ranks of models over patients to critical-difference diagrams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.canvas import new_figure, save, styled
from benchmark.scoring.metrics import Metric
from benchmark.stats import nemenyi, patient_table
from benchmark.stats.ranking import CriticalDifference


@styled
def critical_differences(path: Path, scores: pd.DataFrame, metric: Metric, alpha: float) -> Path:
    """Draw a critical-difference diagram of each region: mean ranks on a line, bars join models that do not differ.

    Differences are Nemenyi's at ``alpha`` within a region, which is another family than the declared comparisons.
    """
    rows = scores[scores["metric"] == metric.name]
    regions = list(pd.unique(rows["region"]))
    found = [nemenyi(patient_table(rows, metric.name, region), metric.better == "higher", alpha) for region in regions]
    lines = -(-len(found[0].ranks) // 2)
    figure, axes = new_figure(
        7.0, len(regions) * (0.9 + 0.2 * (lines + max(len(one.groups) for one in found))), len(regions)
    )
    for axis, region, one in zip(axes[:, 0], regions, found, strict=True):
        _diagram(axis, one, f"{region}, {metric.title} (Friedman p = {one.friedman.p:.3g})")
    return save(figure, path)


def _diagram(axis: Any, found: CriticalDifference, heading: str) -> None:
    models = len(found.ranks)
    lowest = -0.6 - 0.5 * len(found.groups)
    axis.set(xlim=(models + 0.6, 0.4), ylim=(lowest - 0.55 * -(-models // 2) - 0.3, 1.4))
    axis.axis("off")
    axis.set_title(heading, loc="left")
    axis.plot([1, models], [0, 0], color="black", linewidth=1)
    for tick in range(1, models + 1):
        axis.plot([tick, tick], [0, 0.15], color="black", linewidth=1)
        axis.text(tick, 0.25, str(tick), ha="center", va="bottom", fontsize=7)
    axis.plot([1, 1 + min(found.critical, models - 1)], [1.0, 1.0], color="black", linewidth=1.5)
    axis.text(1, 1.08, f"critical difference {found.critical:.2f}", ha="left", va="bottom", fontsize=7)
    half = -(-models // 2)
    for place, (model, rank) in enumerate(found.ranks.items()):
        left = place >= half
        depth = lowest - 0.55 * ((models - 1 - place) if left else place)
        end = models + 0.15 if left else 0.85
        axis.plot([rank, rank, end], [0, depth, depth], color="#6E6E6E", linewidth=0.7)
        axis.text(end, depth, f" {model} ({rank:.2f}) ", ha="right" if left else "left", va="center", fontsize=7)
    for level, group in enumerate(found.groups):
        ends = found.ranks[list(group)]
        height = -0.3 - 0.5 * level
        axis.plot([ends.min() - 0.05, ends.max() + 0.05], [height, height], color="#0072B2", linewidth=3)
