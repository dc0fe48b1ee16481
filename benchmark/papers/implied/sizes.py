"""Find which sizes of a test set allow a printed share, and whether its classes look like a random draw of a set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scipy import stats

from benchmark.papers.implied import relations
from benchmark.papers.implied.rows import Finding, under
from benchmark.papers.published import Interval, Published, Value

UP_TO = 1000
"""Sizes that are tried where none is proposed."""
SHOWN = 6
ROUNDED = "it is rounded, not cut off"
CHANCE = 0.05
"""Share of random draws below which a draw as unlike is called unlikely."""


def count_for(share: Interval, size: int) -> int | None:
    """Return the smallest count of ``size`` whose share is in the interval; None where no count is."""
    count = math.ceil(share.low * size - 1e-9)
    return count if count <= share.high * size + 1e-9 else None


def sizes(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """Which numbers of images allow a printed share of them, and whether those that are proposed do."""
    share = published.value(relation["share"])
    fit = [size for size in range(1, UP_TO + 1) if count_for(share.interval, size) is not None]
    some = ", ".join(map(str, fit[:SHOWN])) + (", ..." if len(fit) > SHOWN else "")
    every = Finding(
        "sizes of a test set", relation["share"], share.text,
        f"{len(fit)} of the sizes up to {UP_TO:,} allow it{f': {some}' if fit else ''}",
        "consistent", "A share of n images is a whole number of them over n, so not every n can give it when rounded.",
    )  # fmt: skip
    return [every, *(_proposed(relation["share"], share, one["size"], one["what"]) for one in relation["of"])]


def _proposed(where: str, share: Value, size: int, what: str) -> Finding:
    count, cut = count_for(share.interval, size), count_for(_cut_off(share), size)
    near = round(share.number * size)
    around = " and ".join(
        f"{one} is {one / size:.4%}" for one in sorted({near, near + (near / size < share.number) * 2 - 1})
    )
    differs = (cut is None) != (count is None)
    other = f"; cut off after its last digit, {'no count' if cut is None else f'{cut} of {size:,}'} gives it" * differs
    found = Finding(
        "size of a test set", where, share.text,
        (f"{count} of {size:,}" if count is not None else f"no count of {size:,} gives it: {around}") + other,
        relations.graded(count is not None, False), f"A whole number of images must give the share, here of {what}.",
    )  # fmt: skip
    return under(found, f"it is of {what}" * (count is None), ROUNDED * differs)


def _cut_off(share: Value) -> Interval:
    """Shares that are printed as this one where further digits are cut off, not rounded; the upper end is none."""
    return Interval(share.number, share.number + (share.interval.high - share.interval.low) - 2e-9)


def drawn(published: Published, relation: Mapping[str, Any]) -> list[Finding]:
    """Whether a printed share of one class is that of a random draw of a set's images, and of whole batches."""
    positives, total = (int(published.value(relation[key]).number) for key in ("positives", "total"))
    of_positives, of_total = relation["of_positives"], relation["of_total"]
    chance = draw_chance(positives, total, of_positives, of_total)
    found = Finding(
        "a random draw", f"{relation['positives']} and {relation['total']}", f"{positives} of {total}",
        f"{positives / total:.1%}, where {of_positives:,} of {of_total:,} are {of_positives / of_total:.1%}: "
        f"{chance:.0%} of random draws differ as much",
        relations.graded(chance >= CHANCE, False), f"The classes may be those of a random draw of {relation['what']}.",
    )  # fmt: skip
    findings = [found if chance >= CHANCE else under(found, f"the images are a random draw of {relation['what']}")]
    if "batch" in relation and not total % (batch := int(published.value(relation["batch"]).number)):
        findings.append(_batches(relation, total, batch))
    return findings


def _batches(relation: Mapping[str, Any], total: int, batch: int) -> Finding:
    """That a number of images is one of whole batches, and how many are in the whole batches of parts of the set."""
    parts = [f"{one['what']}, {one['size']:,}, are {one['size'] // batch * batch:,}" for one in relation.get("of", ())]
    follows = f"{total} = {total // batch} x {batch}" + (f"; in whole batches {'; '.join(parts)}" if parts else "")
    return Finding(
        "whole batches", str(relation["total"]), f"{total} images, and batches of {batch}", follows, "consistent",
        "The report may be of whole batches, without the images that did not fill the last one.",
    )  # fmt: skip


def draw_chance(positives: int, total: int, of_positives: int, of_total: int) -> float:
    """Two-sided chance that a random draw without replacement has a share as far off (twice the smaller tail)."""
    draw = stats.hypergeom(of_total, of_positives, total)
    return float(min(1.0, 2 * min(draw.cdf(positives), draw.sf(positives - 1))))
