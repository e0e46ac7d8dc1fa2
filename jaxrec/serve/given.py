"""Checks where a request takes its history from, and the values that it gives for the events of the history."""

from typing import Any

from pydantic_core import PydanticCustomError

SOURCES = ("history", "histories", "events", "user")
BESIDE = ("times", "weights", "types", "sessions")  # fields with a value for each event of a history


def one_source(schema: dict[str, Any]) -> None:
    """States in the JSON schema of Recommend that a history comes from one source."""
    # exactly one of the four is given, except that a history or events may come with their user: as in `from_one`
    given = {"history": "array", "histories": "array", "events": "array", "user": ["integer", "string"]}
    history, histories, events, user = (
        {"required": [name], "properties": {name: {"type": kind}}} for name, kind in given.items()
    )
    schema["oneOf"] = [history, histories, events, user | {"not": {"anyOf": [history, events]}}]


def from_one(body: Any) -> None:
    """Checks that the history of a body comes from one source, and converts `events` to `history` and BESIDE fields."""
    given = [name for name in SOURCES if getattr(body, name) is not None]
    if len(given) != 1 and given not in (["history", "user"], ["events", "user"]):
        said = "this has " + (" and ".join(given) if given else "none of them")
        raise PydanticCustomError("source", "give one of history, histories, events and user: {said}", {"said": said})
    if body.events is None:
        return
    for name in BESIDE:
        if getattr(body, name) is not None:
            raise PydanticCustomError("events", "{name} belong to history: give each in its event", {"name": name})
    body.history = [event.item for event in body.events]
    for name in BESIDE:
        values = [getattr(event, name.removesuffix("s")) for event in body.events]
        setattr(body, name, values if any(value is not None for value in values) else None)


def one_each(body: Any) -> None:
    """Checks that the BESIDE fields have a value for each event of the history, and that times are in order."""
    for name in BESIDE:
        if (given := getattr(body, name)) is None:
            continue
        if body.history is None:
            raise PydanticCustomError("one_each", "{name} belong to a history: give it too", {"name": name})
        if len(given) != len(body.history):
            said = {"name": name, "count": len(given), "events": len(body.history)}
            raise PydanticCustomError("one_each", "{count} {name} for {events} events: give one each, or null", said)
    known = [time for time in body.times or () if time is not None]
    if known != sorted(known):
        raise PydanticCustomError("order", "times decrease: give the events oldest first")
    if body.now is not None and known and body.now < known[-1]:
        raise PydanticCustomError("order", "now is before the newest of times: give a time after them")
