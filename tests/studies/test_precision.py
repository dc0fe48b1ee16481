"""What is said before runs compute in bf16 on a processor that has no instructions for it."""

import pytest
import torch
from helpers.project import TINY, write_study

from benchmark.studies import execute, precision
from benchmark.studies import run as running


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setattr(precision, "_has_bf16", lambda: False)
    monkeypatch.setattr(execute, "visible_gpus", lambda: [])


def said(command, *arguments):
    _, _, err = command(*arguments)
    return [line.partition(", and")[0] for line in err.splitlines() if "instructions for bf16" in line]


def test_bf16_without_instructions_is_said_once_before_training(project, command, monkeypatch, without):
    write_study("tiny", set={**TINY["set"], "amp": True})
    done = []
    monkeypatch.setattr(running, "run", lambda run, *_: done.append(run.id))
    monkeypatch.setattr(execute, "execute", lambda *_: done.append("all") or [])
    named = "warning: amp is true of unet, resunet_tversky, la_resunet"
    assert said(command, "plan", "tiny") == said(command, "run-all", "tiny") == [named]
    assert said(command, "run", "tiny", "unet/default/fold0-seed1") == ["warning: amp is true of unet"]
    assert done == ["all", "unet/default/fold0-seed1"]
    monkeypatch.setattr(precision, "_has_bf16", lambda: True)
    assert said(command, "plan", "tiny") == []


def test_it_is_said_of_runs_in_bf16_on_a_processor_only(project, command, monkeypatch, without):
    assert said(command, "plan", "tiny") == []
    assert said(command, "plan", "tiny", "--set", "la_resunet:amp=true") == ["warning: amp is true of la_resunet"]
    assert said(command, "plan", "tiny", "--set", "amp=true", "--set", "amp_dtype=$torch.float16") == []
    monkeypatch.setattr(execute, "visible_gpus", lambda: ["0"])
    assert said(command, "plan", "tiny", "--set", "amp=true") == []
    assert len(said(command, "plan", "tiny", "--set", "amp=true", "--set", "device=$torch.device('cpu')")) == 1


def test_torch_says_whether_there_are_instructions(monkeypatch):
    assert precision._has_bf16() == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    monkeypatch.setattr(torch, "ops", object())
    assert precision._has_bf16()
