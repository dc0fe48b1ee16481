"""Find where a study's models fail, from its scores, their counts and what is known of its patients."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.report.failures import Failures
from benchmark.scoring.metrics import Metric
from benchmark.stats.recall import RECALL_COLUMNS, recall_by_volume
from benchmark.stats.subgroups import (
    LESIONS,
    VOLUME,
    above_zero,
    case_facts,
    in_common,
    patient_groups,
    recall_by_size,
    split,
    subgroups,
    worst_patients,
)
from benchmark.stats.variance import variance_shares


def find_failures(
    scores: pd.DataFrame,
    counted: pd.DataFrame,
    known: pd.DataFrame,
    metric: Metric,
    pairs: Sequence[tuple[str, str]],
    unit: str,
    lesions: pd.DataFrame | None = None,
) -> Failures:
    """Look for groups of patients, sizes of lesions and patients on which models are worse by ``metric``.

    ``counted`` has the columns of ``subgroups.COUNTED``; ``known`` is what ``data.characteristics`` gives; ``unit`` is
    that of volumes; ``lesions`` has single lesions as ``stats.recall`` reads them.
    """
    own, facts = scores[scores["metric"] == metric.name], case_facts(counted)
    groups = {str(region): patient_groups(facts, known, str(region)) for region in pd.unique(own["region"])}
    volumes = facts.groupby(["patient_id", "region"])["volume"].mean().unstack("region").reindex(columns=[*groups])
    worst = worst_patients(own, metric.name, metric.better == "higher")
    by_region = {
        region: table.rename(columns={name: f"{name} of {region}" for name in (VOLUME, LESIONS)})
        for region, table in groups.items()
    }
    by_lesion, lacking = _recall(counted, lesions)
    recall = recall_by_size(counted, facts) if by_lesion.empty else pd.DataFrame()
    return Failures(
        subgroups(own, groups, metric.name, pairs), recall,
        _worst(own, worst, volumes, known), _told(in_common(list(worst.index), by_region), known),
        variance_shares(own, metric.name), {region: split(above_zero(volumes[region]))[1] for region in groups},
        "voxels" if facts.attrs["in_voxels"] else unit, by_lesion, lacking, unit,
    )  # fmt: skip


def _recall(counted: pd.DataFrame, lesions: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Recall by volume of the models whose every lesion is in ``lesions``, and the names of the others."""
    expected = counted[["lesion_tp", "lesion_fn"]].sum(axis=1).groupby(counted["model"], sort=False).sum()
    if lesions is None or lesions.empty:
        return pd.DataFrame(columns=[*RECALL_COLUMNS]), []
    there = lesions.groupby("model")["runs"].sum().reindex(expected.index).fillna(0)
    whole = expected.index[(there == expected) & (expected > 0)]
    return recall_by_volume(lesions[lesions["model"].isin(whole)]), [*expected.index[there != expected]]


def _told(common: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Leave out what a table of patients says of all the worst: their ids are printed, and it would be said of each."""
    private = common["characteristic"].isin(known.attrs.get("columns", []))
    return common[~(private & (common["n_worst"] == common["of_worst"]))]


def _worst(scores: pd.DataFrame, worst: pd.Series, volumes: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Describe the worst patients, as ``Failures.worst``."""
    rows = scores[scores["patient_id"].isin(worst.index)]
    means = (
        rows.groupby(["patient_id", "model", "region"])["value"].mean().groupby(level=["patient_id", "model"]).mean()
    )
    by_patient = means.groupby(level="patient_id").agg(lowest="min", highest="max")
    # A table of patients may hold what nobody may print beside an id; groups of patients are another thing.
    known = known.drop(columns=known.attrs.get("columns", []))
    table: pd.DataFrame = by_patient.loc[worst.index].assign(mean=worst).rename_axis("patient_id").reset_index()
    texts = [_listed(volumes.loc[patient].dropna().map("{:.3g}".format)) for patient in worst.index]
    said = [_listed(known.loc[patient].dropna()) if patient in known.index else "-" for patient in worst.index]
    return table.assign(volumes=texts, known=said)


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "-"
