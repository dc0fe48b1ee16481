"""Draw a patient's healthy brain from a seed: tissue fractions from warped ICBM 152 maps."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.base.records import InputError

Array = np.ndarray[Any, np.dtype[Any]]

EXTENT = (160.0, 192.0, 160.0)
"""Field of view in mm, left-right, back-front and down-up."""


@dataclass(frozen=True)
class Anatomy:
    """One patient's healthy brain on the grid.

    ``mask`` is boolean (x, y, z); ``white``, ``grey``, ``csf`` and ``detail`` hold one float per voxel of the mask. The
    first three add up to the part of the voxel that is brain (1 but at the mask's edge); ``detail`` is T1 brightness
    that they do not explain. ``points`` is (3, voxels) in mm from the centre; ``foci`` is (3,) mm each.
    """

    mask: Array
    white: Array
    grey: Array
    csf: Array
    detail: Array
    points: Array
    foci: tuple[Array, ...]


def grid(spacing: float) -> tuple[tuple[int, int, int], Array]:
    """Return the shape, and the affine (RAS, mm, origin at the centre of the field of view), at this spacing in mm."""
    if not 0.5 <= spacing <= 10:
        raise InputError(f"phantom: spacing must be between 0.5 and 10 mm, found {spacing}.")
    shape = tuple(int(np.ceil(extent / spacing)) for extent in EXTENT)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * spacing for n in shape]
    return (shape[0], shape[1], shape[2]), affine


def _axes(spacing: float) -> list[Array]:
    shape, affine = grid(spacing)
    return [affine[a, 3] + spacing * np.arange(n) for a, n in enumerate(shape)]


def smooth_field(rng: np.random.Generator, spacing: float, scale: float) -> Array:
    """Draw a smooth random field on the grid, with mean 0 and variance 1 at every point; ``scale`` is in mm.

    White noise on a lattice of pitch ``scale``, under Gaussians of that standard deviation: two points d mm apart
    correlate about exp(-d^2 / (4 scale^2)). The lattice does not depend on ``spacing``, so neither does the field.
    """
    weights = []
    for axis, extent in zip(_axes(spacing), EXTENT, strict=True):
        reach = int(np.ceil(extent / 2 / scale)) + 3
        nodes = scale * np.arange(-reach, reach + 1)
        weight = np.exp(-((axis[:, None] - nodes) ** 2) / (2 * scale**2))
        weights.append(weight / np.linalg.norm(weight, axis=1, keepdims=True))
    field = rng.standard_normal([w.shape[1] for w in weights])
    for weight in weights:
        field = np.tensordot(field, weight, axes=(0, 1))
    return field


@functools.lru_cache(maxsize=1)
def template(spacing: float) -> dict[str, Array]:
    """Read nilearn's ICBM 152 maps at 1 mm, cropped to the brain and blurred to what ``spacing`` in mm can show.

    Returns mask, white, grey and detail (the T1 beyond what the tissue maps explain), each float32 (x, y, z).
    """
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    from scipy import ndimage

    loaders = {"t1": load_mni152_template, "grey": load_mni152_gm_template, "white": load_mni152_wm_template}
    # At 1 mm the loaders only divide by the maximum; at other resolutions they interpolate without a low-pass.
    maps = {name: np.asarray(load(resolution=1).dataobj, dtype=np.float32) for name, load in loaders.items()}
    # The T1's own outline cuts the sulci out; skull strippers leave their fluid in.
    mask = ndimage.binary_fill_holes(ndimage.gaussian_filter((maps["t1"] > 0).astype(np.float32), 2.0) > 0.45)
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    white, grey, inside = maps["white"][box], maps["grey"][box], mask[box]
    detail = (maps["t1"][box] - (0.87 * white + 0.65 * grey + 0.25 * (1 - white - grey))) * (maps["t1"][box] > 0)
    out = {"mask": inside.astype(np.float32), "white": white * inside, "grey": grey * inside, "detail": detail}
    return {name: ndimage.gaussian_filter(volume, 0.3 * spacing) for name, volume in out.items()}


def _warp(rng: np.random.Generator, points: Array, spacing: float) -> Array:
    """Return the template voxel, (3, x, y, z), that each grid point shows: small affine plus smooth deformation."""
    from scipy.spatial.transform import Rotation

    centre = (np.array(template(spacing)["mask"].shape) - 1) / 2
    scale = rng.uniform(0.87, 0.93) * rng.uniform(0.97, 1.03, 3)
    matrix = Rotation.from_euler("xyz", rng.normal(0, 2.5, 3), degrees=True).as_matrix() / scale
    coords = np.tensordot(matrix, points, axes=1) + centre[:, None, None, None]
    for axis in coords:
        axis += 2.2 * smooth_field(rng, spacing, 22.0) + 0.8 * smooth_field(rng, spacing, 7.0)
    return coords


def _place(rng: np.random.Generator, coords: Array, spacing: float, count: int) -> Iterator[Array]:
    """Draw ``count`` points, mm, in deep white matter of the cerebrum and at least 45 mm from each other."""
    white = template(spacing)["white"]
    found: list[Array] = []
    while len(found) < count:
        point = rng.uniform(-0.45, 0.45, 3) * EXTENT
        index = tuple(round((p + e / 2) / spacing - 0.5) for p, e in zip(point, EXTENT, strict=True))
        voxel = np.rint(coords[:, index[0], index[1], index[2]]).astype(int)
        if (voxel < 0).any() or (voxel >= white.shape).any() or white[tuple(voxel)] < 0.8:
            continue
        # Below 55 mm of the template lie cerebellum and stem; the midline is at the middle of its first axis.
        if voxel[2] < 55 or abs(voxel[0] - white.shape[0] / 2) < 15:
            continue
        if all(np.linalg.norm(point - other) > 45 for other in found):
            found.append(point)
            yield point


def anatomy(seed: int, patient: int, volumes: tuple[float, ...], *, spacing: float) -> Anatomy:
    """Make one patient's healthy brain, pushed aside where tumours of these ``volumes`` in ml will be.

    ``spacing`` is in mm. Nothing in it depends on the session.
    """
    from scipy import ndimage

    rng = np.random.default_rng([seed, patient, 0])
    points = np.stack(np.meshgrid(*_axes(spacing), indexing="ij"))
    coords = _warp(rng, points, spacing)
    foci = tuple(_place(rng, coords, spacing, len(volumes)))
    for focus, volume in zip(foci, volumes, strict=True):
        offset = points - focus[:, None, None, None]
        radius = (volume * 1000 * 0.75 / np.pi) ** (1 / 3)
        # Mass effect: what is shown at the focus's edge lay nearer to its centre.
        coords -= 0.25 * offset * np.exp(-(offset**2).sum(0) / (2 * radius**2))
    maps = template(spacing)
    cover = ndimage.map_coordinates(maps["mask"], coords, order=1, output=np.float64)
    mask = cover > 0.5
    white, grey, detail = (
        ndimage.map_coordinates(maps[name], coords[:, mask], order=1, output=np.float64)
        for name in ("white", "grey", "detail")
    )
    # The maps average many people; the power makes tissue borders as sharp as one person's.
    parts = np.clip([white, grey, 1 - white - grey], 0, 1) ** 1.7
    parts *= np.minimum(cover[mask], 1) / parts.sum(0)
    return Anatomy(mask, parts[0], parts[1], parts[2], detail, points[:, mask], foci)
