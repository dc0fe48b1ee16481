"""How far a run is within an epoch: what its engines leave on disk, when, and that no bit of the run depends on it."""

import os
import shutil
import time

import pytest
from helpers.trainings import assert_same_training
from ignite.engine import Engine, Events

from benchmark.studies import steps, store, study
from benchmark.studies.steps import Step, Steps

ID = "unet/default/fold0-seed1"


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand; ``clock.now`` are its seconds."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(steps, "time", clock := Clock())
    return clock


@pytest.fixture
def written(monkeypatch):
    """All steps that are written, in order."""
    found = []
    write = steps.write_json
    monkeypatch.setattr(steps, "write_json", lambda path, step: (found.append(step), write(path, step)))
    return found


def engine_of(clock, seconds):
    def iteration(engine, batch):
        clock.now += seconds

    return Engine(iteration)


def test_an_epoch_is_written_every_few_seconds_and_its_validation_after_it(tmp_path, clock, written):
    trainer, evaluator, followed = engine_of(clock, 1.0), engine_of(clock, 5.0), Steps(tmp_path)
    followed.follow(trainer, "train")
    followed.follow(evaluator, "validate")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(range(2)))
    trainer.run(range(7), max_epochs=2)
    said = [(one["stage"], one["done"], one["total"], one["seconds"], one["before"]) for one in written]
    epoch = [("train", 0, 7, 0, 0), ("train", 3, 7, 3, 0), ("train", 6, 7, 6, 0)]
    epoch += [("validate", 0, 2, 0, 7), ("validate", 1, 2, 5, 7), ("validate", 2, 2, 10, 7)]
    assert said == 2 * epoch
    assert steps.read(tmp_path, 0.0) == Step(stage="validate", done=2, total=2, seconds=10.0, before=7.0)
    followed.end()
    followed.end()
    assert not list(tmp_path.iterdir())


def test_short_epochs_are_not_all_written(tmp_path, clock, written):
    trainer, evaluator, followed = engine_of(clock, 0.1), engine_of(clock, 0.1), Steps(tmp_path)
    followed.follow(trainer, "train")
    followed.follow(evaluator, "validate")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(range(2)))
    trainer.run(range(8), max_epochs=10)
    # Ten seconds in all.
    assert 3 <= len(written) <= 4


def test_a_run_goes_on_where_its_step_cannot_be_written(tmp_path, clock):
    (tmp_path / "file").touch()
    trainer, followed = engine_of(clock, 5.0), Steps(tmp_path / "file" / "folder")
    followed.follow(trainer, "train")
    assert trainer.run(range(3), max_epochs=1).iteration == 3
    followed.end()


def test_a_validation_before_the_first_epoch_and_a_loader_without_a_length_end_no_run(tmp_path, clock, written):
    trainer, evaluator, followed = engine_of(clock, 5.0), engine_of(clock, 5.0), Steps(tmp_path)
    followed.follow(trainer, "train")
    followed.follow(evaluator, "validate")
    trainer.add_event_handler(Events.STARTED, lambda _: evaluator.run(range(2)))
    assert trainer.run(iter(range(3)), max_epochs=1).iteration == 3
    assert {(one["stage"], one["total"], one["before"]) for one in written} == {("validate", 2, 0.0)}


def test_what_a_killed_run_left_is_not_where_the_next_one_is(tmp_path):
    assert steps.read(tmp_path, 0.0) is None
    (tmp_path / steps.NAME).write_text('{"stage": "train", "done": 3, "total": 7, "seconds": 3.0}')
    now = time.time()
    os.utime(tmp_path / steps.NAME, (now, now))
    assert steps.read(tmp_path, now - 1) == Step(stage="train", done=3, total=7, seconds=3.0)
    assert steps.read(tmp_path, now + 1) is None
    (tmp_path / steps.NAME).write_text("{")
    assert steps.read(tmp_path, now - 1) is None


def test_an_epoch_takes_what_its_steps_took_so_far():
    assert Step(stage="train", done=3, total=12, seconds=6.0).epoch == 24
    assert Step(stage="validate", done=1, total=4, seconds=5.0, before=24.0).epoch == 44


def test_a_run_says_its_steps_and_has_the_same_bits_with_and_without(project, command, monkeypatch, written, tmp_path):
    (run,) = [one for one in study.load("tiny").runs() if one.id == ID]
    folder = store.folder(run)
    monkeypatch.setattr(steps, "EVERY_S", 0.0)
    assert command("run", "tiny", ID)[0] == 0
    said = {(one["stage"], one["done"], one["total"]) for one in written}
    # 32 images in batches of 8.
    assert {("train", done, 4) for done in range(5)} <= said
    cases = {stage: {one["total"] for one in written if one["stage"] == stage} for stage in ("validate", "predict")}
    for stage, (total,) in cases.items():
        assert total > 0 and {(stage, done, total) for done in range(total + 1)} <= said
    assert not (folder / steps.NAME).exists()
    fingerprint, other = store.read_record(folder).fingerprint, shutil.move(folder, tmp_path / "with")
    monkeypatch.setattr(Steps, "follow", lambda *_: None)
    assert command("run", "tiny", ID)[0] == 0
    assert_same_training(folder, other)
    assert store.read_record(folder).fingerprint == fingerprint
    assert (folder / "scores.csv").read_bytes() == (other / "scores.csv").read_bytes()
