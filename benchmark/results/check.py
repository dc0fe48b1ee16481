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

What cannot be compared fails too: a score that the baseline has and the scores lack, or the other way round. Only where
a model has none of the baseline's seeds it was trained anew on purpose: that is told, and the patients that both have
are compared, over patients alone, with the luck of other trainings in the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.base.records import InputError
from benchmark.scoring.metrics import METRICS
from benchmark.scoring.score_table import read_tidy
from benchmark.stats.intervals import CONFIDENCE
from benchmark.stats.paired import margin_of, paired_differences, tost
from benchmark.stats.patients import patient_means, some, with_models
from benchmark.stats.seeds import estimate_runs, model_runs

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

Place = tuple[str, str, str]
"""A model, a region and a metric."""


@dataclass(frozen=True)
class Change:
    """One thing that changed against the baseline; ``message`` names the model and holds the numbers.

    ``kind`` is regression, missing, not comparable, new, other seeds, not shown or since the first. ``numbers`` of a
    regression and of what is not shown: baseline, new, difference (new - baseline), ci_low, ci_high, margin,
    n_patients; below ``FEWEST`` patients the interval is NaN.
    """

    kind: str
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
    models = [list(pd.unique(table["model"])) for table in (old, new)]
    absent, fresh = ([model for model in models[side] if model not in models[1 - side]] for side in (0, 1))
    findings = [Change("missing", f"{model}: in the baseline, but has no scores now", model) for model in absent]
    findings += [Change("new", f"{model}: not in the baseline", model) for model in fresh]
    told, anew = _other_seeds(old, new)
    findings += told
    losses: list[_Loss] = []
    for metric, margin in _margins(rule, old, better).items():
        sides = [table[(table["metric"] == metric) & ~table["model"].isin([*absent, *fresh])] for table in (old, new)]
        versions = ["/".join(sorted(set(table["metric_version"].astype(str)))) for table in sides]
        if all(versions) and versions[0] != versions[1]:
            message = f"{metric}: not comparable, version {versions[0]} in the baseline and {versions[1]} now"
            findings.append(Change("not comparable", message, metric=metric))
            continue
        for model, region in pd.concat(sides)[["model", "region"]].drop_duplicates().itertuples(index=False):
            place = (str(model), str(region), metric)
            before, now = (table[(table["model"] == model) & (table["region"] == region)] for table in sides)
            both = bool(set(before["patient_id"]) & set(now["patient_id"]))
            findings += _unmatched(before, now, place, anew.get(model) if both else None)
            if both:
                losses.append(_loss(now, before, place, margin, better[metric]))
    corrected = multipletests([loss.p for loss in losses], method="holm")[1] if losses else []
    for loss, p in zip(losses, corrected, strict=True):
        kind, reason = _verdict(loss, p, len(losses))
        if kind:
            message = _message(loss.place, loss.numbers()) + reason
            findings.append(Change(kind, message, *loss.place, loss.numbers()))
    return sorted(findings, key=lambda finding: not finding.failed)


def compare_with_first(
    scores: pd.DataFrame, first: Path, rule: Mapping[str, Any], better: Mapping[str, str]
) -> list[Change]:
    """Return as information what is worse than in the first accepted baseline, or missing since."""
    old = read_tidy(first)
    known = {**rule, "metrics": [metric for metric in rule["metrics"] if metric in set(old["metric"])]}
    found = compare_with_baseline(scores, old, known, better) if known["metrics"] else []
    worse = [one for one in found if one.kind in ("regression", "missing")]
    return [replace(one, kind="since the first", message=f"since the first baseline, {one.message}") for one in worse]


def _margins(rule: Mapping[str, Any], old: pd.DataFrame, better: Mapping[str, str]) -> dict[str, float]:
    if not rule.get("metrics") or "margin" not in rule:
        raise InputError(f"check of study.json must have metrics and a margin, found {dict(rule)}.")
    known, margins = sorted(set(old["metric"]) & set(better)), {}
    for metric in rule["metrics"]:
        if metric not in known:
            raise InputError(f"check.metrics names {metric}: expected a metric of the baseline, {', '.join(known)}.")
        margins[metric] = margin_of(rule["margin"], metric, "check.margin", zero=True)
        if math.isnan(margins[metric]):
            raise InputError(f"check.margin has no number for {metric}: expected one from 0 up.")
    return margins


class _Loss(NamedTuple):
    """How much worse a model is in a region by a metric, with the 95% interval and the p of no loss.

    ``patients`` holds each patient's loss and ``every`` that under each seed, where seeds are those of the baseline;
    ``failed`` says how many fell altogether under one seed, where they are too many: from what they had under that
    seed, or from their mean over the baseline's seeds where these are others.
    """

    place: Place
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

    def numbers(self) -> dict[str, float]:
        """Numbers of a ``Change``, in the metric's own direction."""
        low, high = (self.low, self.high) if self.better == "lower" else (-self.high, -self.low)
        own = {"baseline": self.old, "new": self.new, "difference": self.new - self.old}
        return own | {"ci_low": low, "ci_high": high, "margin": self.margin, "n_patients": len(self.patients)}


# A case under another patient is another sample: both ids must agree.
_CELL = ["patient_id", "case_id", "fold", "seed"]


def _other_seeds(old: pd.DataFrame, new: pd.DataFrame) -> tuple[list[Change], dict[str, set[str]]]:
    """Information on the models that both tables have, but under no common seed; and of each the patients of both."""
    said, patients = dict[str, list[str]](), dict[str, set[str]]()
    for model in sorted(set(old["model"]) & set(new["model"])):
        before, now = (table[table["model"] == model] for table in (old, new))
        seeds = [some([f"{seed}" for seed in sorted(table["seed"].unique())]) for table in (now, before)]
        known = set(before["patient_id"])
        both = known & set(now["patient_id"])
        if both and not set(before["seed"]) & set(now["seed"]):
            patients[model] = both
            message = (
                f"trained under other seeds ({seeds[0]} now, {seeds[1]} in the baseline): compared over {len(both)} of "
                f"the baseline's {len(known)} patients; the luck of other trainings is in every difference"
            )
            said.setdefault(message, []).append(model)
    return [Change("other seeds", f"{', '.join(models)}: {message}") for message, models in said.items()], patients


def _unmatched(before: pd.DataFrame, now: pd.DataFrame, place: Place, anew: set[str] | None) -> Iterator[Change]:
    """Findings on scores that only the baseline has, and that only the scores have, of one model, region and metric.

    Of a model that was trained ``anew``, on its cases of these patients, whatever their folds and seeds.
    """
    model, region, metric = place
    cell = _CELL if anew is None else _CELL[:2]
    if anew is not None:
        before, now = (table[table["patient_id"].isin(anew)] for table in (before, now))
    for kind, whole, other, where, whose in (
        ("missing", before, now, "now", "the baseline"),
        ("not comparable", now, before, "in the baseline", "the present ones"),
    ):
        lost = whole[~pd.MultiIndex.from_frame(whole[cell]).isin(pd.MultiIndex.from_frame(other[cell]))]
        if len(lost):
            runs = [f"fold {fold}, seed {seed}" for fold, seed in lost[["fold", "seed"]].drop_duplicates().to_numpy()]
            message = f"{model}: no {region} {metric} {where} for {len(lost)} of {len(whole)} scores of {whose} "
            patients = some(list(pd.unique(lost["patient_id"])))
            yield Change(kind, f"{message}({some(runs, '; ')}; patients {patients})", *place)


def _loss(now: pd.DataFrame, before: pd.DataFrame, place: Place, margin: float, better: str) -> _Loss:
    """Pair the scores that both have, or where they share no run, those of the patients that both have."""
    columns = [*_CELL, "value", "note"]
    both = before[["model", *columns]].merge(now[columns], on=_CELL, suffixes=("_old", "_new"))
    if shared := bool(len(both)):
        tables = [both.assign(value=both[f"value_{side}"]) for side in ("old", "new")]
    else:
        same = set(before["patient_id"]) & set(now["patient_id"])
        tables = [table[table["patient_id"].isin(same)] for table in (before, now)]
        both = tables[1].merge(_usual(tables[0]), on=_CELL[:2], suffixes=("_new", "_old"))
    old, new = (patient_means(table).droplevel("model") for table in tables)
    sign = -1 if better == "higher" else 1
    patients = sign * paired_differences(new.reindex(old.index).to_numpy(), old.to_numpy())
    both = both.assign(value=sign * paired_differences(both["value_new"], both["value_old"]))
    changes = model_runs(both, old.index)[place[0]].to_numpy() if shared else None
    every = patients if changes is None else changes[~np.isnan(changes)]
    failed = _failed(both, place[2])
    return _Loss(place, better, margin, old.mean(), new.mean(), patients, every, failed, *_interval(patients, changes))


def _usual(before: pd.DataFrame) -> pd.DataFrame:
    """Each case's mean over its trainings, with a note on an empty prediction if any was empty."""
    empty = before["note"].where(before["note"].isin(EMPTY), "")
    return before.assign(note=empty).groupby(_CELL[:2], as_index=False).agg({"value": "mean", "note": "max"})


def _failed(both: pd.DataFrame, metric: str) -> str:
    """Say in how many patients the prediction failed altogether under the seed with the most; "" where in few.

    ``both`` has the columns value (the loss), value_old, value_new, note_old and note_new.
    """
    unit = _unit(metric)
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
        f"{'empty now' if unit else 'to a tenth'} ({some(patients)})"
    )


def fewest_failed(patients: int) -> int:
    """Return how many of the patients must fail altogether under one seed for a regression."""
    return min(patients // 2 + 1, 2 + math.ceil(patients / 8))


def _interval(patients: np.ndarray, changes: np.ndarray | None) -> tuple[float, float, float]:
    """95% interval of the mean loss and one-sided p of none; the one value where all are equal, NaN below ``FEWEST``.

    Over patients and runs where ``changes`` (patients, runs) has enough runs (``seeds.estimate_runs``), else over
    patients.
    """
    if len(patients) < FEWEST:
        return math.nan, math.nan, 1.0
    found = None if changes is None else estimate_runs(changes)
    if found and found.sets_df >= FEWEST_FREE:
        return *found.interval(), found.p_above(0.0)
    mean, error = float(patients.mean()), stats.sem(patients) if np.ptp(patients) else 0.0
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(patients) - 1) * error)
    return mean - reach, mean + reach, float(tost(patients, 0.0).above)


def _verdict(loss: _Loss, p: float, family: int) -> tuple[str, str]:
    """Judge a loss, whose ``p`` is Holm's over the ``family``, with the reason; "" where it is within the margin."""
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


def _message(place: Place, numbers: Mapping[str, float]) -> str:
    (model, region, metric), unit = place, _unit(place[2])
    count, change, digits = numbers["n_patients"], numbers["difference"], 1 if unit else 3
    went = "fell" if change < 0 else "rose" if change > 0 else "stayed, on average,"
    interval = f"95% CI {numbers['ci_low']:+.{digits}f} to {numbers['ci_high']:+.{digits}f}"
    if count < FEWEST:
        interval = f"no interval on fewer than {FEWEST} patients"
    return (
        f"{model}: {region} {metric} {went} from {numbers['baseline']:.{digits}f} to "
        f"{numbers['new']:.{digits}f}{f' {unit}' if unit else ''} on {count} patient{'s' if count > 1 else ''} "
        f"({change:+.{digits}f}, {interval}, margin {numbers['margin']:g})"
    )


def _unit(metric: str) -> str:
    return METRICS[metric].unit if metric in METRICS else ""
