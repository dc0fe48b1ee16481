"""Time ours and nnU-Net's training of the same network on the same patches, in turns.

Run it from the repository's root, where nnunetv2 2.8.1 is installed as well, which this project does not depend on:
``python research/speed/nnunet.py [--data phantom] [--batch 8] [--size 80 96] [--bf16]``. Both augment, train and clip
as their trainers do, from the same canvases; nnU-Net without workers of its own, which would share the same processor,
and in float32, as its trainer always does on a processor; ours in bf16 with ``--bf16``. Seconds are those of the
process on the processor, which whatever else runs on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from ignite.engine import Events
from monai.bundle import ConfigParser
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from threadpoolctl import threadpool_limits

REGIONS = ((1, 2, 4), (1, 4), (4,))


def config(data: str, size: list[int], batch: int, iterations: int, rounds: int, bf16: bool) -> ConfigParser:
    """Read the native recipe with nothing but the seeding handler on the trainer."""
    parser = ConfigParser()
    parser.read_config([f"bundles/nnunet/configs/{name}.json" for name in ("train", "native")])
    epochs = {"max_epochs": rounds + 1, "epoch_images": batch * iterations}
    parser.update({"manifest": data, "spatial_size": size, "batch_size": batch, "amp": bf16, **epochs})
    parser["train"]["trainer"]["train_handlers"] = parser["train"]["handlers"][:1]
    return parser


class NnUNet:
    """nnU-Net's network, loss, optimiser and augmentation, as its trainer makes them for these patches."""

    def __init__(self, parser: ConfigParser) -> None:
        steps = [list(step) for step in parser.get_parsed_content("topology").strides]
        widths = list(parser.get_parsed_content("topology").widths())
        norm = {"eps": 1e-5, "affine": True}
        self.network = PlainConvUNet(
            parser.get_parsed_content("in_channels"), len(steps), widths, torch.nn.Conv2d, 3, steps, 2, len(REGIONS), 2,
            True, torch.nn.InstanceNorm2d, norm, None, None, torch.nn.LeakyReLU, {"inplace": True},
            deep_supervision=True,
        )  # fmt: skip
        self.network.apply(self.network.initialize)
        scales = [list(scale) for scale in 1 / np.cumprod(np.vstack(steps), axis=0)][:-1]
        weights = np.array([1 / 2**stage for stage in range(len(scales))])
        weights[-1] = 0
        dice = {"batch_dice": True, "do_bg": True, "smooth": 1e-5, "ddp": False}
        self.loss = DeepSupervisionWrapper(DC_and_BCE_loss({}, dice), weights / weights.sum())
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.01, momentum=0.99, nesterov=True, weight_decay=3e-5
        )
        self.transforms = nnUNetTrainer.get_training_transforms(
            tuple(parser["spatial_size"]), (-np.pi, np.pi), scales, (0, 1), False, [True] * 4, regions=list(REGIONS)
        )

    def augmented(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Augment canvases as its data loader does, one after the other."""
        with torch.no_grad(), threadpool_limits(limits=1, user_api=None):
            image, label = batch["image"].float(), batch["label"].to(torch.int16)
            label[(image == 0).all(1) & (label == 0)] = -1
            samples = [self.transforms(image=x, segmentation=y[None]) for x, y in zip(image, label, strict=True)]
            masks = zip(*(sample["segmentation"] for sample in samples), strict=True)
            return torch.stack([sample["image"] for sample in samples]), [torch.stack(stage) for stage in masks]

    def step(self, image: torch.Tensor, masks: list[torch.Tensor]) -> None:
        """Train on one batch."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.network(image), masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        loss.detach().cpu().numpy()


def timed(work: Iterator[None]) -> list[float]:
    """Seconds of each part of the work, which yields after each."""
    found, last = [], time.process_time()
    for _ in work:
        found.append(time.process_time() - last)
        last = time.process_time()
    return found


def main() -> None:
    """Print patches per second of both, and the median of how many times faster ours are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="phantom")
    parser.add_argument("--size", type=int, nargs=2, default=[80, 96])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=2, help="in each turn")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="ours only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    made = config(options.data, options.size, options.batch, options.iterations, options.rounds, options.bf16)
    theirs, trainer = NnUNet(made), made.get_parsed_content("train#trainer")
    pairs: list[tuple[float, float, float]] = []
    started = [0.0]

    def begin(_: object) -> None:
        started[0] = time.process_time()

    def end(_: object) -> None:
        ours = time.process_time() - started[0]

        def work() -> Iterator[None]:
            for batch in trainer.data_loader:
                given = theirs.augmented(batch)
                yield
                theirs.step(*given)
                yield

        parts = timed(work())
        pairs.append((ours, sum(parts), sum(parts[::2])))

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end)
    trainer.run()
    patches = options.batch * options.iterations
    ours, both, augmentation = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    ratios = [other / own for own, other, _ in pairs[1:]]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{options.data}, {options.size}, batch {options.batch}, {torch.get_num_threads()} threads, ours "
        f"in {'bf16' if options.bf16 else 'float32'}, torch "
        f"{torch.__version__}: {patches / ours:.1f} patches/s, nnU-Net {patches / both:.1f} (its augmentation "
        f"{augmentation / both:.0%} of the time), ratio {middle:.2f} ({low:.2f} to {high:.2f}) of {len(ratios)} turns"
    )


if __name__ == "__main__":
    main()
