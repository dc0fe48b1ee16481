"""Compare the checkpoints of two trainings, for tests."""

from pathlib import Path

import pandas as pd
import torch

from benchmark.training import handlers


def last(folder):
    return handlers.load(Path(folder, "models", "last.pt"))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def assert_same_training(folder, other):
    """Weights, optimiser, scheduler, early stopping and history (but for its seconds) are equal to the last bit."""
    one, two = last(folder), last(other)
    assert same(one["network"], two["network"]) and same(one["best"], two["best"])
    first, second = one["optimizer"]["state"], two["optimizer"]["state"]
    assert first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    for key in ("lr_scheduler", "early_stopping", "epoch", "iteration", "best_value", "stopped"):
        assert one[key] == two[key], key
    tables = [pd.DataFrame(state["history"]).drop(columns="seconds") for state in (one, two)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert same(handlers.load(Path(folder, "models/model.pt")), handlers.load(Path(other, "models/model.pt")))
