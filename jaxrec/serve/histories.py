"""Determines the history of a request: given, stored by the service, or from a log."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxrec.serve.database import Unavailable
from jaxrec.serve.known import Known
from jaxrec.serve.schema import RequestError, busy
from jaxrec.serve.store import Events


class Past(NamedTuple):
    """The events of a history, oldest first."""

    items: list  #: external ids
    times: list | None = None  #: seconds since 1970 per event, None where unknown; None if all are
    weights: list | None = None  #: weight per event, None where unknown; None if all are
    types: list | None = None  #: type per event, None where unknown; None if all are
    sessions: list | None = None  #: id of the session per event, None where unknown; None if all are
    now: float | None = None  #: seconds since 1970 when the next item is requested; None if unknown
    columns: dict | None = None  #: {column: value} of the user, from the request
    known: dict | None = None  #: {column: value} of the user, from the log and POST /events
    older: Sequence = ()  #: external ids of the items of earlier events, unordered


class Histories:
    """The histories available to a service.

    Args:
        events: the store of events, or None.
        known: the users of a log, or None.
        most: maximum events per history; of earlier events, only the items are returned.
    """

    def __init__(self, events: Events | None, known: Known | None, most: int):
        self._events, self._known, self._most = events, known, most

    async def of(self, body: Any, dated: bool) -> Past:
        """Returns the history in a recommendation request, or that of its user.

        Args:
            body: the request.
            dated: whether the model reads hours or days off times. If it doesn't, a log's times that count from an
                unknown moment are used too, unless the store or the request has times since 1970.

        Raises:
            RequestError: if the user is unknown, or the history can't be read at present.
        """
        if body.history is not None:
            told = body.times, body.weights, body.types, body.sessions
            return Past(body.history, *told, body.now, body.user_columns)
        if self._events is None and self._known is None:
            cure = "give a history, or start it with --events FILE or --histories DATA"
            raise RequestError(422, "user", f"this service keeps no events: {cure}")
        here, older, told = [], [], {}
        try:
            if self._events:
                here, told = await asyncio.to_thread(self._stored, self._events, body.user)
                if len(here) == self._most:
                    older = await asyncio.to_thread(self._events.older, body.user, self._most)
        except Unavailable as error:
            raise busy(f"the history could not be read: {error}") from error
        relative = not (here or dated) and body.now is None
        before = self._known.past(body.user, self._most, relative) if self._known else []
        if not here and not before:
            cure = "POST /events first, or give a history" if self._events else "give a history"
            raise RequestError(404, "user", f"there is no event of {body.user!r}: {cure}")
        if self._known and len(before) == self._most:
            older += self._known.older(body.user, self._most)
        events = joined(before, here)
        older += [item for item, *_ in events[: -self._most]]
        items, times, weights, types, sessions = map(list, zip(*events[-self._most :], strict=True))
        # a client's clock may be behind that of the store
        now = None if body.now is None else max([body.now, *(time for time in times if time is not None)])
        known = (self._known.columns(body.user) if self._known else {}) | told
        return Past(items, in_order(times), weights, types, sessions, now, body.user_columns, known, older)

    def _stored(self, events, user):
        return events.past(user, self._most), events.columns(user)


def joined(before: list[tuple], here: list[tuple]) -> list[tuple]:
    """Joins a log's events and stored ones, (item, seconds, …), to one history, oldest first.

    An event in both, with the same item in the same second, is kept once: stored events may have been trained on. If
    any time is unknown, the log's events come first.

    >>> joined([("a", 1.0), ("b", 5.2)], [("b", 5.0), ("c", 3.0)])
    [('a', 1.0), ('c', 3.0), ('b', 5.2)]
    """
    both = Counter(map(_mark, before)) if before else Counter()
    own = []
    for event in here:
        if both[mark := _mark(event)] > 0 and event[1] is not None:
            both[mark] -= 1
        else:
            own.append(event)
    events = before + own
    return sorted(events, key=lambda event: event[1]) if all(event[1] is not None for event in events) else events


def _mark(event):
    item, seconds = event[:2]
    return str(item), None if seconds is None else math.floor(seconds)


def in_order(times: list) -> list:
    """Replaces times that are lower than an earlier one in the list by None, since log and store may disagree.

    >>> in_order([-3, 5, 4, None, 6])
    [-3, 5, None, None, 6]
    """
    newest, found = -math.inf, []
    for time in times:
        found.append(time if time is not None and time >= newest else None)
        newest = newest if time is None else max(newest, time)
    return found
