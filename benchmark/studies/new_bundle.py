"""Make a bundle from the import path of a network class, ready to be listed in a study."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.base import project
from benchmark.base.files import read_json, write_json, write_text
from benchmark.base.records import InputError, first_cause
from benchmark.studies import bundle

KNOWN = {
    "@spatial_dims": "spatial_dims dimensions ndim n_dims",
    "@in_channels": "in_channels in_chans in_channel input_channels n_input_channels num_input_channels n_channels",
    "@out_channels": "out_channels out_chans out_channel output_channels num_classes n_classes num_class classes",
    "@spatial_size": "img_size image_size input_size spatial_size",
    "@channels": "channels features filters feature_channels",
}
"""Ids, each with the names that arguments of networks have for it; ``@channels`` only where the class needs them."""

CHANNELS = [32, 64, 128, 256, 512]

README = """# {name}

`{network}` with the shared recipe; `benchmark new` wrote this bundle.

| | here |
|---|---|
| network | `{network}`; {filled} |
| channels | the id `channels`, which studies set to scale all models{unused} |
| loss | binary cross-entropy per region, as [`unet`](../../unet/docs/README.md) has: the two differ by their network |
| everything else | [the protocol](../../protocol/README.md) |

    python -m monai.bundle run training --config_file bundles/{name}/configs/train.json
    python -m monai.bundle run inference --config_file bundles/{name}/configs/inference.json
"""


def new(name: str, network: str, arguments: Mapping[str, Any]) -> list[Path]:
    """Write the folder of a new bundle and return its files, ``model.json`` and ``docs/README.md`` first.

    Args:
        name: of the bundle and its folder.
        network: import path of a class whose instances map images to logits.
        arguments: of the class, by name; values may refer to ids of the protocol (``@spatial_size``).

    Raises:
        InputError: for a name that is taken or not safe, a class that cannot be imported or filled, and a network that
            does not give logits of the images' size.
    """
    check_name(name)
    folder = project.bundles() / name
    definition = _definition(network, arguments)
    formats = read_json(project.bundles() / "protocol" / "metadata.json", "the protocol's metadata")
    _check_network(definition, formats["network_data_format"])
    filled = ", ".join(f"`{key}` = `{value}`" for key, value in definition.items() if key != "_target_")
    unused = "" if "@channels" in str(definition) else "; this network does not refer to it"
    files = [folder / "configs" / "model.json", folder / "docs" / "README.md"]
    for file in files:
        file.parent.mkdir(parents=True)
    write_json(files[0], _model(name, definition))
    write_text(files[1], README.format(name=name, network=network, filled=filled or "no arguments", unused=unused))
    return [*files, *bundle.write(name)]


def check_name(name: str) -> None:
    """Refuse a name that is taken or not safe."""
    folder = project.bundles() / name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"Bundle {name!r}: expected a name of small letters, digits and _ that begins with a letter.")
    if folder.exists():
        raise InputError(f"Bundle {name!r}: expected a name that no folder of bundles/ has, found {folder}.")


def _model(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    network = definition["_target_"]
    return {
        "metadata": {
            "name": name,
            "task": f"Brain tumour segmentation with {network}",
            "description": f"{network} with the shared recipe and binary cross-entropy.",
            "references": [],
        },
        "ids": {"channels": CHANNELS},
        "network_def": definition,
        "loss": {"_target_": "torch.nn.BCEWithLogitsLoss"},
        "deviations": {},
    }


def _definition(network: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``network_def`` of a class: each argument that is known, needed or given."""
    parameters = inspect.signature(_imported(network)).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [key for key in arguments if key not in parameters]
    if unknown and not open_ended:
        raise InputError(
            f"{network} has no argument {unknown[0]!r}: expected one of {', '.join(parameters) or 'none at all'}."
        )
    definition: dict[str, Any] = {"_target_": network}
    for key, parameter in parameters.items():
        needed = parameter.default is parameter.empty
        if key in arguments or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        known = next((value for value, names in KNOWN.items() if key in names.split()), None)
        if known is None and needed:
            raise InputError(f"{network} needs {key!r}, which is not known here: expected --set {key}=VALUE.")
        if known and (needed or known != "@channels"):
            definition[key] = known
    return {**definition, **arguments}


def _imported(network: str) -> Callable[..., Any]:
    try:
        found = pydoc.locate(network)
    except pydoc.ErrorDuringImport as error:
        raise InputError(f"{network} cannot be imported: expected a class, found {error.value}.") from error
    if not inspect.isclass(found):
        raise InputError(
            f"{network!r} is no class that can be imported: expected a path such as monai.networks.nets.SegResNet, "
            f"found {'nothing' if found is None else type(found).__name__}."
        )
    return found


def _check_network(definition: Mapping[str, Any], formats: Mapping[str, Any]) -> None:
    """Build the network and pass images of the protocol's size through it, in training and in evaluation."""
    import torch
    from monai.bundle.config_parser import ConfigParser

    train = read_json(project.bundles() / "protocol" / "train.json", "the protocol")
    inside, outside = (formats[side][key]["num_channels"] for side, key in (("inputs", "image"), ("outputs", "pred")))
    ids = {"in_channels": inside, "out_channels": outside, "channels": CHANNELS}
    ids |= {key: train[key] for key in ("spatial_dims", "spatial_size")}
    size = tuple(ids["spatial_size"])
    name, wanted = definition["_target_"], (2, outside, *size)
    try:
        network = ConfigParser({**ids, "network_def": dict(definition)}).get_parsed_content("network_def")
        with torch.no_grad():
            outputs = [network.train(mode)(torch.zeros(2, inside, *size)) for mode in (True, False)]
    except Exception as error:
        cause = first_cause(error)
        first = (str(cause).strip().splitlines() or [""])[0].rstrip(".")
        raise InputError(
            f"{name} fails on images of shape {(2, inside, *size)}: expected logits of shape {wanted}, found "
            f"{type(cause).__name__}: {first}; if it takes only some sizes, edit a bundle that has "
            "benchmark.networks.padded.Padded around its network."
        ) from error
    for output in outputs:
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if found != wanted:
            raise InputError(
                f"{name} gives {found} for images of shape {(2, inside, *size)}: expected logits {wanted}."
            )
