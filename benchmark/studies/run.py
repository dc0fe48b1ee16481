"""Do one run in its folder: train (or join other runs), predict and score; finished stages are not repeated."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from filelock import FileLock, Timeout

from benchmark.base import project
from benchmark.base.files import write_json, write_text
from benchmark.base.records import InputError, OtherTest, Run, first_cause, sentence
from benchmark.data.prepare import CANONICAL, DataSet, PreparedCase
from benchmark.data.probabilities import FOLDER, read_probabilities, write_probabilities
from benchmark.data.volumes import read_volume, write_label_map
from benchmark.scoring import calibration, detection, lesion_table, score_table
from benchmark.scoring.counts import of_slices
from benchmark.scoring.metrics import EVERY, METRICS, score_regions
from benchmark.studies import bundle, cost, ensemble, other_tests, store
from benchmark.studies.execute import AT_ONCE
from benchmark.studies.steps import Stage, Steps

# How long a new process waits for one that is being killed to let go of a run's folder.
PATIENCE_S = 10

DATASETS = {"train": {"train": "train#dataset", "validation": "validate#dataset"}, "inference": {"test": "dataset"}}
"""Ids of the datasets in a config, by side of the fold."""

ENGINES: Mapping[str, Mapping[str, Stage]] = {
    "train": {"train#trainer": "train", "validate#evaluator": "validate"}, "inference": {"evaluator": "predict"},
}  # fmt: skip
"""Ids of the engines in a config, and what each does."""


def run(run: Run, dataset: str, scores: Sequence[str] = ()) -> None:
    """Do what is left of a run; an error is written to ``error.txt`` and raised.

    ``scores`` are metrics on request, scored beside METRICS.

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
    folder, device = store.folder(run), _device()
    folder.mkdir(parents=True, exist_ok=True)
    if not run.stages:
        what.update(_precision(configs))
    store.check(run, what, device)
    try:
        with FileLock(folder / ".lock", timeout=PATIENCE_S):
            (folder / "error.txt").unlink(missing_ok=True)
            for half_written in folder.rglob(".*-*"):
                # What a kill left beside its place; nobody else writes here while this process holds the lock.
                half_written.unlink(missing_ok=True)
            store.record(run, what, " ".join(["python -m benchmark", *sys.argv[1:]]), device)
            if not run.stages:
                bundle.freeze(configs, folder)
            try:
                _train_and_test(run, data, what, configs["inference"], scores)
            except BaseException as error:
                chain = "".join(traceback.format_exception(error))
                write_text(folder / "error.txt", f"{chain}\n{sentence(error)}\n")
                # What MONAI wraps around it, once for each reference, is in the file.
                raise first_cause(error) from None
    except Timeout as error:
        raise InputError(f"{folder} is being run by another process: expected none; wait for it to end.") from error


def _train_and_test(
    run: Run, data: DataSet, what: Mapping[str, Any], config: Mapping[str, Any], more: Sequence[str]
) -> None:
    if not store.scored(run):
        folder = store.folder(run)
        _train(run, folder)
        if run.trial:
            return
        _predict_and_score(run, folder, data, data.part(run.fold, "test"), config, more)
    for test in run.test_on:
        _test(run, test, data, what, config, more)


def _train(run: Run, folder: Path) -> None:
    weights = folder / "models" / "model.pt"
    if run.stages:
        return
    again = weights.exists()
    if not again:
        _timed(folder, "train", lambda: _workflow(folder, "train", "training"))
    if again and store.read_record(folder).trained:
        store.check_trained(folder)
    else:
        _check_finite(weights)
        _note(folder, trained=store.trained(folder))


def _test(
    run: Run, test: OtherTest, data: DataSet, own: Mapping[str, Any], config: Mapping[str, Any], more: Sequence[str]
) -> None:
    """Do another test of a trained run, unless that is done; ``own`` is the run's identity, ``data`` its set."""
    place = store.other_folder(run, test)
    what = other_tests.identity(run, test, own)
    store.check(run, what, _device(), place)
    if (place / "scores.csv").exists():
        return
    weights = store.folder(run) / "models" / "model.pt"
    if not run.stages and not weights.exists():
        raise InputError(f"{weights} does not exist: expected the run's weights, to test them on {test.name} too.")
    store.check_trained(store.folder(run))
    print(f"--- test on {test.name}", flush=True)
    store.record(run, what, " ".join(["python -m benchmark", *sys.argv[1:]]), _device(), place)
    there = other_tests.tested(test, data)
    cases = there.part(run.fold, other_tests.part(test))
    _predict_and_score(run, place, there, cases, config, more, other_tests.overrides(test, config))


def _predict_and_score(
    run: Run,
    folder: Path,
    data: DataSet,
    cases: Sequence[PreparedCase],
    config: Mapping[str, Any],
    more: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Predict and score cases in a run's folder, or with ``overrides`` of its config in that of another test."""
    ending = ".csv" if config["task"] == "classification" else ".nii.gz"
    predictions = {case.case.case_id: folder / "predictions" / f"{case.case.case_id}{ending}" for case in cases}

    def predict() -> dict[str, Any] | None:
        if not run.stages:
            return _workflow(folder, "inference", "inference", overrides)
        below = folder.relative_to(store.folder(run))
        _join(run, folder, [place / below for place in store.stage_folders(run)], cases, data)
        return None

    if not all(path.exists() for path in predictions.values()):
        _note(folder, predictions_sha256="", probabilities={})
        _timed(folder, "predict", predict)
    lost = [str(path) for path in predictions.values() if not path.exists()]
    if lost:
        raise InputError(f"{lost[0]} does not exist after inference: expected a prediction of every test case.")
    store.check_predictions(folder)
    store.check_probabilities(folder)
    _note(folder, predictions_sha256=store.predictions_sha256(folder), probabilities=store.probabilities(folder))
    rows: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []

    def score() -> None:
        for case in cases:
            scored, found = _score(case, predictions[case.case.case_id], data, more)
            whose = store.whose(run, case.case)
            rows.extend({**whose, **row} for row in scored)
            lesions.extend({**whose, **row} for row in found)
        if not overrides:
            _count_probabilities(run, cases, data)

    _timed(folder, "score", score)
    if ending == ".nii.gz" and not overrides and all(case.slices is None for case in cases):
        write_text(folder / lesion_table.NAME, lesion_table.as_text(lesions))
    text = score_table.as_text(score_table.frame(rows))
    _note(folder, scores_sha256=hashlib.sha256(text.encode()).hexdigest())
    write_text(folder / "scores.csv", text)


def _join(run: Run, folder: Path, stages: Sequence[Path], cases: Sequence[PreparedCase], data: DataSet) -> None:
    """Write what runs predict together: an ensemble's label maps, with probabilities where it has any, or of two stages
    the segmenter's with nothing in the slices in which the classifier sees no tumour.
    """
    for place in stages:
        if not (place / "scores.csv").exists():
            raise InputError(f"{place / 'scores.csv'} does not exist: expected the test of a run that is joined.")
        store.check_predictions(place)
        store.check_probabilities(place)
    for case in cases:
        name = case.case.case_id
        if run.by:
            labels, codes = ensemble.join(run.by, stages, name, data.manifest)
            if codes is not None:
                write_probabilities(folder / FOLDER / f"{name}.nii.gz", codes, case.affine, list(data.manifest.regions))
        else:
            gate, segmenter = (place / "predictions" for place in stages)
            labels = detection.gated(case, read_volume(segmenter / f"{name}.nii.gz")[0], gate / f"{name}.csv")
        write_label_map(folder / "predictions" / f"{name}.nii.gz", labels, case.affine)


def _workflow(folder: Path, kind: str, run_id: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a config of a run's folder; return the precision that it computed in, and note the size of its network.

    With ``overrides`` of its ids the folder is that of another test of the run.
    """
    from monai.bundle.workflows import ConfigWorkflow

    own = folder.parents[1] if overrides else folder
    path, steps = own / "configs" / f"{kind}.json", Steps(own)
    workflow = ConfigWorkflow(config_file=str(path), workflow_type=None, run_id=run_id, **(overrides or {}))
    workflow.initialize()
    sides = {side: _cases(workflow, id_) for side, id_ in DATASETS[kind].items()}
    patients = {side: cases and sorted({case.case.patient_id for case in cases}) for side, cases in sides.items()}
    _note(folder, patients={**store.read_record(folder).patients, **patients})
    if trained := sides.get("train"):
        _note(folder, trained_on=space(trained))
    # Those that the run itself is about to make, in the same order.
    for id_, stage in ENGINES[kind].items():
        steps.follow(workflow.parser.get_parsed_content(id_), stage)
    try:
        workflow.run()
    finally:
        steps.end()
    workflow.finalize()
    if kind == "train":
        _note_network(folder, workflow.parser)
    return {"precision": cost.precision(workflow.parser)}


def _precision(configs: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Precision in which a run's training and inference compute on this machine, as an entry of its identity."""
    from monai.bundle import ConfigParser

    try:
        found = [cost.precision(ConfigParser(copy.deepcopy(configs[kind]))) for kind in bundle.CONFIGS]
    except Exception:
        return {}  # the run fails of the same, and writes down why
    return {"precision": ", ".join(dict.fromkeys(found))}


def _note_network(folder: Path, parser: Any) -> None:
    try:
        if began := getattr(parser.get_parsed_content("network"), "weights_sha256", ""):
            _note(folder, started_from=began)
        _note(folder, network=cost.count(parser))
    except Exception as error:
        # Nothing that was trained is lost for a number that a report can do without.
        print(f"The network's size was not counted: {sentence(error)}", flush=True)


def _cases(workflow: Any, dataset: str) -> list[PreparedCase] | None:
    """Cases that a dataset of a workflow holds; None where the dataset does not say it."""
    cases = getattr(workflow.parser.get_parsed_content(dataset), "cases", None)
    return cases if cases and all(isinstance(case, PreparedCase) for case in cases) else None


def space(cases: Sequence[PreparedCase]) -> dict[str, Any]:
    """Orientation that a network saw, voxel sizes along its axes, and in which orientations the files were stored.

    New scans are brought into that orientation and resampled to the median size before such a network can be applied.
    """
    turns = [nibabel.orientations.io_orientation(case.affine)[:, 0].astype(int) for case in cases]
    sizes = np.array([np.array(case.spacing)[np.argsort(turn)] for case, turn in zip(cases, turns, strict=True)])
    stored = Counter("".join(nibabel.orientations.aff2axcodes(case.affine)) for case in cases)
    spacing = {"median": np.median(sizes, axis=0), "smallest": sizes.min(axis=0), "largest": sizes.max(axis=0)}
    return {
        "orientation": "".join(nibabel.orientations.ornt2axcodes(CANONICAL)),
        "spacing": {name: np.round(values, 6).tolist() for name, values in spacing.items()},
        "stored_as": dict(stored),
    }


def _check_finite(path: Path) -> None:
    """Refuse weights that are not finite: whatever they predict, scores would be given for it."""
    import torch

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read: expected weights, found {type(error).__name__}.") from error
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise InputError(f"{path}: expected finite weights, found others in {name}; move the run's folder away.")


def _score(
    case: PreparedCase, path: Path, data: DataSet, more: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Score a prediction; return the rows of its scores and those of the reference's lesions."""
    if path.suffix == ".csv":
        return detection.score_slices(path), []
    scored, lesions = list[dict[str, Any]](), list[dict[str, Any]]()
    metrics, manifest = METRICS | {name: EVERY[name] for name in more}, data.manifest
    labels = case.original_label(), read_volume(path)[0]
    for row, pair in score_regions(*labels, case.spacing, manifest.regions, metrics, manifest.lesions):
        scored.append(row)
        lesions += lesion_table.rows(row["region"], pair)
    if case.slices is not None:
        shape = case.header["shape"]
        depth = shape[nibabel.orientations.io_orientation(case.affine)[:, 0].tolist().index(2)]
        left_out = math.prod(shape) // depth * (depth - len(case.slices))
        scored = [of_slices(row, left_out) for row in scored]
    return scored, lesions


def _count_probabilities(run: Run, cases: Sequence[PreparedCase], data: DataSet) -> None:
    """Write what ``scoring.calibration`` counts, where the run kept the probabilities of its cases."""
    folder = store.folder(run)
    files = {case.case.case_id: folder / FOLDER / f"{case.case.case_id}.nii.gz" for case in cases}
    if not all(path.exists() for path in files.values()):
        return
    rows = []
    for case in cases:
        codes = [case.crop(region) for region in np.moveaxis(read_probabilities(files[case.case.case_id]), -1, 0)]
        bins = calibration.bins_of_case(codes, np.asarray(case.label), data.manifest.regions)
        rows += [{**store.whose(run, case.case), **one} for one in bins]
    calibration.write(folder, rows)


def _timed(folder: Path, stage: str, work: Callable[[], dict[str, Any] | None]) -> None:
    """Do a stage and add its time, memory, device, commit and what it returns to ``run.json``."""
    import torch

    print(f"--- {stage}", flush=True)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started, processor = time.perf_counter(), _processor_seconds()
    found = work() or {}
    usage: dict[str, Any] = {
        # Of this process: the epochs before a kill are in history.csv.
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(_processor_seconds() - processor, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu x{os.cpu_count()}",
        # A stage may be done again by later code, scores above all.
        "commit": store.commit(),
        **found,
    }
    if torch.cuda.is_available():
        usage["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
        usage["reserved_gpu_memory_mb"] = round(torch.cuda.max_memory_reserved() / 2**20)
    if AT_ONCE in os.environ:
        usage["at_once"] = int(os.environ[AT_ONCE])
    stages = store.read_record(folder).model_dump(exclude_unset=True).get("stages") or {}
    _note(folder, stages={**stages, stage: usage})


def _processor_seconds() -> float:
    """Seconds of all threads of this process, and of its children that ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _note(folder: Path, **entries: Any) -> None:
    """Add entries to a run's record."""
    write_json(folder / "run.json", {**store.read_record(folder).model_dump(exclude_unset=True), **entries})


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
