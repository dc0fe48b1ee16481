"""Show what follows from kept probabilities: calibration, ensembles over seeds, and what their disagreement finds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmark.report.document import Block, Cell, Heading, Key, Table, Text
from benchmark.report.figures import looks, new_figure, save, styled
from benchmark.report.tables import NONE, Metrics, interval, number, title
from benchmark.scoring.calibration import BINS
from benchmark.scoring.metrics import Metric
from benchmark.stats.intervals import mean_interval
from benchmark.stats.patients import patient_means
from benchmark.stats.uncertainty import FAILED, FEWEST, finds_failures

FEWEST_VOXELS = 100
"""Voxels below which a bin is not drawn."""

KEPT_NONE = (
    "No run of this study kept the probabilities of its test cases. Nothing is known here of calibration, and there is "
    "no ensemble over seeds."
)
CALIBRATION_NOTE = (
    f"Over the voxels of the box around the brain, in {BINS} bins of equal width. ECE weighs the bins by their voxels, "
    "most of which are background: it tells above all how far from 0 probabilities are there, and falls as the box "
    "grows. ACE weighs bins alike, so that a few voxels may decide it. Seeds are averaged within a case and cases "
    "within a patient."
)
ENSEMBLE_NOTE = (
    "Ensemble: the mean of its seeds' probabilities, above one half; it is not among the declared comparisons, so it "
    "is neither bold nor marked."
)
UNCERTAINTY_NOTE = (
    f"Gain: {{metric}} of the ensemble less the mean of its single networks, over patients, with the 95% interval of a "
    "bootstrap over patients (BCa) of these trained networks. Disagreement: 1 less the mean Dice of two seeds' masks. "
    f"Failed: cases in which the ensemble's Dice is below {FAILED}. AUROC: probability that a failed case has more "
    f"disagreement than another; none where fewer than {FEWEST} cases failed, or fewer than {FEWEST} did not."
)


def blocks(
    calibration: pd.DataFrame | None,
    ensembles: Mapping[str, str],
    uncertain: Table | None,
    without: Sequence[str],
    seeds: bool = False,
) -> list[Block]:
    """Put the section together; ``ensembles`` maps an ensemble to its model, ``without`` are models that kept none, and
    ``seeds`` says whether there were several to join."""
    found: list[Block] = [Heading("Probabilities")]
    if calibration is None:
        return [*found, Text(KEPT_NONE)]
    if without:
        found.append(Text(f"Not every run kept its probabilities: {', '.join(without)}."))
    if seeds and not ensembles:
        found.append(Text("No ensemble over seeds: not every case was tested once under each of them."))
    return [*found, calibration_table(calibration, ensembles), *([uncertain] if uncertain else [])]


def calibration_table(errors: pd.DataFrame, ensembles: Mapping[str, str]) -> Table:
    """Models by ECE and ACE of each region, mean ± SD over patients; ``errors`` has a row per run, case and region."""
    regions, named = list(pd.unique(errors["region"])), {"ece": "ECE", "ace": "ACE"}
    rows: dict[str, list[str | Cell]] = {model: [_called(model, ensembles)] for model in pd.unique(errors["model"])}
    for name in named:
        for region in regions:
            own = errors[errors["region"] == region].assign(value=errors[name])
            means = patient_means(own).groupby(level="model", sort=False).agg(["mean", "std"])
            for model, row in rows.items():
                row.append(_mean_sd(4, *means.loc[model]) if model in means.index else "-")
    return Table(
        "Calibration error of the probabilities, mean ± SD over patients.", ["Model", *regions * len(named)],
        list(rows.values()), [(f"{text} ↓", len(regions)) for text in named.values()], [CALIBRATION_NOTE],
    )  # fmt: skip


def with_ensembles(
    table: Table, summary: pd.DataFrame, names: Sequence[str], metrics: Metrics, ensembles: Mapping[str, str]
) -> Table:
    """Add a row of each ensemble to a table of models (``tables.comparison_table``); ``summary`` is of ensembles."""
    known = summary.set_index(["model", "metric", "region"])
    regions = table.header[1 : 1 + (len(table.header) - 1) // len(names)]
    rows: list[list[str | Cell]] = []
    for model in pd.unique(summary["model"]):
        cells: list[str | Cell] = [_called(model, ensembles)]
        for name in names:
            for region in regions:
                place, digits = (model, name, region), 1 if metrics[name].unit else 3
                text = _mean_sd(digits, *known.loc[place, ["mean", "sd"]]) if place in known.index else "-"
                cells.append(Cell(text, key=Key(*place)) if text != "-" else text)
        rows.append(cells)
    return replace(table, rows=[*table.rows, *rows], notes=[*table.notes, ENSEMBLE_NOTE])


def uncertainty_table(
    ensembles: Mapping[str, str], scores: pd.DataFrame, disagreement: pd.DataFrame, metric: Metric
) -> Table:
    """Ensembles by region: gain in a metric, disagreement of their seeds, and whether that finds the failed cases.

    ``ensembles`` maps an ensemble to its model, and ``scores`` are of both, one row per score.
    """
    rows: list[list[str | Cell]] = []
    for region in pd.unique(disagreement["region"]):
        here = scores[scores["region"] == region]
        for place, (name, model) in enumerate(ensembles.items()):
            own = disagreement[(disagreement["region"] == region) & (disagreement["model"] == name)]
            joined = here[here["model"] == name]
            both = own.merge(joined[joined["metric"] == "dice"][["case_id", "value"]], on="case_id")
            values = patient_means(here[here["metric"] == metric.name]).unstack("model")
            if both.empty or not {name, model} <= set(values):
                continue
            gain = (values[name] - values[model]).dropna().to_numpy()
            low, high = mean_interval(gain[None])
            found = finds_failures(both["disagreement"].to_numpy(), both["value"].to_numpy())
            rows.append([
                "" if place else region, model, str(own["n_seeds"].max()), number(gain.mean(), metric, True),
                NONE if math.isnan(low[0]) else interval(low[0], high[0], metric),
                f"{own['disagreement'].median():.3f}",
                f"{found.failed} of {found.cases}", NONE if math.isnan(found.auroc) else f"{found.auroc:.2f}",
            ])  # fmt: skip
    header = ["Region", "Ensemble of", "Seeds", "Gain", "95% CI", "Median disagreement", "Failed", "AUROC"]
    return Table(
        f"Ensembles over seeds: {title(metric, arrow=False)}, and their disagreement as uncertainty.", header, rows,
        notes=[UNCERTAINTY_NOTE.format(metric=metric.title)],
    )  # fmt: skip


def _mean_sd(digits: int, mean: float, spread: float) -> str:
    return f"{mean:.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")


def _called(model: str, ensembles: Mapping[str, str]) -> str:
    return f"{ensembles[model]}, ensemble" if model in ensembles else model


@styled
def reliability(path: Path, curves: pd.DataFrame, ensembles: Mapping[str, str]) -> Path:
    """Draw the share of voxels in the region by their probability: a row per model, dashed its ensemble, by region.

    ``curves`` has the columns model, region, bin, n, probability and share; bins of few voxels are left out.
    """
    models = [model for model in pd.unique(curves["model"]) if model not in ensembles]
    regions, palette = list(pd.unique(curves["region"])), looks(models)
    figure, axes = new_figure(0.8 + 1.9 * len(regions), 0.5 + 1.75 * len(models), len(models), len(regions),
                              sharex=True, sharey=True)  # fmt: skip
    for row, model in zip(axes, models, strict=True):
        joined, colour = [name for name, of in ensembles.items() if of == model], palette[model].colour
        for axis, region in zip(row, regions, strict=True):
            axis.plot([0, 1], [0, 1], color="#333333", linewidth=0.8)
            for name, style in [(model, "o-"), *((name, "s--") for name in joined)]:
                own = curves[(curves["model"] == name) & (curves["region"] == region) & (curves["n"] >= FEWEST_VOXELS)]
                own = own.sort_values("bin")
                label = "ensemble" if name in joined else "single networks"
                axis.plot(own["probability"], own["share"], style, color=colour, markersize=3, label=label)
            axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            axis.set_title(f"{model}, {region}")
    figure.supxlabel("Probability", fontsize=9)
    figure.supylabel("Share of voxels in the region", fontsize=9)
    if ensembles:
        axes[0, 0].legend(loc="upper left", fontsize=6)
    return save(figure, path)
