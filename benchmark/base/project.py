"""Find the folders that commands read and write, in a project or outside of one, and what came with the package."""

from __future__ import annotations

from pathlib import Path

from benchmark.base.records import InputError


def find() -> Path | None:
    """Return the nearest folder at or above the working directory that holds ``bundles`` and ``data_manifests``."""
    return _nearest("bundles", "data_manifests")


def root() -> Path:
    """Return the project's folder.

    Outside of a project it is the nearest folder with ``data_manifests``, as a scan leaves behind, or else the working
    directory: what trains nothing works there too.
    """
    return find() or _nearest("data_manifests") or Path.cwd()


def require() -> None:
    """Refuse to go on outside of a project, as what trains or changes a bundle must.

    Raises:
        InputError: if the working directory is in none.
    """
    if find() is None:
        raise InputError(
            f"{Path.cwd()} is not inside a benchmark project: expected a folder with bundles/ and data_manifests/ at "
            "or above it, found none; change to one, or make one with: benchmark init FOLDER"
        )


def bundles() -> Path:
    """Folder with one bundle per model; outside of a project those that came with the package, to be read only."""
    folder = find()
    return folder / "bundles" if folder else shipped("bundles")


def manifests() -> Path:
    """Folder with data set manifests, cases and folds."""
    return root() / "data_manifests"


def reports() -> Path:
    """Folder of the studies."""
    return root() / "reports"


def runs() -> Path:
    """Git-ignored folder with prepared volumes and run folders."""
    return root() / "runs"


def shipped(kind: str) -> Path:
    """Folder with the manifests, reports or bundles that came with the package: in a wheel within it, in a clone beside
    it. It is looked in after the project's own, and never written to."""
    package = Path(__file__).parents[1]
    inside = package / "shipped"
    return (inside if inside.is_dir() else package.parent) / kind


def _nearest(*names: str) -> Path | None:
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if all((f / name).is_dir() for name in names)), None)
