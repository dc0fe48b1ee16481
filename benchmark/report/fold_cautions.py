"""A study's folds and scores to sentences on whether patients are on two sides, and on what was tested."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from benchmark.base.records import patient_known
from benchmark.studies.study import Study, apart


def fold_cautions(study: Study, content: Mapping[str, Any] | None, source: str, scores: pd.DataFrame) -> list[str]:
    """Say what the folds file of a study (``content``) makes of its scores; nothing where there is no such file.

    ``source`` is the reader of its data set, which with the ids in ``scores`` tells whether patients are known.
    """
    if not content:
        return []
    folds, used = content["folds"], study.folds
    if (unit := content.get("by", "patient")) != "patient":
        return [
            f"LEAK: the folds deal out {unit}s, so one patient may be on two sides; no score here is of new patients."
        ]
    shared = sum(
        len(set(fold.get(a, ())) & set(fold.get(b, ())))
        for fold in folds
        for a, b in combinations(("train", "validation", "test"), 2)
    )
    if shared:
        return [f"LEAK: {shared} patients are on two sides of a fold; no score of this report can be trusted."]
    ids = scores[["case_id", "patient_id"]].drop_duplicates()
    if all(patient_known(source, *pair) for pair in ids.itertuples(index=False, name=None)):
        found = ["No patient is on two sides of a fold (checked in the folds file)."]
    else:
        found = [
            "Whether a patient is on two sides of a fold cannot be known: nothing says whose each picture is. "
            "Each counts as a patient, so that intervals may be too narrow and p too small."
        ]
    if len(used) < len(folds):
        found.append(f"Only {len(used)} of {len(folds)} folds were run: not every patient was tested.")
    for name in apart(study):
        found.append(f"{name} follows another split, with patients on both sides: its scores stand apart.")
    return found
