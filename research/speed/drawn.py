"""Draw the scores of runs that nobody did, and what a report asks of such runs beside them."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.scoring import score_table
from benchmark.scoring.metrics import COUNTS, METRICS


def scores(
    random: np.random.Generator,
    run: dict[str, Any],
    patients: np.ndarray,
    regions: Sequence[str],
    dice: np.ndarray,
    metrics: Collection[str] = METRICS,
) -> pd.DataFrame:
    """Return the table of scores of a run, a row for each patient and region: ``dice``, and other metrics after it.

    ``run`` has its bundle, variant, fold and seed. Counts are random, but for the size of a region of a patient, which
    is one and the same in every run.
    """
    table = pd.DataFrame({**run, "patient_id": patients, "case_id": patients, "region": regions, "note": ""})
    for name in COUNTS:
        table[name] = random.integers(1, 100_000, len(table))
    size = pd.util.hash_pandas_object(table["case_id"] + table["region"], index=False).to_numpy() % 100_000 + 1000
    table["tp"] = random.integers(1, size.astype(np.int64))
    table["fn"] = size.astype(np.int64) - table["tp"]
    for name in metrics:
        table[score_table.column(name, METRICS[name].version)] = 50 * (1 - dice) if METRICS[name].unit else dice
    return table


def run_ids(everything: pd.DataFrame) -> list[str]:
    """Return the ids of all runs in a table of scores."""
    runs = everything[["bundle", "variant", "fold", "seed"]].drop_duplicates().itertuples(index=False)
    return [f"{bundle}/{variant}/fold{fold}-seed{seed}" for bundle, variant, fold, seed in runs]


def provenance(runs: Sequence[str]) -> dict[str, Any]:
    """Return what ``provenance.json`` says of runs of which nothing is known."""
    record = {"fingerprint": "0", "commit": "0", "platform": "", "overrides": {}, "started": "", "stages": {}}
    known = {"gathered": "", "cases_sha256": "", "folds_sha256": {}, "versions": [], "code": []}
    return {**known, "runs": dict.fromkeys(runs, record)}
