"""Gather the records of a study's runs into ``provenance.json``, and say in a report where scores are from."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from benchmark.base import declared
from benchmark.base.declared import Record
from benchmark.base.records import Run
from benchmark.data.folds import folds_path
from benchmark.data.manifest import cases_path
from benchmark.data.volumes import sha256_file
from benchmark.studies import code, store
from benchmark.studies.store import Network, RunRecord, Stage
from benchmark.studies.study import Study


class Ran(Record):
    """What ``provenance.json`` keeps of a run's record.

    ``started_from`` is the checksum of the weights that training began from, empty for a random start and where the run
    did not note it.
    ``on_two_sides`` counts the test patients that it was trained or chosen on; None where the run did not note who.
    """

    fingerprint: str
    commit: str
    platform: str
    overrides: dict[str, Any]
    started: str
    stages: dict[str, Stage] | None
    network: Network | None = None
    started_from: str = ""
    on_two_sides: int | None = None

    @model_validator(mode="after")
    def _scored_by_a_commit(self) -> Ran:
        # Only what scored says of which commit it was in runs of any age.
        if not self.scored_by:
            raise ValueError("expected the commit of the stage that scored")
        return self

    @property
    def scored_by(self) -> str:
        """Commit of the code that scored it."""
        return self.stages["score"].commit if self.stages and "score" in self.stages else self.commit


class Tested(Record):
    """Another test: how many runs took it, its case list's checksum, and commits of the code that scored."""

    runs: int
    cases_sha256: str
    commits: tuple[str, ...]


class Provenance(Record):
    """A study's ``provenance.json``: ``runs`` by their ids, ``code`` the hashes of each name that their configs reach.

    ``networks`` are by model, counted by ``research/networks.py`` from what runs recorded as set, where the runs
    themselves did not count. In version 1, which says none, ``code`` is a list of hashes of all our code.
    """

    gathered: str
    cases_sha256: str
    folds_sha256: dict[str, str]
    versions: tuple[dict[str, Any], ...]
    code: dict[str, tuple[str, ...]] | tuple[str, ...]
    runs: dict[str, Ran]
    networks: dict[str, Network] = Field(default_factory=dict)
    test_on: dict[str, Tested] = Field(default_factory=dict)
    version: Literal[1, 2] = 1

    @property
    def mixed(self) -> bool:
        """Whether its runs are of several library versions, or of more than one state of our code."""
        codes = self.code.values() if isinstance(self.code, dict) else [self.code]
        return len(self.versions) > 1 or any(len(several) > 1 for several in codes)


def of_runs(study: Study, records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """Make the content of ``provenance.json`` from each run's ``run.json``."""
    identities = [record.identity for record in records.values()]
    return {
        "version": 2,
        "gathered": time.strftime("%Y-%m-%d"),
        "cases_sha256": sha256_file(cases_path(study.data)),
        "folds_sha256": {split: sha256_file(folds_path(study.data, split)) for split in study.splits},
        "versions": [dict(t) for t in {tuple(identity["versions"].items()) for identity in identities}],
        "code": _codes(identities),
        "runs": {run: _kept(record) for run, record in records.items()},
    }


def of_tests(study: Study, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Make the entry ``test_on`` of ``provenance.json`` from the records of other tests of runs, by the test's name."""
    found = {}
    for test in study.other_tests:
        places = [store.other_folder(run, test) for run in runs]
        stages = [store.read_record(place).stages or {} for place in places if (place / "scores.csv").exists()]
        if stages:
            commits = sorted({own["score"].commit for own in stages})
            cases = sha256_file(cases_path(test.data or study.data))
            found[test.name] = {"runs": len(stages), "cases_sha256": cases, "commits": commits}
    return found


def _kept(record: RunRecord) -> dict[str, Any]:
    content = record.model_dump(exclude_unset=True)
    kept = {key: content.get(key) for key in Ran.model_fields if key in content or Ran.model_fields[key].is_required()}
    test, train, validation = (record.patients.get(side) for side in ("test", "train", "validation"))
    if test is None or train is None or validation is None:
        return kept
    return {**kept, "on_two_sides": len({*test} & {*train, *validation})}


def _codes(identities: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Hashes by name; those of runs from before the moves as they are now, or of all their code under "all".

    A name has its module where it means another definition in another run: a loader of slices, and one of patches.
    """
    modules = [code.modules(identity["config"]) for identity in identities]
    places = {place for own in modules for place in own.items()}
    several = {name for name, count in Counter(name for name, _ in places).items() if count > 1}
    found: dict[str, set[str]] = {}
    for identity, own in zip(identities, modules, strict=True):
        ours = code.at_the_moves(identity["code"], code.hashes(identity["config"]))
        for name, one in (ours if isinstance(ours, dict) else {"all": ours}).items():
            found.setdefault(f"{own[name]}.{name}" if name in several and name in own else name, set()).add(str(one))
    return {name: sorted(several) for name, several in sorted(found.items())}


def read(folder: Path) -> Provenance:
    """Read the ``provenance.json`` of a folder.

    Raises:
        InputError: if the file is missing or holds something else.
    """
    return declared.read(folder / "provenance.json", Provenance, "where the scores come from")


def leaks(found: Provenance) -> list[str]:
    """Say which runs were tested on patients that they were trained or chosen on, as these noted them."""
    return [
        f"LEAK: {id_} was tested on {run.on_two_sides} patients that it was trained or chosen on."
        for id_, run in found.runs.items()
        if run.on_two_sides
    ]


def summary(found: Provenance, trained: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What a report prints of ``read``; ``trained`` are the training histories, with each epoch's seconds."""
    runs = found.runs.values()
    # Epochs from the history: what a killed and resumed run noted of training is its last process only.
    seconds = sum(float(history["seconds"].sum()) for history in trained.values())
    stages = [(kind, stage) for run in runs for kind, stage in (run.stages or {}).items()]
    seconds += sum(stage.seconds for kind, stage in stages if kind == "predict")
    ours = ", ".join(found.code)
    if isinstance(found.code, dict):
        ours = hashlib.sha256(json.dumps(found.code).encode()).hexdigest()
    return {
        "gathered": found.gathered,
        "runs": len(runs),
        "commit": ", ".join(sorted({run.commit for run in runs})),
        "commit of the scores": ", ".join(sorted({run.scored_by for run in runs})),
        "device": ", ".join(sorted({stage.device for _, stage in stages})),
        "platform": ", ".join(sorted({run.platform for run in runs})),
        "compute time, all runs": f"{seconds / 60:.1f} min",
        "peak memory of a run": f"{max((stage.peak_memory_mb for _, stage in stages), default=0)} MB",
        "cases sha256": found.cases_sha256,
        "folds sha256": found.folds_sha256,
        "code": ours,
        "versions": {name: value for versions in found.versions for name, value in versions.items()},
    }
