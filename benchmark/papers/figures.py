"""Redraw a paper's figures: bars printed beside ours, curves by epoch, confusion matrices, sequences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import model_name
from benchmark.papers.implied import printed_report, reports
from benchmark.papers.published import cell, models_of
from benchmark.papers.values import Paper, ours
from benchmark.report.document import Block, Figure, Text
from benchmark.report.figures import MODEL_COLOURS, Panel, new_figure, plot_runs, save, styled
from benchmark.report.figures import sequences as draw_sequences
from benchmark.scoring.counts import SLICE
from benchmark.stats import estimates

CURVE_STYLES = {"train": "-", "val": "--"}
PRINTED_STYLE: dict[str, Any] = {"facecolor": "white", "edgecolor": "#555555", "hatch": "////"}
NOT_PUBLIC = "Pictures of these scans are not ours to publish"


def file_name(figure: Mapping[str, Any]) -> str:
    """Name of the file of a redrawn figure: ``paper_<id>.png``."""
    return f"paper_{re.sub(r'[^a-z0-9]+', '_', figure['id'].lower()).strip('_')}.png"


def draw_all(
    folder: Path, paper: Paper, study: str, panels: Sequence[Panel], public: bool, private: Path | None
) -> list[Block]:
    """Draw every figure of the paper of a study; one that cannot be drawn is a sentence that says why.

    ``folder`` is the report's, ``study`` its name and ``panels`` the cases to show. Unless pictures of the data are
    ``public`` they are drawn into ``private``, outside the report, or not at all.
    """
    blocks: list[Block] = []
    for figure in paper.published.figures:
        path = folder / "figures" / file_name(figure)
        caption = f"{figure['id']}, redrawn: {figure['shows']}."
        match figure["kind"]:
            case "bars":
                bars(path, paper, figure)
                blocks.append(Figure(f"figures/{path.name}", caption))
            case "confusion":
                caption += " " + confusion(path, paper, figure)
                blocks.append(Figure(f"figures/{path.name}", caption))
            case "curves":
                blocks.append(_drawn_curves(path, paper.histories, figure, caption))
            case "sequences":
                place = folder / "figures" if public else private
                blocks.append(_drawn_sequences(place and place / path.name, caption, panels, study, public))
            case "drawing":
                blocks.append(Text(f"{figure['id']}: {figure['shows']}. It shows no result and is not redrawn."))
            case _:
                ours_in = f"runs/{study}/figures" if private else "a folder that is not published"
                hidden = f"{NOT_PUBLIC}; on the machine of the runs ours are in {ours_in}."
                pictures = "Ours: the panels under Figures." if public else hidden
                blocks.append(Text(f"{figure['id']}: {figure['shows']}. {pictures}"))
    return blocks


def _drawn_sequences(
    path: Path | None, caption: str, panels: Sequence[Panel], study: str, public: bool
) -> Figure | Text:
    """Draw a subject's sequences, of the first case there is; unless it is public, say where the picture is."""
    shown = [panel for panel in panels if panel.sequences]
    if path and shown:
        draw_sequences(path, shown[0])
    if path and public and path.exists():
        return Figure(f"figures/{path.name}", caption)
    if public or not path:
        return Text(f"{caption} Not drawn: no run's pictures are on this machine.")
    where = f"runs/{study}/figures/{path.name}"
    return Text(f"{caption} {NOT_PUBLIC}; where the runs are, `benchmark report` draws it as {where}.")


def _drawn_curves(
    path: Path, histories: Mapping[str, pd.DataFrame], figure: Mapping[str, Any], caption: str
) -> Figure | Text:
    own = [h for run, h in histories.items() if model_name(*run.split("/")[:2]) == figure["model"]]
    lacking = missing_columns(own, figure)
    if not own or len(lacking) == sum(map(len, figure["curves"])):
        why = f"no history of {figure['model']} has {', '.join(lacking)}" if own else "not run"
        return Text(f"{caption} Not drawn: {figure['model']}: {why}.")
    curves(path, own, figure)
    caption += f" {figure['model']}, {len(own)} run{'s' if len(own) > 1 else ''}."
    caption += f" Not recorded: {', '.join(lacking)}." if lacking else ""
    return Figure(f"figures/{path.name}", caption)


@styled
def bars(path: Path, paper: Paper, figure: Mapping[str, Any]) -> Path:
    """Draw a table's columns, one per panel: per row a hatched bar as printed and a filled one of ours."""
    from matplotlib.patches import Patch

    table = paper.published.table(figure["table"])
    columns = [(i, c) for i, c in enumerate(table["columns"]) if c["name"] in figure["columns"]]
    labels = [row["label"] for row in table["rows"]]
    sheet, axes = new_figure(1.4 + 2.2 * len(columns), 1.5 + 0.36 * len(labels), 1, len(columns), sharey=True)
    for axis, (index, column) in zip(axes[0], columns, strict=True):
        for place, row in enumerate(table["rows"]):
            printed = cell(column, row["values"][index])
            model = next(iter(models_of(row, table)), "")
            found = ours(paper, model, column) if model and "none" not in column else None
            scale = 100.0 if printed and printed.percent else 1.0
            if printed:
                axis.barh(place - 0.2, printed.number * scale, 0.36, **PRINTED_STYLE)
            if found:
                axis.barh(place + 0.2, found.value * scale, 0.36, color=MODEL_COLOURS[0])
                if not math.isnan(found.low):
                    axis.plot([found.low * scale, found.high * scale], [place + 0.2] * 2, color="black", linewidth=1.1)
            else:
                axis.text(0, place + 0.2, " not run", va="center", fontsize=7, color="#777777")
        axis.set(title=column["name"], ylim=(len(labels) - 0.5, -0.5))
        axis.grid(visible=False, axis="y")
    axes[0, 0].set_yticks(range(len(labels)), labels, fontsize=8)
    drawn = Patch(color=MODEL_COLOURS[0], label="ours, with 95% interval")
    handles = [Patch(**PRINTED_STYLE, label="printed"), drawn]
    sheet.legend(handles=handles, loc="outside lower center", ncols=2)
    return save(sheet, path)


def missing_columns(histories: list[pd.DataFrame], figure: Mapping[str, Any]) -> list[str]:
    """Columns of a figure that no history has."""
    wanted = [name for panel in figure["curves"] for name in panel]
    return [name for name in wanted if not any(name in h and h[name].notna().any() for h in histories)]


@styled
def curves(path: Path, histories: list[pd.DataFrame], figure: Mapping[str, Any]) -> Path:
    """Draw columns of histories by epoch, one panel per group: a thin line per run, a thick one for their mean."""
    lacking = missing_columns(histories, figure)
    panels = [[name for name in panel if name not in lacking] for panel in figure["curves"]]
    panels = [panel for panel in panels if panel]
    sheet, axes = new_figure(1.0 + 2.9 * len(panels), 2.7, 1, len(panels))
    for axis, panel in zip(axes[0], panels, strict=True):
        for index, name in enumerate(panel):
            side = name.partition("_")[0]
            label = {"train": "training", "val": "validation"}.get(side, side)
            plot_runs(axis, histories, name, MODEL_COLOURS[index], CURVE_STYLES.get(side, "-"), label)
        axis.set(xlabel="Epoch", ylabel=panel[0].partition("_")[2].replace("_", " ").capitalize())
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    return save(sheet, path)


def confusion(path: Path, paper: Paper, figure: Mapping[str, Any]) -> str:
    """Draw the matrix that the printed report implies beside ours; return what the caption must say about them."""
    cells = printed_report(paper.published.table(figure["table"]))
    shown, said = [], []
    if cells:
        negatives, positives = (int(cells[name, "support"].number) for name in ("0", "1"))
        found = reports.matrices(negatives, positives, cells)
        tn, fp, fn, tp = (found.fitting if len(found.fitting) else found.best)[0]
        shown.append(("implied by the printed report", np.array([[tn, fp], [fn, tp]])))
        said.append(
            f"{len(found.fitting)} matrices give every printed cell; the first is shown."
            if len(found.fitting)
            else f"No matrix gives every printed cell; one that misses the fewest, {len(found.missed)}, is shown."
        )
    counts = estimates.patient_counts(paper.rows, figure["model"], SLICE)
    if len(counts):
        tp, fp, fn, tn = counts.sum(axis=0)
        shown.append((f"ours: {figure['model']}, slices", np.array([[tn, fp], [fn, tp]])))
        said.append("Ours is pooled over the test set, seeds averaged.")
    else:
        said.append(f"Ours is not drawn: {figure['model']} was not run.")
    _matrices(path, shown)
    return " ".join(said)


@styled
def _matrices(path: Path, shown: list[tuple[str, np.ndarray]]) -> Path:
    sheet, axes = new_figure(3.0 * max(len(shown), 1), 2.9, 1, max(len(shown), 1))
    for axis, (name, matrix) in zip(axes[0], shown, strict=False):
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{count:,.0f}\n{shares[row, column]:.1%}", ha="center", va="center", color=colour)
        axis.set_xticks([0, 1], ["no tumour", "tumour"])
        axis.set_yticks([0, 1], ["no tumour", "tumour"])
        axis.set(title=name, xlabel="Predicted", ylabel="True")
        axis.grid(visible=False)
    return save(sheet, path)
