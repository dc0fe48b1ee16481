"""Download an openly served data set, or say how to get one that is not."""

from __future__ import annotations

import http.client
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmark.base.progress import Progress
from benchmark.base.records import InputError
from benchmark.data.manifest import Manifest, load_manifest

CHUNK = 1 << 20
"""Bytes read at a time."""

ATTEMPTS = 5
"""Connections in a row that may break without a byte received before the download gives up."""

TIMEOUT_S = 60.0
PAUSE_S = 2.0
"""Seconds of silence before a connection counts as broken, and waited (once, twice, …) before the next one."""


def fetch(
    name: str, folder: Path, url: str | None = None, md5: str | None = None, progress: Progress | None = None
) -> str:
    """Download and unpack a set into ``folder``, going on where an earlier call stopped; return what to do next.

    Address and checksum are MONAI's unless given. For a set that needs registration nothing is downloaded, and the
    text says where and how to get it. ``progress`` counts megabytes.
    InputError if the set is unknown, the server cannot be reached or breaks off, the disk is full, or the archive has
    another checksum (it is removed then). An unpacked folder is there whole or not at all.
    """
    manifest = load_manifest(name)
    archive_name = manifest.layout.archive
    if manifest.access != "open" or not archive_name:
        return how_to_get(manifest)
    target = folder / archive_name
    if not target.exists():
        if url is None:
            # MONAI takes seconds to import, and is the one place that keeps these two up to date.
            from monai.apps.datasets import DecathlonDataset

            url, md5 = DecathlonDataset.resource[archive_name], md5 or DecathlonDataset.md5[archive_name]
        archive = folder / f"{archive_name}.tar"
        if not archive.exists():
            download(url, archive, progress)
        unpack(archive, target, md5)
    return f"{name} is in {target} ({manifest.licence}). Next: benchmark data scan {name} {target}"


def how_to_get(manifest: Manifest) -> str:
    """Say in a few lines where a set comes from, under which terms, and what to run when it is here."""
    if manifest.access == "generated":
        return f"{manifest.name} is generated on first use: nothing has to be fetched."
    return (
        f"{manifest.name} cannot be downloaded by this command: its publisher hands it out on registration.\n"
        f"1. Register and download at {manifest.address}\n"
        f"   Licence: {manifest.licence}\n"
        f"2. Unpack it to any folder.\n"
        f"3. Run: benchmark data scan {manifest.name} FOLDER"
    )


def download(url: str, path: Path, progress: Progress | None = None) -> None:
    """Download ``url`` to ``path`` by way of ``<path>.part``, which a broken download leaves and the next continues.
    InputError if the server refuses or stays away, or the disk is full."""
    part = path.with_name(path.name + ".part")
    stalled = 0
    while stalled < ATTEMPTS:
        before = _size(part)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            total = _continue(url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(f"{url}: expected a file, found HTTP status {error.code} {error.reason}.") from error
            reason = f"HTTP status {error.code}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except OSError as error:
            raise InputError(f"{part}: expected room for the download, found: {error.strerror or error}.") from error
        else:
            if total is None or _size(part) == total:
                part.replace(path)
                return
            reason = f"{_size(part)} of {total} bytes"
        stalled = 0 if _size(part) > before else stalled + 1
        time.sleep(PAUSE_S * stalled)
    raise InputError(
        f"{url}: expected the whole file, found a connection that broke off ({reason}); "
        f"{_size(part)} bytes are kept in {part}, and the same command goes on from there."
    )


def unpack(archive: Path, target: Path, md5: str | None = None) -> None:
    """Unpack a .tar that holds the folder ``target.name`` to ``target``, then remove it; MONAI checks and extracts.

    InputError if the archive's MD5 differs, it is broken or holds no such folder (it is removed then), or the disk is
    full.
    """
    from monai.apps.utils import HashCheckError, extractall

    # Always the same place, so that what a killed run left is found and removed; on the target's own disk.
    scratch = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        extractall(archive, scratch, hash_val=md5, hash_type="md5", file_type="tar", has_base=False)
        if not (scratch / target.name).is_dir():
            raise tarfile.TarError(f"no folder {target.name} in it")
        (scratch / target.name).replace(target)
    except (HashCheckError, tarfile.TarError, EOFError, ValueError) as error:
        archive.unlink()
        expected = f"an archive with MD5 {md5}" if isinstance(error, HashCheckError) else "a whole .tar archive"
        reason = "another checksum" if isinstance(error, HashCheckError) else error
        raise InputError(
            f"{archive}: expected {expected}, found {reason}; it was removed, run the same command to try again."
        ) from error
    except OSError as error:
        raise InputError(f"{target}: expected room to unpack {archive}, found: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    archive.unlink()


def _continue(url: str, part: Path, progress: Progress | None) -> int | None:
    """Append what is missing to ``part`` and return the size of the whole file, or None if the server hides it."""
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if error.code == 416 and whole == str(start):
            return start
        if error.code == 416:
            # The part is longer than the file: it belongs to something else.
            part.unlink()
            return -1
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as stream:
        # A server without ranges answers 200 and starts anew, and so must the file.
        done = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        while chunk := response.read(CHUNK):
            stream.write(chunk)
            done += len(chunk)
            if progress:
                progress(done >> 20, (total or 0) >> 20, "MB")
    return total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
