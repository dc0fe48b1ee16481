"""Count a config's network: its parameters, and the multiply-adds of one forward pass of one training input."""

from __future__ import annotations

from typing import Any


def count(parser: Any) -> dict[str, Any]:
    """Return ``parameters``, ``multiply_adds`` and ``input``, the shape (channels, *spatial) that these are of.

    ``parser`` is MONAI's, of a training config. A multiply-add is one operation; those of convolutions and matrix
    products are counted, in the network as it predicts, and nothing else, as torch counts them.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network, channels, size = map(parser.get_parsed_content, ("network", "in_channels", "spatial_size"))
    shape = [int(length) for length in (channels, *size)]
    image = torch.zeros(1, *shape, device=next(network.parameters()).device)
    training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(image)
    network.train(training)
    # It counts a multiplication and an addition as two.
    return {
        "parameters": sum(part.numel() for part in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
        "input": shape,
    }


def precision(parser: Any) -> str:
    """Return what numbers a config's network computes in here: bfloat16, float32 or tf32; ``parser`` is MONAI's."""
    import torch

    amp, kind = map(parser.get_parsed_content, ("amp", "amp_dtype"))
    if amp:
        return str(kind).removeprefix("torch.")
    on_gpu = parser.get_parsed_content("device").type == "cuda"
    return "tf32" if on_gpu and torch.get_float32_matmul_precision() != "highest" else "float32"
