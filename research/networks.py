"""Count the networks of studies whose runs did not: parameters and multiply-adds, from what the runs recorded as set.

``PYTHONPATH=. python research/networks.py STUDY [STUDY ...]`` composes each model's config with the ids that its first
run recorded in ``provenance.json``, builds the network on the processor, counts it, and adds ``networks`` to that file;
``benchmark report STUDY`` then shows them. The set's manifest and case list are asked for, for channels; its files only
by a model that plans its network from them.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from typing import Any

from monai.bundle import ConfigParser

from benchmark.base.files import read_json, write_json
from benchmark.base.records import InputError, first_cause
from benchmark.studies import bundle, cost, provenance, study


def networks(declared: study.Study, made: provenance.Provenance) -> dict[str, dict[str, Any]]:
    """Count the network of each model of a study with a run on record, as it was set there."""
    found: dict[str, dict[str, Any]] = {}
    for run in declared.runs():
        recorded = made.runs.get(run.id)
        if run.stages or recorded is None or recorded.network or run.model in found:
            continue
        as_run = dataclasses.replace(run, overrides=recorded.overrides)
        parser = ConfigParser(bundle.frozen(as_run, declared.data)["train"])
        parser.update({"device": "$torch.device('cpu')"})
        try:
            found[run.model] = cost.count(parser)
        except Exception as error:
            if not isinstance(cause := first_cause(error), InputError):
                raise
            print(f"{declared.name}: {run.model} was not counted: {cause}")
    return found


def main() -> None:
    """Count the networks of the studies that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", metavar="STUDY")
    warnings.filterwarnings("ignore")
    for name in parser.parse_args().studies:
        declared = study.load(name)
        counted = networks(declared, provenance.read(declared.folder))
        path = declared.folder / "provenance.json"
        content = read_json(path, "where the scores come from")
        if counted:
            write_json(path, {**content, "networks": {**content.get("networks", {}), **counted}})
        else:
            print(f"{name}: nothing to count: no run on record without its own count.")
        for model, sizes in counted.items():
            print(f"{name}: {model}: {sizes}")


if __name__ == "__main__":
    main()
