"""Register two scans rigidly with ITK: by mutual information, from coarse to fine, with the same result each time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmark.base.records import InputError
from benchmark.data.raw.geometry import Grid, Volume, turned
from benchmark.data.raw.itk_images import FLIP, load_itk, to_itk
from benchmark.data.resample import new_affine, new_shape

SETTINGS: dict[str, Any] = {
    "metric": "Mattes mutual information",
    "bins": 32,
    "margin_mm": 10.0,
    "starts_degrees": [-15.0, 0.0, 15.0],
    "levels_mm": [4.0, 2.0, 1.0],
    "sampled": [1.0, 0.3, 0.05],
    "seed": 1,
    "transform": "VersorRigid3D",
    "optimizer": "RegularStepGradientDescentv4",
    "iterations": 200,
    "smallest_step": 1e-4,
}
"""How far around the brain the metric is taken, the rotations about each axis that the search starts from, the distance
of the points where the metric is taken at each level, which are smoothed by half of it, and the share that is taken."""

LARGEST_TURN = 45.0
"""Largest rotation in degrees of a scan against the one that it is registered to."""

LARGEST_SHIFT = 80.0
"""Largest distance in mm between the middle of what is bright in a scan and where registration puts the brain's."""

TRIED = 10.0
"""Distance in mm by which a registered scan is shifted each way, to see that the metric falls."""

LEAST_FALL = 0.15
"""Smallest share of the metric by which it falls there, whichever way, where a registration found something."""

LEAST_SHOWN = 0.5
"""Smallest share of the brain that a scan may show: a metric of little that both show is high by chance."""

TOO_LITTLE = f"expected it to show at least {LEAST_SHOWN:.0%} of the brain and what is around it, found less "
"""How it is said that a scan shows too little; where, follows."""


@dataclass(frozen=True)
class Registration:
    """A rigid transform: ``matrix`` maps points of the fixed scan, RAS+ in mm, to points of the moving one.

    ``information`` is the mutual information in nats, ``fall`` the smallest share of it that is lost by a shift of
    ``TRIED`` mm. ``start`` says where the search began from.
    """

    matrix: np.ndarray
    information: float
    fall: float
    start: str


def around(brain: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return where the metric is taken: the brain and what moves with it, as its edge says most of where it lies."""
    return np.asarray(ndimage.distance_transform_edt(~brain, spacing) <= SETTINGS["margin_mm"])


def register(fixed: Volume, moving: Volume, mask: np.ndarray) -> Registration:
    """Find the rigid transform from a scan to another of the same head, where a mask on the first one's grid says.

    The coarsest level is searched from the scans' own headers, from the middles of both, and from the best of either
    with some rotations; the best of these is refined. ITK runs in one thread and draws the same points each time, so
    that equal scans give equal bits on one machine with one version of ITK.

    Raises:
        InputError: with the reason, where what was found is implausible, or no better than its surroundings.
    """
    try:
        return _register(_Search(fixed, moving, mask), fixed, moving, mask)
    except RuntimeError as error:
        raise InputError(f"ITK gave up: {str(error).strip().splitlines()[-1]}") from error


def _register(search: _Search, fixed: Volume, moving: Volume, mask: np.ndarray) -> Registration:
    points = _coordinates(mask, fixed.affine)
    middle, other = points.mean(axis=1), _middle(moving)
    starts = _starts(middle, other)
    values = {name: value for name, start in starts.items() if (value := search.value(start)) < np.inf}
    if not values:
        raise InputError(
            f"{TOO_LITTLE}wherever a search could start, {len(starts)} places by its header and by its middle"
        )
    tried = dict.fromkeys(("headers", "middles", min(values, key=lambda name: values[name])))
    coarse = {name: search.run(starts[name], middle, (0,)) for name in tried if name in values}
    best = min(coarse, key=lambda name: search.value(coarse[name]))
    matrix = search.run(coarse[best], middle, tuple(range(1, len(SETTINGS["levels_mm"]))))
    information = 0.0 - search.value(matrix)
    _check_information(information)
    # Out of sight there is no information.
    shifted = [max(0.0, -search.value(_shift(matrix, axis, way * TRIED))) for axis in range(3) for way in (-1, 1)]
    found = Registration(matrix, information, float(1 - max(shifted) / information), best)
    _check(found, middle, other)
    return found


def _starts(middle: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    """Return transforms to start from: by headers, by the middles of both scans, and these turned about the middle."""
    starts = {}
    for angles in sorted(itertools.product(SETTINGS["starts_degrees"], repeat=3), key=lambda turn: np.abs(turn).sum()):
        rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        said = ", turned by {:g}, {:g}, {:g} degrees".format(*angles) if any(angles) else ""
        for name, place in (("headers", middle), ("middles", other)):
            starts[name + said] = nibabel.affines.from_matvec(rotation, place - rotation @ middle)
    return starts


def _check_information(information: float) -> None:
    """Refuse where a search ended out of sight, or where two scans have nothing in common."""
    if information == -np.inf:
        raise InputError(f"{TOO_LITTLE}where the search ended")
    if not information > 0:
        raise InputError(
            f"expected mutual information above 0, found {information:g}: where the search ended, it shows nothing "
            "that the other shows"
        )


def _check(found: Registration, middle: np.ndarray, other: np.ndarray) -> None:
    angle = turned(found.matrix)
    shift = float(np.linalg.norm(found.matrix[:3, :3] @ middle + found.matrix[:3, 3] - other))
    if angle > LARGEST_TURN or shift > LARGEST_SHIFT:
        raise InputError(
            f"expected a rotation of at most {LARGEST_TURN:g} degrees and the middles within {LARGEST_SHIFT:g} mm, "
            f"found {angle:.0f} degrees and {shift:.0f} mm"
        )
    if not found.fall >= LEAST_FALL:
        raise InputError(
            f"expected mutual information to fall by {LEAST_FALL:.0%} where the scan is shifted by {TRIED:g} mm, found "
            f"{found.fall:.1%} of {found.information:.3f}: it shows nothing that the other shows"
        )


class _Search:
    """ITK's images of two scans, made once, and what is asked of them."""

    def __init__(self, fixed: Volume, moving: Volume, mask: np.ndarray) -> None:
        self.itk = load_itk()
        self.fixed, self.moving = to_itk(fixed), to_itk(moving)
        self.mask = self.itk.ImageMaskSpatialObject[3].New(Image=to_itk(Volume(mask, fixed.affine)))
        self.mask.Update()
        self.grid, self.points = fixed.grid, int(mask.sum())

    def metric(self) -> Any:
        kind = type(self.fixed)
        metric = self.itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New(
            NumberOfHistogramBins=SETTINGS["bins"]
        )
        metric.SetFixedImageMask(self.mask)
        metric.SetUseFixedImageGradientFilter(False)
        metric.SetUseMovingImageGradientFilter(False)
        # Starts without overlap are tried too.
        metric.GlobalWarningDisplayOff()
        # Threads add to one table, in any order.
        metric.SetMaximumNumberOfWorkUnits(1)
        return metric

    def shrink(self, level: int) -> int:
        return max(1, round(float(SETTINGS["levels_mm"][level]) / min(self.grid.spacing)))

    def run(self, start: np.ndarray, middle: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
        itk, kind, metric = self.itk, type(self.fixed), self.metric()
        transform = _rigid(itk, start, middle)
        scales = itk.RegistrationParameterScalesFromPhysicalShift[type(metric)].New(Metric=metric)
        optimizer = itk.RegularStepGradientDescentOptimizerv4[itk.D].New(
            ScalesEstimator=scales, NumberOfIterations=SETTINGS["iterations"], RelaxationFactor=0.5,
            MinimumStepLength=SETTINGS["smallest_step"], DoEstimateLearningRateOnce=True,
            MaximumStepSizeInPhysicalUnits=SETTINGS["levels_mm"][levels[0]] / 2, ReturnBestParametersAndValue=False,
        )  # fmt: skip
        search = itk.ImageRegistrationMethodv4[kind, kind].New(
            FixedImage=self.fixed, MovingImage=self.moving, Metric=metric, Optimizer=optimizer,
            InitialTransform=transform, InPlace=True, NumberOfLevels=len(levels),
        )  # fmt: skip
        search.SetShrinkFactorsPerLevel([self.shrink(level) for level in levels])
        search.SetSmoothingSigmasPerLevel([SETTINGS["levels_mm"][level] / 2 for level in levels])
        search.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
        search.SetMetricSamplingStrategy(itk.ImageRegistrationMethodv4Enums.MetricSamplingStrategy_REGULAR)
        search.SetMetricSamplingPercentagePerLevel([SETTINGS["sampled"][level] for level in levels])
        search.MetricSamplingReinitializeSeed(SETTINGS["seed"])
        search.Update()
        return _matrix(itk, transform)

    def value(self, matrix: np.ndarray) -> float:
        """Return the metric, less for more information, at points as far apart as those of the coarsest level.

        Infinite where fewer than ``LEAST_SHOWN`` of the brain's points lie in the moving scan.
        """
        metric, step = self.metric(), [self.shrink(0)] * 3
        grid = Grid(new_shape(self.grid.shape, step), new_affine(self.grid.affine, step))
        metric.SetVirtualDomainFromImage(to_itk(Volume(np.zeros(grid.shape), grid.affine)))
        metric.SetFixedImage(self.fixed)
        metric.SetMovingImage(self.moving)
        metric.SetMovingTransform(_rigid(self.itk, matrix, np.zeros(3)))
        metric.Initialize()
        value, shown = float(metric.GetValue()), metric.GetNumberOfValidPoints()
        return value if shown >= LEAST_SHOWN * self.points / step[0] ** 3 else np.inf


def _rigid(itk: Any, matrix: np.ndarray, centre: np.ndarray) -> Any:
    """Return ITK's transform of a matrix, which turns about a point."""
    lps = FLIP @ matrix @ FLIP
    transform = itk.VersorRigid3DTransform[itk.D].New()
    transform.SetCenter((FLIP[:3, :3] @ centre).tolist())
    transform.SetMatrix(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3])), 1e-6)
    transform.SetOffset(lps[:3, 3].tolist())
    return transform


def _matrix(itk: Any, transform: Any) -> np.ndarray:
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(transform.GetMatrix())
    lps[:3, 3] = np.asarray(transform.GetOffset())
    return np.asarray(FLIP @ lps @ FLIP)


def _coordinates(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.asarray(affine[:3, :3] @ np.argwhere(mask).T + affine[:3, 3:])


def _middle(scan: Volume) -> np.ndarray:
    """Return the mean place, mm, of what is brighter than a scan's mean."""
    return np.asarray(_coordinates(scan.voxels > scan.voxels.mean(), scan.affine).mean(axis=1))


def _shift(matrix: np.ndarray, axis: int, by: float) -> np.ndarray:
    shifted = matrix.copy()
    shifted[axis, 3] += by
    return shifted
