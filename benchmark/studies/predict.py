"""Apply trained networks to new scans: brought to the voxel size that a network knows, and its probabilities back."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np

from benchmark.base.files import replacing_files, write_json
from benchmark.base.progress import Progress
from benchmark.base.records import Case, InputError, first_cause, number_of
from benchmark.data.manifest import CaseList, Manifest, load_manifest
from benchmark.data.new_scans import find_scans
from benchmark.data.prepare import PreparedCase, prepare_case
from benchmark.data.probabilities import FOLDER, read_probabilities, write_probabilities
from benchmark.data.raw.record import Steps, find_record, undo
from benchmark.data.resample import new_affine, new_shape, resample, steps
from benchmark.data.scan import Measured, measure
from benchmark.data.volumes import read_image, read_images, sha256_file, write_label_map
from benchmark.studies import ensemble, predicted
from benchmark.studies.trained import Trained

MOST = 4.0
"""Largest factor between a case's voxel size and a network's along an axis."""

NAMED = 5
"""Cases up to which a warning names them."""

SCANS = "scans"
"""Folder of resampled images, in the one that is worked in."""

STEEPEST = 30.0
"""Largest angle in degrees between an axis of a case and the nearest one of RAS, along which a network was trained."""


@dataclass(frozen=True)
class Scan:
    """A new case and the 4x4 affine of its files, mm; ``raw`` says how it was prepared from raw scans, if it was."""

    case: Case
    affine: np.ndarray
    raw: Steps | None = None

    def steps(self, trained: Trained) -> tuple[float, ...]:
        """Return the width of a network's voxels in the case's own, along the axes of the case's files."""
        axes = nibabel.orientations.io_orientation(self.affine)[:, 0].astype(int)
        return steps(self.case.spacing, [trained.spacing[axis] for axis in axes])


@dataclass(frozen=True)
class Job:
    """Networks, new cases, the folder that holds these, and the one that predictions go to.

    ``said`` is what to know before they are predicted, ``known`` what is on record there, and ``refused`` has the
    reason by the id of each case that cannot be predicted. ``back`` is the folder for label maps on the grids of the
    raw scans that the cases were prepared from, with what is on record there.
    """

    trained: Sequence[Trained]
    folder: Path
    out: Path
    scans: Sequence[Scan]
    said: tuple[str, ...]
    known: predicted.Predicted
    refused: Mapping[str, str]
    back: tuple[Path, predicted.Predicted] | None = None


@dataclass(frozen=True)
class Prepared:
    """Prepared new cases in the place of an inference config's ``data``, whatever part of it is asked for."""

    manifest: Manifest
    cases: Sequence[PreparedCase]

    @property
    def in_channels(self) -> int:
        """Number of modalities."""
        return len(self.manifest.modalities)

    @property
    def out_channels(self) -> int:
        """Number of regions."""
        return len(self.manifest.regions)

    def part(self, fold: int, part: str) -> Sequence[PreparedCase]:
        """Return all cases."""
        return self.cases


def look(
    trained: Sequence[Trained], folder: Path, out: Path, layout: str | None = None, probabilities: bool = False,
    progress: Progress | None = None, back: Path | None = None,
) -> Job:  # fmt: skip
    """Read new cases and check that the networks can be applied to them; nothing is written.

    ``layout`` is the manifest whose names the files have (``new_scans.find_scans`` says which others are known).
    Cases whose predictions are in ``out`` already, by the same networks from the same files, are left out.
    A case that cannot be read, lies too far from what the networks know, or with ``back`` was not prepared from raw
    scans, is refused alone unless all are.
    InputError where networks differ in sequences or regions, a case lacks a sequence, and where a file in ``out`` or
    ``back`` would be overwritten or is by other networks or from other files.
    """
    if back and back.resolve() == out.resolve():
        raise InputError(f"{back}: expected another folder for --back than for the prepared scans' label maps.")
    what = trained[0].manifest
    for one in trained:
        if (one.manifest.modalities, one.manifest.regions) != (what.modalities, what.regions):
            raise InputError(f"{one.name}: expected the sequences and regions of {trained[0].name}, found others.")
    cases, others = find_scans(folder, what.modalities, load_manifest(layout) if layout else None)
    ids = [case.case_id for case in cases]
    known = predicted.before(out, trained, probabilities, ids)
    undone = (back, predicted.before(back, trained, False, ids)) if back else None
    scans, measured, refused = list[Scan](), list[Measured](), dict[str, str]()
    for done, case in enumerate(cases, start=1):
        try:
            found = measure(folder, what, case)
            affine = read_image(folder, next(iter(case.images.values())))[1]
            scan = Scan(found.case, affine, find_record(folder, found.case))
            _check_place(folder, scan, trained, back)
        except InputError as error:
            refused[case.case_id] = str(error)
        else:
            scans.append(scan)
            measured.append(found)
        if progress:
            progress(done, len(cases), case.case_id)
    if not scans:
        raise InputError(next(iter(refused.values())))
    places = [(out, known), *([undone] if undone else [])]
    left = [scan for scan in scans if not all(predicted.is_done(*place, scan.case) for place in places)]
    said = [*_said(trained, scans, others), *_from_raw(scans, back), *_there(len(scans), len(left))]
    return Job(trained, folder, out, left, (*said, *_warnings(trained, measured)), known, refused, undone)


def write(job: Job, progress: Progress | None = None) -> tuple[list[Path], dict[str, str]]:
    """Predict the cases of a job one by one and write ``<case>.nii.gz`` of each as soon as it is done.

    Label maps have the case's own shape and affine. Several networks are joined by the mean of their probabilities.
    These are written too where that was asked for, as ``data.probabilities`` says, to the folder ``probabilities``. The
    job's ``back`` gets label maps on the raw scans' grids, from the probabilities brought there.

    Returns:
        The label maps, and the reason by the id of each case that could not be prepared, or that the job refuses.
    """
    refused, names = dict(job.refused), list[str]()
    if job.scans:
        for place, known in ((job.out, job.known), *([job.back] if job.back else [])):
            predicted.record(place, known, [scan.case for scan in job.scans])
    for done, scan in enumerate(job.scans, start=1):
        with replacing_files(job.out) as made, TemporaryDirectory(dir=made) as temporary:
            place, name = Path(temporary), f"{scan.case.case_id}.nii.gz"
            try:
                prepared = {one.spacing: _prepared(one, job.folder, scan, place) for one in job.trained}
            except InputError as error:
                refused[scan.case.case_id] = str(error).replace(str(place / SCANS), str(job.folder))
                continue
            each = [_predicted(one, prepared[one.spacing], scan, place / str(n)) for n, one in enumerate(job.trained)]
            codes, manifest = ensemble.average(each), job.trained[0].manifest
            write_label_map(made / name, ensemble.label_map(codes, manifest.regions_class_order), scan.affine)
            if job.back and scan.raw:
                labels = ensemble.label_map(undo(codes, scan.raw), manifest.regions_class_order)
                write_label_map(job.back[0] / name, labels, scan.raw.raw.affine)
            if job.known.probabilities:
                write_probabilities(made / FOLDER / name, codes, scan.affine, list(manifest.regions))
        names.append(name)
        if progress:
            progress(done, len(job.scans), name)
    return [job.out / name for name in names], refused


def _check_place(folder: Path, scan: Scan, trained: Sequence[Trained], back: Path | None) -> None:
    """Refuse a case whose axes or voxel sizes are far from what a network was trained on, or that has no way back."""
    directions = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    tilt = float(np.degrees(np.arccos(np.abs(directions).max(axis=0).min().clip(max=1))))
    who = f"{folder}: case {scan.case.case_id}"
    if back and scan.raw is None:
        raise InputError(
            f"{who}: expected --back for scans that `benchmark data prepare --raw` wrote, found no record of it beside "
            "them."
        )
    if tilt > STEEPEST:
        raise InputError(
            f"{who}: expected axes within {STEEPEST:g} degrees of left-right, back-front and feet-head, along which "
            f"the network was trained, found one {tilt:.0f} degrees off."
        )
    for one in trained:
        if any(not 1 / MOST <= step <= MOST for step in scan.steps(one)):
            raise InputError(
                f"{who}: expected voxels within a factor of {MOST:g} of {_size(one.spacing)}, on which {one.name} was "
                f"trained, found {_size(scan.case.spacing)} along the axes of its files."
            )


def _said(trained: Sequence[Trained], scans: Sequence[Scan], others: Sequence[str]) -> list[str]:
    """Say what the networks are, how files were read, and which cases are resampled."""
    sizes, modalities = list(dict.fromkeys(one.spacing for one in trained)), trained[0].manifest.modalities
    known, sets = " or ".join(map(_size, sizes)), " and ".join(sorted({one.dataset for one in trained}))
    joined = f"the mean of {len(trained)} networks" if len(trained) > 1 else "one network"
    said = [f"{number_of(len(scans), 'case')} by {joined}, trained on {sets} at {known}, from {', '.join(modalities)}."]
    if any(re.search(r"_\d{4}\.", path) for scan in scans for path in scan.case.images.values()):
        numbers = ", ".join(f"_{place:04d} {name}" for place, name in enumerate(modalities))
        said.append(
            f"Files that are numbered as nnU-Net's are taken to be in the order of the training set: {numbers}."
        )
    changed = [scan for scan in scans if any(step != 1 for one in trained for step in scan.steps(one))]
    for own in dict.fromkeys(_size(scan.case.spacing) for scan in changed):
        alike = [scan for scan in changed if _size(scan.case.spacing) == own]
        said.append(
            f"{number_of(len(alike), 'case')} with voxels of {own}: images are resampled to {known}, by the mean "
            "where voxels become larger and linearly where smaller, and probabilities linearly back before they are "
            "cut at one half."
        )
    if others:
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        said.append(f"Not used, as their names are of no sequence: {shown} ({len(others)} in all).")
    return said


def _from_raw(scans: Sequence[Scan], back: Path | None) -> list[str]:
    """Say that label maps come back to raw scans, or could."""
    known = [scan.raw for scan in scans if scan.raw]
    if not known:
        return []
    count = f"{number_of(len(known), 'case')} prepared from raw scans"
    if back is None:
        return [f"{count}: --back DIR writes label maps in the raw scans' space too."]
    where = ", ".join(sorted({steps.reference for steps in known}))
    return [f"{count}: label maps on the grid of each raw {where} go to {back}."]


def _there(total: int, left: int) -> list[str]:
    said = f"There already, by the same weights from the same files: {total - left} of {number_of(total, 'case')}."
    return [said] if left < total else []


def _warnings(trained: Sequence[Trained], measured: Sequence[Measured]) -> list[str]:
    """What to doubt, each only once, with the cases that it is said of."""
    said = [f"on whom {one.name} was trained is not on record: is it new to these cases?" for one in trained
            if not one.patients]  # fmt: skip
    doubts: dict[str, list[str]] = {}
    for one in measured:
        for doubt in _doubts(trained, one):
            doubts.setdefault(doubt, []).append(one.case.case_id)
    for doubt, cases in doubts.items():
        named = ", ".join(cases[:NAMED]) + f" and {len(cases) - NAMED} more" * (len(cases) > NAMED)
        said.append(f"{named}: {doubt}")
    return [f"warning: {text}" for text in said]


def _doubts(trained: Sequence[Trained], one: Measured) -> Iterator[str]:
    if count := sum(network.knows(one.case) for network in trained):
        verb = "was" if count == 1 else "were"
        who = f"{count} of the {len(trained)} networks {verb}" if len(trained) > 1 else "the network was"
        yield f"{who} trained on this patient: the result says nothing of new ones."
    if one.copies:
        yield f"{' and '.join(one.copies)} hold the same voxels; is a sequence missing?"
    if one.full:
        yield (
            f"no voxel of {', '.join(one.full)} is exactly 0, so that skull and air count as brain: expected scans "
            "that hold the brain only."
        )


def _predicted(one: Trained, case: PreparedCase, scan: Scan, place: Path) -> np.ndarray:
    """Return 8-bit probabilities (x, y, z, regions) of a case on its own grid; ``place`` is a folder to work in."""
    data = Prepared(one.manifest, [case])
    path, weights = place / "configs" / "inference.json", str(one.weights.resolve())
    places = {"bundle_root": str(place), "ckpt_dir": weights, "output_dir": str(place / "predictions")}
    write_json(path, {**one.config, **places, "handlers": _handlers(one.config)})
    with _quiet():
        from monai.bundle.workflows import ConfigWorkflow

        workflow = ConfigWorkflow(str(path), logging_file=False, workflow_type=None, run_id="inference", data=data)
        try:
            workflow.initialize()
            workflow.run()
        except Exception as error:
            # MONAI wraps it once for each reference.
            raise first_cause(error) from None
    return _back(read_probabilities(place / FOLDER / f"{scan.case.case_id}.nii.gz"), scan, one)


def _back(codes: np.ndarray, scan: Scan, one: Trained) -> np.ndarray:
    step = scan.steps(one)
    if all(width == 1 for width in step):
        return codes
    found = resample(codes, [1 / width for width in step], scan.case.shape)
    # One half itself is no tumour, as in every label map.
    return np.ceil(found - 0.5).clip(0, 255).astype(np.uint8)


def _handlers(config: Any) -> list[dict[str, Any]]:
    """Handlers of an inference config, with probabilities alone for what it writes."""
    probabilities = {
        "_target_": "benchmark.training.handlers.ProbabilityWriter",
        "folder": f"$@bundle_root + '/{FOLDER}'",
        "cases": "$@dataset.cases",
        "regions": "$list(@data.manifest.regions)",
    }
    return [*(one for one in config["handlers"] if not one["_target_"].endswith("Writer")), probabilities]


def _prepared(one: Trained, folder: Path, scan: Scan, place: Path) -> PreparedCase:
    """Prepare a case by the code that prepares a training set, at the voxel size that the network knows."""
    step, case = scan.steps(one), scan.case
    if any(width != 1 for width in step):
        names = {modality: f"{case.case_id}-{number}.nii" for number, modality in enumerate(case.images)}
        shape, affine = new_shape(case.shape, step), new_affine(scan.affine, step)
        volumes = read_images(folder, case.images.values())
        folder = place / SCANS
        folder.mkdir(parents=True, exist_ok=True)
        for name, (volume, _) in zip(names.values(), volumes, strict=True):
            voxels = resample(volume, step, shape)
            # Whole numbers stay whole: a trace of brain in the air around it is air.
            voxels = np.rint(voxels).astype(np.int32) if volume.dtype.kind in "iu" else voxels
            nibabel.Nifti1Image(voxels, affine).to_filename(folder / name)
        case = replace(
            case, images=names, shape=shape, sha256={name: sha256_file(folder / name) for name in names.values()}
        )
    listed = CaseList("new scans", one.manifest, (case,), place=folder)
    return prepare_case(case, listed, place / "prepared")


def _size(spacing: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in spacing) + " mm"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what MONAI and ignite log of each case, and MONAI's warning that a config is a program, off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="parsing config_file")
            yield
    finally:
        logging.disable(before)
