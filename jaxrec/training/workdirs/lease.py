"""Exclusive use of a workdir in an object store.

Stores have no locks, but can create an object on the condition that there is none with its name (If-None-Match in S3,
generation 0 in Google Cloud Storage). So each training creates an object with the next number, such as `.lock/7`: if
two try at once, only one succeeds, and no number is used twice. The object says which process holds the workdir, and is
rewritten every RENEW seconds. A training that finds such an object watches it. If it changes, its writer is alive, and
the new training is refused. If it doesn't change for STALE seconds, by the clock of the one that watches, its writer
counts as dead, and the new training takes the next number. A training that finds a number above its own has lost the
workdir, and sends nothing more.

In a store without conditional writes, fsspec checks that an object doesn't exist before it writes it. Two trainings
that start at the same moment may then both write the same number. One of them finds what the other wrote when it next
renews its lock, at most RENEW seconds later, and has lost the workdir.
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
            number: the number of the lock.
            words: the contents of its object.
        """
        self.number = number
        self._store, self._root, self._address, self._words = store, root, address, words
        self._taken_by, self._ended, self._renewing = None, threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Checks that the workdir is still this training's, as far as this process knows.

        Raises:
            UserError: another training has taken it over.
        """
        if self._taken_by:
            raise UserError(
                f"{self._address} was taken over by another training ({_who(self._taken_by)}), as this one did not "
                f"renew its lock for {STALE:g} seconds: let only one of them train there"
            )

    def renew(self) -> None:
        """Rewrites the lock, unless another training has taken the workdir.

        Raises:
            UserError: another training has taken it.
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
            except objects.errors():  # tried again later, as are the sends that fail meanwhile
                continue


def acquire(
    store: Any, root: str, address: str, owner: str, say: Callable[[str], None] = lambda line: None
) -> tuple[Lease, dict]:
    """Takes the lock of a workdir; if a training holds it that may be dead, waits first.

    Args:
        store: fsspec's file system.
        root: path of the workdir in it.
        address: the same, for messages.
        owner: identifies the copy of the workdir that this process has locked on this machine: if the lock in the store
            has the same owner, the process that took it has ended.
        say: called with a message before it waits.

    Returns:
        The Lease, and the contents of the previous lock: {} if there was none.

    Raises:
        UserError: another training is at work there.
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
        except objects.errors():  # another was first; or it was written, and the answer was lost
            if not _is_there(store, root, number + 1):
                raise
        newest, found = _newest(store, root)
        if newest == number + 1 and found.get("training") == words["training"]:
            _remove_older(store, root, newest)
            return Lease(store, root, address, newest, words), before


def _wait(store, root, address, number, before, say):
    """Waits until a lock is stale.

    Raises:
        UserError: it is renewed, or another training takes the workdir meanwhile.
    """
    say(f"{address} is locked by a training ({_who(before)}): waiting {STALE:g} seconds, to see whether it is alive")
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
    """The highest number of a lock, and the contents of its object; 0 and {} if there is none."""
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
    except FileNotFoundError:  # removed meanwhile, as there is a newer one
        return _newest(store, root)
    except ValueError:  # incomplete, if the store writes in place
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
