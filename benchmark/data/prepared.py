"""A prepared case's folder to arrays, and label maps on them back to the case's own space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmark.base.files import read_json
from benchmark.base.records import Case, InputError

CANONICAL = nib.orientations.axcodes2ornt("RAS")


@dataclass(frozen=True)
class PreparedCase:
    """A case in the store, with what is needed to put a prediction back into the case's own space.

    ``slices`` are the slices that a split by slice leaves of the case: indices, from low to high, on the third axis of
    the whole volume in RAS orientation; None is all of them. Every array has these slices only, less those outside the
    crop box, which hold nothing.
    """

    case: Case
    folder: Path
    slices: tuple[int, ...] | None = None

    @cached_property
    def header(self) -> dict[str, Any]:
        """Shape, affine and crop box of the original as ``prepare_case`` wrote them; positions of slices with tumour.

        ``foreground`` counts in the slices of this object's arrays, everything else is of the whole case.
        """
        stored = read_json(self.folder / "case.json", "a prepared case's header")
        if self.slices is None:
            return stored
        tumour = set(stored["foreground"])
        rows = self._rows(stored["box"])
        return {**stored, "foreground": [position for position, row in enumerate(rows) if row in tumour]}

    @cached_property
    def rows(self) -> list[int]:
        """Position in the store, whose first slice is the crop box's, of each slice of this object's arrays."""
        return self._rows(self.header["box"])

    @property
    def z(self) -> list[int]:
        """Where each slice lies in the whole volume, along its third axis in RAS orientation."""
        first = self.header["box"][0][2]
        return [first + row for row in self.rows]

    @property
    def image(self) -> np.ndarray:
        """float16 of shape (slices, modalities, x, y), axial slices first, RAS, 0 outside the brain.

        Memory-mapped for a whole case, a copy for some of its slices; ``slice_at`` never copies more than a slice.
        """
        return self._of_slices(_mapped(self.folder / "image.npy"))

    @property
    def label(self) -> np.ndarray:
        """uint8 label values of shape (slices, x, y), memory-mapped or a copy as ``image`` is.

        Raises:
            InputError: if the publisher withholds this case's label.
        """
        return self._of_slices(self._stored_label())

    def slice_at(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Memory-mapped image (modalities, x, y) and label (x, y) of the slice at a position of ``image``."""
        row = self.rows[position]
        return _mapped(self.folder / "image.npy")[row], self._stored_label()[row]

    @property
    def affine(self) -> np.ndarray:
        """The original file's 4x4 affine, mm."""
        return np.array(self.header["affine"])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along the original file's axes."""
        return tuple(nib.affines.voxel_sizes(self.affine).tolist())

    def restore(self, labels: np.ndarray) -> np.ndarray:
        """Put uint8 labels of shape (slices, x, y) on the original's grid, in its own shape and orientation, else 0."""
        shape = self.header["shape"]
        to_canonical = nib.orientations.io_orientation(self.affine)
        canonical_shape = [0, 0, 0]
        for axis, (target, _) in enumerate(to_canonical.astype(int)):
            canonical_shape[target] = shape[axis]
        full = np.zeros(canonical_shape, np.uint8)
        full[self._box()][:, :, self.rows] = labels.transpose(1, 2, 0)
        back = nib.orientations.ornt_transform(CANONICAL, to_canonical)
        return np.ascontiguousarray(nib.orientations.apply_orientation(full, back))

    def crop(self, labels: np.ndarray) -> np.ndarray:
        """Undo ``restore``: a label map on the original's grid to shape (slices, x, y)."""
        return self._of_slices(canonical(labels, self.affine)[self._box()].transpose(2, 0, 1))

    def original_label(self) -> np.ndarray:
        """The publisher's label map on its own grid; 0 outside the crop box and in slices that were left out."""
        return self.restore(np.asarray(self.label))

    def _rows(self, box: list[list[int]]) -> list[int]:
        first, last = box[0][2], box[1][2]
        wanted = range(first, last) if self.slices is None else self.slices
        return [z - first for z in wanted if first <= z < last]

    def _of_slices(self, stored: np.ndarray) -> np.ndarray:
        return stored if self.slices is None else stored[self.rows]

    def _stored_label(self) -> np.ndarray:
        if self.case.label is None:
            raise InputError(f"Case {self.case.case_id} has no label: expected one, to train on it or to score it.")
        return _mapped(self.folder / "label.npy")

    def _box(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(*self.header["box"], strict=True))


def canonical(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn and flip a volume's axes to the nearest RAS orientation."""
    return nib.orientations.apply_orientation(volume, nib.orientations.io_orientation(affine))


# Each map holds a file descriptor; a large set has more cases than a process may have open files.
@lru_cache(maxsize=256)
def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r")
