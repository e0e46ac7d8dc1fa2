"""Reads the bodies of requests, and turns answers and errors into responses."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from jaxrec.serve import parsing, schema
from jaxrec.serve.limits import Limits
from jaxrec.serve.openapi import Endpoint
from jaxrec.serve.schema import RequestError, busy
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError


def routes(endpoints: list[Endpoint], limits: Limits) -> list[Route]:
    """Returns the routes of endpoints, one per path, so that an error for a wrong method lists all methods of the path.

    Args:
        endpoints: the endpoints.
        limits: as for `handler`.
    """
    paths: dict[str, dict[str, Callable]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method] = handler(each, limits)
    return [Route(path, _by_method(handlers), methods=list(handlers)) for path, handlers in paths.items()]


def _by_method(handlers):
    async def handle(request):
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


def handler(endpoint: Endpoint, limits: Limits) -> Callable:
    """Returns the handler of an endpoint: it reads and checks the body, and answers in time, or with an error.

    Args:
        endpoint: the endpoint.
        limits: the Limits, for the deadline and the size of the body.
    """

    async def handle(request):
        asked = None
        try:
            async with asyncio.timeout(limits.deadline):
                asked = request if endpoint.body is None else await _read(request, endpoint.body, limits)
                return _json(await endpoint.handler(asked))
        except TimeoutError:
            if asked is None:
                raise RequestError(408, None, f"the body took more than {limits.deadline} s") from None
            raise busy(f"no answer within {limits.deadline} s") from None

    return handle


async def _read(request, model, limits):
    """Returns the parsed body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # other types can be sent by other sites without CORS preflight
        raise RequestError(415, "Content-Type", "send the body as application/json, as curl does with --json")
    too_long = RequestError(413, None, f"the body is longer than {limits.body} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body:
        raise too_long
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > limits.body:
                raise too_long
    except ClientDisconnect:
        raise RequestError(400, None, "the body ended early") from None
    return parsing.parse(model, bytes(body))


def _json(value, status=200, headers=None):
    return Response(to_json(value, inf_nan_mode="null"), status, headers, "application/json")


def fixed(content: bytes, kind: str) -> Callable:
    """Returns the handler of a static file with a content type."""

    async def handle(_request):
        return Response(content, media_type=kind)

    return handle


def _wrong(_request, error):
    return _json({"errors": error.errors}, error.status, error.headers)


def _mistake(_request, error):
    """Answers 404 for an engine's UserError, with the field if its message names one."""
    name, colon, message = str(error).partition(": ")
    named = bool(colon) and name.replace("_", "").isalpha()
    said = printable(message if named else str(error), schema.LONG)
    return _json({"errors": [{"field": name if named else None, "message": said}]}, 404)


def _refused(_request, error):
    return _json({"errors": [{"field": None, "message": error.detail}]}, error.status_code, error.headers)


def _failed(_request, _error):
    return _json({"errors": [{"field": None, "message": "the service failed; its log says why"}]}, 500)


#: {exception: (request, exception) -> response}
ERRORS: Mapping[Any, Callable] = {
    RequestError: _wrong,
    UserError: _mistake,
    HTTPException: _refused,
    Exception: _failed,
}
