"""Tell what each model cost: size, time and memory, as its runs recorded them, with a reason for what they did not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.base.records import model_name
from benchmark.report.document import Block, Cell, Heading, Key, Table
from benchmark.studies.provenance import Provenance, Ran
from benchmark.studies.store import Stage

COLUMNS = (
    *("model", "device", "precision", "runs", "at_once", "input", "parameters", "multiply_adds"),
    *("epochs", "epoch_seconds", "epoch_seconds_least", "epoch_seconds_most", "training_hours", "processor_hours"),
    *("host_memory_mb", "device_memory_mb", "inference_case_seconds", "note"),
)
"""Columns of ``costs.csv``. Times are of one run, the mean over those of a model on a device, and of an epoch the mean
over all of their epochs; memory is the most."""

SHOWN = {
    "parameters": "Parameters, M", "multiply_adds": "Multiply-adds, G", "epochs": "Epochs",
    "epoch_seconds": "s per epoch", "training_hours": "Training, h", "processor_hours": "Processor, h",
    "host_memory_mb": "Host, MB", "device_memory_mb": "GPU, MB", "inference_case_seconds": "Inference, s per case",
}  # fmt: skip
"""Numbers of the report's table, with their header."""

SCALE = {"parameters": 1e6, "multiply_adds": 1e9}
NOT_RECORDED = "not recorded when the runs were made"
MEANING = (
    "Multiply-adds: of convolutions and matrix products in one forward pass of one input of the training size, each "
    "counted as one operation. s per epoch and Training: by the clock, validation included; s per epoch is the mean "
    "over all epochs of all runs (in brackets the least and the most mean of a run). Processor: time of all processor "
    "cores in training. Host and GPU: most memory of any run's process in training, of the GPU what tensors took. "
    "Inference: start, reading and writing included. Times depend "
    "on the device and on what else ran there: they compare models only where these were the same."
)


SUMMED = ("parameters", "multiply_adds", "training_hours", "processor_hours", "inference_case_seconds")
"""Columns in which an ensemble has the sum of its members, where each was trained in one place."""


def costs(
    found: Provenance,
    histories: Mapping[str, pd.DataFrame],
    cases: Mapping[str, int],
    models: Mapping[str, str],
    ensembles: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame | None:
    """Make ``costs.csv``: a row for each model and each device and precision that it was trained in, with COLUMNS.

    ``histories`` are by a run's id, with each epoch's ``seconds``; ``cases`` are how many cases a run was tested on.
    ``models`` maps each model's name to why it was not trained by a run of the study, "" where it was. ``ensembles``
    maps names of those to their members'. None where no run of any model is on record.
    """
    rows: list[dict[str, Any]] = []
    for model, why in models.items():
        if why:
            rows.append({"model": model, "note": why})
        for (device, precision), runs in _by_place(found, model).items() if not why else ():
            numbers, reasons = _numbers(runs, histories, cases)
            network = next((run.network for run in runs.values() if run.network), None)
            if network is None and (network := found.networks.get(model)):
                reasons["parameters, multiply_adds"] = "counted later, from the ids that the runs recorded as set"
            if network:
                numbers |= {"parameters": network.parameters, "multiply_adds": network.multiply_adds}
                numbers["input"] = " x ".join(map(str, network.input))
            else:
                reasons["parameters, multiply_adds"] = NOT_RECORDED
            note = "; ".join(f"{column}: {reason}" for column, reason in reasons.items())
            place = {"device": device, "precision": precision, "runs": len(runs)}
            rows.append({"model": model, **place, **numbers, "note": note})
    if not any("runs" in row for row in rows):
        return None
    for row in rows:
        row |= _together(
            [[one for one in rows if one["model"] == name] for name in (ensembles or {}).get(row["model"], ())]
        )
    # A time has no more digits than this.
    rows = [{key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in row.items()} for row in rows]
    kinds = dict.fromkeys(("runs", "parameters", "multiply_adds", "host_memory_mb", "device_memory_mb"), "Int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(kinds)


def _together(members: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Sums of some models' rows in columns that all have; none unless each has one row, of one place."""
    if not members or any(len(rows) != 1 for rows in members):
        return {}
    known = [key for key in SUMMED if all(rows[0].get(key) is not None for rows in members)]
    return {key: sum(rows[0][key] for rows in members) for key in known}


def _by_place(found: Provenance, model: str) -> dict[tuple[str, str], dict[str, Ran]]:
    """Trained runs of a model by device and precision."""
    grouped: dict[tuple[str, str], dict[str, Ran]] = {}
    for id_, run in found.runs.items():
        train = (run.stages or {}).get("train")
        if train and model_name(*id_.split("/")[:2]) == model:
            grouped.setdefault((train.device, train.precision), {})[id_] = run
    return grouped


def _numbers(
    runs: Mapping[str, Ran], histories: Mapping[str, pd.DataFrame], cases: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Numbers of one row, and by column why it has none."""
    train = [run.stages["train"] for run in runs.values() if run.stages]
    numbers, reasons = _times(train, [histories[id_]["seconds"] for id_ in runs if id_ in histories])
    numbers["host_memory_mb"] = round(max(stage.peak_memory_mb for stage in train))
    if on_gpu := [stage.peak_gpu_memory_mb for stage in train if stage.peak_gpu_memory_mb is not None]:
        numbers["device_memory_mb"] = round(max(on_gpu))
    else:
        reasons["device_memory_mb"] = "not used in training"
    stages = {id_: run.stages or {} for id_, run in runs.items()}
    predicted = {id_: own["predict"].seconds for id_, own in stages.items() if "predict" in own}
    if count := sum(cases.get(id_, 0) for id_ in predicted):
        numbers["inference_case_seconds"] = sum(predicted.values()) / count
    else:
        reasons["inference_case_seconds"] = NOT_RECORDED
    numbers["at_once"] = " or ".join(map(str, sorted({stage.at_once for stage in train if stage.at_once})))
    if not numbers["at_once"]:
        reasons["at_once"] = "not recorded, or each started by a command of its own"
    if not train[0].precision:
        reasons["precision"] = NOT_RECORDED
    return numbers, reasons


def _times(train: Sequence[Stage], epochs: Sequence[pd.Series]) -> tuple[dict[str, Any], dict[str, str]]:
    """Times of training, from seconds of each run's epochs, and by column why there are none."""
    if len(epochs) < len(train):
        return {}, {"epochs, epoch_seconds, training_hours, processor_hours": "no table of the epochs"}
    count, seconds = sum(map(len, epochs)), sum(float(own.sum()) for own in epochs)
    by_run = [float(own.mean()) for own in epochs]
    numbers: dict[str, Any] = {
        "epochs": count / len(train), "epoch_seconds": seconds / count, "epoch_seconds_least": min(by_run),
        "epoch_seconds_most": max(by_run), "training_hours": seconds / len(train) / 3600,
    }  # fmt: skip
    processor = [stage.processor_seconds for stage in train if stage.processor_seconds is not None]
    # A stage is timed in its last process; the epochs before a kill are in the history only.
    if any(own.sum() > stage.seconds + 1 for own, stage in zip(epochs, train, strict=True)):
        return numbers, {"processor_hours": "a run was killed and gone on with"}
    if len(processor) < len(train):
        return numbers, {"processor_hours": NOT_RECORDED}
    return {**numbers, "processor_hours": sum(processor) / len(train) / 3600}, {}


def blocks(found: pd.DataFrame | None) -> list[Block]:
    """The section of a report on ``costs.csv``; none where there is none."""
    if found is None:
        return []
    rows, records = list[list[str | Cell]](), found.to_dict("records")
    for row in records:
        at_once = f"{_text(row['at_once'])} at once" * bool(_text(row["at_once"]))
        where = ", ".join(filter(None, (_text(row["device"]), _text(row["precision"]), at_once)))
        numbers = {name: number(row[name], SCALE.get(name, 1)) for name in SHOWN}
        least, most = (number(row[f"epoch_seconds_{end}"]) for end in ("least", "most"))
        numbers["epoch_seconds"] += f" ({least} to {most})" * (least != most)
        cells = [Cell(text, key=Key(row["model"], name, None, "cost")) for name, text in numbers.items()]
        rows.append([row["model"], *cells, where or "-"])
    header = ["Model", *SHOWN.values(), "Trained on"]
    inputs = found.dropna(subset="input").groupby("input", sort=False)["model"].unique()
    sizes = "; ".join(f"{size}" if len(inputs) == 1 else f"{size} ({', '.join(own)})" for size, own in inputs.items())
    notes = [MEANING, *([f"Input: channels x size, {sizes}."] if sizes else []), *_by_voxel(found), *_reasons(records)]
    return [Heading("Cost"), Table("What each model cost.", header, rows, notes=notes)]


def _by_voxel(found: pd.DataFrame) -> list[str]:
    """Say multiply-adds of a voxel where some inputs are slices and others volumes, which are of other sizes."""
    counted = found.dropna(subset=["input", "multiply_adds"]).drop_duplicates("model")
    sizes = [[int(length) for length in size.split(" x ")[1:]] for size in counted["input"]]
    if len({len(size) for size in sizes}) < 2:
        return []
    shares = [
        f"{model} {number(adds / math.prod(size), 1e3)}"
        for model, adds, size in zip(counted["model"], counted["multiply_adds"], sizes, strict=True)
    ]
    return [
        "Inputs of three sizes are patches of volumes, of which a case needs several that overlap; those of two are "
        f"slices. Thousand multiply-adds a voxel of the input: {', '.join(shares)}."
    ]


def number(value: Any, scale: float = 1) -> str:
    """Write a cost with three digits, all digits before the point, and a dash where there is none."""
    if value is None or pd.isna(value):
        return "-"
    scaled = float(value) / scale
    return f"{scaled:,.0f}" if math.fabs(scaled) >= 100 else f"{scaled:.3g}"


def _reasons(records: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Say once for all models that share it what is lacking, and why."""
    by_why: dict[tuple[str, str], list[str]] = {}
    for row in records:
        for reason in filter(None, _text(row["note"]).split("; ")):
            columns, colon, why = reason.partition(": ")
            by_why.setdefault((why or columns, str(row["model"])), []).extend([columns] if colon else [])
    shared: dict[tuple[str, str], list[str]] = {}
    for (why, model), lacking in by_why.items():
        named = ", ".join(lacking)
        for column, title in {**SHOWN, "at_once": "runs at once"}.items():
            named = named.replace(column, title.partition(",")[0])
        shared.setdefault((why, named), []).append(model)
    trained = {str(row["model"]) for row in records if _text(row["device"])}
    found = []
    for (why, named), models in shared.items():
        of = "" if set(models) == trained else f" ({', '.join(dict.fromkeys(models))})"
        found.append(f"{why[0].upper()}{why[1:]}{of}{': ' * bool(named)}{named}.")
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
