"""Clients that are slow, silent or too many are closed in time, and others are answered, by a server of a few lines."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from jaxrec.serve import connections
from jaxrec.serve.connections import LEAVING, Crowd
from jaxrec.serve.limits import Limits
from jaxrec.serve.metrics import Metrics
from jaxrec.serve.server import configuration

from .conftest import until

MOST, TRANSFER, IDLE = 4, 0.25, 0.4
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def app(scope, receive, send):
    """Answers at once, without reading a body; /large sends more than any buffer holds, /wait reads the whole body."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/wait":
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
    body = b"x" * (20_000_000 if scope["path"] == "/large" else 2)
    headers = [(b"content-length", b"%d" % len(body)), (b"seen", b"%d" % len(scope["headers"]))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Running(uvicorn.Server):
    """A server in a thread."""

    def __init__(self):
        self.crowd = Crowd(Limits(connections=MOST, transfer=TRANSFER, idle=IDLE), Metrics())
        super().__init__(configuration(app, self.crowd))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self.run, args=([self._listening],), daemon=True)
        self._thread.start()
        until(lambda: self.started)

    def connect(self):
        client = socket.create_connection(self._listening.getsockname())
        client.settimeout(10)
        return client

    def stop(self):
        self.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def running():
    server = Running()
    yield server
    server.stop()


@pytest.fixture
def server(running):
    until(lambda: not running.crowd.inside and not running.crowd.leaving, 5)
    return running


def everything(client):
    """Everything that is received until the connection is closed."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := client.recv(1 << 16):
            said += more
    return said


def dribble(client, data, every=0.05):
    """Sends bytes, a few at a time, until the other side has closed; returns the seconds that this took."""
    begun = time.monotonic()
    client.settimeout(every)
    while time.monotonic() < begun + 10:
        with contextlib.suppress(TimeoutError):
            if not client.recv(1 << 16, socket.MSG_PEEK):
                break
            time.sleep(every)  # the answer is there, but the connection is still open
        try:
            client.sendall(data)
        except ConnectionError:
            break
    client.settimeout(10)
    return time.monotonic() - begun


def answered(client, request=GET):
    client.sendall(request)
    return client.recv(1 << 16).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("first", "then", "status", "why"),
    [
        (b"", None, None, "slow"),
        (b"GET / HT", None, b"408", "slow"),
        (b"", b"\r\n", None, "slow"),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n", b"408", "slow"),
        (GET, None, b"200", "idle"),
        (GET, b"\r\n", b"200", "slow"),
        (GET + b"GET /", None, b"200", "slow"),
        (b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", b"x", b"200", "slow"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"200", "slow"),
        (b"GET /large HTTP/1.1\r\n\r\n", None, None, "slow"),
        (b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n", None, None, "slow"),
        (b"GET /large HTTP/1.1\r\n\r\n" + GET * 3, None, None, "slow"),
        (b"\x16\x03\x01 no HTTP\r\n\r\n", None, b"400", "malformed"),
        (GET + b"no HTTP\r\n\r\n", None, None, "malformed"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", None, b"400", "malformed"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, None, b"431", "malformed"),
    ],
)
def test_who_keeps_it_waiting_is_closed(server, first, then, status, why):
    count = server.crowd.metrics.closed.labels(why)._value.get
    before = count()
    with server.connect() as client:
        client.sendall(first)
        if then:
            dribble(client, then)
        if b"/large" not in first:  # that answer is left unread
            said = everything(client)
            assert (said.split()[1] == status) if status else (not said or why == "malformed")
        until(lambda: count() == before + 1, 5)


def test_who_goes_on_is_kept(server):
    with server.connect() as client:
        end = time.monotonic() + 3 * TRANSFER
        client.sendall(GET[:10])
        while time.monotonic() < end:  # always in the middle of a request's head
            client.sendall(GET[10:] + GET[:10])
            assert b" 200 " in client.recv(1 << 16)
            time.sleep(TRANSFER / 4)


def test_trailers_go_nowhere(server):
    with server.connect() as client:
        head = b"POST /wait HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"0\r\nHost: a\r\nAuthorization: b\r\n\r\n")
        assert b"seen: 1\r\n" in client.recv(1 << 16)


def test_one_too_many_is_told_so_until_another_has_waited_long(server, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(MOST)]
        until(lambda: len(server.crowd.inside) == MOST, 5)
        with server.connect() as client:
            client.sendall(GET)
            said = everything(client)
            assert said.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in said and b"too many connections" in said
        time.sleep(0.2)
        with server.connect() as client:
            assert answered(client) == b"HTTP/1.1 200 OK"
        assert not everything(silent[0])  # the one that had waited longest is closed


def test_who_is_being_answered_is_not_put_out(server, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0)
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(server.connect()) for _ in range(MOST)]
        for client in busy:
            client.sendall(b"POST /wait HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
        until(lambda: len(server.crowd.inside) == MOST and not server.crowd.waiting, 5)
        with server.connect() as client:
            assert answered(client).startswith(b"HTTP/1.1 503 ")
        assert {answered(client, b"x") for client in busy} == {b"HTTP/1.1 200 OK"}


def test_of_many_too_many_the_last_is_told_so(server):
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(server.connect()) for _ in range(MOST + 3 * LEAVING)]
        with server.connect() as client:
            client.sendall(GET)
            assert b"too many connections" in everything(client)
        assert len(server.crowd.leaving) <= LEAVING and len(server.crowd.inside) == MOST
        assert all(everything(client) for client in many[-LEAVING:])


def test_a_stop_waits_for_nobody_who_is_silent():
    server = Running()
    with server.connect() as silent, server.connect() as half:
        half.sendall(b"GET / H")
        until(lambda: len(server.crowd.inside) == 2, 5)
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() < begun + 5 and not everything(silent)
