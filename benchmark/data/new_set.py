"""Describe a data set of one's own: make its manifest from what a user says and what a folder's own files say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base.files import read_table
from benchmark.base.records import InputError
from benchmark.data.manifest import write_manifest
from benchmark.data.sources import nnunet

SOURCES = {
    "files": "files named <case><end>, in any folders",
    "brats": "a folder per case with files <case><end>",
    "nnunet": "a raw data set of nnU-Net",
    "bids": "a folder by BIDS, with label maps in it or in its derivatives",
}
"""Layouts that a set of one's own may have, and what each means."""

EACH_CASE = "(?P<patient>.+)"
"""Pattern of patients where every case is its own."""

PATIENTS = {"bids": "(?P<patient>sub-[A-Za-z0-9]+)(_ses-(?P<session>[A-Za-z0-9]+))?"}
"""Pattern of patients of a source whose ids say whose a case is."""

EXAMPLES = {"bids": "T1=_T1w FLAIR=_FLAIR", "nnunet": "T1=0 FLAIR=1"}
"""Modalities and how their files' names end, to show where these are asked for; of other sources ``EXAMPLE``."""

EXAMPLE = "T1=_t1 FLAIR=_flair"

LABEL_ENDS = {"files": "_seg", "brats": "_seg", "bids": "*_dseg", "nnunet": ""}
"""End of the names of label maps where a user says nothing."""


@dataclass
class Described:
    """What is known of a set: ``modalities`` maps a name to the end of its files (nnU-Net: the channel, as text),
    ``labels`` a value to its meaning, without the background, and ``regions`` a name to label values. ``order`` is the
    label to write for each region, empty where it follows from the regions; ``channels`` are those of nnU-Net's own
    description, position to name."""

    source: str
    modalities: dict[str, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    regions: dict[str, list[int]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    channels: dict[str, str] = field(default_factory=dict)
    label_end: str | None = None

    @property
    def missing(self) -> list[str]:
        """Fields that a manifest cannot do without and that are not known."""
        return [name for name in ("modalities", "labels") if not getattr(self, name)]


def describe(folder: Path | None, source: str | None = None) -> Described:
    """Return what a folder says of itself: of a raw data set of nnU-Net its channels, labels and regions, of one by
    BIDS the labels of its tables ``*_dseg.tsv``. The source is looked for where it is None. InputError for an unknown
    source, a folder that is none, and a description that cannot be used."""
    if source not in (None, *SOURCES):
        said = "; ".join(f"{name} ({what})" for name, what in SOURCES.items())
        raise InputError(f"--source {source}: expected one of {said}.")
    if folder is None:
        return Described(source or "files")
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with a data set, found none.")
    if source is None:
        is_bids = (folder / "dataset_description.json").is_file() or any(folder.glob("sub-*"))
        source = "nnunet" if (folder / nnunet.DESCRIPTION).is_file() else "bids" if is_bids else "files"
    if source == "nnunet":
        return _of_nnunet(folder)
    return Described(source, labels=_of_tables(folder) if source == "bids" else {})


def _of_nnunet(folder: Path) -> Described:
    """Read channels, labels and regions from ``dataset.json``; a label that unites several values is a region."""
    path = folder / nnunet.DESCRIPTION
    channels, data = nnunet.channels_of(folder), nnunet.described(folder)
    labels, order = data.get("labels"), data.get("regions_class_order") or []
    if not isinstance(labels, dict) or not isinstance(order, list):
        raise InputError(f"{path}: expected an entry labels, name to value or values, found none.")
    # nnU-Net's first version has it the other way round.
    if all(str(key).isdigit() for key in labels):
        labels = {name: int(value) for value, name in labels.items()}
    if "ignore" in labels:
        raise InputError(f"{path}: expected labels that are known everywhere, found the label 'ignore'.")
    regions: dict[str, list[int]] = {}
    for name, values in labels.items():
        several = values if isinstance(values, list) else [values]
        if not all(isinstance(value, int) for value in several):
            raise InputError(f"{path}: expected whole numbers for the label {name}, found {values}.")
        if several != [0]:
            regions[str(name)] = several
    single = {values[0]: name for name, values in regions.items() if len(values) == 1}
    known = {value: single.get(value, f"label {value}") for values in regions.values() for value in values}
    by_name = {name: position for position, name in channels.items()}
    if len(by_name) < len(channels):
        raise InputError(f"{path}: expected channels of different names, found {', '.join(channels.values())}.")
    return Described("nnunet", by_name, dict(sorted(known.items())), regions, order, channels)


def _of_tables(folder: Path) -> dict[int, str]:
    """Read the first table of labels, columns index and name, that a derivative by BIDS has."""
    for path in sorted(folder.rglob("*dseg.tsv")):
        table: pd.DataFrame = read_table(path, "a table of labels by BIDS", ["index", "name"], ["index"], sep="\t")
        pairs = zip(table["index"], table["name"], strict=True)
        return {int(value): str(meaning) for value, meaning in pairs if int(value)}
    return {}


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read texts ``NAME=VALUE``; InputError, naming the option, for another one or a name twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or name in found:
            raise InputError(f"{option} {text!r}: expected NAME=VALUE, each name once.")
        found[name] = value
    return found


def parse_labels(option: str, texts: Sequence[str]) -> dict[int, str]:
    """Read texts ``VALUE=MEANING``; InputError for a value that is no whole number above 0."""
    pairs = parse_pairs(option, texts)
    if wrong := [value for value in pairs if not re.fullmatch("[1-9][0-9]*", value)]:
        raise InputError(f"{option} {wrong[0]}={pairs[wrong[0]]}: expected a whole number above 0, the background's.")
    return {int(value): meaning for value, meaning in pairs.items()}


def parse_regions(option: str, texts: Sequence[str]) -> dict[str, list[int]]:
    """Read texts ``REGION=VALUE,VALUE``; InputError for a value that is no whole number above 0."""
    pairs = parse_pairs(option, texts)
    for name, values in pairs.items():
        if not re.fullmatch(r"[1-9][0-9]*( *[,+] *[1-9][0-9]*)*", values):
            raise InputError(f"{option} {name}={values}: expected label values such as {name}=1,3.")
    return {name: [int(value) for value in re.split(r"[,+ ]+", values)] for name, values in pairs.items()}


def new(name: str, known: Described, about: Mapping[str, str | None], patient: str | None = None) -> Path:
    """Write the manifest of a set of one's own and return its path.

    ``about`` may have title, licence, citation, address, and unit ("mm" or "pixels"); ``patient`` is the pattern of
    ids. Without regions each label is one. InputError if something is missing, does not fit together, or the name is
    that of a known set.
    """
    if known.missing:
        raise InputError(f"{name}: expected {' and '.join(known.missing)}, found none given.")
    by_name = {meaning: [value] for value, meaning in known.labels.items()}
    if not known.regions and len(by_name) < len(known.labels):
        said = ", ".join(f"{value}={meaning}" for value, meaning in known.labels.items())
        raise InputError(f"{name}: expected labels of different meanings, as each is a region, found {said}.")
    regions = dict(known.regions) if known.order else _nested(known.regions or by_name)
    content = {
        "name": name,
        "title": about.get("title") or name,
        "source": known.source,
        "modalities": list(known.modalities),
        "labels": {"0": "background", **{str(value): meaning for value, meaning in sorted(known.labels.items())}},
        "regions": regions,
        "regions_class_order": known.order or written(regions),
        "layout": _layout(known),
        "patient_pattern": patient or PATIENTS.get(known.source, EACH_CASE),
        "licence": about.get("licence") or "not stated",
        "citation": about.get("citation") or "not stated",
        "address": about.get("address") or "one's own files",
        "access": "private",
        "pictures": "private",
        "warnings": [],
        "folds": {"k": 5, "validation": 0.125, "seed": 2026},
        "unit": about.get("unit") or "mm",
    }
    return write_manifest(name, content)


def _layout(known: Described) -> dict[str, Any]:
    if known.source != "nnunet":
        end = LABEL_ENDS[known.source] if known.label_end is None else known.label_end
        return {"images": _ends(known), "label": end}
    if wrong := [channel for channel in known.modalities.values() if not channel.isdecimal()]:
        raise InputError(f"--modality: expected the number of a channel of nnU-Net, found {wrong[0]!r}.")
    named = known.channels or {channel: name for name, channel in known.modalities.items()}
    return {"images": {name: int(channel) for name, channel in known.modalities.items()}, "modality": named}


def _ends(known: Described) -> dict[str, str]:
    """How names of files end, by modality: by BIDS a suffix such as T1w begins with a line, whoever leaves it out."""
    if known.source != "bids":
        return known.modalities
    return {name: end if end.startswith(("_", "*")) else f"_{end}" for name, end in known.modalities.items()}


def _nested(regions: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Sort regions so that one that lies within another comes later, as it is written over it; else as they are."""
    return {name: list(regions[name]) for name in sorted(regions, key=lambda name: -len(set(regions[name])))}


def written(regions: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the label to write for each region, where later regions overwrite earlier ones: that of its labels which
    the fewest later regions have."""
    held = [set(values) for values in regions.values()]
    return [
        min(values, key=lambda value: sum(value in other for other in held[place + 1 :]))
        for place, values in enumerate(regions.values())
    ]
