"""Say how likely a printed claim of being better is to be false, with the spread and correlation of our own scores.

A paper prints two means, and hardly ever how its scores vary over patients or agree between models. ``stats.claims``
needs both: they are taken from our models in the paper's rows, for the paper's own measure and for each region alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.papers.values import Paper, Place, places, regions_of
from benchmark.report.document import Block, Cell, Heading, Table, Text
from benchmark.report.tables import p_value
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import METRICS
from benchmark.stats.claims import RISK, difference_sd, false_claim, patients_to_support
from benchmark.stats.estimates import patient_scores

HEADER = ("Printed", "Better", "Than", "SD better", "SD other", "r", "P(false)", f"Patients for {RISK:.0%}")
NO_NUMBER = "no number"
TITLE = "The paper's claims of being better"


class Scores(NamedTuple):
    """SDs of two models' scores over the patients of both, and their correlation over these."""

    first: float
    second: float
    correlation: float
    patients: int

    @property
    def spread(self) -> float:
        """SD of the paired difference."""
        return float(difference_sd(self.first, self.second, self.correlation))


def risk_blocks(paper: Paper) -> list[Block]:
    """A section with every claim of being better over models that were run here; none where there is no such claim."""
    rows: list[list[str | Cell]] = []
    counts: set[int] = set()
    for relation in paper.published.relations:
        if relation["kind"] != "better":
            continue
        best = _place(paper, relation["best"])
        for other in (_place(paper, name) for name in relation["others"]):
            scores = list(_scores(paper, best, other)) if best and other else []
            if scores:
                assert best and other
                counts.add(scores[0].patients)
                rows.append(_row(best, other, scores))
    unpaired = _unpaired(paper)
    if not rows:
        return [Heading(TITLE), *unpaired] if unpaired else []
    tested = " or ".join(map(str, sorted(counts)))
    notes = [
        "The paper prints means over test patients, not how their scores vary: SD and correlation r over patients are "
        f"of our own models' scores, on {tested} patients; first those of the paper's measure, in brackets the "
        "range with those of single regions. Models that are trained better vary less and agree more.",
        "P(false): probability that the model of the higher printed mean is not better on average over such patients "
        f"(Christodoulou et al. 2025), had the paper tested {tested} of them. Patients: the number from which on it is "
        f"at most {RISK:.0%}, above which that publication calls it high. In brackets: the range with single regions "
        f"and with all means that round to the printed ones; {NO_NUMBER} where two such means may be equal.",
    ]
    caption = "Printed claims of being better: how likely they are to be false."
    return [Heading(TITLE), Table(caption, HEADER, rows, notes=notes), *unpaired]


def _unpaired(paper: Paper) -> list[Block]:
    """A sentence on the rows that the paper's own cannot be paired with, whatever is run here."""
    found: dict[str, list[str]] = {}
    for table in (one for one in paper.published.tables if one["kind"] == "scores"):
        for row in (row for row in table["rows"] if "none" in row):
            found.setdefault(f"{table['id']}, {row['none']}", []).append(row["label"])
    said = [
        f"No P(false) over {' or '.join(labels)} ({why}): it needs both models' scores of the same patients."
        for why, labels in found.items()
    ]
    return [Text(" ".join(said))] if said else []


def _place(paper: Paper, name: str) -> Place | None:
    """The cell of a table that is called ``name``, with our model of its row."""
    for table in paper.published.tables:
        for place in places(table):
            if name == f"{table['id']}/{place.row['label']}/{place.column['name']}":
                return place
    return None


def _scores(paper: Paper, best: Place, other: Place) -> Iterator[Scores]:
    """Spread and correlation by the column's measure, then by each of its regions; nothing where one was not run."""
    metric, wanted = best.column.get("metric"), regions_of(best.column)
    there = [str(region) for region in pd.unique(paper.rows["region"]) if region != SLICE]
    single = [[region] for region in wanted or there]
    for regions in [wanted, *(single if len(single) > 1 else [])]:
        found = [patient_scores(paper.rows, place.model, metric, regions) for place in (best, other)]
        both = pd.concat(found, axis=1).dropna()
        if len(both) > 2 and (both.std() > 0).all():
            first, second = both.std(ddof=1).to_numpy()
            yield Scores(float(first), float(second), float(np.corrcoef(both.to_numpy().T)[0, 1]), len(both))


def _row(best: Place, other: Place, scores: Sequence[Scores]) -> list[str | Cell]:
    gain, *ends = gains(best, other)
    patients = scores[0].patients
    risks, needed = (
        [measure(one, spread) for spread in [row.spread for row in scores] for one in (gain, *ends)]
        for measure in (lambda one, spread: float(false_claim(one, spread, patients)), patients_to_support)
    )
    return [
        f"{best.text} over {other.text}",
        best.row["label"],
        other.row["label"],
        *(_ranged([getattr(one, name) for one in scores], lambda x: f"{x:.2f}") for name in Scores._fields[:3]),
        _ranged(risks, p_value),
        _ranged(needed, lambda count: f"{count:,.0f}" if math.isfinite(count) else NO_NUMBER),
    ]


def gains(best: Place, other: Place) -> tuple[float, float, float]:
    """Gain of two printed means as printed, and the least and largest before rounding, none below 0."""
    higher = METRICS[best.column["metric"]].better == "higher"
    first, second = (place.printed for place in ((best, other) if higher else (other, best)))
    assert first and second
    ends = (
        first.number - second.number,
        first.interval.low - second.interval.high,
        first.interval.high - second.interval.low,
    )
    as_printed, least, most = (max(round(end, 12), 0.0) for end in ends)
    return as_printed, least, most


def _ranged(values: Sequence[float], write: Callable[[float], str]) -> str:
    """The first value, with the range of all in brackets where it is one."""
    first, *ends = (write(value) for value in (values[0], min(values), max(values)))
    return first if len({first, *ends}) == 1 else f"{first} ({ends[0]} to {ends[1]})"
