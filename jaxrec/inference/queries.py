"""What a Recommender is asked, and what it returns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jaxrec.system import arguments
from jaxrec.system.errors import UserError


@dataclass(frozen=True)
class Query:
    """One request for recommendations, with external ids."""

    history: Iterable  #: ids, oldest first, of any length (the model sees the newest of them); or a Session
    k: int = 10  #: the maximum number of items
    _: KW_ONLY
    exclude_seen: bool | None = None  #: leave out the items of the history; None: as the training's key `seen` says
    candidates: Iterable | None = None  #: ids to choose from; None: the whole catalogue
    block: Iterable = ()  #: ids that are never recommended
    #: attribute -> a value; a list of values, any of which may match; or bounds, such as {"at_least": 10, "below": 50}
    where: Mapping = field(default_factory=dict)
    #: the time of each event of the history, for models that use it: seconds since 1970, a datetime, or ISO 8601 text
    times: Sequence | None = None
    weights: Sequence | None = None  #: the weight of each event of the history, for models that use it
    types: Sequence | None = None  #: the type of each event of the history, such as "purchase", for models that use it
    #: the id of the session of each event, for models that use where sessions begin; None: unknown
    sessions: Sequence | None = None
    #: when the next item is requested, as one of `times`, for models that use the time of asking; None: unknown
    now: object = None
    #: what is known of the user, {column: value} such as {"gender": "F"}, for models that use such columns
    user_columns: Mapping | None = None
    user: object = None  #: the id of the user, for models with user embeddings; None: unknown
    strict: bool = False  #: whether a history without known items is an error; otherwise popular items are recommended


def queries_of(histories: Iterable, own: Mapping[str, Iterable | None], **shared: Any) -> list[Query]:
    """Returns a Query for each of many histories.

    Args:
        histories: lists of external ids.
        own: {"users" or another field: its value for each history, or None if there are none}.
        shared: the other fields, the same for all.

    Raises:
        UserError: a field does not have as many values as there are histories.
    """
    histories = arguments.id_list(histories, "histories")
    for name in ("candidates", "block"):  # an iterator can be read only once, and all queries need it
        if shared.get(name) is not None:
            shared[name] = arguments.id_list(shared[name], name)
    given = {name: arguments.id_list(values, name) for name, values in own.items() if values is not None}
    for name, values in given.items():
        if len(values) != len(histories):
            raise UserError(f"{name}: {len(values)} for {len(histories)} histories: give one each, None where unknown")
    if "users" in given:
        given["user"] = given.pop("users")
    return [
        Query(history, **shared, **{name: values[row] for name, values in given.items()})
        for row, history in enumerate(histories)
    ]


class Session(NamedTuple):
    """The state of a user of a recurrent model, as `Recommender.start` and `advance` return it.

    It can be the history of a Query. It is immutable, and can be stored and continued in several ways.
    """

    state: tuple  #: (carry, hidden [1, D])
    known: tuple = ()  #: the numbers of the items so far
    unknown: tuple = ()  #: ids that the catalogue doesn't have; the state ignores them
    params: str = ""  #: what the state and the numbers belong to; see `belonging`


def belonging(recommender: Any, known: Sequence[int]) -> str:
    """Returns text that identifies the trained params, and the ids of items added since, up to the last known one."""
    base = recommender.base or recommender
    added = recommender.catalogue.ids[len(base.catalogue.ids) : max(known, default=0)].tolist()
    return base.engine.checksum + (repr(added) if added else "")


def check_session(session: object, recommender: Any, which: str = "") -> None:
    """Checks that a Session was created by the params of a Recommender.

    Args:
        session: the Session.
        recommender: the Recommender.
        which: the beginning of an error's message.

    Raises:
        UserError: it was created by other params, or is not a Session.
    """
    if not isinstance(session, Session):
        raise UserError(f"{which}{arguments.some([session])} is no Session: `start` makes one of a history")
    if session.params != belonging(recommender, session.known):
        raise UserError(
            f"{which}the Session is of another model, or of another checkpoint than step {recommender.step}: `start` "
            "makes one of the whole history"
        )


class CheckedQuery(NamedTuple):
    """A validated Query, with item numbers."""

    known: list  #: the history's items
    state: tuple | None  #: the state of a Session
    unknown: list  #: ids of history, candidates and block that the catalogue lacks; unknown users, types, column values
    k: int
    out: list  #: items that are not recommended
    pool: np.ndarray | None  #: items to choose from, ascending; None: the whole catalogue
    user: int = -1  #: the number of the user; -1: unknown
    #: [known, K] of the history's events, for models with context; mask slots come after them if they have any
    context: np.ndarray | None = None


class Ranked(list):
    """A list of (external id, score), the best first.

    Attributes:
        unknown: the given ids that the catalogue lacks, and users, event types and column values that are unknown too.
        fallback: whether the history has no known item, and the model nothing else to go by. Then these are the items
            with the most occurrences in training (ties in the order of the catalogue), and scores are their shares.
            The list is empty for trainings that didn't store the counts.
        step: the step of the checkpoint that answered; None if there is none.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[Any, float]],
        unknown: Iterable = (),
        fallback: bool = False,
        step: int | None = None,
    ):
        super().__init__(pairs)
        self.unknown, self.fallback, self.step = list(unknown), fallback, step
