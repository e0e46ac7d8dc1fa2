"""The SQLite file of events: made, opened, and known again, so that another in its place is never taken for it."""

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

VERSION = 1  # of the tables: a service of an earlier version may go on with a file that has the later columns
LATER = {"weight": "REAL", "type": "TEXT"}  # columns that files of earlier versions lack
TABLES = f"""
    CREATE TABLE IF NOT EXISTS events (
        number INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL,
        {", ".join(f"{name} {kind}" for name, kind in LATER.items())}
    );
    CREATE INDEX IF NOT EXISTS newest ON events (user, time, number);
"""
BUSY = 1.0  # seconds that another process's lock is waited for
LOG = "-wal"  # the write-ahead log beside the file: what was committed since the last checkpoint is in there alone
BESIDE = ("", LOG, "-shm")
GONE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_ERROR)  # the last: tables are gone


class Unavailable(Exception):
    """Events can't be kept, or read, now; the message says why, without a path."""


class Lost(Unavailable):
    """The file is not the one that was opened, or can't be read: nothing is written until it is opened anew."""


class _Seen(NamedTuple):
    device: int
    inode: int
    size: int


class Database:
    """An open file of events: one connection writes, one reads."""

    def __init__(self, path: str | Path, create: bool):
        """
        Args:
            path: the file.
            create: whether it is made where there is none, for its owner alone; otherwise all of it is read once, to
                see whether it is whole.

        Raises:
            Unavailable: it can't be used.
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
        """That the file, and what lies beside it, are those that were opened, and have not been cut.

        Raises:
            Lost: they are others.
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

    def write(self, rows: list[tuple[str, str, float, float | None, str | None]]) -> None:
        """Append (user, item, time, weight, type): when it returns they are on disk, in the file that is at the path.

        Raises:
            Unavailable: they may not be.
        """
        with _explained(), self._writer:  # commits, or rolls back
            self._writer.executemany("INSERT INTO events (user, item, time, weight, type) VALUES (?, ?, ?, ?, ?)", rows)
        self.check()

    def newest(self, user: str, count: int) -> list:
        """(item, time, weight, type) of the newest events of a user, the newest first.

        Raises:
            Unavailable: they can't be read.
        """
        with _explained(), self._reading:
            return self._reader.execute(
                "SELECT item, time, weight, type FROM events WHERE user = ? ORDER BY time DESC, number DESC LIMIT ?",
                (user, count),
            ).fetchall()

    def close(self, lost: bool = False) -> None:
        """Close it. lost: whether it is no longer at its path; what was committed is brought into the file itself."""
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
        """Bring what is in the log into the file, wherever that is now, and empty the log.

        Where the file was deleted the log stays as it is: beside a copy of the file it is worth something. Beside
        another file it would be mixed into that.
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
    """SQLite's and the system's errors as Unavailable, or Lost where only opening anew helps."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:  # locked, full, an error of the disk
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
    """A descriptor that tells later whether the file has a name; closing it takes no lock from SQLite. Linux alone."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC) if hasattr(os, "O_PATH") else None


def _make(path):
    """An empty file for its owner alone; SQLite gives those beside it the same permissions."""
    log = path + LOG
    if not os.path.exists(path) and os.path.exists(log) and os.path.getsize(log):
        raise Lost(
            f"{log} holds events of a file that is not beside it any more: bring that back, or remove {LOG} and -shm"
        )
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _connect(path):
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"  # it never makes one
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _prepare(connection, create):
    """Tables where there are none; the write-ahead log on. Nothing is changed in a database of something else."""
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
    """The columns that a file of an earlier version lacks; empty in all its rows."""
    has = lambda: {name for _, name, *_ in connection.execute("PRAGMA table_info(events)")}
    if LATER.keys() <= has():
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # another service may be adding them
        for name in LATER.keys() - has():
            connection.execute(f"ALTER TABLE events ADD COLUMN {name} {LATER[name]}")
