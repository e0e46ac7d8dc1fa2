"""Changes of the catalogue while the service runs: items are added and retired, and the changes kept in a file."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from jaxrec.inference import changes
from jaxrec.inference.changes import Change
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import NewItem, roomy
from jaxrec.serve import locks
from jaxrec.serve.database import Unavailable
from jaxrec.system.errors import UserError


class Stocking:
    """The changes of a catalogue, in a file with a JSON object per line. A change is on disk before it is in force.

    The file is locked while the service runs. The processes of one service take turns to change it, and each applies
    what the others have changed. An incomplete last line, of a change that was never in force, is removed.
    """

    def __init__(self, path: str | Path, turns: Path | None = None):
        """
        Args:
            path: the file, created if it doesn't exist.
            turns: the lock file by which the processes of a service take turns; None if there is only one process.

        Raises:
            UserError: if it can't be used, or is damaged.
        """
        self._path, self._turns, self._end, self._lines = Path(path), turns, 0, 0
        self._file = locks.opened(path) if turns else locks.held(path)
        with self.turn():
            self._changes = self._news()

    @property
    def is_behind(self) -> bool:
        """Whether another process has changed the catalogue, or is doing so."""
        return self._turns is not None and os.fstat(self._file).st_size > self._end

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """A context in which no other process of the service changes the catalogue."""
        return locks.turn(self._turns) if self._turns else contextlib.nullcontext()

    def followed(self, recommender: Recommender) -> Recommender:
        """Returns a Recommender with what other processes have changed since. Must be called in a `turn`."""
        if not self.is_behind:
            return recommender
        news, now = self._news(), recommender
        self._changes += news
        try:
            for change in news:
                now = now.changed(change.added, change.retired)
        except UserError:  # this process has another catalogue at present: apply what fits it
            now = self.onto(recommender.base or recommender, recommender.engine.items)
        return now

    def onto(self, recommender: Recommender, rows: int = 0) -> Recommender:
        """Returns a Recommender with all changes: see `changes.onto`.

        Args:
            recommender: the Recommender of a training, without changes.
            rows: the minimum number of rows of its tables, such as that of a Recommender whose programs it shares; 0:
                enough for all items, with room for more.
        """
        now = changes.onto(recommender, self._changes, rows)
        return now if rows else now.changed(rows=roomy(len(now.offered)))

    def changed(self, recommender: Recommender, added: Sequence[NewItem], retired: Sequence) -> Recommender:
        """Returns a Recommender with items added and retired, once the change is on disk. Must be called in a `turn`.

        Raises:
            UserError: as for `Recommender.changed`.
            Unavailable: if the change can't be written.
        """
        now = recommender.changed(added, retired)
        change = Change(added, retired)
        line = changes.line(change)
        try:
            if os.pwrite(self._file, line, self._end) != len(line):
                raise OSError(None, "no space is left")
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):  # otherwise its rest could stay behind a shorter line
                os.ftruncate(self._file, self._end)
            raise Unavailable(f"the file of changes could not be written: {error.strerror}") from error
        self._end, self._lines = self._end + len(line), self._lines + 1
        self._changes.append(change)
        return now

    def _news(self):
        """Returns the changes in the file that have not been read, and removes an incomplete last line."""
        try:
            text = os.pread(self._file, max(os.fstat(self._file).st_size - self._end, 0), self._end)
            whole = text[: text.rfind(b"\n") + 1]
            if whole != text:
                os.ftruncate(self._file, self._end + len(whole))
        except OSError as error:
            raise UserError(f"{self._path}: can't be read: {error.strerror}; name another with --stock") from error
        news = list(changes.parsed(whole, self._path, self._lines + 1))
        self._end, self._lines = self._end + len(whole), self._lines + len(news)
        return news
