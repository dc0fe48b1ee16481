"""Compose MONAI configs from the protocol and model.json, and freeze them for a run."""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from benchmark.base import declared, project
from benchmark.base.declared import Record
from benchmark.base.files import read_json, stamp, write_text
from benchmark.base.records import InputError, Run
from benchmark.studies import trust

CONFIGS = ("train", "inference")
MULTI_GPU = "multi_gpu_train"
"""Config that MONAI takes as the last file after ``train``, by its zoo's convention, for several processes."""

MACHINE_IDS = ("device", "num_workers", "data_on_device", "cuda_graph", "overlap")
"""Ids that say where and in what order a run computes, not what; its fingerprint leaves them out."""

KEEP = "keep_probabilities"
"""Id that says whether a run keeps the probabilities of its test cases; no label map and no score depends on it."""

PLACE = "dataset_dir"
"""Id of the folder that cases are read from, by MONAI's specification; the files' hashes are in a run's identity."""

FIXED_IDS = (
    "bundle_root", "ckpt_dir", "output_dir", "dataset_dir", "manifest", "split", "fold", "seed", "run_seed", "part",
    "data", "train#dataset", "train#sampler", "train#dataloader", "validate#dataset", "validate#dataloader", "dataset",
    "dataloader", "imports", "initialize", "training", "inference",
)  # fmt: skip
"""Ids that a study decides for each run by its own fields: data, split, seeds, places and what is done.

Set otherwise, scores would be filed under another split, fold or seed.
"""

CHOICE = " if @spatial_dims == 3 else "
"""What stands between a value for 3D and one for 2D, as the shared configs write both for MONAI's own command."""

Computed = Annotated[str, Field(pattern=r"^[$@%]")]
Share = Annotated[float, Field(ge=0, le=1)] | Computed
Count = Annotated[int, Field(ge=1)] | Computed
CountOrNone = Annotated[int, Field(ge=0)] | Computed
NotNegative = Annotated[float, Field(ge=0)] | Computed
Widths = Annotated[list[Count], Field(min_length=1)] | Computed


class _Part(BaseModel):
    """Some ids of a config with the values that they can have; others may be there, and computed ones are not known."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Augmentation(_Part):
    rotation: NotNegative = 0
    flip: Share = 0
    scale: Annotated[float, Field(ge=0, lt=1)] | Computed = 0
    elastic: NotNegative = 0
    elastic_grid: Annotated[int, Field(ge=2)] | Computed = 2
    probability: Share = 0


class _Values(_Part):
    spatial_dims: Annotated[int, Field(ge=2, le=3)] | Computed
    spatial_size: Widths
    max_epochs: Count
    epoch_images: CountOrNone
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)] | Computed
    weight_decay: NotNegative
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] | Computed
    plateau_patience: CountOrNone
    stop_patience: Count
    cpu_threads: Count
    num_workers: CountOrNone
    channels: Widths = "$"
    preset: Literal["", "M", "L"] | Computed | None = ""
    augmentation: _Augmentation | Computed

    @field_validator("spatial_size")
    @classmethod
    def _one_per_dimension(cls, size: Any, info: ValidationInfo) -> Any:
        dimensions = info.data.get("spatial_dims")
        if isinstance(size, list) and isinstance(dimensions, int) and len(size) != dimensions:
            raise ValueError(f"expected {dimensions} numbers, one per dimension")
        return size


class _Model(Record):
    """What makes a bundle's model, as its ``model.json`` says it."""

    metadata: dict[str, Any]
    network_def: dict[str, Any]
    loss: dict[str, Any]
    ids: dict[str, Any] = Field(default_factory=dict)
    deviations: dict[str, Any] = Field(default_factory=dict)
    native: dict[str, Any] = Field(default_factory=dict)
    dimensions: Annotated[tuple[Literal[2, 3], ...], Field(min_length=1)] = (2, 3)


def names() -> list[str]:
    """Names of all bundles, sorted: the folders with a ``configs/model.json``."""
    return sorted(path.parents[1].name for path in project.bundles().glob("*/configs/model.json"))


def compose(name: str) -> dict[str, dict[str, Any]]:
    """Return the complete ``train``, ``inference``, ``multi_gpu_train`` and ``metadata`` configs of a bundle.

    The protocol's files are the recipe that all models share. A bundle's ``model.json`` gives ``network_def``,
    ``loss``, new ids that these refer to (``ids``), values of the protocol that it changes (``deviations``) and its
    part of the metadata (``metadata``); nothing else can differ between two bundles. Where it has a recipe of its own
    (``native``), that is a fourth config, which MONAI takes as a second file after the first two.

    Raises:
        InputError: for an unknown bundle, and for a value for an id that the protocol does not have.
    """
    bundles = project.bundles()
    found: dict[str, dict[str, Any]] = json.loads(_composed(name, bundles, *_stamps(bundles, name)))
    return found


@lru_cache(maxsize=256)
def _composed(name: str, bundles: Path, *_: Any) -> str:
    protocol, model = bundles / "protocol", _model(name)
    path = bundles / name / "configs" / "model.json"
    composed: dict[str, dict[str, Any]] = {}
    for kind in CONFIGS:
        config: dict[str, Any] = {}
        shared = read_json(protocol / f"{kind}.json", "the protocol")
        for key in set(model.ids) & set(shared):
            raise InputError(f"{path}: ids: expected new ones, found {key!r} of the protocol; give it as a deviation.")
        for key, value in shared.items():
            if key == "network_def":
                config.update(model.ids)
            config[key] = getattr(model, key) if key in ("network_def", "loss") else value
        config["bundle_root"] = f"bundles/{name}"
        composed[kind] = config
    for key, value in model.deviations.items():
        if _is_fixed(key):
            raise InputError(f"{path}: deviations: id {key!r} cannot be set: a study decides it.")
        override(composed, key, value)
    if (several := protocol / f"{MULTI_GPU}.json").exists():  # not in projects made before there was one
        composed[MULTI_GPU] = read_json(several, "the protocol for several processes")
    composed["metadata"] = {**read_json(protocol / "metadata.json", "the protocol's metadata"), **model.metadata}
    trial = copy.deepcopy(composed)
    for key, value in model.native.items():
        if "#" in key or "::" in key:
            raise InputError(f"{path}: native: expected ids of the top level, as MONAI joins files, found {key!r}.")
        # A recipe is a program: its sampler may take what a study decides, such as the run's seed.
        check_free({}, key)
        override(trial, key, value)
    return json.dumps({**composed, "native": model.native} if model.native else composed)


def code(name: str) -> list[str]:
    """Code in a bundle that is not the repository's, beyond references and arithmetic."""
    return trust.of_bundle(name, _model(name).model_dump())


def write(name: str) -> list[Path]:
    """Write a bundle's composed configs into its folder and return the files that changed."""
    texts = _files(project.bundles() / name, compose(name))
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        write_text(path, texts[path])
    return changed


def freeze(configs: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Write a run's configs so that its folder is a stand-alone bundle."""
    for path, text in _files(folder, configs).items():
        write_text(path, text)


def _files(folder: Path, configs: Mapping[str, dict[str, Any]]) -> dict[Path, str]:
    """Texts of a bundle's files, by path."""
    texts = {
        folder / "configs" / f"{kind}.json": json.dumps(config, indent=4, ensure_ascii=False) + "\n"
        for kind, config in configs.items()
    }
    for copied in (folder / "configs" / "logging.conf", folder / "LICENSE"):
        texts[copied] = (project.bundles() / "protocol" / copied.name).read_text(encoding="utf-8")
    return texts


def read(name: str) -> dict[str, dict[str, Any]]:
    """Return a bundle's configs as its folder has them.

    Raises:
        InputError: for an unknown bundle, or one whose files are not what ``compose`` makes.
    """
    bundles = project.bundles()
    stamps = _stamps(bundles, name)
    composed: dict[str, dict[str, Any]] = json.loads(_composed(name, bundles, *stamps))
    _check_files(name, bundles, *stamps)
    return composed


@lru_cache(maxsize=256)
def _check_files(name: str, bundles: Path, *stamps: Any) -> None:
    folder = bundles / name / "configs"
    for kind, config in json.loads(_composed(name, bundles, *stamps)).items():
        if kind == MULTI_GPU and not (folder / f"{kind}.json").exists():
            continue  # a bundle made before there was one
        if not (folder / f"{kind}.json").exists() or read_json(folder / f"{kind}.json", "a config") != config:
            raise InputError(
                f"{folder / kind}.json is not what the protocol and model.json make: expected the composed config; "
                f"run `benchmark compose {name}`."
            )


def override(configs: Mapping[str, dict[str, Any]], key: str, value: Any) -> None:
    """Set id ``key`` (``a`` or ``a#b#c``, as MONAI writes it) in every config that has it.

    MONAI adds an unknown id silently, so that a mistyped ablation equals its baseline; here it is an error.

    Raises:
        InputError: if no config has the id, or its value there is of another type.
    """
    *parents, last = _path(key)
    places = [_at(configs[kind], parents) for kind in CONFIGS]
    places = [place for place in places if isinstance(place, dict) and last in place]
    for place in places:
        _check_type(key, place[last], value)
        place[last] = value
    if not places:
        known = ", ".join(key for key in configs["train"] if key not in ("imports", "initialize", "training"))
        raise InputError(f"There is no id {key!r} in the bundle's configs: expected one of {known}, or one below them.")


def frozen(run: Run, dataset: str) -> dict[str, dict[str, Any]]:
    """Return the configs of one run: the bundle's, with the run's data, fold, seed, folder and overrides set.

    Raises:
        InputError: as ``read`` and ``override``, for an id that the study decides, and for a value that none can have.
    """
    composed = read(run.recipe)
    configs = {kind: composed[kind] for kind in (*CONFIGS, "metadata")}
    dimensions = run.overrides.get("spatial_dims", configs["train"]["spatial_dims"])
    _check_dimensions(run, configs, dimensions)
    # One thread per run makes results the same whatever number of processors and jobs; runs are what is parallel.
    settings = {"bundle_root": f"runs/{run.study}/{run.id}", "manifest": dataset, "fold": run.fold, "seed": run.seed}
    recipe = chosen(composed.get("native", {}), dimensions)
    for key, value in run.overrides.items():
        # The split is here by a field of the study, which may set nothing of its name; a bundle's own recipe may say
        # how the patients that a study decides are shown.
        if key != "split" and not (key in recipe and recipe[key] == value):
            check_free(configs, key)
    for key, value in {**settings, "cpu_threads": 1, **run.overrides}.items():
        override(configs, key, value)
    configs = {kind: chosen(config, dimensions) for kind, config in configs.items()}
    if dimensions == 3:
        _describe_patches(configs["metadata"])
    declared.check(f"Run {run.id}", configs["train"], _Values)
    if run.stages:
        # For people and fingerprints only: the configs are those of the last run that is joined.
        for kind in CONFIGS:
            configs[kind]["stages"] = list(run.stages)
    return configs


def chosen(content: Any, dimensions: Any) -> Any:
    """Return JSON content with each choice by ``spatial_dims`` made: the value that is meant for so many dimensions.

    An entry whose value is then None is left out. So what is frozen for a run has the ids of its dimensions only, and
    its identity follows from no others. Where the number of dimensions is itself computed, MONAI chooses.
    """
    if isinstance(content, dict):
        made = {key: (value, chosen(value, dimensions)) for key, value in content.items()}
        return {key: new for key, (old, new) in made.items() if new is not None or old is None}
    if isinstance(content, list):
        return [chosen(value, dimensions) for value in content]
    choice = _choice(content) if isinstance(content, str) and dimensions in (2, 3) else None
    if choice is None:
        return content
    text = choice[dimensions == 2]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text if re.fullmatch(trust.REFERENCE, text) else f"${text}"


def _choice(text: str) -> tuple[str, str] | None:
    """Return the expressions for 3D and for 2D of a text that is a choice between them as a whole; None of any other.

    MONAI makes the choice where it is a part of something larger.
    """
    deep, between, flat = text.removeprefix("$").partition(CHOICE)
    if not (text.startswith("$") and between):
        return None
    try:
        whole, *parts = map(_parsed, (f"{deep}{between}{flat}", deep, flat))
    except (ValueError, SyntaxError, RecursionError):
        return None
    cut = isinstance(whole, ast.IfExp) and [*map(ast.dump, (whole.body, whole.orelse))] == [*map(ast.dump, parts)]
    return (deep, flat) if cut else None


def _parsed(expression: str) -> ast.expr:
    """Parse an expression in which each reference is taken for a name of its own."""
    names = trust.REFERENCE.sub(lambda found: re.sub(r"\W", "_", found[0]), expression)
    return ast.parse(names.strip(), mode="eval").body


def _describe_patches(metadata: dict[str, Any]) -> None:
    """Say that what a network takes and gives has a third axis, as the second, and is a part of a volume."""
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            tensor["spatial_shape"] = [*tensor["spatial_shape"], tensor["spatial_shape"][-1]][:3]
            tensor["is_patch_data"] = True


def epochs(run: Run, dataset: str) -> int:
    """Return the epochs that a run trains for; 0 where it joins others, or its config computes their number."""
    found = 0 if run.stages else frozen(run, dataset)["train"]["max_epochs"]
    return found if isinstance(found, int) else 0


def _check_dimensions(run: Run, configs: Mapping[str, dict[str, Any]], dimensions: Any) -> None:
    """Refuse dimensions that a bundle does not have, and ids that are for other ones."""
    known = _model(run.recipe).dimensions
    if dimensions in (2, 3) and dimensions not in known:
        raise InputError(f"Run {run.id}: {run.recipe} works in {known[0]}D only: expected spatial_dims {known[0]}.")
    for config in configs.values():
        for key in set(run.overrides) & set(config) - set(chosen(config, dimensions)):
            raise InputError(
                f"Run {run.id}: id {key!r} is not of spatial_dims {dimensions}: expected it not to be set."
            )


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what decides no number: what keeps probabilities, and the place of the set's files.

    Configs of older runs have none of it.
    """
    kept = {key: value for key, value in config.items() if key not in (KEEP, PLACE)}
    if "data" in kept:
        kept["data"] = {key: value for key, value in kept["data"].items() if value != f"@{PLACE}"}
    if "handlers" in kept:
        kept["handlers"] = [one for one in kept["handlers"] if f"@{KEEP}" not in json.dumps(one)]
    return kept


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


def _model(name: str) -> _Model:
    if name not in names():
        raise InputError(f"There is no bundle {name!r}: expected one of {', '.join(names())}.")
    path = project.bundles() / name / "configs" / "model.json"
    model = declared.read(path, _Model, "what makes this model")
    for _, text in trust.texts(model.model_dump()):
        file = trust.macro_file(text)
        if file and not Path(file).resolve().is_relative_to(path.parents[1].resolve()):
            raise InputError(f"{path}: expected text of the bundle's own files, found {text!r}.")
    return model


def _stamps(bundles: Path, name: str) -> tuple[Any, ...]:
    """Size and time of change of all files that a bundle's configs are made from: runs share what is unchanged."""
    files = [*(bundles / "protocol").glob("*.json"), *(bundles / name / "configs").glob("*.json")]
    return tuple((path.name, *stamp(path)) for path in files)


def _path(key: str) -> list[str]:
    return key.replace("::", "#").split("#")


def _at(config: Any, path: Sequence[str]) -> Any:
    for part in path:
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _is_fixed(key: str, above: bool = True) -> bool:
    """Whether a study decides an id: one of FIXED_IDS, one below it, or with ``above`` one that holds it."""
    path = "#".join([*_path(key), ""])
    return any(path.startswith(f"{one}#") or (above and one.startswith(path)) for one in FIXED_IDS)


def check_free(configs: Mapping[str, dict[str, Any]], key: str) -> None:
    """Refuse to set an id that a study decides, or one whose value is taken from such an id."""
    texts = [text for config in configs.values() for _, text in trust.texts(_at(config, _path(key)))]
    if _is_fixed(key) or any(_is_fixed(one, above=False) for text in texts for one in trust.REFERENCE.findall(text)):
        field = "give `split` as a field of the study or of a model" if "split" in key else "its own fields decide it"
        raise InputError(f"Id {key!r} cannot be set, as a study decides data, split and places for each run: {field}.")


def _check_type(key: str, old: Any, new: Any) -> None:
    computed = any(isinstance(value, str) and value.startswith(("$", "@")) for value in (old, new))
    whole = type(old) is float and type(new) is int
    if not (computed or whole or type(old) is type(new)):
        raise InputError(f"Id {key!r} cannot be {new!r}: expected something like {json.dumps(old)}.")
