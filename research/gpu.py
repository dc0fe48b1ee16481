"""Measure training on one GPU: speed against a bare loop, equal bits, waits for the GPU, and several runs at once.

From the repository's root, with the package and its libraries importable and brats_small scanned and prepared (or
``--manifest phantom``, which needs nothing): ``python research/gpu.py PART [PART ...]``, or ``all``. Every part is a
process with its own time limit; one that fails or takes too long is reported and the next begins. Without a GPU the
parts run with small numbers on the processor, with five times the limit, so that the script itself can be tried.

Parts:
    variants:BUNDLE      a bare loop under each technique (graph, layout, compiler, algorithms): speed, kernels, bits
    compiled:BUNDLE      the same for ``torch.compile``, which may take long
    speed:RECIPE         the trainer against its bare loop, waits for the GPU in an epoch, peak memory
    quick:RECIPE         the same as configured and with overlap only
    cost:RECIPE[,...]    a bare loop with and without deterministic algorithms
    twice:RECIPE[,...]   two trainings of each recipe against one another, and one with overlap
    bits:RECIPE[,...]    the same, and against other ways to the same numbers
    tests:FILE[,...]     tests, beside ``bits``
    jobs:BUNDLE          several trainings at once against the sum of their times

``cost``, ``twice``, ``bits`` and ``tests`` alone stand for all recipes in 2D and the tests of training, ``3d`` for cost
and twice of those in 3D, which ``all`` leaves out. A recipe is a bundle, ``BUNDLE:native`` or ``BUNDLE:3d``: trained
on patches of 64 voxels a side. Parts that are timed load their libraries at the same time and then take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from filelock import FileLock

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
SIZE = [240, 240] if GPU else [64, 64]
RECIPES = (
    "unet", "attention_unet", "la_resunet", "resunet", "resunet_tversky", "resunet_focal_tversky", "unet_dice_focal",
    "unetpp", "swin_unetr", "nnunet", "resnet50_classifier", "nnunet:native", "swin_unetr:native",
)  # fmt: skip
IN_3D = (
    "unet:3d", "attention_unet:3d", "la_resunet:3d", "resunet:3d", "resunet_tversky:3d", "unetpp:3d", "swin_unetr:3d",
    "nnunet:3d", "segresnet:3d", "mednext:3d",
)  # fmt: skip
LEFT_OUT = ("resnet50_classifier", "nnunet:native", "swin_unetr:native")
"""Recipes that the bare loop, which makes masks of noise, does not know."""
TESTS = (
    "tests/training/test_training.py,tests/training/test_classifier.py,tests/training/test_nnunet.py",
    "tests/studies/test_bundles_run.py,tests/training/test_learning.py,tests/data/test_slices.py",
)
LIMITS = {
    "variants": 75, "compiled": 60, "speed": 60, "quick": 40, "cost": 120, "twice": 150, "bits": 150, "tests": 150,
    "jobs": 90,
}  # fmt: skip
"""Seconds that a part may take."""

TIMED = ("variants", "compiled", "speed", "quick", "cost")


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    if GPU:
        torch.cuda.synchronize()


def config(recipe: str, manifest: str, **ids: Any) -> Any:
    """Read a bundle's training config, with its native recipe for ``BUNDLE:native``, in 3D for ``BUNDLE:3d``."""
    from monai.bundle import ConfigParser

    bundle, _, kind = recipe.partition(":")
    parser = ConfigParser()
    parser.read_config(
        [f"bundles/{bundle}/configs/{name}.json" for name in ("train", *["native"] * (kind == "native"))]
    )
    own = {"spatial_dims": 3} if kind == "3d" else {}
    parser.update({"manifest": manifest, "ckpt_dir": tempfile.mkdtemp(), **own, **ids})
    return parser


def batch_of(recipe: str, size: Sequence[int] = SIZE) -> tuple[int, list[int]]:
    """Images of a batch and their size, ``size`` in 2D."""
    return (2, [64 if GPU else 32] * 3) if recipe.endswith(":3d") else (8, list(size))


def digest(network: torch.nn.Module) -> str:
    """Hash of all weights and statistics."""
    found = hashlib.sha256()
    for value in network.state_dict().values():
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


class Bare:
    """A training step on a batch that is there already: both passes, as a graph or not, and the optimiser."""

    def __init__(
        self, network: Any, loss: Any, optimizer: Any, batch: Any, amp: bool, graph: bool, clip: float
    ) -> None:
        self.network, self.loss, self.optimizer, self.amp, self.clip = network, loss, optimizer, amp, clip
        self.image, self.label = (value.clone() for value in batch)
        self.graph = None
        if graph:
            kept = [value.clone() for value in network.buffers()]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self.passes()
            torch.cuda.current_stream().wait_stream(stream)
            for value, before in zip(network.buffers(), kept, strict=True):
                value.copy_(before)
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured):
                self.passes()
            self.graph = captured

    def passes(self) -> None:
        from benchmark.training.trainer import NoEmptyPadding

        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.amp), NoEmptyPadding():
            value = self.loss(self.network(self.image), self.label).mean()
        value.backward()

    def __call__(self, batch: Any = None) -> None:
        if batch is not None:
            self.image.copy_(batch[0])
            self.label.copy_(batch[1])
        if self.graph is None:
            self.passes()
        else:
            self.graph.replay()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()


def timed(step: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Return seconds of a step, and those that the processor needs to send it off."""
    for _ in range(3):
        step()
    synchronise()
    started, count = time.perf_counter(), 0
    sent = 0.0
    while time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        for _ in range(5 if GPU else 1):
            step()
        sent += time.perf_counter() - begun
        count += 5 if GPU else 1
        synchronise()
    return (time.perf_counter() - started) / count, sent / count


def kernels(step: Callable[[], None]) -> tuple[int, float, list[tuple[str, int, float]]]:
    """Return launches and milliseconds of GPU work in a step, and the most expensive kernels."""
    from torch.profiler import ProfilerActivity, profile

    if not GPU:
        return 0, 0.0, []
    steps = 2
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(steps):
            step()
        synchronise()
    rows = [(e.key, e.count, e.self_device_time_total / 1000) for e in found.key_averages() if e.self_device_time_total]
    rows.sort(key=lambda row: -row[2])
    total = sum(row[2] for row in rows) / steps
    return (
        sum(row[1] for row in rows) // steps,
        total,
        [(k[:150], n // steps, round(ms / steps, 2)) for k, n, ms in rows],
    )


def network_part(recipe: str, manifest: str, ids: Mapping[str, Any]) -> Any:
    """Make network, loss, optimiser and a batch of noise of a recipe, without any data set."""
    torch.manual_seed(1)
    native = recipe.startswith("nnunet")
    batch, size = (49 if GPU else 8, [80, 96]) if recipe == "nnunet" else batch_of(recipe)
    fixed = {"in_channels": 4, "out_channels": 3, "spatial_size": size}
    parser = config(recipe, manifest, **fixed, **ids)
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    kind = torch.optim.SGD if native else torch.optim.Adam
    options = {"lr": 0.01, "momentum": 0.99, "nesterov": True} if native else {"lr": 1e-4}
    volumes = torch.channels_last_3d if GPU else torch.contiguous_format
    last = torch.channels_last if len(size) == 2 else volumes
    image = torch.randn(batch, 4, *size, device=DEVICE).contiguous(memory_format=last)
    label = (torch.rand(batch, 3, *size, device=DEVICE) > 0.9).float()
    return network, loss, lambda **more: kind(network.parameters(), **options, **more), image, label


VARIANTS: dict[str, dict[str, Any]] = {
    "as before": {"fill": True, "fused": None},
    "no filling": {"fused": None},
    "fused": {},
    "graph": {"graph": True},
    "graph, NCHW": {"graph": True, "last": False},
    "graph, chooses": {"graph": True, "benchmark": True},
    "graph, free": {"graph": True, "benchmark": True, "deterministic": False},
    "graph, free, NCHW": {"graph": True, "benchmark": True, "deterministic": False, "last": False},
    "float32 graph": {"graph": True, "amp": False},
    "free": {"benchmark": True, "deterministic": False},
}
COMPILED: dict[str, dict[str, Any]] = {
    "compiled, graph": {"graph": True, "compile": "default"},
    "compiled, NCHW, graph": {"graph": True, "compile": "default", "last": False},
    "compiled, free, graph": {"graph": True, "compile": "default", "benchmark": True, "deterministic": False},
}


def variants(bundle: str, manifest: str, table: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Time a bare loop under each technique, count its kernels and compare the weights of two trainings."""
    from benchmark.training.trainer import set_up

    for name, options in table.items():
        if not GPU and (options.get("graph") or options.get("compile")):
            continue
        try:
            yield {"bundle": bundle, "variant": name, **variant(bundle, manifest, set_up, **options)}
        except Exception as error:
            yield {"bundle": bundle, "variant": name, "error": repr(error)[:300]}
        if GPU:
            torch.cuda.empty_cache()


def variant(
    bundle: str,
    manifest: str,
    set_up: Callable[..., None],
    fill: bool = False,
    fused: bool | None = True,
    graph: bool = False,
    last: bool = True,
    benchmark: bool = False,
    deterministic: bool = True,
    amp: bool = True,
    compile: str = "",
    trainings: int = 2,
) -> dict[str, Any]:
    """Measure one technique."""
    set_up(1, True, torch.get_num_threads())
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    digests = []
    for _ in range(trainings):
        network, loss, optimizer, image, label = network_part(bundle, manifest, {})
        if not last:
            network.to(memory_format=torch.contiguous_format)
            image = image.contiguous()
        network.train()
        made = optimizer(fused=fused if GPU else None)
        runs = torch.compile(network) if compile else network
        step = Bare(runs, loss, made, (image, label), amp and GPU, graph, 12.0 if bundle.startswith("nnunet") else 0.0)
        for _ in range(6):
            step()
        digests.append(digest(network))
    seconds, sent = timed(step, 0.8)
    if trainings == 1:
        return {"images_per_s": round(len(image) / seconds, 1)}
    count, busy, top = kernels(step)
    return {
        "images_per_s": round(len(image) / seconds),
        "ms": round(1000 * seconds, 2),
        "processor_ms": round(1000 * sent, 2),
        "gpu_ms": round(busy, 2),
        "kernels": count,
        "equal": digests[0] == digests[1],
        "weights": digests[0],
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if GPU else None,
        "top": top[:14],
    }


def cost(recipes: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Time each recipe's bare loop with deterministic algorithms, and with the fastest ones."""
    from benchmark.training.trainer import set_up

    for recipe in recipes.split(","):
        row: dict[str, Any] = {"recipe": recipe}
        for name, free in (("deterministic", False), ("free", True)):
            options = {"graph": GPU, "deterministic": not free, "benchmark": free, "trainings": 1}
            try:
                row[name] = variant(recipe, manifest, set_up, **options)["images_per_s"]
            except Exception as error:
                row["error"] = repr(error)[:300]
            if GPU:
                torch.cuda.empty_cache()
        if "error" not in row:
            row["ratio"] = round(row["deterministic"] / row["free"], 2)
        yield row


SPEEDS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "workers": {"data_on_device": False},
    "float32": {"amp": False},
    "overlap": {"overlap": True},
}


def quick(recipe: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Time the trainer and its bare loop as configured, and with the next batch prepared meanwhile."""
    yield from speed(recipe, manifest, ["as configured", "overlap"])


def speed(recipe: str, manifest: str, names: Sequence[str] = tuple(SPEEDS)) -> Iterator[dict[str, Any]]:
    """Time the trainer and its bare loop in turns, and count the processor's waits in an iteration."""
    from ignite.engine import Events

    last = 5 if GPU else 3
    for name in names if GPU else names[:1]:
        iterations = (15 if name == "float32" else 60) if GPU else 2
        ids = SPEEDS[name]
        small = {} if recipe.endswith(":native") else {"spatial_size": batch_of(recipe)[1]}
        parser = config(recipe, manifest, max_epochs=last, **small, **ids)
        if recipe.endswith(":native"):
            # nnU-Net's plan for all cases of brats_small, where ours only sees those of the fold.
            parser["batch_size"] = 49 if GPU else 4
        parser.get_parsed_content("initialize")
        batch = parser.get_parsed_content("batch_size")
        parser = config(
            recipe, manifest, max_epochs=last, batch_size=batch, epoch_images=iterations * batch, **small, **ids
        )
        parser["train"]["trainer"]["train_handlers"] = parser["train"]["handlers"][:1]
        trainer = parser.get_parsed_content("train#trainer")
        waits: list[int] = []
        epochs: list[float] = []
        batches: list[Any] = []
        started = [0.0]

        def begin(engine: Any, started: list[float] = started) -> None:
            if GPU and engine.state.epoch == last:
                torch.cuda.set_sync_debug_mode("warn")
            synchronise()
            started[0] = time.perf_counter()

        def end(engine: Any, started: list[float] = started, epochs: list[float] = epochs) -> None:
            synchronise()
            epochs.append(time.perf_counter() - started[0])

        trainer.add_event_handler(Events.EPOCH_STARTED, begin)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, end)
        if GPU:
            torch.cuda.reset_peak_memory_stats()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.run()
        waits = [w for w in caught if "synchroniz" in str(w.message)]
        places = sorted({f"{Path(w.filename).name}:{w.lineno}" for w in waits})[:6]
        if GPU:
            torch.cuda.set_sync_debug_mode("default")
        if getattr(trainer.data_loader, "stream", None):
            trainer.data_loader.stream = None
        for raw in trainer.data_loader:
            batches.append(trainer.prepare_batch(raw, DEVICE))
            if len(batches) == (16 if GPU else 2):
                break
        amp, graph = bool(trainer.amp), bool(trainer.cuda_graph)
        bare = Bare(
            trainer.network, trainer.loss_function, trainer.optimizer, batches[0], amp, graph, trainer.clip_norm
        )

        def loop(bare: Bare = bare, batches: list[Any] = batches) -> None:
            for each in batches:
                bare(each)

        seconds, _ = timed(loop, 1.0)
        raw = {key: value.to(DEVICE) for key, value in raw.items()}
        _, augmenting, _ = kernels(lambda trainer=trainer, raw=raw: trainer.prepare_batch(raw, DEVICE))
        count, busy, top = kernels(lambda trainer=trainer, raw=raw: trainer._iteration(trainer, raw))
        plain = sorted(epochs[1 : last - 1])[(last - 2) // 2]
        yield {
            "recipe": recipe,
            "variant": name,
            "batch": batch,
            "size": list(batches[0][0].shape[2:]),
            "trainer": round(iterations * batch / plain),
            "bare": round(batch * len(batches) / seconds),
            "ratio": round(iterations * batch / plain / (batch * len(batches) / seconds), 3),
            "first_epoch_s": round(epochs[0], 2),
            "gpu_ms": round(busy, 2),
            "augmenting_ms": round(augmenting, 2),
            "kernels": count,
            "waits": len(waits),
            "waits_at": places,
            "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if GPU else None,
            "top": top[:24],
        }


def train(recipe: str, manifest: str, **ids: Any) -> tuple[str, dict[str, float]]:
    """Train two short epochs and return the weights' hash and the validation's metrics."""
    batch, size = batch_of(recipe, [128, 128] if GPU else [64, 64])
    images = batch * (12 if GPU else 2)
    own: dict[str, Any] = {"batch_size": batch}
    if not recipe.endswith(":native"):
        own["spatial_size"] = size
    parser = config(recipe, manifest, max_epochs=2, val_interval=1, epoch_images=images, **own, **ids)
    if not GPU and recipe.endswith(":3d"):
        parser.update(_small(parser))
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("training")
    metrics = parser.get_parsed_content("validate#evaluator").state.metrics
    return digest(parser.get_parsed_content("network")), {k: round(float(v), 4) for k, v in metrics.items()}


def _small(parser: Any) -> dict[str, Any]:
    """Ids for a processor: few channels, and one case to validate on."""
    one = {"validate#dataset#cases": "$@data.part(@fold, 'validation')[:1]"}
    return one | ({"channels": [4, 8, 16, 32, 64]} if "channels" in parser.config else {})


def twice(recipes: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Train each recipe twice as configured, and with overlap, and compare weights."""
    yield from bits(recipes, manifest, others=False)


def bits(recipes: str, manifest: str, others: bool = True) -> Iterator[dict[str, Any]]:
    """Train each recipe twice as configured, then without a graph and with workers, and compare weights."""
    for recipe in recipes.split(","):
        started = time.perf_counter()
        row: dict[str, Any] = {"recipe": recipe}
        try:
            first, row["metrics"] = train(recipe, manifest)
            row["equal"] = first == train(recipe, manifest)[0]
            if GPU:
                row["overlap_changes_nothing"] = first == train(recipe, manifest, overlap=True)[0]
            if GPU and others:
                row["graph_changes_nothing"] = first == train(recipe, manifest, cuda_graph=False)[0]
                held = {"data_on_device": False, "num_workers": 2, "train#dataloader#persistent_workers": False}
                row["workers_change_nothing"] = first == train(recipe, manifest, **held)[0]
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            row["error"] = repr(cause)[:300]
        yield {**row, "seconds": round(time.perf_counter() - started, 1)}


def once(recipe: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Train a few epochs, timed from within; for ``jobs``.

    On a GPU ``reserved_mb`` is what torch held and ``used_mb`` what the driver calls used, by all processes there.
    """
    parser = config(recipe, manifest, max_epochs=4, epoch_images=480 if GPU else 16, spatial_size=SIZE)
    if not GPU:
        parser.update({"max_epochs": 1, **_small(parser)})
    parser.get_parsed_content("initialize")
    trainer = parser.get_parsed_content("train#trainer")
    started = time.perf_counter()
    parser.get_parsed_content("training")
    synchronise()
    row = {"recipe": recipe, "seconds": round(time.perf_counter() - started, 2), "epochs": trainer.state.epoch}
    if GPU:
        free, total = torch.cuda.mem_get_info()
        row |= {"reserved_mb": torch.cuda.max_memory_reserved() >> 20, "used_mb": (total - free) >> 20}
    yield row


def jobs(recipe: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Run one, two and four trainings at once; ``gain`` is the time of as many one after another over theirs."""
    alone = 0.0
    for count in (1, 2, 4):
        started = time.perf_counter()
        command = [sys.executable, __file__, f"once:{recipe}", "--manifest", manifest, "--here"]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        inside = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
        longest = max(row["seconds"] for row in inside)
        alone = alone or longest
        yield {
            "recipe": recipe,
            "at_once": count,
            "seconds": round(time.perf_counter() - started, 1),
            "seconds_of_training": longest,
            "gain": round(count * alone / longest, 2),
            **{key: max(row[key] for row in inside) for key in ("reserved_mb", "used_mb") if key in inside[0]},
        }


def tests(files: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Run test files and return what pytest says last."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", *files.split(",")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E ")) or " in " in line]
    yield {"passed": done.returncode == 0, "last": " / ".join(lines[-12:])[-1500:] or done.stderr[-500:]}


def rows_of(part: str, manifest: str) -> Iterator[dict[str, Any]]:
    """Do one part in this process."""
    kind, _, what = part.partition(":")
    if kind in TIMED:
        import monai.bundle  # noqa: F401

    turn = FileLock(Path(tempfile.gettempdir()) / "research-gpu.lock") if kind in TIMED else contextlib.nullcontext()
    with turn:
        if kind in ("variants", "compiled"):
            yield from variants(what, manifest, VARIANTS if kind == "variants" else COMPILED)
        else:
            every = (speed, quick, cost, twice, bits, tests, jobs, once)
            yield from next(each for each in every if each.__name__ == kind)(what, manifest)


def shown(row: Mapping[str, Any]) -> str:
    """One line of the table; the list of kernels only goes to the file."""
    return " | ".join(f"{key} {value}" for key, value in row.items() if key not in ("top", "metrics"))


def run_parts(parts: list[str], manifest: str, together: int, out: Path | None) -> None:
    """Run every part as a process of its own, several at a time, and print the rows as they come."""
    groups: list[list[str]] = []
    for part in parts:
        # What is timed takes turns; the rest disturbs what is timed, and jobs everything.
        kinds = [kinds for kinds in (TIMED, ("twice", "bits", "tests")) if part.startswith(kinds)]
        same = groups and kinds and groups[-1][0].startswith(kinds[0]) and len(groups[-1]) < together
        groups[-1].append(part) if same else groups.append([part])
    everything: list[dict[str, Any]] = []
    for group in groups:
        started = time.monotonic()
        files = [tempfile.TemporaryFile("w+") for _ in group]  # noqa: SIM115
        running = [
            subprocess.Popen(
                [sys.executable, __file__, part, "--manifest", manifest, "--here"],
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            for part, file in zip(group, files, strict=True)
        ]
        # Time on a GPU is dear; a processor may be busy with something else.
        limits = [LIMITS[part.partition(":")[0]] * (1 if GPU else 5) for part in group]
        for part, process, file in zip(group, running, files, strict=True):
            limit = (sum(limits) if part.startswith(TIMED) else max(limits)) - (time.monotonic() - started)
            try:
                process.wait(timeout=max(limit, 1))
                end = "" if process.returncode == 0 else f"exit code {process.returncode}"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                end = "stopped at its time limit"
            file.seek(0)
            lines = file.read().splitlines()
            rows = [json.loads(line) for line in lines if line.startswith('{"')]
            everything += [{"part": part, **row} for row in rows]
            for row in rows:
                print(f"{part.partition(':')[0]} | {shown(row)}", flush=True)
            if end:
                print(f"{part}: {end}; last lines: {' / '.join(lines[-3:])[-500:]}", flush=True)
            for row in rows:
                if row.get("variant") in ("graph", "compiled, graph", "as configured") and row.get("top"):
                    print("  most of the time: " + "; ".join(f"{k[:48]} x{n} {ms}" for k, n, ms in row["top"][:8]))
        print(f"# {', '.join(group)}: {time.monotonic() - started:.0f} s", flush=True)
        if out:
            out.write_text(json.dumps(everything, indent=1), encoding="utf-8")


def main() -> None:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--manifest", default="brats_small")
    parser.add_argument("--together", type=int, default=6, help="processes of bits and tests at the same time")
    parser.add_argument("--out", type=Path, help="file for all rows as JSON")
    parser.add_argument("--here", action="store_true", help="do the only part in this process and print JSON lines")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.here:
        for row in rows_of(arguments.parts[0], arguments.manifest):
            print(json.dumps(row), flush=True)
        return
    parts = arguments.parts
    if parts == ["all"]:
        parts = ["speed:unet", "quick:la_resunet", "quick:nnunet:native", "cost", "jobs:unet", "bits", "tests"]
    whole = {kind: [f"{kind}:{','.join(RECIPES[start::6])}" for start in range(6)] for kind in ("twice", "bits")}
    whole["cost"] = [f"cost:{','.join(name for name in RECIPES if name not in LEFT_OUT)}"]
    whole["3d"] = [f"{kind}:{','.join(IN_3D)}" for kind in ("cost", "twice")]
    whole["tests"] = [f"tests:{files}" for files in TESTS]
    parts = [one for part in parts for one in whole.get(part, [part])]
    what = torch.cuda.get_device_name() if GPU else f"processor, {torch.get_num_threads()} threads; no GPU measured"
    print(f"# {what}, torch {torch.__version__}, {os.cpu_count()} processors", flush=True)
    run_parts(parts, arguments.manifest, arguments.together, arguments.out)


if __name__ == "__main__":
    main()
