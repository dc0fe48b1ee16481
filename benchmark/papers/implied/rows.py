"""Find relations among the numbers of a printed table's rows from the roles of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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


POOLED = "counts are pooled over the test set (not averaged over patients or images)"
ALIKE = "all numbers are pooled over the test set, or all are means over the same patients or images"


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
    """Write a printed number as it is printed, and an interval with its ends, in percent where that is the unit."""
    if isinstance(value, Value):
        return value.text
    scale, sign = (100, "%") if percent else (1, "")
    low, high = (f"{end * scale:.4g}" for end in value)
    return f"{low}{sign}" if low == high else f"{low} to {high}{sign}"


def _by_role(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[dict[str, tuple[Value, Mapping[str, Any]]]]:
    """A row's values by role, those of different regions apart."""
    groups: dict[str, dict[str, tuple[Value, Mapping[str, Any]]]] = {}
    for column, printed in zip(table["columns"], row["values"], strict=True):
        value, name = cell(column, printed), role(column)
        if value is not None and name and not value.bound:
            groups.setdefault(str(column.get("regions", "mean")), {})[name] = (value, column)
    return list(groups.values())


def row_findings(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[Finding]:
    """Relations among the numbers of one row, those of different regions apart."""
    return [finding for values in _by_role(table, row) for finding in _row(table, row, values)]


def _row(
    table: Mapping[str, Any], row: Mapping[str, Any], values: Mapping[str, tuple[Value, Mapping[str, Any]]]
) -> list[Finding]:
    where, plain = f"{table['id']}, {row['label']}", {name: value for name, (value, _) in values.items()}
    found: list[Finding] = []

    def takes(*names: str, pooled: bool) -> str:
        return assumed((values[name][1] for name in names), pooled)

    if {"dice", "iou"} <= set(plain):
        conditions = (takes("dice", "iou", pooled=pooled) for pooled in (True, False))
        found += dice_iou(where, plain["dice"], plain["iou"], *conditions)
    if {"precision", "recall", "f1"} <= set(plain) and row.get("role", "class") == "class":
        fscore = _f1(where, plain["precision"], plain["recall"], plain["f1"])
        found.append(under(fscore, takes("precision", "recall", "f1", pooled=True)))
    if set(RATES) <= set(plain):
        found.append(under(_prevalence(where, plain), takes(*RATES, pooled=True)))
        if "dice" in plain and not table.get("one_test_set"):
            follows = _dice_of_rates(where, plain, _share(plain), "this row")
            found += [under(one, takes(*RATES, "dice", pooled=True)) for one in follows]
    for low, high in (("mean_iou", "mean_f"), ("mean_iou", "mean_accuracy"), ("weighted_iou", "global_accuracy")):
        if {low, high} <= set(plain):
            found.append(under(_at_most(where, values[low], values[high]), takes(low, high, pooled=False)))
    if {"mean_iou", "dice"} <= set(plain) and table.get("classes") == 2:
        conditions = (takes("mean_iou", "dice", pooled=pooled) for pooled in (True, False))
        found += _mean_iou(where, plain["mean_iou"], plain["dice"], *conditions)
    return found


def dice_iou(where: str, dice: Value, iou: Value, pooled: str, means: str) -> list[Finding]:
    """Dice beside IoU: for one mask or pooled counts one gives the other; means over cases bound each other.

    ``pooled`` and ``means`` are what the two assume, as in ``assumed``.
    """
    printed = f"Dice {dice.text}, IoU {iou.text}"
    exact, rounded = relations.both(relations.dice_of_iou, iou)
    one_mask = Finding(
        "Dice and IoU, one mask", where, printed, f"Dice {text(rounded, dice.percent)}",
        relations.judge(dice.interval, exact, rounded), "For one mask or for pooled counts, Dice is 2 IoU / (1 + IoU).",
    )  # fmt: skip
    exact, rounded = relations.mean_dice(iou)
    bounds = Finding(
        "Dice and IoU, means", where, printed, f"mean Dice {text(rounded, dice.percent)}",
        relations.judge(dice.interval, exact, rounded),
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


def _f1(where: str, precision: Value, recall: Value, printed: Value) -> Finding:
    exact, rounded = relations.both(relations.f1, precision, recall)
    return Finding(
        "F1 of precision, recall", where, f"F1 {printed.text}, precision {precision.text}, recall {recall.text}",
        f"F1 {text(rounded, printed.percent)}", relations.judge(printed.interval, exact, rounded),
        "F1 is the harmonic mean of precision and recall, and lies between them.",
    )  # fmt: skip


RATES = ("sensitivity", "specificity", "accuracy")


def _share(plain: Mapping[str, Value]) -> Interval | None:
    return relations.prevalence(*(plain[name].interval for name in RATES))


def _prevalence(where: str, plain: Mapping[str, Value]) -> Finding:
    exact = relations.prevalence(*(Interval(plain[name].number, plain[name].number) for name in RATES))
    rounded = _share(plain)
    verdict: relations.Verdict = "consistent" if exact else "only by rounding" if rounded else "contradiction"
    return Finding(
        "prevalence of tumour", where, ", ".join(f"{name} {plain[name].text}" for name in RATES),
        f"tumour is {text(rounded, True)} of the voxels" if rounded else "no share of tumour fits", verdict,
        "Accuracy is the mean of sensitivity and specificity, weighted by the shares of tumour and background.",
    )  # fmt: skip


def rate_columns(table: Mapping[str, Any], *more: str) -> list[Mapping[str, Any]]:
    """Columns of the three rates, and of further roles."""
    return [column for column in table["columns"] if role(column) in (*RATES, *more)]


def joint_prevalence(table: Mapping[str, Any]) -> tuple[list[str], Interval | None, Interval | None]:
    """Rows with all three rates, the share of tumour that fits all of them as printed, and by rounding."""
    rows = [(row, values) for row in table["rows"] for values in _plain(table, row) if set(RATES) <= set(values)]
    shares = [_share(values) for _, values in rows]
    points = [[Interval(values[name].number, values[name].number) for name in RATES[:2]] for _, values in rows]
    exact = [
        relations.prevalence(rates[0], rates[1], values["accuracy"].interval)
        for rates, (_, values) in zip(points, rows, strict=True)
    ]
    return [row["label"] for row, _ in rows], _common(exact), _common(shares)


def _common(shares: Iterable[Interval | None]) -> Interval | None:
    known = list(shares)
    return relations.intersection([s for s in known if s]) if known and all(known) else None


def _plain(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[dict[str, Value]]:
    return [{name: value for name, (value, _) in values.items()} for values in _by_role(table, row)]


def joint_shares(table: Mapping[str, Any]) -> list[Finding]:
    """The share of tumour that all rows of one test set must have, and the Dice that it gives in each."""
    names, exact, rounded = joint_prevalence(table) if table.get("one_test_set") else ([], None, None)
    if len(names) < 2:
        return []
    verdict: relations.Verdict = "consistent" if exact else "only by rounding" if rounded else "contradiction"
    follows = f"tumour is {text(rounded, True)} of the voxels" if rounded else "no share of tumour fits all rows"
    found = [
        Finding("prevalence, all rows", table["id"], f"{', '.join(RATES)} of {len(names)} rows", follows, verdict,
                "All rows are of one test set, so the share of tumour must be the same in each.")
    ]  # fmt: skip
    found = [under(one, assumed(rate_columns(table), pooled=True)) for one in found]
    for row in table["rows"]:
        for values in _plain(table, row):
            if rounded and {*RATES, "dice"} <= set(values):
                follows_in_row = _dice_of_rates(f"{table['id']}, {row['label']}", values, rounded, "all rows together")
                found += [under(one, assumed(rate_columns(table, "dice"), pooled=True)) for one in follows_in_row]
    return found


def _dice_of_rates(where: str, plain: Mapping[str, Value], share: Interval | None, of: str) -> list[Finding]:
    if share is None:
        return []
    dice, sensitivity, accuracy = plain["dice"], plain["sensitivity"], plain["accuracy"]
    exact = relations.span(
        relations.dice_of_rates, share, *(Interval(value.number, value.number) for value in (sensitivity, accuracy))
    )
    rounded = relations.span(relations.dice_of_rates, share, sensitivity.interval, accuracy.interval)
    return [
        Finding("Dice of the rates", where,
                f"Dice {dice.text}, sensitivity {sensitivity.text}, accuracy {accuracy.text}",
                f"Dice {text(rounded, dice.percent)}", relations.judge(dice.interval, exact, rounded),
                f"The share of tumour from {of}, sensitivity and accuracy determine Dice.")
    ]  # fmt: skip


def _at_most(where: str, low: tuple[Value, Mapping[str, Any]], high: tuple[Value, Mapping[str, Any]]) -> Finding:
    (less, less_column), (more, more_column) = low, high
    exact, rounded = Interval(0.0, more.number), Interval(0.0, more.interval.high)
    names = f"{less_column['name']} {less.text}, {more_column['name']} {more.text}"
    return Finding(
        "order of measures", where, names, f"{less_column['name']} at most {text(Interval(*[rounded.high] * 2))}",
        relations.judge(less.interval, exact, rounded),
        f"In every class IoU is at most F1 and at most recall, so {less_column['name']} cannot exceed "
        f"{more_column['name']}.",
    )  # fmt: skip


def _mean_iou(where: str, mean: Value, dice: Value, pooled: str, means: str) -> list[Finding]:
    printed, found = f"mean IoU {mean.text}, Dice {dice.text}", []
    bounds: tuple[tuple[str, Callable[[float], float], str], ...] = (
        ("mean IoU, one mask", lambda d: (1 + relations.iou_of_dice(d)) / 2,
         "With two classes mean IoU is at most (1 + IoU of the tumour) / 2, and that IoU follows from Dice."),
        ("mean IoU, means", lambda d: (1 + d) / 2,
         "Pooled or averaged, IoU is at most Dice, so the mean IoU of two classes is at most (1 + Dice) / 2."),
    )  # fmt: skip
    for relation, bound, sentence in bounds:
        exact, rounded = Interval(0.0, bound(dice.number)), Interval(0.0, bound(dice.interval.high))
        follows = f"mean IoU at most {rounded.high:.4g}"
        found.append(
            Finding(relation, where, printed, follows, relations.judge(mean.interval, exact, rounded), sentence)
        )
    one_mask, bounded = found
    return _either(one_mask, bounded, pooled, means)
