"""Train without waiting for the GPU: a MONAI trainer whose passes over the network can be one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.engines.evaluator import SupervisedEvaluator
from monai.engines.trainer import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from monai.utils.misc import set_determinism
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchmark.base.records import InputError

WARM_UPS = 3
"""Passes before a graph is captured, in which libraries choose algorithms and allocate what they keep."""


def set_up(seed: int, deterministic: bool, threads: int) -> None:
    """Set seeds, threads and algorithms of torch: equal bits in every training, or the fastest algorithms."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    set_determinism(seed=seed, use_deterministic_algorithms=deterministic)
    # Deterministic mode would fill every new tensor with NaN first, which shows a defect but changes no sound result.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (a property that mypy cannot see)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, not deterministic


class NoEmptyPadding(TorchFunctionMode):
    """Lets ``torch.nn.functional.pad`` return its input where it would add nothing, as MONAI's U-Nets ask at each step.

    On a GPU the deterministic backward of such a padding takes longer than all the rest of U-Net's step.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func``, unless it is a padding without any width."""
        options = kwargs or {}
        if func is functional.pad and not any(args[1] if len(args) > 1 else options["pad"]):
            return args[0] if args else options["input"]
        return func(*args, **options)


def autocast(engine: Workflow) -> torch.autocast:
    """Compute in an engine's ``amp_kwargs`` dtype if its ``amp`` is set: on a processor too, where MONAI does not."""
    return torch.autocast(engine.state.device.type, enabled=engine.amp, **engine.amp_kwargs)


class Evaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator``, which computes in ``amp_kwargs``' dtype on any device if ``amp`` is set."""

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> Any:
        image, label = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        with self.mode(self.network), autocast(self):
            predicted = self.inferer(image, self.network)
        engine.state.output = {"image": image, "label": label, "pred": predicted}
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


class Trainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` without any wait for the GPU inside an iteration.

    bf16 needs no gradient scaler, whose check for infinity would stop the processor at every step.

    Args:
        cuda_graph: whether augmentation, both passes over the network and the loss are captured once as a CUDA graph
            and launched as a whole; what a step computes does not change. Only on a GPU.
        overlap: whether the next batch is read and augmented, as a graph of its own, while the GPU is still training
            on this one. Only with ``cuda_graph``.
        clip_norm: gradients are scaled down to this norm where theirs is larger; 0 leaves them.
        options: of ``SupervisedTrainer``.
    """

    def __init__(
        self, *, cuda_graph: bool = False, overlap: bool = False, clip_norm: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.cuda_graph, self.clip_norm = cuda_graph and self.state.device.type == "cuda", clip_norm
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: dict[str, torch.Tensor] = {}
        self.outputs: dict[str, Any] = {}
        self.ahead = _Ahead() if overlap and self.cuda_graph else None

    def run(self) -> None:  # type: ignore[override]
        """Train, from the state that handlers restore."""
        scaled = self.amp and self.amp_kwargs.get("dtype") == torch.float16
        if scaled and self.clip_norm:
            raise InputError("clip_norm: expected bfloat16 or float32, whose gradients are not scaled, found float16.")
        if scaled and self.state.device.type != "cuda":
            raise InputError("amp_dtype: expected bfloat16 where no GPU trains, found float16.")
        self.scaler = torch.cuda.amp.GradScaler() if scaled else None
        if self.ahead is not None and hasattr(self.data_loader, "stream"):
            self.data_loader.stream = self.ahead.stream
        Workflow.run(self)

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> Any:
        if self.scaler is not None:
            return super()._iteration(engine, batchdata)
        if not self.network.training:
            self.network.train()
        outputs = self._replay(batchdata) if self.cuda_graph else self._passes(batchdata)
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.optimizer.step()
        engine.state.output = dict(outputs)
        return engine.state.output

    def _prepare(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.prepare_batch(batch, self.state.device, self.non_blocking, **self.to_kwargs)
        return image, label

    def _passes(self, batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Prepare the batch, and compute its loss and the gradients anew."""
        return self._gradients(*self._prepare(batch))

    def _gradients(self, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self), NoEmptyPadding():
            predicted = self.inferer(image, self.network)
            loss = self.loss_function(predicted, label).mean()
        loss.backward()
        return {"image": image, "label": label, "pred": predicted.detach(), "loss": loss.detach()}

    def _replay(self, batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Launch the graph on this batch; capture it first where there is none yet."""
        if self.graph is None:
            if self.ahead is not None:
                torch.cuda.current_stream().wait_stream(self.ahead.stream)
            self.inputs = {key: value.to(self.state.device).clone() for key, value in batch.items()}
            self._capture()
        assert self.graph is not None
        if self.ahead is None:
            _copy(batch, self.inputs)
        else:
            self.ahead.replay(batch, self.inputs)
        self.graph.replay()
        return self.outputs

    def _capture(self) -> None:
        # Warming up must leave no trace: statistics of batch normalisation and random numbers are put back.
        kept, random = [value.clone() for value in self.network.buffers()], torch.cuda.get_rng_state()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._passes(self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        for value, before in zip(self.network.buffers(), kept, strict=True):
            value.copy_(before)
        torch.cuda.set_rng_state(random)
        self.graph = torch.cuda.CUDAGraph()
        given = None if self.ahead is None else self.ahead.capture(lambda: self._prepare(self.inputs))
        # Other threads, such as the loader's that pins memory, may use the GPU meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = self._passes(self.inputs) if given is None else self._gradients(*given)


class _Ahead:
    """Preparation of the next batch, on a stream of its own beside the training on this one."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.taken = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.graph = torch.cuda.CUDAGraph()
        self.prepared: tuple[torch.Tensor, ...] = ()
        self.given: tuple[torch.Tensor, ...] = ()

    def capture(self, prepare: Callable[[], tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
        """Capture the preparation; return image and label that training reads from then on."""
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.prepared = prepare()
        self.given = tuple(value.clone() for value in self.prepared)
        self.taken.record()
        return self.given

    def replay(self, batch: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> None:
        """Prepare a batch, which this stream's loader made, and hand it over once training is done with the last."""
        training = torch.cuda.current_stream()
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(self.taken)
            _copy(batch, inputs)
            self.graph.replay()
        training.wait_stream(self.stream)
        for value, prepared in zip(self.given, self.prepared, strict=True):
            value.copy_(prepared)
        self.taken.record(training)


def _copy(batch: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> None:
    for key, value in batch.items():
        inputs[key].copy_(value, non_blocking=True)
