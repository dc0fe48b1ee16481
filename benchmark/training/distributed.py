"""Train one network by several processes of ``torchrun``, so that losses are those of one process at the same batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.samplers import DistributedSampler
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from benchmark.base.records import InputError
from benchmark.data.slices import EpochSampler, Item
from benchmark.training.handlers import Resume


def join(device: torch.device) -> None:
    """Make this process one of those that ``torchrun`` started, on its GPU or the processor; only the first one talks.

    Raises:
        InputError: if ``torchrun`` did not start it.
    """
    if not distributed.is_torchelastic_launched():
        raise InputError(
            "multi_gpu_train.json was run by one process: expected torchrun --nproc_per_node=GPUS -m monai.bundle run."
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if distributed.get_rank():
        logging.disable(logging.WARNING)


def replica(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Return a network that averages its gradients over all processes, with the weights of the first one.

    On GPUs its batch normalisation takes the statistics of the whole batch. Torch has that for GPUs only: on a
    processor each process has those of its own share, and the first one's are kept.
    """
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # The same part of a network is without gradients in each step, if any is.
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None, static_graph=True)


class Share:
    """This process's share of each batch of a sampler: of 8 items and 2 processes, the first or the last 4.

    Raises:
        InputError: if the batch cannot be divided.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler, self.rank, self.ranks = sampler, distributed.get_rank(), distributed.get_world_size()
        if sampler.batch_size % self.ranks:
            raise InputError(f"batch_size is {sampler.batch_size}: expected a multiple of the {self.ranks} processes.")
        self.batch_size, self.count = sampler.batch_size // self.ranks, sampler.count // self.ranks

    def __len__(self) -> int:
        return len(self.sampler)

    def draw(self) -> tuple[np.ndarray, ...]:
        """Return this share of what the sampler draws for the epoch, item by item."""
        place = np.arange(self.sampler.count) % self.sampler.batch_size
        return tuple(column[place // self.batch_size == self.rank] for column in self.sampler.draw())

    def __iter__(self) -> Iterator[list[Item]]:
        for batch in self.sampler:
            yield batch[self.rank * self.batch_size :][: self.batch_size]


def share_of(dataset: Dataset[Any]) -> DistributedSampler:
    """Return a sampler that gives each case of a validation set to one process only.

    Raises:
        InputError: if there are fewer cases than processes.
    """
    cases, ranks = len(dataset), distributed.get_world_size()  # type: ignore[arg-type]
    if cases < ranks:
        raise InputError(f"{cases} validation cases for {ranks} processes: expected at least one for each.")
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)


class OfWholeBatch(nn.Module):
    """A loss of the whole batch from each process's share of it, as a Dice loss needs that sums over the batch."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map this share's logits and masks, (N, ...) each, to the loss of all, whose gradient reaches this share."""
        whole: torch.Tensor = self.loss(_gathered(input), _gathered(target))
        if input.requires_grad:
            # Each process has the gradient of its own share only, and a replica takes the mean of all.
            input.register_hook(lambda gradient: gradient * distributed.get_world_size())
        return whole


def handlers(network: nn.Module, others: Sequence[Any], resume: Resume) -> list[Any]:
    """Return a trainer's handlers for this process: the first one saves the training, the others only continue it."""
    return [_SameBuffers(network), *others, _Restore(resume) if distributed.get_rank() else resume]


class _SameBuffers:
    """Gives all processes the first one's statistics of batch normalisation after each epoch, to validate one network.

    On GPUs they are equal already.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for values in self.network.buffers():
            distributed.broadcast(values, 0)


class _Restore:
    """Continues a training as ``Resume`` does, and saves nothing."""

    def __init__(self, resume: Resume) -> None:
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.resume.restore)


def _gathered(share: torch.Tensor) -> torch.Tensor:
    parts = [
        torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())
    ]
    distributed.all_gather(parts, share.detach().contiguous())
    parts[distributed.get_rank()] = share
    return torch.cat(parts)
