"""What the README and the CI script promise: commands that exist, and numbers that a committed report has."""

import re
from pathlib import Path

import pandas as pd
import pytest
import typer.main

from benchmark.cli import app
from benchmark.report import headline_table
from benchmark.scoring.metrics import METRICS
from benchmark.scoring.score_table import read_tidy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_test_command() -> None:
    command = next(line for line in README.splitlines() if line.endswith("pytest"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_command_of_the_readme_exists() -> None:
    known = typer.main.get_command(app).commands
    used = re.findall(r"^(?:.*bin/)?benchmark (\S+)(?: (\S+))?", README, flags=re.MULTILINE)
    assert len(used) > 10
    for command, sub in used:
        assert command in known
        if command == "data":
            assert sub in known["data"].commands


@pytest.mark.parametrize("page", ["README.md", *(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))])
def test_files_that_a_page_points_to_exist(page) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_first_table_is_that_of_the_committed_report() -> None:
    folder = ROOT / "reports" / "brats_small"
    comparisons = pd.read_csv(folder / "comparisons.csv")
    assert headline_table(read_tidy(folder / "scores.csv"), comparisons, METRICS) in README
