"""Stores users' events in SQLite; acknowledged events are on disk, in the file at the given path."""

import json
import logging
import queue
import threading
import time as clock
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.serve.database import Database, Lost, Unavailable
from jaxrec.system.errors import UserError

TOGETHER = 1000  # maximum requests per transaction
EVERY = 1.0  # seconds between checks of the file without writes
log = logging.getLogger("jaxrec.serve")


class _Append(NamedTuple):
    rows: list  #: (user, item, time, weight, type, session) tuples
    told: list  #: (user, JSON of columns) pairs
    done: Future


class Events:
    """Append-only histories by user. User ids are compared as text: 7 and "7" are the same; item ids keep their type.

    A single thread writes. Events that arrive while it waits for the disk are committed together, sharing an fsync; the
    write-ahead log is synced at every commit (synchronous=FULL). The file is checked before events are acknowledged,
    and every second. If it was moved, deleted, replaced or truncated, nothing is written until a valid file of events
    is at its path again, which is then opened; it is never created anew.
    """

    def __init__(self, path: str | Path, room: int):
        """Opens the store.

        Args:
            path: the file, created if missing.
            room: maximum number of waiting appends.

        Raises:
            UserError: if it can't be used.
        """
        self._path, self._trouble, self._tried, self._said = path, None, 0.0, None
        self._unread = None  # (Database, a reader's Lost error of it), for the writing thread to check
        try:
            self._database = Database(path, create=True)
        except Unavailable as error:
            raise UserError(f"{path}: can't be used for events: {error}; name another with --events") from error
        self._waiting = queue.Queue(room)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the writing thread runs."""
        return self._thread.is_alive()

    @property
    def trouble(self) -> str | None:
        """The reason why events can't be stored until the file is back, None if they can."""
        return self._trouble

    def append(
        self,
        user: str | int,
        items: Sequence[str | int],
        time: float | None = None,
        weight: float | None = None,
        type: str | None = None,
        session: str | int | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> Future:
        """Appends to a user's history.

        Args:
            user: id.
            items: ids, oldest first.
            time: seconds since 1970; now by default.
            weight: weight of these events; None if unknown.
            type: type of these events, such as "purchase"; None if unknown.
            session: id of the session in which they happened; None if unknown.
            columns: {column: value} of the user from now on, added to what was given before; None removes a column.

        Returns:
            A concurrent Future of the number of events, completed when they are on disk. It raises Unavailable if they
            may not be. If cancelled early enough, nothing is written.

        Raises:
            queue.Full: if too many wait.
        """
        time = clock.time() if time is None else time
        done, about = Future(), (time, weight, type, None if session is None else str(session))
        told = [(str(user), json.dumps(columns))] if columns else []
        self._waiting.put_nowait(_Append([(str(user), json.dumps(item), *about) for item in items], told, done))
        return done

    def newest(self, user: str | int, count: int) -> list:
        """Returns a user's newest items, as in `past`."""
        return [item for item, *_ in self.past(user, count)]

    def past(self, user: str | int, count: int) -> list[tuple]:
        """Returns (item, time, weight, type, session) of a user's newest events, oldest first; ties as they arrived.

        Raises:
            Unavailable: if they can't be read.
        """
        rows = self._read(Database.newest, user, count)
        return [(_id(item), *rest) for item, *rest in reversed(rows)]

    def older(self, user: str | int, count: int) -> list:
        """Returns the distinct items of a user's events before the newest `count`, in no particular order.

        Raises:
            Unavailable: if they can't be read.
        """
        return [_id(item) for (item,) in self._read(Database.older, user, count)]

    def columns(self, user: str | int) -> dict[str, Any]:
        """Returns the columns of a user, {column: value}.

        Raises:
            Unavailable: if it can't be read.
        """
        found = self._read(Database.columns, user)
        return json.loads(found[0][0]) if found else {}

    def close(self) -> None:
        """Writes waiting events, and closes the file."""
        self._waiting.put(None)
        self._thread.join()

    def _read(self, query, user, *count):
        database = self._database  # which may be closed and replaced meanwhile
        if self._trouble:
            raise Unavailable(self._trouble)
        try:
            return query(database, str(user), *count)
        except Lost as error:
            self._unread = database, error
            raise

    def _run(self):
        ended = False
        while not ended:
            appends = self._next()
            ended = None in appends
            try:
                self._look()
                self._write([append for append in appends if append])
            except Exception as error:  # this thread must not end
                self._say(error)
                _deliver([append for append in appends if append], Unavailable("the events file could not be written"))
        try:
            if self._trouble is None:
                self._database.close()
        except Unavailable as error:
            self._say(error)

    def _next(self):
        """Returns the appends that have arrived; [] after EVERY seconds without any."""
        try:
            appends = [self._waiting.get(timeout=EVERY)]
        except queue.Empty:
            return []
        while len(appends) < TOGETHER and not self._waiting.empty():
            appends.append(self._waiting.get_nowait())
        return appends

    def _look(self):
        """Checks that the file is there; if it was lost, reopens it once it is back."""
        try:
            if self._trouble is None:
                found, self._unread = self._unread, None
                if found and found[0] is self._database:
                    raise found[1]
                self._database.check()
            elif clock.monotonic() - self._tried >= EVERY:
                self._tried = clock.monotonic()
                self._database = Database(self._path, create=False)
                self._unread = self._trouble = None
                log.warning("%s: the events file is back, and in use again", self._path)
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
            rows = [row for append in appends for row in append.rows]
            self._database.write(rows, [each for append in appends for each in append.told])
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
        """Stops acknowledging events, since the file has changed."""
        self._say(error)
        try:
            if self._trouble is None:
                self._database.close(lost=True)
        except Unavailable as more:
            self._say(more)
        finally:
            self._trouble = str(error)

    def _say(self, error):
        """Logs an error, unless it was the last one logged."""
        if str(error) != self._said:
            self._said = str(error)
            log.error("%s: %s; nothing is acknowledged meanwhile", self._path, error)


def _id(text):
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unavailable("the events file: it holds an invalid id") from error


def _deliver(appends, error):
    for append in appends:
        if not append.done.done():
            append.done.set_exception(error)
