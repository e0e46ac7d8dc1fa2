"""Whose history a request means: what it says, what happened here, and what a log knows of a user."""

import asyncio
from typing import Any, NamedTuple

from jaxrec.serve.database import Unavailable
from jaxrec.serve.known import Known
from jaxrec.serve.schema import RequestError, busy
from jaxrec.serve.store import Events


class Past(NamedTuple):
    """The events of a history, oldest first."""

    items: list  #: external ids
    times: list | None = None  #: of each the seconds since 1970, None where unknown; None: of all
    weights: list | None = None  #: of each a number, None where unknown; None: of all
    types: list | None = None  #: of each the type's name, None where unknown; None: of all
    now: float | None = None  #: seconds since 1970 at which the next item is asked for; None: unknown


class Histories:
    """The histories that a service can be asked for.

    Args:
        events: the store of what happens here, or None.
        known: the users of a log, or None.
        most: events of one history.
    """

    def __init__(self, events: Events | None, known: Known | None, most: int):
        self._events, self._known, self._most = events, known, most

    async def of(self, body: Any) -> Past:
        """The history that a request for recommendations gives, or its user's.

        Raises:
            RequestError: nothing is known of the user, or it can't be read now.
        """
        if body.history is not None:
            return Past(body.history, body.times, body.weights, body.types, body.now)
        if self._events is None and self._known is None:
            cure = "give a history, or start it with --events FILE or --histories DATA"
            raise RequestError(422, "user", f"this service keeps no events: {cure}")
        here = []
        try:
            if self._events:
                here = await asyncio.to_thread(self._events.past, body.user, self._most)
        except Unavailable as error:
            raise busy(f"the history could not be read: {error}") from error
        # what a log holds was before what happened here
        before = self._known.past(body.user, self._most - len(here)) if self._known and len(here) < self._most else []
        if not here and not before:
            cure = "POST /events first, or give a history" if self._events else "give a history"
            raise RequestError(404, "user", f"there is no event of {body.user!r}: {cure}")
        items, times, weights, types = map(list, zip(*before, *here, strict=True))
        # another's clock may be behind that of the store
        now = None if body.now is None else max(body.now, *(time or 0 for time in times))
        return Past(items, in_order(times), weights, types, now)


def in_order(times: list) -> list:
    """The times, None in the place of one that is before an earlier one: the log and the store do not agree on it.

    >>> in_order([3, 5, 4, None, 6])
    [3, 5, None, None, 6]
    """
    newest, found = 0, []
    for time in times:
        found.append(time if time is not None and time >= newest else None)
        newest = max(newest, time or 0)
    return found
