"""Limits the number of connections, and closes those to slow or silent clients."""

from typing import Any

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from jaxrec.serve.limits import Limits
from jaxrec.serve.metrics import Metrics

HEAD = 1 << 16  # maximum bytes of a request's head
PATIENCE = 1.0  # seconds of silence after which a connection may be closed for another
PARTING, LEAVING = 2.0, 32  # seconds for a client to receive the last answer, and maximum number of such connections


class Crowd:
    """The connections of a server, and which of them wait for a request."""

    def __init__(self, limits: Limits, metrics: Metrics):
        """Starts without connections.

        Args:
            limits: Limits.
            metrics: Metrics.
        """
        self.limits, self.metrics = limits, metrics
        self.inside, self.leaving = set(), {}  # leaving: have their last answer, earliest first
        self.waiting = {}  # connection -> time since which it has been waiting for a request, longest first

    def enter(self, connection: "Connection", now: float) -> bool:
        """Returns whether a connection is accepted, possibly by closing the one that has waited longest."""
        if len(self.inside) >= self.limits.connections:
            first = next(iter(self.waiting), None)
            if first is None or now - self.waiting[first] < PATIENCE:
                return False
            first.end("crowded")
        self.inside.add(connection)
        self._count()
        return True

    def leave(self, connection: "Connection") -> None:
        """Stops counting the connection."""
        self.inside.discard(connection)
        self.waiting.pop(connection, None)
        self._count()

    def part(self, connection: "Connection") -> None:
        """Lets the connection receive its last answer; only the latest LEAVING may still do so."""
        self.leave(connection)
        if len(self.leaving) >= LEAVING:
            self.gone(next(iter(self.leaving)))
        self.leaving[connection] = None

    def gone(self, connection: "Connection") -> None:
        """Aborts the connection."""
        self.leaving.pop(connection, None)
        connection.transport.abort()

    def _count(self):
        self.metrics.connections.set(len(self.inside))


class Connection(HttpToolsProtocol):
    """A connection that is closed if the client keeps it waiting for longer than `limits.transfer`.

    The client keeps it waiting if it hasn't sent a complete head after connecting or beginning one, hasn't sent the
    rest of a body that was already answered, or doesn't receive an answer. (The body of a request in progress is
    subject to the request's deadline.) Between requests, `limits.idle` applies.
    """

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any):
        super().__init__(*arguments, **named)
        self._crowd, self._limits = crowd, crowd.limits
        self.timeout_keep_alive = crowd.limits.idle
        self._timer, self._head = None, None  # _head: bytes received of an incomplete head
        self._running = None  # request being answered; `cycle` is the latest received
        self._answered = False  # whether the last answer was sent

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._crowd.enter(self, self.loop.time()):
            self._crowd.waiting[self] = self.loop.time()
            self._mind()
        else:
            self._part(503, "too many connections: try again later", "refused", b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._forgive()
        self._unset_keepalive_if_required()
        self._crowd.leave(self)
        self._crowd.leaving.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return  # read and discarded, so that the client can receive the last answer
        super().data_received(data)
        if self._head is not None and not self._answered:
            self._head += len(data)
            if self._head > HEAD:
                self._part(431, f"the head of a request is longer than {HEAD} bytes", "malformed")
        self._mind()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is not None:  # otherwise trailers of the body, which are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head = None
        self._forgive()
        self._crowd.waiting.pop(self, None)
        self._place_host()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.cycle.more_body = False  # also if it was answered before

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._crowd.waiting[self] = self.loop.time()
        self._mind()

    def _start_asgi_task(self, cycle, app):
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._mind()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._answered and not self._owes():
            self._forgive()

    def send_400_response(self, msg: str) -> None:
        self._part(400, "this is no HTTP request", "malformed")

    def timeout_keep_alive_handler(self) -> None:
        self.end("idle")

    def end(self, why: str) -> None:
        """Closes the connection now, even if the client hasn't received everything. `why`: label of the metric."""
        self._crowd.metrics.closed.labels(why).inc()
        self._crowd.leave(self)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _owes(self):
        """Returns whether the server waits for the client."""
        cycle = self.cycle
        if self._head is not None or cycle is None or self.flow.write_paused:
            return True
        unread = self.transport.get_write_buffer_size()
        return cycle.response_complete and bool(cycle.more_body or unread or self.timeout_keep_alive_task is None)

    def _mind(self):
        """Starts the timer if the server waits for the client. Partial data doesn't reset it."""
        if self._timer is None and self._owes():
            self._timer = self.loop.call_later(self._limits.transfer, self._late)

    def _forgive(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self):
        self._timer = None
        if self._head and not self.transport.get_write_buffer_size():
            self._part(408, f"the head of the request took more than {self._limits.transfer} s", "slow")
        elif self._owes():
            self.end("slow")

    def _part(self, status, message, why, more=b""):
        """Sends the last answer, and closes the connection once it is received, or after PARTING seconds."""
        self._crowd.metrics.closed.labels(why).inc()
        self._crowd.part(self)
        self._forgive()
        self._unset_keepalive_if_required()
        self._answered = True
        for cycle in filter(None, (self._running, self.cycle)):
            cycle.disconnected = True  # discard answers still in progress
            cycle.message_event.set()
        self.pipeline.clear()
        body = to_json({"errors": [{"field": None, "message": message}]})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(b"".join([STATUS_LINE[status], head, more, b"\r\n", body]))
        self.transport.write_eof()  # if closed at once, further data from the client would make it lose the answer
        self._timer = self.loop.call_later(PARTING, self._crowd.gone, self)

    def _place_host(self):
        """Uses the host of an absolute request URL instead of the Host header (RFC 9112, 3.2.2)."""
        if self.url.startswith(b"/"):
            return
        target = httptools.parse_url(self.url)
        if target.host and target.path:
            port = b":%d" % target.port if target.port else b""
            self.headers[:] = [each for each in self.headers if each[0] != b"host"]
            self.headers.append((b"host", target.host + port))
