"""A paper's ``published.json`` to its printed values: each the interval of numbers that rounds to what is printed.

The file holds every number as the paper prints it, with its table, row and column. A column says what of ours it
corresponds to (``metric``, ``regions``, ``aggregate``) or why nothing does (``none``), and what it is to the relations
of ``benchmark.implied`` (``role``); a role that is not given is read off the column's name where that is a usual one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.files import read_json
from benchmark.records import InputError

FILE = "published.json"
NAMES = {
    "dice": ("dice", "dsc", "dicescore", "dicecoefficient", "meandsc", "meandice"),
    "iou": ("iou", "jaccard"),
    "precision": ("precision",),
    "recall": ("recall",),
    "f1": ("f1", "f1score"),
    "support": ("support",),
    "sensitivity": ("sensitivity",),
    "specificity": ("specificity",),
    "accuracy": ("accuracy", "acc"),
    "mean_iou": ("meaniou", "miou"),
    "p": ("pvalue", "p"),
}
"""Usual names of columns, in letters and digits only, by the role that they stand for."""

COUNTED = ("support", "parameters")
"""Roles whose printed whole numbers are counts: exact, not rounded."""

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_COLUMN = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "role": _TEXT,
        "metric": _TEXT,
        "regions": {"anyOf": [{"const": "mean"}, _TEXTS]},
        "aggregate": {"enum": ["patients", "pooled", "slices"]},
        "unit": {"enum": ["", "%"]},
        "weights": {"type": "object", "required": ["alpha", "beta"]},
        "history": _TEXT,
        "none": _TEXT,
    },
    "required": ["name"],
    "additionalProperties": False,
}
_ROW = {
    "type": "object",
    "properties": {
        "label": _TEXT,
        "model": _TEXT,
        "none": _TEXT,
        "role": {"enum": ["class", "accuracy", "micro", "macro", "weighted"]},
        "class": {"type": "integer", "minimum": 0},
        "config": _TEXT,
        "printed": _TEXT,
        "values": {"type": "array", "items": {"anyOf": [_TEXT, {"type": "null"}]}, "minItems": 1},
    },
    "required": ["label", "values"],
    "additionalProperties": False,
}
_TABLE = {
    "type": "object",
    "properties": {
        **{key: _TEXT for key in ("id", "caption", "where", "model", "reference")},
        "kind": {"enum": ["scores", "classification", "significance", "settings", "layers"]},
        "one_test_set": {"type": "boolean"},
        "classes": {"type": "integer", "minimum": 2},
        "in_channels": {"type": "integer", "minimum": 1},
        "columns": {"type": "array", "items": _COLUMN, "minItems": 1},
        "rows": {"type": "array", "items": _ROW, "minItems": 1},
    },
    "required": ["id", "kind", "caption", "where", "columns", "rows"],
    "additionalProperties": False,
}
_FIGURE = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "kind": {"enum": ["bars", "curves", "confusion", "panels", "sequences", "drawing"]},
        "shows": _TEXT,
        "table": _TEXT,
        "columns": _TEXTS,
        "model": _TEXT,
        "curves": {"type": "array", "items": _TEXTS, "minItems": 1},
    },
    "required": ["id", "kind", "shows"],
    "additionalProperties": False,
}
_CLAIM = {
    "type": "object",
    "properties": {key: _TEXT for key in ("id", "value", "states", "where", "same_as")},
    "required": ["id", "value", "states", "where"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "paper": {
            "type": "object",
            "properties": {**{key: _TEXT for key in ("short", "title", "data", "split")}, "authors": _TEXTS},
            "required": ["short", "title", "authors", "data", "split"],
            "additionalProperties": False,
        },
        "tables": {"type": "array", "items": _TABLE},
        "figures": {"type": "array", "items": _FIGURE},
        "claims": {"type": "array", "items": _CLAIM},
        "relations": {"type": "array", "items": {"type": "object", "required": ["kind"]}},
    },
    "required": ["paper", "tables"],
    "additionalProperties": False,
}
_NUMBER = r"(\d+(?:\.\d+)?)"
_PLAIN = re.compile(rf"([<>])?\s*([-+]?){_NUMBER}\s*(?:\u00d710\^\{{([-+]?\d+)\}})?\s*(%)?(?:\s*±\s*{_NUMBER})?\s*(%)?")
_RANGE = re.compile(rf"{_NUMBER}\s*[\u2013-]\s*{_NUMBER}\s*(%)?")


class Interval(NamedTuple):
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float

    def meets(self, other: Interval) -> bool:
        """Whether the two have a number in common, give or take the error of floating point."""
        return self.low <= other.high + 1e-9 and other.low <= self.high + 1e-9


@dataclass(frozen=True)
class Value:
    """A printed number, as a share of one where it is printed in percent.

    ``number`` is what is printed and ``interval`` what rounds to it; ``spread`` is the same of a number after ±.
    ``bound`` is "<" or ">" where a bound is printed; of a range such as 3-6% ``number`` is its middle.
    """

    text: str
    number: float
    interval: Interval
    spread: tuple[float, Interval] | None = None
    bound: str = ""
    percent: bool = False


def parse(text: str | None, unit: str = "", exact: bool = False) -> Value | None:
    """Read a cell as printed; None where it holds no number ("N/A", a dash, words).

    A number stands for all that round to its last digit: 0.84 for 0.835 to 0.845. ``unit`` "%" applies to a number
    without its own sign; ``exact`` is a count.
    """
    if text is None:
        return None
    if found := _RANGE.fullmatch(text.strip()):
        first, last = (_rounded(part) for part in found.group(1, 2))
        scale = 100.0 if found.group(3) or unit == "%" else 1.0
        middle = (float(found.group(1)) + float(found.group(2))) / 2
        return Value(text, middle / scale, Interval(first.low / scale, last.high / scale), percent=scale > 1)
    found = _PLAIN.fullmatch(text.strip())
    if not found:
        return None
    bound, sign, digits, power, percent, spread, percent_after = found.groups()
    scale = 100.0 if percent or percent_after or unit == "%" else 1.0
    scale /= 10.0 ** int(power or 0)
    number = float(f"{sign}{digits}")
    low, high = _rounded(digits) if not (exact or bound) else Interval(abs(number), abs(number))
    interval = Interval(-high, -low) if sign == "-" else Interval(low, high)
    return Value(
        text=text,
        number=number / scale,
        interval=Interval(interval.low / scale, interval.high / scale),
        spread=(float(spread) / scale, Interval(*(end / scale for end in _rounded(spread)))) if spread else None,
        bound=bound or "",
        percent=bool(percent or percent_after or unit == "%"),
    )


def _rounded(digits: str) -> Interval:
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    return Interval(float(digits) - half, float(digits) + half)


def role(column: Mapping[str, Any]) -> str:
    """What a column is to the relations: as declared, or by its usual name, or nothing."""
    if "role" in column:
        return str(column["role"])
    name = re.sub(r"[^a-z0-9]", "", re.sub(r"±.*|\(.*?\)", "", column["name"]).lower())
    return next((role for role, names in NAMES.items() if name in names), "")


@dataclass(frozen=True)
class Published:
    """What a paper printed: the content of its ``published.json``, checked."""

    content: Mapping[str, Any]

    @property
    def short(self) -> str:
        """Short name of the paper."""
        return str(self.content["paper"]["short"])

    @property
    def tables(self) -> list[dict[str, Any]]:
        """The printed tables."""
        return list(self.content["tables"])

    @property
    def figures(self) -> list[dict[str, Any]]:
        """The printed figures."""
        return list(self.content.get("figures", ()))

    @property
    def claims(self) -> list[dict[str, Any]]:
        """Further numbers, printed in the text."""
        return list(self.content.get("claims", ()))

    @property
    def relations(self) -> list[dict[str, Any]]:
        """Relations that numbers of different places stand in."""
        return list(self.content.get("relations", ()))

    def table(self, name: str) -> dict[str, Any]:
        """Return the table of that id.

        Raises:
            InputError: if there is none.
        """
        for table in self.tables:
            if table["id"] == name:
                return table
        raise InputError(f"published.json of {self.short} has no table {name!r}: expected one of its tables' ids.")

    def value(self, place: str) -> Value:
        """Return a printed number by ``table/row/column``, by a claim's id, or as itself ("100%").

        Raises:
            InputError: if there is no number there.
        """
        for claim in self.claims:
            if claim["id"] == place and (found := parse(claim["value"])):
                return found
        for table in self.tables:
            for row in table["rows"]:
                for column, text in zip(table["columns"], row["values"], strict=True):
                    if place == f"{table['id']}/{row['label']}/{column['name']}" and (found := cell(column, text)):
                        return found
        if found := parse(place):
            return found
        raise InputError(
            f"published.json of {self.short} has no number at {place!r}: expected table/row/column or a claim's id."
        )


def cell(column: Mapping[str, Any], text: str | None) -> Value | None:
    """Read a cell of a table under its column's unit."""
    return parse(text, column.get("unit", ""), role(column) in COUNTED)


def find(folder: Path) -> Path | None:
    """Return ``published.json`` of a study's folder, or of the folder above for a study "paper/small"; else None."""
    return next((path for path in (folder / FILE, folder.parent / FILE) if path.is_file()), None)


def load(path: Path) -> Published:
    """Read and check a ``published.json``.

    Raises:
        InputError: for a missing or mistyped entry, a row that does not fit its columns, or a place without a number.
    """
    content = read_json(path, "what a paper printed")
    import jsonschema

    error = next(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path)
        raise InputError(f"{path}: {where + ': ' if where else ''}{error.message}.")
    published = Published(content)
    for table in published.tables:
        for row in table["rows"]:
            if len(row["values"]) != len(table["columns"]):
                raise InputError(
                    f"{path}: {table['id']}, row {row['label']!r}: expected {len(table['columns'])} values, one a "
                    f"column, found {len(row['values'])}."
                )
    for claim in published.claims:
        if "same_as" in claim:
            published.value(claim["same_as"])
    for figure in published.figures:
        if "table" in figure:
            published.table(figure["table"])
    return published
