"""Read what a paper prints (``published.json``): each number as the interval of numbers that round to it.

The file holds every number as the paper prints it, with its table, row and column. A column says which of our numbers
stands beside it (``metric``, ``regions``, ``aggregate``) or why none does (``none``), and what it is to the relations
of ``papers.implied`` (``role``); a role that is not given is read off the column's name where that is a usual one.
``facts`` are what the paper says of how its numbers were made, and ``conclusions`` what it concludes from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, get_args

from pydantic import Field
from typing_extensions import TypedDict

from benchmark.base import declared
from benchmark.base.declared import Name, Names, Record
from benchmark.base.records import InputError

FILE = "published.json"
_NUMBER = r"(\d+(?:\.\d+)?)"
_PLAIN = re.compile(rf"([<>])?\s*([-+]?){_NUMBER}\s*(?:\u00d710\^\{{([-+]?\d+)\}})?\s*(%)?(?:\s*±\s*{_NUMBER})?\s*(%)?")
_RANGE = re.compile(rf"{_NUMBER}\s*[\u2013-]\s*{_NUMBER}\s*(%)?")

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

Role = Literal[
    "dice", "iou", "precision", "recall", "f1", "sensitivity", "specificity", "accuracy", "mean_iou", "p", "mean_f",
    "mean_accuracy", "weighted_iou", "global_accuracy", "tversky", "support", "parameters", "shape", "layer", "loss",
]  # fmt: skip
"""What the numbers of a column are."""

COUNTED = ("support", "parameters", "shape")
"""Roles whose printed whole numbers are counts: exact, not rounded. Of a layer's output shape it is the channels."""

SHARES = tuple(role for role in get_args(Role) if role not in (*COUNTED, "layer", "loss"))
"""Roles whose numbers are shares of one."""

Several = Annotated[list[Name], Field(min_length=2)]
Step = Annotated[list[Name], Field(min_length=2, max_length=2)]
Weight = Annotated[float, Field(ge=0)]


class _Weights(TypedDict):
    alpha: Weight
    beta: Weight


_Reading = TypedDict(
    "_Reading",
    {"name": Name, "metric": Name, "aggregate": Literal["patients", "pooled", "slices"], "if": NotRequired[Name]},
)
"""Another measure that a column may be of; our number of it stands below that of the first."""
Column = TypedDict(
    "Column",
    {
        "name": Name,
        "role": NotRequired[Role],
        "metric": NotRequired[Name],
        "regions": NotRequired[Literal["mean"] | Annotated[list[Name], Field(min_length=1)]],
        "aggregate": NotRequired[Literal["patients", "pooled", "slices"]],
        "unit": NotRequired[Literal["", "%"]],
        "history": NotRequired[Name],
        "weights": NotRequired[_Weights],
        "spread": NotRequired[Literal["patients", "runs"]],
        "if": NotRequired[Name],
        "none": NotRequired[Name],
        "or": NotRequired[_Reading],
    },
)
Row = TypedDict(
    "Row",
    {
        "label": Name,
        "model": NotRequired[Name | Names],
        "none": NotRequired[Name],
        "role": NotRequired[Literal["class", "accuracy", "micro", "macro", "weighted"]],
        "class": NotRequired[Annotated[int, Field(ge=0)]],
        "config": NotRequired[Name],
        "printed": NotRequired[Name],
        "values": Annotated[list[Name | None], Field(min_length=1)],
    },
)


class Facts(TypedDict):
    """What a paper says of how its numbers were made; what it does not say is left out.

    ``data`` are the names of its sets here, ``cases`` how many it has, ``size`` the pixels of a picture along each
    side, and ``weights`` "ImageNet" where training did not begin at random. ``track`` is "identical" where the paper
    trains all models by one recipe, which is the protocol's, and "native" where the recipe is one model's own.
    """

    track: Literal["identical", "native"]
    data: NotRequired[Names]
    cases: NotRequired[Annotated[int, Field(ge=1)]]
    size: NotRequired[Annotated[list[int], Field(min_length=2, max_length=2)]]
    split: NotRequired[Literal["patient", "slice", "published"]]
    weights: NotRequired[Literal["ImageNet"]]


class PrintedTable(TypedDict):
    """A printed table.

    ``reference`` is the model that the p values of a table of significance compare with; ``facts`` take the place of
    the paper's.
    """

    id: Name
    kind: Literal["scores", "classification", "significance", "settings", "layers"]
    caption: Name
    where: Name
    model: NotRequired[Name | Names]
    facts: NotRequired[Facts]
    reference: NotRequired[Name]
    one_test_set: NotRequired[bool]
    classes: NotRequired[Annotated[int, Field(ge=2)]]
    columns: Annotated[list[Column], Field(min_length=1)]
    rows: Annotated[list[Row], Field(min_length=1)]


class PrintedFigure(TypedDict):
    """A printed figure, and what it is redrawn from."""

    id: Name
    kind: Literal["bars", "curves", "confusion", "panels", "sequences", "drawing"]
    shows: Name
    table: NotRequired[Name]
    columns: NotRequired[Names]
    model: NotRequired[Name]
    curves: NotRequired[Annotated[list[Names], Field(min_length=1)]]


class Claim(TypedDict):
    """A number printed in the text, perhaps the same as one of a table."""

    id: Name
    value: Name
    states: Name
    where: Name
    same_as: NotRequired[Name]


class Overhead(TypedDict):
    """What a paper says in words that a part of a network costs: our ``model`` has the part, ``against`` lacks it."""

    states: Name
    where: Name
    model: Name
    against: Name


class Better(TypedDict):
    """A conclusion that ``model`` is better than each of ``over`` by a metric: in which regions, and by how much."""

    kind: Literal["better"]
    states: Name
    where: Name
    model: Name
    over: Names
    metric: Name
    regions: NotRequired[Names]
    amount: NotRequired[Name]


class Reached(TypedDict):
    """A conclusion that a printed number was reached, by its table/row/column."""

    kind: Literal["reached"]
    states: Name
    where: Name
    place: Name


Conclusion = Annotated[Better | Reached, Field(discriminator="kind")]


class About(TypedDict):
    """The paper."""

    short: Name
    title: Name
    authors: Names
    data: Name
    split: Name
    facts: NotRequired[Facts]


_Equal = TypedDict(
    "_Equal", {"kind": Literal["equal"], "values": Several, "if": NotRequired[Name], "what": NotRequired[Name]}
)


class _Sum(TypedDict):
    kind: Literal["sum"]
    parts: Several
    total: Name
    what: NotRequired[Name]


class _Margin(TypedDict):
    kind: Literal["margin"]
    claim: Name
    best: Name
    others: Names


class _FocalTversky(TypedDict):
    kind: Literal["focal_tversky"]
    tversky: Name
    loss: Name
    usual: Annotated[float, Field(gt=0)]


class _BackgroundIou(TypedDict):
    kind: Literal["background_iou"]
    accuracy: Name
    iou: Name
    dice: Name


_DiceIou = TypedDict("_DiceIou", {"kind": Literal["dice_iou"], "dice": Name, "iou": Name, "if": NotRequired[Name]})


class _LargestGain(TypedDict):
    kind: Literal["largest_gain"]
    what: Name
    claimed: Step
    others: Annotated[list[Step], Field(min_length=1)]


_Prevalence = TypedDict(
    "_Prevalence", {"kind": Literal["prevalence"], "claim": Name, "table": Name, "if": NotRequired[Name]}
)


class _ResUnetParameters(TypedDict):
    kind: Literal["res_unet_parameters"]
    what: Name
    in_channels: Annotated[int, Field(ge=1)]
    channels: Several
    total: Name


Count = Annotated[int, Field(ge=1)]


class _Size(TypedDict):
    size: Count
    what: Name


class _Sizes(TypedDict):
    kind: Literal["sizes"]
    share: Name
    of: list[_Size]


class _Drawn(TypedDict):
    kind: Literal["drawn"]
    positives: Name
    total: Name
    what: Name
    of_positives: Count
    of_total: Count
    batch: NotRequired[Name]
    of: NotRequired[list[_Size]]


class _Regions(TypedDict):
    kind: Literal["regions"]
    states: Name
    where: Name
    regions: Names


class _OneOutput(TypedDict):
    kind: Literal["one_output"]
    states: Name
    where: Name
    regions: Names
    shape: Name


class _Untested(TypedDict):
    kind: Literal["untested"]
    states: Name
    where: Name
    table: Name
    significance: Name


class _Alone(TypedDict):
    kind: Literal["alone"]
    states: Name
    where: Name
    table: Name
    column: Name
    row: Name


class _Better(TypedDict):
    kind: Literal["better"]
    best: Name
    others: Names
    patients: NotRequired[Name]


_Relations = _Equal | _Sum | _Margin | _FocalTversky | _BackgroundIou | _DiceIou | _LargestGain | _Prevalence
_Statements = _Regions | _OneOutput | _Untested | _Alone | _Better
Relation = Annotated[_Relations | _ResUnetParameters | _Sizes | _Drawn | _Statements, Field(discriminator="kind")]


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

    @property
    def point(self) -> Interval:
        """The printed number alone."""
        return Interval(self.number, self.number)


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


class Published(Record):
    """What a paper printed: its ``published.json``, checked. Relations join numbers of different places."""

    paper: About
    tables: tuple[PrintedTable, ...]
    figures: tuple[PrintedFigure, ...] = ()
    claims: tuple[Claim, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    conclusions: tuple[Conclusion, ...] = ()
    relations: tuple[Relation, ...] = ()

    @property
    def short(self) -> str:
        """Short name of the paper."""
        return self.paper["short"]

    def table(self, name: str) -> PrintedTable:
        """Return the table of that id.

        Raises:
            InputError: if there is none.
        """
        if found := next((table for table in self.tables if table["id"] == name), None):
            return found
        raise InputError(f"published.json of {self.short} has no table {name!r}: expected one of its tables' ids.")

    def facts(self, table: PrintedTable | None = None) -> Facts | None:
        """What the paper says of how a table's numbers, or any, were made; None where its file does not hold that."""
        return (table.get("facts") if table else None) or self.paper.get("facts")

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


def models_of(row: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """Our models that a printed row is set beside: its own, else its table's; none where it says why there is none."""
    named = row.get("model") or ([] if "none" in row else table.get("model", []))
    return [named] if isinstance(named, str) else list(named)


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
    published = declared.read(path, Published, "what a paper printed")
    for table in published.tables:
        _check_table(path, table)
    tables, claims = [table["id"] for table in published.tables], [claim["id"] for claim in published.claims]
    for kind, ids in (("table", tables), ("claim", claims)):
        if twice := next((name for name in ids if ids.count(name) > 1), None):
            raise InputError(f"{path}: two {kind}s are called {twice!r}: expected each id once.")
    for claim in published.claims:
        if "same_as" in claim:
            published.value(claim["same_as"])
            published.value(claim["id"])
    for figure in published.figures:
        if "table" in figure:
            published.table(figure["table"])
    for conclusion in published.conclusions:
        if conclusion["kind"] == "reached":
            published.value(conclusion["place"])
    for relation in published.relations:
        _check_relation(path, published, relation)
    return published


def _check_table(path: Path, table: Mapping[str, Any]) -> None:
    columns, significance = table["columns"], table["kind"] == "significance"
    if significance and "reference" not in table:
        raise InputError(f"{path}: {table['id']}: expected an entry 'reference' in a table of p values, found none.")
    if significance and any("metric" not in c for c in columns if role(c) == "p"):
        raise InputError(f"{path}: {table['id']}: expected a metric in its column of p values, found none.")
    for row in table["rows"]:
        where = f"{path}: {table['id']}, row {row['label']!r}"
        if row.get("role") == "class" and "class" not in row:
            raise InputError(f"{where}: expected an entry 'class' in a row of a class, found none.")
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


PLACES = (
    *("values", "parts", "total", "claim", "best", "others", "tversky", "loss", "accuracy", "iou", "dice", "claimed"),
    *("channels", "share", "positives", "batch", "shape", "patients"),
)
"""Entries of a relation that hold places of printed numbers."""


def _check_relation(path: Path, published: Published, relation: Mapping[str, Any]) -> None:
    """Refuse a relation with a place that holds no number, or a measure that is no share of one."""
    for key in {"table", "significance"} & set(relation):
        published.table(relation[key])
    if relation["kind"] == "alone":
        table = published.table(relation["table"])
        for key, names in (
            ("column", [c["name"] for c in table["columns"]]),
            ("row", [r["label"] for r in table["rows"]]),
        ):
            if relation[key] not in names:
                raise InputError(f"{path}: relation 'alone', {key}: expected one of {', '.join(names)}.")
    if relation["kind"] == "untested" and "reference" not in published.table(relation["significance"]):
        raise InputError(f"{path}: relation 'untested', significance: expected a table of p values.")
    for key in (key for key in PLACES if key in relation):
        for place in _places(relation[key]):
            found = published.value(place)
            if key in SHARES and not 0 <= found.number <= 1:
                raise InputError(
                    f"{path}: relation {relation['kind']!r}, {key}: expected a share of 0 to 1, found {found.text!r}."
                )


def _places(entry: Any) -> list[str]:
    return [entry] if isinstance(entry, str) else [place for one in entry for place in _places(one)]
