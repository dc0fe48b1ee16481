"""A score table with several seeds to comparisons of methods, beside the ones of checkpoints over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from benchmark.stats.compare import compare as compare_models
from benchmark.stats.compare import declared_pairs
from benchmark.stats.patients import pivot_patients, with_models
from benchmark.stats.seeds import Block, estimate, model_blocks, patient_differences, superiority
from benchmark.stats.two_level import ONE_SEED, TWO_LEVEL
from benchmark.stats.verdicts import NOT_TESTED, winner

METHOD_COLUMNS = (
    *("metric", "region", "model_a", "model_b", "n_patients", "n_checkpoints_a", "n_checkpoints_b", "difference"),
    *("ci_low", "ci_high", "statistic", "p", "p_holm", "share_patient", "share_seed", "share_patient_seed"),
    *("share_of_error", "p_superior", "p_superior_low", "p_superior_high", "p_patients_holm", "verdict", "note"),
)


def compare_methods(
    scores: pd.DataFrame, compare: Mapping[str, Any], better: Mapping[str, str], models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Every declared pair as methods, newly trained on such data and used on new patients, as METHOD_COLUMNS.

    Arguments are those of ``compare``. ``difference`` is a minus b with its 95% interval and p over patients and
    checkpoints (``seeds.estimate``), Holm's over the whole family. ``share_patient``, ``share_seed`` and
    ``share_patient_seed`` split the variance of the difference of one run each on one patient: what patients prefer,
    the luck of training on all patients alike, and that on single patients; ``share_of_error`` is the part of the mean
    difference's own variance that more seeds would lower (more patients lower some of it too). ``p_superior`` is the
    probability that a beats b on a new patient, both newly trained. ``p_patients_holm`` is Holm's p of the declared
    test over patients alone, or of Wilcoxon's where the declared one is ``two_level``: of these checkpoints. With one
    seed all but that, the difference and the share of wins is NaN, as ``note`` says, and its p counts as 1.
    """
    alpha = float(compare.get("alpha", 0.05))
    table = with_models(scores)
    pairs = declared_pairs(list(models or pd.unique(table["model"])), compare)
    found: list[dict[str, Any]] = []
    for metric in compare["metrics"]:
        for region, rows in table[table["metric"] == metric].groupby("region", sort=False):
            patients = pivot_patients(rows, metric, str(region)).index
            own = model_blocks(rows, patients)
            for a, b in pairs:
                row = {"metric": metric, "region": region, "model_a": a, "model_b": b, "p": 1.0}
                absent = [model for model in (a, b) if model not in own]
                if absent:
                    found.append(row | {"note": f"no scores of {' and '.join(absent)}"})
                else:
                    found.append(row | _pair(own[a], own[b], better[metric] == "higher"))
    result = pd.DataFrame(found).reindex(columns=[*METHOD_COLUMNS])
    result["p_holm"] = multipletests(result["p"], alpha=alpha, method="holm")[1] if len(result) else np.nan
    test = "wilcoxon" if compare.get("test") == TWO_LEVEL else compare.get("test", "wilcoxon")
    # Both tables have a row for every declared metric, region and pair, in the declared order.
    result["p_patients_holm"] = compare_models(scores, {**compare, "test": test}, better, models)["p_holm"]
    result["verdict"] = [_verdict(row, alpha, better) for row in result.to_dict("records")]
    return result


def _pair(first: list[Block], second: list[Block], higher: bool) -> dict[str, Any]:
    differences = patient_differences(first, second)
    found, parts = estimate(first, second, differences)
    low, high = found.interval()
    share, share_low, share_high = superiority(first, second, higher)
    total, error = sum(parts), found.patients + found.seeds
    shares = [part / total if total > 0 else float("nan") for part in parts]
    return {
        "n_patients": len(differences), "n_checkpoints_a": _checkpoints(first), "n_checkpoints_b": _checkpoints(second),
        "difference": found.mean, "ci_low": low, "ci_high": high, "statistic": found.statistic, "p": found.p,
        "share_patient": shares[0], "share_seed": shares[1], "share_patient_seed": shares[2],
        "share_of_error": found.seeds / error if error > 0 else float("nan"),
        "p_superior": share, "p_superior_low": share_low, "p_superior_high": share_high,
        "note": "" if found.seeds_df else ONE_SEED,
    }  # fmt: skip


def _checkpoints(found: list[Block]) -> int:
    return sum(block.values.shape[1] for block in found)


def _verdict(row: Mapping[Any, Any], alpha: float, better: Mapping[str, str]) -> str:
    if pd.isna(row["ci_low"]):
        return NOT_TESTED
    if not row["p_holm"] < alpha:
        return "no difference shown"
    return winner(row["difference"], better[row["metric"]])
