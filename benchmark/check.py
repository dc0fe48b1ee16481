"""Scores and a baseline's scores to findings: which model got worse, is missing, or cannot be compared.

A model's scores are set against its baseline's patient by patient, and one 95% interval of the mean paired difference
(Student's t) decides, with the margin that was declared:

- The mean is worse by more than the margin, and the interval is on the worse side of zero: a regression. So is a mean
  beyond the margin where every patient is, which no interval on three or four patients would say.
- The interval ends within the margin on its worse side: no worse, which is no finding. It is the one-sided test
  against the margin at 2.5%.
- Neither: not shown, which is information and fails nothing. The scores may be as good or not; there are too few
  patients to tell, or they differ too much.

Nothing is corrected for the number of comparisons: a gate that misses a regression costs more than one that asks for a
second look. Where nothing changed and the margin is 0, a comparison fails by chance in one of forty, or in 2^-n on n
patients if that is more; a margin above what chance moves the mean by makes it rare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.metrics import METRICS
from benchmark.records import InputError
from benchmark.stats import CONFIDENCE, paired_differences, patient_means, with_models
from benchmark.stats.equivalence import margin_of

FEWEST = 3
"""Patients below which an interval says nothing and the mean alone decides."""


@dataclass(frozen=True)
class Finding:
    """One thing that changed against the baseline; ``message`` names the model and holds the numbers.

    ``numbers`` of a regression and of what is not shown: baseline, new, difference (new - baseline), ci_low, ci_high,
    margin, n_patients; below ``FEWEST`` patients the interval is NaN.
    """

    kind: Literal["regression", "missing", "not comparable", "new", "not shown"]
    message: str
    model: str = ""
    region: str = ""
    metric: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a check with this finding fails; what is new or not shown is information only."""
        return self.kind not in ("new", "not shown")


def compare_with_baseline(
    scores: pd.DataFrame, baseline: pd.DataFrame, rule: Mapping[str, Any], better: Mapping[str, str]
) -> list[Finding]:
    """Compare scores with a baseline's, patient by patient; both tables have SCORE_COLUMNS.

    ``rule`` is the part ``check`` of study.json: metrics, and margin, a number or one by metric. ``better`` maps a
    metric to "higher" or "lower". What a regression is, and what is not shown, stands above; below three patients the
    mean alone decides on a regression. What the baseline has and the scores lack is a finding too. Failing findings
    come first.

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
        margin = margin_of(rule["margin"], metric, "check.margin", zero=True)
        if math.isnan(margin):
            raise InputError(f"check.margin has no number for {metric}: expected one from 0 up.")
        yield metric, margin


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
    differences = paired_differences(pairs["new"].to_numpy(), pairs["old"].to_numpy())
    kind, reason = _judge(-differences if better == "higher" else differences, margin)
    if kind:
        low, high = _interval(differences)
        numbers = {"baseline": pairs["old"].mean(), "new": pairs["new"].mean(), "difference": differences.mean(),
                   "ci_low": low, "ci_high": high, "margin": margin, "n_patients": len(differences)}  # fmt: skip
        yield Finding(kind, _message(place, numbers) + reason, model, region, metric, numbers)


def _judge(worse: np.ndarray, margin: float) -> tuple[Literal["regression", "not shown", ""], str]:
    """Kind of a finding, empty for none, and what its message ends in; ``worse`` is how much each patient lost."""
    low, high = _interval(worse)
    few, beyond = len(worse) < FEWEST, worse.mean() > margin
    if beyond and (few or low > 0 or (worse > margin).all()):
        return "regression", ""
    if high <= margin or (few and worse.max() <= 0):
        return "", ""
    if few:
        return "not shown", ": too few patients to show that it is no worse"
    if beyond:
        return "not shown", ": beyond the margin, but it may be chance"
    return "not shown", ": worse, but perhaps within the margin" if low > 0 else ": not shown to be no worse"


def _interval(differences: np.ndarray) -> tuple[float, float]:
    """95% t interval of the mean; the one value where all are equal, NaN below ``FEWEST``."""
    mean = float(differences.mean())
    if len(differences) < FEWEST:
        return float("nan"), float("nan")
    if np.ptp(differences) == 0:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, mean, stats.sem(differences))
    return float(low), float(high)


def _message(place: tuple[str, str, str], numbers: Mapping[str, float]) -> str:
    model, region, metric = place
    unit = METRICS[metric].unit if metric in METRICS else ""
    digits = 1 if unit else 3
    count, change = int(numbers["n_patients"]), numbers["difference"]
    went = "fell" if change < 0 else "rose" if change > 0 else "stayed, on average,"
    interval = f"95% CI {numbers['ci_low']:+.{digits}f} to {numbers['ci_high']:+.{digits}f}"
    if count < FEWEST:
        interval = f"no interval on fewer than {FEWEST} patients"
    return (
        f"{model}: {region} {metric} {went} from {numbers['baseline']:.{digits}f} to "
        f"{numbers['new']:.{digits}f}{f' {unit}' if unit else ''} on {count} patient{'s' if count > 1 else ''} "
        f"({change:+.{digits}f}, {interval}, margin {numbers['margin']:g})"
    )
