"""Follow a number that results from others (ranks, counts, regions, trainings, splits) to its parts and its formula."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError, model_name
from benchmark.papers.values import column_beside
from benchmark.report.costs import SHOWN
from benchmark.report.other_tests import there
from benchmark.report.splits import NO_TUMOUR, OF_NEGATIVES, POOLED, SplitPair, split_pairs
from benchmark.report.tables import title
from benchmark.results.explain.about import about, check_region, known_models, printed_beside, runs_used
from benchmark.results.explain.answers import Computed, Derived
from benchmark.results.explain.means import paired
from benchmark.results.results import BETTER, Results
from benchmark.scoring.counts import SLICE, measure_of, report_cell, report_cells
from benchmark.scoring.metrics import COUNTS
from benchmark.stats import estimates
from benchmark.stats.estimates import WATCHED, kept_epoch, patient_scores, pooled_interval
from benchmark.stats.ranking import patient_ranks

RANK = "rank"
ALL = "(tp + fp + fn + tn)"
RIGHT = f"(tp + tn) / {ALL}"
OF_CLASS = {
    "1": {"precision": "tp / (tp + fp)", "recall": "tp / (tp + fn)", "f1": "2 * tp / (2 * tp + fp + fn)",
          "support": "tp + fn"},
    "0": {"precision": "tn / (tn + fn)", "recall": "tn / (tn + fp)", "f1": "2 * tn / (2 * tn + fp + fn)",
          "support": "tn + fp"},
}  # fmt: skip
"""Measures of a classification report by class, 1 the one with tumour."""

FORMULAS = {
    "GlobalAccuracy": RIGHT,
    "MeanAccuracy": "(tn / (tn + fp) + tp / (tp + fn)) / 2",
    "MeanIoU": "(tn / (tn + fp + fn) + tp / (tp + fp + fn)) / 2",
    "WeightedIoU": f"(tn / (tn + fp + fn) * (tn + fp) + tp / (tp + fp + fn) * (tp + fn)) / {ALL}",
    "MeanFScore": "(2 * tn / (2 * tn + fp + fn) + 2 * tp / (2 * tp + fp + fn)) / 2",
    "Dice": "2 * tp / (2 * tp + fp + fn)",
    "IoU": "tp / (tp + fp + fn)",
    "Tversky": "tp / (tp + alpha * fp + beta * fn)",
}
"""Formulas of ``POOLED_MEASURES``; a share of nothing is what the function says."""
MEASURES = {
    "dice": FORMULAS["Dice"],
    "iou": FORMULAS["IoU"],
    "accuracy": FORMULAS["GlobalAccuracy"],
    "sensitivity": OF_CLASS["1"]["recall"],
    "specificity": OF_CLASS["0"]["recall"],
    "precision": OF_CLASS["1"]["precision"],
}
"""Formulas of ``report.splits.POOLED``."""


def ranks(results: Results, model: str, against: str | None) -> Derived:
    """Follow a model's place in the ranking to the ranks that each patient gives it, by region and metric."""
    study, scores, known = results.study, results.scores, known_models(results)
    if results.ranking is None or model not in known:
        raise InputError(
            f"Study {study.name} has no rank of {model}: expected one of two or more compared models, found "
            f"{', '.join(known)}."
        )
    own = scores[scores["model"] == model]
    by_cell = {
        f"{metric} {region}": patient_ranks(rows[rows["region"] == region], [metric], BETTER)
        for metric in study.compare["metrics"]
        for rows in [scores[scores["metric"] == metric]]
        for region in pd.unique(rows["region"])
    }
    table = pd.DataFrame({name: found[model] for name, found in by_cell.items()}).assign(mean=results.ranks[model])
    (row,) = results.ranking[results.ranking["model"] == model].to_dict("records")
    return Derived(
        **about(results, model, RANK, None, own), title="Rank", unit="",
        parts=_by_patient(table.sort_values("mean", kind="stable")),
        how=f"A row is a patient: the rank of {model} among {len(known)} models by each metric in each region, 1 the "
        "best, ties sharing ranks, and the mean of these.",
        results=[Computed("mean rank", "mean over patients", row["mean_rank"]),
                 Computed("rank", f"place of that mean; 95% of resamples of patients give {row['rank_low']} to "
                          f"{row['rank_high']}", plain(row["rank"])),
                 *(Computed(name, "mean over patients", float(table[name].mean())) for name in by_cell)],
        paired=paired(results.ranks[[model, against]]) if against else None,
    )  # fmt: skip


def over_regions(results: Results, model: str, metric: str, against: str | None) -> Derived:
    """Follow a mean over patients of the mean over regions, as papers print it, to each patient's regions."""
    rows = results.rows(model)
    known = [str(name) for name in pd.unique(rows["metric"]) if name in results.metrics]
    if metric not in known:
        raise InputError(
            f"Study {results.study.name} scores {model} over all regions by no metric {metric!r}: expected {RANK}, a "
            f"column of histories.csv or costs.csv, or one of {', '.join(known)}; of others name a --region."
        )
    regions = _regions(results, model, column_beside(results.published, model, metric))
    models = [model, *([against] if against else [])]
    values = {name: patient_scores(results.rows(name), name, metric, regions) for name in models}
    found = estimates.mean(values[model])
    if found is None:
        raise InputError(f"Study {results.study.name} scores {model} by slices only: expected --region {SLICE}.")
    table = pd.DataFrame({region: patient_scores(rows, model, metric, [region]) for region in regions})
    table["mean"] = values[model]
    return Derived(
        **about(results, model, metric, None, rows, against), unit=results.metrics[metric].unit,
        title=f"{title(results.metrics[metric])}, mean over {', '.join(regions)}",
        parts=_by_patient(table.sort_values("mean", kind="stable")),
        how="A row is a patient: the value in each region, seeds averaged within a case and cases within the patient, "
        "and the mean of the regions."
        + (" No difference of such means is declared, so none is tested." if against else ""),
        results=[Computed("mean", "mean over patients", found.value, found.low, found.high),
                 Computed("SD", "over patients, n - 1", found.sd)],
        paired=paired(pd.DataFrame(values).dropna()) if against else None,
    )  # fmt: skip


def elsewhere(results: Results, model: str, metric: str, region: str | None, test: str) -> Derived:
    """Follow a mean in another test, and its change from the own test cases, to each patient's values."""
    study, changes = results.study, results.other_tests
    known = list(results.other_scores)
    if test not in known or changes is None:
        raise InputError(f"Study {study.name} has no scores on {test}: expected {' or '.join(known) or 'no --on'}.")
    own = changes[(changes[["test", "model", "metric"]] == [test, model, metric]).all(axis=1)]
    found = own[own["region"] == region].to_dict("records")
    if not found:
        regions = ", ".join(own["region"]) or "none"
        raise InputError(
            f"Study {study.name} has no {metric} of {model} in {region or 'all regions'} on {test}: expected one of "
            f"the declared metrics, {', '.join(study.compare['metrics'])}, and a --region of these: {regions}."
        )
    (row,) = found
    elsewhere_rows = results.other_scores[test]
    elsewhere_rows = elsewhere_rows[elsewhere_rows["model"] == model]
    here_rows = results.rows(model).merge(elsewhere_rows[["fold", "seed"]].drop_duplicates())
    values = pd.DataFrame({
        "own": patient_scores(here_rows, model, metric, [str(region)]),
        test: patient_scores(elsewhere_rows, model, metric, [str(region)]),
    })  # fmt: skip
    same = row["interval"] == "paired"
    if same:
        values["change"] = values[test] - values["own"]
    how = "BCa bootstrap over these patients" if same else "Welch's t, two samples of patients"
    return Derived(
        **{**about(results, model, there(metric, test), region, here_rows),
           "source": str(study.folder / f"scores.{test}.csv")},
        title=f"{title(results.metrics[metric])} of {region} on {test}", unit=results.metrics[metric].unit,
        parts=_by_patient(values.sort_values([test, "own"], kind="stable")),
        how="A row is a patient: the value on the study's own test cases and that on "
        f"{test}, seeds and folds averaged within a case and cases within the patient; a dash where the patient is in "
        f"one of the two only. {row['n_empty']} cases there were decided by a rule for empty masks.",
        results=[Computed("own", f"mean over {row['n_patients']} patients", row["mean"]),
                 Computed(test, f"mean over {row['n_patients_there']} patients", row["mean_there"]),
                 Computed("change", f"{test} less own; {how}", row["change"], row["ci_low"], row["ci_high"])],
    )  # fmt: skip


def cost(results: Results, model: str, name: str) -> Derived:
    """Follow a number of the table of costs to what each run of the model recorded."""
    rows = pd.DataFrame() if results.costs is None else results.costs[results.costs["model"] == model]
    rows = rows.dropna(subset=name) if len(rows) else rows
    if rows.empty:
        raise InputError(f"Study {results.study.name} has no {name} of {model} on record: expected it in costs.csv.")
    parts = []
    members = next((one.ensemble for one in results.study.models if one.name == model), ())
    for id_, run in results.provenance.runs.items():
        stages, history = run.stages or {}, results.histories.get(id_)
        if model_name(*id_.split("/")[:2]) not in (members or [model]) or "train" not in stages:
            continue
        seconds: list[float] = [] if history is None else history["seconds"].tolist()
        parts.append(
            {"run": id_, "device": stages["train"].device, "epochs": len(seconds), "s of epochs": float(sum(seconds))}
            | {"processor s": stages["train"].processor_seconds or math.nan}
            | {f"s {key}": stage.seconds for key, stage in stages.items() if key != "train"}
            | {"MB": stages["train"].peak_memory_mb, "GPU MB": stages["train"].peak_gpu_memory_mb or math.nan}
        )
    return Derived(
        **about(results, model, name, None, results.rows(model)), title=SHOWN[name], unit="", parts=parts,
        how="A row is a run, as provenance.json and histories.csv have it. Of an epoch the number is the mean over all "
        "epochs of all runs, of other times the mean over runs or cases, of memory the most; parameters and "
        "multiply-adds follow from the network."
        + " An ensemble has the sum of its members, the joining itself not counted." * bool(members),
        results=[
            Computed(name, f"costs.csv, {row['device']}", float(row[name])) for row in rows.to_dict("records")
        ],
    )  # fmt: skip


def pooled_measure(results: Results, model: str, region: str | None, metric: str) -> Derived:
    """Follow a measure of counts that are summed over a test set to the counts of each case."""
    rows = results.rows(model)
    check_region(results, model, region, rows)
    column = column_beside(results.published, model, metric)
    regions = [region] if region else _regions(results, model, column)
    there = [str(name) for name in pd.unique(rows["region"])]
    rows = rows[rows["region"].isin(regions)]
    if not set(COUNTS) <= set(rows["metric"]):
        raise InputError(
            f"Study {results.study.name} has no counts of {model} in {region or 'any region'} to pool {metric} from: "
            f"expected rows with {', '.join(COUNTS)} in one of {', '.join(there)}."
        )
    counts = {name: estimates.patient_counts(rows, model, name) for name in regions}
    totals = {name: dict(zip(COUNTS, map(plain, own.sum(axis=0)), strict=True)) for name, own in counts.items()}
    parts = case_counts(rows).map(plain).astype(object).reset_index()
    parts = parts.rename(columns={"patient_id": "patient", "case_id": "case"})
    parts = parts if len(regions) > 1 else parts.drop(columns="region")
    slices = region == SLICE
    kind = "slices" if slices else "voxels"
    summed = "; ".join(f"{name} " + ", ".join(f"{k} {v:.12g}" for k, v in own.items()) for name, own in totals.items())
    return Derived(
        **about(results, model, metric, region, rows), title=f"{metric} of {', '.join(regions)}, pooled over cases",
        unit="", parts=parts.to_dict("records"),
        how=f"A row is a case: its counts of {kind}, seeds averaged. Summed over cases: {summed}. Intervals resample "
        "patients, whose counts stay together.",
        results=_of_slices(counts[SLICE], metric, totals[SLICE]) if slices
        else _of_regions(counts, metric, column.get("weights", {}), totals),
    )  # fmt: skip


def _of_slices(counts: np.ndarray, measure: str, totals: dict[str, Any]) -> list[Computed]:
    results = []
    for cell in report_cells(counts.sum(axis=0)):
        if cell[1] == measure:
            value, *ends = pooled_interval(counts, partial(report_cell, cell=cell))
            name, formula = " ".join(dict.fromkeys(cell)), filled(report_formula(*cell), totals)
            count = measure == "support"
            results.append(Computed(name, formula, plain(value) if count else value, *([] if count else ends)))
    return results


def _of_regions(
    counts: Mapping[str, np.ndarray], metric: str, weights: Mapping[str, float], totals: dict[str, dict[str, Any]]
) -> list[Computed]:  # fmt: skip
    measure = measure_of(metric, weights)
    shown = {"alpha": 0.5, "beta": 0.5, **weights} if metric == "Tversky" else {}
    results = [
        Computed(region, filled(FORMULAS[metric], {**totals[region], **shown}), *pooled_interval(own, measure))
        for region, own in counts.items()
    ]
    if len(counts) > 1:
        every = np.stack(list(counts.values()), axis=1)
        results.append(Computed("mean", "mean over these regions", *pooled_interval(every, measure)))
    return results


def training(results: Results, model: str, name: str) -> Derived:
    """Follow a column of a model's training histories to the epochs whose weights were kept."""
    parts = []
    for run, table in results.histories.items():
        kept = {key: kept_epoch({run: table}, model, key) for key in ("epoch", *WATCHED, name) if key in table}
        if kept.get(name):
            parts.append({"run": run, **{key: plain(value.value) for key, value in kept.items() if value}})
    found = kept_epoch(results.histories, model, name)
    of = about(results, model, name, None, results.rows(model))
    return Derived(
        **{**of, "source": str(results.study.folder / "histories.csv")},
        title=f"{name} at the epochs whose weights were kept", unit="", parts=parts,
        how=f"A row is a run: the epoch whose weights were kept, the first of the highest {' or '.join(WATCHED)}, and "
        f"{name} there.",
        results=[Computed("mean", "mean over runs", found.value)] if found else [],
    )  # fmt: skip


def history_columns(results: Results, model: str) -> list[str]:
    """Columns of the model's training histories that an epoch was kept in."""
    names = dict.fromkeys(str(name) for table in results.histories.values() for name in table)
    return [name for name in names if name != "run" and kept_epoch(results.histories, model, name)]


def _regions(results: Results, model: str, column: Mapping[str, Any]) -> list[str]:
    """Regions of a model's scores that a column's number is over."""
    wanted = column.get("regions")
    return [name for name in results.regions(model) if not isinstance(wanted, list) or name in wanted]


def _by_patient(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.rename_axis("patient").reset_index().to_dict("records")


def two_splits(results: Results, model: str, against: str, region: str | None, metric: str) -> Derived:
    """Follow the numbers of one model under two splits, pooled and as means, to its patients."""
    pair, study = _pair(results, model, against), results.study
    rows = results.every[results.every["model"].isin(pair.models)]
    regions = list(dict.fromkeys(map(str, rows["region"])))
    names = ["accuracy"] if region == SLICE else [name for name in study.compare["metrics"] if name in POOLED]
    if region not in regions or metric not in names:
        raise InputError(
            f"Study {study.name} sets {pair.honest} and {pair.other} side by side: expected --region one of "
            f"{', '.join(regions)} and --metric one of {', '.join(names)}, found {region or 'none'} and {metric}."
        )
    # As the report takes their difference, A less B.
    sides = {"A": pair.other, "B": pair.honest}
    parts = _parts(rows[rows["region"] == region], sides, str(region), metric)
    kept = parts[parts["left out"] == ""]
    means = [
        Computed(f"mean, {name}", f"mean over {len(kept)} patients", float(kept[column].mean()))
        for column, name in {**sides, "A - B": "A - B"}.items() if len(kept)
    ]  # fmt: skip
    # By slice, what is not tested of a volume counts as right: the report sets no such numbers side by side.
    apart = pair.split == SLICE and region != SLICE and metric in OF_NEGATIVES
    shown = kept.set_index("patient")[list(sides)].rename(columns=sides)
    return Derived(
        **{**about(results, model, metric, region, rows),
           "printed": printed_beside(results, *pair.models, metric, region),
           "runs": [run for name in pair.models for run in runs_used(results, name, rows[rows["model"] == name])]},
        title=f"{results.metrics[metric].title} of {region} under two splits", unit="",
        parts=parts.to_dict("records"),
        how=f"A row is a patient tested under both splits: A is {pair.other} (by {pair.split}), B is {pair.honest}. "
        "Counts are summed over cases and seeds averaged; values are means over cases. Pooled: of the sums over all "
        "these patients. Mean: over those that are not left out, for want of tumour in what was "
        "tested under either split, where a rule decides the score.",
        results=[] if apart else _pooled(parts, sides, metric) + means,
        paired=paired(shown) if len(kept) else None,
    )  # fmt: skip


def _pair(results: Results, model: str, against: str) -> SplitPair:
    pairs = split_pairs(results.study)
    if found := next((pair for pair in pairs if {model, against} == set(pair.models)), None):
        return found
    beside = [name for pair in pairs if model in pair.models for name in pair.models if name != model]
    apart = " and ".join(name for name in (model, against) if name in set(results.apart["model"]))
    raise InputError(
        f"Study {results.study.name} sets {model} and {against} beside each other nowhere, as scores of {apart} stand "
        f"apart: expected --against {' or '.join(beside) or 'left out'}."
    )


def _parts(rows: pd.DataFrame, sides: Mapping[str, str], region: str, metric: str) -> pd.DataFrame:
    """One row per patient of both splits: counts and value under each, and why it is not in the mean."""
    found = {side: patient_scores(rows, model, metric, [region]) for side, model in sides.items()}
    values = pd.DataFrame(found).dropna()
    table = pd.DataFrame(index=values.index)
    for side, model in sides.items():
        counts = case_counts(rows[rows["model"] == model])
        if len(counts):
            counts = counts.groupby(level="patient_id").sum().reindex(values.index).map(plain).astype(object)
            table = table.join(counts.add_suffix(f" {side}"))
    table = table.join(values)
    table["A - B"], table["left out"] = values["A"] - values["B"], ""
    own = rows[rows["metric"] == metric]
    ruled = set(own.loc[own["note"].isin(NO_TUMOUR), "patient_id"]) if metric not in OF_NEGATIVES else set()
    table.loc[table.index.isin(list(ruled)), "left out"] = "no tumour"
    return table.rename_axis("patient").reset_index()


def _pooled(parts: pd.DataFrame, sides: Mapping[str, str], metric: str) -> list[Computed]:
    found = []
    for side, model in sides.items():
        sums = parts.filter([f"{name} {side}" for name in COUNTS]).astype(float).sum()
        if len(parts) and len(sums):
            value = float(np.squeeze(POOLED[metric](sums.to_numpy()[None])))
            numbers = dict(zip(COUNTS, sums, strict=True))
            found.append(Computed(f"pooled, {model}", filled(MEASURES[metric], numbers), value))
    if len(found) == 2:
        found.append(Computed("pooled, A - B", "their difference", found[0].value - found[1].value))
    return found


def report_formula(row: str, measure: str) -> str:
    """Formula of a cell of a binary classification report, by its row and measure."""
    if row in OF_CLASS:
        return OF_CLASS[row][measure]
    if measure == "support":
        return ALL
    if row in ("accuracy", "micro"):
        return RIGHT
    zero, one = OF_CLASS["0"][measure], OF_CLASS["1"][measure]
    return f"({zero} + {one}) / 2" if row == "macro" else f"({zero} * (tn + fp) + {one} * (tp + fn)) / {ALL}"


def filled(formula: str, numbers: Mapping[str, Any]) -> str:
    """Write a formula followed by itself with numbers for the names."""
    names = "|".join(numbers)
    shown = re.sub(rf"\b({names})\b", lambda found: f"{plain(numbers[found[1]]):.12g}", formula)
    return f"{formula} = {shown}"


def plain(count: Any) -> Any:
    """Return a count without a fraction as a whole number; averaged seeds may leave a fraction."""
    return int(count) if float(count).is_integer() else float(count)


def case_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts of each case by patient, case and region (index), seeds averaged, from tidy rows of one model."""
    keys = ["patient_id", "case_id", "region", "metric"]
    means = rows[rows["metric"].isin(COUNTS)].groupby(keys, sort=False)["value"].mean()
    return means.unstack("metric").reindex(columns=list(COUNTS))
