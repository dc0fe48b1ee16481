"""Find where models fail: by kind of patient, by size of lesions, and in which patients all of them do worst.

All of it follows from a score table, with its counts of voxels and lesions, and from what is known of patients. None of
it was declared, and many groups are looked at: what stands out is a question for other patients, not a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from benchmark.scoring.metrics import COUNTS, LESION_COUNTS
from benchmark.stats.intervals import CONFIDENCE
from benchmark.stats.patients import patient_table

SUBGROUP_COLUMNS = (
    *("characteristic", "group", "metric", "region", "model_a", "model_b", "n_patients", "n_others", "mean", "low"),
    *("high", "to_others", "to_others_low", "to_others_high"),
)
"""Columns of every ``subgroups.csv``: of a model's score, or of model a minus model b where there is a b."""
COUNTED = ("model", "patient_id", "case_id", "region", "note", *COUNTS, *LESION_COUNTS, "volume_error")
"""Columns of a score file that this module reads, with the model's name."""
ALL = "all models"
FEWEST = 3
"""Patients from which on a group is shown by itself."""
OTHERS, UNKNOWN, NOTHING = "others", "not known", "none"
VOLUME, LESIONS = "volume", "lesions"
"""Characteristics of a patient in a region: the reference's size, and its number of lesions by BraTS 2023's rule."""
SIZES = {0: [], 1: ["smaller half", "larger half"], 2: ["smallest third", "middle third", "largest third"]}
"""Names of the parts of ``split`` by the number of bounds."""
THIRDS = 30
"""Patients from which on sizes are split in thirds instead of halves."""
WORST = 5
_TAIL = (1 - CONFIDENCE) / 2


def case_facts(counted: pd.DataFrame) -> pd.DataFrame:
    """Return what the counts say of the reference of each case and region: volume, lesions, and a lesion's volume.

    ``counted`` has the columns of COUNTED, one row per run, NaN where a score file lacks one. ``volume`` has the unit
    of ``volume_error``, by which the volume of a voxel is known; it is in voxels, as ``attrs["in_voxels"]`` says, where
    that metric is absent or was zero in each run of a case. ``lesions`` are those that BraTS 2023's rule counts.
    """
    apart = (counted["fp"] - counted["fn"]).abs()
    predicted = (counted["note"] != "missing prediction") & (apart > 0)
    rows = counted.assign(
        voxels=counted["tp"] + counted["fn"], lesions=counted["lesion_tp"] + counted["lesion_fn"],
        voxel=(counted["volume_error"] / apart).where(predicted),
    )  # fmt: skip
    size = rows.groupby("case_id")["voxel"].median()
    facts = rows.groupby(["region", "patient_id", "case_id"], sort=False)[["voxels", "lesions"]].max().reset_index()
    in_unit = bool(size.notna().all())
    facts["volume"] = facts["voxels"] * (facts["case_id"].map(size) if in_unit else 1.0)
    facts["lesion_volume"] = (facts["volume"] / facts["lesions"]).where(facts["lesions"] > 0)
    facts.attrs["in_voxels"] = not in_unit
    return facts


def split(values: pd.Series) -> tuple[pd.Series, list[float]]:
    """Split values in halves, or in thirds from THIRDS values on; return the part of each, and the bounds.

    Parts are numbered from 0, the smallest; nothing is split where fewer values differ than there are parts.
    """
    values = values.dropna()
    parts = 3 if len(values) >= THIRDS else 2
    if values.nunique() < parts:
        return pd.Series(dtype=int), []
    bounds = np.quantile(values, np.arange(1, parts) / parts)
    return pd.Series(np.searchsorted(bounds, values), index=values.index), [float(bound) for bound in bounds]


def above_zero(volumes: pd.Series) -> pd.Series:
    """Return the volumes of regions that are there; ``split`` is then of these alone."""
    return volumes[volumes > 0]


def ranges(bounds: Sequence[float]) -> list[str]:
    """Name the parts of ``split`` by their bounds: "up to 3", "3 to 8", "above 8"; none without bounds."""
    texts = [f"{bound:.3g}" for bound in bounds]
    middle = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"up to {texts[0]}", *middle, f"above {texts[-1]}"] if texts else []


def patient_groups(facts: pd.DataFrame, known: pd.DataFrame, region: str) -> pd.DataFrame:
    """Return the group of each patient (rows) by each characteristic (columns): of ``known``, and of a region's counts.

    ``known`` has a row per patient and texts or numbers; a number of more than six values is split by its size. Of the
    counts come VOLUME and LESIONS of the region, means over a patient's cases. Groups of fewer than FEWEST patients are
    joined as "others"; a characteristic that then has one group is left out.
    """
    own = facts[facts["region"] == region].groupby("patient_id")[["volume", "lesions"]].mean()
    groups = {}
    for name in known:
        column = known[name].reindex(own.index)
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > 6:
            parts, bounds = split(column)
            column = parts.map(dict(enumerate(ranges(bounds))))
        groups[str(name)] = column.dropna().astype(str).reindex(own.index).fillna(UNKNOWN)
    sizes, bounds = split(above_zero(own["volume"]))
    named = sizes.map(dict(enumerate(SIZES[len(bounds)]))).reindex(own.index).fillna(UNKNOWN)
    groups[VOLUME] = named.where(own["volume"] != 0, NOTHING)
    count = pd.cut(own["lesions"], [-1, 0, 1, np.inf], labels=[NOTHING, "one", "several"])
    groups[LESIONS] = count.astype(object).fillna(UNKNOWN)
    table = pd.DataFrame(groups, index=own.index).apply(_join_small)
    return table.loc[:, table.nunique() > 1]


def _join_small(groups: pd.Series) -> pd.Series:
    sizes = groups.map(groups.value_counts())
    return groups.where(sizes >= FEWEST, OTHERS)


def subgroups(
    scores: pd.DataFrame, groups: Mapping[str, pd.DataFrame], metric: str, pairs: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Compare each group of patients with all others, for every model, their mean and every pair, as SUBGROUP_COLUMNS.

    ``groups`` has a table of ``patient_groups`` per region. ``mean`` is over the group's patients with Student's 95%
    interval; ``to_others`` is that mean less the others', with Welch's. They are of these networks, and not corrected
    for their number. Groups of fewer than FEWEST patients, as "others" can be, are left out, and of two groups the
    second.
    """
    found = []
    for region, table in groups.items():
        values = patient_table(scores, metric, region).reindex(table.index)
        columns = {(ALL, ""): values.mean(axis=1)} | {(model, ""): values[model] for model in values}
        columns |= {(a, b): values[a] - values[b] for a, b in pairs if {a, b} <= set(values)}
        for characteristic in table:
            ordered = sorted(table[characteristic].unique(), key=_order)
            # Of two groups each is the other's others.
            for group in ordered if len(ordered) > 2 else ordered[:1]:
                inside = (table[characteristic] == group).to_numpy()
                if inside.sum() < FEWEST or (~inside).sum() < FEWEST:
                    continue
                base = {"characteristic": characteristic, "group": group, "metric": metric, "region": region}
                for (a, b), column in columns.items():
                    row = _against_others(column.to_numpy()[inside], column.to_numpy()[~inside])
                    found.append(base | {"model_a": a, "model_b": b} | row)
    return pd.DataFrame(found, columns=[*SUBGROUP_COLUMNS])


def _order(group: str) -> tuple[int, str]:
    """Sort names: sizes and counts from small to large, others by name, what is joined or not known last."""
    small = [NOTHING, "one", "several", *SIZES[1], *SIZES[2]]
    return (small.index(group) if group in small else len(small) + (group in (OTHERS, UNKNOWN))), group


def _against_others(inside: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Mean of a group and its difference from that of others, with Student's and Welch's intervals."""
    errors = [own.var(ddof=1) / len(own) for own in (inside, others)]
    # Welch and Satterthwaite's degrees of freedom; without any variance they do not matter.
    squares = sum(error**2 / (len(own) - 1) for error, own in zip(errors, (inside, others), strict=True))
    df = sum(errors) ** 2 / squares if squares > 0 else 1.0
    half = special.stdtrit(len(inside) - 1, 1 - _TAIL) * np.sqrt(errors[0])
    reach = special.stdtrit(df, 1 - _TAIL) * np.sqrt(sum(errors))
    mean, gap = inside.mean(), inside.mean() - others.mean()
    return {
        "n_patients": len(inside), "n_others": len(others), "mean": mean, "low": mean - half, "high": mean + half,
        "to_others": gap, "to_others_low": gap - reach, "to_others_high": gap + reach,
    }  # fmt: skip


def stands_out(rows: pd.DataFrame) -> pd.Series:
    """Say of each row of ``subgroups`` whether its interval of the difference to others leaves out zero."""
    return (rows["to_others_low"] > 1e-12) | (rows["to_others_high"] < -1e-12)


def recall_by_size(counted: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Return the share of reference lesions that each model found, by region and mean volume of a case's lesions.

    By BraTS 2023's rule, lesions of all cases together and runs averaged. The table has no volume of single lesions:
    ``single`` counts the cases with one lesion, whose volume is known.
    """
    found = []
    for region, own in facts.set_index("case_id").groupby("region", sort=False):
        parts, bounds = split(own["lesion_volume"])
        for part, name in enumerate(ranges(bounds)):
            cases = own.loc[parts.index[parts == part], "lesions"]
            there = counted[(counted["region"] == region) & counted["case_id"].isin(cases.index)]
            means = there.groupby(["model", "case_id"], sort=False)[["lesion_tp", "lesion_fn"]].mean()
            sums = means.groupby(level="model", sort=False).sum()
            base = {"region": region, "lesion_volume": name, "n_cases": len(cases), "single": int((cases == 1).sum())}
            base["n_lesions"] = int(cases.sum())
            recall = sums["lesion_tp"] / sums.sum(axis=1)
            found += [base | {"model": model, "recall": value} for model, value in recall.items()]
    return pd.DataFrame(found)


def worst_patients(scores: pd.DataFrame, metric: str, higher: bool) -> pd.Series:
    """Return the mean over models and regions of the worst patients, the worst first: WORST, or a third if fewer."""
    tables = [patient_table(scores, metric, str(region)) for region in pd.unique(scores["region"])]
    means = pd.concat([table.mean(axis=1) for table in tables], axis=1).mean(axis=1)
    return means.sort_values(ascending=higher, kind="stable").iloc[: min(WORST, len(means) // 3)]


def in_common(worst: Sequence[str], groups: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return how many of the ``worst`` patients, and of all, are in each group, what is rarest by chance first.

    ``p`` is the chance that as many of as many patients drawn at random are in the group (hypergeometric).
    """
    found = []
    columns = {str(name): table[name] for table in groups.values() for name in table}
    for characteristic, column in columns.items():
        own = column.reindex(list(worst)).dropna()
        for group, count in own.value_counts().items():
            every = int((column == group).sum())
            p = stats.hypergeom.sf(count - 1, len(column), every, len(own))
            found.append((characteristic, str(group), int(count), len(own), every, len(column), float(p)))
    names = ["characteristic", "group", "n_worst", "of_worst", "n_all", "of_all", "p"]
    return pd.DataFrame(found, columns=names).sort_values("p", kind="stable", ignore_index=True)
