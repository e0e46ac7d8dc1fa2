"""File locks, which are released when the process that holds them ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from jaxrec.system.errors import UserError


def opened(path: str | Path) -> int:
    """Returns the descriptor of a file of changes for reading and writing, created if it doesn't exist.

    Raises:
        UserError: if it can't be opened.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"{path}: can't be used for changes: {error.strerror}; name another with --stock") from error


def held(path: str | Path) -> int:
    """Returns the descriptor of a file of changes, as `opened` does, locked against other services while it is open.

    Raises:
        UserError: if it can't be opened, or another service has locked it.
    """
    file = opened(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise UserError(f"{path}: another service keeps its changes there: name another with --stock") from None
    return file


@contextlib.contextmanager
def turn(path: str | Path) -> Iterator[None]:
    """A context that only one process and thread at a time can enter for a path. Waits for its turn."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
