"""What a request gives of a history: from where, and what is said of its events beside their items."""

from typing import Any

from pydantic_core import PydanticCustomError

SOURCES = ("history", "histories", "events", "user")
BESIDE = ("times", "weights", "types", "sessions")  # what may be said of the events of a history beside their items


def one_source(schema: dict[str, Any]) -> None:
    """Say in the schema of Recommend that a history comes from one place."""
    # one of the four that is not null, or a history and whose it is: what Recommend checks once it is made
    given = {"history": "array", "histories": "array", "events": "array", "user": ["integer", "string"]}
    history, histories, events, user = (
        {"required": [name], "properties": {name: {"type": kind}}} for name, kind in given.items()
    )
    schema["oneOf"] = [history, histories, events, user | {"not": {"anyOf": [history, events]}}]


def from_one(body: Any) -> None:
    """Check that the history of a body comes from one place; take its events for the history and what is said of it."""
    given = [name for name in SOURCES if getattr(body, name) is not None]
    if len(given) != 1 and given not in (["history", "user"], ["events", "user"]):
        said = "this has " + (" and ".join(given) if given else "none of them")
        raise PydanticCustomError("source", "give one of history, histories, events and user: {said}", {"said": said})
    if body.events is None:
        return
    for name in BESIDE:
        if getattr(body, name) is not None:
            raise PydanticCustomError("events", "{name} go with history: say each in its event", {"name": name})
    body.history = [event.item for event in body.events]
    for name in BESIDE:
        values = [getattr(event, name.removesuffix("s")) for event in body.events]
        setattr(body, name, values if any(value is not None for value in values) else None)


def one_each(body: Any) -> None:
    """Check that what is said of the events of a history is said of each, and the times are in their order."""
    for name in BESIDE:
        if (given := getattr(body, name)) is None:
            continue
        if body.history is None:
            raise PydanticCustomError("one_each", "{name} are those of a history: give it too", {"name": name})
        if len(given) != len(body.history):
            said = {"name": name, "count": len(given), "events": len(body.history)}
            raise PydanticCustomError("one_each", "{count} {name} of {events} events: give one each, or null", said)
    known = [time for time in body.times or () if time is not None]
    if known != sorted(known):
        raise PydanticCustomError("order", "times fall: give the events oldest first")
    if body.now is not None and known and body.now < known[-1]:
        raise PydanticCustomError("order", "now is before the newest of times: give a time after them")
