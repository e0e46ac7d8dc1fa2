"""Connections to clients that may be slow, silent, or too many: each is given so long, and is then closed."""

from typing import Any

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from jaxrec.serve.limits import Limits
from jaxrec.serve.metrics import Metrics

HEAD = 1 << 16  # bytes of the head of a request at most
PATIENCE = 1.0  # seconds without a request after which a connection makes room for another
PARTING, LEAVING = 2.0, 32  # seconds in which a client takes the last answer; how many may be doing so


class Crowd:
    """The connections of a server: how many there are, and which of them wait for a request."""

    def __init__(self, limits: Limits, metrics: Metrics):
        """
        Args:
            limits: Limits.
            metrics: Metrics.
        """
        self.limits, self.metrics = limits, metrics
        self.inside, self.leaving = set(), {}  # leaving: those that have their last answer, the earliest first
        self.waiting = {}  # connection -> since when it waits for a request, the longest first
        metrics.connections.set_function(lambda: len(self.inside))

    def enter(self, connection: "Connection", now: float) -> bool:
        """Whether there is room for one more, where need be in place of the one that has waited longest."""
        if len(self.inside) >= self.limits.connections:
            first = next(iter(self.waiting), None)
            if first is None or now - self.waiting[first] < PATIENCE:
                return False
            first.end("crowded")
        self.inside.add(connection)
        return True

    def leave(self, connection: "Connection") -> None:
        """The connection counts no more."""
        self.inside.discard(connection)
        self.waiting.pop(connection, None)

    def part(self, connection: "Connection") -> None:
        """The connection takes its last answer; only the latest LEAVING have time for that."""
        self.leave(connection)
        if len(self.leaving) >= LEAVING:
            self.gone(next(iter(self.leaving)))
        self.leaving[connection] = None

    def gone(self, connection: "Connection") -> None:
        """Close the connection as it is."""
        self.leaving.pop(connection, None)
        connection.transport.abort()


class Connection(HttpToolsProtocol):
    """One connection, which is closed when the client owes something for longer than `limits.transfer`.

    It owes the head of a request when it has connected or has sent a part of it, the rest of a body when it has been
    answered before, and room for an answer that is being sent. (The body of a request that is being answered is under
    the deadline of the request.) Between requests it may be silent for `limits.idle`.
    """

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any):
        super().__init__(*arguments, **named)
        self._crowd, self._limits = crowd, crowd.limits
        self.timeout_keep_alive = crowd.limits.idle
        self._timer, self._head = None, None  # _head: bytes so far of the head that is being sent
        self._running = None  # the request that is being answered; `cycle` is the last that came
        self._answered = False  # for the last time

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._crowd.enter(self, self.loop.time()):
            self._crowd.waiting[self] = self.loop.time()
            self._mind()
        else:
            self._part(503, "too many connections: come again later", "refused", b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._forgive()
        self._unset_keepalive_if_required()
        self._crowd.leave(self)
        self._crowd.leaving.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return  # it is read, so that the last answer is not lost, and goes nowhere
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
        if self._head is not None:  # after it these are trailers of the body, which nobody asked for
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head = None
        self._forgive()
        self._crowd.waiting.pop(self, None)
        self._place_host()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.cycle.more_body = False  # also where it was answered before

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
        """Close the connection now, whether or not the client has taken what was sent. why: for the metrics."""
        self._crowd.metrics.closed.labels(why).inc()
        self._crowd.leave(self)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _owes(self):
        """Whether it is the client's turn."""
        cycle = self.cycle
        if self._head is not None or cycle is None or self.flow.write_paused:
            return True
        unread = self.transport.get_write_buffer_size()
        return cycle.response_complete and bool(cycle.more_body or unread or self.timeout_keep_alive_task is None)

    def _mind(self):
        """Let the clock run where it is the client's turn. It isn't set back by a part of what is owed."""
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
        """Give the last answer, and close the connection once the client has taken it, or PARTING seconds later."""
        self._crowd.metrics.closed.labels(why).inc()
        self._crowd.part(self)
        self._forgive()
        self._unset_keepalive_if_required()
        self._answered = True
        for cycle in filter(None, (self._running, self.cycle)):
            cycle.disconnected = True  # what it still answers goes nowhere
            cycle.message_event.set()
        self.pipeline.clear()
        body = to_json({"errors": [{"field": None, "message": message}]})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(b"".join([STATUS_LINE[status], head, more, b"\r\n", body]))
        self.transport.write_eof()  # closed at once, what the client still sends would take the answer from it
        self._timer = self.loop.call_later(PARTING, self._crowd.gone, self)

    def _place_host(self):
        """A request for a whole address is one for the host that it names, whatever its Host says (RFC 9112, 3.2.2)."""
        if self.url.startswith(b"/"):
            return
        target = httptools.parse_url(self.url)
        if target.host and target.path:
            port = b":%d" % target.port if target.port else b""
            self.headers[:] = [each for each in self.headers if each[0] != b"host"]
            self.headers.append((b"host", target.host + port))
