"""A small project to test in: bundles, manifests and a phantom of eight patients at 6 mm, made once a session."""

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys

import pytest
from filelock import FileLock
from helpers.project import GENERATOR, REPOSITORY, copy_manifests, shell, write_study

# One thread in this process and in those that tests start: numbers must not depend on the machine.
os.environ["OMP_NUM_THREADS"] = "1"
# Looking for garbage less often makes a report 6% and the import of MONAI 13% faster, in no more memory.
gc.set_threshold(50_000, 20, 100)


def pytest_collection_modifyitems(items):
    for item in items:
        for marker in item.iter_markers("slow"):
            if not marker.kwargs.get("reason"):
                raise pytest.UsageError(f"{item.nodeid}: expected slow(reason=...), found no reason.")


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Return ``once(name, make)``: the folder ``name`` and what ``make(folder)`` returned, JSON, made by the first of
    the processes that share the tests and read by the others."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name, make):
        folder, result = base / name, base / f"{name}.json"
        with FileLock(base / f"{name}.lock"):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)
                result.write_text(json.dumps(make(folder)), encoding="utf-8")
        return folder, json.loads(result.read_text(encoding="utf-8"))

    return made


@pytest.fixture(scope="session")
def template(once):
    """The small project with its phantom generated, scanned and prepared; for copying only."""
    return once("template", _template)[0]


def _template(root):
    from benchmark.data.prepare import prepare

    shutil.copytree(REPOSITORY / "bundles", root / "bundles", ignore=shutil.ignore_patterns("models", "predictions"))
    copy_manifests(root)
    manifest = root / "data_manifests" / "phantom.json"
    phantom = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**phantom, "generator": GENERATOR, "expected_cases": 9}), encoding="utf-8")
    with contextlib.chdir(root):
        write_study("tiny")
        prepare("phantom")


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """A copy of the small project, as the working directory."""
    folder = shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def unbroken(once, template):
    """The small project after ``run-all tiny`` as a user types it, and that process; for reading and copying only."""

    def run_all(folder):
        shutil.copytree(template, folder)
        done = shell("run-all", "tiny", "--jobs", "1", cwd=folder)
        return {"args": done.args, "returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    folder, done = once("unbroken", run_all)
    return folder, subprocess.CompletedProcess(**done)


@pytest.fixture
def finished(unbroken, tmp_path, monkeypatch):
    """A copy of the project whose study ``tiny`` is finished, as the working directory."""
    folder = shutil.copytree(unbroken[0], tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Write blank pictures, for tests of reports that look at none."""
    from helpers.results import blank_pictures

    blank_pictures(monkeypatch)


@pytest.fixture
def here(monkeypatch):
    """Do the runs of a command in this process, which has loaded torch and MONAI, and not each in one of its own.

    For tests of what runs leave; those of tests/cli are of their processes. It takes one run at a time: ``--jobs 1``.
    """
    from benchmark import cli
    from benchmark.studies import execute

    def do(_, words, *__):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
            patch.setattr(sys, "argv", list(words))
            cli.main()

    monkeypatch.setattr(execute, "_run_process", do)


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
