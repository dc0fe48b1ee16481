"""Show what scores can and cannot show: patients needed, ranks of models, and methods beyond the trained networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from benchmark.report.document import Block, Bullets, Cell, Heading, Key, Table, cells_of
from benchmark.report.tables import Metrics, interval, number, p_value, pair_row, title, verdict
from benchmark.scoring.metrics import Metric
from benchmark.stats.compare import paired_spreads
from benchmark.stats.power import methods_needed, patients_needed
from benchmark.stats.seeds import SAME_SET, TWO_LEVEL

FEWEST_PATIENTS = 10
"""Patients below which a plan only says that it takes fewer: the spread of so few says nothing."""
MOST_SENSITIVITY = 12
"""Rows up to which all comparisons by other methods are shown."""
MOST_PATIENTS = 10_000
"""Patients from which on a plan only says that it takes more: no set of such scans has as many."""


SAMPLED_SETS = (
    "Methods trained anew on sets drawn from these patients, on new patients; what all such sets have in common is not "
    "in it."
)
METHODS_NOTE = (
    f"{SAMPLED_SETS} By set: lowest and highest mean difference over the patients that one training set tested; df: "
    "degrees of freedom of training sets. Seeds: share of the variance of one run's difference on one patient that "
    "comes from training anew. Error: share of the mean difference's variance that more training sets would lower "
    "(more patients lower some of it too). A beats B: probability that A is better on a new patient, both trained "
    "anew, with an approximate 95% interval. Half of the two-level test's p, before correction, is P(false) of the "
    "methods, with the luck of training in it (Sanchez et al. 2025). All rows are in methods.csv."
)
SHARED_NOTE = (
    "Seeds share their folds here: all runs of a fold were trained on the same patients, so that p is Student's t on "
    "the means of folds, or over patients and runs where that is larger, and more seeds add little. Folds of its own "
    "for every seed show more."
)
TWO_LEVEL_NOTE = (
    "As trained here: p (Holm) of Wilcoxon's test over patients, which is of these trained networks and says nothing "
    "of the methods."
)
ONE_SET_NOTE = (
    "Where two models have one training set in common, mixed_difference of sensitivity.csv is over the patients that "
    "it tested alone, without interval and p."
)
NETWORKS_NOTE = (
    "The declared comparisons are of these trained networks; interval, p and verdict here are of the methods "
    "(two-level test, corrected over the same families)."
)


class PatientsNeeded(NamedTuple):
    """How many patients small true differences would need, one row per pair and region: of networks and of methods.

    ``networks`` comes from ``stats.patients_needed``, ``methods`` from ``stats.methods_needed``, with no row where the
    declared test is over patients alone.
    """

    networks: pd.DataFrame
    methods: pd.DataFrame


def needed(
    scores: pd.DataFrame, compare: Mapping[str, Any], names: Sequence[str], family: int | Mapping[str, int]
) -> PatientsNeeded:
    """Patients needed by metrics ``names`` for every pair of models; pairs that were not declared are among them.

    ``family`` is the number of comparisons that are corrected together, perhaps one per metric.
    """
    models, alpha = list(pd.unique(scores["model"])), float(compare.get("alpha", 0.05))
    pairs = list(combinations(models, 2))
    networks = patients_needed(paired_spreads(scores, names, pairs, compare["test"]), alpha, family=family)
    tested = compare["metrics"] if compare["test"] == TWO_LEVEL else []
    methods = methods_needed(scores, tested, pairs, alpha, family=family)
    return PatientsNeeded(networks.dropna(subset="patients"), methods)


def power_table(
    found: PatientsNeeded, names: Sequence[str], family: int | Mapping[str, int] | None, metrics: Metrics
) -> Table | None:
    """Patients that would show a true difference of the metrics ``names``, of the median pair and region.

    ``family`` is as in ``needed``, None where these metrics are not compared. None where there are not two patients.
    """
    networks, methods = (rows[rows["metric"].isin(list(names))] for rows in found)
    if networks.empty:
        return None
    columns = {"These networks": _medians(networks)}
    if family:
        columns["Hardest"] = _medians(networks, "patients_family")
    for seeds, own in methods.groupby("seeds"):
        columns[f"Methods, {seeds} seeds"] = _medians(own)
        if family:
            columns[f"{seeds} seeds, hardest"] = _medians(own, "patients_family")
    rows: list[list[str | Cell]] = []
    for name in names:
        targets = networks.loc[networks["metric"] == name, "target"].drop_duplicates().sort_values()
        for place, target in enumerate(targets):
            unit = f" {metrics[name].unit}" if metrics[name].unit else ""
            counts = [
                Cell(_patients(own.get((name, target), math.nan)), key=Key("", name, None, "patients_needed"))
                for own in columns.values()
            ]
            rows.append(["" if place else metrics[name].title, f"{target:g}{unit}", *counts])
    most = f"{networks['n_patients'].max():.0f}"
    caption = f"Power: patients needed to show a true difference with 80% power; here there are {most}."
    note = _power_note(family, networks, methods)
    return Table(caption, ["Metric", "Difference", *columns], rows, notes=[note], name="Power")


def _medians(rows: pd.DataFrame, column: str = "patients") -> pd.Series:
    return rows.groupby(["metric", "target"])[column].median()


def _power_note(family: int | Mapping[str, int] | None, networks: pd.DataFrame, methods: pd.DataFrame) -> str:
    said = (
        "Median over all pairs of models and regions, from the observed SD of paired differences; a rough guide. These "
        "networks: as they are trained, one pair tested alone on new patients."
    )
    if family:
        counts = {*family.values()} if isinstance(family, Mapping) else {family}
        over = " or ".join(map(str, sorted(counts)))
        said += f" Hardest: the same at the strictest level of Holm's correction over {over} comparisons."
    if len(methods):
        keys = ["metric", "region", "model_a", "model_b"]
        some, every = (len(rows[keys].drop_duplicates()) for rows in (methods, networks))
        said += (
            " Methods: trained anew with that many seeds, each with as many folds as here of its own, one pair tested "
            "alone by the two-level test"
            + (f" (the {some} of {every} pairs and regions with two seeds of both)" if some < every else "")
            + ". None: with so few seeds, no number of patients is enough."
        )
    return said


def _patients(count: float) -> str:
    if not math.isfinite(count):
        return "-" if math.isnan(count) else "none"
    if count < FEWEST_PATIENTS:
        return f"<{FEWEST_PATIENTS}"
    return f"{count:.0f}" if count <= MOST_PATIENTS else f">{MOST_PATIENTS}"


def ranking_blocks(found: pd.DataFrame | None, names: Sequence[str], metrics: Metrics) -> list[Block]:
    """A section with ``stats.rank_models`` of the declared metrics ``names``: the ranking and how stable it is."""
    if found is None:
        return []
    rows: list[list[str | Cell]] = []
    for row in found.to_dict("records"):
        texts = {
            "rank": str(row["rank"]), "mean_rank": f"{row['mean_rank']:.2f}",
            "rank_interval": f"{row['rank_low']} to {row['rank_high']}",
            "p_first": _percent(row["p_first"]), "patients_first": _percent(row["patients_first"]),
        }  # fmt: skip
        first, *cells = cells_of(Key(row["model"], "rank"), texts)
        rows.append([first, row["model"], *cells])
    by, tau = " and ".join(metrics[name].title for name in names), found["kendall_tau"].iloc[0]
    order = "Kendall's tau of this order and those of the resamples"
    stable = "" if math.isnan(tau) else f" {order}: {tau:.2f} on average, where 1 is the same order every time."
    note = (
        f"Of the networks as trained here: each patient ranks them by {by} in every region, 1 the best, ties sharing "
        "ranks; ranks are averaged within a patient, then over patients, as BraTS ranks its participants. Resamples: "
        f"{found['n_patients'].iloc[0]} patients drawn with replacement.{stable} A ranking always has a first; the "
        "declared comparisons say whether it differs from the next."
    )
    header = ["Rank", "Model", "Mean rank", "95% of ranks in resamples", "First in resamples", "First of patients"]
    table = Table(f"Ranking by {by}.", header, rows, notes=[note])
    return [Heading("Ranking"), table]


def method_blocks(found: pd.DataFrame | None, compare: Mapping[str, Any], metrics: Metrics) -> list[Block]:
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
        ours = {"ci": interval(row["ci_low"], row["ci_high"], metric), "p": p_value(row["p"]),
                "p_holm": p_value(row["p_holm"]), "verdict": verdict(row)}  # fmt: skip
        test = {"p_patients_holm": p_value(row["p_patients_holm"])} if tested else ours
        by_set = interval(row["set_low"], row["set_high"], metric)
        texts = {"difference": number(row["difference"], metric, True), "by_set": by_set, "df": str(row["df"]), **test,
                 "share_seed": _percent(row["share_seed"]), "share_of_error": _percent(row["share_of_error"]),
                 "p_superior": share + (f" ({low} to {high})" if low != "-" else "")}  # fmt: skip
        rows.append(pair_row(row, texts))
    notes = [METHODS_NOTE, TWO_LEVEL_NOTE if tested else NETWORKS_NOTE]
    notes += [SHARED_NOTE] if share_folds(found) else []
    test_header = ["As trained here"] if tested else ["95% CI", "p", "p (Holm)", "Verdict"]
    header = ["Region", "A", "B", "A - B", "By set", "df", *test_header, "Seeds", "Error", "A beats B"]
    caption = f"{title(metric, arrow=False)}: the methods, over patients and trainings."
    return [Heading("Methods, trained anew"), Table(caption, header, rows, notes=notes)]


def sensitivity_blocks(found: pd.DataFrame | None, comparisons: pd.DataFrame, metric: Metric) -> list[Block]:
    """A section with ``stats.sensitivity`` beside the declared test's p, before correction.

    Of more than MOST_SENSITIVITY pairs and regions, only those are shown where the method that asks what the declared
    test asks is on the other side of 0.05.
    """
    if found is None or found.empty:
        return []
    table = found.merge(comparisons[["metric", "region", "model_a", "model_b", "test", "p"]])
    shown = table["p"] < 0.05
    mixed = table["mixed_p"].notna()
    other = {
        "the mixed model": ((table["mixed_p"] < 0.05) != shown) & mixed,
        "the Bayesian test (probability of one side above 0.95)": (
            (table[["p_a_better", "p_b_better"]].max(axis=1) > 0.95) != shown
        ),
    }
    by_methods, by_networks = other.values()
    asks_the_same = by_methods.where(table["test"] == TWO_LEVEL, by_networks)
    some = table[asks_the_same] if len(table) > MOST_SENSITIVITY else table
    margin = found["margin"].iloc[0]
    bayes = "A / B" if pd.isna(margin) else "A / within / B"
    header = ["Region", "A", "B", "p", "Mixed model", "p", bayes, "Effect", "d_z"]
    notes = [_sensitivity_note(margin, metric)]
    if (found["n_sets"] == 1).any():
        notes.append(ONE_SET_NOTE)
    if len(some) < len(table):
        notes.append(f"Shown are the {len(some)} of {len(table)} rows in which the answer hangs on the method.")
    if not mixed.any():
        # One training set for all: there is nothing to be modelled.
        del other["the mixed model"]
    counts = [f"{name} in {own.sum()} of {len(table)}" for name, own in other.items()]
    said = f"On the other side of 0.05 than the declared test, before correction: {' and '.join(counts)} comparisons."
    caption = f"{title(metric, arrow=False)}: declared comparisons by other methods, each alone."
    rows = [_sensitivity_row(row, metric) for row in some.to_dict("records")]
    shown_rows: list[Block] = [Table(caption, header, rows, notes=notes)] if rows else []
    return [Heading("Sensitivity to the method"), Bullets([said]), *shown_rows]


def _sensitivity_row(row: Mapping[Any, Any], metric: Metric) -> list[str | Cell]:
    ends = interval(row["mixed_low"], row["mixed_high"], metric)
    mixed = f"{number(row['mixed_difference'], metric, True)} ({ends})" if pd.notna(row["mixed_low"]) else "-"
    sides = ("p_a_better", "p_within", "p_b_better") if pd.notna(row["margin"]) else ("p_a_better", "p_b_better")
    texts = {
        "p": p_value(row["p"]), "mixed_difference": mixed, "mixed_p": p_value(row["mixed_p"]),
        "p_a_better": " / ".join(f"{row[name]:.2f}" for name in sides),
        "effect_size": _effect(row, "effect_size", "effect"), "d_z": _effect(row, "d_z", "d_z"),
    }  # fmt: skip
    return pair_row(row, texts)


def _sensitivity_note(margin: float, metric: Metric) -> str:
    most = "at all" if pd.isna(margin) else f"by more than the margin of {number(margin, metric)}"
    within = "" if pd.isna(margin) else ", that they are within it,"
    return (
        "p: of the declared test before correction; nothing else here decides a verdict. Mixed model: A - B of the "
        "methods by REML with patients and training sets as crossed random effects, Student's t on training sets less "
        f"one. The rest is of these networks, over patients. {'A / within' if within else 'A'} / B: probability by "
        f"the Bayesian signed-rank test that A is typically better {most}{within} and that B is. Effect "
        "(rank-biserial) and d_z with 95% intervals. All is in sensitivity.csv."
    )


def _effect(row: Mapping[Any, Any], name: str, ends: str) -> str:
    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    if pd.isna(row[name]):
        return "-"
    return f"{row[name]:+.2f}" + (f" ({low:+.2f} to {high:+.2f})" if pd.notna(low) else "")


def share_folds(methods: pd.DataFrame) -> bool:
    """Say whether ``stats.compare_methods`` compared models whose runs of one fold share their training set."""
    runs = methods[["n_checkpoints_a", "n_checkpoints_b"]].min(axis=1)
    return bool((methods["n_sets"].between(1, runs - 1) & (methods["note"] != SAME_SET)).any())


def _percent(share: float) -> str:
    return "-" if pd.isna(share) else f"{100 * share:.0f} %"
