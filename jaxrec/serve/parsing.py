"""Parses the bodies of requests with their models, and describes their errors in words."""

from itertools import takewhile
from typing import Any

from pydantic import BaseModel, ValidationError

from jaxrec.inference.attributes import BOUNDS
from jaxrec.inference.events import YEAR_10000
from jaxrec.serve.schema import LONG, SHORT, RequestError
from jaxrec.system.console import printable

SHOWN = 10  # maximum errors per answer
FILTER = f"should be a value, a list of values, or an object of bounds ({', '.join(BOUNDS)}): numbers, or dates as text"
KNOWN = "should be a text, a number, true, false or null"  # error of a value of `user_columns`
SECONDS = "should be a number, the seconds since 1970"
MOMENTS = ("time", "times", "now")  # fields of seconds


def parse(model: type[BaseModel], body: bytes) -> Any:
    """Parses a body with a model.

    Raises:
        RequestError: 400 if it isn't JSON, otherwise 422; each error names its field.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        wrong = RequestError(400 if found[0]["type"] == "json_invalid" else 422, None, "")
        wrong.errors = _by_field(found)[:SHOWN]
        raise wrong from None


def _by_field(found):
    """Returns pydantic's errors as [{"field", "message"}], merging those of a union's branches."""
    messages = {}
    for each in found:
        messages.setdefault(_field(each["loc"]), []).append(_message(each))
    for field, said in messages.items():
        if len(said) > 1 and field.startswith(("where.", "user_columns.")):
            said[:] = [FILTER if field.startswith("where.") else KNOWN]
    return [{"field": field, "message": " or ".join(dict.fromkeys(said))} for field, said in messages.items()]


def _field(place):
    """Formats a location: history.3, where.genres, events.2.time. Pydantic's names of union branches are left out."""
    if not place:
        return None
    name, *rest = place
    named = {"where": 1, "user_columns": 1, "events": 2, "add": 2}.get(name, 0)
    rest = rest[:named] or takewhile(lambda part: isinstance(part, int), rest)
    return printable(".".join(map(str, [name, *rest])), SHORT)


def _message(error):
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] == "less_than":  # a bound that only times have
        return f"should be seconds since 1970, less than {YEAR_10000}: divide milliseconds by 1000"
    if error["type"].startswith("float") and {*error["loc"]} & {*MOMENTS}:
        return SECONDS
    return printable(error["msg"].removeprefix("Input ").replace(" after validation", ""), LONG)
