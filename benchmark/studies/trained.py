"""Find trained networks, and what they were trained on: a run's folder, a bundle, or all runs of a study's model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.base import project
from benchmark.base.files import read_json
from benchmark.base.records import Case, InputError
from benchmark.data.manifest import Manifest, load_cases
from benchmark.data.prepare import DataSet
from benchmark.studies import bundle, store, study


@dataclass(frozen=True)
class Trained:
    """A trained network with what it can be applied to.

    ``config`` is its inference config, ``weights`` the folder of ``model.pt``. ``spacing`` is the voxel size that it
    knows along the axes of RAS orientation, mm. ``patients`` are those that it was trained on, of the set ``dataset``.
    """

    name: str
    config: Mapping[str, Any]
    weights: Path
    manifest: Manifest
    spacing: tuple[float, ...]
    patients: tuple[str, ...]
    dataset: str

    def knows(self, case: Case) -> bool:
        """Whether a case seems to be of a patient that it was trained on: by its id, or by a file's bytes."""
        begins = tuple(f"{patient}{sign}" for patient in self.patients for sign in "_-")
        known = case.case_id in self.patients or case.case_id.startswith(begins)
        return known or not self._hashes.isdisjoint(case.sha256.values())

    @cached_property
    def _hashes(self) -> frozenset[str]:
        try:
            cases = load_cases(self.dataset).cases
        except InputError:
            return frozenset()  # outside a project there are only ids
        return frozenset(
            digest for case in cases if case.patient_id in self.patients for digest in case.sha256.values()
        )


def find(
    name: str, joined: bool = False, bundle_: str | None = None, variant: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> list[Trained]:  # fmt: skip
    """Find the networks that a name means: a run's folder, a bundle, or with ``joined`` those of a study's model.

    ``changes`` are ids that MONAI's command was given when it trained the bundle. InputError if the name means nothing,
    or what it means cannot be applied to new scans.
    """
    if joined:
        return of_study(name, bundle_, variant)
    if bundle_ or variant:
        raise InputError("--bundle and --variant choose a model of a study: expected --ensemble and a study's name.")
    if (Path(name) / "run.json").exists():
        if changes:
            raise InputError(f"--set changes a bundle: expected none for {name}, a run that keeps its own values.")
        return [of_run(Path(name))]
    known = bundle.names()
    if name not in known:
        raise InputError(
            f"{name} is no trained network: expected a run's folder (one with run.json), a bundle "
            f"({', '.join(known)}), or a study with --ensemble."
        )
    return [of_bundle(name, changes or {})]


def of_run(folder: Path) -> Trained:
    """Read a trained network from a run's folder, wherever that is.

    InputError if it holds no trained segmentation network, or does not record what that was trained on.
    """
    record, weights = store.read_record(folder), folder / "models"
    if not (weights / "model.pt").exists():
        raise InputError(f"{weights / 'model.pt'} does not exist: expected the weights of a network that was trained.")
    store.check_trained(folder)
    if record.trained_on is None or record.trained_on.orientation != "RAS":
        raise InputError(f"{folder / 'run.json'}: expected the voxel size that was trained on, in RAS, found none.")
    config = _segmenting(folder / "configs" / "inference.json")
    spacing = record.trained_on.spacing["median"]
    size = record.network.input[1:] if record.network else ()
    sides = [record.patients.get(side) or record.identity["fold"].get(side) for side in ("train", "validation")]
    # A side by slices is a hash.
    patients = tuple(str(one) for side in sides if isinstance(side, (list, tuple)) for one in side)
    # Outside the project that it comes from there is no manifest.
    manifest = Manifest.model_construct(name=config["manifest"], **record.identity["manifest"])
    planned = _planned(folder / "run.json", config, spacing, size)
    return Trained(str(folder), planned, weights, manifest, spacing, patients, config["manifest"])


def of_bundle(name: str, changes: Mapping[str, Any]) -> Trained:
    """Read a bundle's own network, which MONAI's command trained with ``changes`` of its ids.

    InputError if it was not trained, or its training set is not on this machine.
    """
    import torch

    from benchmark.studies.run import space

    configs, folder = bundle.read(name), project.bundles() / name
    for key, value in changes.items():
        bundle.check_free(configs, key)
        bundle.override(configs, key, value)
    for path in (folder / "models" / "model.pt", folder / "models" / "last.pt"):
        if not path.exists():
            raise InputError(
                f"{path} does not exist: expected what a training leaves; train it, or name a run's folder."
            )
    try:
        settings = torch.load(path, map_location="cpu", weights_only=True)["settings"]
    except Exception as error:
        raise InputError(
            f"{path} cannot be read: expected a training's state, found {type(error).__name__}."
        ) from error
    data = DataSet(settings["manifest"], settings["split"])
    train, validation = (data.part(settings["fold"], side) for side in ("train", "validation"))
    spacing, size = space(train)["spacing"]["median"], settings["spatial_size"]
    path = folder / "configs" / "inference.json"
    config = {**_segmenting(path, configs["inference"]), "spatial_dims": len(size), "spatial_size": size}
    config = _planned(path, bundle.chosen(config, len(size)), spacing, size)
    patients = tuple(sorted({case.case.patient_id for case in [*train, *validation]}))
    return Trained(name, config, folder / "models", data.manifest, tuple(spacing), patients, data.name)


def of_study(name: str, bundle_: str | None, variant: str | None) -> list[Trained]:
    """Read every trained network of one model of a study. InputError unless that is one model with finished runs."""
    runs = study.load(name).runs()
    chosen = [run for run in runs if bundle_ in (None, run.bundle) and variant in (None, run.variant)]
    models, every = ({run.model: None for run in some} for some in (chosen, runs))
    if len(models) != 1:
        raise InputError(
            f"{name}: expected --bundle and --variant of one of its models, {', '.join(every)}; found "
            f"{', '.join(models) or '/'.join(filter(None, (bundle_, variant)))}."
        )
    if chosen[0].stages and chosen[0].by != "mean":
        raise InputError(
            f"{name}: {chosen[0].model} joins label maps: expected a model that is trained itself, or a mean of such."
        )
    done = [run for run in chosen if store.scored(run)]
    if not done:
        raise InputError(
            f"{name}: expected finished runs of {chosen[0].model}, found none; run `benchmark run-all {name}`."
        )
    # The mean of an ensemble's means is that of all their networks, for each has as many.
    return [of_run(place) for run in done for place in store.stage_folders(run) or [store.folder(run)]]


def _segmenting(path: Path, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    found = dict(config or read_json(path, "an inference config"))
    if found.get("task", "segmentation") != "segmentation":
        raise InputError(f"{path}: expected a network that segments, found one for {found['task']}.")
    return found


def _planned(place: Path, config: dict[str, Any], spacing: Sequence[float], size: Sequence[int]) -> dict[str, Any]:
    """Return a config with what was planned from the training set as values, as that set may be elsewhere."""
    # Nothing but the loss asks for batch_dice.
    asked = [key for key, value in config.items() if "@planner" in json.dumps(value) and key != "batch_dice"]
    known = {"spacing": list(spacing[: len(size) or 2]), "spatial_size": list(size)}
    for key in asked:
        if not known.get(key):
            raise InputError(f"{place}: expected the {key} that was planned from the training set, found none.")
    return {**config, **{key: known[key] for key in asked}}
