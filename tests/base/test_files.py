"""Whole files or nothing: what is left behind when writing fails, and what a reader is told."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.base import files
from benchmark.base.files import (
    complete_files,
    read_json,
    read_table,
    replacing,
    replacing_files,
    replacing_folder,
    write_json,
    write_text,
)
from benchmark.base.records import InputError


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_whole_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "scores.csv"
    with replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not path.exists()
        assert temporary.parent == path.parent and temporary.suffix == ".csv"
        temporary.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert everything(tmp_path) == ["a", "a/b", "a/b/scores.csv"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "scores.csv"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        raise error
    assert everything(tmp_path) == ["scores.csv"]
    assert path.read_text(encoding="utf-8") == "old"


def test_results_are_as_readable_as_any_file(tmp_path):
    """Temporary files and folders are private; what they become is not."""
    write_text(tmp_path / "file", "x")
    (tmp_path / "plain file").write_text("x", encoding="utf-8")
    with replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "inside").write_text("x", encoding="utf-8")
    (tmp_path / "plain folder").mkdir()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["file"] == modes["plain file"]
    assert modes["folder"] == modes["plain folder"]


def test_a_folder_appears_whole(tmp_path):
    with replacing_folder(tmp_path / "case") as temporary:
        (temporary / "image").write_text("x", encoding="utf-8")
        assert not (tmp_path / "case").exists()
    assert everything(tmp_path) == ["case", "case/image"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_leaves_no_folder(tmp_path, error):
    with pytest.raises(type(error)), replacing_folder(tmp_path / "case") as temporary:
        (temporary / "image").write_text("x", encoding="utf-8")
        raise error
    assert everything(tmp_path) == []


def test_the_folder_of_a_faster_process_stays(tmp_path):
    with replacing_folder(tmp_path / "case") as temporary:
        (temporary / "image").write_text("slower", encoding="utf-8")
        (tmp_path / "case").mkdir()
        (tmp_path / "case" / "image").write_text("faster", encoding="utf-8")
    assert everything(tmp_path) == ["case", "case/image"]
    assert (tmp_path / "case" / "image").read_text(encoding="utf-8") == "faster"


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["write_text", "replace"])
def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "scores.csv"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, call, full)
    with pytest.raises(InputError, match=r"scores\.csv was not written: the disk is full; free some space"):
        write_text(path, "new")
    monkeypatch.undo()
    assert everything(tmp_path) == ["scores.csv"]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="case was not written: the disk is full"), replacing_folder(tmp_path / "case"):
        full()
    assert everything(tmp_path) == []
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(InputError, match="case was not written: the disk is full"), replacing_folder(tmp_path / "case"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"file/scores\.csv was not written: "):
        write_text(tmp_path / "file" / "scores.csv", "x")


def test_json_comes_back_and_keeps_its_letters(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Mönch", "list": [1, None]})
    assert "Mönch" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json", "x") == {"name": "Mönch", "list": [1, None]}


@pytest.mark.parametrize(
    "content",
    [
        b'{"half": ',
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"9" * 5000,
        b"NaN",
        b'{"a": -Infinity}',
        b"1e999",
        b'{"a": {"b": 1, "b": 2}}',
    ],
)
def test_what_is_not_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is not JSON: expected a study, found") as found:
        read_json(tmp_path / "a.json", "a study")
    assert "\n" not in str(found.value)


def test_a_key_that_stands_twice_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"c": 1, "alpha": 0.05, "alpha": 0.5}')
    with pytest.raises(InputError, match='found the key "alpha" twice in one object'):
        read_json(tmp_path / "a.json", "a study")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json cannot be read: expected a study, found: Is a directory"):
        read_json(tmp_path / "a.json", "a study")


def test_a_name_that_is_not_utf_8_is_said_and_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match=r"a was not written: expected names in UTF-8, found '\\udcff'"):
        write_text(tmp_path / "a", "case \udcff")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old" and everything(tmp_path) == ["a"]


def test_files_of_one_report_appear_together_or_not_at_all(tmp_path):
    (tmp_path / "study.json").write_text("declared", encoding="utf-8")
    (tmp_path / "report.md").write_text("old", encoding="utf-8")
    with pytest.raises(ValueError, match="no"), replacing_files(tmp_path) as temporary:
        (temporary / "report.md").write_text("new", encoding="utf-8")
        raise ValueError("no")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "old"
    with replacing_files(tmp_path) as temporary:
        (temporary / "figures").mkdir()
        (temporary / "figures" / "a.png").write_text("x", encoding="utf-8")
        (temporary / "report.md").write_text("new", encoding="utf-8")
        assert (tmp_path / "report.md").read_text(encoding="utf-8") == "old"
    assert everything(tmp_path) == ["figures", "figures/a.png", "report.md", "study.json"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "new"


OLD = {"report.md": "old", "scores.csv": "old", "methods.csv": "old", "study.json": "mine", "external/a.csv": "mine"}
NEW = {"report.md": "new", "scores.csv": "new", "figures/a.png": "new", "study.json": "mine", "external/a.csv": "mine"}


def seen(folder):
    """Texts of the files that are no hidden ones, and of those in no hidden folder."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(name): (folder / name).read_text() for name in names if not str(name).startswith(".")}


def write_new(folder):
    with replacing_files(folder) as whole:
        (whole / "figures").mkdir()
        for name in ("figures/a.png", "report.md", "scores.csv"):
            (whole / name).write_text("new")
        (whole / "methods.csv").touch()


def killed(work, folder, last):
    """Whether a process that does ``work(folder)`` was killed before its end: as it begins its step ``last`` there."""
    process = os.fork()
    if process:
        return os.WIFSIGNALED(os.waitpid(process, 0)[1])
    steps = 0

    def count(event, arguments):
        nonlocal steps
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(folder) in str(arguments[0]):
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        work(folder)
    finally:
        os._exit(0)


def test_a_kill_at_any_step_leaves_all_files_old_or_all_new(tmp_path):
    found, more = [], True
    while more:
        folder = tmp_path / str(len(found))
        for name, text in OLD.items():
            write_text(folder / name, text)
        more = killed(write_new, folder, len(found) + 1)
        # Who completes it may be killed too.
        for step in (1, 2, 3):
            killed(complete_files, folder, step)
        complete_files(folder)
        found.append(seen(folder))
        files._remove_leftovers.cache_clear()
        write_text(folder / "study.json", "mine")
        figures = ["figures"] if "figures/a.png" in found[-1] else []
        assert everything(folder) == sorted([*found[-1], *figures, "external"])
    committed = found.index(NEW)
    assert found == [OLD] * committed + [NEW] * (len(found) - committed)
    assert committed > 5 and len(found) - committed > 5


def test_a_sentence_names_the_place_where_a_file_would_have_stood(tmp_path):
    with pytest.raises(InputError) as found, replacing_files(tmp_path) as whole:
        (whole / "a.json").write_text("[")
        read_json(whole / "a.json", "a study")
    assert str(found.value).startswith(f"{tmp_path}/a.json is not JSON")
    assert everything(tmp_path) == []


def test_a_number_that_no_column_can_hold_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"fold\n{'9' * 30}\n1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected numbers in the column fold, found '?9{30}"):
        read_table(path, "a table", numbers=["fold"])
    with pytest.raises(InputError, match=r"a\.csv is not a table: it has a number that is too large"):
        read_table(path, "a table", dtype={"fold": int})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.json does not exist: expected a study\."):
        read_json(tmp_path / "a.json", "a study")


def test_what_a_killed_process_was_writing_is_removed_by_the_next_one(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from benchmark.base.files import replacing, replacing_folder\n"
        "with replacing(Path(sys.argv[1], 'a')) as file, replacing_folder(Path(sys.argv[1], 'b')):\n"
        "    file.touch(); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    process.stdout.read(1)
    assert len(everything(tmp_path)) == 2
    write_text(tmp_path / "c", "of a process beside it")
    assert len(everything(tmp_path)) == 3
    process.kill()
    process.wait()
    files._remove_leftovers.cache_clear()
    write_text(tmp_path / "c", "after it")
    assert everything(tmp_path) == ["c"]
