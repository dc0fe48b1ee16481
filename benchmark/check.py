"""Scores and a baseline's scores to findings: which model got worse, is missing, or cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmark.metrics import METRICS
from benchmark.records import InputError
from benchmark.stats import mean_interval, patient_means, with_models

FEWEST = 3
"""Patients below which a bootstrap interval says nothing and the mean alone decides."""


@dataclass(frozen=True)
class Finding:
    """One thing that changed against the baseline; ``message`` names the model and holds the numbers.

    ``numbers`` of a regression: baseline, new, difference (new - baseline), ci_low, ci_high, margin, n_patients.
    """

    kind: Literal["regression", "missing", "not comparable", "new"]
    message: str
    model: str = ""
    region: str = ""
    metric: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a check with this finding fails; what is new is information only."""
        return self.kind != "new"


def compare_with_baseline(
    scores: pd.DataFrame, baseline: pd.DataFrame, rule: Mapping[str, Any], better: Mapping[str, str]
) -> list[Finding]:
    """Compare scores with a baseline's, patient by patient; both tables have SCORE_COLUMNS.

    ``rule`` is the part ``check`` of study.json: metrics, and margin, a number or one by metric. ``better`` maps a
    metric to "higher" or "lower". A regression is a mean over patients that is worse by more than the margin while the
    95% bootstrap interval of the paired difference excludes zero on the worse side; below three patients the mean
    alone decides. What the baseline has and the scores lack is a finding too. Failing findings come first.

    Raises:
        InputError: if the rule lacks metrics or a margin, or names a metric that the baseline lacks.
    """
    new, old = with_models(scores), with_models(baseline, "the baseline")
    findings: list[Finding] = []
    absent = [model for model in pd.unique(old["model"]) if model not in set(new["model"])]
    findings += [Finding("missing", f"{model}: in the baseline, but has no scores now", model) for model in absent]
    for model in pd.unique(new["model"]):
        if model not in set(old["model"]):
            findings.append(Finding("new", f"{model}: not in the baseline", model))
    for metric, margin in _rules(rule, old, better):
        rows, reference = new[new["metric"] == metric], old[old["metric"] == metric]
        versions = [sorted(set(table["metric_version"].astype(str))) for table in (reference, rows)]
        if len(rows) and versions[0] != versions[1]:
            message = f"{metric}: not comparable, version {'/'.join(versions[0])} in the baseline and "
            findings.append(Finding("not comparable", f"{message}{'/'.join(versions[1])} now", metric=metric))
            continue
        for (model, region), before in reference.groupby(["model", "region"], sort=False):
            if model not in absent:
                now = rows[(rows["model"] == model) & (rows["region"] == region)]
                findings += _compare(now, before, (str(model), str(region), metric), margin, better[metric])
    return sorted(findings, key=lambda finding: not finding.failed)


def _rules(rule: Mapping[str, Any], old: pd.DataFrame, better: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    if not rule.get("metrics") or "margin" not in rule:
        raise InputError(f"check of study.json must have metrics and a margin, found {dict(rule)}.")
    for metric in rule["metrics"]:
        known = sorted(set(old["metric"]) & set(better))
        if metric not in known:
            raise InputError(f"check.metrics names {metric}: expected a metric of the baseline, {', '.join(known)}.")
        margin = rule["margin"].get(metric) if isinstance(rule["margin"], Mapping) else rule["margin"]
        if not isinstance(margin, int | float) or not margin >= 0:
            raise InputError(f"check.margin for {metric} is {margin}: expected a number from 0 up.")
        yield metric, float(margin)


def _compare(
    now: pd.DataFrame, before: pd.DataFrame, place: tuple[str, str, str], margin: float, better: str
) -> Iterator[Finding]:
    model, region, metric = place
    # A case under another patient is another sample: both ids must agree.
    there = (before["patient_id"] + "/" + before["case_id"]).isin(now["patient_id"] + "/" + now["case_id"])
    lost, kept = before[~there], before[there]
    if len(lost):
        patients = list(pd.unique(lost["patient_id"]))
        shown = ", ".join(patients[:3]) + (", ..." if len(patients) > 3 else "")
        message = (
            f"{model}: no {region} {metric} now for {lost['case_id'].nunique()} of {before['case_id'].nunique()} cases "
            f"of the baseline (patients {shown})"
        )
        yield Finding("missing", message, model, region, metric)
    if kept.empty:
        return
    pairs = pd.DataFrame(
        {"old": patient_means(kept), "new": patient_means(now[now["case_id"].isin(kept["case_id"])])}
    ).dropna()
    differences = np.round((pairs["new"] - pairs["old"]).to_numpy(), 12)
    low, high = (float(bound[0]) for bound in mean_interval(differences))
    worse = -differences.mean() if better == "higher" else differences.mean()
    supported = len(differences) < FEWEST or (high < 0 if better == "higher" else low > 0)
    if worse > margin and supported:
        numbers = {"baseline": pairs["old"].mean(), "new": pairs["new"].mean(), "difference": differences.mean(),
                   "ci_low": low, "ci_high": high, "margin": margin, "n_patients": len(differences)}  # fmt: skip
        yield Finding("regression", _message(place, numbers), model, region, metric, numbers)


def _message(place: tuple[str, str, str], numbers: Mapping[str, float]) -> str:
    model, region, metric = place
    unit = METRICS[metric].unit if metric in METRICS else ""
    digits = 1 if unit else 3
    count, change = int(numbers["n_patients"]), numbers["difference"]
    interval = f"95% CI {numbers['ci_low']:+.{digits}f} to {numbers['ci_high']:+.{digits}f}"
    if count < FEWEST:
        interval = f"no interval on fewer than {FEWEST} patients"
    return (
        f"{model}: {region} {metric} {'fell' if change < 0 else 'rose'} from {numbers['baseline']:.{digits}f} to "
        f"{numbers['new']:.{digits}f}{f' {unit}' if unit else ''} on {count} patient{'s' if count > 1 else ''} "
        f"({change:+.{digits}f}, {interval}, margin {numbers['margin']:g})"
    )
