"""Corrupt the images of prepared cases at a stated level, the same for every network that is tested on them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import GaussianSmooth, NormalizeIntensity, RandBiasField, RandGaussianNoise
from nibabel.orientations import io_orientation

from benchmark.data.manifest import CaseList
from benchmark.data.prepare import DataSet, PreparedCase
from benchmark.data.volumes import canonical, read_images


@dataclass(frozen=True)
class CorruptedCase(PreparedCase):
    """A prepared case whose image was corrupted and normalised anew over the same voxels; its label is as it was.

    ``kind`` and ``level`` are:

    - ``noise``: standard deviation of added Gaussian noise, in standard deviations of the sequence inside the brain;
    - ``bias_field``: largest coefficient, either way, of the polynomial of degree 3 whose exponential multiplies the
      intensities as they are in the files, one field for all sequences;
    - ``blur``: standard deviation of a Gaussian in the unit of the spacing, over voxels inside the brain only;
    - ``missing``: name of the sequence that is zero everywhere, as a sequence without a file would be;
    - ``shift``: voxels by which the image lies off the middle of the canvas, along both axes of its slices.

    What is random follows from the case's id alone, so that levels differ in size only.
    """

    kind: str = ""
    level: float | str = 0.0
    listed: CaseList | None = None

    @property
    def image(self) -> np.ndarray:
        """float16 of shape (slices, modalities, x, y) as ``PreparedCase.image``; ``shift`` adds rows and columns."""
        whole = np.array(PreparedCase(self.case, self.folder).image)
        if self.kind == "shift":
            whole = np.pad(whole, [(0, 0), (0, 0), (self._padding(), 0), (self._padding(), 0)])
        elif self.kind == "missing":
            whole[:, self._modalities().index(str(self.level))] = 0
        else:
            whole = self._changed(whole)
        return self._of_slices(whole)

    def restore(self, labels: np.ndarray) -> np.ndarray:
        """Put labels on the original's grid, without the rows and columns that ``shift`` adds."""
        return super().restore(labels[:, self._padding() :, self._padding() :])

    def _padding(self) -> int:
        # What lies on one side only moves the middle by half of it.
        return 2 * int(self.level) if self.kind == "shift" else 0

    def _modalities(self) -> list[str]:
        return [] if self.listed is None else list(self.listed.manifest.modalities)

    def _changed(self, whole: np.ndarray) -> np.ndarray:
        clean = torch.from_numpy(whole.astype(np.float32).transpose(1, 2, 3, 0))
        inside = (clean != 0).float()
        level, seed = float(self.level), zlib.crc32(self.case.case_id.encode())
        if self.kind == "noise":
            noise = RandGaussianNoise(prob=1.0, std=level, sample_std=False)
            noise.set_random_state(seed)
            changed = noise(clean)
        elif self.kind == "blur":
            order = np.argsort(io_orientation(self.affine)[:, 0])
            smooth = GaussianSmooth([level / self.spacing[axis] for axis in order], approx="sampled")
            # Weights beyond the brain's border are left out, or it would darken towards the border.
            changed = smooth(clean) / smooth(inside).clamp(min=1e-6)
        else:
            field = RandBiasField(prob=1.0, degree=3, coeff_range=(-level, level))
            field.set_random_state(seed)
            changed = field(torch.from_numpy(self._intensities()))
        normalised = NormalizeIntensity(nonzero=True, channel_wise=True)(changed * inside)
        return np.asarray(normalised, dtype=np.float16).transpose(3, 0, 1, 2)

    def _intensities(self) -> np.ndarray:
        """float32 of shape (modalities, x, y, slices) inside the crop box, as the publisher's files have them."""
        assert self.listed is not None
        paths = [self.case.images[modality] for modality in self._modalities()]
        volumes = [canonical(volume, affine)[self._box()] for volume, affine in read_images(self.listed.folder, paths)]
        return np.stack(volumes).astype(np.float32)


@dataclass(frozen=True)
class CorruptedSet(DataSet):
    """A data set whose images are corrupted, as a bundle's inference config asks for it."""

    kind: str = ""
    level: float | str = 0.0

    def part(self, fold: int, part: str) -> list[PreparedCase]:
        """Cases as ``DataSet.part`` gives them, with corrupted images."""
        return [
            CorruptedCase(case.case, case.folder, case.slices, self.kind, self.level, self.cases)
            for case in super().part(fold, part)
        ]
