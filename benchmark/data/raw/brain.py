"""Get a case's brain mask: from the user's file, or from a tool that the user names."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np

from benchmark.base.records import InputError
from benchmark.data.raw.geometry import Grid, Volume
from benchmark.data.scan import AFFINE_TOLERANCE
from benchmark.data.volumes import read_image


def is_command(mask: str) -> bool:
    """Say whether what a user named is a tool's command line; any other text is how the files of masks are named.

    Raises:
        InputError: for a command line that does not say where its input or output stands.
    """
    found = [place for place in ("{input}", "{output}") if place in mask]
    if len(found) == 1 or (not found and (not mask.strip() or len(mask.split()) > 1)):
        raise InputError(
            f"--mask {mask!r}: expected the name of mask files, such as mask for CASE_mask.nii.gz, or a command with "
            "{input} and {output}."
        )
    return bool(found)


def read_mask(folder: Path, image: str, grid: Grid) -> np.ndarray:
    """Read a brain mask on a grid as booleans.

    Raises:
        InputError: if it cannot be read, has another grid, or is no mask: of 0 and one other value, both there.
    """
    path = folder / image
    voxels, affine = read_image(folder, image)
    if voxels.shape != grid.shape or not np.allclose(affine, grid.affine, rtol=0, atol=AFFINE_TOLERANCE):
        raise InputError(
            f"{path}: expected a brain mask on the grid of the scan that it is of, {_said(grid)}, found "
            f"{_said(Grid(voxels.shape, affine))}."
        )
    values = np.unique(voxels)
    if len(values) != 2 or values[0] != 0:
        found = ", ".join(f"{value:g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
        raise InputError(f"{path}: expected a brain mask, of 0 and one other value, found {found}.")
    return np.asarray(voxels != 0)


def words_of(command: str) -> list[str]:
    """Split a tool's command line into words.

    Raises:
        InputError: if it is none, or its first word is no program on this machine.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--mask: expected a command, found {command!r}: {error}.") from error
    if shutil.which(words[0]) is None:
        raise InputError(f"--mask: expected a tool that starts, found {words[0]}: no such program on this machine.")
    return words


def run_tool(command: str, scan: Volume) -> np.ndarray:
    """Let a tool find the brain in a scan; ``{input}`` and ``{output}`` in its command become paths of .nii.gz files.

    Raises:
        InputError: if it cannot be started, fails, or writes no mask of the scan's grid.
    """
    with TemporaryDirectory() as place:
        paths = {"{input}": str(Path(place, "scan.nii.gz")), "{output}": str(Path(place, "mask.nii.gz"))}
        nibabel.Nifti1Image(scan.voxels.astype(np.float32), scan.affine).to_filename(paths["{input}"])
        words = words_of(command)
        for name, path in paths.items():
            words = [word.replace(name, path) for word in words]
        try:
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise InputError(f"--mask: expected a tool that starts, found {words[0]}: {error.strerror}.") from error
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise InputError(f"--mask: expected {words[0]} to end well, found exit code {done.returncode}: {last}")
        if not Path(paths["{output}"]).is_file():
            raise InputError(f"--mask: expected {words[0]} to write a mask to {{output}}, found that it wrote none.")
        try:
            return read_mask(Path(place), "mask.nii.gz", scan.grid)
        except InputError as error:
            raise InputError(str(error).replace(paths["{output}"], f"what {words[0]} wrote")) from error


def _said(grid: Grid) -> str:
    size = " x ".join(f"{width:.3g}" for width in grid.spacing)
    origin = ", ".join(f"{at:.1f}" for at in grid.affine[:3, 3])
    return f"{' x '.join(map(str, grid.shape))} voxels of {size} mm from {origin}"
