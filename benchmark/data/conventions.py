"""Map the label values of one convention for brain tumours to those of a data set's manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from benchmark.base.records import InputError
from benchmark.data.manifest import Manifest

CONVENTIONS: dict[str, dict[str, int]] = {
    "brats": {"core": 1, "oedema": 2, "enhancing": 4},
    "brats2023": {"core": 1, "oedema": 2, "enhancing": 3},
    "msd": {"oedema": 1, "core": 2, "enhancing": 3},
    "nnunet": {"oedema": 1, "core": 2, "enhancing": 3},
}
"""Value of each tissue: in BraTS to 2021 and from 2023 on, in the Decathlon's Task01, in nnU-Net's conversion of BraTS.

``core`` is what of the tumour core does not enhance. The last two are the same.
"""

Labels = Mapping[int, int]
"""What each value of a label map stands for in the manifest's values; values that are not in it stay as they are."""


def tissues(manifest: Manifest) -> dict[str, int]:
    """Return a manifest's value of each tissue of CONVENTIONS; empty if its regions are not WT, TC and ET of three."""
    whole, core, enhancing = (set(manifest.regions.get(name, ())) for name in ("WT", "TC", "ET"))
    parts = {"core": core - enhancing, "oedema": whole - core, "enhancing": enhancing}
    if not enhancing < core < whole or any(len(part) != 1 for part in parts.values()):
        return {}
    return {name: part.pop() for name, part in parts.items()}


def parse_labels(text: str, manifest: Manifest) -> dict[int, int]:
    """Read what ``--labels`` says: a name of CONVENTIONS, or pairs FROM:TO such as ``1:2,2:1,3:4``.

    Raises:
        InputError: for anything else, a value that is mapped twice or to one that the manifest does not name, and a
            name where the manifest has other tissues.
    """
    if not text:
        return {}
    if text in CONVENTIONS:
        known = tissues(manifest)
        if not known:
            raise InputError(
                f"--labels {text}: expected a manifest whose WT, TC and ET are of three labels, found {manifest.name} "
                "with others; give pairs such as 1:2,2:1."
            )
        return {value: known[name] for name, value in CONVENTIONS[text].items()}
    pairs = [re.fullmatch(r"\s*(\d+):(\d+)\s*", part) for part in text.split(",")]
    if not all(pairs):
        known_names = ", ".join(CONVENTIONS)
        raise InputError(f"--labels: expected {known_names} or pairs FROM:TO such as 1:2,2:1,3:4, found {text!r}.")
    found = [(int(pair[1]), int(pair[2])) for pair in pairs if pair]
    if len(dict(found)) < len(found):
        raise InputError(f"--labels: expected each value once before a colon, found {text!r}.")
    for _, value in found:
        if str(value) not in manifest.labels:
            raise InputError(
                f"--labels: expected values of {manifest.name} after a colon, {', '.join(manifest.labels)}, found "
                f"{value}."
            )
    return dict(found)


def option_for(mapping: Labels, manifest: Manifest) -> str:
    """Return what ``--labels`` has to say for a mapping: a convention's name where it maps so, else pairs."""
    known = tissues(manifest)
    for name, values in CONVENTIONS.items() if known else ():
        named = {value: known[tissue] for tissue, value in values.items()}
        if all(named.get(value) == to for value, to in mapping.items()):
            return name
    return ",".join(f"{value}:{to}" for value, to in sorted(mapping.items()))


def mapped(labels: np.ndarray, mapping: Labels) -> np.ndarray:
    """Return a label map with each value of ``mapping`` replaced, all at once; the same array where there is none."""
    moved = {value: to for value, to in mapping.items() if value != to}
    if not moved:
        return labels
    found = labels.copy()
    for value, to in moved.items():
        found[labels == value] = to
    return found
