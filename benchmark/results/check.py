"""Compare scores with a baseline's: which model got worse, is missing, or cannot be compared.

A model's scores are set against its baseline's patient by patient. One 95% interval of the mean paired difference and
the declared margin decide. With two seeds of three folds, or as many runs otherwise, the interval is over patients and
runs, so that a network which was merely trained anew is no regression; with fewer it is Student's t over patients, and
speaks of these checkpoints.

- The mean is worse by more than the margin, and worse at all by Holm's correction over all comparisons of the check, at
  2.5% one-sided: a regression. So is a mean beyond the margin where every patient is under every seed, which no
  interval on three or four patients would say.
- The interval ends within the margin on its worse side: no worse, which is no finding. It is the one-sided test
  against the margin at 2.5%.
- Neither: not shown, which is information and fails nothing. The scores may be as good or not; there are too few
  patients or runs to tell, or they differ too much.

A few patients that fail altogether widen that interval until it shows nothing. A second rule needs no test: under one
seed, more than half of the patients, or two and an eighth of them, lost more than ``FALL`` or all but a tenth, or their
prediction is empty now. That is a regression whatever the mean is. Where a network was merely trained anew it happens
in about 5% of checks at most, of 8 to 250 patients (research/calibration).

Where nothing is worse, the first rule fails a whole check by chance in one of forty at most, or in 2^-n on n patients
under one seed if that is more; a margin above what chance moves a mean by makes it rare.

What cannot be compared fails too: a score that the baseline has and the scores lack, or the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.base.records import InputError
from benchmark.scoring.metrics import METRICS
from benchmark.scoring.score_table import read_tidy
from benchmark.stats.intervals import CONFIDENCE
from benchmark.stats.paired import margin_of, paired_differences
from benchmark.stats.patients import patient_means, with_models
from benchmark.stats.seeds import ScoreBlock, blocks, estimate_mean

FEWEST = 3
"""Patients below which an interval says nothing and the mean alone decides."""
FEWEST_FREE = 3
"""Degrees of freedom of runs (two seeds of three folds, four of one) below which their luck cannot be told: with one,
the interval of a model of Dice 0.9 was as wide as 8."""
FALL = {"": 0.5, "mm": 100.0}
"""Loss of one patient under one seed, by a metric's unit, beyond which its prediction counts as failed altogether."""
TENTH = 0.1
"""So does a fall of a share (Dice and the like) to this part of what it was, from this value up; chance alone moves a
difficult patient's from less."""
EMPTY = ("prediction empty", "missing prediction")


@dataclass(frozen=True)
class Change:
    """One thing that changed against the baseline; ``message`` names the model and holds the numbers.

    ``numbers`` of a regression and of what is not shown: baseline, new, difference (new - baseline), ci_low, ci_high,
    margin, n_patients; below ``FEWEST`` patients the interval is NaN.
    """

    kind: Literal["regression", "missing", "not comparable", "new", "not shown", "since the first"]
    message: str
    model: str = ""
    region: str = ""
    metric: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a check with this finding fails; the rest is information."""
        return self.kind in ("regression", "missing", "not comparable")


def compare_with_baseline(
    scores: pd.DataFrame, baseline: pd.DataFrame, rule: Mapping[str, Any], better: Mapping[str, str]
) -> list[Change]:
    """Compare scores with a baseline's, patient by patient; both tables have SCORE_COLUMNS.

    ``rule`` is the part ``check`` of study.json: metrics, and margin, a number or one per metric. ``better`` maps a
    metric to "higher" or "lower". Below three patients the mean alone decides on a regression. What only one of the two
    has is a finding too; a model that the baseline does not know is information. Failing findings come first.

    Raises:
        InputError: if the rule lacks metrics or a margin, or names a metric that the baseline lacks.
    """
    new, old = with_models(scores), with_models(baseline, "the baseline")
    findings: list[Change] = []
    absent = [model for model in pd.unique(old["model"]) if model not in set(new["model"])]
    findings += [Change("missing", f"{model}: in the baseline, but has no scores now", model) for model in absent]
    fresh = [model for model in pd.unique(new["model"]) if model not in set(old["model"])]
    findings += [Change("new", f"{model}: not in the baseline", model) for model in fresh]
    losses: list[_Loss] = []
    for metric, margin in _rules(rule, old, better):
        rows, reference = new[new["metric"] == metric], old[old["metric"] == metric]
        versions = [sorted(set(table["metric_version"].astype(str))) for table in (reference, rows)]
        if len(rows) and versions[0] != versions[1]:
            message = f"{metric}: not comparable, version {'/'.join(versions[0])} in the baseline and "
            findings.append(Change("not comparable", f"{message}{'/'.join(versions[1])} now", metric=metric))
            continue
        every = pd.concat([table[~table["model"].isin([*absent, *fresh])] for table in (reference, rows)])
        for model, region in every[["model", "region"]].drop_duplicates().itertuples(index=False):
            place = (str(model), str(region), metric)
            before, now = (
                table[(table["model"] == model) & (table["region"] == region)] for table in (reference, rows)
            )
            findings += _unmatched(before, now, place)
            if set(before["patient_id"]) & set(now["patient_id"]):
                losses.append(_loss(now, before, place, margin, better[metric]))
    p = [loss.p for loss in losses]
    corrected = multipletests(p, method="holm")[1] if p else []
    findings += [finding for loss, own in zip(losses, corrected, strict=True) for finding in _judged(loss, own, len(p))]
    return sorted(findings, key=lambda finding: not finding.failed)


def compare_with_first(
    scores: pd.DataFrame, first: Path, rule: Mapping[str, Any], better: Mapping[str, str]
) -> list[Change]:
    """Return as information what is worse than in the first accepted baseline, or missing since."""
    old = read_tidy(first)
    known = {**rule, "metrics": [metric for metric in rule["metrics"] if metric in set(old["metric"])]}
    found = compare_with_baseline(scores, old, known, better) if known["metrics"] else []
    return [
        replace(one, kind="since the first", message=f"since the first baseline, {one.message}")
        for one in found if one.kind in ("regression", "missing")
    ]  # fmt: skip


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


class _Loss(NamedTuple):
    """How much worse a model is in a region by a metric, with the 95% interval and the p of no loss.

    ``patients`` holds each patient's loss and ``every`` that under each seed, where seeds are those of the baseline;
    ``failed`` says how many fell altogether, where they are too many.
    """

    place: tuple[str, str, str]
    better: str
    margin: float
    old: float
    new: float
    patients: np.ndarray
    every: np.ndarray
    failed: str
    low: float
    high: float
    p: float


# A case under another patient is another sample: both ids must agree.
_CELL = ["patient_id", "case_id", "fold", "seed"]


def _unmatched(before: pd.DataFrame, now: pd.DataFrame, place: tuple[str, str, str]) -> Iterator[Change]:
    """Findings on scores that only the baseline has, and that only the scores have, of one model, region and metric."""
    model, region, metric = place
    cells = [pd.MultiIndex.from_frame(table[_CELL]) for table in (before, now)]
    sides: tuple[tuple[Literal["missing", "not comparable"], pd.DataFrame, np.ndarray, tuple[str, str]], ...] = (
        ("missing", before, ~cells[0].isin(cells[1]), ("now", "the baseline")),
        ("not comparable", now, ~cells[1].isin(cells[0]), ("in the baseline", "the present ones")),
    )
    for kind, whole, lacking, words in sides:
        lost = whole[lacking]
        if len(lost):
            runs = [f"fold {fold}, seed {seed}" for fold, seed in lost[["fold", "seed"]].drop_duplicates().to_numpy()]
            where = f"{_some(runs, '; ')}; patients {_some(list(pd.unique(lost['patient_id'])))}"
            message = (
                f"{model}: no {region} {metric} {words[0]} for {len(lost)} of {len(whole)} scores of {words[1]} "
                f"({where})"
            )
            yield Change(kind, message, *place)


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:3]) + (f"{between}..." if len(names) > 3 else "")


def _loss(now: pd.DataFrame, before: pd.DataFrame, place: tuple[str, str, str], margin: float, better: str) -> _Loss:
    """Pair the scores that both have, or where they share no run, the patients that both have."""
    both = before[[*_CELL, "model", "value", "note"]].merge(
        now[[*_CELL, "value", "note"]], on=_CELL, suffixes=("_old", "_new")
    )
    if len(both):
        tables = [both.assign(value=both[f"value_{side}"]) for side in ("old", "new")]
    else:
        same = set(before["patient_id"]) & set(now["patient_id"])
        tables = [table[table["patient_id"].isin(same)] for table in (before, now)]
    old, new = (patient_means(table).droplevel("model") for table in tables)
    sign = -1 if better == "higher" else 1
    patients = sign * paired_differences(new.reindex(old.index).to_numpy(), old.to_numpy())
    both = both.assign(value=sign * paired_differences(both["value_new"], both["value_old"]))
    changes = blocks(both, old.index) if len(both) else []
    every = np.concatenate([block.values.ravel() for block in changes]) if changes else patients
    failed = _failed(both, place[2]) if changes else ""
    return _Loss(place, better, margin, old.mean(), new.mean(), patients, every, failed, *_interval(patients, changes))


def _failed(both: pd.DataFrame, metric: str) -> str:
    """Say in how many patients the prediction failed altogether under the seed with the most; "" where in few.

    ``both`` has the columns value (the loss), value_old, value_new, note_old and note_new.
    """
    unit = METRICS[metric].unit if metric in METRICS else ""
    if unit:
        gone = both["note_new"].isin(EMPTY) & ~both["note_old"].isin(EMPTY)
    else:
        gone = (both["value_new"] <= TENTH * both["value_old"]) & (both["value_old"] >= TENTH)
    hit = both[gone | (both["value"] > FALL.get(unit, math.inf))]
    by_seed = hit.groupby("seed")["patient_id"].unique()
    seed, patients = max(by_seed.items(), key=lambda found: len(found[1]), default=(None, ()))
    count = both["patient_id"].nunique()
    if len(patients) < fewest_failed(count):
        return ""
    by = f"worse by more than {f'{FALL[unit]:g} {unit}'.strip()} or " if unit in FALL else ""
    return (
        f": it failed in {len(patients)} of {count} patients under seed {seed}, {by}"
        f"{'empty now' if unit else 'to a tenth'} ({_some(patients)})"
    )


def fewest_failed(patients: int) -> int:
    """Return how many of the patients must fail altogether under one seed for a regression."""
    return min(patients // 2 + 1, 2 + math.ceil(patients / 8))


def _interval(patients: np.ndarray, changes: list[ScoreBlock]) -> tuple[float, float, float]:
    """95% interval of the mean loss and one-sided p of none; the one value where all are equal, NaN below ``FEWEST``.

    Over patients and runs where ``changes`` has enough runs (``seeds.estimate_mean``), else over patients.
    """
    mean, nan = float(patients.mean()), float("nan")
    if len(patients) < FEWEST:
        return nan, nan, 1.0
    found = estimate_mean([changes], patients)[0] if changes else None
    if found and found.seeds_df >= FEWEST_FREE:
        return *found.interval(), found.p_above(0.0)
    if np.ptp(patients) == 0:
        # The p of equal signs, as in ``paired.tost``.
        return mean, mean, 0.5 ** len(patients) if mean > 0 else 1.0
    low, high = stats.t.interval(CONFIDENCE, len(patients) - 1, mean, stats.sem(patients))
    return float(low), float(high), float(stats.ttest_1samp(patients, 0.0, alternative="greater").pvalue)


def _judged(loss: _Loss, p: float, family: int) -> Iterator[Change]:
    """A finding, or none where the loss is shown to be within the margin; ``p`` is Holm's over the ``family``."""
    kind, reason = _verdict(loss, p, family)
    if kind:
        low, high = (loss.low, loss.high) if loss.better == "lower" else (-loss.high, -loss.low)
        numbers = {"baseline": loss.old, "new": loss.new, "difference": loss.new - loss.old, "ci_low": low,
                   "ci_high": high, "margin": loss.margin, "n_patients": len(loss.patients)}  # fmt: skip
        yield Change(kind, _message(loss.place, numbers) + reason, *loss.place, numbers)


def _verdict(loss: _Loss, p: float, family: int) -> tuple[Literal["regression", "not shown", ""], str]:
    if loss.failed:
        return "regression", loss.failed
    few, beyond = len(loss.patients) < FEWEST, loss.patients.mean() > loss.margin
    if beyond and (few or p < (1 - CONFIDENCE) / 2 or (loss.every > loss.margin).all()):
        return "regression", ""
    if loss.high <= loss.margin or (few and loss.patients.max() <= 0):
        return "", ""
    if few:
        return "not shown", ": too few patients to show that it is no worse"
    if beyond:
        among = f" among {family} comparisons" if loss.low > 0 else ""
        return "not shown", f": beyond the margin, but it may be chance{among}"
    return "not shown", ": worse, but perhaps within the margin" if loss.low > 0 else ": not shown to be no worse"


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
