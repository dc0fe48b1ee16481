"""A bundle's network to a table of its layers in the order of a forward pass, as papers print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.base.records import InputError
from benchmark.studies import bundle

if TYPE_CHECKING:
    import pandas as pd


def layers(name: str, in_channels: int, out_channels: int, spatial_size: Sequence[int]) -> pd.DataFrame:
    """List the layers of a bundle's network for one image of ``in_channels`` channels and ``spatial_size`` pixels.

    A block of this package (a class that holds no other of its classes) is one row. Parameters are counted as Keras
    counts them, the running mean and variance of a normalisation included.

    Returns:
        Columns layer (its name in the network), type, shape (N, C, H, W) and parameters; the last row is the total.

    Raises:
        InputError: for an unknown bundle, and for channels or a size that its network does not take.
    """
    import pandas as pd

    given = {"in_channels": in_channels, "out_channels": out_channels, "spatial_size": list(spatial_size)}
    config = {**bundle.read(name)["train"], **given}
    try:
        return pd.DataFrame(_listed(config), columns=["layer", "type", "shape", "parameters"])
    except Exception as error:
        # Networks that are not ours raise errors of many types, and MONAI wraps them.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        shape = " x ".join(map(str, (1, in_channels, *spatial_size)))
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
        raise InputError(f"{name}: expected images that its network takes, found {shape} ({first}).") from error


def _listed(config: Mapping[str, Any]) -> list[tuple[str, str, str, int]]:
    """Pass an empty image through the network of a config and return the rows of its listing."""
    import torch
    from monai.bundle import ConfigParser

    network = ConfigParser(dict(config)).get_parsed_content("network_def").eval()
    rows: list[tuple[str, str, str, int]] = []

    def note(row: str, module: Any) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            rows.append((row, type(module).__name__, str(tuple(output.shape)), _parameters(module)))

        return hook

    for row, module in _rows(network):
        module.register_forward_hook(note(row, module))
    with torch.no_grad():
        network(torch.zeros(1, config["in_channels"], *config["spatial_size"]))
    return [*rows, ("total", "Total", "", _parameters(network))]


def _rows(network: Any) -> list[tuple[str, Any]]:
    """Modules that are a row each: blocks of ours, and layers without parts outside of these."""
    blocks = [
        name
        for name, module in network.named_modules()
        if _ours(module) and not any(_ours(part) for part in module.modules() if part is not module)
    ]
    return [
        (name, module)
        for name, module in network.named_modules()
        if name in blocks
        or (not list(module.children()) and not any(name.startswith(f"{block}.") for block in blocks if block))
    ]


def _ours(module: Any) -> bool:
    return type(module).__module__.startswith("benchmark.networks")


def _parameters(module: Any) -> int:
    running = (buffer for name, buffer in module.named_buffers() if not name.endswith("num_batches_tracked"))
    return sum(tensor.numel() for tensor in (*module.parameters(), *running))
