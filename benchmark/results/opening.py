"""Write a report's first sentences: what limits the trust in its numbers, and the result in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from benchmark.base.records import model_name, number_of, patient_known
from benchmark.data.folds import SIDES, SPLITS
from benchmark.report import other_tests, tables
from benchmark.report.evidence import SAMPLED_SETS, share_folds
from benchmark.report.tables import short
from benchmark.results.results import Results
from benchmark.scoring.counts import SLICE
from benchmark.stats.compare import ALIKE, NOT_TESTED, unseen
from benchmark.stats.estimates import patient_counts
from benchmark.stats.families import NETWORKS
from benchmark.stats.intervals import FEW
from benchmark.stats.learned import RISING, beats_majority
from benchmark.stats.seeds import TWO_LEVEL
from benchmark.studies import tune
from benchmark.studies.bundle import KEEP
from benchmark.studies.study import Study

MISSES = {10: "8 to 34%", 18: "6 to 22%", 50: "5 to 6%", 250: "4 to 6%"}
"""Share of 95% intervals of a mean that missed, by metric and region, on so many patients (``rates.csv``)."""
SETTINGS = "Settings and endings of the trainings"
"""Section of the appendix that lists what a sentence here only counts."""
NAMED = 3
"""Models up to which a sentence names them all."""
ANY_TRAINING = (
    "Methods trained anew as these models were, on new patients; what all their trainings have in common, such as "
    "their training patients, is not in it."
)
"""What stands for ``evidence.SAMPLED_SETS`` where nothing was trained here."""
EVERYONE = "all models"
"""Whom a deviation holds for that a study declares for a whole track."""


def cautions(results: Results) -> list[str]:
    """Sentences on what limits the trust in this report's numbers, the gravest first."""
    found, study, scores = [], results.study, results.scores
    if results.phantom:
        found.append("The data are a phantom: no number here may be quoted as a result on brain tumours.")
    found += [*results.limits, *_few_trainings(results), *_unlearned(results)]
    if results.missing:
        total = len(study.seeds) * sum(len(model.folds or study.folds) for model in study.models)
        found.append(f"Runs without scores: {len(results.missing)} of {total} (appendix: {SETTINGS}).")
    found += _too_few(results.comparisons)
    if (count := scores["patient_id"].nunique()) < FEW:
        near = min(MISSES, key=lambda patients: abs(patients - count))
        found.append(
            f"Bootstrap intervals on {count} patients are too narrow: in simulations, nominal 95% intervals missed the "
            f"true mean in {MISSES[near]} of studies with {near} patients, by metric and region, and in {MISSES[FEW]} "
            f"with {FEW}."
        )
        if results.comparisons["verdict"].isin(ALIKE).any():
            found.append(f"{unseen(count).capitalize()}.")
    found += _false_lesions(results)
    lost = scores[scores["note"] == "missing prediction"]
    if len(lost):
        found.append(f"Cases with a missing prediction, given the worst value: {lost['case_id'].nunique()}.")
    if results.trains:
        found += _of_seeds(results)
        if deviating := deviations(study, results.differences):
            why = study.deviations.strip().rstrip(".")
            found.append(
                f"The protocol was not followed in full: {in_words(deviating)}." + (f" Reason: {why}." if why else "")
            )
        found += fold_cautions(results)
    else:
        found += _of_predictions(results)
    return [*found, *dict.fromkeys([*results.cases.remarks, *results.warnings])]


def _false_lesions(results: Results) -> list[str]:
    """A sentence on the models that find more than one lesion per patient where there is none; Dice hides it."""
    many = tables.false_lesions(results.lesions)
    if not many:
        return []
    texts = [f"{name} ({', '.join(f'{region} {count:.1f}' for region, count in own.items())})" for name, own in
             sorted(many.items(), key=lambda one: -max(one[1].values()))]  # fmt: skip
    more = f" and {number_of(len(texts) - NAMED, 'other model')}" if len(texts) > NAMED else ""
    return [
        f"More than one false lesion per patient, of which Dice says little: {', '.join(texts[:NAMED])}{more} (means "
        "by BraTS 2023's rule; appendix: Lesions)."
    ]


def _few_trainings(results: Results) -> list[str]:
    """A sentence where methods are compared and two training sets are all there is of each pair."""
    if results.study.compare["test"] != TWO_LEVEL or results.methods is None or results.methods["df"].max() != 1:
        return []
    return [
        "Two trainings of a method, hardly anything to be shown of it: a difference of methods would have to be 12.7 "
        "times its standard error over trainings, with a third training of each 4.3 times. What is not shown here may "
        "well be there."
    ]


def _of_seeds(results: Results) -> list[str]:
    """A sentence on what the seeds, their folds and the declared test allow to be said of methods."""
    study = results.study
    if len(study.seeds) == 1:
        return [
            "One seed only: how much the results depend on the seed is not known, and a difference that is shown is "
            "between these trained networks, not between the methods."
        ]
    if study.compare["test"] != TWO_LEVEL:
        return [
            "The declared test is over patients alone: a difference that is shown is between these trained networks "
            "and may be chance in their training (research/calibration). The test two_level compares the methods."
        ]
    if results.methods is not None and share_folds(results.methods):
        return [
            f"Seeds share their folds: methods are compared by the means of {results.methods['n_sets'].max():.0f} "
            "folds, so that only large differences can be shown. Folds dealt anew for each seed (partitions: per_seed) "
            "show more with as many runs."
        ]
    return []


def _of_predictions(results: Results) -> list[str]:
    """Sentences on what predictions that were made elsewhere leave open."""
    found = [
        "Only predictions are known of these models: how they were trained, and whether on any of these patients, is "
        "not. A model that was trained on some of them looks better here than it is."
    ]
    trainings = results.scores.groupby("model")[["fold", "seed"]].apply(lambda own: len(own.drop_duplicates()))
    once = [name for name in results.compared_models if trainings.get(name, 0) == 1]
    if results.study.compare["test"] == TWO_LEVEL:
        if once:
            found.append(
                f"{', '.join(once)}: trained once, and compared as that network; what is shown of it may be chance in "
                "its training. The others are compared as methods."
            )
        networks = results.comparisons[results.comparisons["family"] == NETWORKS]
        pairs = dict.fromkeys(zip(networks["model_a"], networks["model_b"], strict=True))
        if apart := [f"{a} and {b}" for a, b in pairs if {a, b}.isdisjoint(once)]:
            shown = ", ".join(apart[:NAMED]) + (", …" if len(apart) > NAMED else "")
            found.append(
                f"Compared as these networks, as fewer than two of their trainings share fold and seed: {shown}."
            )
    elif len(once) == len(trainings):
        found.append(
            "Each model is one trained network: a difference that is shown is between these networks, not between the "
            "methods, and may be chance in their training."
        )
    else:
        found.append(
            "The declared test is over patients alone: a difference that is shown is between these trained networks "
            "and may be chance in their training. The test two_level compares the methods."
        )
    return found


def plateaus(results: Results) -> dict[str, list[str]]:
    """By which rule each run of a model ended on its plateau, an empty text where none held, by the model's name."""
    kinds: dict[str, list[str]] = {}
    for run, ended in results.plateaus.items():
        kinds.setdefault(model_name(*run.split("/")[:2]), []).append(ended.kind)
    return kinds


def _unlearned(results: Results) -> list[str]:
    """Sentences on networks that were still learning when their training ended, and on useless classifiers."""
    found, kinds = [], plateaus(results)
    if still := _runs_of(kinds, ""):
        found.append(
            f"Not trained to a plateau: {still}. A comparison of networks that were still learning says how "
            "fast they learn, not how good they become."
        )
    if rising := _runs_of(kinds, RISING):
        found.append(f"{RISING[0].upper()}{RISING[1:]}: {rising}. A longer training might have been better.")
    for name in results.models:
        counts = patient_counts(results.rows(name), name, SLICE).sum(axis=0)
        if counts.any() and not beats_majority(counts):
            tp, fp, fn, tn = counts
            word, most = max(("tumour", tp + fn), ("no tumour", fp + tn), key=lambda one: one[1])
            found.append(
                f"{name} has not learned: it is right in {(tp + tn) / counts.sum():.1%} of the slices, always naming "
                f"{word} in {most / counts.sum():.1%}."
            )
    return found


def _runs_of(kinds: Mapping[str, Sequence[str]], kind: str) -> str:
    runs = {name: own.count(kind) for name, own in kinds.items() if kind in own}
    if len(runs) > NAMED:
        of = f"all {len(runs)}" if len(runs) == len(kinds) else f"{len(runs)} of {len(kinds)}"
        return f"{sum(runs.values())} of {sum(map(len, kinds.values()))} runs, of {of} models"
    return ", ".join(f"{name} ({count} of {len(kinds[name])} runs)" for name, count in runs.items())


def _too_few(comparisons: pd.DataFrame) -> list[str]:
    weak = comparisons[comparisons["note"].astype(str).str.contains("smallest possible p")]
    if weak.empty:
        return []
    patients = number_of(int(comparisons["n_patients"].max()), "patient")
    if len(weak) == len(comparisons):
        first = str(weak["note"].iloc[0])
        return [f"{patients} are too few for any comparison to come out significant ({first}); a missing mark means "
                "nothing here."]  # fmt: skip
    return [f"{len(weak)} of {len(comparisons)} comparisons could not have come out significant on {patients}."]


def fold_cautions(results: Results) -> list[str]:
    """Sentences on whether patients are on two sides of a fold, and on what was tested."""
    partitions, study = results.folds, results.study
    if (unit := SPLITS[study.split]) != "patient":
        return [
            f"LEAK: the folds deal out {unit}s, so one patient may be on two sides; no score here is of new patients."
        ]
    shared = sum(
        len(set(getattr(fold, a)) & set(getattr(fold, b)))
        for folds in partitions
        for fold in folds
        for a, b in combinations(SIDES, 2)
    )
    if shared:
        return [f"LEAK: {shared} patients are on two sides of a fold; no score of this report can be trusted."]
    ids = results.scores[["case_id", "patient_id"]].drop_duplicates()
    source = str(results.manifest.source)
    if all(patient_known(source, *pair) for pair in ids.itertuples(index=False, name=None)):
        found = ["No patient is on two sides of a fold (checked in the folds file)."]
    else:
        found = [
            "Whether a patient is on two sides of a fold cannot be known: nothing says whose each picture is. Each "
            "picture counts as a patient, so intervals may be too narrow and p values too small."
        ]
    if len(study.folds) < (of := len(partitions[0])):
        tested = "not every patient was tested" if len(partitions) == 1 else "not every patient was tested by each seed"
        found.append(f"Only {len(study.folds)} of {of} folds were run: {tested}.")
    if apart := results.apart_models:
        follow, whose = ("follows", "its") if len(apart) == 1 else ("follow", "their")
        found.append(
            f"{', '.join(apart)} {follow} another split, with patients on both sides: {whose} scores stand apart."
        )
    return found


class Deviation(NamedTuple):
    """Whom a setting holds for, its id and its value."""

    model: str
    key: str
    value: str


def deviations(study: Study, differences: Mapping[str, Mapping[str, Any]]) -> list[Deviation]:
    """Settings other than the protocol's, for all models of a track or for one; native models' own among them.

    ``differences`` maps an id to each model's value as it was run, for ids in which models differ. What a native
    model does otherwise than the models of the identical track is in there; what ``set`` says holds for it where the
    two do not differ.
    """
    identical = [model for model in study.models if model.track != "native"]
    shared, own, native = study.settings, study.set_native, len(identical) < len(study.models)
    tuned = [study.tune.id] if study.tune else []
    everyone = f"{EVERYONE} of the {'tracks identical and tuned' if tuned else 'identical track'}"
    everyone = everyone if native or tuned else EVERYONE
    rows = [
        Deviation(f"{EVERYONE} of the identical track" if key in tuned else everyone, key, short(value))
        for key, value in shared.items()
    ]
    rows += [Deviation(f"{EVERYONE} of the native track", key, short(value)) for key, value in own.items() if native]
    for model in study.models:
        if model.track == "native":
            # It is set beside its bundle's plain model of the identical track, else beside the first there.
            plain = [other for other in identical if other.bundle == model.bundle and other.variant == "default"]
            twin = next((other.name for other in (*plain, *identical)), "")
            rows += _recipe(model.name, twin, shared, {*own, *model.settings}, differences)
        chosen = tune.settings(study, model) if model.track == "tuned" else {}
        rows += [Deviation(model.name, key, short(value)) for key, value in {**model.settings, **chosen}.items()]
    # What a run keeps changes no number.
    return [row for row in rows if row.key != KEEP]


def in_words(rows: Sequence[Deviation]) -> str:
    """Deviations of all models of a track in one sentence, and that there are others of single models.

    Where two tracks have deviations, their values are left to the table of the appendix.
    """
    of_all = [row for row in rows if row.model.startswith(EVERYONE)]
    tracks = dict.fromkeys(row.model for row in of_all)
    shared = [f"{', '.join(f'{row.key} = {row.value}' for row in of_all)} ({track})" for track in tracks]
    if len(tracks) > 1:
        shared = [f"{', '.join(dict.fromkeys(row.key for row in of_all))} (values by track in the appendix)"]
    own = [row.model for row in rows if not row.model.startswith(EVERYONE)]
    return "; ".join([*shared, *["what single models change is in the appendix"] * bool(own)])


def _recipe(
    name: str, twin: str, shared: Mapping[str, Any], said: set[str], differences: Mapping[str, Mapping[str, Any]]
) -> list[Deviation]:
    """What a native model has of its own recipe: each id that its twin has otherwise; then what it shares with all."""
    ids = [key for key, by_model in differences.items() if name in by_model and by_model[name] != by_model.get(twin)]
    changed = [key for key in ids if key not in said]
    kept = [key for key in shared if key not in said and key not in changed]
    return [
        *(Deviation(name, key, short(differences[key][name])) for key in changed),
        *(Deviation(name, key, short(shared[key])) for key in kept),
    ]


def findings(results: Results) -> list[str]:
    """Sentences on the primary metric: the best model per region, whom it was shown to beat, and tests elsewhere."""
    name = results.study.compare["metrics"][0]
    metric, rows = results.metrics[name], results.summary[results.summary["metric"] == name]
    sign, word = (1, "highest") if metric.better == "higher" else (-1, "lowest")
    sentences, one = [], rows["model"].nunique() == 1
    for region, own in rows.groupby("region", sort=False):
        best = max(own.to_dict("records"), key=lambda row: sign * row["mean"])
        low, high = tables.number(best["ci_low"], metric), tables.number(best["ci_high"], metric)
        mean = tables.number(best["mean"], metric)
        alike = [row["model"] for row in own.to_dict("records") if tables.number(row["mean"], metric) == mean]
        what = f"mean {metric.title} of {alike[0]}" if one else f"{word} mean {metric.title} by {' and '.join(alike)}"
        sentence = f"{region}: {what}, {mean}"
        sentence += f" (95% CI {low} to {high})." if low != "-" else "."
        sentences.append(sentence + _beaten(results, str(best["model"]), str(region)))
    found = sentences + other_tests.in_short(results.other_tests, results.study.other_tests, metric)
    return [reworded(results, sentence) for sentence in found]


def reworded(results: Results, text: str) -> str:
    """Take out of a text what is said of trainings and seeds where nothing was trained here."""
    if results.trains:
        return text
    words = {"as trained here": "as they are", "As trained here": "As they are", SAMPLED_SETS: ANY_TRAINING}
    if results.scores["seed"].nunique() == 1:
        words |= {
            "Seeds are averaged within a case and cases within a patient.": "Cases are averaged within a patient."
        }
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def _beaten(results: Results, best: str, region: str) -> str:
    """Sentences on which models the best of a region was shown to beat by the primary metric."""
    tests, study = results.comparisons, results.study
    here = tests[(tests["metric"] == study.compare["metrics"][0]) & (tests["region"] == region)]
    of_best = here[(here["model_a"] == best) | (here["model_b"] == best)].to_dict("records")
    tested = [row for row in of_best if row["verdict"] != NOT_TESTED]
    beaten = [row for row in tested if tables.verdict(row) == f"{best} better"]
    names = [
        (row["model_b"] if row["model_a"] == best else row["model_a"]) + " (as trained)" * (row["family"] == NETWORKS)
        for row in beaten
    ]
    said, rest = "", len(tested) - len(names)
    if names:
        shown = "Shown" if study.compare["test"] == TWO_LEVEL else "As trained here, shown"
        said += f" {shown} to be better than {', '.join(names)}."
    if rest and names:
        said += f" Not shown to be better than {rest} of the {len(tested)} models compared."
    elif rest:
        of = {1: "the one model compared", 2: "either of the 2 models compared"}
        said += f" Not shown to be better than {of.get(rest, f'any of the {rest} models compared')}."
    if untested := len(of_best) - len(tested):
        said += f" Against {number_of(untested, 'model')} it could not be tested."
    return said
