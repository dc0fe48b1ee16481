"""Drawings to PNG files: one style, one palette and one limit of size for every figure of a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.files import replacing

MODEL_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6E6E6E", "#B8A900")
"""Okabe and Ito's palette, told apart with every common colour blindness; black and yellow are greyed for paper."""
LARGEST = 300_000
MOST_PIXELS = 3_000_000
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#E6E6E6", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "text.parse_math": False, "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **settings: Any) -> tuple[Any, np.ndarray]:
    """Return a figure of that size in inches with its axes, (rows, columns)."""
    # The object interface, without pyplot: no global state, no display, no figure left open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **settings)


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, as sharp as it can be below ``LARGEST`` bytes, and return its path."""
    from PIL import Image

    with replacing(path) as temporary:
        inches = figure.get_figwidth() * figure.get_figheight()
        for dpi in (dpi for dpi in (160, 130, 110, 90, 70, 50) if dpi == 50 or inches * dpi**2 < MOST_PIXELS):
            figure.savefig(temporary, dpi=dpi, metadata={"Software": None}, pil_kwargs={"optimize": True})
            if temporary.stat().st_size >= LARGEST:
                # Grey scans with a few colours lose nothing visible in a palette, unlike by fewer pixels.
                with Image.open(temporary) as picture:
                    few = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
                few.save(temporary, optimize=True, dpi=(dpi, dpi))
            if temporary.stat().st_size < LARGEST:
                break
    return path


def styled(draw: Any) -> Any:
    """Wrap a function that draws, so that it draws in ``STYLE``."""

    @wraps(draw)
    def inner(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inner


def colours(models: Sequence[str]) -> dict[str, str]:
    """Give each model a colour, the same in every figure of a report; they repeat after eight."""
    return {model: MODEL_COLOURS[index % len(MODEL_COLOURS)] for index, model in enumerate(models)}


def plot_runs(axis: Any, tables: list[pd.DataFrame], column: str, colour: str, style: str, label: str) -> None:
    """Plot a column of each run's history by epoch, thin, and their mean up to the end of the shortest, thick."""
    tables = [table for table in tables if column in table and table[column].notna().any()]
    if not tables:
        return
    for table in tables:
        axis.plot(table["epoch"], table[column], style, color=colour, alpha=0.35, linewidth=0.7)
    whole = pd.concat([table.set_index("epoch")[column] for table in tables], axis=1).dropna()
    axis.plot(whole.index, whole.mean(axis=1), style, color=colour, linewidth=1.8, label=label)
