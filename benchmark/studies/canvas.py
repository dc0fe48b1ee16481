"""Say where the canvas that slices are trained on does not fit a data set: work for nothing, or brains that are cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import nibabel

from benchmark.base.files import read_json
from benchmark.base.records import InputError, Run, number_of
from benchmark.data.manifest import CaseList, load_cases
from benchmark.data.prepare import stored_case
from benchmark.studies import bundle

TOO_LARGE = 2.0
"""Area of the canvas in areas of the largest slice, from which on it is said to be too large."""

STEP = 16
"""What an edge is rounded up to a multiple of: the networks halve it four times."""

Size = tuple[int, int]


class Sizes(NamedTuple):
    """Largest slice of a set, and of each case what a canvas has to hold: the brain, where that is known."""

    largest: Size
    needed: tuple[Size, ...]
    prepared: bool


def misfits(runs: Sequence[Run], dataset: str) -> list[str]:
    """Return a sentence for each canvas of these runs that is much larger than the set's slices, or cuts brains.

    Nothing is prepared for it: until a set is, no brain is known, and the longest edge of a volume counts for a slice's
    two. A canvas that is planned from the training set fits it, and is not looked at.
    """
    try:
        sizes = _sizes(load_cases(dataset))
    except InputError:
        return []  # what is not scanned is said elsewhere
    models: dict[Size, list[str]] = {}
    configs = [
        (run.bundle, bundle.frozen(run, dataset)["train"])
        for run in {run.model: run for run in runs if not run.stages}.values()
    ]
    for name, config in configs:
        size = config["spatial_size"]
        # Patches see all of a slice in turn.
        whole = config["sampler"]["_target_"].endswith("EpochSampler")
        if whole and isinstance(size, list) and [type(edge) for edge in size] == [int, int]:
            models.setdefault((size[0], size[1]), []).append(name)
    volumes = any(config["spatial_dims"] == 3 for _, config in configs)
    several = len(models) > 1
    return [
        text
        for canvas, names in models.items()
        for text in _misfit(canvas, None if volumes else names if several else [], sizes)
    ]


def _misfit(canvas: Size, names: Sequence[str] | None, sizes: Sizes) -> list[str]:
    """What is wrong with a canvas, and what to set: for the bundles in ``names``, for all where it is empty; None where
    no option can, as it would be for 3D too.
    """
    fitting = f"spatial_size=[{','.join(str(math.ceil(edge / STEP) * STEP) for edge in _most(sizes.needed))}]"
    option = f"{fitting} in the study's `set`, or that of each of its models in 2D"
    if names is not None:
        of = [f"{name}:" for name in dict.fromkeys(names)] or [""]
        option = " ".join(["--set", *(f"'{one}{fitting}'" for one in of)])
        option += ", or better the same in the study's `set`, where it is declared"
    times = math.prod(canvas) / math.prod(sizes.largest)
    if times >= TOO_LARGE:
        return [
            f"the canvas of {_text(canvas)} has {times:.1f} times the area of this set's largest slice, "
            f"{_text(sizes.largest)}: as many times the work, for nothing. What fits: {option}."
        ]
    cut = [size for size in sizes.needed if size[0] > canvas[0] or size[1] > canvas[1]] if sizes.prepared else []
    if not cut:
        return []
    return [
        f"{number_of(len(cut), 'brain')} of {len(sizes.needed)} larger than the canvas of {_text(canvas)}, up to "
        f"{_text(_most(cut))}: training does not see what lies outside. What holds all: {option}."
    ]


def _sizes(listed: CaseList) -> Sizes:
    """Sizes in a set's slices, along the axes left-right and back-front where it is prepared."""
    slices, brains = list[Size](), list[Size]()
    for case in listed.cases:
        path = stored_case(case, listed).folder / "case.json"
        if not path.exists():
            # Which two axes a slice has is not on record: as large as any two of the longest can be.
            largest = _most((edge, edge) for edge in (max(case.shape) for case in listed.cases))
            return Sizes(largest, (largest,), False)
        header = read_json(path, "a prepared case")
        axes = nibabel.orientations.io_orientation(header["affine"])[:, 0].astype(int).tolist()
        slices.append((header["shape"][axes.index(0)], header["shape"][axes.index(1)]))
        (left, back, _), (right, front, _) = header["box"]
        brains.append((right - left, front - back))
    return Sizes(_most(slices), tuple(brains), True)


def _most(sizes: Iterable[Size]) -> Size:
    first, second = zip(*sizes, strict=True)
    return max(first), max(second)


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
