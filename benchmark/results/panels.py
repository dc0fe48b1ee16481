"""Choose the cases whose pictures a report shows: the best, median and worst of every model, and of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.base.records import Run
from benchmark.data.manifest import CaseList
from benchmark.data.prepare import PreparedCase, stored_case
from benchmark.data.volumes import read_volume
from benchmark.report.figures import Panel, View
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
            if prepared.folder.is_dir() and (path := _prediction(runs, case_id)):
                shown_cases.append(_panel(prepared, path, rank, float(dice.iloc[position]), name, cases))
    return shown_cases


def _panel(case: PreparedCase, path: Path, rank: str, dice: float, model: str, cases: CaseList) -> Panel:
    truth, prediction = np.asarray(case.label), case.crop(read_volume(path)[0])
    z, modalities = _largest(truth, prediction), cases.manifest.modalities
    sequences = {name: _upright(case.image[z, index]).astype(np.float32) for index, name in enumerate(modalities)}
    image = sequences[modalities[_shown_modality(modalities)]]
    shown, predicted = _upright(truth[z]), _upright(prediction[z])
    return Panel(case.case.case_id, rank, dice, image, shown, predicted, model, sequences=sequences)


def views(done: Sequence[Run], cases: CaseList, scores: pd.DataFrame) -> list[View]:
    """Cases from best to worst by Dice, mean over models, regions and seeds, each beside all models that are here.

    Of the runs of a model that tested a case the first is shown. ``scores`` are as for ``panels``.
    """
    models = list(dict.fromkeys(run.model for run in done))
    own = scores[scores["model"].isin(models) & (scores["metric"] == "dice")]
    dice = own.groupby(["case_id", "model"])["value"].mean().unstack("model")
    order = dice.mean(axis="columns").sort_values(ascending=False, kind="stable").index
    places = dict.fromkeys(round(share * (len(order) - 1)) for share in (0, 0.25, 0.5, 0.75, 1) if len(order))
    known, found = {case.case_id: case for case in cases.cases}, []
    for place in places:
        name = order[place]
        prepared = stored_case(known[name], cases)
        paths = {model: path for model in models if (path := _prediction([r for r in done if r.model == model], name))}
        if prepared.folder.is_dir() and paths:
            rank = {0: "Best", len(order) - 1: "Worst"}.get(place, f"Place {place + 1}")
            found.append(_view(prepared, paths, f"{rank} of {len(order)} cases", dice.loc[name], cases))
    return found


def _prediction(runs: Sequence[Run], case_id: str) -> Path | None:
    """The first run's prediction of a case that is on this machine."""
    paths = (store.folder(run) / "predictions" / f"{case_id}.nii.gz" for run in runs)
    path = next((path for path in paths if path.exists()), None)
    if path:
        store.check_predictions(path.parents[1])
    return path


def _view(case: PreparedCase, paths: Mapping[str, Path], rank: str, dice: pd.Series, cases: CaseList) -> View:
    truth = np.asarray(case.label)
    predictions = {model: case.crop(read_volume(path)[0]) for model, path in paths.items()}
    z, modalities = _largest(truth, *predictions.values()), cases.manifest.modalities
    channel, slices = _shown_modality(modalities), case.case.shape[2]
    shown = f", axial slice {case.z[z] + 1} of {slices} from below" if slices > 1 else ""
    return View(
        case.case.case_id, rank, f"{modalities[channel]}{shown}", cases.manifest.unit == "mm",
        _upright(case.image[z, channel]).astype(np.float32), _upright(truth[z]),
        {model: _upright(array[z]) for model, array in predictions.items()},
        {model: float(dice[model]) for model in predictions},
    )  # fmt: skip


def _largest(truth: np.ndarray, *predictions: np.ndarray) -> int:
    """The slice with most of the truth, and among slices without it with most that is predicted."""
    predicted = sum((array > 0).sum(axis=(1, 2)) for array in predictions)
    return int(np.argmax((truth > 0).sum(axis=(1, 2)) * 1000 + predicted))


def _shown_modality(modalities: Sequence[str]) -> int:
    return modalities.index("FLAIR") if "FLAIR" in modalities else len(modalities) - 1


def _upright(array: np.ndarray) -> np.ndarray:
    """Turn (x, y), x to the right of the patient, into rows from front to back, the way radiologists look at it."""
    return np.rot90(array[::-1])
