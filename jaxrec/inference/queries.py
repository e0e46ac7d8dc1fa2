"""What a Recommender is asked, and what it answers."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jaxrec.system import arguments
from jaxrec.system.errors import UserError


@dataclass(frozen=True)
class Query:
    """One request for recommendations. Ids are external ones."""

    history: Iterable  #: ids, oldest first, of any length: the model sees the newest of them; or a Session
    k: int = 10  #: how many at most; fewer where fewer are left
    _: KW_ONLY
    exclude_seen: bool | None = None  #: leave out the items of the history; None: as the training's key `seen` says
    candidates: Iterable | None = None  #: ids to choose among; the whole catalogue if None
    block: Iterable = ()  #: ids never to recommend
    #: attribute of items -> a value; a list of values of which one will do; or bounds, as {"at_least": 10, "below": 50}
    where: Mapping = field(default_factory=dict)
    user: object = None  #: id of whose history it is, for a model with vectors of users; None is nobody it knows
    strict: bool = False  #: whether a history of nothing known is an error, rather than answered by what is popular


class Session(NamedTuple):
    """A user of a model that carries a state, such as GRU4Rec: what `Recommender.start` and `advance` return.

    It stands for a history in a Query, and is never changed: sessions may be kept, and go on in several ways.
    """

    state: tuple  #: (carry, hidden [1, D])
    known: tuple = ()  #: numbers of the items so far
    unknown: tuple = ()  #: ids that the catalogue lacks: they count for nothing
    params: str = ""  #: checksum of the parameters that made the state: to others it means nothing


def check_session(session: object, recommender: Any, which: str = "") -> None:
    """That a Session was made by these parameters. `which` begins the message of an error.

    Raises:
        UserError: it was made by others, or is none.
    """
    if not isinstance(session, Session):
        raise UserError(f"{which}{arguments.some([session])} is no Session: `start` makes one of a history")
    if session.params != recommender.engine.checksum:
        raise UserError(
            f"{which}the Session is of another model, or of another checkpoint than step {recommender.step}: `start` "
            "makes one of the whole history"
        )


class CheckedQuery(NamedTuple):
    """A Query that has been checked, in numbers of items."""

    known: list  #: the history's
    state: tuple | None  #: of a Session
    unknown: list  #: ids of history, candidates and block list that the catalogue lacks
    k: int
    out: list  #: not to be recommended
    pool: np.ndarray | None  #: to choose among, ascending; None for the whole catalogue
    user: int = -1  #: number of whose history it is; -1 is nobody whom the model knows


class Ranked(list):
    """A list of (external id, score), the best first.

    `unknown` are the ids given that the training did not know. `fallback` is whether nothing of the history is known,
    so that these are the items that occur most often in training, of equals the earlier in the catalogue, and the
    scores their shares of all that occurs there. It is empty where the training was made before that was counted.
    """

    def __init__(self, pairs: Iterable[tuple[Any, float]], unknown: Iterable = (), fallback: bool = False):
        super().__init__(pairs)
        self.unknown, self.fallback = list(unknown), fallback
