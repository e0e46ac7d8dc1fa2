"""What users did, in SQLite: an event that was acknowledged is on disk, in the file that is at its path."""

import json
import logging
import queue
import threading
import time as clock
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from jaxrec.serve.database import Database, Lost, Unavailable
from jaxrec.system.errors import UserError

TOGETHER = 1000  # requests in one transaction at most
EVERY = 1.0  # seconds after which the file is looked at where nothing is written
log = logging.getLogger("jaxrec.serve")


class _Append(NamedTuple):
    rows: list  # of (user, item, time, weight, type)
    done: Future


class Events:
    """An append-only history for each user. A user's id is its text: 7 and "7" are one; an item's keeps its type.

    One thread writes. What arrives while it waits for the disk is committed together, so that many writers share an
    fsync: the write-ahead log is synced at every commit (synchronous=FULL). Before anything is acknowledged, and every
    second, the file is looked at: where it was moved, deleted, replaced or cut, nothing is written any more, until a
    sound file of events is at its path again. That is then opened; none is ever made.
    """

    def __init__(self, path: str | Path, room: int):
        """
        Args:
            path: the file, made if need be.
            room: how many appends may wait.

        Raises:
            UserError: it can't be used.
        """
        self._path, self._trouble, self._tried, self._said = path, None, 0.0, None
        self._unread = None  # the Lost of a reader: the thread that writes is to look
        try:
            self._database = Database(path, create=True)
        except Unavailable as error:
            raise UserError(f"{path}: can't be used for events: {error}; name another with --events") from error
        self._waiting = queue.Queue(room)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be kept until the file is back, None where it is there."""
        return self._trouble

    def append(
        self,
        user: str | int,
        items: Sequence[str | int],
        time: float | None = None,
        weight: float | None = None,
        type: str | None = None,
    ) -> Future:
        """Append to a user's history.

        Args:
            user: id.
            items: ids, oldest first.
            time: seconds since 1970; now if None.
            weight: of each of these events, None where that is not known.
            type: of each of these events, as "purchase", None where that is not known.

        Returns:
            A concurrent Future of how many they are, done when they are on disk; it raises Unavailable where they
            may not be. Cancelled before its turn, nothing is written.

        Raises:
            queue.Full: too many wait.
        """
        time = clock.time() if time is None else time
        done = Future()
        self._waiting.put_nowait(_Append([(str(user), json.dumps(item), time, weight, type) for item in items], done))
        return done

    def newest(self, user: str | int, count: int) -> list:
        """The newest items of a user, as `past`."""
        return [item for item, *_ in self.past(user, count)]

    def past(self, user: str | int, count: int) -> list[tuple]:
        """(item, seconds since 1970, weight, type) of a user's newest events, oldest first; of one time as they came.

        Raises:
            Unavailable: they can't be read.
        """
        if self._trouble:
            raise Unavailable(self._trouble)
        try:
            rows = self._database.newest(str(user), count)
        except Lost as error:
            self._unread = error
            raise
        try:
            return [(json.loads(item), *rest) for item, *rest in reversed(rows)]
        except ValueError as error:
            raise Unavailable("the events file: what it holds is no id") from error

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self):
        ended = False
        while not ended:
            appends = self._next()
            ended = None in appends
            try:
                self._look()
                self._write([append for append in appends if append])
            except Exception as error:  # nothing may end this thread, on which all that is kept depends
                self._say(error)
                _deliver([append for append in appends if append], Unavailable("the events file could not be written"))
        try:
            if self._trouble is None:
                self._database.close()
        except Unavailable as error:
            self._say(error)

    def _next(self):
        """What has arrived; [] where nothing does for EVERY seconds."""
        try:
            appends = [self._waiting.get(timeout=EVERY)]
        except queue.Empty:
            return []
        while len(appends) < TOGETHER and not self._waiting.empty():
            appends.append(self._waiting.get_nowait())
        return appends

    def _look(self):
        """See whether the file is there; where it was lost, open it if it is back."""
        try:
            if self._trouble is None:
                found, self._unread = self._unread, None
                if found:
                    raise found
                self._database.check()
            elif clock.monotonic() - self._tried >= EVERY:
                self._tried = clock.monotonic()
                self._database = Database(self._path, create=False)
                self._trouble = None
                log.warning("%s: the events file is there again, and goes on", self._path)
        except Lost as error:
            self._lose(error)
        except Unavailable as error:
            self._say(error)

    def _write(self, appends):
        appends = [append for append in appends if append.done.set_running_or_notify_cancel()]
        if not appends:
            return
        if self._trouble:
            _deliver(appends, Unavailable(self._trouble))
            return
        try:
            self._database.write([row for append in appends for row in append.rows])
        except Unavailable as error:
            if isinstance(error, Lost):
                self._lose(error)
            else:
                self._say(error)
            _deliver(appends, error)
        else:
            self._said = None
            for append in appends:
                append.done.set_result(len(append.rows))

    def _lose(self, error):
        """The file isn't what it was: from now on nothing is acknowledged."""
        self._say(error)
        try:
            if self._trouble is None:
                self._database.close(lost=True)
        except Unavailable as more:
            self._say(more)
        finally:
            self._trouble = str(error)

    def _say(self, error):
        """A line in the log, once for what stays the same."""
        if str(error) != self._said:
            self._said = str(error)
            log.error("%s: %s; nothing is acknowledged meanwhile", self._path, error)


def _deliver(appends, error):
    for append in appends:
        if not append.done.done():
            append.done.set_exception(error)
