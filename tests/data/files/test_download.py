"""A download is complete or absent: interrupted, changed, damaged, refused, on a full disk, twice at once."""

import contextlib
import hashlib
import http.server
import io
import os
import threading
from functools import partial

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from jaxrec.data.files import download as module
from jaxrec.data.files.download import download
from jaxrec.system.errors import UserError

DATA = bytes(range(256)) * 400
MD5 = hashlib.md5(DATA).hexdigest()
GOOD = {
    "md5": MD5,
    "sha256": hashlib.sha256(DATA).hexdigest(),
    "git": hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest(),
}


class Server(http.server.ThreadingHTTPServer):
    """Serves `data` under any name, cut, changed or refused as a test says; records the requests and the bytes sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/file.zip"
        self.data, self.others, self.etag, self.date = DATA, {}, '"one"', "a day"
        self.cuts, self.statuses, self.ranges, self.surplus = [], [], True, 0
        self.asked, self.sent, self.begun, self.gate = [], 0, threading.Event(), threading.Event()
        self.gate.set()  # sending waits for it after the first half


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        data = server.others.get(self.path, server.data)
        server.asked.append(wanted)
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        strong = None if (server.etag or "W/").startswith("W/") else server.etag
        fits = self.headers.get("If-Range") in {strong, server.date} - {None}
        start = int(wanted[len("bytes=") : -1]) if wanted and fits and server.ranges else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        for name, value in {
            "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}" if start else None,
            "Content-Length": str(len(data) - start + server.surplus),
            "ETag": server.etag,
            "Last-Modified": server.date,
        }.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        stop = server.cuts.pop(0) if server.cuts else len(data)
        half = (start + stop) // 2
        for piece in (data[start:half], data[half:stop]):
            server.sent += len(piece)  # counted before sending: the client may finish first
            self.wfile.write(piece)
            server.begun.set()
            server.gate.wait(20)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    server = Server()
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.005), daemon=True).start()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.0)
    monkeypatch.setenv("no_proxy", "*")


def fetch(url, path, checksum=None):
    """Downloads quietly; returns what would have been printed."""
    told = io.StringIO()
    download(url, path, checksum=checksum, console=Console(file=told, width=500))
    return told.getvalue()


def left(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("checksum", [None, *(f"{kind}:{digits}" for kind, digits in GOOD.items())])
def test_a_file_comes_whole_into_a_new_folder_and_once(server, tmp_path, checksum):
    path = tmp_path / "new" / "file.zip"
    assert f"downloading {server.url} (102.4 kB)" in fetch(server.url, path, checksum)
    assert fetch(server.url, path, checksum) == ""
    assert path.read_bytes() == DATA
    assert left(path.parent) == ["file.zip"]
    assert server.asked == [None]


@given(
    cuts=st.lists(st.integers(1, len(DATA)), max_size=12, unique=True).map(sorted),
    headers=st.sampled_from([('"one"', None), (None, "a day"), ('W/"weak"', "a day"), ('"one"', "a day")]),
)
def test_a_cut_file_goes_on_where_it_was_cut(tmp_path_factory, cuts, headers):
    folder = tmp_path_factory.mktemp("cut")
    with serving() as server:
        server.cuts, (server.etag, server.date) = list(cuts), headers
        fetch(server.url, folder / "file.zip", f"md5:{MD5}")
    assert (folder / "file.zip").read_bytes() == DATA
    assert left(folder) == ["file.zip"]
    assert server.sent == len(DATA)
    assert server.asked == [None] + [f"bytes={cut}-" for cut in cuts if cut < len(DATA)]


@pytest.mark.parametrize("without", ["ranges", "headers"])
def test_a_server_without_ranges_starts_anew(server, tmp_path, without):
    if without == "ranges":
        server.ranges = False
    else:
        server.etag = server.date = None
    server.cuts = [50_000, 60_000]
    fetch(server.url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == DATA
    assert server.sent == 50_000 + 60_000 + len(DATA)


def test_a_file_that_is_never_whole_is_given_up_and_gone_on_with(server, tmp_path):
    path = tmp_path / "file.zip"
    server.cuts = [30_000] * (module.RETRIES + 2)
    with pytest.raises(UserError, match=rf"{server.url}: cut after 30,000 of 102,400 bytes.* put it as {path}"):
        fetch(server.url, path)
    assert "file.zip" not in left(tmp_path)
    assert len(server.asked) == 2 + module.RETRIES - 1
    server.cuts = []
    fetch(server.url, path)
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA)


@pytest.mark.parametrize("changed", ["file", "url"])
def test_another_file_is_not_joined_to_the_part(server, tmp_path, changed):
    server.cuts = [30_000] * 10
    with pytest.raises(UserError):
        fetch(server.url, tmp_path / "file.zip")
    server.cuts, server.data, url = [], DATA[::-1], server.url
    if changed == "file":
        server.etag, server.date = '"two"', "another day"
    else:
        url += "?another"
    fetch(url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == DATA[::-1]


@pytest.mark.parametrize("kind", [*GOOD, "md5-url"])
def test_another_checksum_leaves_nothing(server, tmp_path, kind):
    digits = "0" * len(GOOD.get(kind, MD5))
    server.others["/sum"] = f"MD5 (file.zip) = {digits}\n".encode()
    checksum = f"{kind}:{server.url.replace('file.zip', 'sum') if kind == 'md5-url' else digits}"
    with pytest.raises(UserError, match=f"checksum differs .* instead of {digits}") as caught:
        fetch(server.url, tmp_path / "file.zip", checksum)
    assert f"put it as {tmp_path / 'file.zip'}" in str(caught.value)
    assert left(tmp_path) == []


def test_a_published_md5_is_fetched(server, tmp_path):
    url = server.url.replace("file.zip", "sum")
    server.others["/sum"] = f"{MD5.upper()}  file.zip\n".encode()
    fetch(server.url, tmp_path / "file.zip", f"md5-url:{url}")
    assert left(tmp_path) == ["file.zip"]
    server.others["/sum"] = b"<html>moved"
    with pytest.raises(UserError, match=f"{url}: no MD5 of 32 digits"):
        fetch(server.url, tmp_path / "again.zip", f"md5-url:{url}")
    server.statuses = [404]
    with pytest.raises(UserError, match=f"{url}: HTTP Error 404"):
        fetch(server.url, tmp_path / "again.zip", f"md5-url:{url}")
    assert not (tmp_path / "again.zip").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_length_that_is_never_reached_is_refused(server, tmp_path, ranges):
    server.surplus, server.ranges = 10, ranges
    with pytest.raises(UserError, match=r"after [\d,]+ of 102,410 bytes"):
        fetch(server.url, tmp_path / "file.zip")
    assert "file.zip" not in left(tmp_path)


def test_a_status_says_what_to_do_or_passes(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(UserError, match=f"HTTP Error 404: .* by other means and put it as {tmp_path / 'file.zip'}"):
        fetch(server.url, tmp_path / "file.zip")
    assert "file.zip" not in left(tmp_path)
    assert len(server.asked) == 1
    server.statuses = [500, 503, 429]
    assert "HTTP Error 500: " in fetch(server.url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == DATA
    server.statuses = [500] * 10
    with pytest.raises(UserError, match="HTTP Error 500: "):
        fetch(server.url, tmp_path / "another.zip")


def test_without_a_network_the_file_may_be_put_there_by_hand(tmp_path):
    with serving() as server:
        pass
    with pytest.raises(UserError, match=rf"{server.url}: no connection \(.*refused\).* put it as {tmp_path}/file.zip"):
        fetch(server.url, tmp_path / "file.zip")


def test_a_network_that_goes_away_is_waited_for(server, tmp_path, monkeypatch):
    """Once some bytes have come, a lost connection is an interruption like any other."""
    real, refusals = module.urllib.request.urlopen, [False, True, True]

    def unsteady(*args, **kwargs):
        if refusals and refusals.pop(0):
            raise module.urllib.error.URLError(ConnectionRefusedError())
        return real(*args, **kwargs)

    monkeypatch.setattr(module.urllib.request, "urlopen", unsteady)
    server.cuts = [30_000]
    fetch(server.url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == DATA


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_says_how_much_to_free(server, tmp_path):
    (tmp_path / "file.zip.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=rf"disk is full: free 102.4 kB of disk space in {tmp_path}"):
        fetch(server.url, tmp_path / "file.zip")
    assert "file.zip" not in left(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"cannot be written \(.+\): make {tmp_path}/file a folder that you can write"):
        fetch(server.url, tmp_path / "file" / "file.zip")
    if os.geteuid():  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match=rf"cannot be written \(.+\): make {tmp_path} a folder"):
            fetch(server.url, tmp_path / "file.zip")


def test_an_interrupted_download_goes_on(server, tmp_path, monkeypatch):
    def interrupted(response):
        yield response.read(40_000)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_chunks", interrupted)
        fetch(server.url, tmp_path / "file.zip")
    assert left(tmp_path) == ["file.zip.part", "file.zip.part.tag"]
    fetch(server.url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == DATA
    assert left(tmp_path) == ["file.zip"]
    assert server.asked == [None, "bytes=40000-"]


@pytest.mark.parametrize("fails", [False, True])
def test_two_at_once_bring_it_once(server, tmp_path, fails):
    """The second process waits for the first: it takes the finished file, or resumes where the first failed."""
    path, told, failures = tmp_path / "file.zip", [io.StringIO(), io.StringIO()], []
    server.gate.clear()
    server.cuts = [30_000] + [30_000] * module.RETRIES if fails else []

    def one(which):
        try:
            download(server.url, path, checksum=f"md5:{MD5}", console=Console(file=told[which], width=500))
        except UserError:
            failures.append(which)

    threads = [threading.Thread(target=one, args=(which,)) for which in (0, 1)]
    threads[0].start()
    assert server.begun.wait(20)
    threads[1].start()
    for _ in range(1000):
        if waits := "another process is downloading" in told[1].getvalue():
            break
        threads[1].join(0.01)
    assert waits
    server.gate.set()
    for thread in threads:
        thread.join(20)
    assert failures == ([0] if fails else [])
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA)
    assert left(tmp_path) == ["file.zip"]
