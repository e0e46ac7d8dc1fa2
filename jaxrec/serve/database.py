"""The SQLite file of events; detects if the file is replaced, moved or truncated."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

VERSION = 1  # version of the tables; an earlier version of the service can still write to a file with later columns
LATER = {"weight": "REAL", "type": "TEXT", "session": "TEXT"}  # columns that files of earlier versions lack
USERS = "CREATE TABLE IF NOT EXISTS users (user TEXT PRIMARY KEY, columns TEXT NOT NULL) WITHOUT ROWID"  # JSON objects
TABLES = f"""
    CREATE TABLE IF NOT EXISTS events (
        number INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL,
        {", ".join(f"{name} {kind}" for name, kind in LATER.items())}
    );
    CREATE INDEX IF NOT EXISTS newest ON events (user, time, number);
    {USERS};
"""
NEWEST = "FROM events WHERE user = ? ORDER BY time DESC, number DESC"
COLUMNS = "user, item, time, weight, type, session"
TOLD = (  # a later value of a column replaces the earlier one, and null removes it
    "INSERT INTO users VALUES (?1, json_patch('{}', ?2)) "
    "ON CONFLICT (user) DO UPDATE SET columns = json_patch(columns, ?2)"
)
BUSY = 1.0  # seconds to wait for another process's lock
LOG = "-wal"  # suffix of the write-ahead log, which holds the transactions since the last checkpoint
BESIDE = ("", LOG, "-shm")
GONE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_ERROR)  # the last: no tables


class Unavailable(Exception):
    """Events can't be stored or read at present. The message gives the reason, without a path."""


class Lost(Unavailable):
    """The file is not the one that was opened, or is unreadable; it must be reopened before writing."""


class _Seen(NamedTuple):
    device: int
    inode: int
    size: int


class Database:
    """An open file of events, with a connection for writing and one for reading."""

    def __init__(self, path: str | Path, create: bool):
        """Opens the file.

        Args:
            path: the file.
            create: whether to create a missing file, readable by its owner only; otherwise the existing file is checked
                completely.

        Raises:
            Unavailable: if it can't be used.
        """
        self._path, self._reading, self._real = path, threading.Lock(), os.path.realpath(path)
        with _explained(), contextlib.ExitStack() as stack:
            if create:
                _make(self._real)
            before = _look(self._real, "")
            self._holder = _holder(self._real)
            stack.callback(self._release)
            self._writer = stack.enter_context(contextlib.closing(_connect(self._real)))
            _prepare(self._writer, create)
            self._reader = stack.enter_context(contextlib.closing(_connect(self._real)))
            self._seen = {ending: _look(self._real, ending) for ending in BESIDE}
            if self._seen[""][:2] != before[:2]:
                raise Lost("the events file was replaced while it was opened")
            stack.pop_all()

    def check(self) -> None:
        """Checks that the files are those that were opened, and have not been truncated.

        Raises:
            Lost: if they are not.
        """
        if os.path.realpath(self._path) != self._real:
            raise Lost("the events file has been moved: its path leads elsewhere")
        for ending, then in self._seen.items():
            try:
                now = _look(self._real, ending)
            except OSError as error:
                raise Lost(f"the events file{ending} has been moved or deleted ({error.strerror})") from error
            if now[:2] != then[:2]:
                raise Lost(f"the events file{ending} has been replaced by another")
            if now.size < then.size:
                raise Lost(f"the events file{ending} has been cut short")
            self._seen[ending] = now

    def write(self, rows: list[tuple], told: Sequence[tuple[str, str]] = ()) -> None:
        """Appends (user, item, time, weight, type, session) rows.

        When it returns, they are on disk, in the file at the path, and so are the columns of users.

        Args:
            rows: the events.
            told: (user, JSON object of column values) pairs.

        Raises:
            Unavailable: if they may not be.
        """
        with _explained(), self._writer:  # commits, or rolls back
            self._writer.executemany(f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._writer.executemany(TOLD, told)
        self.check()

    def newest(self, user: str, count: int) -> list:
        """Returns (item, time, weight, type, session) of a user's newest events, newest first.

        Raises:
            Unavailable: if they can't be read.
        """
        return self._rows(f"SELECT item, time, weight, type, session {NEWEST} LIMIT ?", user, count)

    def older(self, user: str, count: int) -> list:
        """Returns (item,) for each distinct item of a user's events before the newest `count`.

        Raises:
            Unavailable: if they can't be read.
        """
        return self._rows(f"SELECT DISTINCT item FROM (SELECT item {NEWEST} LIMIT -1 OFFSET ?)", user, count)

    def columns(self, user: str) -> list:
        """Returns [(JSON object of column values,)] of a user, or [] if none were given.

        Raises:
            Unavailable: if it can't be read.
        """
        return self._rows("SELECT columns FROM users WHERE user = ?", user)

    def _rows(self, query, *values):
        with _explained(), self._reading:
            return self._reader.execute(query, values).fetchall()

    def close(self, lost: bool = False) -> None:
        """Closes the file. `lost`: whether it is no longer at its path; then the log is merged into it first."""
        with self._reading:
            self._reader.close()
        with _explained():
            try:
                if lost:
                    self._gather()
            finally:
                self._writer.close()
                self._release()

    def _gather(self):
        """Merges the log into the file, wherever it is now, and empties the log.

        If the file was deleted, the log is kept: it is useful beside a copy of the file, but must not be merged into
        another.
        """
        if os.path.lexists(self._real) or self._is_somewhere():
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _is_somewhere(self):
        return self._holder is not None and os.fstat(self._holder).st_nlink > 0

    def _release(self):
        if self._holder is not None:
            os.close(self._holder)
            self._holder = None


@contextlib.contextmanager
def _explained():
    """Converts errors of SQLite and the system to Unavailable, or to Lost if the file must be reopened."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:  # locked, full, disk errors
        code = getattr(error, "sqlite_errorcode", None)
        raise (Lost if code in GONE else Unavailable)(f"the events file: {_words(error)}") from error
    except sqlite3.Error as error:
        raise Lost(f"the events file: {_words(error)}") from error


def _words(error):
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _look(path, ending):
    found = os.stat(path + ending)
    return _Seen(found.st_dev, found.st_ino, 0 if ending == "-shm" else found.st_size)


def _holder(path):
    """Returns a descriptor to check later whether the file has a name, without affecting SQLite's locks. Linux only."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC) if hasattr(os, "O_PATH") else None


def _make(path):
    """Creates an empty file, readable by its owner only; SQLite uses the same permissions for the files beside it."""
    log = path + LOG
    if not os.path.exists(path) and os.path.exists(log) and os.path.getsize(log):
        raise Lost(
            f"{log} holds events of a file that is no longer beside it: restore that file, or remove {LOG} and -shm"
        )
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _connect(path):
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"  # never creates the file
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _prepare(connection, create):
    """Creates missing tables and enables the write-ahead log; doesn't change databases of other programs."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != VERSION and (version or tables or not create):
        raise sqlite3.DatabaseError("it is a database of something else")
    connection.execute("PRAGMA journal_mode=WAL")
    if version != VERSION:
        connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    connection.execute("SELECT count(*) FROM (SELECT 1 FROM events LIMIT 1)").fetchone()
    _add_columns(connection)
    if not create and (found := connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
        raise sqlite3.DatabaseError(f"it is damaged: {found[0]}")


def _add_columns(connection):
    """Adds the columns and the table that a file of an earlier version lacks, all empty."""
    has = lambda table="events": {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
    if LATER.keys() <= has() and has("users"):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # another service may be adding them
        connection.execute(USERS)
        for name in LATER.keys() - has():
            connection.execute(f"ALTER TABLE events ADD COLUMN {name} {LATER[name]}")
