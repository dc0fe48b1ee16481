"""Patient ids and a seed to folds of patients, and folds to the file that is committed beside the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark import project
from benchmark.data.manifest import CaseList, load_cases
from benchmark.files import read_json, write_json
from benchmark.records import InputError

SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """Patient ids on each side of one split; no patient can be on two sides, nor twice on one.

    Raises:
        InputError: on construction, naming the patient.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for side in SIDES:
            for patient in getattr(self, side):
                if patient in seen:
                    sides = f"{seen[patient]} and {side}"
                    raise InputError(f"patient {patient}: expected on one side of a fold, found in {sides}.")
                seen[patient] = side

    @property
    def patients(self) -> frozenset[str]:
        """All patients of the fold."""
        return frozenset(self.train + self.validation + self.test)


def make_folds(patients: Iterable[str], seed: int, k: int = 5, validation: float = 0.125) -> list[Fold]:
    """Deal patients into k folds, each patient in exactly one test side.

    ``validation`` is the share of a fold's other patients that choose its checkpoint: with k = 5, 0.125 of the other
    80 % makes 70/10/20. The result depends on the set of patients and the seed alone, not on order or repetition.

    Raises:
        InputError: if k or validation leaves a side without a patient.
    """
    order = _ordered(patients, seed)
    if not 2 <= k <= len(order):
        raise InputError(f"folds: expected k from 2 to the number of patients ({len(order)}), found {k}.")
    if not 0 <= validation < 1:
        raise InputError(f"folds: expected a validation share from 0 to below 1, found {validation}.")
    folds = []
    for index in range(k):
        # Starting with the next fold's patients gives each fold other validation patients.
        rest = [patient for step in range(1, k) for patient in order[(index + step) % k :: k]]
        count = _count(validation, len(rest))
        if count >= len(rest):
            raise InputError(f"folds: expected more than {len(order)} patients for k {k} with a validation side.")
        folds.append(_fold(rest[count:], rest[:count], order[index::k]))
    return folds


def make_fractions(patients: Iterable[str], seed: int, train: float, validation: float, test: float) -> list[Fold]:
    """Split patients once by fractions that add up to 1; a side with a fraction above 0 gets at least one patient.

    Raises:
        InputError: if the fractions are not from 0 to 1 and add up to 1, or there are too few patients.
    """
    order = _ordered(patients, seed)
    if min(train, validation, test) < 0 or abs(train + validation + test - 1) > 1e-6 or train == 0:
        raise InputError(f"folds: expected fractions that add up to 1, found {train}, {validation} and {test}.")
    tested, chosen = _count(test, len(order)), _count(validation, len(order))
    if tested + chosen >= len(order):
        raise InputError(f"folds: expected patients for each side, found only {len(order)} patients.")
    return [_fold(order[tested + chosen :], order[tested : tested + chosen], order[:tested])]


def make(patients: Iterable[str], scheme: dict[str, Any]) -> list[Fold]:
    """Make folds by a manifest's ``folds`` entry: ``{"k", "validation", "seed"}`` or ``{"fractions", "seed"}``.

    Raises:
        InputError: if the entry has other keys, or as make_folds and make_fractions.
    """
    settings = dict(scheme)
    try:
        seed = int(settings.pop("seed"))
        if "fractions" in settings:
            return make_fractions(patients, seed, **settings["fractions"])
        return make_folds(patients, seed, **settings)
    except (KeyError, TypeError, ValueError) as error:
        expected = "seed with k and validation, or seed with fractions of train, validation and test"
        raise InputError(f"folds: expected {expected}, found {scheme}.") from error


def folds_path(name: str) -> Path:
    """Path of a set's folds."""
    return project.manifests() / f"{name}.folds.json"


def write_folds(name: str, folds: list[Fold], scheme: dict[str, Any]) -> Path:
    """Write ``data_manifests/<name>.folds.json`` with the scheme that made it, and return its path."""
    path = folds_path(name)
    rest = {key: value for key, value in scheme.items() if key != "seed"}
    write_json(path, {"seed": scheme["seed"], "scheme": rest, "folds": [asdict(fold) for fold in folds]})
    return path


def read_folds(name: str) -> list[Fold]:
    """Read a set's folds as they are, without its cases.

    Raises:
        InputError: if there is no such file, it is not a list of folds, or a patient is on two sides.
    """
    path = folds_path(name)
    data = read_json(path, f"the folds that `benchmark data folds {name}` writes")
    try:
        folds = [Fold(**{side: tuple(fold[side]) for side in SIDES}) for fold in data["folds"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected folds with train, validation and test, found {error}.") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not folds:
        raise InputError(f"{path}: expected at least one fold, found none.")
    return folds


def load_folds(name: str) -> list[Fold]:
    """Read a set's folds and check that each holds every patient of the set's cases.

    Raises:
        InputError: as read_folds, and if a patient is missing.
    """
    folds = read_folds(name)
    missing = missing_patients(folds, load_cases(name))
    if missing:
        raise InputError(
            f"{folds_path(name)}: expected every patient of {name} in every fold, found {len(missing)} that are not, "
            f"{missing[0]} first; run: benchmark data folds {name} --replace"
        )
    return folds


def remake(
    name: str,
    k: int | None = None,
    seed: int | None = None,
    validation: float | None = None,
    fractions: tuple[float, float, float] | None = None,
    replace: bool = False,
) -> tuple[Path, list[Fold], str]:
    """Make and write a scanned set's folds; what is None comes from the manifest.

    Returns:
        The file, the folds, and "written" or "unchanged".

    Raises:
        InputError: for a scheme that cannot be, and if other folds are there and ``replace`` is not set.
    """
    listed = load_cases(name)
    path = folds_path(name)
    if fractions is not None and (k is not None or validation is not None):
        raise InputError(f"folds of {name}: expected --k and --validation or --fractions, found both.")
    given = {"k": k, "validation": validation, "seed": seed}
    scheme = {**listed.manifest.folds, **{key: value for key, value in given.items() if value is not None}}
    if fractions is not None:
        scheme = {"fractions": dict(zip(SIDES, fractions, strict=True)), "seed": scheme["seed"]}
    elif k is not None or validation is not None:
        scheme.pop("fractions", None)
    made = make(listed.patients, scheme)
    if path.exists() and not replace:
        if read_folds(name) == made:
            return path, made, "unchanged"
        raise InputError(f"{path}: expected no folds or these ones, found others; use --replace to write it anew.")
    return write_folds(name, made, scheme), made, "written"


def missing_patients(folds: list[Fold], listed: CaseList) -> list[str]:
    """Return the patients of a case list that some fold lacks, sorted."""
    return [patient for patient in listed.patients if not all(patient in fold.patients for fold in folds)]


def _ordered(patients: Iterable[str], seed: int) -> list[str]:
    """Return each patient once, in an order that only the seed and the ids decide."""
    return sorted(set(patients), key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest())


def _count(share: float, total: int) -> int:
    """Return how many of ``total`` a share is, at least one where the share is not 0."""
    return max(1, round(share * total)) if share > 0 else 0


def _fold(train: list[str], validation: list[str], test: list[str]) -> Fold:
    return Fold(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)))
