"""Say where runs would compute in bf16 on a processor that has no instructions for it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.base.records import Run
from benchmark.studies import bundle, execute


def slow(runs: Sequence[Run], dataset: str) -> list[str]:
    """Return a sentence that names the models of these runs that would be trained so on this machine, if any would.

    torch is asked, which takes a second, where a config says ``amp`` true and no GPU is there to train on.
    """
    found = []
    for run in {run.model: run for run in runs if not run.stages}.values():
        config = bundle.frozen(run, dataset)["train"]
        if config["amp"] is not True or "bfloat16" not in str(config["amp_dtype"]):
            continue
        # The driver is asked last, and only where it matters.
        if not ("cuda" in str(config["device"]) and execute.visible_gpus()):
            found.append(run.model)
    if not found or _has_bf16():
        return []
    return [
        f"amp is true of {', '.join(found)}, and this processor has no instructions for bf16 (on x86, AVX-512): "
        "training takes several times as long as in float32, which is amp=false or no amp at all."
    ]


def _has_bf16() -> bool:
    """Whether oneDNN, which computes torch's convolutions on a processor, has code for bf16 on this one."""
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return True  # a torch without oneDNN: nothing is known
