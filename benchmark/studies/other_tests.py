"""Say what another test of a trained run reads: another set, or its own test cases with corrupted images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.base.records import OtherTest, Run
from benchmark.data.prepare import DataSet
from benchmark.studies import bundle, code, store


def tested(test: OtherTest, data: DataSet) -> DataSet:
    """Data set whose cases are tested, as they are; ``data`` is the run's own."""
    return DataSet(test.data) if test.data else data


def part(test: OtherTest) -> str:
    """Side of the run's fold that is tested: all cases of another set."""
    return "all" if test.data else "test"


def _reader(test: OtherTest, config: Mapping[str, Any]) -> dict[str, Any]:
    if test.data:
        return {"_target_": "benchmark.data.prepare.DataSet", "name": test.data}
    return {
        "_target_": "benchmark.data.corruption.CorruptedSet", "name": config["manifest"], "split": config["split"],
        "kind": test.corruption, "level": test.level,
    }  # fmt: skip


def overrides(test: OtherTest, config: Mapping[str, Any]) -> dict[str, Any]:
    """Ids that a run's inference config needs for another test; all that makes its network stays as it was trained."""
    changed = {
        "tested": _reader(test, config),
        "dataset::cases": f"$@tested.part(@fold, '{part(test)}')",
        "output_dir": f"$@bundle_root + '/external/{test.name}/predictions'",
        bundle.KEEP: False,
    }
    for index, handler in enumerate(config["handlers"]):
        if "regions_class_order" in handler:
            # Another edition may write a region as another label.
            changed[f"handlers::{index}::regions_class_order"] = "$@tested.manifest.regions_class_order"
    return changed


def identity(run: Run, test: OtherTest, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the numbers of another test follow from; ``own`` is the run's identity."""
    reader = _reader(test, own["config"]["inference"])
    found = {**own, "tested": reader, "weights": store.read_record(store.folder(run)).trained.get("model.pt", ("",))[0]}
    if run.stages:
        found["members"] = store.members(run, store.other_folder(run, test).relative_to(store.folder(run)))
    if test.data:
        other = DataSet(test.data)
        found |= {**store.of_set(other), "fold": {"test": list(other.cases.patients)}}
    else:
        found["code"] = {**own["code"], **code.hashes(reader)}
    return found


def begun(run: Run) -> list[OtherTest]:
    """Other tests of a run that are done or begun."""
    return [test for test in run.test_on if (store.other_folder(run, test) / "run.json").exists()]
