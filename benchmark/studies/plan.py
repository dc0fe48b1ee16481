"""Tell where every run of a study stands and what `run-all` would refuse, without starting or preparing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.base.declared import short
from benchmark.base.records import InputError, Run, number_of
from benchmark.data.folds import load_folds, of_partition, partitions_to_make
from benchmark.data.manifest import folder_here, load_cases, manifest_of
from benchmark.studies import bundle, cluster, execute, other_tests, store
from benchmark.studies.study import Study, check_code

SHOWN = 3
"""Keys that differ up to which a line names them."""


@dataclass(frozen=True)
class Standing:
    """A run and its ``state``: a state of ``store``, or "queued", "running", "interrupted" or "stale".

    ``epoch`` is the last one that ended, of ``epochs``. A stale run was made with other settings, data or code than the
    study has now; ``differs`` has a key for each difference, with the old and the new value. ``job`` says what there is
    to say of a run's job on a cluster, and ``job_id`` which one holds it.
    """

    run: Run
    state: str
    epoch: int
    epochs: int
    differs: tuple[tuple[str, Any, Any], ...] = ()
    job: str = ""
    job_id: str | None = None

    @property
    def in_words(self) -> str:
        """The state, with the epoch where a training is between two."""
        between = self.epochs and (self.state in ("running", "interrupted") or (self.state == "queued" and self.epoch))
        return f"{self.state} at epoch {self.epoch} of {self.epochs}" if between else self.state

    @property
    def why(self) -> str:
        """What makes a run stale, and its job; empty where there is neither."""
        keys = [f"{key} ({short(old)} -> {short(new)})" for key, old, new in self.differs[:SHOWN]]
        keys += [f"and {len(self.differs) - SHOWN} more"] * (len(self.differs) > SHOWN)
        return "; ".join(filter(None, (", ".join(keys), self.job)))

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        differs = [dict(zip(("key", "recorded", "now"), one, strict=True)) for one in self.differs]
        place = {"id": self.run.id, "state": self.state, "folder": str(store.folder(self.run))}
        return {**place, "epoch": self.epoch, "epochs": self.epochs, "differs": differs, "job": self.job_id}


def of_jobs(runs: Sequence[Run]) -> dict[str, cluster.RunState]:
    """Return how runs stand that were given to jobs and are not done, by id.

    Raises:
        InputError: if there are some and Slurm's queue cannot be asked.
    """
    return {one.run.id: one for one in cluster.stand([run for run in runs if store.state(run) != "done"]) if one.job}


def standings(
    runs: Sequence[Run], dataset: str, jobs: Mapping[str, cluster.RunState] | None = None
) -> Iterator[Standing]:
    """Yield where each run stands, in their order; ``jobs`` are those of ``of_jobs``.

    Raises:
        InputError: for a run whose record or history is not what it should be.
    """
    begun = [run for run in runs if (store.folder(run) / "run.json").exists()]
    now = {run.id: what for run, what in store.identities(begun, dataset)} if begun and _listed(dataset) else {}
    for run in runs:
        differs = tuple(_differing(run, now[run.id])) if run.id in now else ()
        history = store.history(run)
        epoch = 0 if history.empty else int(history["epoch"].iloc[-1])
        one = (jobs or {}).get(run.id)
        held = one if one and one.state in cluster.HELD else None
        state = "stale" if differs else held.state if held else _state(run, epoch)
        job = (one.of_job, held.job.id if held and held.job else None) if one else ("", None)
        yield Standing(run, state, epoch, bundle.epochs(run, dataset), differs, *job)


def _listed(dataset: str) -> bool:
    """Whether what runs follow from can be told without generating a set."""
    manifest = manifest_of(dataset)
    return manifest.access != "generated" or folder_here(dataset, manifest) is not None


def _differing(run: Run, what: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield from store.differing(store.read_record(store.folder(run)), what)
    for test in other_tests.begun(run):
        recorded = store.read_record(store.other_folder(run, test))
        for key, old, new in store.differing(recorded, other_tests.identity(run, test, what)):
            yield f"{test.name}: {key}", old, new


def _state(run: Run, epoch: int) -> str:
    state = store.state(run)
    if state == "done" or not (store.folder(run) / ".lock").exists():
        return state
    # The weights of an epoch are written before its line of the history.
    begun = epoch or (store.folder(run) / "models" / "last.pt").exists()
    return "running" if store.is_locked(run) else "interrupted" if state == "pending" and begun else state


def _check_sets(study: Study) -> None:
    """Refuse sets whose files are not on this machine, unless they are generated."""
    for name in (study.data, *study.test_on.get("sets", ())):
        manifest = manifest_of(name)
        if manifest.access != "generated":
            load_cases(name)
            if folder_here(name, manifest) is None:
                raise InputError(
                    f"The files of {name} are not on this machine: expected the folder that was scanned; run "
                    f"`benchmark data scan {name} FOLDER`."
                )


def _check_folds(study: Study) -> None:
    """Refuse folds that do not hold the set's cases, or that no further partition can be made from."""
    if _listed(study.data):
        for split in study.splits:
            base, number = of_partition(split)
            load_folds(study.data, base if number != 1 else split)
        list(partitions_to_make(study.data, study.splits))


def refusals(
    study: Study,
    found: Sequence[Standing],
    check_pairs: Callable[[Study], None],
    changes: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return a sentence for each reason why `run-all` would end before it starts a run; none where it would begin.

    ``found`` are the runs that it would do, with ``changes`` of ids, and ``check_pairs`` refuses pairs of models that
    there are none of.
    """
    runs, stale = [one.run for one in found], [one for one in found if one.state == "stale"]
    checks: list[Callable[[], None]] = [
        lambda: check_code(study, changes or {}), lambda: execute.check_stages(runs), lambda: check_pairs(study),
        lambda: _check_sets(study), lambda: _check_folds(study),
    ]  # fmt: skip
    said = []
    for check in checks:
        try:
            check()
        except InputError as error:
            said.append(str(error))
    if stale:
        named = ", ".join(str(store.folder(one.run)) for one in stale[:SHOWN]) + ", …" * (len(stale) > SHOWN)
        said.append(
            f"{number_of(len(stale), 'run')} {'is' if len(stale) == 1 else 'are'} stale, made with other settings, "
            f"data or code than the study has now{' with this --set' if changes else ''}: move the folders away to "
            f"run them anew, or undo the change ({named})."
        )
    return said
