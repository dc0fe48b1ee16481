"""What the container recipe takes of this repository, read by buildah itself."""

import os
import re
import shutil
import subprocess

import pytest
from helpers.project import REPOSITORY


@pytest.mark.skipif(shutil.which("buildah") is None or os.geteuid() != 0, reason="no buildah, or the user is not root")
def test_what_is_copied_is_what_a_wheel_is_made_of(tmp_path):
    recipe = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from).*$", recipe, flags=re.MULTILINE)
    (tmp_path / "recipe").write_text("\n".join(["FROM scratch", *copied]), encoding="utf-8")
    storage = ["--root", tmp_path / "root", "--runroot", tmp_path / "runroot", "--storage-driver", "vfs"]
    build = ["bud", "--isolation", "chroot", "--output", tmp_path / "made", "--file", tmp_path / "recipe", REPOSITORY]
    done = subprocess.run(list(map(str, ["buildah", *storage, *build])), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    source = tmp_path / "made" / "source"
    found = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    shipped = ("benchmark", "bundles", "data_manifests", "reports/*/published.json")
    words = ("git", "ls-files", "-co", "--exclude-standard", *shipped)
    kept = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    single = {"constraints.txt", "pyproject.toml", "setup.py", "README.md", "LICENSE"}
    # Case lists and folds are of a scan, not of a set.
    expected = {path for path in kept if not re.match(r"data_manifests/.*\..*\.json", path)} | single
    assert found == expected
    assert (tmp_path / "made/opt/benchmark/constraints.txt").is_file()
