"""What users did, in SQLite: an event that was acknowledged is on disk."""

import json
import queue
import sqlite3
import threading
import time as clock
from concurrent.futures import Future
from typing import NamedTuple

from jaxrec.errors import UserError

VERSION = 1  # of the tables
TABLES = """
    CREATE TABLE IF NOT EXISTS events (
        number INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL
    );
    CREATE INDEX IF NOT EXISTS newest ON events (user, time, number);
"""
TOGETHER = 1000  # requests in one transaction at most


class _Append(NamedTuple):
    rows: list  # of (user, item, time)
    done: Future


class Events:
    """An append-only history for each user. A user's id is its text: 7 and "7" are one; an item's keeps its type.

    One thread writes. What arrives while it waits for the disk is committed together, so that many writers share an
    fsync: the write-ahead log is synced at every commit (synchronous=FULL).
    """

    def __init__(self, path, room):
        """
        Args:
            path: the file, made if need be. room: how many appends may wait.

        Raises:
            UserError: it can't be used.
        """
        self._path = path
        try:
            self._reader = self._connect()
            with self._reader:
                self._prepare(self._reader)
        except sqlite3.Error as error:
            raise UserError(f"{path}: can't be used for events: {error}; name another with --events") from error
        self._waiting, self._reading = queue.Queue(room), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    @property
    def alive(self):
        return self._thread.is_alive()

    def append(self, user, items, time=None):
        """Append to a user's history.

        Args:
            user: id. items: ids, oldest first. time: seconds since 1970; now if None.

        Returns:
            A concurrent Future of how many they are, done when they are on disk; it raises sqlite3.Error where they
            could not be written. Cancelled before its turn, nothing is written.

        Raises:
            queue.Full: too many wait.
        """
        time = clock.time() if time is None else time
        done = Future()
        self._waiting.put_nowait(_Append([(str(user), json.dumps(item), time) for item in items], done))
        return done

    def newest(self, user, count):
        """The newest items of a user, oldest first; of one time in the order they came."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT item FROM events WHERE user = ? ORDER BY time DESC, number DESC LIMIT ?", (str(user), count)
            ).fetchall()
        return [json.loads(item) for (item,) in reversed(rows)]

    def close(self):
        """Write what waits, and close the file."""
        self._waiting.put(None)
        self._thread.join()
        self._reader.close()

    def _connect(self):
        connection = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _prepare(self, connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not version and not tables:
            connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise sqlite3.DatabaseError("it is a database of something else")

    def _run(self):
        connection, ended = self._connect(), False
        while not ended:
            appends = [self._waiting.get()]
            while len(appends) < TOGETHER and not self._waiting.empty():
                appends.append(self._waiting.get_nowait())
            ended = None in appends
            self._write(connection, [append for append in appends if append])
        connection.close()

    def _write(self, connection, appends):
        appends = [append for append in appends if append.done.set_running_or_notify_cancel()]
        rows = [row for append in appends for row in append.rows]
        try:
            with connection:  # commits, or rolls back
                connection.executemany("INSERT INTO events (user, item, time) VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            for append in appends:
                append.done.set_exception(error)
        else:
            for append in appends:
                append.done.set_result(len(append.rows))
