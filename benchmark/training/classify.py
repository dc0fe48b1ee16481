"""Give each slice its class for a classifier, and write the classifier's probabilities as one table per case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.inferers.inferer import Inferer

from benchmark.base.files import write_text
from benchmark.base.records import SLICE_COLUMNS
from benchmark.data.prepare import PreparedCase
from benchmark.data.slices import centred
from benchmark.training.augment import Augmentation, PrepareBatch


class PrepareSlices(PrepareBatch):
    """What a classifier's trainer or evaluator calls on a batch: slices on the device, each with its class.

    A batch of slices is augmented, where ``augmentation`` is given; of a whole volume (1, modalities, slices, x, y)
    the slices become the batch, each centred on the canvas ``spatial_size`` as training's are. A slice's class is 1
    where any region has a voxel in it after augmentation, else 0.
    """

    def __init__(
        self,
        regions: Mapping[str, Sequence[int]],
        spatial_size: Sequence[int],
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(regions, augmentation)
        self.spatial_size = tuple(spatial_size)

    def __call__(
        self, batch: Mapping[str, torch.Tensor], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (images (N, modalities, *spatial_size), classes (N,)), the classes None without a label."""
        if batch["image"].ndim == 5:
            batch = {**batch, "image": self.on_canvas(batch["image"][0].transpose(0, 1))}
            if "label" in batch:
                batch["label"] = self.on_canvas(batch["label"][0])
        image, masks = super().__call__(batch, device, non_blocking)
        return image, None if masks is None else masks.flatten(1).any(dim=1).long()

    def on_canvas(self, slices: torch.Tensor) -> torch.Tensor:
        """Centre the last two axes on the canvas: cut where they are larger, zeros where they are smaller."""
        (rows, columns), (to_rows, to_columns) = centred(slices.shape[-2:], self.spatial_size)
        canvas = slices.new_zeros(*slices.shape[:-2], *self.spatial_size)
        canvas[..., to_rows, to_columns] = slices[..., rows, columns]
        return canvas


class InParts(Inferer):
    """Runs a network on a batch in parts of ``size``, so that the slices of a whole volume fit into memory."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the network's outputs for the whole batch."""
        return torch.cat([network(part, *args, **kwargs) for part in torch.split(inputs, self.size)])


class SliceTableWriter:
    """Writes an evaluator's logits (slices, 2) as one CSV file per case: z, truth and probability of tumour per slice.

    z counts along the third axis of the case's whole volume in RAS orientation. The truth is 1 where any region has a
    voxel in the slice, else 0, and empty where the publisher withholds the label.
    """

    def __init__(self, folder: str, cases: Sequence[PreparedCase], regions: Mapping[str, Sequence[int]]) -> None:
        self.folder, self.cases = Path(folder), list(cases)
        self.values = sorted({value for values in regions.values() for value in values})

    def attach(self, engine: Engine) -> None:
        """Run after every volume of an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the table of this volume."""
        (index,) = engine.state.batch["index"].tolist()
        case = self.cases[index]
        truth: Any = ""
        if case.case.label is not None:
            truth = np.isin(case.label, self.values).any(axis=(1, 2)).astype(int)
        probability = torch.softmax(engine.state.output["pred"].float(), dim=1)[:, 1].cpu().numpy()
        table = pd.DataFrame({"z": case.z, "truth": truth, "probability": probability}, columns=list(SLICE_COLUMNS))
        write_text(self.folder / f"{case.case.case_id}.csv", table.to_csv(index=False))
