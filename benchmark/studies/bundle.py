"""Compose MONAI configs from the protocol and model.json, and freeze them for a run."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.base import project
from benchmark.base.files import read_json, write_json, write_text
from benchmark.base.records import InputError, Run

CONFIGS = ("train", "inference")
MACHINE_IDS = ("device", "num_workers", "data_on_device", "cuda_graph", "overlap")
"""Ids that say where and in what order a run computes, not what; its fingerprint leaves them out."""

FIXED_IDS = ("bundle_root", "ckpt_dir", "output_dir", "manifest", "fold", "seed", "run_seed", "part")
"""Ids that a study decides for each run; set otherwise, scores would be filed under another fold or seed."""


def names() -> list[str]:
    """Names of all bundles, sorted: the folders with a ``configs/model.json``."""
    return sorted(path.parents[1].name for path in project.bundles().glob("*/configs/model.json"))


def compose(name: str) -> dict[str, dict[str, Any]]:
    """Return the complete ``train``, ``inference`` and ``metadata`` configs of a bundle.

    The protocol's files are the recipe that all models share. A bundle's ``model.json`` gives ``network_def``,
    ``loss``, new ids that these refer to (``ids``), values of the protocol that it changes (``deviations``) and its
    part of the metadata (``metadata``); nothing else can differ between two bundles. Where it has a recipe of its own
    (``native``), that is a fourth config, which MONAI takes as a second file after the first two.

    Raises:
        InputError: for an unknown bundle, and for a value for an id that the protocol does not have.
    """
    protocol, model = project.bundles() / "protocol", _model(name)
    composed = {}
    for kind in CONFIGS:
        config: dict[str, Any] = {}
        for key, value in read_json(protocol / f"{kind}.json", "the protocol").items():
            if key == "network_def":
                config.update(model["ids"])
            config[key] = model.get(key, value) if key in ("network_def", "loss") else value
        config["bundle_root"] = f"bundles/{name}"
        composed[kind] = config
    for key, value in model["deviations"].items():
        override(composed, key, value)
    composed["metadata"] = {**read_json(protocol / "metadata.json", "the protocol's metadata"), **model["metadata"]}
    trial = copy.deepcopy(composed)
    for key, value in native(name).items():
        if "#" in key or "::" in key:
            raise InputError(f"{name}: native: expected ids of the top level, as MONAI joins files, found {key!r}.")
        override(trial, key, value)
    return {**composed, "native": native(name)} if native(name) else composed


def native(name: str) -> dict[str, Any]:
    """Return the ids that a model's own recipe sets on top of the composed configs; empty where it has none.

    Raises:
        InputError: for an unknown bundle, or a recipe that sets the split, which a study declares.
    """
    own = dict(_model(name).get("native", {}))
    if "split" in own:
        raise InputError(f"The recipe of bundle {name} sets 'split': expected it in study.json, which reports go by.")
    return own


def write(name: str) -> list[Path]:
    """Write a bundle's composed configs into its folder and return the files that changed."""
    folder = project.bundles() / name
    texts = {folder / "configs" / f"{kind}.json": _text(config) for kind, config in compose(name).items()}
    for copied, place in (("logging.conf", folder / "configs"), ("LICENSE", folder)):
        texts[place / copied] = (project.bundles() / "protocol" / copied).read_text(encoding="utf-8")
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        write_text(path, texts[path])
    return changed


def read(name: str) -> dict[str, dict[str, Any]]:
    """Return a bundle's configs as its folder has them.

    Raises:
        InputError: for an unknown bundle, or one whose files are not what ``compose`` makes.
    """
    composed = compose(name)
    folder = project.bundles() / name / "configs"
    for kind, config in composed.items():
        if not (folder / f"{kind}.json").exists() or read_json(folder / f"{kind}.json", "a config") != config:
            raise InputError(
                f"{folder / kind}.json is not what the protocol and model.json make: expected the composed config; "
                f"run `benchmark compose {name}`."
            )
    return composed


def override(configs: Mapping[str, dict[str, Any]], key: str, value: Any) -> None:
    """Set id ``key`` (``a`` or ``a#b#c``, as MONAI writes it) in every config that has it.

    MONAI adds an unknown id silently, so that a mistyped ablation equals its baseline; here it is an error.

    Raises:
        InputError: if no config has the id, or its value there is of another type.
    """
    found = False
    for kind in CONFIGS:
        place: Any = configs[kind]
        *parents, last = key.replace("::", "#").split("#")
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            _check_type(key, place[last], value)
            place[last] = value
            found = True
    if not found:
        known = ", ".join(key for key in configs["train"] if key not in ("imports", "initialize", "training"))
        raise InputError(f"There is no id {key!r} in the bundle's configs: expected one of {known}, or one below them.")


def frozen(run: Run, dataset: str) -> dict[str, dict[str, Any]]:
    """Return the configs of one run: the bundle's, with the run's data, fold, seed, folder and overrides set."""
    composed = read(run.bundle)
    configs = {kind: copy.deepcopy(composed[kind]) for kind in (*CONFIGS, "metadata")}
    # One thread per run makes results the same whatever number of processors and jobs; runs are what is parallel.
    settings = {"bundle_root": f"runs/{run.study}/{run.id}", "manifest": dataset, "fold": run.fold, "seed": run.seed}
    for key in run.overrides:
        if key in FIXED_IDS:
            raise InputError(f"Id {key!r} cannot be set: expected another; a run's place in its study decides it.")
    for key, value in {**settings, "cpu_threads": 1, **run.overrides}.items():
        override(configs, key, value)
    if run.stages:
        # For people and fingerprints only: the configs are those of the segmenter.
        for kind in CONFIGS:
            configs[kind]["stages"] = list(run.stages)
    return configs


def freeze(configs: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Write a run's configs so that its folder is a stand-alone bundle."""
    for kind, config in configs.items():
        write_json(folder / "configs" / f"{kind}.json", config)
    for copied, place in (("logging.conf", folder / "configs"), ("LICENSE", folder)):
        shutil.copyfile(project.bundles() / "protocol" / copied, place / copied)


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return every id in which models' configs differ, with each model's value (None: no such id).

    Ids are of the top level, and of the second in groups such as ``train``, which are no object themselves. Where a
    run's data, fold, seed and folder are the same, this is all that makes one model another.
    """
    flat = {model: dict(_ids(config)) for model, config in configs.items()}
    keys = dict.fromkeys(key for config in flat.values() for key in config if key != "bundle_root")
    values = {key: {model: config.get(key) for model, config in flat.items()} for key in keys}
    return {key: row for key, row in values.items() if len({json.dumps(value) for value in row.values()}) > 1}


def _ids(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and "_target_" not in value:
            yield from ((f"{key}#{part}", inner) for part, inner in value.items())
        else:
            yield key, value


def _model(name: str) -> dict[str, Any]:
    if name not in names():
        raise InputError(f"There is no bundle {name!r}: expected one of {', '.join(names())}.")
    model: dict[str, Any] = read_json(project.bundles() / name / "configs" / "model.json", "what makes this model")
    return model


def _check_type(key: str, old: Any, new: Any) -> None:
    computed = isinstance(old, str) and old.startswith(("$", "@"))
    expression = isinstance(new, str) and new.startswith(("$", "@"))
    number = isinstance(old, (int, float)) and isinstance(new, (int, float))
    same = (number and isinstance(old, bool) == isinstance(new, bool)) or type(old) is type(new)
    if isinstance(old, int) and not isinstance(old, bool) and isinstance(new, float):
        same = False
    if not (computed or expression or same):
        raise InputError(f"Id {key!r} cannot be {new!r}: expected something like {json.dumps(old)}.")


def _text(config: Any) -> str:
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
