"""A report's material to its first sentences: what limits the trust in its numbers, and the result in short."""

from __future__ import annotations

import pandas as pd

from benchmark.report import tables
from benchmark.report.deviations import in_words
from benchmark.report.fold_cautions import fold_cautions
from benchmark.report.material import Material
from benchmark.stats import TWO_LEVEL
from benchmark.stats.compare import NOT_TESTED

MISSES = ("9 to 35%", "4 to 7%")
"""Share of 95% intervals of a mean that missed on 10 patients and from 50 on, by metric and region (``rates.csv``)."""
FEW = 50
"""Patients from which on bootstrap intervals were found to hold what they promise (research/calibration)."""


def cautions(material: Material) -> list[str]:
    """Sentences on what limits the trust in this report's numbers, the gravest first."""
    found = []
    if material.phantom:
        found.append("The data are a phantom: no number here may be quoted as a result on brain tumours.")
    if material.missing:
        folds = sum(len(model.folds or material.study.folds) for model in material.study.models)
        total = folds * len(material.study.seeds)
        found.append(f"Runs without scores: {len(material.missing)} of {total} (listed under Data and runs).")
    found += _too_few(material)
    if (count := material.scores["patient_id"].nunique()) < FEW:
        found.append(
            f"Bootstrap intervals on {count} patients are too narrow (simulated, one of 95% for a mean misses in "
            f"{MISSES[0]} of studies of 10 patients, and in {MISSES[1]} from 50 on)."
        )
    lost = material.scores[material.scores["note"] == "missing prediction"]
    if len(lost):
        found.append(f"Cases with a missing prediction, given the worst value: {lost['case_id'].nunique()}.")
    if len(material.study.seeds) == 1:
        found.append(
            "One seed only: how far the results depend on the seed is not known, and a difference that is shown is one "
            "of these trained networks, not of the methods."
        )
    elif material.study.compare["test"] != TWO_LEVEL:
        found.append(
            "The declared test is over patients alone: a difference that is shown is of these trained networks and "
            "may be the luck of training (research/calibration). The test two_level is of the methods."
        )
    if material.deviations:
        why = material.study.deviations.strip().rstrip(".")
        listed = in_words(material.deviations)
        found.append(f"The protocol was not followed in full: {listed}." + (f" Reason: {why}." if why else ""))
    found += fold_cautions(material.study, material.folds, str(material.manifest.get("source")), material.scores)
    return [*found, *dict.fromkeys([*material.manifest.get("warnings", ()), *material.warnings])]


def _too_few(material: Material) -> list[str]:
    weak = material.comparisons[material.comparisons["note"].astype(str).str.contains("smallest possible p")]
    if weak.empty:
        return []
    patients = f"{int(material.comparisons['n_patients'].max())} patients"
    if len(weak) == len(material.comparisons):
        first = str(weak["note"].iloc[0])
        return [f"{patients} are too few for any comparison to come out significant ({first}); a missing mark means "
                "nothing here."]  # fmt: skip
    return [
        f"{len(weak)} of {len(material.comparisons)} comparisons could not have come out significant on {patients}."
    ]


def findings(material: Material, summary: pd.DataFrame) -> list[str]:
    """One sentence a region on the primary metric: the best model, and whom it was shown to beat."""
    metric = material.metrics[material.declared[0]]
    rows, tests = summary[summary["metric"] == metric.name], material.comparisons
    sentences = []
    shown = "Shown" if material.study.compare["test"] == TWO_LEVEL else "As trained here, shown"
    sign, word = (1, "highest") if metric.better == "higher" else (-1, "lowest")
    for region, own in rows.groupby("region", sort=False):
        best = max(own.to_dict("records"), key=lambda row: sign * row["mean"])
        low, high = tables.number(best["ci_low"], metric), tables.number(best["ci_high"], metric)
        mean = tables.number(best["mean"], metric)
        alike = [row["model"] for row in own.to_dict("records") if tables.number(row["mean"], metric) == mean]
        sentence = f"{region}: {word} mean {metric.title} by {' and '.join(alike)}, {mean}"
        sentence += f" (95% CI {low} to {high})." if low != "-" else "."
        here = tests[(tests["metric"] == metric.name) & (tests["region"] == region)].to_dict("records")
        of_best = [row for row in here if best["model"] in (row["model_a"], row["model_b"])]
        own_pairs = [row for row in of_best if row["verdict"] != NOT_TESTED]
        beaten = [row for row in own_pairs if tables.verdict(row) == f"{best['model']} better"]
        names = [row["model_b"] if row["model_a"] == best["model"] else row["model_a"] for row in beaten]
        if names:
            sentence += f" {shown} to be better than {', '.join(names)}."
        open_pairs = len(own_pairs) - len(names)
        if open_pairs:
            sentence += f" No advantage was shown over {open_pairs} of {len(own_pairs)} models it was compared with."
        if untested := len(of_best) - len(own_pairs):
            sentence += f" Against {untested} models it could not be tested."
        sentences.append(sentence)
    return sentences
