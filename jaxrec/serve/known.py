"""The users of a log, whose histories a service knows from its start."""

from jaxrec.data.interactions import Interactions


class Known:
    """The histories of a log, looked up by a user's id. As with events, an id is its text: 7 and "7" are one user.

    Args:
        log: whose users are meant; it stays mapped, and no history is copied before it is asked for.
    """

    def __init__(self, log: Interactions):
        self._log = log
        self._row = {str(id): row for row, id in enumerate(log.users.tolist())}

    def __len__(self) -> int:
        return len(self._row)

    def newest(self, user: int | str, count: int) -> list:
        """The newest items of a user, external ids, oldest first; none of one whom the log lacks."""
        row = self._row.get(str(user))
        if row is None:
            return []
        start, stop = self._log.offsets[row], self._log.offsets[row + 1]
        return self._log.catalogue.ids[self._log.items[max(start, stop - count) : stop] - 1].tolist()
