"""Turn the command lines about predictions that exist, `benchmark score` and `benchmark compare`, into calls."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.base.records import InputError, number_of

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.scoring.external import Missing

NAMED = 5
"""Differences that were shown, up to which the screen names them; the report has them all."""
ManifestOption = Annotated[
    str, typer.Option("--manifest", help="Data set whose labels and regions apply, or the path of a manifest.")
]
MissingOption = Annotated[
    str | None, typer.Option(metavar="worst", help="Give references without a prediction the worst scores.")
]
OnlyPredicted = Annotated[bool, typer.Option("--only-predicted", help="Leave out references without a prediction.")]
Patients = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE", help="CSV file with case_id and patient_id, where an id does not say whose a case is."
    ),
]


Predictions = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME=FOLDER...",
        help="Label maps by the model's name, or a file of scores: of `benchmark score`, nnU-Net's summary.json, "
        "panoptica's .tsv, MIST's results.csv. Several trainings: NAME@seed1=…, NAME@fold0-seed1=….",
    ),
]
Metrics = Annotated[str, typer.Option(metavar="NAME,…", help="Metrics to compare by; by default dice,hd95.")]
Margin = Annotated[str, typer.Option(metavar="METRIC=VALUE,…", help="Margin of equivalence, in the metric's unit.")]
LabelsOfEach = Annotated[
    list[str],
    typer.Option(
        metavar="[NAME=]SPEC", help="What predicted values mean: brats, brats2023, msd, nnunet, or 1:2,2:1,3:4."
    ),
]


def score(
    manifest: ManifestOption,
    reference: Annotated[Path, typer.Option(help="Folder of reference label maps.")],
    prediction: Annotated[Path, typer.Option(help="Folder of predicted label maps, <case>.nii.gz.")],
    name: Annotated[str, typer.Option(help="Name of the model in tables.")],
    out: Annotated[
        Path, typer.Option(help="CSV file to write; put it into reports/STUDY/external/ to compare it there.")
    ],
    force: Annotated[bool, typer.Option(help="Replace a different file.")] = False,
    labels: Annotated[
        str, typer.Option(help="What the predictions' values mean: brats, brats2023, msd, nnunet, or 1:2,2:1,3:4.")
    ] = "",
    missing: MissingOption = None,
    only_predicted: OnlyPredicted = False,
    patients: Patients = None,
    fold: Annotated[int, typer.Option(min=0, help="Fold that the model was trained for.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed that the model was trained with.")] = 0,
) -> None:
    """Score label maps that another tool made, with the same code."""
    from benchmark.base.progress import reporting
    from benchmark.data.manifest import find_manifest
    from benchmark.data.patients import check_patients
    from benchmark.scoring.external import patients_for, save_scores, score_folder

    people, absent = patients_for(patients, reference, find_manifest(manifest)), _missing(missing, only_predicted)
    with reporting("scoring") as progress:
        scores = score_folder(
            reference, prediction, manifest, name, fold, seed, progress, labels=labels, missing=absent, patients=people
        )
    lacking = check_patients(patients, people, scores["case_id"]) if patients else []
    save_scores(scores, out, force=force)
    _show_means(scores, ["dice", "hd95"])
    for said in [*scores.attrs["odd"], *lacking, *scores.attrs["people"]]:
        print(f"Note: {said}")
    print(f"Wrote {out}: {number_of(len(scores), 'row')} of {number_of(scores['case_id'].nunique(), 'case')}.")


def compare(
    predictions: Predictions,
    manifest: ManifestOption,
    out: Annotated[Path, typer.Option(help="Folder for the report; it is a study for report, explain and check.")],
    reference: Annotated[Path | None, typer.Option(help="Folder of reference label maps.")] = None,
    metrics: Metrics = "",
    margin: Margin = "",
    pairs: Annotated[str, typer.Option(metavar="A:B,…", help="Pairs of models; by default all.")] = "",
    test: Annotated[str | None, typer.Option(help="wilcoxon, paired_t, permutation or two_level.")] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Fold of the predictions without one.")] = None,
    labels: LabelsOfEach = [],  # noqa: B006
    missing: MissingOption = None,
    only_predicted: OnlyPredicted = False,
    patients: Patients = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object with the tables of the report.")] = False,
) -> None:
    """Compare predictions that exist: score them, test the differences and write a whole report; nothing is trained."""
    from benchmark.base.progress import reporting
    from benchmark.results.predictions import compare_predictions

    with reporting("scoring") as progress:
        found = compare_predictions(
            _sources(predictions), out, manifest=manifest, reference=reference, metrics=_listed(metrics),
            margin=_margin(margin), pairs=_pairs(pairs), test=test, fold=fold, labels=_labels(labels),
            missing=_missing(missing, only_predicted), patients=patients, progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
        return
    _show_summary(found.summary, _listed(metrics))
    for said in found.odd:
        print(f"Note: {said}")
    if len(found.comparisons):
        print(_shown(found.comparisons))
    print(f"Report: {found.folder / 'report.md'}\nIn a browser: {found.folder / 'report.html'}")


def _sources(texts: list[str]) -> dict[str, Path]:
    sources = dict[str, Path]()
    for text in texts:
        key, equals, path = text.partition("=")
        if not equals or not path:
            raise InputError(f"{text}: expected NAME=FOLDER or NAME=FILE.")
        if key in sources:
            raise InputError(f"{key} is there twice: expected each name once, trainings of one as {key}@seed1=….")
        sources[key] = Path(path)
    return sources


def _missing(missing: str | None, only_predicted: bool) -> Missing:
    if missing not in (None, "worst") or (missing and only_predicted):
        raise InputError(f"--missing: expected worst, without --only-predicted, found {missing}.")
    return "leave out" if only_predicted else "worst" if missing else "refuse"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for part in _listed(text):
        first, colon, second = part.partition(":")
        if not colon:
            raise InputError(f"--pairs: expected A:B,C:D, found {text!r}.")
        found.append((first, second))
    return found


def _margin(text: str) -> float | dict[str, float] | None:
    if not text:
        return None
    named = dict[str, float]()
    for part in _listed(text):
        name, _, value = part.rpartition("=")
        try:
            named[name] = float(value)
        except ValueError:
            named[name] = math.nan
        if not 0 < named[name] < math.inf:
            raise InputError(f"--margin: expected METRIC=VALUE,… or one value, above 0, found {text!r}.")
    return named[""] if [*named] == [""] else named


def _labels(texts: list[str]) -> str | dict[str, str]:
    """Return one mapping for all models, or one for each that is named."""
    named = dict[str, str]()
    for text in texts:
        name, equals, spec = text.rpartition("=")
        if not equals and len(texts) > 1:
            raise InputError(f"--labels {text}: expected NAME=SPEC where there are several, or one SPEC for all.")
        named[name] = spec
    return named[""] if [*named] == [""] else named


def _show_means(scores: pd.DataFrame, names: list[str]) -> None:
    from benchmark.scoring.score_table import tidy
    from benchmark.stats.patients import summarise

    rows = tidy(scores)
    _show_summary(summarise(rows[rows["metric"].isin(names)]), names)


def _show_summary(summary: pd.DataFrame, names: list[str] | None = None) -> None:
    """Print a table with a row per model and region: patients, and mean of each metric, of the usual two if none."""
    from rich.markup import escape
    from rich.table import Table

    from benchmark.base.progress import console
    from benchmark.report.tables import number, title
    from benchmark.scoring.metrics import METRICS

    there = [name for name in names or ("dice", "hd95") if name in set(summary["metric"])]
    table = Table(title="Means over patients")
    for name in ("Model", "Region"):
        table.add_column(name, overflow="fold")
    for name in ("Patients", *(title(METRICS[name]) for name in there)):
        table.add_column(name, justify="right")
    means: dict[Any, float] = summary.set_index(["model", "region", "metric"])["mean"].to_dict()
    for (model, region), own in summary.groupby(["model", "region"], sort=False):
        values = [number(means.get((model, region, name)), METRICS[name]) for name in there]
        table.add_row(escape(str(model)), escape(str(region)), str(own["n_patients"].iloc[0]), *values)
    console().print(table, highlight=False)


def _shown(comparisons: pd.DataFrame) -> str:
    """Say how many comparisons show a difference, and which."""
    from benchmark.report.tables import verdict

    shown = comparisons[comparisons["significant"].astype(bool)].to_dict("records")
    named = [f"{row['metric']} of {row['region']}: {verdict(row)}" for row in shown[:NAMED]]
    said = f" ({'; '.join([*named, *['…'] * (len(shown) > NAMED)])})" if named else ""
    return f"{len(shown)} of {len(comparisons)} comparisons show a difference{said}."
