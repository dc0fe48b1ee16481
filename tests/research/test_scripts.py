"""Each script of research/, run as its README says that it can be tried."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.project import REPOSITORY

ROWS = re.findall(r"^\| `(\S+\.py)` \|.*\| (.*) \|$", (REPOSITORY / "research/README.md").read_text(), re.MULTILINE)
ELSEWHERE = {"nnunet_answers.py", "nnunet_itself.py", "speed/nnunet.py", "saliency.py"}
"""Scripts that need nnunetv2, or runs that are there."""


def test_every_script_has_a_row():
    scripts = {
        str(path.relative_to(REPOSITORY / "research"))
        for path in (REPOSITORY / "research").rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert {name for name, _ in ROWS} == scripts


@pytest.mark.slow(reason="each script is run once, minutes in all")
@pytest.mark.parametrize(("name", "tried"), [row for row in ROWS if row[0] not in ELSEWHERE])
def test_a_script_runs_as_its_readme_says(name, tried, tmp_path):
    for folder in ("benchmark", "bundles", "research", "tests"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    for folder in ("reports", "data_manifests"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    command = re.search(r"`([^`]*)`", tried)[1].replace("/tmp/", f"{tmp_path}/")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
