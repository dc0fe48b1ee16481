"""Read and write tables of single lesions: files of a run have one row per lesion of the reference, by region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base.files import read_table
from benchmark.base.records import InputError
from benchmark.scoring.masks import MaskPair
from benchmark.scoring.score_table import KEYS, TYPES

NAME = "lesions.csv"
"""Name of the file, in a run's folder and in a study's."""

COLUMNS = (*KEYS, "lesion", "volume", "found", "dice")
"""Columns of a run's file. Lesions are those that BraTS 2023's rule counts, numbered from 1, the largest of a case and
region; ``volume`` is in the unit of ``volume_error``, ``found`` 0 or 1, and ``dice`` that of ``lesions.Lesion``."""

LESION = ("bundle", "variant", "patient_id", "case_id", "region", "lesion")
MEANS = (*LESION, "volume", "runs", "found", "dice")
"""Columns of a study's file: means over the ``runs`` of a model that tested the lesion, so that it stays small."""


def rows(region: str, pair: MaskPair) -> Iterator[dict[str, Any]]:
    """Yield a row of COLUMNS, without what says whose it is, for each lesion of a region's masks."""
    for place, lesion in enumerate(pair.lesions.reference, start=1):
        yield {"region": region, "lesion": place, **lesion._asdict(), "found": int(lesion.found)}


def as_text(table: Sequence[dict[str, Any]] | pd.DataFrame, columns: Sequence[str] = COLUMNS) -> str:
    """Write rows to CSV; numbers have six digits."""
    return pd.DataFrame(table, columns=[*columns]).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def read(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Read a run's file, or with MEANS a study's.

    Raises:
        InputError: if it is missing or no such table, has a lesion twice, or a volume, share or Dice that cannot be.
    """
    numbers = [name for name in columns if name not in TYPES]
    table = read_table(path, "a table of lesions", columns, numbers, dtype=TYPES, keep_default_na=False)
    one = [name for name in columns if name in KEYS or name == "lesion"]
    shares = table[["found", "dice"]]
    if (
        table.duplicated(one).any()
        or not ((shares >= 0) & (shares <= 1)).all(axis=None)
        or (table["volume"] <= 0).any()
    ):
        raise InputError(
            f"{path}: expected each lesion once, with a volume above 0, and found and dice from 0 to 1, found others."
        )
    return table


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Average rows of COLUMNS over the runs of each model, to MEANS."""
    groups = table.groupby([*LESION], sort=False)
    found = groups[["volume", "found", "dice"]].mean().assign(runs=groups.size())
    return found.reset_index()[[*MEANS]]


def contradicted(table: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Return the first case and region of a run whose lesions are not those that its scores count; "" for none."""
    keys, names = ["case_id", "region"], ["lesion_tp", "lesion_fn"]
    counted = scores.set_index(keys)[names].fillna(0)
    there = table.assign(lesion_tp=table["found"], lesion_fn=1 - table["found"]).groupby(keys)[names].sum()
    wrong = counted.sub(there, fill_value=0).abs().sum(axis=1) > 0
    # Of a case that the scores lack, the lesions are too many.
    return " of ".join(reversed(wrong.index[wrong][0])) if wrong.any() else ""
