"""Record what predictions of new scans were made from, so that a command that was stopped goes on and mixes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from benchmark.base import declared
from benchmark.base.declared import Record
from benchmark.base.files import write_json
from benchmark.base.records import Case, InputError
from benchmark.data.probabilities import FOLDER
from benchmark.data.volumes import parse_path, sha256_file
from benchmark.studies.trained import Trained

NAME = "predicted.json"
"""Beside the label maps: what they were made from, written before the first of them."""


class Predicted(Record):
    """What ``predicted.json`` holds: checksums of the networks, by name, and of each case's files, by sequence."""

    networks: dict[str, str]
    probabilities: bool
    cases: dict[str, dict[str, str]]
    version: Literal[1] = 1


def before(out: Path, trained: Sequence[Trained], probabilities: bool, cases: Iterable[str]) -> Predicted:
    """Return what is on record in a folder, for the same networks to go on from; without cases where nothing is.

    Raises:
        InputError: if other networks made what is there, or what a case would be written to is there without a record.
    """
    now = Predicted(networks={one.name: _checksum(one) for one in trained}, probabilities=probabilities, cases={})
    path = out / NAME
    if path.exists():
        found = declared.read(path, Predicted, "what was predicted")
        other = "choose another folder, or move it away"
        if not any((place / f"{case}.nii.gz").exists() for case in found.cases for place in (out, out / FOLDER)):
            found = now
        if sorted(found.networks.values()) != sorted(now.networks.values()):
            raise InputError(
                f"{path}: expected predictions by {_few(now.networks)}, found those of other weights or settings "
                f"({_few(found.networks)}); {other}."
            )
        if found.probabilities != probabilities:
            asked, there = ("with", "without") if probabilities else ("without", "with")
            raise InputError(f"{path}: expected predictions {asked} --probabilities, found those {there} it; {other}.")
        now = found
    for case in cases:
        for place in (out / f"{case}.nii.gz", out / FOLDER / f"{case}.nii.gz"):
            if place.exists() and case not in now.cases:
                raise InputError(
                    f"{place}: expected no such file, found one that is not on record in {NAME}; choose another "
                    "folder, or move it away."
                )
    return now


def is_done(out: Path, recorded: Predicted, case: Case) -> bool:
    """Whether the prediction of a case is there, made from the same files.

    Raises:
        InputError: if it was made from others.
    """
    path = out / f"{case.case_id}.nii.gz"
    if not path.exists() or (recorded.probabilities and not (out / FOLDER / path.name).exists()):
        return False
    was, now = recorded.cases[case.case_id], checksums(case)
    if changed := [name for name in now if now[name] != was.get(name)]:
        raise InputError(
            f"{path}: expected the prediction of the scans of {case.case_id} as they are, found that of others "
            f"(another {' and '.join(changed)}); choose another folder, or move it away."
        )
    return True


def record(out: Path, known: Predicted, cases: Iterable[Case]) -> None:
    """Write down what cases are about to be predicted from."""
    named = {**known.cases, **{case.case_id: checksums(case) for case in cases}}
    write_json(out / NAME, known.model_copy(update={"cases": named}).model_dump())


def checksums(case: Case) -> dict[str, str]:
    """Return the checksum of the file of each sequence of a measured case."""
    return {name: case.sha256[parse_path(path).file] for name, path in case.images.items()}


def _checksum(one: Trained) -> str:
    """Hash of all that a network's predictions follow from, besides the scans and this program."""
    settings = json.dumps([one.config, list(one.spacing)], sort_keys=True)
    return hashlib.sha256(f"{sha256_file(one.weights / 'model.pt')} {settings}".encode()).hexdigest()


def _few(names: Mapping[str, str]) -> str:
    return ", ".join([*names][:3]) + ", …" * (len(names) > 3)
