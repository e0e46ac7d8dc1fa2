"""Trainings whose workdir is in an object store.

A training works in a copy in this machine's cache, as in any workdir, and a thread sends changes to the store. It sends
them in such an order that the store always holds a workdir that a killed training might have left: the files of a
checkpoint first and its seal (`seals.NAME`) last, then results; what a newer checkpoint replaces is removed at the end.
A checkpoint without a seal doesn't count: readers don't see it, and the next training removes it. So whatever killed
the previous training, the next one goes on from the store as from a local workdir, bit for bit.

The thread sends from a snapshot of hard links, so that a checkpoint that the training removes meanwhile is still sent
completely, however slow the connection is. What can't be sent is tried again, while the training goes on.

Orbax can write to gs:// itself, through etils.epath. It is not used that way: the store would have to answer within the
training's step, there is no such writer for the files beside the checkpoints, s3:// would need TensorFlow or another
package, and stores have no rename, by which Orbax and the seals recognise a complete checkpoint.
"""

import contextlib
import hashlib
import logging
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxrec.data import sources
from jaxrec.system import objects
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError
from jaxrec.system.files import is_address, read_json, write_json
from jaxrec.training.workdirs import lease, snapshots, workdir
from jaxrec.training.workdirs.workdir import Place

EVERY = 2.0  # seconds between looks for changes
LONGEST = 60.0  # seconds between attempts to send, at most
LAST = 1.0, 2.0, 4.0, 8.0, 16.0  # seconds to wait before each further attempt at the end
OWNER, SENT, RUN = "owner", "sent.json", "run"  # within the copy's folder
log = logging.getLogger("jaxrec")


@contextlib.contextmanager
def locked(path: Path | str) -> Iterator[Place]:
    """Like `workdir.locked`; for an address, yields the Place of its copy on this machine, which is sent there.

    Raises:
        UserError: as in `workdir.locked`; the store can't be reached, or the last changes could not be sent at the end.
    """
    if not is_address(path):
        with workdir.locked(Path(path)) as place:
            yield place
        return
    address = str(path).rstrip("/")
    if address.startswith(("hf://", "http://", "https://")):
        raise UserError(
            f"{address}: workdirs can't be written there: name a local folder, or an address at s3://, gs:// or az://"
        )
    home = home_of(address)
    with naming(address, home), workdir.locked(home):
        store, root = objects.opened(address)
        with objects.reaching(address):
            held, before = lease.acquire(store, root, address, _owner(home), _warn)
        try:
            with objects.reaching(address):
                mirror = Mirror(address, store, root, home, held)
                mirror.begin(same=before.get("owner") == _owner(home))
            try:
                yield mirror.place
            except BaseException:
                mirror.end(last_word=False)
                raise
            mirror.end()
        finally:
            with contextlib.suppress(*objects.errors()):  # the lock will be stale
                held.release()


def home_of(address: str) -> Path:
    """Returns the folder on this machine for copies of the workdir at an address."""
    return sources.cache() / "workdirs" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]


@contextlib.contextmanager
def naming(address: str, home: Path) -> Iterator[None]:
    """A context in which messages about the copy of a workdir name its address."""
    try:
        yield
    except UserError as error:
        name = objects.name_of(address)
        for copy in (home / RUN / name, home / "read" / name, home):
            error.args = tuple(str(each).replace(str(copy), address) for each in error.args)
        raise


class _Held(Place):
    """The Place of a copy. Its check includes that no other training has taken the workdir over."""

    def __init__(self, path: Path, held: lease.Lease):
        super().__init__(path)
        self._held = held

    def check(self) -> None:
        self._held.check()
        super().check()


class Mirror:
    """Sends the changes in the copy of a workdir, in a thread, from `begin` to `end`."""

    def __init__(self, address: str, store: Any, root: str, home: Path, held: lease.Lease):
        """
        Args:
            address: the address of the workdir.
            store: fsspec's file system.
            root: path of the workdir in it.
            home: the folder of the copy, locked.
            held: the Lease.
        """
        self._address, self._store, self._root, self._home, self._held = address, store, root, home, held
        self._copy = home / RUN / objects.name_of(address)
        self._sent: dict[str, list | None] = {}  # {name: signature of what was sent, if known} of the store
        self._stop, self._failed = threading.Event(), None
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    @property
    def place(self) -> Place:
        """The Place of the copy."""
        return _Held(self._copy, self._held)

    def begin(self, same: bool) -> None:
        """Brings the copy to the state of the store, and starts the thread.

        Args:
            same: whether nobody has trained there since this copy was sent. Then the copy is kept, as it may have more
                than was sent.

        Raises:
            UserError: the store holds no workdir of this kind.
            OSError: or another of `objects.errors`, if the store can't be reached.
        """
        there = snapshots.sendable(objects.listed(self._store, self._root))
        known = _sent(self._home / SENT)
        if same and self._copy.is_dir():
            self._sent = {name: known[name] for name in there if name in known}  # the rest is somebody else's
        else:
            self._set_aside(known)
            self._fetch(there)
            write_json(self._home / SENT, self._sent)
        self._thread.start()

    def send(self) -> None:
        """Sends the files that are new since the last time, and removes those that are gone.

        Raises:
            UserError: another training has taken the workdir over.
            OSError: or another of `objects.errors`, if the store can't be reached.
        """
        now = snapshots.signatures(self._copy)
        if now == self._sent:
            return
        with snapshots.taken(self._copy, self._home / "sending") as found:
            new = [name for name in sorted(found, key=snapshots.rank) if self._sent.get(name) != found[name].signature]
            write_json(self._home / SENT, self._sent | dict.fromkeys(new))  # in case it is killed now
            for seal in [name for name in new if snapshots.is_seal(name) and name in self._sent]:
                self._compare(seal, found)
            for name in [name for name in new if self._sent.get(name) != found[name].signature]:
                self._held.check()
                if snapshots.is_seal(name):
                    self._held.renew()
                self._store.put_file(str(found[name].path), f"{self._root}/{name}")
                self._sent[name] = found[name].signature
            for name in sorted(self._sent.keys() - found, key=lambda name: not snapshots.is_seal(name)):
                self._held.check()
                self._remove(name)
        write_json(self._home / SENT, self._sent)

    def end(self, last_word: bool = True) -> None:
        """Stops the thread, and sends what is left.

        Args:
            last_word: whether to raise a failure; otherwise, as after another error, it is only logged.

        Raises:
            UserError: the rest can't be sent, or another training has taken the workdir over.
        """
        self._stop.set()
        self._thread.join()
        try:
            self._send_the_rest()
        except UserError as error:
            if last_word:
                raise
            log.warning("%s", printable(str(error)))

    def _send_the_rest(self):
        if self._failed is not None:
            raise self._failed
        for wait in (*LAST, None):
            try:
                self.send()
                return
            except objects.errors() as error:
                if wait is None:
                    raise UserError(
                        f"{self._address}: the last changes of this training could not be sent "
                        f"({objects.said(error)}): they are kept on this machine, and the same command, run again "
                        "here, sends them or goes on"
                    ) from error
                threading.Event().wait(wait)

    def _run(self):
        wait, told = EVERY, False
        while not self._stop.wait(wait):
            try:
                self.send()
            except objects.errors() as error:
                if not told:
                    _warn(
                        f"{self._address} cannot be reached ({objects.said(error)}): training goes on, and changes "
                        "are sent as soon as it can be reached"
                    )
                wait, told = min(2 * wait, LONGEST), True
            except BaseException as error:  # raised by `end`, in the training's thread
                self._failed = error
                return
            else:
                if told:
                    _warn(f"{self._address} can be reached again")
                wait, told = EVERY, False

    def _compare(self, seal, found):
        """Records that a checkpoint was sent if the store has the same seal; otherwise removes the store's old seal.

        The former happens if the process was killed after it sent the checkpoint, and before it could record that.
        """
        with contextlib.suppress(FileNotFoundError):
            if self._store.cat_file(f"{self._root}/{seal}") == found[seal].path.read_bytes():
                inner = [name for name in found if snapshots.is_sealed_by(name, seal)]
                self._sent |= {name: found[name].signature for name in [*inner, seal]}
                return
        self._remove(seal)

    def _remove(self, name):
        with contextlib.suppress(FileNotFoundError):
            self._store.rm_file(f"{self._root}/{name}")
        del self._sent[name]

    def _set_aside(self, known):
        """Makes way for a new copy: removes the old one, or renames it if some of it was never sent."""
        if not self._copy.is_dir():
            return
        if snapshots.signatures(self._copy) == known:
            shutil.rmtree(self._copy)
            return
        aside = self._home / f"unsent-{secrets.token_hex(4)}"
        self._copy.rename(aside)
        _warn(
            f"{self._address} was changed by another training since this machine last trained there: the last steps of "
            f"this machine, which were not sent, are kept in {aside}"
        )

    def _fetch(self, there):
        """Copies the workdir from the store."""
        unsealed = snapshots.unsealed(there)
        if unsealed and self._held.number == 1:  # no training has locked it before
            raise UserError(
                f"{self._address}: {min(unsealed)} has no {snapshots.SEAL}: it is incomplete, or not written by this "
                "version of jaxrec: copy the workdir to a disk, and train there"
            )
        made = self._home / "fetching"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        self._sent = dict.fromkeys(there)
        for name in sorted(there):
            if snapshots.step_of(name) not in unsealed:
                objects.get(self._store, f"{self._root}/{name}", made / name)
                self._sent[name] = snapshots.signature(made / name)
        self._copy.parent.mkdir(exist_ok=True)
        made.rename(self._copy)


def _sent(file: Path) -> dict:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _owner(home: Path) -> str:
    """Returns what identifies the copies in a folder of this machine."""
    file = home / OWNER
    if not file.exists():
        file.write_text(secrets.token_hex(8))
    return f"{file.read_text()}@{socket.gethostname()}"


def _warn(line: str) -> None:
    log.warning("%s", printable(line))
