"""A small project to test in: bundles, manifests and a phantom of eight patients at 6 mm, made once a session."""

import contextlib
import json
import os
import shutil
import sys

import pytest
from helpers.project import GENERATOR, REPOSITORY, copy_manifests, shell, write_study

# One thread in this process and in those that tests start: numbers must not depend on the machine.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The small project with its phantom generated, scanned and prepared; for copying only."""
    from benchmark.data.prepare import prepare

    root = tmp_path_factory.mktemp("template")
    shutil.copytree(REPOSITORY / "bundles", root / "bundles", ignore=shutil.ignore_patterns("models", "predictions"))
    copy_manifests(root)
    manifest = root / "data_manifests" / "phantom.json"
    phantom = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**phantom, "generator": GENERATOR, "expected_cases": 9}), encoding="utf-8")
    with contextlib.chdir(root):
        write_study("tiny")
        prepare("phantom")
    return root


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """A copy of the small project, as the working directory."""
    folder = shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def unbroken(template, tmp_path_factory):
    """The small project after ``run-all tiny`` as a user types it, and that process; for reading and copying only."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("unbroken") / "project")
    return folder, shell("run-all", "tiny", "--jobs", "1", cwd=folder)


@pytest.fixture
def finished(unbroken, tmp_path, monkeypatch):
    """A copy of the project whose study ``tiny`` is finished, as the working directory."""
    folder = shutil.copytree(unbroken[0], tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments):
        from benchmark.cli import main

        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        output = capsys.readouterr()
        return code or 0, output.out, output.err

    return run
