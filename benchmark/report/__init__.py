"""Scores and comparisons to a study's report: report.md, report.tex and figures; never imports torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmark.base.files import write_text
from benchmark.papers import figures as paper_figures
from benchmark.papers.values import Paper
from benchmark.report import figures, rank_figures
from benchmark.report.content import build
from benchmark.report.document import Block, Figure, Text, to_markdown
from benchmark.report.figures import Panel
from benchmark.report.latex import to_latex
from benchmark.report.material import Material
from benchmark.report.tables import headline_table, in_unit
from benchmark.stats import with_models

MOST_PAIRS = 40
"""Pairs of models from which on their differences are not drawn: nobody reads such a figure; the table has them all."""

__all__ = ["Material", "Panel", "Paper", "headline_table", "write_report"]


def write_report(folder: Path, material: Material, private_figures: Path | None = None) -> Path:
    """Write figures, report.tex and report.md into ``folder`` and return the path of report.md, written last.

    Where the manifest does not allow pictures of scans to be published, panels go to ``private_figures``, outside the
    report, or are not drawn at all.
    """
    unit = str(material.manifest.get("unit", "mm"))
    material = replace(material, metrics=in_unit(material.metrics, unit))
    drawn = _draw_numbers(folder / "figures", material) + _draw_panels(folder, material, private_figures)
    blocks = build(material, drawn, _draw_paper(folder, material, private_figures))
    write_text(folder / "report.tex", to_latex(blocks))
    write_text(folder / "report.md", to_markdown(blocks))
    return folder / "report.md"


def _draw_numbers(folder: Path, material: Material) -> list[Figure]:
    drawn = []
    models = list(pd.unique(with_models(material.scores)["model"]))
    for name in material.declared:
        metric = material.metrics[name]
        path = figures.boxplots(folder / f"boxplot_{name}.png", material.scores, metric)
        drawn.append(_figure(path, material, f"{metric.title} by region and model"))
        pairs = material.comparisons[["model_a", "model_b"]].drop_duplicates()
        if len(pairs) <= MOST_PAIRS and material.comparisons["difference"].notna().any():
            path = figures.differences(folder / f"differences_{name}.png", material.comparisons, metric)
            drawn.append(_figure(path, material, f"{metric.title}: paired differences with 95% intervals"))
    if len(models) > 2 and material.scores["patient_id"].nunique() > 1:
        metric, alpha = material.metrics[material.declared[0]], float(material.study.compare.get("alpha", 0.05))
        path = folder / f"critical_differences_{metric.name}.png"
        drawn.append(
            _figure(
                rank_figures.critical_differences(path, material.scores, metric, alpha),
                material,
                f"Mean ranks over patients by {metric.title}, as trained here, 1 the best; a bar joins models that "
                "Nemenyi's test does not tell apart within the region",
            )
        )
    if material.histories:
        path = figures.training_curves(folder / "training_curves.png", material.histories, models)
        caption = "Training curves: thin lines are runs, thick lines their mean up to the end of the shortest run"
        drawn.append(_figure(path, material, caption))
    return drawn


def _draw_panels(folder: Path, material: Material, private: Path | None) -> list[Figure]:
    public = material.manifest.get("pictures") == "public"
    place = folder / "figures" if public else private
    if place is None:
        return []
    drawn = []
    for model in material.models:
        path = place / f"panels_{model.replace('/', '_')}.png"
        shown = [panel for panel in material.panels if panel.model == model]
        if shown:
            figures.panels(path, shown, material.manifest.get("labels"))
        elif not path.exists():
            # Without the run folders, pictures that were drawn from them before stay in the report.
            continue
        caption = f"{model}: image, truth and prediction of the best, median and worst case"
        caption += " (by mean Dice over regions and seeds; the first seed's prediction is shown)"
        drawn.append(_figure(path, material, caption))
    return drawn if public else []


def _draw_paper(folder: Path, material: Material, private: Path | None) -> list[Block]:
    if material.paper is None:
        return []
    pictures = "Ours: the panels under Figures."
    if material.manifest.get("pictures") != "public":
        place = f"runs/{material.study.name}/figures" if private else "a folder that is not published"
        pictures = f"Pictures of these scans are not ours to publish; on the machine of the runs ours are in {place}."
    scans = _draw_sequences(folder, material, private)
    return paper_figures.draw(folder / "figures", material.paper, material.histories, pictures, scans)


def _draw_sequences(folder: Path, material: Material, private: Path | None) -> dict[str, Block]:
    """Draw the figures that show a subject's sequences, of the first case there is; map their ids to what they are."""
    public = material.manifest.get("pictures") == "public"
    place = folder / "figures" if public else private
    shown = [panel for panel in material.panels if panel.sequences]
    found: dict[str, Block] = {}
    for figure in material.paper.published.figures if material.paper else ():
        if figure["kind"] != "sequences":
            continue
        caption = f"{figure['id']}, made anew: {figure['shows']}"
        path = place / paper_figures.file_name(figure) if place else None
        if path and shown:
            figures.sequences(path, shown[0])
        if public and path and path.exists():
            found[figure["id"]] = _figure(path, material, caption)
        elif public or not path:
            found[figure["id"]] = Text(f"{caption}. Not drawn: no run's pictures are on this machine.")
        else:
            where = f"runs/{material.study.name}/figures/{path.name}"
            found[figure["id"]] = Text(
                f"{caption}. Pictures of these scans are not ours to publish; where the runs are, `benchmark report` "
                f"draws it as {where}."
            )
    return found


def _figure(path: Path, material: Material, caption: str) -> Figure:
    return Figure(f"figures/{path.name}", f"{material.prefix}{caption}.")
