"""Find relations among the numbers of a printed table's rows from the roles of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.papers.implied import relations
from benchmark.papers.published import Interval, Value, cell, role


class Finding(NamedTuple):
    """One relation among printed numbers: where they stand, what is printed, what follows, and the verdict on it."""

    relation: str
    where: str
    printed: str
    follows: str
    verdict: relations.Verdict
    sentence: str

    @property
    def said(self) -> str:
        """The finding for a reader of the paper: what it prints and where, what follows, and why."""
        does = "says" if self.printed.startswith("that ") else "prints"
        return f"{self.where}: the paper {does} {self.printed}; what follows: {self.follows}. {self.sentence}"


POOLED = "counts are pooled over the test set (not averaged over patients, images or regions)"
ALIKE = "all numbers are pooled over the test set, or all are means over the same patients or images"


def compared(
    relation: str, where: str, printed: str, of: str, value: Value, reading: tuple[Interval, Interval], sentence: str
) -> Finding:
    """A printed ``value`` of something, ``of``, beside what follows for it: ``reading`` is exact, then rounded."""
    follows, verdict = f"{of} {text(reading[1], value.percent)}", relations.judge(value.interval, *reading)
    return Finding(relation, where, printed, follows, verdict, sentence)


def at_most(
    relation: str, where: str, printed: str, of: str, value: Value, limits: tuple[float, float], sentence: str
) -> Finding:
    """A printed ``value`` of something, ``of``, beside the most that it can be: as printed, and by rounding."""
    exact, rounded = (Interval(0.0, limit) for limit in limits)
    verdict = relations.judge(value.interval, exact, rounded)
    return Finding(relation, where, printed, f"{of} at most {rounded.high:.5g}", verdict, sentence)


def under(finding: Finding, *conditions: str) -> Finding:
    """The finding with what it assumes beyond what the paper says: a contradiction becomes ``conditional``."""
    needed = " and ".join(condition for condition in conditions if condition)
    if not needed:
        return finding
    if finding.verdict != "contradiction":
        return finding._replace(sentence=f"{finding.sentence} It assumes that {needed}.")
    return finding._replace(verdict="conditional", sentence=f"{finding.sentence} A contradiction only if {needed}.")


def assumed(columns: Iterable[Mapping[str, Any]], pooled: bool) -> str:
    """What a relation of these columns assumes, empty for nothing.

    A relation that needs ``pooled`` counts has them where every column's ``aggregate`` says so without an ``if``. Any
    other holds for pooled counts and for means alike, but not for a mixture.
    """
    columns = list(columns)
    stated = [str(column["if"]) for column in columns if "if" in column]
    aggregates = {column.get("aggregate") for column in columns}
    if pooled and (stated or not aggregates <= {"pooled", "slices"}):
        stated.append(POOLED)
    elif not pooled and len(aggregates) > 1:
        stated.append(ALIKE)
    return " and ".join(dict.fromkeys(stated))


def text(value: Value | Interval, percent: bool = False) -> str:
    """Write a printed number as it is printed, and an interval with its ends, in percent where that is the unit.

    Ends have one digit more than numbers of four: what rounds to 91.68 is 91.675 to 91.685.
    """
    if isinstance(value, Value):
        return value.text
    scale, sign = (100, "%") if percent else (1, "")
    low, high = (f"{end * scale:.5g}" for end in value)
    return f"{low}{sign}" if low == high else f"{low} to {high}{sign}"


Cell = tuple[Value, Mapping[str, Any]]
"""A printed number and its column."""


def _by_role(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[dict[str, Cell]]:
    """A row's values by role, those of different regions apart."""
    groups: dict[str, dict[str, Cell]] = {}
    for column, printed in zip(table["columns"], row["values"], strict=True):
        value, name = cell(column, printed), role(column)
        if value is not None and name and not value.bound:
            groups.setdefault(str(column.get("regions", "mean")), {})[name] = (value, column)
    return list(groups.values())


def row_findings(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[Finding]:
    """Relations among the numbers of one row, those of different regions apart."""
    return [finding for values in _by_role(table, row) for finding in _row(table, row, values)]


def _row(table: Mapping[str, Any], row: Mapping[str, Any], values: Mapping[str, Cell]) -> list[Finding]:
    where, plain = f"{table['id']}, {row['label']}", {name: value for name, (value, _) in values.items()}
    found: list[Finding] = []

    def takes(*names: str, pooled: bool) -> str:
        return assumed((values[name][1] for name in names), pooled)

    if {"dice", "iou"} <= set(plain):
        conditions = (takes("dice", "iou", pooled=pooled) for pooled in (True, False))
        found += dice_iou(where, plain["dice"], plain["iou"], *conditions)
    if {"precision", "recall", "f1"} <= set(plain) and row.get("role", "class") == "class":
        found.append(under(_f1(where, plain), takes("precision", "recall", "f1", pooled=True)))
    if set(RATES) <= set(plain):
        found.append(under(_prevalence(where, plain), takes(*RATES, pooled=True)))
        share = _share(plain)
        if "dice" in plain and share and not table.get("one_test_set"):
            found.append(under(_dice_of_rates(where, plain, share, "this row"), takes(*RATES, "dice", pooled=True)))
    for low, high in (("mean_iou", "mean_f"), ("mean_iou", "mean_accuracy"), ("weighted_iou", "global_accuracy")):
        if {low, high} <= set(plain):
            found.append(under(_ordered(where, values[low], values[high]), takes(low, high, pooled=False)))
    if {"mean_iou", "dice"} <= set(plain) and table.get("classes") == 2:
        conditions = (takes("mean_iou", "dice", pooled=pooled) for pooled in (True, False))
        found += _mean_iou(where, plain["mean_iou"], plain["dice"], *conditions)
    return found


def dice_iou(where: str, dice: Value, iou: Value, pooled: str, means: str) -> list[Finding]:
    """Dice beside IoU: for one mask or pooled counts one gives the other; means over cases bound each other.

    ``pooled`` and ``means`` are what the two assume, as in ``assumed``.
    """
    printed = f"Dice {dice.text}, IoU {iou.text}"
    one_mask = compared(
        "Dice and IoU, one mask", where, printed, "Dice", dice, relations.both(relations.dice_of_iou, iou),
        "For one mask or for pooled counts, Dice is 2 IoU / (1 + IoU).",
    )  # fmt: skip
    # J <= D for each mask, and D(J) is concave (Jensen).
    follows = [Interval(low, relations.dice_of_iou(high)) for low, high in (iou.point, iou.interval)]
    bounds = compared(
        "Dice and IoU, means", where, printed, "mean Dice", dice, (follows[0], follows[1]),
        "Averaged over cases or pooled, Dice lies between IoU and 2 IoU / (1 + IoU).",
    )  # fmt: skip
    return _either(one_mask, bounds, pooled, means)


def _either(one_mask: Finding, bounds: Finding, pooled: str, means: str) -> list[Finding]:
    """A relation of pooled counts beside the wider one that holds for means as well, each contradiction once."""
    if not pooled:
        return [one_mask]
    if bounds.verdict == "contradiction":
        return [under(bounds, means)]
    return [under(one_mask, pooled), under(bounds, means)]


def _f1(where: str, plain: Mapping[str, Value]) -> Finding:
    f1, precision, recall = plain["f1"], plain["precision"], plain["recall"]
    printed = f"F1 {f1.text}, precision {precision.text}, recall {recall.text}"
    sentence = "F1 is the harmonic mean of precision and recall, and lies between them."
    follows = relations.both(relations.f1, precision, recall)
    return compared("F1 of precision, recall", where, printed, "F1", f1, follows, sentence)


RATES = ("sensitivity", "specificity", "accuracy")


def _prevalence(where: str, plain: Mapping[str, Value]) -> Finding:
    exact, rounded = relations.prevalence(*(plain[name].point for name in RATES)), _share(plain)
    return Finding(
        "prevalence of tumour", where, ", ".join(f"{name} {plain[name].text}" for name in RATES),
        f"tumour is {text(rounded, True)} of the voxels" if rounded else "no share of tumour fits",
        relations.graded(exact, rounded),
        "Accuracy is the mean of sensitivity and specificity, weighted by the shares of tumour and background.",
    )  # fmt: skip


def _share(plain: Mapping[str, Value]) -> Interval | None:
    return relations.prevalence(*(plain[name].interval for name in RATES))


def rate_columns(table: Mapping[str, Any], *more: str) -> list[Mapping[str, Any]]:
    """Columns of the three rates, and of further roles."""
    return [column for column in table["columns"] if role(column) in (*RATES, *more)]


def joint_prevalence(table: Mapping[str, Any]) -> tuple[list[dict[str, Value]], Interval | None, Interval | None]:
    """Rows with all three rates, the share of tumour that fits all of them as printed, and by rounding."""
    rows = [values for row in table["rows"] for values in _plain(table, row) if set(RATES) <= set(values)]
    exact = [
        relations.prevalence(one["sensitivity"].point, one["specificity"].point, one["accuracy"].interval)
        for one in rows
    ]  # fmt: skip
    return rows, _common(exact), _common([_share(values) for values in rows])


def _common(shares: Sequence[Interval | None]) -> Interval | None:
    return relations.intersection([s for s in shares if s]) if shares and all(shares) else None


def _plain(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[dict[str, Value]]:
    return [{name: value for name, (value, _) in values.items()} for values in _by_role(table, row)]


def joint_shares(table: Mapping[str, Any]) -> list[Finding]:
    """The share of tumour that all rows of one test set must have, and the Dice that it gives in each."""
    known, exact, rounded = joint_prevalence(table) if table.get("one_test_set") else ([], None, None)
    if len(known) < 2:
        return []
    follows = f"tumour is {text(rounded, True)} of the voxels" if rounded else "no share of tumour fits all rows"
    joint = Finding(
        "prevalence, all rows", table["id"], f"{', '.join(RATES)} of {len(known)} rows", follows,
        relations.graded(exact, rounded),
        "All rows are of one test set, so the share of tumour must be the same in each.",
    )  # fmt: skip
    found = [under(joint, assumed(rate_columns(table), pooled=True))]
    for row in table["rows"]:
        for values in _plain(table, row):
            if rounded and {*RATES, "dice"} <= set(values):
                one = _dice_of_rates(f"{table['id']}, {row['label']}", values, rounded, "all rows together")
                found.append(under(one, assumed(rate_columns(table, "dice"), pooled=True)))
    return found


def _dice_of_rates(where: str, plain: Mapping[str, Value], share: Interval, of: str) -> Finding:
    dice, sensitivity, accuracy = plain["dice"], plain["sensitivity"], plain["accuracy"]
    exact = relations.span(relations.dice_of_rates, share, sensitivity.point, accuracy.point)
    rounded = relations.span(relations.dice_of_rates, share, sensitivity.interval, accuracy.interval)
    printed = f"Dice {dice.text}, sensitivity {sensitivity.text}, accuracy {accuracy.text}"
    sentence = f"The share of tumour from {of}, sensitivity and accuracy determine Dice."
    return compared("Dice of the rates", where, printed, "Dice", dice, (exact, rounded), sentence)


def _ordered(where: str, low: Cell, high: Cell) -> Finding:
    (less, less_column), (more, more_column) = low, high
    names = less_column["name"], more_column["name"]
    return at_most(
        "order of measures", where, f"{names[0]} {less.text}, {names[1]} {more.text}", names[0], less,
        (more.number, more.interval.high),
        f"In every class IoU is at most F1 and at most recall, so {names[0]} cannot exceed {names[1]}.",
    )  # fmt: skip


def _mean_iou(where: str, mean: Value, dice: Value, pooled: str, means: str) -> list[Finding]:
    printed, ends = f"mean IoU {mean.text}, Dice {dice.text}", (dice.number, dice.interval.high)
    first, last = ((1 + end / (2 - end)) / 2 for end in ends)
    one_mask = at_most(
        "mean IoU, one mask", where, printed, "mean IoU", mean, (first, last),
        "With two classes mean IoU is at most (1 + IoU of the tumour) / 2, and that IoU follows from Dice.",
    )  # fmt: skip
    bounds = at_most(
        "mean IoU, means", where, printed, "mean IoU", mean, ((1 + ends[0]) / 2, (1 + ends[1]) / 2),
        "Pooled or averaged, IoU is at most Dice, so the mean IoU of two classes is at most (1 + Dice) / 2.",
    )  # fmt: skip
    return _either(one_mask, bounds, pooled, means)
