"""Write the section of a report on other tests: on other sets, and on the own test cases with corrupted images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base.records import OtherTest
from benchmark.report.document import Block, Bullets, Cell, Figure, Heading, Key, Table, cells_of
from benchmark.report.figures import Look, looks, new_figure, save, styled
from benchmark.report.tables import Metrics, interval, number, title
from benchmark.scoring.metrics import Metric

LEVELS = {
    "noise": "noise, its SD in SDs of the sequence",
    "bias_field": "bias field, largest coefficient of the polynomial in its exponent",
    "blur": "blur, SD of the Gaussian in the unit of the spacing",
    "missing": "missing, the sequence",
    "shift": "shift of the image from the middle of the canvas, voxels",
}
"""What the level of each corruption is (``data.corruption``)."""

OF_SETS = (
    "The change is between two samples of patients (Welch's 95% interval): both may differ by chance in who was drawn. "
    "It is of these trained networks, as what another training would change is not in it; intervals are not corrected "
    "for their number. A change has no one cause: scanners, patients and the experts' outlines differ between sets."
)
OF_SWEEPS = (
    "In each cell the mean, and the mean change from the same patients' images as they are with its 95% interval "
    "(BCa bootstrap over patients; of these trained networks; not corrected for their number)."
)


def there(metric: str, test: str) -> str:
    """Name a metric in another test, as cells and explanations do."""
    return f"{metric} on {test}"


def blocks(found: pd.DataFrame | None, tests: Sequence[OtherTest], metrics: Metrics) -> list[Block]:
    """The section on ``other_tests.csv`` as ``Results.other_tests`` has it; none where there is none."""
    if found is None:
        return []
    result: list[Block] = [Heading("Tested elsewhere")]
    result.append(Bullets(["The same trained networks. Nothing here enters the comparison above."]))
    for test in tests:
        for name, rows in found[found["test"] == test.name].groupby("metric", sort=False):
            if test.data:
                result.append(_of_set(test, rows, metrics[str(name)]))
    sweeps, primary = [test for test in tests if test.corruption], found["metric"].iloc[0]
    rows = found[found["test"].isin([test.name for test in sweeps]) & (found["metric"] == primary)]
    if len(rows):
        result.append(_of_sweeps(sweeps, rows, metrics[primary]))
    return [*result, Bullets(["All rows are in other_tests.csv, the scores in scores.NAME.csv."])]


def in_short(found: pd.DataFrame | None, tests: Sequence[OtherTest], metric: Metric) -> list[str]:
    """A sentence per other set and one on corrupted images: the worst change of a mean of the primary metric."""
    if found is None:
        return []
    sign = -1 if metric.better == "higher" else 1
    rows = found[found["metric"] == metric.name].assign(loss=lambda own: sign * own["change"])
    sentences = []
    for test in tests:
        own = rows[rows["test"] == test.name]
        if test.data and len(own):
            worst = own.nlargest(1, "loss").iloc[0]
            patients = f"{worst['n_patients_there']} patients, against {worst['n_patients']} own"
            sentences.append(f"On {test.name} ({patients}), the worst change of a mean: {_worst(worst, metric)}.")
    own = rows[rows["test"].isin([test.name for test in tests if test.corruption])]
    if len(own):
        worst = own.nlargest(1, "loss").iloc[0]
        sentences.append(f"Of corrupted images {worst['test']} costs most: {_worst(worst, metric)}.")
    return sentences


def _worst(row: pd.Series, metric: Metric) -> str:
    means = f"from {number(row['mean'], metric)} to {number(row['mean_there'], metric)}"
    ends = interval(row["ci_low"], row["ci_high"], metric)
    return f"{row['region']} by {row['model']}, {metric.title} {means}, {number(row['change'], metric, True)} ({ends})"


def _of_set(test: OtherTest, rows: pd.DataFrame, metric: Metric) -> Table:
    body = []
    for row in rows.to_dict("records"):
        here = Cell(f"{number(row['mean'], metric)} ({row['n_patients']})", key=_key(row, metric.name))
        texts = {
            "mean": f"{number(row['mean_there'], metric)} ({row['n_patients_there']})",
            "change": number(row["change"], metric, True),
            "interval": interval(row["ci_low"], row["ci_high"], metric),
        }
        cells = cells_of(_key(row, there(metric.name, test.name)), texts)
        body.append([row["model"], row["region"], here, *cells])
    header = ["Model", "Region", "Own test cases (patients)", f"{test.name} (patients)", "Change", "95% interval"]
    return Table(f"{title(metric)} on {test.name}.", header, body, notes=[OF_SETS, *_decided(rows)])


def _key(row: Mapping[Any, Any], metric: str) -> Key:
    return Key(row["model"], metric, row["region"])


def _of_sweeps(tests: Sequence[OtherTest], rows: pd.DataFrame, metric: Metric) -> Table:
    regions, body = list(pd.unique(rows["region"])), []
    by_place = {(row["test"], row["model"], row["region"]): row for row in rows.to_dict("records")}
    for model in pd.unique(rows["model"]):
        own = [next((row for key, row in by_place.items() if key[1:] == (model, region)), None) for region in regions]
        means = [Cell(number(row["mean"], metric), key=_key(row, metric.name)) if row else "-" for row in own]
        body.append([model, "none", "", *means])
        for test in tests:
            cells = [_changed(by_place.get((test.name, model, region)), metric) for region in regions]
            body.append([model, test.corruption.replace("_", " "), test.name.partition("-")[2], *cells])
    levels = [meaning for kind, meaning in LEVELS.items() if kind in [test.corruption for test in tests]]
    notes = [OF_SWEEPS, f"Levels: {'; '.join(levels)}.", *_decided(rows)]
    return Table(f"{title(metric)} on corrupted images.", ["Model", "Corruption", "Level", *regions], body, notes=notes)


def _decided(rows: pd.DataFrame) -> list[str]:
    most = rows.groupby("region", sort=False)["n_empty"].max()
    listed = ", ".join(f"{region} {count}" for region, count in most.items() if count)
    return [f"Cases decided by a rule for empty masks, where there were most: {listed}."] * bool(listed)


def _changed(row: Mapping[Any, Any] | None, metric: Metric) -> Cell | str:
    if row is None:
        return "-"
    ends = interval(row["ci_low"], row["ci_high"], metric)
    text = f"{number(row['mean_there'], metric)} ({number(row['change'], metric, True)}, {ends})"
    return Cell(text, key=_key(row, there(metric.name, row["test"])))


@styled
def sweep(path: Path, found: pd.DataFrame, tests: Sequence[OtherTest], metric: Metric) -> Path:
    """Draw a metric against the level of each corruption: a row per region, a column per corruption, a line per model.

    The first point of a line is of the images as they are.
    """
    rows = found[(found["metric"] == metric.name) & found["test"].isin([test.name for test in tests])]
    kinds = list(dict.fromkeys(test.corruption for test in tests))
    regions, palette = list(pd.unique(rows["region"])), looks(list(pd.unique(rows["model"])))
    figure, axes = new_figure(1 + 1.9 * len(kinds), 0.6 + 1.7 * len(regions), len(regions), len(kinds), sharey="row")
    for column, kind in enumerate(kinds):
        levels = [test for test in tests if test.corruption == kind]
        for axis, region in zip(axes[:, column], regions, strict=True):
            for model, own in rows[rows["region"] == region].groupby("model", sort=False):
                _line(axis, own.set_index("test"), levels, palette[str(model)], str(model))
        axes[0, column].set_title(kind.replace("_", " "))
    for axis, region in zip(axes[:, 0], regions, strict=True):
        axis.set_ylabel(f"{region}, {title(metric, arrow=False)}")
    axes[0, 0].legend()
    return save(figure, path)


def _line(axis: Any, rows: pd.DataFrame, levels: Sequence[OtherTest], look: Look, label: str) -> None:
    taken = [test for test in levels if test.name in rows.index]
    if not taken:
        return
    means = [rows["mean"].iloc[0], *(rows["mean_there"][test.name] for test in taken)]
    named = any(isinstance(test.level, str) for test in taken)
    # Sequences have no order: points without lines.
    places = ["none", *(test.level for test in taken)] if named else [0, *(float(test.level) for test in taken)]
    ordered = list(zip(places, means, strict=True)) if named else sorted(zip(places, means, strict=True))
    axis.plot(
        *zip(*ordered, strict=True), look.marker + "-" * (not named), color=look.colour, markersize=4, label=label
    )


def figure_block(path: Path, metric: Metric) -> Figure:
    """The figure's place in a report."""
    caption = f"{metric.title} against the level of each corruption, mean over patients; the first point is "
    return Figure(f"figures/{path.name}", caption + "of the images as they are. Levels are explained under the table.")
