"""Read per-case scores that other tools wrote, as a table like ``score_table.frame`` makes it.

=====================  ================================================================================================
tool                   file, and what is taken of it
=====================  ================================================================================================
nnU-Net v2             ``summary.json``: the counts of each case and region, from which every overlap metric follows
panoptica              the ``.tsv`` of its aggregator: ``<group>-global_bin_dsc`` of each ``subject_name``
MIST                   ``results.csv``: ``<class>_dice`` of each ``id``; its last rows, statistics, are left out
=====================  ================================================================================================

Distances are not taken: each of these tools defines them in another way (``scoring.metrics``), or has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base.files import read_table
from benchmark.base.records import InputError
from benchmark.data.conventions import Labels
from benchmark.data.manifest import Manifest
from benchmark.data.volumes import stem_of
from benchmark.scoring import score_table
from benchmark.scoring.counts import Counted
from benchmark.scoring.metrics import METRICS, mask_note, score_pair

STATISTICS = ("Mean", "Std", "25th Percentile", "Median", "75th Percentile")
"""Rows with which MIST ends its table."""

KNOWN = "a table of `benchmark score`, nnU-Net's summary.json, panoptica's .tsv or MIST's results.csv"


def read_other(path: Path, manifest: Manifest, mapping: Labels) -> pd.DataFrame:
    """Read a file of per-case scores: rows with case_id, region, note and metrics, or a whole table of our own.

    ``mapping`` is that of nnU-Net's label values. A table of our own comes as ``score_table.read`` gives it.

    Raises:
        InputError: if the file is none that is known, lacks a region of the manifest, or has a blank score.
    """
    if path.suffix.lower() == ".json":
        return _nnunet(path, manifest, mapping)
    if not path.is_file():
        raise InputError(f"{path}: expected a folder of label maps or {KNOWN}, found nothing.")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    columns = list(read_table(path, KNOWN, nrows=0, sep=separator).columns)
    if "subject_name" in columns:
        return _columns(path, manifest, "subject_name", "{}-global_bin_dsc", separator)
    if columns[:1] == ["id"]:
        return _columns(path, manifest, "id", "{}_dice", separator)
    return score_table.read(path)


def _columns(path: Path, manifest: Manifest, key: str, named: str, separator: str) -> pd.DataFrame:
    """Take a column of Dice per region, its name in capital or small letters."""
    table = read_table(path, KNOWN, [key], sep=separator, dtype={key: str})
    table = table[~table[key].isin(STATISTICS)]
    by_name = {str(name).casefold(): name for name in table}
    rows: list[dict[str, Any]] = []
    for region in manifest.regions:
        column = by_name.get(named.format(region).casefold())
        if column is None:
            raise InputError(
                f"{path}: expected a column {named.format(region)}, found {', '.join(map(str, table.columns[:8]))}."
            )
        for case, value in zip(table[key], pd.to_numeric(table[column], errors="coerce"), strict=True):
            if not 0 <= value <= 1:
                raise InputError(
                    f"{path}: expected a Dice from 0 to 1 in {column} of case {case}, found none: where a tool leaves "
                    "out cases with an empty mask, score the label maps themselves."
                )
            rows.append({"case_id": stem_of(str(case)), "region": region, "note": "", "dice": float(value)})
    return pd.DataFrame(rows)


def _nnunet(path: Path, manifest: Manifest, mapping: Labels) -> pd.DataFrame:
    """Take the counts of each case; values of a key such as "(1, 2, 3)" are mapped, and name a region together."""
    try:
        # Python's reader takes the NaN that nnU-Net writes for the Dice of two empty masks.
        cases = json.loads(path.read_text(encoding="utf-8"))["metric_per_case"]
        counts = [(stem_of(Path(case["reference_file"]).name), _by_labels(case["metrics"], mapping)) for case in cases]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected nnU-Net v2's summary.json, with metric_per_case, found: {error}.") from None
    for case, own in counts:
        if any(count < 0 for several in own.values() for count in several):
            raise InputError(f"{path}: expected counts of voxels, found one below 0 of case {case}.")
    rows = []
    for region, labels in manifest.regions.items():
        for case, own in counts:
            if frozenset(labels) not in own:
                there = "; ".join(", ".join(map(str, sorted(key))) for key in own)
                raise InputError(
                    f"{path}: expected {region}, which is the labels {', '.join(map(str, labels))} together, found "
                    f"scores of the labels {there}; --labels nnunet says that its values are those of nnU-Net's own "
                    "conversion, and where it scored labels one by one, score its predictions."
                )
            pair: Any = Counted(*own[frozenset(labels)])
            row = {"case_id": case, "region": region, "note": mask_note(pair), **pair._asdict()}
            row |= {name: score_pair(metric, pair) for name, metric in METRICS.items() if metric.needs == "counts"}
            rows.append(row)
    return pd.DataFrame(rows)


def _by_labels(metrics: Mapping[str, Mapping[str, float]], mapping: Labels) -> dict[frozenset[int], list[int]]:
    values = {key: [int(value) for value in re.findall(r"\d+", key)] for key in metrics}
    return {
        frozenset(mapping.get(value, value) for value in values[key]): [
            int(own[name]) for name in ("TP", "FP", "FN", "TN")
        ]
        for key, own in metrics.items()
    }
