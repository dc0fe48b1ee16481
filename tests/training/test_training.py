"""Training, resuming and predicting through MONAI's own runner: equal to the last bit after a kill at any moment."""

import contextlib
import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from helpers.project import TINY
from helpers.scans import AFFINES, brain, save_case
from helpers.trainings import assert_same_training, last, same
from ignite.engine import Engine, Events

from benchmark.base.records import InputError
from benchmark.data.prepare import prepare
from benchmark.data.scan import scan
from benchmark.studies import run as running
from benchmark.studies import store, study
from benchmark.training import handlers

COLUMNS = ["epoch", "images", "iterations", "train_loss", "val_dice", "val_loss", "val_iou", "learning_rate", "seconds"]
SETTINGS = {**TINY["set"], "cpu_threads": 1, "num_workers": 0}


class Killed(BaseException):
    """Stands for a SIGKILL inside this process: nothing handles it."""


def workflow(folder, bundle="unet", kind="train", **overrides):
    from monai.bundle import ConfigWorkflow

    path = f"bundles/{bundle}/configs/{kind}.json"
    run_id = "training" if kind == "train" else "inference"
    keys = [key for key in SETTINGS if kind == "train" or key in ("spatial_size", "channels", "cpu_threads")]
    settings = {**{key: SETTINGS[key] for key in keys}, "bundle_root": str(folder), **overrides}
    made = ConfigWorkflow(config_file=path, workflow_type=None, run_id=run_id, **settings)
    made.initialize()
    made.run()
    made.finalize()


@contextlib.contextmanager
def refused(sentence):
    """MONAI's runner wraps what a handler raises; the InputError is at the bottom."""
    with pytest.raises((InputError, RuntimeError)) as found:
        yield
    error = found.value
    while not isinstance(error, InputError) and error.__cause__:
        error = error.__cause__
    assert isinstance(error, InputError)
    assert sentence in str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def straight(template, tmp_path_factory):
    """The folder of three epochs of `unet` without an interruption."""
    folder = tmp_path_factory.mktemp("straight") / "unet"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(template)
        workflow(folder, max_epochs=3)
    return folder


def test_a_training_leaves_its_history_state_and_best_weights(straight):
    assert sorted(path.name for path in straight.rglob("*") if path.is_file()) == ["history.csv", "last.pt", "model.pt"]
    history = pd.read_csv(straight / "models" / "history.csv")
    assert list(history.columns) == COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["images"].tolist() == [32] * 3 and history["iterations"].tolist() == [4] * 3
    assert history["val_dice"].between(0, 1).all() and history["learning_rate"].tolist() == [0.001] * 3
    assert (history[["train_loss", "val_loss", "seconds"]] > 0).all(axis=None)
    assert history["train_loss"].is_monotonic_decreasing
    state = last(straight)
    assert state["best_value"] == history["val_dice"].max()
    assert same(state["best"], handlers.load(straight / "models" / "model.pt"))


def test_a_real_kill_of_monais_own_command_changes_no_bit(project, straight, tmp_path):
    """`python -m monai.bundle run training` trains on the phantom; SIGKILL after the first epoch, then go on."""
    folder = tmp_path / "run"
    settings = {**SETTINGS, "max_epochs": 3, "bundle_root": str(folder)}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "monai.bundle", "run", "training"),
            *("--config_file", "bundles/unet/configs/train.json"),
            *(part for key, value in settings.items() for part in (f"--{key}", str(value))),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        until = time.monotonic() + 600
        while not (folder / "models" / "last.pt").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        process.kill()
        output = process.communicate()[0].decode()
    assert process.returncode == -signal.SIGKILL, output
    assert not (folder / "models" / "model.pt").exists()
    assert last(folder)["epoch"] < 3
    workflow(folder, max_epochs=3)
    assert_same_training(folder, straight)


@pytest.mark.parametrize("moment", ["save", "write", "complete", "start_clock"])
def test_a_kill_at_any_moment_changes_no_bit(project, straight, tmp_path, monkeypatch, moment):
    """Killed in the second epoch: before or after its state is written, before the last file, and as it begins."""
    folder, real, calls = tmp_path / "run", getattr(handlers.Resume, moment), []

    def kill(self, engine, *arguments, **options):
        calls.append(engine.state.epoch)
        if moment == "write" and engine.state.epoch == 2:
            real(self, engine, *arguments, **options)
        if engine.state.epoch >= 2:
            raise Killed
        real(self, engine, *arguments, **options)

    monkeypatch.setattr(handlers.Resume, moment, kill)
    with pytest.raises(Killed):
        workflow(folder, max_epochs=3)
    monkeypatch.setattr(handlers.Resume, moment, real)
    assert calls and not (folder / "models" / "model.pt").exists()
    assert last(folder)["epoch"] == {"save": 1, "write": 2, "complete": 3, "start_clock": 1}[moment]
    workflow(folder, max_epochs=3)
    assert_same_training(folder, straight)


def test_a_longer_training_goes_on_from_a_finished_one_and_a_finished_one_stays(project, straight, tmp_path):
    folder = tmp_path / "run"
    workflow(folder, max_epochs=2)
    before = (folder / "models" / "last.pt").read_bytes()
    (folder / "models" / "model.pt").unlink()
    workflow(folder, max_epochs=2)
    assert (folder / "models" / "last.pt").read_bytes() == before
    assert same(handlers.load(folder / "models" / "model.pt"), last(folder)["best"])
    workflow(folder, max_epochs=3)
    assert_same_training(folder, straight)


def test_workers_change_no_bit_and_another_seed_does(project, straight, tmp_path):
    # Persistent workers would be ended by the garbage collector, in the middle of some other test, after a long wait.
    ending = {"train#dataloader#persistent_workers": False}
    workflow(tmp_path / "workers", max_epochs=3, num_workers=2, data_on_device=False, **ending)
    assert_same_training(tmp_path / "workers", straight)
    workflow(tmp_path / "seed", max_epochs=1, seed=2)
    assert not same(last(tmp_path / "seed")["network"], last(straight)["network"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.002}, "learning_rate"),
        ({"seed": 2, "batch_size": 4}, "seed, batch_size"),
        ({"channels": [4, 8, 16, 32, 128]}, "network"),
        ({"augmentation#rotation": 10.0}, "augmentation"),
        ({"keep": "last", "val_interval": 2, "clip_norm": 1.0}, "clip_norm, val_interval, keep"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(project, straight, change, named):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    with refused(f"last.pt is a training with other settings ({named})"):
        workflow(straight, max_epochs=4, **change)
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before


def test_slices_held_on_the_device_change_no_bit(project, straight, tmp_path):
    workflow(tmp_path / "held", max_epochs=3, data_on_device=True)
    assert_same_training(tmp_path / "held", straight)


def test_validation_at_an_interval_changes_only_what_is_recorded(project, straight, tmp_path):
    """Without a validation there is no metric; the last epoch is always validated; the last weights can be kept."""
    workflow(tmp_path / "run", max_epochs=3, val_interval=2, keep="last")
    history, every = (pd.read_csv(folder / "models" / "history.csv") for folder in (tmp_path / "run", straight))
    assert list(history.columns) == COLUMNS
    assert history[["val_dice", "val_loss"]].isna().all(axis=1).tolist() == [True, False, False]
    assert history["train_loss"].tolist() == every["train_loss"].tolist()
    assert history["val_loss"].tolist()[1:] == every["val_loss"].tolist()[1:]
    network = last(straight)["network"]
    assert same(last(tmp_path / "run")["network"], network)
    assert same(handlers.load(tmp_path / "run" / "models" / "model.pt"), network)


def test_an_epoch_is_as_long_as_it_says(project, tmp_path):
    workflow(tmp_path / "run", max_epochs=1, epoch_images=300)
    history = pd.read_csv(tmp_path / "run" / "models" / "history.csv")
    assert history[["images", "iterations"]].to_numpy().tolist() == [[296, 37]]


def test_gradients_are_clipped_to_a_norm(project, straight, tmp_path):
    workflow(tmp_path / "wide", max_epochs=3, clip_norm=1e9)
    assert_same_training(tmp_path / "wide", straight)
    workflow(tmp_path / "clipped", max_epochs=1, clip_norm=1e-12, **{"optimizer#eps": 1.0, "weight_decay": 0.0})
    workflow(tmp_path / "free", max_epochs=1, **{"optimizer#eps": 1.0, "weight_decay": 0.0})
    moved = [
        float((last(tmp_path / name)["optimizer"]["state"][0]["exp_avg"]).abs().max()) for name in ("clipped", "free")
    ]
    assert moved[0] < 1e-12 < moved[1]


def test_early_stopping_stops_and_stays_stopped(project, tmp_path):
    # A score that falls with every epoch: patience 2 ends training at epoch 3 of 6.
    settings = {"max_epochs": 6, "stop_patience": 2}
    settings["validate#early_stopping#score_function"] = "$lambda engine: -float(engine.state.epoch)"
    workflow(tmp_path / "run", **settings)
    state = last(tmp_path / "run")
    assert (state["epoch"], state["stopped"], len(state["history"])) == (3, True, 3)
    (tmp_path / "run" / "models" / "model.pt").rename(tmp_path / "before.pt")
    workflow(tmp_path / "run", **settings)
    assert last(tmp_path / "run")["epoch"] == 3
    assert same(handlers.load(tmp_path / "run" / "models" / "model.pt"), handlers.load(tmp_path / "before.pt"))


def test_patience_goes_on_counting_after_a_kill(project, tmp_path, monkeypatch):
    settings = {"max_epochs": 6, "stop_patience": 2}
    settings["validate#early_stopping#score_function"] = "$lambda engine: -float(engine.state.epoch)"
    real = handlers.Resume.save

    def kill(self, engine):
        if engine.state.epoch == 3:
            raise Killed
        real(self, engine)

    monkeypatch.setattr(handlers.Resume, "save", kill)
    with pytest.raises(Killed):
        workflow(tmp_path / "run", **settings)
    monkeypatch.setattr(handlers.Resume, "save", real)
    workflow(tmp_path / "run", **settings)
    assert (last(tmp_path / "run")["epoch"], last(tmp_path / "run")["stopped"]) == (3, True)


def test_the_plateau_schedule_follows_the_validation_loss(project, tmp_path):
    settings = {"max_epochs": 3, "plateau_patience": 0}
    settings["train#handlers#2#step_transform"] = "$lambda engine: float(engine.state.epoch)"
    workflow(tmp_path / "run", **settings)
    rates = pd.read_csv(tmp_path / "run" / "models" / "history.csv")["learning_rate"]
    assert last(tmp_path / "run")["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.00025)
    assert rates.tolist() == pytest.approx([0.001, 0.0005, 0.00025])


def scripted(folder, dices, losses=None, scaler=None, weights=None):
    """Train a one-weight network whose weight is the epoch, or scripted, and whose validation Dice is scripted."""
    network = torch.nn.Linear(1, 1, bias=False)
    evaluator, trainer = Engine(lambda *_: None), Engine(lambda *_: None)
    evaluator.state.metrics = {}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    trainer.optimizer, trainer.scaler = optimizer, scaler
    resume = handlers.Resume(
        str(folder), network, torch.nn.BCEWithLogitsLoss(), {"optimizer": optimizer}, evaluator, {"seed": 1}
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def epoch(engine):
        with torch.no_grad():
            network.weight.fill_(weights[engine.state.epoch - 1] if weights else engine.state.epoch)
        engine.state.metrics["train_loss"] = (losses or [1.0] * len(dices))[engine.state.epoch - 1]
        evaluator.state.metrics.update(val_dice=dices[engine.state.epoch - 1], val_loss=0.5)

    resume.attach(trainer)
    trainer.run([0], max_epochs=len(dices))


@pytest.mark.parametrize(
    ("dices", "best"), [([0.2, 0.6, 0.5], 2), ([0.6, 0.6, 0.1], 1), ([0.0, 0.0], 1), ([0.1, 0.9], 2)]
)
def test_the_weights_kept_are_those_of_the_first_best_epoch(tmp_path, dices, best):
    scripted(tmp_path, dices)
    assert float(handlers.load(tmp_path / "model.pt")["weight"]) == best
    assert float(handlers.load(tmp_path / "last.pt")["network"]["weight"]) == len(dices)


def test_weights_appear_only_when_training_is_complete(tmp_path, monkeypatch):
    seen, real = [], handlers.Resume.write

    def write(*arguments, **options):
        real(*arguments, **options)
        seen.append(sorted(path.name for path in tmp_path.iterdir()))

    monkeypatch.setattr(handlers.Resume, "write", write)
    scripted(tmp_path, [0.1, 0.2])
    assert seen == [["history.csv", "last.pt"]] * 2
    assert (tmp_path / "model.pt").exists()


def test_the_gradient_scaler_goes_on_where_it_was(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    scaler.scale(torch.ones(1))  # a scaler has a state from its first use on
    scripted(tmp_path, [0.1], scaler=scaler)
    other = torch.amp.GradScaler("cpu", init_scale=2.0)
    scripted(tmp_path, [0.1, 0.2], scaler=other)
    assert other.state_dict() == scaler.state_dict() and other.get_scale() == 256.0


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, loss):
    with pytest.raises(InputError, match=f"training loss of epoch 2 is {loss}"):
        scripted(tmp_path, [0.1, 0.2, 0.3], [1.0, loss, 1.0])
    assert handlers.load(tmp_path / "last.pt")["epoch"] == 1 and not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_end_the_training(tmp_path, value):
    """The loss of an epoch is the mean before its last step, which may spoil the weights."""
    with pytest.raises(InputError, match="the weights after epoch 2 are no numbers in weight: expected finite ones"):
        scripted(tmp_path, [0.1, 0.2], weights=[1.0, value])
    assert handlers.load(tmp_path / "last.pt")["epoch"] == 1 and not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize("kind", ["training", "inference"])
def test_monais_own_command_ends_with_the_sentence(project, straight, tmp_path, kind):
    folder = tmp_path / "run"
    settings = {**SETTINGS, "bundle_root": str(folder), "batch_size": 64}
    if kind == "inference":
        weights = handlers.load(straight / "models" / "model.pt")
        handlers.save(folder / "models" / "model.pt", {name: values * float("nan") for name, values in weights.items()})
        settings = {key: settings[key] for key in ("spatial_size", "channels", "cpu_threads", "bundle_root")}
    config = f"bundles/unet/configs/{'train' if kind == 'training' else kind}.json"
    words = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", kind, "--config_file", config, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    sentence = {
        "training": "An epoch has 32 images: expected at least one batch of 64.",
        "inference": f"{folder}/models/model.pt: the weights are no numbers in ",
    }[kind]
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(f"Error: {sentence}")
    assert not (folder / "predictions").exists()


class Code:
    def __reduce__(self):
        return print, ("this must not run",)


def truncated():
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(1000)}, buffer)
    return buffer.getvalue()[:2000]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", truncated(), pickle.dumps(Code())])
def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path, capsys, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt cannot be read: expected a checkpoint") as found:
        handlers.load(tmp_path / "last.pt")
    assert "\n" not in str(found.value)
    assert "must not run" not in capsys.readouterr().out


def test_equal_states_are_equal_bytes(tmp_path):
    for name in ("one", "other"):
        handlers.save(tmp_path / name / "model.pt", {"weight": torch.ones(3)})
    assert (tmp_path / "one" / "model.pt").read_bytes() == (tmp_path / "other" / "model.pt").read_bytes()


def test_a_disk_that_fills_up_leaves_the_last_state_and_says_so(tmp_path):
    handlers.save(tmp_path / "last.pt", {"epoch": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the kernel refuses to write more into one file
    try:
        with pytest.raises(InputError, match=r"last\.pt was not written"):
            handlers.save(tmp_path / "last.pt", {"weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert handlers.load(tmp_path / "last.pt") == {"epoch": 1}


def test_prediction_needs_the_weights_of_its_network(project, straight, tmp_path):
    with refused("model.pt does not exist: expected trained weights"):
        workflow(tmp_path / "run", kind="inference")
    (tmp_path / "other" / "models").mkdir(parents=True)
    os.link(straight / "models" / "model.pt", tmp_path / "other" / "models" / "model.pt")
    with refused("model.pt holds another network's weights"):
        workflow(tmp_path / "other", bundle="la_resunet", kind="inference")
    assert not (tmp_path / "other" / "predictions").exists()


@pytest.mark.parametrize("name", AFFINES)
def test_logits_become_the_label_map_in_the_cases_own_space(project, tmp_path, name):
    images, label = brain()
    save_case("Brats18_A_1_1", images, label, AFFINES[name])
    scan("brats2018", Path("scans"))
    (case,) = prepare("brats2018")
    values = torch.from_numpy(np.array(case.label))
    regions = [torch.isin(values, torch.tensor(region)) for region in ([1, 2, 4], [1, 4], [4])]
    logits = torch.stack(regions)[None].float() * 4 - 2
    state = SimpleNamespace(batch={"index": torch.tensor([0])}, output={"pred": logits})
    handlers.LabelMapWriter(str(tmp_path), [case], [2, 1, 4])(SimpleNamespace(state=state))
    written, original = nibabel.load(tmp_path / "Brats18_A_1_1.nii.gz"), nibabel.load(Path("scans") / case.case.label)
    assert written.get_data_dtype() == np.uint8 and written.shape == original.shape
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(written.dataobj), label)


def test_later_regions_overwrite_earlier_ones(project, tmp_path):
    case = prepare("phantom")[0]
    logits = torch.full((1, 3, *case.label.shape), -1.0)
    logits[0, 0, 3, 4, 5:8] = 1  # WT
    logits[0, 1, 3, 4, 6] = 1  # TC
    logits[0, 2, 3, 4, 7] = 1  # ET, outside TC
    logits[0, 2, 3, 4, 9] = 0  # a sigmoid of exactly one half is outside
    state = SimpleNamespace(batch={"index": torch.tensor([0])}, output={"pred": logits})
    handlers.LabelMapWriter(str(tmp_path), [case], [2, 1, 4])(SimpleNamespace(state=state))
    written = np.asarray(nibabel.load(tmp_path / "Phantom_001_1.nii.gz").dataobj)
    assert case.crop(written)[3, 4].tolist()[5:10] == [2, 1, 4, 0, 0]
    assert (written > 0).sum() == 3


@pytest.fixture
def unet(finished):
    """A finished run of `unet`."""
    return study.load("tiny").runs()[0]


def test_a_stage_that_is_whole_is_not_done_again(unet):
    folder = store.folder(unet)
    scores = (folder / "scores.csv").read_bytes()
    (folder / "scores.csv").unlink()
    lost = min((folder / "predictions").iterdir())
    before, lost_bytes = {path: path.stat().st_mtime_ns for path in folder.glob("models/*")}, lost.read_bytes()
    record = json.loads((folder / "run.json").read_text())
    lost.unlink()
    running.run(unet, "phantom")
    assert (folder / "scores.csv").read_bytes() == scores
    assert lost.read_bytes() == lost_bytes
    assert {path: path.stat().st_mtime_ns for path in folder.glob("models/*")} == before
    after = json.loads((folder / "run.json").read_text())
    assert after["stages"]["train"] == record["stages"]["train"]
    # Predictions are made anew together: of the same bytes, at another time.
    for one in (after, record):
        one["probabilities"] = {name: kept[:2] for name, kept in one["probabilities"].items()}
    assert {**after, "stages": None} == {**record, "stages": None} and record["probabilities"]


def test_an_error_is_written_and_goes_away_when_the_run_succeeds(unet):
    folder = store.folder(unet)
    (folder / "scores.csv").unlink()
    hidden = (folder / "predictions").rename(folder / "hidden")
    (folder / "models" / "model.pt").rename(folder / "model.pt")
    (folder / "models" / "last.pt").write_bytes(b"")
    # Not MONAI's "Failed to evaluate", which says nothing.
    with contextlib.suppress(RuntimeError), pytest.raises(InputError, match=r"last\.pt cannot be read"):
        running.run(unet, "phantom")
    assert store.state(unet) == "failed"
    assert store.last_error(unet).startswith(f"runs/tiny/{unet.id}/models/last.pt cannot be read")
    (folder / "model.pt").rename(folder / "models" / "model.pt")
    hidden.rename(folder / "predictions")
    running.run(unet, "phantom")
    assert store.state(unet) == "done" and not (folder / "error.txt").exists()


def test_an_unforeseen_error_is_named_by_its_own_last_line_and_traceback(unet, monkeypatch):
    folder = store.folder(unet)
    (folder / "scores.csv").unlink()
    (folder / "models" / "model.pt").unlink()

    def fail(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(handlers.Resume, "restore", fail)
    with contextlib.suppress(Exception):
        running.run(unet, "phantom")
    assert store.last_error(unet) == "ZeroDivisionError: on purpose"
    assert "in fail" in (folder / "error.txt").read_text()


def test_a_run_that_another_process_is_at_is_refused(unet, monkeypatch):
    folder = store.folder(unet)
    (folder / "scores.csv").unlink()
    monkeypatch.setattr(running, "PATIENCE_S", 0.1)
    with FileLock(folder / ".lock"), pytest.raises(InputError, match="is being run by another process"):
        running.run(unet, "phantom")
    assert store.state(unet) == "pending"
    assert not (folder / "error.txt").exists()
