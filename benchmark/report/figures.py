"""Draw histories, scores, comparisons and slices as PNG files, each below 300 kB, and on wish as SVG and PDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.base.boxes import bounding_box
from benchmark.base.files import replacing
from benchmark.base.records import model_name, number_of
from benchmark.report import tables
from benchmark.report.tables import title
from benchmark.scoring.metrics import Metric
from benchmark.stats.estimates import WATCHED, watched
from benchmark.stats.patients import outcomes, patient_means, patient_table, with_models
from benchmark.stats.ranking import CriticalDifference, nemenyi
from benchmark.stats.seeds import model_runs, pair_runs

LABEL_COLOURS = ("#D55E00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73")
MODEL_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6E6E6E", "#B8A900")
"""Okabe and Ito's palette, told apart with every common colour blindness; black and yellow are greyed for paper."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
HATCHES = ("", "////", "\\\\\\\\", "----", "xxxx", "||||", "++++", "//", "---||")
"""Nine of each beside eight colours: of the first 72 models of a figure no two have the same of both."""
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Formats beside PNG, with the metadata without which the same scores give the same bytes."""
MOST_POINTS = 200
"""Points of a box from which on an SVG or PDF file holds them as a picture: it would be large and slow to open."""
PER_ROW = 5
"""Pictures of a case side by side."""
MOST_BOXES = 24
"""Boxes of a figure from which on each region has a row of its own."""
NO_BREAK = "\N{NO-BREAK SPACE}"
LARGEST = 300_000
MOST_PIXELS = 3_000_000
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#E6E6E6", "grid.linewidth": 0.6,
    "xtick.bottom": False, "ytick.left": False,
    "axes.axisbelow": True, "text.parse_math": False, "legend.frameon": False, "figure.constrained_layout.use": True,
    "svg.hashsalt": "benchmark", "svg.fonttype": "none", "pdf.fonttype": 42, "hatch.linewidth": 0.5,
}  # fmt: skip
_also: ContextVar[tuple[str, ...]] = ContextVar("formats beside PNG", default=())


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **settings: Any) -> tuple[Any, np.ndarray]:
    """Return a figure of that size in inches with its axes, (rows, columns)."""
    # The object interface, without pyplot: no global state, no display, no figure left open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **settings)
    for axis in axes.flat:
        axis.patch.set_visible(False)  # white on white
    return figure, axes


@contextmanager
def also(formats: Sequence[str]) -> Iterator[None]:
    """Let ``save`` write each figure in these ``FORMATS`` too, beside its PNG file."""
    before = _also.set(tuple(formats))
    try:
        yield
    finally:
        _also.reset(before)


def save(figure: Any, path: Path, about: str = "") -> Path:
    """Write a figure as PNG, as sharp as it can be below ``LARGEST`` bytes, and return its path.

    Within ``also`` it is written in these formats too. What it is ``about`` stands in the file as its description.
    """
    from PIL import Image, PngImagePlugin

    said = {"Software": None, **({"Description": about} if about else {})}
    with replacing(path) as temporary:
        inches = figure.get_figwidth() * figure.get_figheight()
        for dpi in (dpi for dpi in (160, 130, 110, 90, 70, 50) if dpi == 50 or inches * dpi**2 < MOST_PIXELS):
            figure.savefig(temporary, dpi=dpi, metadata=said, pil_kwargs={"optimize": True})
            if temporary.stat().st_size >= LARGEST:
                # Grey scans with a few colours lose nothing visible in a palette, unlike by fewer pixels.
                with Image.open(temporary) as picture:
                    few = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
                text = PngImagePlugin.PngInfo()
                text.add_text("Description", about)
                few.save(temporary, optimize=True, dpi=(dpi, dpi), pnginfo=text if about else None)
            if temporary.stat().st_size < LARGEST:
                break
    # After the PNG file, as the layout moves a little each time that it is computed.
    for name in _also.get():
        with replacing(path.with_suffix(f".{name}")) as temporary:
            figure.savefig(temporary, format=name, metadata=FORMATS[name])
    return path


def described(path: Path) -> str:
    """Read what a PNG file says it is about; "" where it says nothing."""
    from PIL import Image

    with Image.open(path) as picture:
        return str(picture.info.get("Description", ""))


def styled(draw: Any) -> Any:
    """Wrap a function that draws, so that it draws in ``STYLE``."""

    @wraps(draw)
    def inner(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inner


class Look(NamedTuple):
    """What tells a model from the others in a figure, in colour and without."""

    colour: str
    marker: str
    hatch: str


def look(index: int) -> Look:
    """Look of a figure's model by its place; the first 72 differ, and the first eight in colour and in shape."""
    return Look(MODEL_COLOURS[index % len(MODEL_COLOURS)], MARKERS[index % len(MARKERS)], HATCHES[index % len(HATCHES)])


def looks(models: Sequence[str]) -> dict[str, Look]:
    """Give each model its look, the same in every figure of a report."""
    return {model: look(index) for index, model in enumerate(models)}


def called(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Give the models in a table the ``names`` that figures call them by."""
    there = [column for column in ("model", "model_a", "model_b") if column in table]
    return table.assign(**{column: table[column].map(lambda name: names.get(name, name)) for column in there})


def plot_runs(axis: Any, tables: list[pd.DataFrame], column: str, colour: str, style: str, label: str) -> None:
    """Plot a column of each run's history by epoch, thin, and their mean up to the end of the shortest, thick."""
    tables = [table for table in tables if column in table and table[column].notna().any()]
    if not tables:
        return
    for table in tables if len(tables) > 1 else ():
        axis.plot(table["epoch"], table[column], style, color=_tint(colour, 0.35), linewidth=0.7)
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


@dataclass(frozen=True)
class View:
    """One case beside all models: an ``image`` with its truth and each model's prediction, drawn as those of a Panel.

    ``rank`` says which of all cases it is, ``shows`` which image and slice, and ``dice`` are the models' mean Dice.
    ``sides`` is whether the patient's right is known to be on the left.
    """

    case_id: str
    rank: str
    shows: str
    sides: bool
    image: np.ndarray
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]
    dice: Mapping[str, float]

    @property
    def caption(self) -> str:
        """The case, and what of it is shown, in words."""
        where = "; the patient's right is on the left" if self.sides else ""
        return f"{self.rank}, {self.case_id}: {self.shows}{where}"


@styled
def training_curves(
    path: Path,
    histories: Mapping[str, pd.DataFrame],
    models: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> Path:
    """Draw loss and the score that chooses weights by epoch, a column per model; a line per run, a thick one of all.

    ``histories`` maps a run's id (bundle/variant/foldF-seedS) to a table with the columns epoch, train_loss, val_loss
    and val_dice, or val_accuracy of a classifier. The mean ends with the shortest run, so that it is always over the
    same runs. ``names`` are what models are called by.
    """
    by_model = _by_model(histories, models)
    palette, before = looks(list(by_model)), ""
    shown = [model for model, tables in by_model.items() if tables]
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure, axes = new_figure(1.2 + 2.1 * columns, 3.8 * rows, 2 * rows, columns, sharex=True)
    for index, model in enumerate(shown):
        upper, lower = axes[2 * (index // columns), index % columns], axes[2 * (index // columns) + 1, index % columns]
        own, colour = by_model[model], palette[model].colour
        score = watched(*own) or next(iter(WATCHED))
        plot_runs(upper, own, "train_loss", colour, "-", "")
        plot_runs(upper, own, "val_loss", colour, "--", "")
        plot_runs(lower, own, score, colour, "-", "")
        upper.set_title(_above(model, len(own), names or {}))
        lower.set(ylim=(0, 1), xlabel="Epoch")
        lower.tick_params(labelbottom=True)
        lower.xaxis.get_major_locator().set_params(integer=True)
        upper.locator_params(axis="y", nbins=4)
        upper.set_ylabel("Loss" if index % columns == 0 else "")
        if index % columns == 0 or score != before:
            lower.set_ylabel(f"Validation {WATCHED[score]}")
        else:
            lower.tick_params(labelleft=False)
        before = score
    for axis in axes.flat:
        axis.set_visible(bool(axis.lines))
    for style, label in (("-", "training"), ("--", "validation")):
        axes[0, 0].plot([], [], style, color="#333333", linewidth=1.8, label=label)
    figure.legend(loc="outside lower center", ncols=2, handlelength=2.4)
    return save(figure, path)


def _above(model: str, runs: int, names: Mapping[str, str]) -> str:
    # A long name fits above its column in two lines only.
    name = names.get(model, model).replace("/", "\n/", 1)
    return f"{name} ({number_of(runs, 'run')})"


def _by_model(histories: Mapping[str, pd.DataFrame], models: Sequence[str]) -> dict[str, list[pd.DataFrame]]:
    """Histories of each model's runs; none of a model in ``models`` without any."""
    found: dict[str, list[pd.DataFrame]] = {model: [] for model in models}
    for run, history in histories.items():
        found.setdefault(model_name(*run.split("/")[:2]), []).append(history)
    return found


@styled
def boxplots(path: Path, scores: pd.DataFrame, metric: Metric) -> Path:
    """Draw one metric by region: a box per model (quartiles, whiskers to 1.5 IQR), a point per patient."""
    from matplotlib.legend_handler import HandlerTuple

    table = with_models(scores)
    table = table[table["metric"] == metric.name]
    models, regions = list(pd.unique(table["model"])), list(pd.unique(table["region"]))
    values, palette = patient_means(table, ("region", "model")), looks(models)
    # Many boxes in one row are too wide for a page.
    rows = [regions] if len(models) * len(regions) <= MOST_BOXES else [[region] for region in regions]
    across = max(3.6, 1.4 + 0.42 * len(models) * len(rows[0]), _keys_width(models, 1))
    figure, axes = new_figure(across, 0.9 + 2.5 * len(rows), len(rows), 1)
    random = np.random.default_rng(0)
    for axis, own in zip(axes[:, 0], rows, strict=True):
        handles = [
            _boxes(axis, [values[region].get(model, pd.Series(dtype=float)).to_numpy() for region in own],
                   (index + 0.5) / len(models), 0.8 / len(models), palette[model], random)
            for index, model in enumerate(models)
        ]  # fmt: skip
        axis.set_xticks(range(len(own)), own)
        axis.grid(visible=False, axis="x")
        _value_axis(axis, values.to_numpy(), metric)
    count, seeds = table["patient_id"].nunique(), ", averaged over seeds" * (table["seed"].nunique() > 1)
    axes[0, 0].set_title(f"{count} patients; a point is a patient{seeds}", loc="left", color="#555555")
    columns = next((some for some in range(len(models), 1, -1) if _keys_width(models, some) <= across), 1)
    one = {tuple: HandlerTuple(ndivide=1)}
    figure.legend(handles, models, loc="outside lower center", ncols=columns, handler_map=one, handleheight=1.2)
    return save(figure, path)


def _keys_width(names: Sequence[str], columns: int) -> float:
    """Inches, rather too many, of a legend that has ``names`` one below the other in so many columns."""
    return sum(0.55 + 0.068 * max(map(len, own)) for own in np.array_split(names, columns))


def _tint(colour: str, share: float = 0.19) -> tuple[float, ...]:
    """A light shade of a colour, opaque: SVG would draw the hatch as see-through as the face, in its very colour."""
    from matplotlib.colors import to_rgb

    return tuple(1 - share * (1 - part) for part in to_rgb(colour))


def _boxes(axis: Any, groups: Sequence[np.ndarray], share: float, step: float, own: Look, random: Any) -> Any:
    """Draw a model's box and points in each region, ``step`` wide at its ``share`` of it; return its legend's key."""
    from matplotlib.patches import Patch

    places = np.arange(len(groups)) - 0.4 + 0.8 * share
    line = {"color": own.colour}
    box: dict[str, Any] = {"facecolor": _tint(own.colour), "edgecolor": own.colour, "hatch": own.hatch}
    axis.boxplot(
        groups, positions=places, widths=step * 0.78, showfliers=False, patch_artist=True, manage_ticks=False,
        boxprops=box, medianprops={**line, "linewidth": 2}, whiskerprops=line, capprops=line,
    )  # fmt: skip
    point: dict[str, Any] = {"marker": own.marker, "color": own.colour, "markersize": 2.8, "markeredgewidth": 0.3}
    point |= {"linestyle": "", "markeredgecolor": "white"}
    for place, group in zip(places, groups, strict=True):
        jitter = random.uniform(-0.22, 0.22, len(group)) * step
        # From one to the next above it is the shortest path, in a drawing too.
        axis.plot(place + jitter, np.sort(group), **point, rasterized=len(group) > MOST_POINTS)
    return Patch(**box), axis.plot([], [], **{**point, "markersize": 5})[0]


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
    """Draw paired differences of one metric as a forest plot, by region: 95% interval, margin, corrected p, verdict.

    A mark is filled where a difference is shown. Intervals are those of each row by itself; they end where no
    difference is possible.
    """
    own = comparisons[(comparisons["metric"] == metric.name) & comparisons["difference"].notna()].to_dict("records")
    regions = list(dict.fromkeys(row["region"] for row in own))
    lines: list[Any] = [line for name in regions for line in (name, *(row for row in own if row["region"] == name))]
    labels = [
        line if isinstance(line, str) else f"{line['model_a']} \N{MINUS SIGN} {line['model_b']}" for line in lines
    ]
    left = 0.3 + 0.062 * max(map(len, labels))
    figure, axes = new_figure(left + 6.8, 1.35 + 0.21 * len(lines), 1, 2, sharey=True, width_ratios=(3, 3.6))
    axis, beside = axes[0]
    margin = own[0]["margin"]
    if pd.notna(margin):
        said = f"margin of equivalence, \N{PLUS-MINUS SIGN}{tables.number(margin, metric)}"
        axis.axvspan(-margin, margin, facecolor=MODEL_COLOURS[0] + "22", edgecolor=MODEL_COLOURS[0], label=said)
    axis.axvline(0, color="#333333", linewidth=0.9)
    beyond = [_interval(axis, place, line, metric) for place, line in enumerate(lines) if not isinstance(line, str)]
    _beside(beside, lines, metric)
    axis.set_yticks(range(len(lines)), labels, fontsize=8)
    for tick, line in zip(axis.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if isinstance(line, str) else "normal")
    axis.set_ylim(len(lines) - 0.5, -1.5)
    axis.grid(visible=False, axis="y")
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlabel(_sides(metric), fontsize=8)
    _marks(axis, lines)
    if any(beyond):
        axis.plot([], [], ">", color=MODEL_COLOURS[0], markersize=4, label="interval ends at the possible range")
    heading = f"{title(metric, arrow=False)}: A \N{MINUS SIGN} B, mean over patients"
    figure.suptitle(f"{heading}; 95% interval of each row by itself, not corrected", fontsize=9)
    figure.legend(loc="outside lower center", ncols=2)
    return save(figure, path)


def _marks(axis: Any, lines: Sequence[Any]) -> None:
    """Mark the differences of all rows, filled where one is shown, and say which is which in the legend."""
    kinds = ((True, MODEL_COLOURS[0], "difference shown after correction"), (False, "white", "no difference shown"))
    for significant, face, shown in kinds:
        mark: dict[str, Any] = {"color": MODEL_COLOURS[0], "markerfacecolor": face, "markersize": 5}
        own = [
            (row["difference"], place)
            for place, row in enumerate(lines)
            if not isinstance(row, str) and bool(row["significant"]) == significant
        ]
        # All marks of a look are one plot, which a drawing holds as one path.
        axis.plot([x for x, _ in own], [y for _, y in own], "o", **mark, zorder=3)
        axis.plot([], [], "o-", **mark, label=shown)


def _interval(axis: Any, place: int, row: Mapping[Any, Any], metric: Metric) -> bool:
    """Draw a difference with its interval, and say whether this went beyond the possible differences."""
    # Shares lie between 0 and 1; of lengths and volumes the largest is not known here.
    most = np.inf if metric.unit else 1.0
    low, high = (float(np.clip(row[end], -most, most)) for end in ("ci_low", "ci_high"))
    colour = MODEL_COLOURS[0]
    axis.plot([low, high], [place, place], color=colour, linewidth=1.5, zorder=2)
    for end, marker, over in ((low, "<", row["ci_low"] < -most), (high, ">", row["ci_high"] > most)):
        if over:
            axis.plot(end, place, marker, color=colour, markersize=4, clip_on=False)
    return bool(row["ci_low"] < -most or row["ci_high"] > most)


def _beside(axis: Any, lines: Sequence[Any], metric: Metric) -> None:
    """Write difference, corrected p and verdict of each row beside a forest plot."""
    axis.set_xlim(0, 1)
    axis.axis("off")
    rows = [(place, row) for place, row in enumerate(lines) if not isinstance(row, str)]
    columns = (
        (0.0, "A \N{MINUS SIGN} B (95% interval)", lambda row: _with_interval(row, metric)),
        (0.47, "p (Holm)", lambda row: tables.p_value(row["p_holm"])),
        (0.63, "Verdict", tables.verdict),
    )
    # Column by column: words above each other share their place in a drawing.
    for x, heading, said in columns:
        axis.text(x, -1, heading, va="center", fontsize=8, fontweight="bold")
        for place, row in rows:
            axis.text(x, place, said(row), va="center", fontsize=8)


def _with_interval(row: Mapping[Any, Any], metric: Metric) -> str:
    ends = tables.interval(row["ci_low"], row["ci_high"], metric)
    return f"{tables.number(row['difference'], metric, True)} ({ends})"


@styled
def training_sets(path: Path, scores: pd.DataFrame, pairs: Sequence[tuple[str, str]], metric: Metric) -> Path:
    """Draw the mean difference of each run of two models over the patients it tested, per region, and their mean.

    Runs that share their training set have one colour: those of a fold where seeds share folds, else those of a seed.
    """
    regions = {region: rows for name, region, rows, _ in outcomes(scores, [metric.name])}
    figure, axes = new_figure(1.9 + 2.0 * len(regions), 1.35 + 0.42 * len(pairs), 1, len(regions), sharey=True)
    seen: dict[str, Look] = {}
    for axis, rows in zip(axes[0], regions.values(), strict=True):
        runs = model_runs(rows, pd.Index(pd.unique(rows["patient_id"])))
        axis.axvline(0, color="#333333", linewidth=0.9)
        marks, means = dict[str, list[tuple[float, float]]](), dict[int, float]()
        for place, (a, b) in enumerate(pairs):
            if not {a, b} <= set(runs):
                continue
            own = pair_runs(runs[a], runs[b])
            shared = own.sets.nunique() < len(own.sets)
            found = (runs[a] - runs[b]).mean().dropna().sort_index(level=["fold", "seed"])
            for row, (run, value) in enumerate(zip(found.index, found, strict=True)):
                group = f"fold {run[0]}" if shared else f"seed {run[1]}"
                marks.setdefault(group, []).append((value, place + 0.5 * ((row + 0.5) / len(found) - 0.5)))
            means[place] = float(np.nanmean(own.differences()))
        for group, points in marks.items():
            own_look = seen.setdefault(group, look(len(seen)))
            axis.plot(*zip(*points, strict=True), own_look.marker, color=own_look.colour, markersize=3.6,
                      markeredgewidth=0)  # fmt: skip
        for place, mean in means.items():
            axis.plot([mean, mean], [place - 0.34, place + 0.34], color="#333333", linewidth=1.6)
    _label_pairs(axes[0], list(regions), pairs, metric)
    for group, own_look in seen.items():
        axes[0, 0].plot([], [], own_look.marker, color=own_look.colour, label=group)
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
    # Several plain spaces are one in a drawing within a page.
    return f"← {worse}{3 * NO_BREAK}{better} →"


@styled
def panels(path: Path, shown: Sequence[Panel], labels: Mapping[str, str] | None = None, name: str = "") -> Path:
    """Draw image, truth and prediction of cases, one row per case; ``labels`` maps a label value to its name.

    All panels should be of one model, which is called ``name``; slices are cropped to the brain.
    """
    palette = _label_colours([array for panel in shown for array in (panel.truth, panel.prediction)], labels)
    figure, axes = new_figure(6.4, 2.12 * len(shown) + 0.5, len(shown), 3)
    for row, panel in zip(axes, shown, strict=True):
        box = _brain_box(panel.image, panel.truth, panel.prediction)
        picture = _windowed(panel.image[box])
        for axis, overlay in zip(row, (None, panel.truth[box], panel.prediction[box]), strict=True):
            _show(axis, _painted(picture, overlay, palette))
        row[0].set_ylabel(f"{panel.rank}: mean Dice {panel.dice:.3f}\n{panel.case_id}", fontsize=8)
    for axis, heading in zip(axes[0], ("Image", "Truth", f"Prediction: {name or shown[0].model}"), strict=True):
        axis.set_title(heading)
    figure.legend(handles=_label_keys(palette, labels), loc="outside lower center", ncols=3)
    return save(figure, path)


@styled
def case(path: Path, view: View, labels: Mapping[str, str], names: Mapping[str, str]) -> Path:
    """Draw one case: its image, its truth and the prediction of every model, which ``names`` may call otherwise."""
    from matplotlib.patheffects import withStroke

    overlays = {"Image": None, "Truth": view.truth}
    for model, prediction in view.predictions.items():
        overlays[f"{names.get(model, model)}\nDice {view.dice[model]:.3f}"] = prediction
    palette = _label_colours([array for array in overlays.values() if array is not None], labels)
    rows = -(-len(overlays) // PER_ROW)
    columns = -(-len(overlays) // rows)
    box = _brain_box(view.image, *(array for array in overlays.values() if array is not None))
    picture = _windowed(view.image[box])
    height, width = picture.shape
    figure, axes = new_figure(1.6 * columns, 0.6 + rows * (0.4 + 1.55 * height / width), rows, columns)
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, (heading, overlay) in zip(axes.flat, overlays.items(), strict=False):
        axis.set_visible(True)
        _show(axis, _painted(picture, None if overlay is None else overlay[box], palette))
        axis.set_title(heading, fontsize=8)
    if view.sides:
        edge = [withStroke(linewidth=2, foreground="black")]
        for x, side in ((0.03, "R"), (0.92, "L")):
            axes[0, 0].text(x, 0.5, side, transform=axes[0, 0].transAxes, color="white", fontsize=8, path_effects=edge)
    figure.suptitle(view.caption, fontsize=8)
    figure.legend(handles=_label_keys(palette, labels), loc="outside lower center", ncols=4, fontsize=7)
    return save(figure, path, about=view.caption)


def _label_colours(maps: Sequence[np.ndarray], labels: Mapping[str, str] | None) -> dict[int, str]:
    """Give each label that is named or there a colour; 0 has none."""
    found = {int(value) for array in maps for value in np.unique(array)} | {int(value) for value in labels or {}}
    return {value: LABEL_COLOURS[place % len(LABEL_COLOURS)] for place, value in enumerate(sorted(found - {0}))}


def _label_keys(palette: Mapping[int, str], labels: Mapping[str, str] | None) -> list[Any]:
    from matplotlib.patches import Patch

    names = labels or {}
    return [Patch(color=colour, label=names.get(str(value), f"label {value}")) for value, colour in palette.items()]


def _show(axis: Any, picture: np.ndarray) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)


@styled
def sequences(path: Path, panel: Panel) -> Path:
    """Draw all modalities of a case side by side, one slice, each windowed by itself and cropped to the brain."""
    box = _brain_box(panel.image, panel.truth, panel.prediction)
    figure, axes = new_figure(0.4 + 1.9 * len(panel.sequences), 2.3, 1, len(panel.sequences))
    for axis, (name, image) in zip(axes[0], panel.sequences.items(), strict=True):
        _show(axis, _windowed(image[box]))
        axis.set_title(name)
    axes[0, 0].set_ylabel(panel.case_id, fontsize=8)
    return save(figure, path)


def _windowed(image: np.ndarray) -> np.ndarray:
    """An image from 0 to 1: its 1st to its 99.5th percentile within the brain."""
    image = image.astype(float)
    brain = image[image != 0] if (image != 0).any() else image.ravel()
    low, high = np.percentile(brain, [1, 99.5])
    return np.where(image != 0, np.clip((image - low) / max(high - low, 1e-9), 0, 1), 0)


def _brain_box(*maps: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around all that is not 0 in an image and its label maps, and two voxels around it."""
    inside = np.any([array != 0 for array in maps], axis=0)
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
