"""Changes of the catalogue while the service runs: items are added and retired, and the changes kept in a file."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import ROOM, NewItem, sharing
from jaxrec.serve import locks
from jaxrec.serve.database import Unavailable
from jaxrec.serve.listing import Listing
from jaxrec.system.errors import UserError

log = logging.getLogger("jaxrec.serve")


class Change(NamedTuple):
    """Items that were added, and items that were then retired."""

    added: Sequence[NewItem]
    retired: Sequence


class Stocking:
    """The changes of a catalogue, in a file with a JSON object per line. A change is on disk before it is in force.

    The file is locked while the service runs; the processes of one service take turns to change it, and each takes over
    what the others have changed. An unfinished last line, of a change that was never in force, is removed.
    """

    def __init__(self, path: str | Path, turns: Path | None = None):
        """
        Args:
            path: the file, created if it doesn't exist.
            turns: a file by which the processes of a service take turns; None if this is its only one.

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
        """Returns a Recommender with what other processes have changed since. To be called in a `turn`."""
        if not self.is_behind:
            return recommender
        news, now = self._news(), recommender
        self._changes += news
        try:
            for change in news:
                now = now.changed(change.added, change.retired)
        except UserError:  # this process has another catalogue at present: what applies to it is taken
            now = self.onto(recommender.base or recommender)
            now.engine = sharing(now.engine, recommender.engine)
        return now

    def onto(self, recommender: Recommender) -> Recommender:
        """Returns a Recommender with all changes, and room for more.

        What no longer applies to its catalogue is left out: an item that it knows is not added again, and one that is
        like none of its items is left out with a warning in the log.
        """
        known, added, offered = Listing(recommender.catalogue), {}, {}
        for change in self._changes:
            for item in change.added:
                like = [id for id in item.like if known.own(id) in known or known.own(id) in added]
                id, offered[known.own(item.id)] = known.own(item.id), True
                if id in known or id in added:
                    continue
                if item.like and not like:
                    log.warning("%r was added like items that are gone, and is left out: POST /items adds it", item.id)
                    continue
                added[id] = item._replace(like=like)
            offered |= dict.fromkeys(map(known.own, change.retired), False)
        retired = [id for id, is_offered in offered.items() if not is_offered and (id in known or id in added)]
        return recommender.changed(list(added.values()), retired, room=ROOM)

    def changed(self, recommender: Recommender, added: Sequence[NewItem], retired: Sequence) -> Recommender:
        """Returns a Recommender with items added and retired; the change is on disk then. To be called in a `turn`.

        Raises:
            UserError: as for `Recommender.changed`.
            Unavailable: if the change can't be written.
        """
        now = recommender.changed(added, retired)
        items = [{"id": item.id, "like": [*item.like], "about": dict(item.about)} for item in added]
        line = json.dumps({"add": items, "retire": [*retired]}, separators=(",", ":")).encode() + b"\n"
        try:
            if os.pwrite(self._file, line, self._end) != len(line):
                raise OSError(None, "no space is left")
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):  # a longer line is else left behind a shorter one
                os.ftruncate(self._file, self._end)
            raise Unavailable(f"the file of changes could not be written: {error.strerror}") from error
        self._end, self._lines = self._end + len(line), self._lines + 1
        self._changes.append(Change(added, retired))
        return now

    def _news(self):
        """Returns the changes in the file that have not been read, and removes what is no whole line."""
        try:
            text = os.pread(self._file, max(os.fstat(self._file).st_size - self._end, 0), self._end)
            whole = text[: text.rfind(b"\n") + 1]
            if whole != text:
                os.ftruncate(self._file, self._end + len(whole))
        except OSError as error:
            raise UserError(f"{self._path}: can't be read: {error.strerror}; name another with --stock") from error
        changes = list(self._read(whole))
        self._end, self._lines = self._end + len(whole), self._lines + len(changes)
        return changes

    def _read(self, text: bytes) -> Iterator[Change]:
        for number, line in enumerate(text.splitlines(), self._lines + 1):
            try:
                values: Mapping[str, Any] = json.loads(line)
                added = [NewItem(item["id"], item["like"], item["about"]) for item in values["add"]]
                yield Change(added, list(values["retire"]))
            except (ValueError, TypeError, KeyError):
                raise UserError(
                    f"{self._path}, line {number}: no change of a catalogue: mend or remove the line"
                ) from None
