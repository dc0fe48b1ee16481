"""Make a project: bundles and manifests that came with the package, and a study that trains nothing yet."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from benchmark.base import project
from benchmark.base.files import is_free, replacing_files, write_json, write_text
from benchmark.base.records import InputError
from benchmark.studies.new_study import entries

IGNORED = ("/runs/", *(f"/bundles/*/{folder}/" for folder in ("models", "predictions", "probabilities")))


def init(folder: Path, study: str = "first") -> list[Path]:
    """Make a project in a folder that is empty or not there, and return what is in it.

    It has ``bundles``, ``data_manifests`` with the known sets, ``reports/<study>/study.json`` and a ``.gitignore``.
    All of it is made or nothing. InputError if the folder holds anything, or the study's name cannot be a folder's.
    """
    if not is_free(folder):
        found = "one that holds something" if folder.is_dir() else "a file"
        raise InputError(f"{folder}: expected an empty folder, or none of that name, found {found}.")
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", study):
        raise InputError(f"--study {study}: expected letters, digits, _ and -.")
    bundles, manifests = (project.shipped(kind) for kind in ("bundles", "data_manifests"))
    with replacing_files(folder) as whole:
        own = shutil.ignore_patterns("models", "predictions", "probabilities", "__pycache__")
        shutil.copytree(bundles, whole / "bundles", ignore=own)
        (whole / "data_manifests").mkdir()
        for path in manifests.glob("*.json"):
            if "." not in path.stem:
                shutil.copy(path, whole / "data_manifests")
        least = entries("Say in one line what is compared", "phantom", [0], [1], ["unet"])
        write_json(whole / "reports" / study / "study.json", least)
        write_text(whole / ".gitignore", "\n".join(IGNORED) + "\n")
    return [folder / name for name in ("bundles", "data_manifests", f"reports/{study}/study.json")]
