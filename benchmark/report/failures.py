"""Show where models fail: a section of a report that was not declared and claims nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from benchmark.report.document import Block, Bullets, Cell, Heading, Table
from benchmark.report.tables import interval, number
from benchmark.scoring.lesions import DILATIONS, SMALLEST_LESION
from benchmark.scoring.metrics import Metric
from benchmark.stats.subgroups import ALL, FEWEST, VOLUME, stands_out

COLUMNS = 5
"""Models up to which each has a column of its own in the table of lesions."""
RARE = 0.05
"""Chance below which what the worst patients have in common is named."""
PARTS = {
    "patient": "patient", "model": "model", "patient_model": "patient x model", "seed": "seed", "fold": "fold",
    "training": "training", "patient_training": "patient x training",
}  # fmt: skip


class Failures(NamedTuple):
    """What ``stats.subgroups`` and ``stats.variance`` find by the primary metric.

    ``worst`` has a row per patient, the worst first: id, mean over models and regions, lowest and highest mean of a
    model, and the volumes of its regions as text. ``bounds`` are those of volumes by region, ``unit`` is theirs.
    ``by_lesion`` is what ``stats.recall`` finds of single lesions, volumes in ``lesion_unit``; of ``lacking`` models
    their table has fewer or more than the scores count. Where no model has one, ``recall`` goes by lesions' mean volume
    in a case.
    """

    subgroups: pd.DataFrame
    recall: pd.DataFrame
    worst: pd.DataFrame
    common: pd.DataFrame
    shares: pd.DataFrame
    bounds: Mapping[str, list[float]]
    unit: str
    by_lesion: pd.DataFrame
    lacking: Sequence[str]
    lesion_unit: str


def failure_blocks(found: Failures | None, metric: Metric) -> list[Block]:
    """The section "Where models fail": shares of variance, groups of patients, lesions by volume, worst patients."""
    if found is None:
        return []
    said = ["Not declared, and not corrected for the number of groups: questions for other patients, not findings."]
    said += [_shares(row, metric) for row in found.shares.to_dict("records")]
    if found.shares["training"].notna().any():
        said.append(
            "Training is seed and fold as one share: each seed has folds of its own, so that they are not told apart."
        )
    recall = _recall_table(found) if found.by_lesion.empty else _lesion_table(found)
    tables = [_subgroup_table(found, metric), recall, _worst_table(found, metric)]
    return [Heading("Where models fail"), Bullets(said), *(table for table in tables if table)]


def _shares(row: Mapping[Any, Any], metric: Metric) -> str:
    known = {text: row[name] for name, text in PARTS.items() if pd.notna(row[name])}
    listed = ", ".join(f"{text} {100 * share:.0f} %" for text, share in known.items())
    said = f"{row['region']}: {metric.title} of one run on one patient varies by {listed}."
    if pd.isna(row["patient_training"]):
        said += " Without a second seed, what trainings do is in these parts."
    trained = sum(row[name] for name in ("seed", "fold", "training") if pd.notna(row[name]))
    name = "training" if pd.notna(row["training"]) else "seed and fold together"
    most = trained > max(row["patient"], row["model"])
    if row["patient"] > row["model"]:
        return said + f" The patient explains more than the model{f', {name} more than either' if most else ''}."
    return said + (f" Most is explained by {name}." if most and trained > row["patient_model"] else "")


def _subgroup_table(found: Failures, metric: Metric) -> Table | None:
    rows = found.subgroups
    if rows.empty:
        return None
    regions, own, pairs = list(pd.unique(rows["region"])), rows[rows["model_a"] == ALL], rows[rows["model_b"] != ""]
    lines: list[list[str | Cell]] = []
    for (characteristic, group), cells in own.groupby(["characteristic", "group"], sort=False):
        first = not any(line[0] == characteristic for line in lines)
        by_region = {row["region"]: row for row in cells.to_dict("records")}
        of_pairs = pairs[(pairs["characteristic"] == characteristic) & (pairs["group"] == group)]
        counted = f"{stands_out(of_pairs).sum()} of {len(of_pairs)}" if len(of_pairs) else "-"
        name = str(characteristic) if first else ""
        lines.append([name, str(group), *(_gap(by_region.get(region), metric) for region in regions), counted])
    hits = [int(stands_out(part).sum()) for part in (own, pairs)]
    note = (
        f"Mean {metric.title} of all models, of a group less that of all other patients, with Welch's 95% interval and "
        f"the group's patients; bold: it leaves out zero. Pairs: how many declared differences of models are other in "
        f"the group than in the other patients. {hits[0]} of {len(own)} intervals of groups and {hits[1]} of "
        f"{len(pairs)} of pairs leave out zero; where no group differs, about one in twenty does, often several "
        f"together. Groups of fewer than {FEWEST} patients are joined. Volumes and lesions are of the column's region, "
        f"lesions by BraTS 2023's rule. {_bounds(found)}All rows, by model and pair too, are in subgroups.csv."
    )
    caption = f"{metric.title} by group of patients, less that of all other patients."
    return Table(caption, ["Characteristic", "Group", *regions, "Pairs"], lines, notes=[note])


def _gap(row: Mapping[Any, Any] | None, metric: Metric) -> Cell:
    if row is None:
        return Cell("-")
    bounds = interval(row["to_others_low"], row["to_others_high"], metric)
    text = f"{number(row['to_others'], metric, True)} ({bounds}), n = {row['n_patients']}"
    return Cell(text, bold=bool(stands_out(pd.DataFrame([row])).iloc[0]))


def _bounds(found: Failures) -> str:
    if VOLUME not in set(found.subgroups["characteristic"]):
        return ""
    parts = [f"{region} {' and '.join(f'{bound:.3g}' for bound in own)}" for region, own in found.bounds.items() if own]
    return f"Volumes are split at ({found.unit}): {', '.join(parts)}. "


def _recall_table(found: Failures) -> Table | None:
    recall = found.recall
    if recall.empty:
        return None
    whole = recall.groupby("region", sort=False)["recall"].min() == 1
    lines: list[list[str | Cell]] = []
    for (region, volume), own in recall[~recall["region"].map(whole)].groupby(["region", "lesion_volume"], sort=False):
        first = not any(line[0] == region for line in lines)
        counts = [str(own[name].iloc[0]) for name in ("n_cases", "single", "n_lesions")]
        lowest, highest = (own.iloc[int(place)] for place in (own["recall"].argmin(), own["recall"].argmax()))
        ends = [f"{100 * one['recall']:.0f} % ({one['model']})" for one in (lowest, highest)]
        if lowest["recall"] == highest["recall"]:
            ends = ["all alike", "all alike"]
        lines.append([str(region) if first else "", str(volume), *counts, f"{100 * own['recall'].mean():.0f} %", *ends])
    if not lines:
        return None
    lacking = "no table of single lesions (lesions.csv)"
    if found.lacking:
        lacking = "not as many lesions in lesions.csv as their scores count"
    note = (
        "Share of the reference's lesions that were found, by BraTS 2023's rule: all cases together, runs averaged. "
        f"These runs have {lacking}, so that cases go by their region's volume per lesion; it is that of the lesion "
        "only in cases with one."
    )
    if whole.any():
        note += f" Left out: {' and '.join(map(str, whole.index[whole]))}, where every model found every lesion."
    header = [
        "Region",
        f"Mean lesion ({found.unit})",
        "Cases",
        "With one lesion",
        "Lesions",
        "Recall",
        "Lowest",
        "Highest",
    ]
    return Table("Lesions found, by their mean volume in a case.", header, lines, notes=[note])


def _lesion_table(found: Failures) -> Table:
    rows, models = found.by_lesion, list(pd.unique(found.by_lesion["model"]))
    lines: list[list[str | Cell]] = []
    for (region, volume), own in rows.groupby(["region", "volume"], sort=False):
        first = not any(line[0] == region for line in lines)
        shown = {str(row["model"]): row for row in own.to_dict("records")}
        if len(models) > COLUMNS:
            ordered = sorted(shown, key=lambda model: float(shown[model]["recall"]))
            cells = [f"{_share(shown[model])}, {model}" for model in (ordered[0], ordered[-1])]
        else:
            cells = [_share(shown[model]) if model in shown else "-" for model in models]
        counts = [str(own[name].max()) for name in ("n_lesions", "n_patients")]
        lines.append([str(region) if first else "", str(volume), *counts, *cells])
    note = (
        "Share of the reference's lesions that were found, runs averaged, with a 95% interval for these networks on "
        "new patients, in which a patient's lesions are not independent (Wilson's, by a cluster-robust variance). The "
        "rule is that of the lesion-wise scores: a lesion is found if a predicted component of any size touches it "
        f"once it is dilated by {DILATIONS} voxels, and one of up to {SMALLEST_LESION / 1000:g} {found.lesion_unit} "
        "does not count, unless the set's manifest has other numbers. All models and the Dice of lesions are in "
        "recall.csv."
    )
    if found.lacking:
        note += f" Left out, as lesions.csv has not as many lesions as their scores count: {', '.join(found.lacking)}."
    header = ["Region", f"Lesion ({found.lesion_unit})", "Lesions", "Patients"]
    header += ["Lowest", "Highest"] if len(models) > COLUMNS else models
    return Table("Lesions found, by their volume.", header, lines, notes=[note])


def _share(row: Mapping[Any, Any]) -> str:
    bounds = f" ({100 * row['low']:.0f} to {100 * row['high']:.0f})" if pd.notna(row["low"]) else ""
    return f"{100 * row['recall']:.0f} %{bounds}"


def _worst_table(found: Failures, metric: Metric) -> Table | None:
    if found.worst.empty:
        return None
    lines: list[list[str | Cell]] = [
        [str(row["patient_id"]), number(row["mean"], metric), f"{number(row['lowest'], metric)} to "
         f"{number(row['highest'], metric)}", str(row["volumes"]), str(row["known"])]
        for row in found.worst.to_dict("records")
    ]  # fmt: skip
    caption = f"The patients with the worst mean {metric.title} over all models and regions."
    header = ["Patient", f"Mean {metric.title}", "By model", f"Volume ({found.unit})", "Known"]
    return Table(caption, header, lines, notes=[common_to_worst(found)], wrap=True)


def common_to_worst(found: Failures) -> str:
    """Say in a sentence what the worst patients have in common beyond chance."""
    rare = found.common[found.common["p"] < RARE].to_dict("records")
    shared = [
        f"{row['characteristic']} {row['group']} ({row['n_worst']} of these {row['of_worst']}, {row['n_all']} of all "
        f"{row['of_all']} patients)"
        for row in rare
    ]  # fmt: skip
    looked = f"of the {len(found.common)} groups that any of them is in"
    return (
        f"In common, {looked}: {'; '.join(shared)}; as many by chance in fewer than one of twenty draws each."
        if shared
        else f"They have nothing in common, {looked}, that chance would not give in one of twenty draws."
    )
