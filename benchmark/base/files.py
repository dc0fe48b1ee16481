"""Read and write whole files and folders: each is written beside its place and moved there when complete."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
import os
import re
import secrets
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from benchmark.base.records import InputError

if TYPE_CHECKING:
    import pandas as pd

Read = TypeVar("Read")

WHOLE = ".whole"
"""Folder with whole files that are to be moved to the folder that it is in."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same ending) and move it there when the block ends without an error.

    Raises:
        InputError: if the disk is full or the place cannot be written.
    """
    with _beside(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` and move it there when the block ends without an error.

    Where another process put the same folder there meanwhile, that one stays and this one is dropped.

    Raises:
        InputError: if the disk is full or the place cannot be written.
    """
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        try:
            temporary.rename(path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Give a temporary folder within ``folder``, and move its files to the same places there when the block ends well.

    An empty file removes the one in its place. All files are moved or none, also by a process that is killed: once the
    temporary folder is renamed they count, and ``complete_files`` moves what is left.

    Raises:
        InputError: if the disk is full or the place cannot be written.
    """
    complete_files(folder)
    with _beside(folder / "files") as temporary:
        temporary.mkdir()
        try:
            yield temporary
        except InputError as error:
            # What stands in such a file would have stood there.
            raise InputError(str(error).replace(str(temporary), str(folder))) from error
        temporary.rename(folder / WHOLE)
        complete_files(folder)


def complete_files(folder: Path) -> None:
    """Move the files that a killed ``replacing_files`` had made whole; another process may do the same meanwhile."""
    whole = folder / WHOLE
    made = sorted(whole.rglob("*"), reverse=True)
    for path in (path for path in made if not path.is_dir()):
        target = folder / path.relative_to(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size:
                path.replace(target)
            else:
                target.unlink(missing_ok=True)
                path.unlink()
    for path in (*made, whole):
        # Only what is empty: another process may have put its own there.
        with contextlib.suppress(OSError):
            path.rmdir()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a free path beside ``path``, remove what is left there in the end, and say in words what went wrong."""
    owner = f".{os.getpid()}-{socket.gethostname()}"
    temporary = path.with_name(f"{owner}-{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        yield temporary
    except OSError as error:
        # numpy says how much it could not write, without an error number.
        full = error.errno == errno.ENOSPC or (error.errno is None and "requested and" in str(error))
        reason = "the disk is full; free some space and run the same command again" if full else error.strerror or error
        raise InputError(f"{path} was not written: {reason}.") from error
    except UnicodeEncodeError as error:
        found = ascii(error.object[error.start : error.end])
        raise InputError(f"{path} was not written: expected names in UTF-8, found {found} in one.") from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# Once per folder and process is enough: what is left there later, a process of its own left.
@lru_cache(maxsize=1024)
def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine were writing in a folder."""
    pattern = re.compile(rf"\.(\d{{1,9}})-{re.escape(socket.gethostname())}-[0-9a-f]{{8}}-.*", re.DOTALL)
    for path in folder.glob(".*"):
        match = pattern.fullmatch(path.name)
        if match and not _runs(int(match[1])):
            _remove(path)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of someone else
    return True


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
        InputError: if the file is missing, cannot be read, or is not JSON as ``parse_json`` takes it.
    """
    try:
        return parse_json(path.read_bytes().decode())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: expected {what}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: expected {what}, found: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: expected {what}, found {error}.") from error


def parse_json(text: str) -> Any:
    """Parse JSON in which every number is finite and no object has a key twice.

    Raises:
        ValueError: for anything else, nested too deeply or with a number too long for Python included.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"the key {json.dumps(twice)} twice in one object")
        return found

    def finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise ValueError(f"{number}, which is no finite number")
        return float(number)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except RecursionError:
        raise ValueError("too many brackets within each other") from None


def read_table(
    path: Path, what: str, columns: Sequence[str] = (), numbers: Sequence[str] = (), **options: Any
) -> pd.DataFrame:
    """Read a CSV file that has ``columns`` and, unless it has no rows, ``numbers``; ``what`` names it in the error.

    ``options`` are those of ``pandas.read_csv``. A blank number is NaN.

    Raises:
        InputError: if the file is missing, is no such table, or holds something else in one of ``numbers``.
    """
    # The command line reads JSON before it needs any table.
    import pandas as pd

    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: expected {what}.") from error
    except OverflowError as error:
        raise InputError(f"{path} is not {what}: it has a number that is too large.") from error
    except (ValueError, OSError) as error:  # those of a parser and of a codec too
        raise InputError(f"{path} is not {what}: {str(error).strip().rstrip('.')}.") from error
    needed = [*columns, *(numbers if len(table) else ())]
    if lacking := [name for name in needed if name not in table]:
        found = ", ".join(map(str, table.columns))
        raise InputError(f"{path} is not {what}: expected the columns {', '.join(lacking)} too, found {found}.")
    for name in numbers if len(table) else ():
        # pandas takes a column of True and False for numbers.
        if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]):
            known = pd.to_numeric(table[name].astype(str), errors="coerce").notna()
            wrong = table[name][~known & table[name].notna()]
            # Values such as a whole number of thirty digits are numbers, and yet no column of them.
            shown = wrong if len(wrong) else table[name].dropna()
            raise InputError(f"{path}: expected numbers in the column {name}, found {shown.iloc[0]!r}.")
    return table


def stamp(path: Path) -> tuple[int, int, int]:
    """Return what tells a file from the same file when it was changed; InputError where there is none."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: expected a file, found: {error.strerror}.") from error
    return status.st_size, status.st_mtime_ns, status.st_ino


def kept(read: Callable[[Path], Read]) -> Callable[[Path], Read]:
    """Let a reader of a file, or of many, keep what it returned until the file changes."""

    @lru_cache(maxsize=64)
    def unchanged(path: Path, *_: int) -> Read:
        return read(path)

    return wraps(read)(lambda path: unchanged(path, *stamp(path)))


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read a stream of ``size`` bytes to its end, taking no more memory than it has; ValueError for another length."""
    pieces, left = [], max(size, 0)
    while left and (piece := stream.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if left:
        raise ValueError(f"it ends {left} bytes before its last voxel")
    if stream.read(1):
        raise ValueError("it goes on after its last voxel")
    return b"".join(pieces)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the texts of a CSV file with a header, one dict per row, blank where a row is too short.

    Raises:
        InputError: if it is no such file or has no row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file with a header, found: {error}.") from error
    if not rows or not rows[0]:
        raise InputError(f"{path}: expected a CSV file with a header and rows, found an empty one.")
    return rows


def is_free(folder: Path) -> bool:
    """Say whether something can be written at a folder without touching what is there: it is empty or not there."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the folders in a folder, each sorted, without hidden ones.

    Raises:
        InputError: if the folder cannot be read, or a link in it leads nowhere: what it stands for would be left out.
    """
    files: list[str] = []
    folders: list[str] = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if not path.exists():
                raise InputError(f"{path}: expected a file or a folder, found a link that leads nowhere.")
            (folders if path.is_dir() else files).append(path.name)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: expected a folder to read, found: {error.strerror}.") from error
    return files, folders


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield a folder and each one below it, through links too, with the names of its files and folders.

    Raises:
        InputError: as entries, and for a link back to a folder that it lies in.
    """
    files, folders = entries(folder)
    yield folder, files, folders
    for name in folders:
        inner = folder / name
        if inner.is_symlink() and folder.resolve().is_relative_to(inner.resolve()):
            raise InputError(f"{inner}: expected a folder, found a link to a folder that it lies in.")
        yield from walk(inner)
