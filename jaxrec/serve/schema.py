"""Pydantic models of requests and answers, from which the OpenAPI schema is generated."""

# pyright: reportInvalidTypeForm=false
# (field types are built from the limits, which a type checker can't evaluate)

from types import SimpleNamespace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from jaxrec.inference.attributes import BOUNDS
from jaxrec.inference.events import YEAR_1, YEAR_10000
from jaxrec.serve import given
from jaxrec.serve.limits import Limits
from jaxrec.system.console import printable

LONG, SHORT = 500, 100  # characters of a message, and of a field's name
EXACT = (1 << 53) - 1  # largest integer that JSON readers with floats, such as JavaScript, keep exact


def exact(id: str | int) -> str | int:
    """Returns an id for an answer: integers that JSON readers may not keep exact become text.

    >>> exact(19), exact(2**60)
    (19, '1152921504606846976')
    """
    return str(id) if isinstance(id, int) and abs(id) > EXACT else id


def _from_float(value):
    # in JSON, 19.0 is the integer 19
    return int(value) if isinstance(value, float) and abs(value) <= EXACT and value.is_integer() else value


def _whole(value):
    if isinstance(value := _from_float(value), int):
        return value
    raise PydanticCustomError("whole", "should be whole, and below 2^53 where it is written as a float")


def _not_blank(value):
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("blank", "should not be blank: clients that send it would share one history")
    return value


Count = Annotated[StrictInt, BeforeValidator(_from_float)]
# ids without a decimal point are validated without Python code
Id = StrictInt | StrictStr | Annotated[StrictFloat, AfterValidator(_whole), WithJsonSchema({"type": "integer"})]
Named = Annotated[Id, AfterValidator(_not_blank)]  # the id of a user whose events are stored
Type = Annotated[StrictStr, Field(max_length=SHORT)]  # of an event
Bound = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictStr
Value = StrictBool | Bound
Bounds = Annotated[dict[Literal[BOUNDS], Bound], Field(min_length=1, description="of a number or date")]


class RequestError(Exception):
    """An error answer: status, invalid field (None for the whole request), and message."""

    def __init__(self, status: int, field: str | None, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.errors = [{"field": field, "message": printable(message, LONG)}]


def busy(why: str) -> RequestError:
    """Returns the error for requests that can't be answered at present."""
    return RequestError(503, None, f"{why}: try again later", {"Retry-After": "1"})


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Item(_Answer):
    id: Id = Field(description=f"an integer beyond {EXACT} is written as a text")
    title: str | None = Field(description="null where the catalogue has no titles")


class Scored(Item):
    score: float


class Ranking(_Answer):
    items: list[Scored] = Field(description="the best first")
    unknown: list[Value] = Field(
        description="ids of the request that the catalogue lacks, as they were given; and event types and values of "
        "user columns that the model does not know"
    )
    fallback: bool = Field(
        description="whether nothing of the history is known: the items are then the most popular ones, and the scores "
        "their shares of the training data"
    )
    step: int | None = Field(description="step of the checkpoint that answered")


class Rankings(_Answer):
    results: list[Ranking] = Field(description="one for each history, in order")


class Similar(_Answer):
    items: list[Scored] = Field(description="the nearest first; the score is the cosine of the embeddings")


class Found(_Answer):
    items: list[Item]


class Attribute(_Answer):
    name: str
    kind: Literal["boolean", "date", "number", "text"]
    least: float | str | None = Field(None, description="of a number or date")
    most: float | str | None = Field(None, description="of a number or date")
    values: list[str] | None = Field(None, description="of a text, most frequent first")
    more: bool | None = Field(None, description="whether a text has other values too")


class Attributes(_Answer):
    attributes: list[Attribute]


class Asking(_Answer):
    events: list[str] = Field(
        description="what the model uses of an event beside its item: times, weights, types, sessions"
    )
    now: bool = Field(description="whether it uses the time at which the next item is requested")
    user_columns: list[Attribute] = Field(description="the columns of users that it uses")
    alone: bool = Field(description="whether it can answer from the columns of a user without a history")


class Influence(_Answer):
    influence: list[list[float]] = Field(
        description="for each of the items, what each event of the history added to its score"
    )


class Stored(_Answer):
    stored: int = Field(description="events that are on disk now")


class Changed(_Answer):
    added: int
    retired: int
    items: int = Field(description="that can be recommended now")


class Watch(_Answer):
    looked: float = Field(description="seconds since new checkpoints were last looked for")
    loading: float | None = Field(description="seconds for which a new checkpoint has been loading; null if none is")
    refused: int | None = Field(description="step of the new checkpoint that was refused, if the last one was")


class Health(_Answer):
    status: str
    watch: Watch | None = Field(description="null where no new checkpoints are looked for")


class Ready(_Answer):
    status: str
    step: int | None = Field(description="step of the checkpoint that answers")
    items: int = Field(description="in the catalogue")
    batch: int = Field(description="histories that are answered at once: it grows while programs are compiled")


class Error(_Answer):
    field: str | None = Field(description="the field at fault; null for the request as a whole")
    message: str


class Errors(_Answer):
    errors: list[Error]


def bodies(limits: Limits) -> SimpleNamespace:
    """Returns the models of request bodies for these Limits: recommend, similar, influence, events, change, titles."""
    ids = lambda least, most: Annotated[list[Id], Field(min_length=least, max_length=most, fail_fast=True)]
    History, Some = ids(0, limits.history), ids(1, limits.history)
    Histories = Annotated[list[History], Field(min_length=1, max_length=limits.histories, fail_fast=True)]
    each = lambda **limit: list[Annotated[float, Field(**limit)] | None]
    Times = Annotated[each(ge=YEAR_1, lt=YEAR_10000), Field(max_length=limits.history, fail_fast=True)]
    Weights = Annotated[each(allow_inf_nan=False), Field(max_length=limits.history, fail_fast=True)]
    times_of = Field(
        None, description="the time of each event of the history, seconds since 1970, UTC, for a model that uses times"
    )
    weights_of = Field(None, description="the weight of each event of the history, for a model that uses weights")
    Types = Annotated[list[Type | None], Field(max_length=limits.history, fail_fast=True)]
    types_of = Field(
        None, description="the type of each event of the history, as in the training's log, for a model that uses types"
    )
    Sessions = Annotated[list[Id | None], Field(max_length=limits.history, fail_fast=True)]
    sessions_of = Field(
        None, description="the session id of each event of the history, for a model that uses where sessions begin"
    )
    Moment = Annotated[float, Field(ge=YEAR_1, lt=YEAR_10000)]
    Weight = Annotated[float, Field(allow_inf_nan=False)]
    asked = Field(
        None, description="when the next item is requested, in seconds since 1970, UTC, for a model that uses that time"
    )
    about_user = Field(
        None, description='what is known of the user, such as {"gender": "F"}, for a model that uses such columns'
    )
    Values = Annotated[list[Value], Field(max_length=limits.ids, fail_fast=True)]

    class Filtered(_Body):
        k: Count = Field(min(10, limits.k), ge=1, le=limits.k, description="maximum number of items")

    class Event(_Body):
        item: Id
        time: Moment | None = Field(None, description="seconds since 1970, UTC")
        weight: Weight | None = None
        type: Type | None = Field(None, description="what was done, as in the training's log")
        session: Id | None = None

    class Recommend(Filtered):
        model_config = ConfigDict(json_schema_extra=given.one_source)
        history: History | None = Field(None, description="item ids, oldest first")
        histories: Histories | None = Field(None, description="several histories, answered with the same settings")
        events: Annotated[list[Event], Field(max_length=limits.history, fail_fast=True)] | None = Field(
            None, description="a history with what is known of each event, instead of history, times and so on"
        )
        times: Times | None = times_of
        weights: Weights | None = weights_of
        types: Types | None = types_of
        sessions: Sessions | None = sessions_of
        now: Moment | None = asked
        user_columns: dict[str, Value | None] | None = about_user
        user: Id | None = Field(
            None,
            description="the user whose stored events are the history, which needs --events; or, with a history, the "
            "user it belongs to, for a model with user vectors",
        )
        exclude_seen: bool | None = Field(
            None, description="leave out the items of the history; null: as the training's key seen says"
        )
        candidates: ids(0, limits.ids) | None = Field(None, description="ids to choose among; null for all items")
        block: ids(0, limits.ids) = Field([], description="ids never to recommend")
        where: dict[str, Value | Values | Bounds] = Field(
            {},
            description="attribute of items: its value, a list of values of which it must have one, or bounds, as in "
            '{"price": {"at_least": 10, "below": 50}}',
        )

        def model_post_init(self, _context):
            given.from_one(self)
            given.one_each(self)

    class SimilarTo(Filtered):
        item: Id

    class InfluenceOn(_Body):
        history: Some = Field(description="item ids, oldest first")
        items: ids(1, 100) = Field(description="ids whose scores are to be explained")
        user: Id | None = Field(None, description="the user of the history, for a model with user vectors")
        times: Times | None = times_of
        weights: Weights | None = weights_of
        types: Types | None = types_of
        sessions: Sessions | None = sessions_of
        now: Moment | None = asked
        user_columns: dict[str, Value | None] | None = about_user

        def model_post_init(self, _context):
            given.one_each(self)

    class TitlesOf(_Body):
        items: ids(1, limits.ids)

    class New(_Body):
        id: Id
        like: ids(0, limits.history) = Field(
            [], description="ids of similar items, from which its vectors are made; without any, its features alone"
        )
        about: dict[str, Any] = Field({}, description="its attributes, by column of the table of items")

    class Change(_Body):
        add: Annotated[list[New], Field(max_length=limits.history, fail_fast=True)] = Field(
            [], description="new items, or retired items to recommend again"
        )
        retire: ids(0, limits.history) = Field([], description="ids of items to stop recommending")

    class Happened(_Body):
        user: Named
        item: Id | None = None
        items: Some | None = Field(None, description="several, oldest first")
        time: Moment | None = Field(None, description="seconds since 1970, UTC; now by default")
        weight: Weight | None = Field(None, description="weight of each of them, such as a rating or seconds of play")
        type: Type | None = Field(None, description="what was done with them, as in the training's log")
        session: Id | None = Field(None, description="the id of the session in which they happened")
        user_columns: dict[str, Value | None] | None = Field(
            None, description="what is known of the user from now on; null removes a column"
        )
        model_config = ConfigDict(
            json_schema_extra={
                "oneOf": [
                    {"required": ["item"], "properties": {"item": {"type": ["integer", "string"]}}},
                    {"required": ["items"], "properties": {"items": {"type": "array"}}},
                ]
            }
        )

        def model_post_init(self, _context):
            if (self.item is None) == (self.items is None):
                raise PydanticCustomError("source", "give either item or items")

    return SimpleNamespace(
        recommend=Recommend,
        similar=SimilarTo,
        influence=InfluenceOn,
        events=Happened,
        change=Change,
        titles=TitlesOf,
    )
