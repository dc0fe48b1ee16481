import errno
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from benchmark.base.records import InputError
from benchmark.data import fetch as module
from benchmark.data.fetch import fetch

REPOSITORY = Path(__file__).parents[2]


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = tar(
    {"Task01_BrainTumour/dataset.json": b"{}", "Task01_BrainTumour/imagesTr/a.nii.gz": bytes(range(256)) * 900}
)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; ``cuts`` are the bytes sent before each of the next connections breaks."""

    content = CONTENT
    ranges = True
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts, self.asked = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/Task01_BrainTumour.tar"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if server.status != 200:
            return self.send_error(server.status)
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            return self.end_headers()
        body = server.content[start:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(module, "PAUSE_S", 0)
    monkeypatch.setattr(module, "CHUNK", 10_000)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_and_unpack(server, tmp_path):
    steps = []
    text = fetch("msd_brain", tmp_path / "new", server.url, MD5, progress=lambda *step: steps.append(step))
    assert "benchmark data scan msd_brain" in text
    assert "CC BY-SA 4.0" in text
    assert names(tmp_path / "new") == ["Task01_BrainTumour"]
    unpacked = tmp_path / "new" / "Task01_BrainTumour"
    assert (unpacked / "imagesTr" / "a.nii.gz").read_bytes() == bytes(range(256)) * 900
    assert len(steps) > 10
    asked = len(server.asked)
    assert fetch("msd_brain", tmp_path / "new", server.url, MD5) == text
    assert len(server.asked) == asked


def test_broken_connections_are_continued(server, tmp_path):
    server.cuts = [100_000, 50_000, 0]
    fetch("msd_brain", tmp_path, server.url, MD5)
    assert server.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert names(tmp_path) == ["Task01_BrainTumour"]


def test_an_earlier_part_is_continued_after_giving_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    server.cuts = [70_000, 0, 0]
    with pytest.raises(InputError, match=r"70000 bytes are kept in .*Task01_BrainTumour\.tar\.part, and the same"):
        fetch("msd_brain", tmp_path, server.url, MD5)
    assert names(tmp_path) == ["Task01_BrainTumour.tar.part"]
    assert (tmp_path / "Task01_BrainTumour.tar.part").read_bytes() == CONTENT[:70_000]
    fetch("msd_brain", tmp_path, server.url, MD5)
    assert server.asked[-1] == "bytes=70000-"
    assert names(tmp_path) == ["Task01_BrainTumour"]


def test_servers_without_ranges_and_parts_that_do_not_fit(server, tmp_path):
    (tmp_path / "Task01_BrainTumour.tar.part").write_bytes(b"x" * 1000)
    server.ranges = False
    fetch("msd_brain", tmp_path, server.url, MD5)
    assert names(tmp_path) == ["Task01_BrainTumour"]
    server.ranges = True
    for size in (len(CONTENT), len(CONTENT) + 5):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "Task01_BrainTumour.tar.part").write_bytes(CONTENT.ljust(size))
        fetch("msd_brain", folder, server.url, MD5)
        assert names(folder) == ["Task01_BrainTumour"]


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match=r"Task01_BrainTumour\.tar: expected an archive with MD5 0+, found another"):
        fetch("msd_brain", tmp_path, server.url, "0" * 32)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:100_000], "expected a whole .tar archive"),
        (b"<html>not found</html>" * 50, "expected a whole .tar archive"),
        (tar({"other/a": b"a"}), "no folder Task01_BrainTumour in it"),
        (tar({"Task01_BrainTumour/a": b"a", "../outside": b"b"}), "expected a whole .tar archive"),
    ],
)
def test_archives_that_cannot_be_unpacked(server, tmp_path, content, message):
    server.content = content
    folder = tmp_path / "in"
    with pytest.raises(InputError, match=message):
        fetch("msd_brain", folder, server.url)
    assert names(folder) == []
    assert names(tmp_path) == ["in"]


def test_refusing_and_absent_servers(server, tmp_path):
    server.status = 404
    with pytest.raises(InputError, match=r"Task01_BrainTumour\.tar: expected a file, found HTTP status 404"):
        fetch("msd_brain", tmp_path, server.url, MD5)
    assert len(server.asked) == 1
    server.status = 503
    with pytest.raises(InputError, match=r"HTTP status 503.*; 0 bytes are kept"):
        fetch("msd_brain", tmp_path, server.url, MD5)
    with pytest.raises(InputError, match=r"refused"):
        fetch("msd_brain", tmp_path, "http://127.0.0.1:9/Task01_BrainTumour.tar", MD5)
    assert names(tmp_path) == []


def test_a_full_disk(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_continue", full)
    with pytest.raises(InputError, match=r"BrainTumour\.tar\.part: expected room for .* No space left on device"):
        fetch("msd_brain", tmp_path, server.url, MD5)


def test_address_and_checksum_are_monais(server, tmp_path, monkeypatch):
    datasets = pytest.importorskip("monai.apps.datasets")
    asked = []
    monkeypatch.setattr(module, "download", lambda url, path, progress: asked.append(url))
    monkeypatch.setattr(module, "unpack", lambda archive, target, md5: asked.append(md5))
    fetch("msd_brain", tmp_path)
    dataset = datasets.DecathlonDataset
    assert asked == [dataset.resource["Task01_BrainTumour"], dataset.md5["Task01_BrainTumour"]]


def test_sets_behind_a_registration(monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    text = fetch("brats2021", tmp_path / "out")
    assert "registration" in text
    assert "https://www.synapse.org/" in text
    assert "benchmark data scan brats2021 FOLDER" in text
    assert not (tmp_path / "out").exists()
    assert "generated on first use" in fetch("phantom", tmp_path)
    with pytest.raises(InputError, match="nothing is not a known data set"):
        fetch("nothing", tmp_path)
