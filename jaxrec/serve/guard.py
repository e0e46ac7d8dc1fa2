"""What stands before every request: the token, the count, and the headers of safety."""

import hmac
import time

from pydantic_core import to_json

from jaxrec.serve import page

OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", *page.files()}  # tell nothing of data or users
HEADERS = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """An ASGI application before another."""

    def __init__(self, app, metrics, token, paths):
        """
        Args:
            app: ASGI. metrics: Metrics. token: str, or None for everyone. paths: those that are counted by name.
        """
        self._app, self._metrics, self._paths = app, metrics, paths | {"/metrics"}
        self._wanted = None if token is None else f"Bearer {token}".encode()

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
            await (self._app if self._admits(scope) else _unauthorised)(scope, receive, answer)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - begun)

    def _admits(self, scope):
        if self._wanted is None or scope["path"] in OPEN:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._wanted)


async def _unauthorised(_scope, _receive, send):
    body = to_json({"errors": [{"field": "Authorization", "message": "send the header Authorization: Bearer TOKEN"}]})
    headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
