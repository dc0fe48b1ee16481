"""Save, resume and record a training, and write the label maps and probabilities of an evaluator."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events

from benchmark.base.files import replacing, write_text
from benchmark.base.records import InputError
from benchmark.data.prepare import PreparedCase
from benchmark.data.probabilities import CUT, MOST, write_probabilities
from benchmark.data.slices import EpochSampler
from benchmark.data.volumes import write_label_map


def save(path: Path, content: Any) -> None:
    """Write ``torch.save(content)`` to ``path``, whole or not at all."""
    buffer = io.BytesIO()
    # Not straight to the file: torch says RuntimeError where a disk is full, and writes the file's name into it.
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what ``save`` wrote; tensors and plain containers only, never code.

    Raises:
        InputError: if the file is not such a file.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} cannot be read: expected a checkpoint, found {type(error).__name__}.") from error


def check_finite(weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse weights that are not finite: whatever they predict, scores would be given for it.

    Raises:
        InputError: naming the first array that holds NaN or an infinite number; ``what`` says whose.
    """
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise InputError(f"{what} are no numbers in {name}: expected finite ones.")


class EpochSeed:
    """Makes all random numbers of an epoch depend on (seed, epoch) alone: data, augmentation, dropout."""

    def __init__(self, seed: int, sampler: EpochSampler) -> None:
        self.seed, self.sampler = seed, sampler

    def attach(self, engine: Engine) -> None:
        """Run at the start of every epoch of a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed torch for this epoch and tell the sampler which one it is."""
        self.sampler.set_epoch(engine.state.epoch)
        torch.manual_seed(int(np.random.SeedSequence([self.seed, engine.state.epoch]).generate_state(1)[0]))


class Validate:
    """Runs an evaluator every ``interval`` epochs and after the last one; between them its metrics are NaN."""

    def __init__(self, evaluator: Any, interval: int) -> None:
        self.evaluator, self.interval = evaluator, interval

    def attach(self, engine: Engine) -> None:
        """Run after every epoch of a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate, or forget what the last validation found."""
        state = engine.state
        if state.epoch % self.interval == 0 or state.epoch == state.max_epochs:
            self.evaluator.run(state.epoch)
        else:
            self.evaluator.state.metrics = dict.fromkeys(self.evaluator.state.metrics, math.nan)


class ByEpoch:
    """Steps a schedule by the epoch and not by what validation showed: ``schedule_by`` of schedules of fixed length."""

    def __call__(self, engine: Engine) -> tuple[()]:
        """Return the arguments of the schedule's ``step``: none."""
        return ()


class Resume:
    """Saves a training after every epoch, continues it where it was killed, and keeps the best epoch's weights.

    Everything that the next epoch depends on is one file, ``last.pt``, moved into place at once: weights, optimiser,
    gradient scaler, the other ``states`` (scheduler, early stopping), epoch, history and the best weights so far. So a
    kill at any moment costs at most one epoch and changes no number. ``history.csv`` shows every finished epoch with
    its images and iterations, each metric of training and validation, its seconds, and the learning rate as the
    schedule left it for the next epoch; ``model.pt``, the weights of the epoch with the highest ``key`` or of the last
    epoch, appears when training is complete.

    Attach it to the trainer after validation, the scheduler and early stopping.

    Args:
        folder: where the three files go.
        network: the network, whose state is saved.
        loss: the loss, whose plain attributes (weights, gamma) a resumed training must share.
        states: name to object with ``state_dict`` and ``load_state_dict``.
        evaluator: the evaluator whose metrics are recorded.
        settings: what a resumed training must share with the one that was begun.
        key: the evaluator's metric, higher is better, that chooses the epoch.
        keep: "best" for the weights of the epoch that ``key`` chooses, "last" for those of the last one.
        batch_size: images in an iteration.
    """

    def __init__(
        self,
        folder: str,
        network: torch.nn.Module,
        loss: torch.nn.Module,
        states: Mapping[str, Any],
        evaluator: Engine,
        settings: Mapping[str, Any],
        key: str = "val_dice",
        keep: str = "best",
        batch_size: int = 1,
    ) -> None:
        self.folder, self.network, self.states = Path(folder), network, dict(states)
        if keep not in ("best", "last"):
            raise InputError(f"Weights to keep are {keep!r}: expected 'best' or 'last'.")
        self.evaluator, self.key, self.keep, self.batch_size = evaluator, key, keep, batch_size
        self.settings = {**settings, "key": key, "keep": keep, "network": _digest(network), "loss": _digest(loss)}
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.best_value = -math.inf
        self.started = 0.0

    def attach(self, engine: Engine) -> None:
        """Run at a trainer's start, after every epoch and at its end."""
        engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_clock)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.complete)

    def restore(self, engine: Any) -> None:
        """Continue from ``last.pt`` where there is one.

        Raises:
            InputError: if that training had other settings.
        """
        path = self.folder / "last.pt"
        if not path.exists():
            return
        # To the processor: the optimiser moves what it keeps on the device, and Adam's step counts belong here.
        state = load(path)
        differing = [key for key in self.settings if state["settings"].get(key) != self.settings[key]]
        if differing:
            raise InputError(
                f"{path} is a training with other settings ({', '.join(differing)}): expected the same ones; choose "
                "another bundle_root, or move that folder away."
            )
        self.network.load_state_dict(state["network"])
        for name, part in self.states.items():
            _stateful(part).load_state_dict(state[name])
        if engine.scaler is not None:
            engine.scaler.load_state_dict(state["scaler"])
        engine.state.epoch, engine.state.iteration = state["epoch"], state["iteration"]
        self.history, self.best, self.best_value = state["history"], state["best"], state["best_value"]
        if state["stopped"]:
            engine.terminate()

    def start_clock(self, engine: Engine) -> None:
        """Note when the epoch began."""
        self.started = time.perf_counter()

    def save(self, engine: Any) -> None:
        """Add the epoch to the history, keep its weights if they are the best, and write the state."""
        metrics = {**engine.state.metrics, **self.evaluator.state.metrics}
        row = {
            "epoch": engine.state.epoch,
            "images": engine.state.epoch_length * self.batch_size,
            "iterations": engine.state.epoch_length,
            **{name: float(value) for name, value in metrics.items()},
            "learning_rate": float(engine.optimizer.param_groups[0]["lr"]),
            "seconds": time.perf_counter() - self.started,
        }
        if not np.isfinite(row["train_loss"]):
            raise InputError(f"{self.folder}: training loss of epoch {engine.state.epoch} is {row['train_loss']}.")
        check_finite(self.network.state_dict(), f"{self.folder}: the weights after epoch {engine.state.epoch}")
        self.history.append(row)
        if row.get(self.key, math.nan) > self.best_value and self.keep == "best":
            self.best_value = row[self.key]
            self.best = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        self.write(engine, stopped=bool(engine.should_terminate))

    def write(self, engine: Any, stopped: bool) -> None:
        """Write ``last.pt`` and ``history.csv``."""
        save(
            self.folder / "last.pt",
            {
                "network": self.network.state_dict(),
                **{name: _stateful(part).state_dict() for name, part in self.states.items()},
                "scaler": engine.scaler.state_dict() if engine.scaler is not None else {},
                "epoch": engine.state.epoch,
                "iteration": engine.state.iteration,
                "history": self.history,
                "best": self.best,
                "best_value": self.best_value,
                "stopped": stopped,
                "settings": self.settings,
            },
        )
        # An epoch without validation has fewer columns.
        columns = max((list(row) for row in self.history), key=lambda row: len(row))
        write_text(self.folder / "history.csv", pd.DataFrame(self.history, columns=columns).to_csv(index=False))

    def complete(self, engine: Engine) -> None:
        """Write ``model.pt``, which says that training is complete."""
        save(self.folder / "model.pt", self.best if self.keep == "best" else self.network.state_dict())


class Weights:
    """Loads a network's weights from a file when an evaluator starts."""

    def __init__(self, path: str, network: torch.nn.Module) -> None:
        self.path, self.network = Path(path), network

    def attach(self, engine: Engine) -> None:
        """Run at an evaluator's start."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights.

        Raises:
            InputError: if there is no such file, or it holds another network's weights or some that are not finite.
        """
        if not self.path.exists():
            raise InputError(f"{self.path} does not exist: expected trained weights; run `training` first.")
        weights = load(self.path, next(self.network.parameters()).device)
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"{self.path} holds another network's weights: {str(error).splitlines()[0]}.") from error
        check_finite(weights, f"{self.path}: the weights")


class LabelMapWriter:
    """Writes an evaluator's logits as NIfTI label maps in each case's own space.

    A voxel is in a region where its sigmoid is above one half. Regions become labels in ``regions_class_order``
    (nnU-Net's rule): each region writes its label over those before it.
    """

    def __init__(self, folder: str, cases: Sequence[PreparedCase], regions_class_order: Sequence[int]) -> None:
        self.folder, self.cases, self.order = Path(folder), list(cases), list(regions_class_order)

    def attach(self, engine: Engine) -> None:
        """Run after every volume of an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the label maps of this batch of volumes."""
        indices = engine.state.batch["index"].tolist()
        for index, logits in zip(indices, engine.state.output["pred"], strict=True):
            case = self.cases[index]
            labels = np.zeros(logits.shape[1:], np.uint8)
            for value, region in zip(self.order, (logits > 0).cpu().numpy(), strict=True):
                labels[region] = value
            write_label_map(self.folder / f"{case.case.case_id}.nii.gz", case.restore(labels), case.affine)


class ProbabilityWriter:
    """Writes an evaluator's probabilities per region in 8 bits, in each case's own space (``data.probabilities``).

    Attach it before what writes label maps: a run that has all of those then has all probabilities too.
    """

    def __init__(self, folder: str, cases: Sequence[PreparedCase], regions: Sequence[str]) -> None:
        self.folder, self.cases, self.regions = Path(folder), list(cases), list(regions)

    def attach(self, engine: Engine) -> None:
        """Run after every volume of an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the probabilities of this batch of volumes."""
        indices = engine.state.batch["index"].tolist()
        for index, logits in zip(indices, engine.state.output["pred"], strict=True):
            case = self.cases[index]
            codes = np.stack([case.restore(region) for region in eight_bits(logits).cpu().numpy()], axis=-1)
            write_probabilities(self.folder / f"{case.case.case_id}.nii.gz", codes, case.affine, self.regions)


def eight_bits(logits: torch.Tensor) -> torch.Tensor:
    """Return 255 times the sigmoid of logits, rounded to uint8: at least 128 exactly where a logit is above 0."""
    codes = (torch.sigmoid(logits.float()) * MOST).round()
    # Label maps are cut at logit 0, next to which a sigmoid of 32 bits is one half exactly.
    return torch.where(logits > 0, codes.clamp(min=CUT), codes.clamp(max=CUT - 1)).to(torch.uint8)


def _digest(module: torch.nn.Module) -> str:
    # A module's text leaves out what is no submodule, such as a loss's weights.
    plain = (bool, int, float, str, list, tuple, type(None))
    parts = {
        name: {key: value for key, value in vars(part).items() if isinstance(value, plain) and key != "training"}
        for name, part in module.named_modules()
    }
    return hashlib.sha256(f"{module}{parts}".encode()).hexdigest()


def _stateful(part: Any) -> Any:
    # MONAI's EarlyStopHandler has no state_dict; the ignite handler that it makes once it knows its trainer has.
    return part if hasattr(part, "state_dict") else part._handler
