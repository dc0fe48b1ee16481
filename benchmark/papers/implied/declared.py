"""Check the relations that ``published.json`` declares: equal numbers, sums, margins, losses, gains, shares.

Sizes of test sets and statements without a number have modules of their own; ``KINDS`` has all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark.papers.implied import relations, sizes, unsupported
from benchmark.papers.implied.rows import (
    POOLED,
    Finding,
    assumed,
    at_most,
    compared,
    dice_iou,
    joint_prevalence,
    rate_columns,
    text,
    under,
)
from benchmark.papers.published import Interval, Published, Value

Kind = Callable[[Published, Mapping[str, Any]], list[Finding]]


def equal(published: Published, places: Sequence[str], relation: str, what: str = "") -> Finding:
    """One quantity that is printed in several places; ``what`` says of them what it is.

    Consistent where the one with most digits rounds to the others; that two intervals touch at their ends is not
    enough, as one number is not rounded both up and down.
    """
    values = [published.value(place) for place in places]
    sharp = min(values, key=lambda value: value.interval.high - value.interval.low)
    exact = all(value.interval.meets(sharp.point) for value in values)
    rounded = relations.intersection([value.interval for value in values])
    if rounded and rounded.high - rounded.low < 1e-9 and not exact:
        rounded = None
    follows = f"both are {text(rounded, sharp.percent)}" if rounded else "no number rounds to all of them"
    sentence = f"The same quantity in different places{f': {what}' if what else ''}."
    printed = ", ".join(f"{value.text} ({place})" for value, place in zip(values, places, strict=True))
    where = " and ".join(dict.fromkeys(_table(place) for place in places))
    return Finding(relation, where, printed, follows, relations.graded(exact, rounded), sentence)


def _table(place: str) -> str:
    return place.partition("/")[0]


def _equal(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    if "what" in relation:
        found = equal(published, relation["values"], relation["what"])
        return [found._replace(sentence="These numbers must be equal.")]
    if "if" not in relation:
        return [equal(published, relation["values"], "printed twice")]
    found = equal(published, relation["values"], "one quantity or two")
    return [under(found._replace(sentence="Two names for what may be one quantity."), relation["if"])]


def _sum(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    parts, total = [published.value(place) for place in relation["parts"]], published.value(relation["total"])
    exact = sum(part.number for part in parts)
    rounded = Interval(sum(part.interval.low for part in parts), sum(part.interval.high for part in parts))
    name, printed = relation.get("what", "parts of a whole"), " + ".join(part.text for part in parts)
    verdict = relations.judge(total.point, Interval(exact, exact), rounded)
    sentence = f"The parts must add up to {total.text}."
    return [Finding(name, ", ".join(relation["parts"]), printed, text(rounded, total.percent), verdict, sentence)]


def _margin(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    claim, best = published.value(relation["claim"]), published.value(relation["best"])
    found = []
    for place in relation["others"]:
        other = published.value(place)
        readings = {
            "absolute": relations.both(lambda a, b: a - b, best, other),
            "relative": relations.both(relations.margin, best, other),
        }
        verdicts = {relations.judge(claim.interval, *reading) for reading in readings.values()}
        follows = ", ".join(f"{text(rounded, True)} {name}" for name, (_, rounded) in readings.items())
        found.append(
            Finding("claimed margin", place, f"{best.text} against {other.text}, margin {claim.text}",
                    f"margin {follows}", max(verdicts, key=relations.VERDICTS.index),
                    f"The text claims a margin of {claim.text} over this model too; the reading that fits better "
                    "counts.")
        )  # fmt: skip
    return found


def _focal_tversky(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    index, loss = published.value(relation["tversky"]), published.value(relation["loss"])
    usual, where = float(relation["usual"]), f"{relation['tversky']} and {relation['loss']}"
    printed = f"Tversky {index.text}, loss {loss.text}"
    power, rounded_power = relations.both(relations.focal_exponent, index, loss)
    near = Interval(usual - 0.005, usual + 0.005)
    if relations.focal_loss(index.number, usual) == loss.number:
        power = Interval(usual, usual)  # Of 0 and 0, or of 1 and 1, any exponent is one.
    exact, rounded = relations.both(lambda tversky: relations.focal_loss(tversky, usual), index)
    alone = Finding(
        "focal Tversky exponent", where, printed, f"g = {text(rounded_power)}",
        relations.judge(near, power, rounded_power),
        f"For one batch the loss is (1 - Tversky)^g, which gives g; the usual g is {usual:g}, here to two decimals.",
    )  # fmt: skip
    means = at_most(
        "focal Tversky means", where, printed, "mean loss", loss, (exact.high, rounded.high),
        f"Averaged over batches the loss is at most (1 - mean Tversky)^{usual:g}, as that is concave (Jensen).",
    )  # fmt: skip
    return [
        under(alone, f"the exponent is {usual:g}", "both are of one batch"),
        under(means, f"the exponent is {usual:g}", "both are of the same batches"),
    ]


def _background_iou(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    accuracy, iou, dice = (published.value(relation[key]) for key in ("accuracy", "iou", "dice"))
    found = compared(
        "IoU of the background", f"{relation['iou']} and {relation['accuracy']}",
        f"accuracy {accuracy.text}, IoU {iou.text}, Dice {dice.text}", "Dice of the tumour", dice,
        relations.both(relations.dice_beside_background, accuracy, iou),
        "Another reading of the IoU: if it is the background's, it and the accuracy give this Dice of the tumour.",
    )  # fmt: skip
    return [under(found, "the IoU is the background's", POOLED)]


def _dice_iou(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    dice, iou = published.value(relation["dice"]), published.value(relation["iou"])
    condition = relation.get("if", "")
    pooled = " and ".join(filter(None, [condition, POOLED]))
    return dice_iou(f"{relation['dice']} and {relation['iou']}", dice, iou, pooled, condition)


def _largest_gain(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    def step(places: Sequence[str]) -> tuple[Interval, Interval]:
        before, after = (published.value(place) for place in places)
        return relations.both(lambda b, a: a - b, before, after)

    claimed_exact, claimed = step(relation["claimed"])
    others = [step(places) for places in relation["others"]]
    exact = all(claimed_exact.low >= other.high - 1e-9 for other, _ in others)
    rounded = all(claimed.high >= other.low - 1e-9 for _, other in others)
    largest = max(other.high for other, _ in others)
    return [
        Finding("largest step", " to ".join(relation["claimed"]), f"step {claimed_exact.low:+.3g}",
                f"largest other step {largest:+.3g}", relations.graded(exact, rounded),
                f"The text calls this the largest gain in {relation['what']}.")
    ]  # fmt: skip


def _prevalence(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    claim: Value = published.value(relation["claim"])
    table = published.table(relation["table"])
    rows, exact, rounded = joint_prevalence(table)
    if rounded is None:
        return []
    limit = Interval(0.0, claim.interval.high)
    found = Finding(
        "share of tumour", relation["table"], f"less than {claim.text}; rates of {len(rows)} rows",
        f"tumour is {text(rounded, True)} of the voxels", relations.judge(limit, exact or rounded, rounded),
        "The share of tumour that the text states, beside the share that the table implies.",
    )  # fmt: skip
    return [under(found, relation.get("if", ""), assumed(rate_columns(table), pooled=True))]


def _res_unet_parameters(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    total, widths = published.value(relation["total"]), [published.value(place) for place in relation["channels"]]
    channels = [int(width.number) for width in widths]
    count = relations.res_unet_parameters(channels, relation["in_channels"])
    found = Finding(
        "total of parameters", _table(relation["total"]), f"total {total.text}",
        f"{count} with channels {', '.join(map(str, channels))}",
        relations.graded(count == total.number, False),
        f"The parameters of a ResUNet with the channels of the encoder {relation['what']}.",
    )  # fmt: skip
    return [under(found, "each block has a 1x1 and a 3x3 convolution and a 1x1 shortcut")]


KINDS: dict[str, Kind] = {
    "equal": _equal,
    "sum": _sum,
    "margin": _margin,
    "focal_tversky": _focal_tversky,
    "background_iou": _background_iou,
    "dice_iou": _dice_iou,
    "largest_gain": _largest_gain,
    "prevalence": _prevalence,
    "res_unet_parameters": _res_unet_parameters,
    "sizes": sizes.sizes,
    "drawn": sizes.drawn,
    "regions": unsupported.regions,
    "one_output": unsupported.one_output,
    "untested": unsupported.untested,
    "alone": unsupported.alone,
    "better": unsupported.better,
}
"""Kinds of declared relations."""
