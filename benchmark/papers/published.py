"""A paper's ``published.json`` to its printed values: each the interval of numbers that rounds to what is printed.

The file holds every number as the paper prints it, with its table, row and column. A column says what of ours it
corresponds to (``metric``, ``regions``, ``aggregate``) or why nothing does (``none``), and what it is to the relations
of ``benchmark.implied`` (``role``); a role that is not given is read off the column's name where that is a usual one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.base.files import read_json
from benchmark.base.records import InputError
from benchmark.papers.published_schema import COUNTED, NAMES, SCHEMA, SHARES

FILE = "published.json"
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
    """Read a cell of a table under its column's unit; no number rounds to a share from below 0 or above 1.

    Of an output shape with channels last, such as (None,256,256,16), the number is the channels.
    """
    if text is not None and role(column) == "shape" and (numbers := re.findall(r"\d+", text)):
        return Value(text, float(numbers[-1]), Interval(float(numbers[-1]), float(numbers[-1])))
    found = parse(text, column.get("unit", ""), role(column) in COUNTED)
    if found is None or role(column) not in SHARES:
        return found
    low, high = found.interval
    return replace(found, interval=Interval(max(low, 0.0), min(high, 1.0)))


def find(folder: Path) -> Path | None:
    """Return ``published.json`` of a study's folder, or of the folder above for a study "paper/small"; else None."""
    return next((path for path in (folder / FILE, folder.parent / FILE) if path.is_file()), None)


def load(path: Path) -> Published:
    """Read and check a ``published.json``.

    Raises:
        InputError: for a missing or mistyped entry, a row that does not fit its columns, a number that its column's
            role cannot have, an id that is given twice, or a place without a number.
    """
    content = read_json(path, "what a paper printed")
    import jsonschema

    error = next(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path)
        raise InputError(f"{path}: {where + ': ' if where else ''}{error.message}.")
    published = Published(content)
    for table in published.tables:
        _check_table(path, table)
    for kind, entries in (("table", published.tables), ("claim", published.claims)):
        ids = [entry["id"] for entry in entries]
        if twice := next((name for name in ids if ids.count(name) > 1), None):
            raise InputError(f"{path}: two {kind}s are called {twice!r}: expected an id of its own for each.")
    for claim in published.claims:
        if "same_as" in claim:
            published.value(claim["same_as"])
            published.value(claim["id"])
    for figure in published.figures:
        if "table" in figure:
            published.table(figure["table"])
    for relation in published.relations:
        _check_relation(path, published, relation)
    return published


def _check_table(path: Path, table: Mapping[str, Any]) -> None:
    columns = table["columns"]
    if table["kind"] == "significance" and any("metric" not in c for c in columns if role(c) == "p"):
        raise InputError(f"{path}: {table['id']}: expected a metric in its column of p values, found none.")
    for row in table["rows"]:
        where = f"{path}: {table['id']}, row {row['label']!r}"
        if len(row["values"]) != len(columns):
            raise InputError(f"{where}: expected {len(columns)} values, one a column, found {len(row['values'])}.")
        for column, text in zip(columns, row["values"], strict=True):
            if expected := _unfit(table["kind"], column, text):
                raise InputError(f"{where}, {column['name']}: expected {expected}, found {text!r}.")


def _unfit(kind: str, column: Mapping[str, Any], text: str | None) -> str:
    """What a cell should have been, empty where nothing is wrong with it."""
    name = role(column)
    found = cell(column, text)
    if found is None or kind == "settings":
        return ""
    if name in SHARES and not 0 <= found.number <= 1:
        return 'a share of 0 to 1, or of 0 to 100 in a column of unit "%"'
    if name in COUNTED and (found.number < 0 or found.number % 1):
        return "a count"
    return "a loss of 0 or more" if name == "loss" and found.number < 0 else ""


def _check_relation(path: Path, published: Published, relation: Mapping[str, Any]) -> None:
    """Refuse a relation with a place that holds no number, or a measure that is no share of one."""
    if "table" in relation:
        published.table(relation["table"])
    for key, entry in relation.items():
        if key in ("kind", "if", "what", "table", "usual", "in_channels"):
            continue
        for place in _places(entry):
            found = published.value(place)
            if key in SHARES and not 0 <= found.number <= 1:
                raise InputError(
                    f"{path}: relation {relation['kind']!r}, {key}: expected a share of 0 to 1, found {found.text!r}."
                )


def _places(entry: Any) -> list[str]:
    return [entry] if isinstance(entry, str) else [place for one in entry for place in _places(one)]
