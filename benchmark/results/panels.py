"""Choose the cases whose pictures a report shows: the best, median and worst of every model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.base.records import Run
from benchmark.data.manifest import CaseList
from benchmark.data.prepare import PreparedCase, stored_case
from benchmark.data.volumes import read_volume
from benchmark.report.figures import Panel
from benchmark.studies import store


def panels(done: Sequence[Run], cases: CaseList, scores: pd.DataFrame) -> list[Panel]:
    """The best, median and worst case of every model by Dice, mean over regions and seeds.

    Of the runs that tested a case the first is shown. ``scores`` are the rows of ``score_table.tidy`` of these runs,
    and perhaps of others.
    """
    shown_cases = []
    known = {case.case_id: case for case in cases.cases}
    for name in dict.fromkeys(run.model for run in done):
        runs = [run for run in done if run.model == name]
        own = scores[(scores["model"] == name) & (scores["metric"] == "dice")]
        dice = own.groupby("case_id")["value"].mean().sort_values()
        for rank, position in (("best", -1), ("median", len(dice) // 2), ("worst", 0)):
            case_id = dice.index[position]
            prepared = stored_case(known[case_id], cases)
            paths = (store.folder(run) / "predictions" / f"{case_id}.nii.gz" for run in runs)
            path = next((path for path in paths if path.exists()), None)
            if prepared.folder.is_dir() and path:
                store.check_predictions(path.parents[1])
                shown_cases.append(_panel(prepared, path, rank, float(dice.iloc[position]), name, cases))
    return shown_cases


def _panel(case: PreparedCase, path: Path, rank: str, dice: float, model: str, cases: CaseList) -> Panel:
    truth, prediction = np.asarray(case.label), case.crop(read_volume(path)[0])
    z = int(np.argmax((truth > 0).sum(axis=(1, 2)) * 1000 + (prediction > 0).sum(axis=(1, 2))))
    modalities = cases.manifest.modalities
    channel = modalities.index("FLAIR") if "FLAIR" in modalities else len(modalities) - 1
    # (x, y) with x to the right of the patient becomes rows from front to back, the way radiologists look at it.
    truth, prediction = (np.rot90(a[z][::-1]) for a in (truth, prediction))
    sequences = {name: np.rot90(case.image[z, index][::-1]).astype(np.float32) for index, name in enumerate(modalities)}
    image = sequences[modalities[channel]]
    return Panel(case.case.case_id, rank, dice, image, truth, prediction, model, sequences=sequences)
