"""Time bundle training against a bare loop, and the data path against stock MONAI, on the built-in phantom.

Run it from the repository's root: ``python research/speed/training.py [--size 240 240] [--images 48]``. Every ratio is
of two things that were timed in turns in this one process, so it can be compared between machines; the images per
second beside it cannot.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, Rand2DElasticd, RandFlipd, RandRotated, RandZoomd

ROUNDS = 5


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock() -> float:
    """Seconds: on a processor the process's own, which other programs disturb least."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    synchronise()
    started = clock()
    work()
    synchronise()
    return clock() - started


def config(bundle: str, size: list[int], images: int, batch: int, amp: bool) -> ConfigParser:
    """Read a bundle's training config with nothing but the seeding handler on the trainer."""
    parser = ConfigParser()
    parser.read_config(f"bundles/{bundle}/configs/train.json")
    parser.update(
        {"spatial_size": size, "epoch_images": images, "max_epochs": ROUNDS + 1, "batch_size": batch, "amp": amp}
    )
    parser["train"]["trainer"]["train_handlers"] = parser["train"]["handlers"][:1]
    return parser


def training_against_bare_loop(parser: ConfigParser) -> tuple[float, float, float]:
    """Return images/s of the bundle's trainer, of a bare loop on preloaded tensors, and the median ratio."""
    trainer = parser.get_parsed_content("train#trainer")
    device, prepare = trainer.state.device, parser.get_parsed_content("train#prepare_batch")
    batches = [prepare(batch, device) for batch in trainer.data_loader]
    network, loss = trainer.network, trainer.loss_function
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=trainer.amp)
    pairs: list[tuple[float, float]] = []
    started = [0.0]

    def bare() -> None:
        network.train()
        for image, label in batches:
            trainer.optimizer.zero_grad(set_to_none=True)
            with autocast:
                value = loss(network(image), label)
            value.backward()
            trainer.optimizer.step()

    def begin(_: object) -> None:
        synchronise()
        started[0] = clock()

    def end(_: object) -> None:
        synchronise()
        pairs.append((clock() - started[0], seconds(bare)))

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end)
    trainer.run()
    return summary(pairs[1:], len(batches) * len(batches[0][0]))


def data_path_against_stock(parser: ConfigParser) -> tuple[float, float, float]:
    """Return images/s of our slices and augmentation, of stock dictionary transforms, and the median ratio."""
    device = parser.get_parsed_content("device")
    loader, prepare = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("train#prepare_batch")
    ranges = parser.get_parsed_content("augmentation")
    keys, half = ["image", "label"], ranges.probability
    modes = ["bilinear", "nearest"]
    turn = torch.pi * ranges.rotation / 180
    transforms = Compose(
        [
            RandRotated(keys, range_x=turn, prob=half, mode=modes, padding_mode="zeros"),
            RandFlipd(keys, prob=ranges.flip, spatial_axis=0),
            RandZoomd(
                keys,
                min_zoom=1 - ranges.scale,
                max_zoom=1 + ranges.scale,
                prob=half,
                mode=modes,
                padding_mode="constant",
            ),
            Rand2DElasticd(keys, spacing=(20, 20), magnitude_range=(1, 2), prob=half, mode=modes, padding_mode="zeros"),
        ]
    )
    items = [
        {"image": image.float(), "label": label[None].float()}
        for batch in loader
        for image, label in zip(batch["image"], batch["label"], strict=True)
    ]
    stock = DataLoader(CacheDataset(items, transforms, progress=False), batch_size=parser["batch_size"], shuffle=True)
    masks = prepare.masks

    def ours() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (prepare(batch, device) for batch in loader)

    def theirs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ((batch["image"].to(device), masks(batch["label"][:, 0].to(device))) for batch in stock)

    pairs = [
        (seconds(lambda: sum(1 for _ in ours())), seconds(lambda: sum(1 for _ in theirs()))) for _ in range(ROUNDS)
    ]
    return summary(pairs[1:], len(items))


def summary(pairs: list[tuple[float, float]], images: int) -> tuple[float, float, float]:
    """Median images/s of both and the median of how many times faster the first is."""
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return images / first, images / second, statistics.median(b / a for a, b in pairs)


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="resunet_tversky")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 240])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--amp", action="store_true", help="bf16 autocast, on a GPU")
    arguments = parser.parse_args()
    settings = (arguments.bundle, arguments.size, arguments.images, arguments.batch, arguments.amp)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    print(f"{arguments.bundle}, {arguments.size}, batch {arguments.batch}, {device}")
    ours, stock, ratio = data_path_against_stock(config(*settings))
    print(f"data path: {ours:.0f} images/s, stock MONAI transforms {stock:.0f} images/s, ratio {ratio:.1f} (aim 10)")
    ours, bare, ratio = training_against_bare_loop(config(*settings))
    print(f"training:  {ours:.1f} images/s, bare loop {bare:.1f} images/s, ratio {ratio:.3f} (aim 0.95)")


if __name__ == "__main__":
    main()
