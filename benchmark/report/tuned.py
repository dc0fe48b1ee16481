"""Show which value each model was given on validation patients, and its scores beside those under the protocol's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from benchmark.base.records import number_of
from benchmark.report.document import Block, Cell, Heading, Key, Table
from benchmark.report.tables import number, title
from benchmark.scoring.metrics import Metric
from benchmark.stats.estimates import WATCHED
from benchmark.studies import tune
from benchmark.studies.study import Model, Study

TITLE = "Tuned beside identical"


def tuned_blocks(study: Study, summary: pd.DataFrame, metric: Metric, tested: Collection[str]) -> list[Block]:
    """A table of the trials' validation scores, and one of test scores by track; nothing where nothing is tuned.

    ``summary`` comes from ``stats.summarise``; ``tested`` are the validation patients of the trials who are test
    patients of other runs.
    """
    if study.tune is None:
        return []
    return [Heading(TITLE), _trials(study, study.tuned, tested), *_tracks(study, study.tuned, summary, metric)]


def _trials(study: Study, tuned: Sequence[Model], tested: Collection[str]) -> Table:
    assert study.tune is not None
    rows, scores, edges, equal = list[list[str | Cell]](), dict[str, None](), list[str](), list[str]()
    for model in tuned:
        trials = tune.read(study, model)
        best = tune.chosen(trials)
        scores[WATCHED.get(trials[0].score, trials[0].score)] = None
        rows.append([model.name, *(Cell(f"{one.best:.3f}", bold=place == best) for place, one in enumerate(trials))])
        if sum(one.best == trials[best].best for one in trials) > 1:
            equal.append(model.name)
        elif study.tune.values[best] in (min(study.tune.values), max(study.tune.values)):
            edges.append(model.name)
    notes = [
        f"Bold: chosen. Trained on fold {study.tune.fold} with seed {study.tune.seed}, each once and as long as every "
        f"run of the study; the highest validation {' or '.join(scores)} of its epochs counts. The patients of that "
        "fold's test were not looked at.",
    ]
    if tested:
        notes.append(
            f"{number_of(len(tested), 'validation patient')} of these trials are test patients of other folds or "
            "seeds: a tuned model was chosen with some knowledge of them."
        )
    if equal:
        notes.append(f"Several values gave the same, and the first was taken: {', '.join(equal)}.")
    if edges:
        notes.append(
            f"At the end of the values that were tried, so that a better one may lie beyond: {', '.join(edges)}."
        )
    caption = f"Validation {' or '.join(scores)} by value of {study.tune.id}."
    return Table(caption, ["Model", *(f"{value:g}" for value in study.tune.values)], rows, notes=notes)


def _tracks(study: Study, tuned: Sequence[Model], summary: pd.DataFrame, metric: Metric) -> list[Table]:
    """Means of each tuned model after those of its twin of the identical track; nothing where none has a twin."""
    plain = {model.bundle: model for model in study.models if model.track == "identical" and not model.settings}
    pairs = [(plain[model.bundle].name, model.name) for model in tuned if model.bundle in plain and not model.settings]
    regions = [str(region) for region in pd.unique(summary["region"])]
    own = summary[summary["metric"] == metric.name]
    means = dict(zip(zip(own["model"], own["region"], strict=True), own["mean"], strict=True))
    if not pairs or not means:
        return []
    rows: list[list[str | Cell]] = []
    for names in pairs:
        keys = [Key(name, metric.name, region) for name in names for region in regions]
        places = [(key.model, key.region) for key in keys]
        texts = [number(means[place], metric) if place in means else "-" for place in places]
        cells = [Cell(text, key=key) for text, key in zip(texts, keys, strict=True)]
        rows.append([names[0], *cells])
    return [
        Table(
            f"{title(metric, arrow=False)} in the test by track, means over patients.",
            ["Model", *regions * 2],
            rows,
            groups=[("Identical", len(regions)), ("Tuned", len(regions))],
            notes=["Whether a tuned model differs from its twin is tested where study.json declares the pair."],
        )
    ]
