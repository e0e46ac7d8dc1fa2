"""The endpoints of the service, and the methods of Service that answer them."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from jaxrec.serve import schema
from jaxrec.serve.openapi import Endpoint

FOUND, LONGEST = 20, 200  # default number of items that a search returns; maximum characters of its text


def of(service: Any, body: SimpleNamespace) -> list[Endpoint]:
    """Returns the endpoints of a Service.

    Args:
        service: the Service.
        body: the models of its bodies, as returned by `schema.bodies`.
    """
    answers = [schema.Ranking, schema.Rankings]
    text = {"name": "q", "schema": {"type": "string", "maxLength": LONGEST, "default": ""}}
    count = {"name": "k", "schema": {"type": "integer", "minimum": 1, "maximum": service.limits.k}}
    count["schema"]["default"] = min(FOUND, service.limits.k)
    asked = (400, 404, 408, 413, 422, 503)
    posted = lambda path, handler, summary, answer, body, errors=asked: Endpoint(
        method="POST", path=path, handler=handler, summary=summary, answer=answer, body=body, errors=errors
    )
    got = lambda path, handler, summary, answer, **more: Endpoint(
        method="GET", path=path, handler=handler, summary=summary, answer=answer, **more
    )
    now = lambda handler: _up_to_date(service.follow, handler)
    best = "The best next items for one of history, histories, events and user"
    titles = "Titles of ids, without those that are unknown"
    moved = "What each item of a history did to the scores"
    found = {"parameters": (text, count), "errors": (422,)}
    without_404, changing = (400, 408, 413, 422, 503), (400, 404, 408, 409, 413, 422, 503)
    return [
        posted("/recommend", now(service.recommend), best, answers, body.recommend),
        posted("/similar", now(service.similar), "Items like an item", schema.Similar, body.similar),
        posted("/influence", now(service.influence), moved, schema.Influence, body.influence),
        posted("/events", service.happened, "What a user did", schema.Stored, body.events),
        posted("/items", service.change, "Adds and retires items", schema.Changed, body.change, changing),
        got("/items", now(service.items), "Items by title, the most popular first", schema.Found, **found),
        posted("/titles", now(service.titles), titles, schema.Found, body.titles, without_404),
        got("/attributes", now(service.attributes), "What `where` may name, and common values", schema.Attributes),
        got("/context", service.context, "What the model is shown beside items", schema.Asking),
        got("/healthz", service.health, "Whether it runs", schema.Health, errors=(503,)),
        got("/readyz", now(service.ready), "Whether it takes requests", schema.Ready, errors=(503,)),
    ]


def _up_to_date(follow: Callable, handler: Callable) -> Callable[[Any], Awaitable]:
    """Returns a handler that first applies all changes of the catalogue made before the request."""

    async def handle(asked):
        await follow()
        return await handler(asked)

    return handle
