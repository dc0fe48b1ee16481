"""Content to whole files and folders: everything is written beside its place and moved in when complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.records import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same ending) and move it there when the block ends without an error.

    Raises:
        InputError: if the disk is full or the place cannot be written.
    """
    handle, name = _beside(path, lambda folder, prefix: tempfile.mkstemp(dir=folder, prefix=prefix, suffix=path.name))
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` and move it there when the block ends without an error.

    Where another process put the same folder there meanwhile, that one stays and this one is dropped.

    Raises:
        InputError: if the disk is full or the place cannot be written.
    """
    temporary = Path(_beside(path, lambda folder, prefix: tempfile.mkdtemp(dir=folder, prefix=prefix)))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        try:
            temporary.rename(path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; ``what`` names it in the error.

    Raises:
        InputError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: expected {what}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: expected {what}, found {error}.") from error


@lru_cache(maxsize=1)
def _umask() -> int:
    # tempfile makes things private; results are as readable as anything the user makes. The mask can only be read by
    # setting it, which other threads would notice: once is enough.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _beside(path: Path, make: Any) -> Any:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(path.parent, f".{os.getpid()}-")
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> InputError:
    # numpy says how much it could not write, without an error number.
    if error.errno == errno.ENOSPC or (error.errno is None and "requested and" in str(error)):
        return InputError(f"{path} was not written: the disk is full; free some space and run the same command again.")
    return InputError(f"{path} was not written: {error.strerror or error}.")
