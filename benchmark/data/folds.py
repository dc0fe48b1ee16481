"""Split the patients, cases or slices of a data set into folds, and keep them beside the manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.base import declared, project
from benchmark.base.declared import Record
from benchmark.base.files import write_json
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import CaseList, check_labels, data_folder, load_cases
from benchmark.data.volumes import read_image

SIDES = ("train", "validation", "test")

SPLITS = {"patient": "patient", "slice": "slice", "published": "case"}
"""What each split deals out: whole patients, single slices as many papers do, or cases as their publisher did.

``patient-2`` is the second partition of the patients: the same scheme dealt with the next seed, and so on.
"""


class Sides(Record):
    """The units on each side of one split, as a file has them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class FoldsFile(Record):
    """What a file of folds holds: one or more splits, what they deal out, and the seed and scheme that made them."""

    by: Literal["patient", "case", "slice"] = "patient"
    seed: int | None = None
    scheme: dict[str, Any] = Field(default_factory=dict)
    folds: Annotated[tuple[Sides, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Fold:
    """Units on each side of one split; none can be on two sides, nor twice on one.

    ``by`` says what a unit is: "patient", by patient id; "case", by case id; or "slice", ``<case_id>/<z>`` with z the
    index on the third axis of the whole volume in RAS orientation. Only a fold by patient keeps patients apart.
    InputError on construction, naming the unit.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    by: str = "patient"

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for side in SIDES:
            for unit in getattr(self, side):
                if unit in seen:
                    sides = f"{seen[unit]} and {side}"
                    raise InputError(f"{self.by} {unit}: expected on one side of a fold, found in {sides}.")
                seen[unit] = side

    @cached_property
    def units(self) -> frozenset[str]:
        """Everything that the fold deals out."""
        return frozenset(self.train + self.validation + self.test)


def leaked_patients(fold: Fold, cases: Iterable[Case]) -> list[str]:
    """Return the patients who are in the test side and in the training or validation side as well, sorted.

    A fold by patient has none; ``cases`` are those of its set.
    """
    patient_of = {case.patient_id if fold.by == "patient" else case.case_id: case.patient_id for case in cases}

    def patients(units: Iterable[str]) -> set[str]:
        return {patient_of[unit.rpartition("/")[0] if fold.by == "slice" else unit] for unit in units}

    return sorted(patients(fold.test) & patients(fold.train + fold.validation))


def make_folds(
    units: Iterable[str], seed: int, k: int = 5, validation: float = 0.125, by: str = "patient"
) -> list[Fold]:
    """Deal units, patients if nothing else is said, into k folds, each unit in exactly one test side.

    ``validation`` is the share of a fold's other units that choose its checkpoint: with k = 5, 0.125 of the other
    80 % makes 70/10/20. The result depends on the set of units and the seed alone, not on order or repetition.
    InputError if k or validation leaves a side without a unit.
    """
    order = _ordered(units, seed)
    if not 2 <= k <= len(order):
        raise InputError(f"folds: expected k from 2 to the number of {by}s ({len(order)}), found {k}.")
    if not 0 <= validation < 1:
        raise InputError(f"folds: expected a validation share from 0 to below 1, found {validation}.")
    folds = []
    for index in range(k):
        # Starting with the next fold's units gives each fold other validation units.
        rest = [unit for step in range(1, k) for unit in order[(index + step) % k :: k]]
        count = _count(validation, len(rest))
        if count >= len(rest):
            raise InputError(f"folds: expected more than {len(order)} {by}s for k {k} with a validation side.")
        folds.append(_fold(rest[count:], rest[:count], order[index::k], by))
    return folds


def make_fractions(
    units: Iterable[str], seed: int, train: float, validation: float, test: float, by: str = "patient"
) -> list[Fold]:
    """Split units once by fractions that add up to 1; a side with a fraction above 0 gets at least one unit. InputError
    if the fractions are not from 0 to 1 and add up to 1, or there are too few units."""
    order = _ordered(units, seed)
    # Written so that NaN is refused too.
    if not (min(train, validation, test) >= 0 and abs(train + validation + test - 1) <= 1e-6 and train > 0):
        raise InputError(f"folds: expected fractions that add up to 1, found {train}, {validation} and {test}.")
    tested, chosen = _count(test, len(order)), _count(validation, len(order))
    if tested + chosen >= len(order):
        raise InputError(f"folds: expected {by}s for each side, found only {len(order)} {by}s.")
    return [_fold(order[tested + chosen :], order[tested : tested + chosen], order[:tested], by)]


def as_published(listed: CaseList) -> Fold:
    """Return the publisher's split: ``layout.sides`` says the side of a folder of images; InputError without it."""
    sides: dict[str, list[str]] = {side: [] for side in SIDES}
    known = listed.manifest.layout.sides
    for case in listed.cases:
        place = next(iter(case.images.values()), "").partition("/")[0]
        if known.get(place) not in SIDES:
            expected = "a publisher's split (layout.sides in the manifest: folder to side)"
            raise InputError(f"{listed.name}: expected {expected}, found none for case {case.case_id}.")
        sides[known[place]].append(case.case_id)
    return _fold(sides["train"], sides["validation"], sides["test"], "case")


def make(units: Iterable[str], scheme: dict[str, Any], by: str = "patient") -> list[Fold]:
    """Make folds by a manifest's ``folds`` entry: ``{"k", "validation", "seed"}`` or ``{"fractions", "seed"}``.
    InputError if the entry has other keys, or as make_folds and make_fractions."""
    settings = dict(scheme)
    try:
        seed = int(settings.pop("seed"))
        if "fractions" in settings:
            return make_fractions(units, seed, by=by, **settings["fractions"])
        return make_folds(units, seed, by=by, **settings)
    except (KeyError, TypeError, ValueError) as error:
        expected = "seed with k and validation, or seed with fractions of train, validation and test"
        raise InputError(f"folds: expected {expected}, found {scheme}.") from error


def partition(split: str, number: int) -> str:
    """Return the name of a split's partition of that number; the first has the name of the split, and the publisher's
    split is one for all numbers."""
    return split if number == 1 or split == "published" else f"{split}-{number}"


def of_partition(split: str) -> tuple[str, int]:
    """Return the split and the number that ``partition`` made a name of; InputError if it is none."""
    base, dash, number = split.partition("-")
    if (
        base not in SPLITS
        or (dash and not re.fullmatch("0|[2-9]|[1-9][0-9]+", number))
        or (dash and base == "published")
    ):
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, found {split}.")
    return base, int(number) if dash else 1


def folds_path(name: str, split: str = "patient") -> Path:
    """Path of a set's folds; InputError if ``split`` is none of ``SPLITS`` nor a partition of one."""
    of_partition(split)
    return project.manifests() / (f"{name}.folds.json" if split == "patient" else f"{name}.{split}.folds.json")


def write_folds(name: str, folds: list[Fold], scheme: dict[str, Any], split: str = "patient") -> Path:
    """Write ``data_manifests/<name>.folds.json``, or ``<name>.<split>.folds.json``, and return its path.

    The scheme that made them stands with them, and in a split that is not by patient what it deals out (``by``).
    """
    path = folds_path(name, split)
    head = {"by": SPLITS[of_partition(split)[0]]} if split != "patient" else {}
    head |= {key: scheme[key] for key in scheme if key == "seed"}
    rest = {key: scheme[key] for key in scheme if key != "seed"}
    sides = [{side: getattr(fold, side) for side in SIDES} for fold in folds]
    write_json(path, {**head, "scheme": rest, "folds": sides})
    return path


def read_folds(name: str, split: str = "patient") -> list[Fold]:
    """Read a set's folds as they are, without its cases; those of a partition that no file holds yet are made.

    InputError if there is no such file, it is not a list of folds, a unit is on two sides, or a file of a partition
    holds other folds than the first partition's scheme makes.
    """
    (base, number), path = of_partition(split), folds_path(name, split)
    if number == 1:
        return _read(path, name, split)
    made = _make_partition(name, base, number)[0]
    if path.exists() and _read(path, name, split) != made:
        first = folds_path(name, base).name
        raise InputError(
            f"{path}: expected partition {number} of the folds in {first}, found others; run: {_command(name, base)} "
            "--replace"
        )
    return made


def write_partitions(name: str, splits: Iterable[str]) -> list[Path]:
    """Write the folds of each partition that has no file yet; return the files written. InputError as read_folds."""
    return [write_folds(name, made, scheme, split) for split, made, scheme in partitions_to_make(name, splits)]


def partitions_to_make(name: str, splits: Iterable[str]) -> Iterator[tuple[str, list[Fold], dict[str, Any]]]:
    """Yield the folds and the scheme of each partition that has no file yet. InputError as read_folds."""
    for split in splits:
        base, number = of_partition(split)
        if number != 1 and not folds_path(name, split).exists():
            yield (split, *_make_partition(name, base, number))


def _make_partition(name: str, base: str, number: int) -> tuple[list[Fold], dict[str, Any]]:
    """Deal the units of a split's first partition anew, by its scheme with another seed."""
    path = folds_path(name, base)
    first = read_sides(path, f"the folds that `{_command(name, base)}` writes")
    if first.seed is None:
        expected = "a seed and a scheme, from which more partitions of the patients are made"
        raise InputError(f'{path}: expected {expected}, found none; declare "partitions": "shared" in the study.')
    scheme = {**first.scheme, "seed": first.seed + number - 1}
    units = (unit for fold in first.folds for side in SIDES for unit in getattr(fold, side))
    return make(units, scheme, SPLITS[base]), scheme


def _read(path: Path, name: str, split: str) -> list[Fold]:
    found = read_sides(path, f"the folds that `{_command(name, split)}` writes")
    try:
        return [Fold(fold.train, fold.validation, fold.test, SPLITS[of_partition(split)[0]]) for fold in found.folds]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_sides(path: Path, what: str = "folds") -> FoldsFile:
    """Read a file of folds as it is: a unit may be on two sides. InputError if it is none; ``what`` names it there."""
    return declared.read(path, FoldsFile, what)


def load_folds(name: str, split: str = "patient") -> list[Fold]:
    """Read a set's folds and check that each holds all of the set's cases. InputError as read_folds, and if a patient,
    case or slice is missing."""
    check_labels(name)
    folds = read_folds(name, split)
    missing = missing_units(folds, load_cases(name))
    if missing:
        of = "patient" if folds[0].by == "patient" else "case"
        raise InputError(
            f"{folds_path(name, split)}: expected every {of} of {name} in every fold, found {len(missing)} that are "
            f"not, {missing[0]} first; run: {_command(name, of_partition(split)[0])} --replace"
        )
    return folds


def remake(
    name: str,
    k: int | None = None,
    seed: int | None = None,
    validation: float | None = None,
    fractions: tuple[float, float, float] | None = None,
    replace: bool = False,
    split: str = "patient",
) -> tuple[Path, list[Fold], str]:
    """Make and write a scanned set's folds; what is None comes from the manifest. Return the file, the folds, and
    "written" or "unchanged".
    Files of more partitions follow the first.
    InputError for a scheme that cannot be, and if other folds are there and ``replace`` is not set.
    """
    if split not in SPLITS:
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, found {split}.")
    listed = load_cases(name)
    check_labels(name)
    path = folds_path(name, split)
    options = {"k": k, "validation": validation, "seed": seed}
    given = {key: value for key, value in options.items() if value is not None}
    if split == "published":
        if given or fractions is not None:
            raise InputError(f"folds of {name}: expected no other option with the published split, found some.")
        made, scheme = [as_published(listed)], {"sides": listed.manifest.layout.sides}
    else:
        scheme = _scheme(listed, given, fractions)
        made = make(units_of(listed, split), scheme, split)
    if path.exists() and not replace:
        if read_folds(name, split) == made:
            return path, made, "unchanged"
        raise InputError(f"{path}: expected no folds or these ones, found others; use --replace to write it anew.")
    write_folds(name, made, scheme, split)
    for other in project.manifests().glob(f"{name}.{split}-*.folds.json"):
        number = of_partition(other.name.removeprefix(f"{name}.").removesuffix(".folds.json"))[1]
        write_folds(name, *_make_partition(name, split, number), partition(split, number))
    return path, made, "written"


def units_of(listed: CaseList, by: str) -> list[str]:
    """Return the patients or slices of a set; for slices its files are read (InputError where they are not here)."""
    if by == "patient":
        return list(listed.patients)
    folder = data_folder(listed.name)
    return [f"{case.case_id}/{z}" for case in listed.cases for z in range(_depth(folder, case))]


def missing_units(folds: list[Fold], listed: CaseList) -> list[str]:
    """Return the patients of a case list that some fold by patient lacks, sorted; for other folds, the cases.

    A case is there with all its slices where they are numbered from 0 to the length of one of its axes.
    """
    if folds[0].by != "slice":
        wanted = listed.patients if folds[0].by == "patient" else [case.case_id for case in listed.cases]
        return [unit for unit in wanted if not all(unit in fold.units for fold in folds)]
    return [case.case_id for case in listed.cases if not all(_holds_slices(fold, case) for fold in folds)]


def _holds_slices(fold: Fold, case: Case) -> bool:
    # A case list does not say which of the file's axes is the third one in RAS orientation.
    return any(
        f"{case.case_id}/{count}" not in fold.units and all(f"{case.case_id}/{z}" in fold.units for z in range(count))
        for count in case.shape
    )


def _scheme(listed: CaseList, given: dict[str, Any], fractions: tuple[float, float, float] | None) -> dict[str, Any]:
    """Return the manifest's scheme, changed by what was given."""
    scheme = {**listed.manifest.folds, **given}
    if fractions is None:
        if "k" in given or "validation" in given:
            scheme.pop("fractions", None)
        return scheme
    if "k" in given or "validation" in given:
        raise InputError(f"folds of {listed.name}: expected --k and --validation or --fractions, found both.")
    return {"fractions": dict(zip(SIDES, fractions, strict=True)), "seed": scheme["seed"]}


def _depth(folder: Path, case: Case) -> int:
    """Return how many slices a case has along the third axis in RAS orientation."""
    import nibabel

    image, affine = read_image(folder, next(iter(case.images.values())))
    targets: list[float] = nibabel.orientations.io_orientation(affine)[:, 0].tolist()
    return int(image.shape[targets.index(2)])


def _command(name: str, split: str) -> str:
    return f"benchmark data folds {name}" + ("" if split == "patient" else f" --by {split}")


def _ordered(units: Iterable[str], seed: int) -> list[str]:
    """Return each unit once, in an order that only the seed and the ids decide."""
    return sorted(set(units), key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).hexdigest())


def _count(share: float, total: int) -> int:
    """Return how many of ``total`` a share is, at least one where the share is not 0."""
    return max(1, round(share * total)) if share > 0 else 0


def _fold(train: list[str], validation: list[str], test: list[str], by: str) -> Fold:
    return Fold(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)), by)
