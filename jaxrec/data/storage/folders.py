"""Folders that are written completely or not at all, and temporary folders beside them."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from jaxrec.data.storage.spill import MEMORY, Disk, Store
from jaxrec.system import checksums
from jaxrec.system.errors import UserError

NAME = 200  # maximum bytes of a folder name that temporary names may contain


@contextlib.contextmanager
def building(path: Path) -> Iterator[Path]:
    """Yields a folder under a temporary name, which replaces the one at the path if the context ends without error.

    Raises:
        UserError: if it can't be written, or the disk is full. Nothing is left behind.
    """
    path = path.resolve()  # a symbolic link stays a link
    folder, before = _beside(path, "tmp"), _beside(path, "before.tmp")
    try:
        with _temporary(folder), _in_place(path, before):
            yield folder
            for file in folder.iterdir():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            if path.exists():
                path.rename(before)
            folder.rename(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be written ({said(error)}): free the disk, or name another --output") from None


@contextlib.contextmanager
def spilling(path: Path, memory: int | None, stage: Callable[[str], None]) -> Iterator[Store]:
    """Yields a Store that uses a temporary folder beside the path, which is removed at the end.

    Args:
        path: the folder to be prepared.
        memory: bytes to use; None to keep everything in memory, without a temporary folder.
        stage: receives the name of the current stage.

    Raises:
        UserError: if the temporary folder can't be made, or another process is using it.
    """
    if memory is None:
        yield MEMORY
        return
    folder = _beside(path.resolve(), "spill.tmp")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_temporary(folder))
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({said(error)}): name another --output") from None
        yield Disk(folder, memory, stage)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Makes a folder, or empties one left by a killed process, and locks it; removes it at the end if it still exists.

    Parent folders that were made for it are removed too, unless they hold something by then.

    Raises:
        UserError: if another process is writing there.
    """
    made = [each for each in folder.parents if not each.exists()]
    lock = None
    try:
        lock = _locked(folder)
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield
    finally:
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


@contextlib.contextmanager
def _in_place(path: Path, before: Path) -> Iterator[None]:
    """Restores the old folder at the path, or removes it once it is replaced, even after a process was killed."""

    def settle():
        if before.exists() and not path.exists():
            before.rename(path)
        shutil.rmtree(before, ignore_errors=True)

    settle()
    try:
        yield
    finally:
        settle()


def _locked(folder: Path) -> int:
    """Makes a folder if needed and locks it. Returns its descriptor, which holds the lock until it is closed.

    Raises:
        UserError: if another process holds the lock. A killed process leaves no lock.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another process has just removed it
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            why = "another prepare is writing there: wait for it, or name another --output"
            raise UserError(f"{folder}: {why}") from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)  # another process has removed or renamed the folder


def _beside(path: Path, suffix: str) -> Path:
    """Returns the path of a temporary folder beside another."""
    name = path.name if len(os.fsencode(path.name)) <= NAME else checksums.of_text(repr(path.name))
    return path.with_name(f".{name}.{suffix}")


def said(error: Exception) -> str:
    """Returns an error as one line of text."""
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
    return str(error).partition("\n")[0]
