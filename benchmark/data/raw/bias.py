"""Estimate the bias field of a scan by N4 (Tustison et al., 2010) with ITK."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.base.records import InputError
from benchmark.data.raw.geometry import Volume, bring
from benchmark.data.raw.itk_images import load_itk, to_itk
from benchmark.data.resample import new_affine, new_shape, resample, steps

SETTINGS: dict[str, Any] = {"voxels_mm": 4.0, "levels": 4, "iterations": 50, "convergence": 0.001, "bins": 256}
"""Voxels that the field is estimated on, N4's fitting levels, iterations of each and threshold, and bins of Otsu's
histogram; all else is ITK's default."""


def bias_field(scan: Volume) -> np.ndarray:
    """Return the factor that a scan's intensities are too high by, float32 of its shape, above 0.

    It is estimated on voxels of 4 mm where the scan has smaller ones, inside what Otsu's threshold finds bright, and
    continued outside; its geometric mean there is 1.

    Raises:
        InputError: if ITK cannot estimate one, as of a scan that is a few voxels thin.
    """
    itk = load_itk()
    step = [max(1.0, width) for width in steps(scan.grid.spacing, [SETTINGS["voxels_mm"]] * 3)]
    coarse = resample(scan.voxels, step, new_shape(scan.voxels.shape, step))
    # N4 takes logarithms, and what it divides by is read off its result, which 0 would hide.
    positive = np.maximum(coarse, max(float(coarse.max()) * 1e-6, float(np.finfo(np.float32).tiny)))
    small = Volume(positive, new_affine(scan.affine, step))
    image = to_itk(small)
    float_type, mask_type = type(image), itk.Image[itk.UC, 3]
    bright = itk.OtsuThresholdImageFilter[float_type, mask_type].New(
        image, InsideValue=0, OutsideValue=1, NumberOfHistogramBins=SETTINGS["bins"]
    )
    bright.Update()
    correct = itk.N4BiasFieldCorrectionImageFilter[float_type, mask_type, float_type].New(image)
    correct.SetMaskImage(bright.GetOutput())
    correct.SetNumberOfFittingLevels(SETTINGS["levels"])
    correct.SetMaximumNumberOfIterations([SETTINGS["iterations"]] * SETTINGS["levels"])
    correct.SetConvergenceThreshold(SETTINGS["convergence"])
    try:
        correct.Update()
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1]
        raise InputError(
            f"N4 gave up on a scan of {' x '.join(map(str, scan.voxels.shape))} voxels: {said}."
        ) from error
    inside = itk.array_from_image(bright.GetOutput()).T > 0
    log = np.log(positive / itk.array_from_image(correct.GetOutput()).T)
    log -= log[inside].mean()
    # The field is smooth over tens of mm, so that splines of its values 4 mm apart are the field itself.
    return np.asarray(np.exp(bring(Volume(log, small.affine), scan.grid, np.eye(4))[0]))
