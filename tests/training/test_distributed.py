"""One training by two processes, as torchrun starts them: losses of one process, saved and validated once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.project import CHANNELS, REPOSITORY

from benchmark.base.records import InputError
from benchmark.data.prepare import DataSet
from benchmark.data.slices import EpochSampler, SliceDataset
from benchmark.training import distributed
from benchmark.training.handlers import load

IDS = {
    "channels": CHANNELS, "spatial_size": [32, 32], "max_epochs": 3, "epoch_images": 32, "batch_size": 8,
    "learning_rate": 0.1, "fold": 0, "cpu_threads": 1,
    # Not Adam, whose steps are the same for gradients of another scale.
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": "@learning_rate"},
    # A loss that sums over the batch, and a normalisation without statistics of it.
    "loss": {"_target_": "monai.losses.DiceCELoss", "sigmoid": True, "batch": True}, "network_def#norm": "instance",
}  # fmt: skip
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture
def process(monkeypatch):
    """Return ``process(rank)``: be one of two processes, where nothing is sent between them."""
    monkeypatch.setattr(distributed.distributed, "get_world_size", lambda: 2)
    return lambda rank: monkeypatch.setattr(distributed.distributed, "get_rank", lambda: rank)


def test_shares_of_all_processes_are_the_batches_of_one(project, process):
    dataset = SliceDataset(DataSet("phantom").part(0, "train"), [32, 32])
    whole, shares = EpochSampler(dataset, batch_size=8, seed=3, numbers=2, length=24), []
    whole.set_epoch(5)
    for rank in (0, 1):
        process(rank)
        shares.append(distributed.Share(whole))
    assert [len(share) for share in shares] == [len(whole)] * 2 == [3, 3]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [str(item) for item in batch] == [str(item) for part in parts for item in part]
    for column, *parts in zip(whole.draw(), *(share.draw() for share in shares), strict=True):
        parts = [part.reshape(3, 4, *part.shape[1:]) for part in parts]
        assert (np.concatenate(parts, axis=1).reshape(column.shape) == column).all()
    assert (shares[0].batch_size, shares[0].count) == (4, 12)


def test_what_processes_cannot_share_is_refused(project, process):
    process(0)
    dataset = SliceDataset(DataSet("phantom").part(0, "train"), [32, 32])
    with pytest.raises(InputError, match=r"^batch_size is 7: expected a multiple of the 2 processes"):
        distributed.Share(EpochSampler(dataset, batch_size=7, seed=3, numbers=2))
    with pytest.raises(InputError, match=r"^1 validation cases for 2 processes: expected at least one for each"):
        distributed.share_of([1])
    with pytest.raises(InputError, match=r"^multi_gpu_train\.json was run by one process: expected torchrun"):
        distributed.join(torch.device("cpu"))


def train(root, launcher=(), files=("train",), name="unet", **ids):
    listed = [f"bundles/{name}/configs/{file}.json" for file in files]
    options = [part for key, value in {**IDS, "bundle_root": root, **ids}.items() for part in (f"--{key}", str(value))]
    words = [sys.executable, *launcher, "-m", "monai.bundle", "run", "training", "--config_file", str(listed), *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, text=True, timeout=900, env=environment)


def together(root, **ids):
    return train(root, TORCHRUN, ("train", "multi_gpu_train"), **ids)


@pytest.fixture
def two_cases(project):
    """The small project with a second validation case, so that each process has one."""
    path = Path("data_manifests", "phantom.folds.json")
    content = json.loads(path.read_text())
    (fold,) = content["folds"]
    fold["validation"].append(fold["train"].pop())
    path.write_text(json.dumps(content))


def history(root):
    return pd.read_csv(Path(root, "models", "history.csv")).drop(columns="seconds")


@pytest.mark.slow(reason="three processes that import torch and train")
def test_two_processes_train_as_one_does_at_the_same_batch(two_cases):
    done = [train("one"), together("two")]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    # Sums over a batch and its gradients are added in another order, which is all that differs.
    pd.testing.assert_frame_equal(history("one"), history("two"), check_exact=False, rtol=1e-4)
    one, two = (load(Path(root, "models", "model.pt")) for root in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key], two[key], rtol=1e-3, atol=1e-5) for key in one)
    assert sorted(path.name for path in Path("two", "models").iterdir()) == ["history.csv", "last.pt", "model.pt"]
    # Each epoch is told of once, and what two began is not gone on with by one.
    assert done[1].stdout.count("Epoch[1] Complete") + done[1].stderr.count("Epoch[1] Complete") == (
        done[0].stdout.count("Epoch[1] Complete") + done[0].stderr.count("Epoch[1] Complete")
    )
    alone = train("two", max_epochs=4)
    assert alone.returncode and "training with other settings (batch_size)" in alone.stderr
