"""Do one run in its folder: train (or join two runs), predict and score; finished stages are not repeated."""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.base import project
from benchmark.base.files import read_json, write_json, write_text
from benchmark.base.records import InputError, Run, first_cause
from benchmark.data.prepare import DataSet, PreparedCase
from benchmark.data.volumes import read_volume, write_label_map
from benchmark.scoring import detection, score_table
from benchmark.scoring.metrics import score_case
from benchmark.studies import bundle, store

# How long a new process waits for one that is being killed to let go of a run's folder.
PATIENCE_S = 10


def run(run: Run, dataset: str) -> None:
    """Do what is left of a run; an error is written to ``error.txt`` and raised.

    Raises:
        InputError: if another process does this run, its folder has another fingerprint, or a run that it joins is not
            done.
    """
    # Configs name folders from the project's root, as MONAI's own command needs them.
    os.chdir(project.root())
    configs = bundle.frozen(run, dataset)
    data = DataSet(dataset, configs["train"]["split"])
    store.check_stages(run)
    what = store.identity(run, data, configs)
    store.check(run, what)
    if store.state(run) == "done":
        return
    folder = store.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=PATIENCE_S):
            (folder / "error.txt").unlink(missing_ok=True)
            for half_written in folder.rglob(".[0-9]*-*"):
                # What a kill left beside its place; nobody else writes here while this process holds the lock.
                half_written.unlink(missing_ok=True)
            store.record(run, what, " ".join(["python -m benchmark", *sys.argv[1:]]))
            if not run.stages:
                bundle.freeze(configs, folder)
            try:
                _predict_and_score(run, data, folder, classifies=configs["inference"]["task"] == "classification")
            except BaseException as error:
                write_text(folder / "error.txt", _explained(error))
                raise
    except Timeout as error:
        raise InputError(f"{folder} is being run by another process: expected none; wait for it to end.") from error


def _predict_and_score(run: Run, data: DataSet, folder: Path, classifies: bool) -> None:
    cases = data.part(run.fold, "test")
    if not run.stages and not (folder / "models" / "model.pt").exists():
        _timed(folder, "train", lambda: _workflow(folder, "train", "training"))
    ending = ".csv" if classifies else ".nii.gz"
    predictions = {case.case.case_id: folder / "predictions" / f"{case.case.case_id}{ending}" for case in cases}
    if not all(path.exists() for path in predictions.values()):
        predict = partial(_join, run, cases) if run.stages else partial(_workflow, folder, "inference", "inference")
        _timed(folder, "predict", predict)
    lost = [str(path) for path in predictions.values() if not path.exists()]
    if lost:
        raise InputError(f"{lost[0]} does not exist after inference: expected a prediction of every test case.")
    rows: list[dict[str, Any]] = []
    _timed(
        folder,
        "score",
        lambda: rows.extend(r for c in cases for r in _score(run, c, predictions[c.case.case_id], data)),
    )
    score_table.write(folder / "scores.csv", score_table.frame(rows))


def _join(run: Run, cases: Sequence[PreparedCase]) -> None:
    """Write the segmenter's label maps with nothing in the slices in which the classifier sees no tumour."""
    gate, segmenter = (folder / "predictions" for folder in store.stage_folders(run))
    for case in cases:
        name = case.case.case_id
        labels = detection.gated(case, read_volume(segmenter / f"{name}.nii.gz")[0], gate / f"{name}.csv")
        write_label_map(store.folder(run) / "predictions" / f"{name}.nii.gz", labels, case.affine)


def _workflow(folder: Path, kind: str, run_id: str) -> dict[str, Any]:
    """Run a config of a run's folder; return the precision that it computed in, which follows from the machine."""
    from monai.bundle.workflows import ConfigWorkflow

    workflow = ConfigWorkflow(config_file=str(folder / "configs" / f"{kind}.json"), workflow_type=None, run_id=run_id)
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        # MONAI wraps whatever an expression raises, once for each reference; what happened is at the bottom.
        raise first_cause(error, "Failed to evaluate") from None
    amp, kind_of_number = (workflow.parser.get_parsed_content(name) for name in ("amp", "amp_dtype"))
    return {"precision": str(kind_of_number if amp else "float32").removeprefix("torch.")}


def _score(run: Run, case: PreparedCase, path: Path, data: DataSet) -> list[dict[str, Any]]:
    who = {"bundle": run.bundle, "variant": run.variant, "fold": run.fold, "seed": run.seed}
    if path.suffix == ".csv":
        scored = detection.score_slices(path)
    else:
        scored = score_case(case.original_label(), read_volume(path)[0], case.spacing, data.manifest.regions)
    return [{**who, "patient_id": case.case.patient_id, "case_id": case.case.case_id, **row} for row in scored]


def _timed(folder: Path, stage: str, work: Callable[[], dict[str, Any] | None]) -> None:
    """Do a stage and add its time, memory, device, commit and what it returns to ``run.json``."""
    import torch

    print(f"--- {stage}", flush=True)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    found = work() or {}
    record = read_json(folder / "run.json", "a run's record")
    usage: dict[str, Any] = {
        # Of this process: the epochs before a kill are in history.csv.
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu x{os.cpu_count()}",
        # A stage may be done again by later code, scores above all.
        "commit": store.commit(),
        **found,
    }
    if torch.cuda.is_available():
        usage["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    write_json(folder / "run.json", {**record, "stages": {**record.get("stages", {}), stage: usage}})


def _explained(error: BaseException) -> str:
    if isinstance(error, InputError):
        return f"{error}\n"
    return "".join(traceback.format_exception(error))
