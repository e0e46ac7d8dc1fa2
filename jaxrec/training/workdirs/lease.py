"""Exclusive use of a workdir in an object store.

Stores have no locks, but create an object only if there is none of its name (If-None-Match of S3, generation 0 of
Google's). So every training takes the next number, as `.lock/7`: of two that try at once, one creates it, and no number
is used twice. The object says who has the workdir, and is written anew every RENEW seconds. Who finds such an object
waits until it changes, and is refused then; where it doesn't change for STALE seconds by its own clock, whoever wrote
it is dead, and the next number is taken. A training that finds a higher number than its own has lost the workdir, and
sends nothing more.

Where a store creates nothing conditionally, fsspec looks whether an object is there before it writes it. Two that start
within the same moment may then both have written the same number; one of them finds the other's words in it when it
next renews its own, at most RENEW seconds later, and has lost.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from jaxrec.system import objects
from jaxrec.system.errors import UserError

LOCK = ".lock"  # folder of the locks
RENEW, STALE = 15.0, 60.0  # seconds


class Lease:
    """A lock that this process holds on a workdir in a store. A thread renews it until it is released."""

    def __init__(self, store: Any, root: str, address: str, number: int, words: dict):
        """Begins to renew a lock that was created; see `acquire`.

        Args:
            store: fsspec's file system.
            root: path of the workdir in it.
            address: the same, for messages.
            number: of the lock.
            words: what its object says.
        """
        self.number = number
        self._store, self._root, self._address, self._words = store, root, address, words
        self._taken_by, self._ended, self._renewing = None, threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Checks that the workdir is still this training's, as far as it is known.

        Raises:
            UserError: another training has taken it over.
        """
        if self._taken_by:
            raise UserError(
                f"{self._address} was taken over by another training ({_who(self._taken_by)}), as this one could not "
                f"be heard of for {STALE:g} seconds: let one of them train there"
            )

    def renew(self) -> None:
        """Writes the lock anew, unless another training has taken the workdir.

        Raises:
            UserError: it has.
            OSError: or another of `objects.errors`, if the store can't be reached.
        """
        with self._renewing:
            newest, words = _newest(self._store, self._root)
            own = self._words["training"]
            if newest > self.number or (newest == self.number and words.get("training", own) != own):
                self._taken_by = words
            self.check()
            if not self._ended.is_set():
                self._words["renewed"] += 1
                _write(self._store, self._root, self.number, self._words)

    def release(self) -> None:
        """Ends the lock, so that the next training need not wait.

        Raises:
            OSError: or another of `objects.errors`, if the store can't be reached.
        """
        self._ended.set()
        with self._renewing:
            if not self._taken_by:
                _write(self._store, self._root, self.number, self._words | {"ended": True})

    def _run(self):
        while not self._ended.wait(RENEW) and not self._taken_by:
            try:
                self.renew()
            except UserError:  # `check` says it to the training
                return
            except objects.errors():  # it is tried again, and what is sent meanwhile fails and is tried again too
                continue


def acquire(
    store: Any, root: str, address: str, owner: str, say: Callable[[str], None] = lambda line: None
) -> tuple[Lease, dict]:
    """Takes a workdir, and waits for that where a training holds it that may be dead.

    Args:
        store: fsspec's file system.
        root: path of the workdir in it.
        address: the same, for messages.
        owner: names the copy of the workdir that this process has locked on this machine: if the store's lock is of
            the same, its process has ended.
        say: receives a note while it waits.

    Returns:
        The Lease, and what the lock before said: {} if there was none.

    Raises:
        UserError: if another training is at work there.
        OSError: or another of `objects.errors`, if the store can't be reached.
    """
    while True:
        number, before = _newest(store, root)
        if number and not before.get("ended") and before.get("owner") != owner:
            _wait(store, root, address, number, before, say)
        words = {"owner": owner, "training": secrets.token_hex(8), "host": socket.gethostname(), "process": os.getpid()}
        words |= {"renewed": 0}
        try:
            _write(store, root, number + 1, words, mode="create")
        except objects.errors():  # another was first; or it is there, and the answer was lost
            if not _is_there(store, root, number + 1):
                raise
        newest, found = _newest(store, root)
        if newest == number + 1 and found.get("training") == words["training"]:
            _remove_older(store, root, newest)
            return Lease(store, root, address, newest, words), before


def _wait(store, root, address, number, before, say):
    """Waits until a lock is stale.

    Raises:
        UserError: if it is renewed, or another training takes the workdir meanwhile.
    """
    say(f"{address} is locked by a training ({_who(before)}): waiting {STALE:g} seconds, to see whether it lives")
    begun = time.monotonic()
    while time.monotonic() - begun < STALE:
        time.sleep(min(RENEW, STALE) / 10)
        newest, words = _newest(store, root)
        if words.get("ended"):
            return
        if (newest, words) != (number, before):
            raise UserError(
                f"{address} is in use by another training ({_who(words)}): wait for it, stop it, or name another "
                "--workdir"
            )


def _newest(store, root):
    """The highest number of a lock, and what its object says; 0 and {} without any."""
    store.invalidate_cache()
    try:
        names = store.ls(f"{root}/{LOCK}", detail=False)
    except FileNotFoundError:
        return 0, {}
    numbers = [int(last) for last in (name.rstrip("/").rsplit("/", 1)[-1] for name in names) if last.isdecimal()]
    if not numbers:
        return 0, {}
    try:
        words = json.loads(store.cat_file(_path(root, max(numbers))))
    except FileNotFoundError:  # removed meanwhile by a newer one
        return _newest(store, root)
    except ValueError:  # cut, where a store writes in place
        words = {}
    return max(numbers), words if isinstance(words, dict) else {}


def _is_there(store, root, number):
    store.invalidate_cache()
    return store.exists(_path(root, number))


def _write(store, root, number, words, **options):
    store.pipe_file(_path(root, number), json.dumps(words).encode(), **options)


def _remove_older(store, root, newest):
    for number in range(newest - 1, 0, -1):
        if not _is_there(store, root, number):
            return
        store.rm_file(_path(root, number))


def _path(root, number):
    return f"{root}/{LOCK}/{number}"


def _who(words):
    return f"process {words.get('process', 'unknown')} of {words.get('host', 'an unknown machine')}"
