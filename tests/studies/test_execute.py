"""How many runs are done at once, and what of a machine is part of a run's identity."""

import copy
import json
import os

import pytest

from benchmark.base.records import InputError, Run
from benchmark.data.prepare import DataSet
from benchmark.studies import bundle, cost, execute, store
from benchmark.studies import run as doing


def runs_of(*models, seeds=3):
    return [Run("tiny", model, "default", 0, seed) for model in models for seed in range(1, seeds + 1)]


def identity(run, **more):
    return {**store.identity(run, DataSet("phantom"), bundle.frozen(run, "phantom")), **more}


def trained(run, reserved, predicted=None):
    """Write a run's record with the memory of a GPU in MiB that its two stages held, None where they say none."""
    store.record(run, identity(run), "command")
    path = store.folder(run) / "run.json"
    stage = {"seconds": 1.0, "peak_memory_mb": 1, "device": "card"}
    stages = {
        kind: stage if held is None else {**stage, "reserved_gpu_memory_mb": held}
        for kind, held in (("train", reserved), ("predict", reserved if predicted is None else predicted))
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), "stages": stages}))


def free(**memory):
    return lambda gpu: memory[f"gpu{gpu}"]


@pytest.mark.parametrize(
    ("memory", "processors", "expected"),
    [
        # 0.9 of 40,000 MiB hold 9 runs of 3,000 + 1,024 MiB, the size of the larger model.
        ({"gpu0": 40_000.0}, 64, 8),
        ({"gpu0": 40_240.0}, 64, 9),
        ({"gpu0": 40_240.0}, 4, 4),
        ({"gpu0": 2_000.0}, 64, 1),
        ({"gpu0": 0.0}, 64, 1),
        # The GPU with less room decides for both; processors are shared by them.
        ({"gpu0": 80_000.0, "gpu1": 10_000.0}, 64, 4),
        ({"gpu0": 80_000.0, "gpu1": 80_000.0}, 7, 6),
    ],
)
def test_as_many_runs_as_fit_the_memory_and_the_processors(project, memory, processors, expected):
    runs = runs_of("unet", "la_resunet")
    trained(runs[0], 2_000)
    trained(runs[3], 2_500, predicted=3_000)
    gpus = [name.removeprefix("gpu") for name in memory]
    assert execute.fitting(runs, gpus, free(**memory), processors) == expected


def test_one_per_gpu_where_a_model_has_not_said_what_it_needs(project):
    runs = runs_of("unet", "la_resunet")
    trained(runs[0], 2_000)
    assert execute.fitting(runs, ["0"], free(gpu0=80_000.0), 64) == 1
    # A run of before, or one on the processor, does not say it.
    trained(runs[3], None)
    assert execute.fitting(runs, ["0", "1"], free(gpu0=80_000.0, gpu1=80_000.0), 64) == 2
    # What is done needs nothing any more.
    for run in runs[3:]:
        store.folder(run).mkdir(parents=True, exist_ok=True)
        (store.folder(run) / "scores.csv").write_text("")
    assert execute.fitting(runs, ["0"], free(gpu0=40_000.0), 64) == 11


@pytest.fixture
def cards(project, monkeypatch):
    """Two GPUs that are not there: runs note who runs beside them and what they were told, and say what they need."""
    seen, running = [], set()

    def process(run, words, environment, stop):
        running.add(run.id)
        seen.append((run.id, environment["CUDA_VISIBLE_DEVICES"], int(environment[execute.AT_ONCE]), len(running)))
        trained(run, 3_000)
        running.discard(run.id)
        (store.folder(run) / "scores.csv").write_text("")

    monkeypatch.setattr(execute, "_run_process", process)
    monkeypatch.setattr(execute, "free_memory", lambda gpu: 20_000.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    return seen


def test_the_first_run_of_each_model_is_measured_before_several_share_a_gpu(cards):
    runs = runs_of("unet", "la_resunet", seeds=6)
    outcomes = execute.execute(runs, {}, None, ["3", "7"], lambda *_: None)
    assert [outcome.run for outcome in outcomes] == runs and {outcome.state for outcome in outcomes} == {"done"}
    assert {name for name, *_ in cards[:2]} == {runs[0].id, runs[6].id}
    assert [allowed for _, _, allowed, _ in cards] == [1, 1] + [4] * 10  # 18,000 // 4,024
    assert all(beside <= 8 for *_, beside in cards) and {gpu for _, gpu, *_ in cards} == {"3", "7"}
    # An earlier run of the same model says what the next ones need.
    more = runs_of("unet", seeds=8)
    del cards[:]
    execute.execute(more, {}, None, ["3"], lambda *_: None)
    assert [allowed for _, _, allowed, _ in cards] == [2, 2]


def test_a_number_that_was_asked_for_is_taken(cards):
    execute.execute(runs_of("unet", seeds=6), {}, 6, ["3", "7"], lambda *_: None)
    assert [allowed for _, _, allowed, _ in cards] == [3] * 6


def test_a_driver_that_says_nothing_has_no_free_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert execute.free_memory("0") == 0
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n[ $2 = 1 ] && echo 81079 || exit 6\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert [execute.free_memory(gpu) for gpu in ("0", "1")] == [0, 81079]


def test_a_folder_of_another_precision_is_refused_by_name_until_it_is_done(project):
    (run,) = runs_of("unet", seeds=1)
    store.record(run, identity(run, precision="float32"), "command", "card")
    store.check(run, identity(run))
    store.check(run, identity(run, precision="float32"), "card")
    with pytest.raises(InputError, match=r"which differs in precision \(\"float32\" -> \"bfloat16\"\): expected"):
        store.check(run, identity(run, precision="bfloat16"), "card")
    recorded = store.read_record(store.folder(run))
    assert recorded.fingerprint == store.fingerprint(identity(run, precision="float32"))
    assert recorded.fingerprint != store.fingerprint(identity(run, precision="bfloat16"))


def test_a_folder_from_before_precision_was_noted_is_gone_on_with(project):
    (run,) = runs_of("unet", seeds=1)
    store.record(run, identity(run), "command", "cpu")
    store.check(run, identity(run, precision="float32"), "cpu")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [({}, "float32"), ({"amp": True}, "bfloat16"), ({"amp": True, "amp_dtype": "$torch.float16"}, "float16")],
)
def test_the_precision_is_what_the_config_comes_to_here(project, overrides, expected):
    from monai.bundle import ConfigParser

    run = Run("tiny", "unet", "default", 0, 1, {"device": "$torch.device('cpu')", **overrides})
    configs = bundle.frozen(run, "phantom")
    before = copy.deepcopy(configs)
    assert doing._precision(configs) == {"precision": expected} and configs == before
    assert cost.precision(ConfigParser(configs["train"])) == expected


def test_a_gpu_that_rounds_products_computes_in_tf32(monkeypatch):
    import torch

    ids = {"amp": False, "amp_dtype": torch.bfloat16, "device": torch.device("cuda")}
    parser = type("Parser", (), {"get_parsed_content": staticmethod(ids.get)})
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert cost.precision(parser) == "tf32"
    ids["device"] = torch.device("cpu")
    assert cost.precision(parser) == "float32"
