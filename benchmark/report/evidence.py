"""Scores and comparisons to what they can and cannot show: power, ranks of models, and methods beyond checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from benchmark.metrics import Metric
from benchmark.report.document import Block, Cell, Heading, Table
from benchmark.report.tables import Metrics, number, p_value, title, verdict
from benchmark.stats import TWO_LEVEL, paired_spreads, patients_needed

LARGEST_EFFECT = 2.0
"""Standard deviations of the differences from which on a plan of patients says nothing."""


def power_notes(
    scores: pd.DataFrame, compare: Mapping[str, Any], names: Sequence[str], metrics: Metrics, family: int
) -> dict[str, str]:
    """One sentence a metric: how many patients a small true difference would need, from the differences at hand.

    ``family`` is the number of declared comparisons, for the worst case of Holm's correction.
    """
    models = list(pd.unique(scores["model"]))
    if len(models) < 2:
        return {}
    spreads = paired_spreads(scores, names, list(combinations(models, 2)), compare["test"])
    needed = patients_needed(spreads, float(compare.get("alpha", 0.05)), family=family)
    # Where a difference is beyond what patients differ by, any number of patients shows it.
    needed = needed[needed["patients"].notna() & (needed["target"] < LARGEST_EFFECT * needed["sd_difference"])]
    declared = {name: family for name in compare["metrics"]}
    return {
        name: _power_note(rows, metrics[name], declared.get(name))
        for name in names
        if len(rows := needed[needed["metric"] == name])
    }


def _power_note(rows: pd.DataFrame, metric: Metric, family: int | None) -> str:
    medians = rows.groupby("target")[["patients", "patients_family"]].median()
    unit = f" {metric.unit}" if metric.unit else ""
    asked = _enumerated([f"{target:g}" for target in medians.index])
    alone, hardest = (_enumerated([f"{count:.0f}" for count in medians[name]]) for name in medians)
    said = (
        f"Power, {metric.title}: to show a true difference of {asked}{unit} between such trained networks with 80% "
        f"power takes {alone} patients (one pair, the median one, from the differences here)"
    )
    if family:
        said += f", {hardest} as the hardest of {family} declared comparisons"
    said += f"; here there are {rows['n_patients'].max():.0f}, which makes these numbers a rough guide."
    if rows["test"].iloc[0] == TWO_LEVEL:
        said += " To show it of the methods takes more, and more seeds before more patients."
    return said


def _enumerated(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def ranking_blocks(found: pd.DataFrame | None, names: Sequence[str], metrics: Metrics, prefix: str = "") -> list[Block]:
    """A section with ``stats.rank_models`` of the declared metrics ``names``: the ranking and how stable it is."""
    if found is None:
        return []
    rows: list[list[str | Cell]] = [
        [str(row["rank"]), row["model"], f"{row['mean_rank']:.2f}", f"{row['rank_low']} to {row['rank_high']}",
         f"{100 * row['p_first']:.0f} %", f"{100 * row['patients_first']:.0f} %"]
        for row in found.to_dict("records")
    ]  # fmt: skip
    by = " and ".join(metrics[name].title for name in names)
    note = (
        f"Of the networks as trained here: each patient ranks them by {by} in every region, 1 the best, ties sharing "
        "ranks; a patient's ranks are averaged, then patients', as BraTS ranks its participants. Resamples: "
        f"{found['n_patients'].iloc[0]} patients drawn with replacement. Kendall's tau of this order and those of the "
        f"resamples: {found['kendall_tau'].iloc[0]:.2f} on average, where 1 is the same order every time. A ranking "
        "always has a first; whether it differs from the next is what the declared comparisons say."
    )
    header = ["Rank", "Model", "Mean rank", "95% of ranks in resamples", "First in resamples", "First of patients"]
    table = Table(f"{prefix}Ranking by {by}.", header, rows, notes=[note])
    return [Heading("Ranking"), table]


def method_blocks(
    found: pd.DataFrame | None, compare: Mapping[str, Any], metrics: Metrics, prefix: str = ""
) -> list[Block]:
    """A section on the declared pairs as methods, trained anew: the part of seeds, and how often one beats the other.

    ``found`` is what ``stats.compare_methods`` gave; shown is the primary metric. Where the declared test is over
    patients alone, the two-level test of the methods is in it; else the test over patients is.
    """
    if found is None:
        return []
    metric, tested = metrics[compare["metrics"][0]], compare["test"] == TWO_LEVEL
    rows: list[list[str | Cell]] = []
    for row in found[found["metric"] == metric.name].to_dict("records"):
        share, low, high = (_percent(row[f"p_superior{end}"]) for end in ("", "_low", "_high"))
        ends = f"{number(row['ci_low'], metric, True)} to {number(row['ci_high'], metric, True)}"
        ours = [ends, p_value(row["p"]), p_value(row["p_holm"]), verdict(row)]
        test = [p_value(row["p_patients_holm"])] if tested else ours
        rows.append(
            [row["region"], row["model_a"], row["model_b"], number(row["difference"], metric, True), *test,
             _percent(row["share_seed"]), _percent(row["share_of_error"]), f"{share} ({low} to {high})"]
        )  # fmt: skip
    note = (
        "Seeds: share of the variance of one run's difference on one patient that comes from training anew. Error: "
        "share of the mean difference's variance that more seeds would lower (more patients lower some of it too). A "
        "beats B: probability that A is better on a new patient, both trained anew, with an approximate 95% interval. "
        "All rows are in methods.csv."
    )
    if tested:
        note += (
            " As trained here: p (Holm) of Wilcoxon's test over patients, which is of these trained networks and says "
            "nothing of the methods."
        )
    else:
        note += (
            " The declared comparisons are of these trained networks; interval, p and verdict here are of the methods "
            "(two-level test, Holm over all declared regions, metrics and pairs)."
        )
    test_header = ["As trained here"] if tested else ["95% CI", "p", "p (Holm)", "Verdict"]
    header = ["Region", "A", "B", "A - B", *test_header, "Seeds", "Error", "A beats B"]
    caption = f"{prefix}{title(metric, arrow=False)}: the methods, over patients and seeds."
    return [Heading("Methods, trained anew"), Table(caption, header, rows, notes=[note])]


def _percent(share: float) -> str:
    return "-" if pd.isna(share) else f"{100 * share:.0f} %"
