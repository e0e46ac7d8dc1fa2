"""Middleware for all requests: checks host, token and queue, counts requests, and adds security headers."""

import hmac
import os
import time
from collections.abc import Callable, Container
from functools import partial

from pydantic_core import to_json
from starlette.types import ASGIApp

from jaxrec.serve import page
from jaxrec.serve.hosts import Hosts
from jaxrec.serve.metrics import Metrics
from jaxrec.system.console import printable

SHOWN = 300  # maximum characters of a message
FULL = "too many requests wait: try again later"
MORE = {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", b"1")]}  # headers of refusals, by status
OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", *page.files()}  # reveal nothing of data or users
HEADERS = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class AuthMiddleware:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        token: str | None,
        hosts: Hosts,
        paths: set[str],
        asking: Container[str] = (),
        is_full: Callable[[], bool] = lambda: False,
    ):
        """Wraps an application.

        Args:
            app: the ASGI application.
            metrics: Metrics.
            token: the required token, or None.
            hosts: accepted Hosts.
            paths: paths with their own label in the metrics.
            asking: paths whose POST requests have bodies.
            is_full: whether no more requests can wait. Requests with bodies are then refused before they are read.
        """
        self._app, self._metrics, self._hosts, self._paths = app, metrics, hosts, paths | {"/metrics"}
        self._token = None if token is None else os.fsencode(token)
        self._asking, self._is_full = asking, is_full

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def answer(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            await (self._refusal(scope) or self._app)(scope, receive, answer)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - begun)

    def _refusal(self, scope):
        """Returns the ASGI application that rejects the request, or None to accept it."""
        if trouble := self._hosts.trouble(scope["headers"]):
            return partial(_refuse, *trouble)
        if scope["path"] not in OPEN and not self._bears_token(scope):
            return partial(_refuse, 401, "Authorization", "send the header Authorization: Bearer TOKEN")
        if scope["method"] == "POST" and scope["path"] in self._asking and self._is_full():
            return partial(_refuse, 503, None, FULL)
        return None

    def _bears_token(self, scope):
        if self._token is None:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.strip().partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


async def _refuse(status, field, message, _scope, _receive, send):
    body = to_json({"errors": [{"field": field, "message": printable(message, SHOWN)}]})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += MORE.get(status, ())
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
