"""Follow one number of a report to all that it was made from: runs, patients, cases, seeds, counts, rules, tests."""

from __future__ import annotations

import pandas as pd

from benchmark.base.records import InputError
from benchmark.report.costs import SHOWN
from benchmark.results.explain import derived, means
from benchmark.results.explain.about import known_models
from benchmark.results.explain.answers import Derived, Explanation
from benchmark.results.explain.means import fences, measures_in
from benchmark.results.results import Results
from benchmark.scoring.counts import SLICE
from benchmark.studies.study import Study

__all__ = ["Derived", "Explanation", "explain", "fences"]


def explain(
    study: Study,
    model: str,
    region: str | None = None,
    metric: str | None = None,
    against: str | None = None,
    on: str | None = None,
) -> Explanation | Derived:
    """Follow one number of a study's report; ``model`` and ``against`` are named as its tables name them.

    In a ``region``, ``metric`` is a metric or a count of scores.csv (by default dice, of slices accuracy): the mean
    over patients. In a study on a paper it may also be a measure that papers pool from counts: one of
    ``POOLED_MEASURES``, or of slices one of a classification report. Without a region it is such a metric or measure as
    the mean over regions, ``rank``, or a column of histories.csv. ``against`` adds the paired differences from another
    model; from the same model under another split it follows the table of the two.
    ``on`` is another test of the study, by its name in other_tests.csv.

    Raises:
        InputError: for a study without scores, or a model, region or metric that it has no such number of.
    """
    results = Results(study)
    apart = _check(results, model, against)
    name = metric or ("accuracy" if region == SLICE else "dice")
    if on:
        if against:
            raise InputError(
                f"--against {against}: expected none with --on, as models are compared on their own cases."
            )
        return derived.elsewhere(results, model, name, region, on)
    if against and {model, against} & set(apart):
        return derived.two_splits(results, model, against, region, name)
    if name == derived.RANK:
        if region is not None:
            raise InputError(f"--region {region}: expected none, as the ranking is over all regions.")
        return derived.ranks(results, model, against)
    of_training = region is None and name in derived.history_columns(results, model)
    of_cost = region is None and name in SHOWN
    is_pooled = name in measures_in(results, region)
    if against and (of_training or of_cost or is_pooled):
        raise InputError(f"--against {against}: expected none, as {name} is followed for one model at a time.")
    if of_cost:
        return derived.cost(results, model, name)
    if of_training:
        return derived.training(results, model, name)
    if is_pooled:
        return derived.pooled_measure(results, model, region, name)
    if region is None:
        return derived.over_regions(results, model, name, against)
    return means.mean(results, model, region, name, against)


def _check(results: Results, model: str, against: str | None) -> list[str]:
    """Refuse unknown models; return those that have scores and are not compared."""
    known = [*known_models(results), *(name for name in results.ensembles if name not in known_models(results))]
    apart = [str(name) for name in pd.unique(results.apart["model"]) if name not in known]
    for name in filter(None, (model, against)):
        if name not in [*known, *apart]:
            rest = f"; scores that stand apart from the comparison: {', '.join(apart)}" if apart else ""
            expected = f"expected one of {', '.join(known)}{rest}"
            raise InputError(f"Study {results.study.name} scores no model {name!r}: {expected}.")
    if against == model:
        raise InputError(f"--against names {model} itself: expected another of {', '.join([*known, *apart])}.")
    return apart
