"""Draw histories, scores, comparisons and slices as PNG files, each below 300 kB, in one style and palette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.boxes import bounding_box
from benchmark.base.files import replacing
from benchmark.base.records import model_name
from benchmark.report.tables import title
from benchmark.scoring.metrics import Metric
from benchmark.stats.patients import outcomes, patient_means, patient_table, with_models
from benchmark.stats.ranking import CriticalDifference, nemenyi
from benchmark.stats.seeds import model_runs, pair_runs

LABEL_COLOURS = ("#D55E00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73")
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


@dataclass(frozen=True)
class Panel:
    """One case to show: ``image``, ``truth`` and ``prediction`` are 2D, drawn with the first axis downwards.

    ``image`` is 0 outside the brain, the others hold label values; ``rank`` is best, median or worst, and ``dice``
    the mean Dice that it was ranked by. ``sequences`` maps each modality to its image, of which ``image`` is one.
    """

    case_id: str
    rank: str
    dice: float
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    model: str
    sequences: Mapping[str, np.ndarray] = field(default_factory=dict)


@styled
def training_curves(path: Path, histories: Mapping[str, pd.DataFrame], models: Sequence[str] = ()) -> Path:
    """Draw loss and validation Dice by epoch, one column per model: a thin line per run, a thick one for their mean.

    ``histories`` maps a run's id (bundle/variant/foldF-seedS) to a table with the columns epoch, train_loss, val_loss
    and val_dice. The mean ends with the shortest run, so that it is always over the same runs.
    """
    by_model: dict[str, list[pd.DataFrame]] = {model: [] for model in models}
    for run, history in histories.items():
        by_model.setdefault(model_name(*run.split("/")[:2]), []).append(history)
    palette = colours(list(by_model))
    shown = [model for model, tables in by_model.items() if tables]
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure, axes = new_figure(1.2 + 2.1 * columns, 3.8 * rows, 2 * rows, columns, sharex=True)
    for index, model in enumerate(shown):
        upper, lower = axes[2 * (index // columns), index % columns], axes[2 * (index // columns) + 1, index % columns]
        plot_runs(upper, by_model[model], "train_loss", palette[model], "-", "training")
        plot_runs(upper, by_model[model], "val_loss", palette[model], "--", "validation")
        plot_runs(lower, by_model[model], "val_dice", palette[model], "-", "")
        count = len(by_model[model])
        upper.set_title(f"{model} ({count} run{'s' if count > 1 else ''})")
        lower.set(ylim=(0, 1), xlabel="Epoch")
        lower.xaxis.get_major_locator().set_params(integer=True)
        if index % columns == 0:
            upper.set_ylabel("Loss")
            lower.set_ylabel("Validation Dice")
        upper.legend(loc="upper right", handlelength=2.4)
    for axis in axes.flat:
        axis.set_visible(bool(axis.lines))
    return save(figure, path)


@styled
def boxplots(path: Path, scores: pd.DataFrame, metric: Metric) -> Path:
    """Draw one metric by region: a box per model (quartiles, whiskers to 1.5 IQR), a point per patient."""
    table = with_models(scores)
    table = table[table["metric"] == metric.name]
    models, regions = list(pd.unique(table["model"])), list(pd.unique(table["region"]))
    values, palette = patient_means(table, ("region", "model")), colours(models)
    figure, axes = new_figure(max(3.6, 1.4 + 0.42 * len(models) * len(regions)), 3.4)
    axis, step, random = axes[0, 0], 0.8 / len(models), np.random.default_rng(0)
    for index, model in enumerate(models):
        places = np.arange(len(regions)) - 0.4 + step * (index + 0.5)
        groups = [values[region].get(model, pd.Series(dtype=float)).to_numpy() for region in regions]
        axis.boxplot(
            groups, positions=places, widths=step * 0.78, showfliers=False, patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": palette[model] + "40", "edgecolor": palette[model]},
            medianprops={"color": palette[model], "linewidth": 2}, whiskerprops={"color": palette[model]},
            capprops={"color": palette[model]},
        )  # fmt: skip
        for place, group in zip(places, groups, strict=True):
            jitter = random.uniform(-0.22, 0.22, len(group)) * step
            axis.plot(place + jitter, group, "o", color=palette[model], markersize=2.6, alpha=0.75, markeredgewidth=0)
        axis.plot([], [], "s", color=palette[model], label=model)
    axis.set_xticks(range(len(regions)), regions)
    axis.grid(visible=False, axis="x")
    _value_axis(axis, values.to_numpy(), metric)
    count = table["patient_id"].nunique()
    axis.set_title(f"{count} patients; a point is a patient, averaged over seeds", loc="left", color="#555555")
    figure.legend(loc="outside lower center", ncols=min(len(models), max(2, len(regions) + 1)))
    return save(figure, path)


def _value_axis(axis: Any, values: np.ndarray, metric: Metric) -> None:
    axis.set_ylabel(title(metric, arrow=False))
    if not metric.unit:
        axis.set_ylim(min(0.0, values.min()) - 0.02, max(1.0, values.max()) + 0.02)
    elif values.max() > 8 * max(np.median(values), 1e-9) and values.max() > 10:
        # Penalties for missed regions are many times the usual distance and would flatten all else.
        axis.set_yscale("symlog", linthresh=1.0, linscale=0.3)
        axis.set_ylim(bottom=-0.1)
        ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200, 400) if tick <= 1.5 * values.max()]
        axis.set_yticks(ticks, [str(tick) for tick in ticks], minor=False)
        axis.set_ylabel(f"{title(metric, arrow=False)}, logarithmic above 1")
    else:
        axis.set_ylim(bottom=0)


@styled
def differences(path: Path, comparisons: pd.DataFrame, metric: Metric) -> Path:
    """Draw paired differences of one metric with 95% intervals, per region; filled where a difference is shown."""
    own = comparisons[(comparisons["metric"] == metric.name) & comparisons["difference"].notna()]
    pairs = list(dict.fromkeys(zip(own["model_a"], own["model_b"], strict=True)))
    regions = list(pd.unique(own["region"]))
    figure, axes = new_figure(1.9 + 2.0 * len(regions), 1.35 + 0.42 * len(pairs), 1, len(regions), sharey=True)
    for axis, region in zip(axes[0], regions, strict=True):
        axis.axvline(0, color="#333333", linewidth=0.9)
        for row in own[own["region"] == region].to_dict("records"):
            place, shown = pairs.index((row["model_a"], row["model_b"])), row["significant"]
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=MODEL_COLOURS[0], linewidth=1.6)
            face = MODEL_COLOURS[0] if shown else "white"
            axis.plot(row["difference"], place, "o", color=MODEL_COLOURS[0], markerfacecolor=face, markersize=5.5)
    _label_pairs(axes[0], list(regions), pairs, metric)
    axes[0, 0].plot([], [], "o-", color=MODEL_COLOURS[0], label="difference shown (Holm)")
    axes[0, 0].plot([], [], "o-", color=MODEL_COLOURS[0], markerfacecolor="white", label="no difference shown")
    heading = f"{title(metric, arrow=False)}: A \N{MINUS SIGN} B, mean over patients and 95% interval"
    figure.suptitle(heading, fontsize=9)
    figure.legend(loc="outside lower center", ncols=2)
    return save(figure, path)


@styled
def training_sets(path: Path, scores: pd.DataFrame, pairs: Sequence[tuple[str, str]], metric: Metric) -> Path:
    """Draw the mean difference of each run of two models over the patients it tested, per region, and their mean.

    Runs that share their training set have one colour: those of a fold where seeds share folds, else those of a seed.
    """
    regions = {region: rows for name, region, rows, _ in outcomes(scores, [metric.name])}
    figure, axes = new_figure(1.9 + 2.0 * len(regions), 1.35 + 0.42 * len(pairs), 1, len(regions), sharey=True)
    seen: dict[str, str] = {}
    for axis, rows in zip(axes[0], regions.values(), strict=True):
        runs = model_runs(rows, pd.Index(pd.unique(rows["patient_id"])))
        axis.axvline(0, color="#333333", linewidth=0.9)
        for place, (a, b) in enumerate(pairs):
            if not {a, b} <= set(runs):
                continue
            own = pair_runs(runs[a], runs[b])
            shared = own.sets.nunique() < len(own.sets)
            found = (runs[a] - runs[b]).mean().dropna().sort_index(level=["fold", "seed"])
            for row, (run, value) in enumerate(zip(found.index, found, strict=True)):
                group = f"fold {run[0]}" if shared else f"seed {run[1]}"
                colour = seen.setdefault(group, MODEL_COLOURS[len(seen) % len(MODEL_COLOURS)])
                height = place + 0.5 * ((row + 0.5) / len(found) - 0.5)
                axis.plot(value, height, "o", color=colour, markersize=3.6, markeredgewidth=0)
            mean = float(np.nanmean(own.differences()))
            axis.plot([mean, mean], [place - 0.34, place + 0.34], color="#333333", linewidth=1.6)
    _label_pairs(axes[0], list(regions), pairs, metric)
    for group, colour in seen.items():
        axes[0, 0].plot([], [], "o", color=colour, label=group)
    figure.suptitle(f"{title(metric, arrow=False)}: A \N{MINUS SIGN} B of each run, and their mean", fontsize=9)
    figure.legend(loc="outside lower center", ncols=min(8, max(1, len(seen))))
    return save(figure, path)


def _label_pairs(axes: np.ndarray, regions: Sequence[str], pairs: Sequence[tuple[str, str]], metric: Metric) -> None:
    """Label a row of axes, one per region, in which each pair has a height of its own, the first on top."""
    for axis, region in zip(axes, regions, strict=True):
        axis.grid(visible=False, axis="y")
        axis.locator_params(axis="x", nbins=5)
        axis.set_title(region)
        axis.set_xlabel(_sides(metric), fontsize=8)
    axes[0].set_yticks(range(len(pairs)), [f"A: {a}\nB: {b}" for a, b in pairs], fontsize=8)
    axes[0].set_ylim(len(pairs) - 0.5, -0.5)


def _sides(metric: Metric) -> str:
    worse, better = ("B better", "A better") if metric.better == "higher" else ("A better", "B better")
    return f"← {worse}   {better} →"


@styled
def panels(path: Path, shown: Sequence[Panel], labels: Mapping[str, str] | None = None) -> Path:
    """Draw image, truth and prediction of cases, one row per case; ``labels`` maps a label value to its name.

    All panels should be of one model; slices are cropped to the brain.
    """
    from matplotlib.patches import Patch

    found = {int(value) for panel in shown for array in (panel.truth, panel.prediction) for value in np.unique(array)}
    named = sorted(({int(value) for value in labels} if labels else set()) | found)
    palette = {value: LABEL_COLOURS[index % len(LABEL_COLOURS)] for index, value in enumerate(v for v in named if v)}
    figure, axes = new_figure(6.4, 2.12 * len(shown) + 0.5, len(shown), 3)
    for row, panel in zip(axes, shown, strict=True):
        box = _brain_box(panel)
        picture = _windowed(panel.image[box])
        for axis, overlay in zip(row, (None, panel.truth[box], panel.prediction[box]), strict=True):
            axis.imshow(_painted(picture, overlay, palette), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(f"{panel.rank}: mean Dice {panel.dice:.3f}\n{panel.case_id}", fontsize=8)
    for axis, name in zip(axes[0], ("Image", "Truth", f"Prediction: {shown[0].model}"), strict=True):
        axis.set_title(name)
    handles = [Patch(color=palette[value], label=(labels or {}).get(str(value), f"label {value}")) for value in palette]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return save(figure, path)


@styled
def sequences(path: Path, panel: Panel) -> Path:
    """Draw all modalities of a case side by side, one slice, each windowed by itself and cropped to the brain."""
    box = _brain_box(panel)
    figure, axes = new_figure(0.4 + 1.9 * len(panel.sequences), 2.3, 1, len(panel.sequences))
    for axis, (name, image) in zip(axes[0], panel.sequences.items(), strict=True):
        axis.imshow(_windowed(image[box]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(title=name, xticks=[], yticks=[])
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
    axes[0, 0].set_ylabel(panel.case_id, fontsize=8)
    return save(figure, path)


def _windowed(image: np.ndarray) -> np.ndarray:
    """An image from 0 to 1: its 1st to its 99.5th percentile within the brain."""
    image = image.astype(float)
    brain = image[image != 0] if (image != 0).any() else image.ravel()
    low, high = np.percentile(brain, [1, 99.5])
    return np.where(image != 0, np.clip((image - low) / max(high - low, 1e-9), 0, 1), 0)


def _brain_box(panel: Panel) -> tuple[slice, ...]:
    inside = (panel.image != 0) | (panel.truth != 0) | (panel.prediction != 0)
    box = bounding_box(inside if inside.any() else np.ones_like(inside))
    return tuple(slice(max(side.start - 2, 0), side.stop + 2) for side in box)


def _painted(picture: np.ndarray, overlay: np.ndarray | None, palette: Mapping[int, str]) -> np.ndarray:
    from matplotlib.colors import to_rgb

    painted = np.repeat(picture[..., None], 3, axis=-1)
    for value, colour in palette.items() if overlay is not None else ():
        inside = overlay == value
        painted[inside] = 0.45 * painted[inside] + 0.55 * np.array(to_rgb(colour))
    return painted


@styled
def critical_differences(path: Path, scores: pd.DataFrame, metric: Metric, alpha: float) -> Path:
    """Draw a critical-difference diagram of each region: mean ranks on a line, bars join models that do not differ.

    Differences are Nemenyi's at ``alpha`` within a region, which is another family than the declared comparisons.
    """
    rows = scores[scores["metric"] == metric.name]
    regions = list(pd.unique(rows["region"]))
    found = [nemenyi(patient_table(rows, metric.name, region), metric.better == "higher", alpha) for region in regions]
    lines = -(-len(found[0].ranks) // 2)
    height = 0.9 + 0.2 * (lines + max(len(one.groups) for one in found))
    figure, axes = new_figure(7.0, len(regions) * height, len(regions))
    for axis, region, one in zip(axes[:, 0], regions, found, strict=True):
        _diagram(axis, one, f"{region}, {metric.title} (Friedman p = {one.friedman_p:.3g})")
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
