"""Find the project's folders from the working directory: bundles, data_manifests, reports and runs."""

from __future__ import annotations

from pathlib import Path

from benchmark.base.records import InputError


def root() -> Path:
    """Return the nearest folder at or above the working directory that holds ``bundles`` and ``data_manifests``.

    Raises:
        InputError: if there is none.
    """
    if found := _root():
        return found
    raise InputError(
        f"{Path.cwd()} is not inside a benchmark project: expected a folder with bundles/ and data_manifests/ at or "
        "above it, found none; change to the cloned repository and try again."
    )


def is_inside() -> bool:
    """Say whether the working directory is in a project."""
    return _root() is not None


def _root() -> Path | None:
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "bundles").is_dir() and (folder / "data_manifests").is_dir():
            return folder
    return None


def bundles() -> Path:
    """Folder with one bundle per model."""
    return root() / "bundles"


def manifests() -> Path:
    """Folder with data set manifests, cases and folds."""
    return root() / "data_manifests"


def reports() -> Path:
    """Folder of the studies."""
    return root() / "reports"


def runs() -> Path:
    """Git-ignored folder with prepared volumes and run folders."""
    return root() / "runs"
