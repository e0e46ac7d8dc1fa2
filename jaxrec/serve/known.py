"""The histories of a log's users, known to a service from the start."""

import numpy as np

from jaxrec.data.attributes import user_columns
from jaxrec.data.interactions import Interactions

SECOND = 1_000_000  # microseconds, as in a log's times


class Known:
    """The histories of a log by user id. As for stored events, ids are compared as text: 7 and "7" are the same user.

    Args:
        log: the log; it stays memory-mapped, and histories are only copied on request.
    """

    def __init__(self, log: Interactions):
        self._log = log
        self._row = {str(id): row for row, id in enumerate(log.users.tolist())}

    def __len__(self) -> int:
        return len(self._row)

    def newest(self, user: int | str, count: int) -> list:
        """Returns a user's newest items, as external ids, oldest first; [] for an unknown user."""
        return [item for item, *_ in self.past(user, count)]

    def columns(self, user: int | str) -> dict:
        """Returns what the log knows of a user, {column: value}; {} for an unknown user."""
        row = self._row.get(str(user))
        return {} if row is None else user_columns.values_of(self._log, row)

    def older(self, user: int | str, count: int) -> list:
        """Returns the distinct items of a user's events before the newest `count`, as external ids."""
        row = self._row.get(str(user))
        if row is None:
            return []
        start, stop = self._log.offsets[row : row + 2]
        return self._log.catalogue.ids[np.unique(self._log.items[start : max(start, stop - count)]) - 1].tolist()

    def past(self, user: int | str, count: int, relative: bool = False) -> list[tuple]:
        """Returns (item, seconds, weight, type, session) of a user's newest events, oldest first, with None if unknown.

        Args:
            user: the user's id.
            count: maximum number of events.
            relative: whether to return times that count from an unknown moment too, not only those since 1970.
        """
        row = self._row.get(str(user))
        if row is None:
            return []
        log, (start, stop) = self._log, self._log.offsets[row : row + 2]
        at = slice(max(start, stop - count), stop)
        unknown = [None] * (at.stop - at.start)
        items = log.catalogue.ids[log.items[at] - 1].tolist()
        times = unknown
        if log.times is not None and (relative or not log.relative):
            times = (log.times[at] / SECOND).tolist()
        weights = unknown if log.weights is None else log.weights[at].tolist()
        types = unknown
        if log.types is not None:
            types = [(None, *log.types.names)[number] for number in log.types.numbers[at].tolist()]
        sessions = unknown if log.sessions is None else _sessions(log.sessions, at)
        return list(zip(items, times, weights, types, sessions, strict=True))


def _sessions(sessions, at):
    """Returns the ids of the sessions of a slice of events."""
    places = np.searchsorted(sessions.offsets, np.arange(at.start, at.stop), side="right") - 1
    return sessions.ids[places].tolist()
