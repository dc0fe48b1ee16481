"""Turn scans as a scanner leaves them into what networks are trained on: bias corrected, registered, the brain only."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

import benchmark
from benchmark.base.declared import read
from benchmark.base.files import is_free, replacing_folder, write_json
from benchmark.base.progress import Progress
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest
from benchmark.data.new_scans import KNOWN, find_scans
from benchmark.data.raw import bias, brain, registration
from benchmark.data.raw.geometry import Grid, Volume, bring, check_grid, turned, upright
from benchmark.data.raw.preview import draw, write_page
from benchmark.data.raw.record import ENDING, Found, Input, Steps
from benchmark.data.scan import PREVIEW
from benchmark.data.volumes import parse_path, read_image, sha256_file

REFERENCE = "T1c"
"""The sequence that all others are registered to."""

TEMPLATE = "template"
"""Name of the template among the registrations."""

SIZE = 1.0
"""Voxel size of prepared scans in mm."""


@dataclass(frozen=True)
class Wanted:
    """What is to be done to every case.

    ``mask`` is the name of mask files or a tool's command, ``template`` a file that says where prepared scans lie.
    With ``keep_bias`` the fields that N4 finds serve the registration only. ``size`` is that of voxels in mm.
    """

    mask: str
    template: Path | None = None
    keep_bias: bool = False
    size: float = SIZE

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what comes out, as the record keeps it."""
        template = {"file": self.template.name, "sha256": sha256_file(self.template)} if self.template else None
        return {
            "size_mm": self.size,
            "bias": {"method": "N4", "kept": self.keep_bias, **bias.SETTINGS},
            "registration": registration.SETTINGS,
            "interpolation": "cubic B-spline, mean over parts no wider than a raw voxel",
            "mask": self.mask,
            "template": template,
        }


def prepare(
    folder: Path, out: Path, wanted: Wanted, manifest: Manifest | None = None, jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[list[str], dict[str, str]]:  # fmt: skip
    """Prepare each case in a folder of raw scans as ``out/<case>/``; return what is there then, and why others are not.

    ``out/previews.html`` shows all that ``out`` holds then before and after. Files are found as
    ``new_scans.find_scans`` does, the four sequences of BraTS or a manifest's. A case that was prepared from the same
    files in the same way stays. Cases take processes of their own where ``jobs`` is above 1.

    Raises:
        InputError: if no case is found, one lacks a sequence or its mask, what is wanted cannot be done to any, or
            ``out`` lies in the folder or holds a record that cannot be read.
    """
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{out}: expected a folder for prepared scans outside {folder}, in which they would be found as raw ones."
        )
    modalities = list(manifest.modalities) if manifest else list(KNOWN)
    if REFERENCE not in modalities:
        raise InputError(f"{manifest.name if manifest else ''}: expected {REFERENCE}, to which others are registered.")
    if wanted.template:
        check_grid(wanted.template, _template(wanted.template).grid)
    masks = [] if brain.is_command(wanted.mask) else [wanted.mask]
    if not masks:
        brain.words_of(wanted.mask)
    _records(out)
    cases, _ = find_scans(folder, [*modalities, *masks], _with_masks(manifest, masks))
    todo = [
        _Job(folder, out / case.case_id, case, tuple(modalities), _ends(modalities, manifest), wanted) for case in cases
    ]
    prepared, refused = list[str](), dict[str, str]()
    for done, (case, problem) in enumerate(zip(cases, _each(todo, jobs), strict=True), start=1):
        if problem:
            refused[case.case_id] = problem
        else:
            prepared.append(case.case_id)
        if progress:
            progress(done, len(cases), case.case_id)
    if prepared:
        write_page(out, _records(out))
    return prepared, refused


def _records(out: Path) -> list[Steps]:
    """Read the records of all prepared cases in a folder, in the order of their ids."""
    paths = sorted(out.glob(f"*/*{ENDING}"))
    return [read(path, Steps, "a record") for path in paths if path.name == path.parent.name + ENDING]


@dataclass(frozen=True)
class _Job:
    folder: Path
    target: Path
    case: Case
    modalities: tuple[str, ...]
    ends: Mapping[str, str]
    wanted: Wanted

    def __call__(self) -> str:
        """Prepare the case and return why that could not be, or nothing."""
        try:
            inputs, scans = _read(self)
            if not _is_done(self, inputs):
                _write(self, inputs, scans)
        except InputError as error:
            return str(error)
        return ""


def _each(jobs: Sequence[_Job], processes: int) -> Iterator[str]:
    if processes == 1 or len(jobs) < 2:
        yield from (job() for job in jobs)
        return
    # ITK holds all of a process to one thread at a time.
    with ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn")) as pool:
        try:
            yield from pool.map(_Job.__call__, jobs)
        except BrokenProcessPool as error:
            raise InputError(
                f"A process ended before its case was done: expected memory for --jobs {processes}, found too little?"
            ) from error


def _with_masks(manifest: Manifest | None, masks: Sequence[str]) -> Manifest | None:
    if manifest is None or not masks:
        return manifest
    images = {**manifest.layout.images, **{name: f"_{name}" for name in masks}}
    return manifest.model_copy(update={"layout": manifest.layout.model_copy(update={"images": images})})


def _ends(modalities: Sequence[str], manifest: Manifest | None) -> dict[str, str]:
    """How the names of prepared files end, as they are found again."""
    layout = manifest.layout.images if manifest else {}
    usual = {name: f"_{KNOWN.get(name, (name,))[0]}" for name in modalities}
    return {name: end if isinstance(end := layout.get(name), str) else usual[name] for name in modalities}


def _read(job: _Job) -> tuple[dict[str, Input], dict[str, Volume]]:
    """Read and check a case's scans; and the mask's hash with theirs."""
    inputs, scans = {}, {}
    for name, image in job.case.images.items():
        path = job.folder / parse_path(image).file
        voxels, affine = read_image(job.folder, image)
        inputs[name] = Input(file=image, sha256=sha256_file(path), shape=list(voxels.shape), affine=affine.tolist())
        if name in job.modalities:
            scans[name] = Volume(voxels.astype(np.float32), affine)
            check_grid(path, scans[name].grid)
            if not (voxels > 0).any() or voxels.min() == voxels.max():
                raise InputError(f"{path}: expected a scan, found no voxel above 0, or one value alone.")
    return inputs, scans


def _is_done(job: _Job, inputs: Mapping[str, Input]) -> bool:
    """Say whether the case is there, prepared from these files in this way; InputError if something else is."""
    if is_free(job.target):
        return False
    path = job.target / (job.case.case_id + ENDING)
    known = read(path, Steps, "the record of a prepared case") if path.is_file() else None
    if known is None or known.inputs != inputs or known.settings != json.loads(json.dumps(job.wanted.settings)):
        raise InputError(
            f"{job.target}: expected no such folder, or one made of the same files in the same way, found another; "
            "name another folder, or move it away."
        )
    return True


def _write(job: _Job, inputs: Mapping[str, Input], scans: Mapping[str, Volume]) -> None:
    """Take a case through all steps and write its scans, its record and its preview."""
    fields = {name: bias.bias_field(scan) for name, scan in scans.items()}
    flat = {name: Volume(scan.voxels / fields[name], scan.affine) for name, scan in scans.items()}
    own = upright(scans[REFERENCE].grid, job.wanted.size)
    reference = Volume(bring(flat[REFERENCE], own, np.eye(4))[0], own.affine)
    mask = _brain(job, scans[REFERENCE].grid, reference)
    near = registration.around(mask, own.spacing)
    found = {name: _found(job, name, reference, scan, near) for name, scan in flat.items() if name != REFERENCE}
    grid = own
    to_reference: np.ndarray = np.eye(4)
    if job.wanted.template:
        template = _template(job.wanted.template)
        found[TEMPLATE] = _found(job, TEMPLATE, reference, template, near)
        grid, to_reference = upright(template.grid, job.wanted.size), np.linalg.inv(found[TEMPLATE].matrix)
        mask = bring(Volume(mask, own.affine), grid, to_reference, order=1)[0] > 0.5
    transforms = {
        name: to_reference if name == REFERENCE else np.array(found[name].matrix) @ to_reference for name in scans
    }
    written = scans if job.wanted.keep_bias else flat
    made = {name: _inside(job, name, bring(scan, grid, transforms[name]), mask) for name, scan in written.items()}
    before = {name: bring(scan, grid, to_reference, order=1)[0] for name, scan in scans.items()}
    steps = {
        "inputs": dict(inputs),
        "bias": {name: [float(field.min()), float(field.max())] for name, field in fields.items()},
        "registrations": found,
        "transforms": {name: matrix.tolist() for name, matrix in transforms.items()},
        "brain_ml": float(mask.sum() * abs(np.linalg.det(grid.affine)) / 1000),
    }
    with replacing_folder(job.target) as temporary:
        _save(job, temporary, made, grid, steps)
        draw(temporary / f"{job.case.case_id}{PREVIEW}", before, made, mask)


def _save(job: _Job, place: Path, made: Mapping[str, np.ndarray], grid: Grid, steps: Mapping[str, Any]) -> None:
    """Write a case's scans and its record into a folder."""
    for name, voxels in made.items():
        image = nibabel.Nifti1Image(voxels, grid.affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(grid.affine, code=1)
        image.set_sform(grid.affine, code=1)
        image.to_filename(place / f"{job.case.case_id}{job.ends[name]}.nii.gz")
    record = Steps(
        case_id=job.case.case_id, reference=REFERENCE, versions=_versions(),
        settings=json.loads(json.dumps(job.wanted.settings)), shape=list(grid.shape), affine=grid.affine.tolist(),
        files={path.name: sha256_file(path) for path in sorted(place.iterdir())}, **steps,
    )  # fmt: skip
    write_json(place / (job.case.case_id + ENDING), record.model_dump())


def _template(path: Path) -> Volume:
    return Volume(*read_image(path.parent, path.name))


def _brain(job: _Job, raw: Grid, reference: Volume) -> np.ndarray:
    """Return the brain's mask on the reference's upright grid, from the user's file on the raw one or by a tool."""
    if brain.is_command(job.wanted.mask):
        mask = brain.run_tool(job.wanted.mask, reference)
    else:
        given = brain.read_mask(job.folder, job.case.images[job.wanted.mask], raw)
        mask = bring(Volume(given, raw.affine), reference.grid, np.eye(4), order=1)[0] > 0.5
    if not mask.any():
        raise InputError(f"{job.folder}: case {job.case.case_id}: expected a brain mask with some brain, found none.")
    return mask


def _found(job: _Job, name: str, reference: Volume, scan: Volume, mask: np.ndarray) -> Found:
    """Register the reference to a scan; InputError that names the case and the scan."""
    try:
        one = registration.register(reference, scan, mask)
    except InputError as error:
        which = f"case {job.case.case_id}: {REFERENCE} and {name} were not registered"
        raise InputError(f"{job.folder}: {which}: {error}.") from error
    middle = reference.affine @ [*np.argwhere(mask).mean(axis=0), 1]
    return Found(
        matrix=one.matrix.tolist(), information=one.information, fall=one.fall, start=one.start,
        degrees=turned(one.matrix), mm=float(np.linalg.norm((one.matrix @ middle - middle)[:3])),
    )  # fmt: skip


def _inside(job: _Job, name: str, brought: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """Return a sequence's brain: above 0 where the scan shows it, which is how readers know it, and 0 elsewhere."""
    voxels, shown = brought
    share = float(shown[mask].mean()) if mask.any() else 0.0
    if share < registration.LEAST_SHOWN:
        raise InputError(
            f"{job.folder}: case {job.case.case_id}: expected {name} to show at least "
            f"{registration.LEAST_SHOWN:.0%} of the brain, found {share:.0%}."
        )
    return np.where(mask & shown, voxels.clip(voxels.max() * 1e-6), 0).astype(np.float32)


def _versions() -> dict[str, str]:
    names = ("itk", "numpy", "scipy", "nibabel")
    known = {name: version(name) for name in names}
    return {"benchmark": benchmark.__version__, "python": platform.python_version(), **known}
