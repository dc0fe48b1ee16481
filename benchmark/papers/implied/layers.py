"""A printed listing of a U-Net's layers to contradictions among its rows, and between them and its total."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from benchmark.papers.published import cell, role


class Layer(NamedTuple):
    """A row of the listing: its label, its type, its output's size and channels, and its parameters where printed."""

    label: str
    kind: str
    size: int
    channels: int
    parameters: int | None

    @property
    def text(self) -> str:
        """The row in words."""
        return f"row {self.label} ({self.kind}, {self.size} x {self.size} x {self.channels})"


class Check(NamedTuple):
    """A rule of such networks on one row: what it says, what the row prints, what the rule gives."""

    rule: str
    row: str
    printed: str
    follows: str
    holds: bool


def read(table: Mapping[str, Any]) -> tuple[list[Layer], int | None]:
    """Read a table of kind "layers": its layers in order, and the printed total of parameters."""
    place = {role(column): index for index, column in enumerate(table["columns"])}
    layers, total = [], None
    for row in table["rows"]:
        values = row["values"]
        number = cell(table["columns"][place["parameters"]], values[place["parameters"]])
        count = None if number is None else int(number.number)
        if values[place["shape"]] is None:
            total = count
            continue
        height, _, channels = (int(part) for part in re.findall(r"\d+", values[place["shape"]]))
        layers.append(Layer(row["label"], values[place["layer"]], height, channels, count))
    return layers, total


def checks(layers: Sequence[Layer]) -> list[Check]:
    """Check pooling, upsampling, concatenation, batch normalisation and 1x1 convolutions row by row."""
    found = []
    turn = _turn(layers)
    encoder = {layer.size: layer for layer in layers[:turn]}
    for before, layer in pairwise(layers):
        if _is(layer, "maxpool") or _is(layer, "upsampling"):
            rule = "pooling keeps channels" if _is(layer, "maxpool") else "upsampling keeps channels"
            found.append(_check(rule, layer, layer.channels, before.channels, "channels", f"after {before.text}"))
        if _is(layer, "concatenate") and layer.size in encoder:
            skip = encoder[layer.size]
            why = f"{before.channels} upsampled + {skip.channels} of {skip.text}"
            found.append(
                _check("concatenation adds up", layer, layer.channels, before.channels + skip.channels,
                       "channels", why)
            )  # fmt: skip
        if layer.parameters is not None and layer.kind == "conv2d":
            count = (before.channels + 1) * layer.channels
            found.append(_check("1x1 convolution", layer, layer.parameters, count, "parameters", "weights and biases"))
    for layer in layers:
        if layer.parameters is not None and _is(layer, "batch_normalization"):
            found.append(
                _check("batch normalisation", layer, layer.parameters, 4 * layer.channels, "parameters",
                       "4 a channel: scale, shift, running mean and variance")
            )  # fmt: skip
    return found


def _turn(layers: Sequence[Layer]) -> int:
    return next((index for index, layer in enumerate(layers) if _is(layer, "upsampling")), len(layers))


def _is(layer: Layer, kind: str) -> bool:
    return layer.kind.lower().startswith(kind)


def _check(rule: str, layer: Layer, printed: int, follows: int, unit: str, why: str) -> Check:
    return Check(rule, layer.text, f"{printed} {unit}", f"{follows} {unit} ({why})", printed == follows)


def widths(layers: Sequence[Layer]) -> tuple[list[int], list[int]]:
    """Channels of the encoder from full resolution down: as its own rows print them, and as concatenations need them.

    What a concatenation needs of its skip connection is its channels less those that were upsampled before it.
    """
    turn = _turn(layers)
    printed = {layer.size: layer.channels for layer in layers[:turn]}
    needed = dict(printed)
    for before, layer in pairwise(layers):
        if _is(layer, "concatenate"):
            needed[layer.size] = layer.channels - before.channels
    sizes = sorted(printed, reverse=True)
    return [printed[size] for size in sizes], [needed[size] for size in sizes]


def res_unet_parameters(channels: Sequence[int], in_channels: int, out_channels: int = 1) -> int:
    """Parameters of a 2D ResUNet as Keras counts them, with the residual block of its usual Keras code.

    Two 3x3 convolutions with batch normalisation; blocks of a 1x1 and a 3x3 convolution with a 1x1 shortcut, each with
    batch normalisation (4 a channel); upsampling and concatenation; a 1x1 convolution.
    """

    def block(before: int, after: int) -> int:
        return 2 * before * after + 9 * after**2 + 15 * after

    first = channels[0]
    stem = 9 * in_channels * first + first + 9 * first**2 + first + 8 * first
    down = sum(block(before, after) for before, after in pairwise(channels))
    up = sum(block(deep + skip, skip) for skip, deep in pairwise(channels))
    return stem + down + up + first * out_channels + out_channels
