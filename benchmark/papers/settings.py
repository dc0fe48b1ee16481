"""A printed listing of layers, or of settings, to a table that sets ours beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.papers.published import cell, parse, role
from benchmark.report.document import Cell, Table
from benchmark.report.tables import short

LAYER_COLUMNS = ("layer", "type", "shape", "parameters")
"""Columns of ``layers.csv``: a row for every layer of our network in the order of its forward pass, a block as one
row, at the paper's input size; ``shape`` is (N, C, H, W) or (N, H, W, C)."""

FAMILIES = {
    "norm": ("batchnorm", "batch_norm"),
    "pool": ("maxpool",),
    "up": ("upsampl",),
    "block": ("resblock",),
    "concat": ("concat", "cat"),
    "add": ("add",),
    "activation": ("activation", "relu", "sigmoid"),
    "conv": ("conv",),
    "total": ("total",),
}
NOT_PRINTED = "not printed"
OPERATIONS = ("concat", "add", "activation")
"""Families that are operations within a forward pass, for which there is often no layer to list."""


def layer_table(table: Mapping[str, Any], layers: pd.DataFrame | None) -> Table:
    """Printed layers beside ours, row by row: matched in order, by family and by size relative to the input.

    ``layers`` has LAYER_COLUMNS; None where the network was not listed. ``conv2d*2`` stands for two convolutions.
    """
    place = {role(column): index for index, column in enumerate(table["columns"])}
    printed = [
        tuple(row["values"][place[name]] or NOT_PRINTED for name in ("layer", "shape", "parameters"))
        for row in table["rows"]
    ]
    matched = _match(printed, layers) if layers is not None else [None] * len(printed)
    rows: list[list[str | Cell]] = []
    for row, (kind, shape, parameters), own in zip(table["rows"], printed, matched, strict=True):
        cells = [*["no layer"] * 3, _absent(kind, shape, layers)] if own is None else _beside(shape, parameters, own)
        rows.append([row["label"], kind, shape, parameters, *cells])
    header = ["Row", "Printed layer", "Output shape", "Parameters", "Our layer", "Our shape", "Parameters", "Verdict"]
    note = "same: as many channels, as large, and as many parameters where they are printed."
    return Table(
        f"{table['id']} ({table['where']}): {table['caption']}; printed beside ours.", header, rows, notes=[note]
    )


def _absent(kind: str, shape: str, layers: pd.DataFrame | None) -> str:
    if layers is None:
        return "not comparable: layers.csv is not there"
    if _family(kind) in OPERATIONS:
        return "not comparable: an operation, no layer"
    blocks = layers[layers["type"].map(_family) == "block"]
    if _size(shape) in {_size(str(own)) for own in blocks["shape"]}:
        return "not comparable: inside a ResBlock of ours"
    return "differs: no such layer"


def _beside(shape: str, parameters: str, own: tuple[str, str, int | None]) -> list[str]:
    name, our_shape, count = own
    number = parse(parameters, exact=True)
    differing = []
    if shape != NOT_PRINTED and _size(shape) != _size(our_shape):
        differing.append(f"channels {_size(shape)[1]} and {_size(our_shape)[1]}"
                         if _size(shape)[0] == _size(our_shape)[0] else "size")  # fmt: skip
    if number is not None and count is not None and int(number.number) != count:
        differing.append("parameters")
    return [
        name,
        our_shape,
        "not counted" if count is None else str(count),
        f"differs: {', '.join(differing)}" if differing else "same",
    ]


def _family(kind: str) -> str:
    name = kind.lower()
    return next((family for family, starts in FAMILIES.items() if any(start in name for start in starts)), name)


def _size(shape: str) -> tuple[int, int]:
    """Pixels along an edge and channels of a shape with channels first or last."""
    numbers = [int(part) for part in re.findall(r"\d+", shape)][-3:]
    if len(numbers) < 3:
        return (0, 0)
    return (numbers[0], numbers[2]) if numbers[0] == numbers[1] else (numbers[1], numbers[0])


def _match(printed: Sequence[tuple[str, ...]], layers: pd.DataFrame) -> list[tuple[str, str, int | None] | None]:
    """Our layer for each printed row: the next of its family and size after the last one that was matched.

    Where a family comes several times in a printed row (conv2d*2) the last one is taken, with all their parameters;
    an order within one size that differs, such as normalisation before or after activation, is no difference.
    """
    ours = [
        (str(t), str(s), None if pd.isna(p) else int(p))
        for t, s, p in layers[list(LAYER_COLUMNS[1:])].itertuples(index=False)
    ]
    used: set[int] = set()
    position, found = 0, list[tuple[str, str, int | None] | None]()
    for kind, shape, _ in printed:
        if _family(kind) == "total":
            total = [own for own in ours if _family(own[0]) == "total"]
            count = total[0][2] if total else sum(own[2] or 0 for own in ours)
            found.append(("total", "of all layers", count))
            continue
        size, times = _size(shape)[0], int((re.findall(r"\*(\d+)", kind) or ["1"])[0])
        left = [index for index in range(position, len(ours)) if index not in used]
        alike = [i for i in left if _family(ours[i][0]) == _family(kind) and _size(ours[i][1])[0] == size]
        # Several convolutions come at one size, for which only channels say which is meant.
        exact = [index for index in alike if _size(ours[index][1]) == _size(shape)]
        candidates = (exact if _family(kind) == "conv" else exact or alike)[:times]
        if not candidates:
            found.append(None)
            continue
        used.update(candidates)
        # Layers of one size may come in another order: go back to where this size began.
        position = next((i for i in range(candidates[0], -1, -1) if i == 0 or _size(ours[i - 1][1])[0] != size), 0)
        counts = [ours[index][2] for index in candidates]
        name, our_shape, _ = ours[candidates[-1]]
        total_count = None if any(count is None for count in counts) else sum(count or 0 for count in counts)
        found.append((name if len(candidates) == 1 else f"{name} x {len(candidates)}", our_shape, total_count))
    return found


def settings_table(table: Mapping[str, Any], values: Mapping[str, Any]) -> Table:
    """Printed settings beside those of our model's config, by id."""
    rows: list[list[str | Cell]] = []
    for row in table["rows"]:
        (text,) = row["values"]
        value = values.get(row.get("config", ""))
        shown = short(value) if value is not None else "none" if "config" not in row else "no such id"
        shown = shown if values or "config" not in row else "not run"
        if "none" in row:
            said = f"not comparable: {row['none']}"
        elif value is None:
            said = f"not comparable: {'no such id' if values else 'not run'}"
        else:
            said = "same" if _alike(text, value) else "differs"
        rows.append([row["label"], text, row.get("config", "none"), said, shown])
    header = ["Setting", "Printed", "Id", "Verdict", "Ours"]
    note = "same: the same numbers, or every printed word is in ours."
    caption = f"{table['id']} ({table['where']}): {table['caption']}; printed beside {table.get('model', 'our model')}."
    return Table(caption, header, rows, notes=[note])


def _alike(text: str, value: Any) -> bool:
    number = cell({"name": ""}, text)
    if number is not None and isinstance(value, int | float):
        return abs(number.number - value) <= 1e-9 * max(1.0, abs(value))
    if isinstance(value, list | tuple) and all(isinstance(part, int) for part in value):
        return [int(part) for part in re.findall(r"\d+", text)] == list(value)
    words = [word.lower()[:4] for word in re.findall(r"[A-Za-z][A-Za-z0-9]*", text)]
    return all(word in short(value).lower() for word in words)
