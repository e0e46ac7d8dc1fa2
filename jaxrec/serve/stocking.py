"""Changes of the catalogue while the service runs: items are added and retired, and the changes kept in a file."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import ROOM, NewItem
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

    The file is locked while the service runs. An unfinished last line, of a change that was never in force, is removed.
    """

    def __init__(self, path: str | Path):
        """
        Args:
            path: the file, created if it doesn't exist.

        Raises:
            UserError: if it can't be used, or is damaged.
        """
        self._path = Path(path)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = self._path.read_bytes()
        except BlockingIOError:
            raise UserError(f"{path}: another service changes its catalogue there: name another with --stock") from None
        except OSError as error:
            raise UserError(
                f"{path}: can't be used for changes: {error.strerror}; name another with --stock"
            ) from error
        self._end = text.rfind(b"\n") + 1
        self._changes = list(self._read(text[: self._end]))

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
        """Returns a Recommender with items added and retired; the change is on disk then.

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
            raise Unavailable(f"the file of changes could not be written: {error.strerror}") from error
        self._end += len(line)
        self._changes.append(Change(added, retired))
        return now

    def _read(self, text: bytes) -> Iterator[Change]:
        os.ftruncate(self._file, self._end)
        for number, line in enumerate(text.splitlines(), 1):
            try:
                values: Mapping[str, Any] = json.loads(line)
                added = [NewItem(item["id"], item["like"], item["about"]) for item in values["add"]]
                yield Change(added, list(values["retire"]))
            except (ValueError, TypeError, KeyError):
                raise UserError(
                    f"{self._path}, line {number}: no change of a catalogue: mend or remove the line"
                ) from None
