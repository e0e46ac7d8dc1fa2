"""The changes of a catalogue in the file of a service: one line of JSON for each."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.data.attributes import newcomers
from jaxrec.inference.numbering import Numbering
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import NewItem
from jaxrec.system.errors import UserError

log = logging.getLogger("jaxrec.serve")


class Change(NamedTuple):
    """Items that were added, and items that were then retired."""

    added: Sequence[NewItem]
    retired: Sequence


def line(change: Change) -> bytes:
    """Returns the line of a change.

    >>> line(Change([NewItem(7, like=[3])], [5]))
    b'{"add":[{"id":7,"like":[3],"about":{}}],"retire":[5]}\\n'
    """
    items = [{"id": item.id, "like": [*item.like], "about": dict(item.about)} for item in change.added]
    return json.dumps({"add": items, "retire": [*change.retired]}, separators=(",", ":")).encode() + b"\n"


def parsed(text: bytes, path: Path, first: int = 1) -> Iterator[Change]:
    """Yields the changes in whole lines.

    Args:
        text: the lines.
        path: their file, for messages.
        first: the number of the first line, for messages.

    Raises:
        UserError: a line is damaged.
    """
    for number, each in enumerate(text.splitlines(), first):
        try:
            values: Mapping[str, Any] = json.loads(each)
            added = [NewItem(item["id"], item["like"], item["about"]) for item in values["add"]]
            yield Change(added, list(values["retire"]))
        except (ValueError, TypeError, KeyError):
            raise UserError(f"{path}, line {number}: not a change of a catalogue: fix or remove the line") from None


def read(path: str | Path) -> list[Change]:
    """Returns the changes in a file, even while a service writes it: an incomplete last line never took effect.

    Raises:
        UserError: the file can't be read, or is damaged.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}; give the file of a service's --stock") from error
    return list(parsed(text[: text.rfind(b"\n") + 1], Path(path)))


def onto(recommender: Recommender, changes: Iterable[Change], rows: int = 0) -> Recommender:
    """Returns a Recommender with all changes applied to its catalogue.

    Changes that no longer apply are left out. An item that the catalogue already has is not added again. Attributes
    that its items lack, items that are like none of its items, and items that the remaining attributes don't describe
    are left out with a warning in the log.

    Args:
        recommender: the Recommender of a training, without changes.
        changes: the changes, oldest first.
        rows: the minimum number of rows of the tables.
    """
    known = Numbering(recommender.catalogue.ids)
    own, added, offered = known.own, {}, {}
    for change in changes:
        for item in change.added:
            id, like = own(item.id), [each for each in item.like if own(each) in known or own(each) in added]
            offered[id] = True
            if id in known or id in added:
                continue
            if item.like and not like:
                log.warning("%r is like items that are gone, and is left out: add it again by POST /items", item.id)
                continue
            added[id] = item._replace(like=like, about=_applying(item, recommender.catalogue))
        offered |= dict.fromkeys(map(own, change.retired), False)
    gone = lambda: [id for id, is_offered in offered.items() if not is_offered and (id in known or id in added)]
    try:
        return recommender.changed(list(added.values()), gone(), rows)
    except UserError:  # one of them does not apply
        added = _one_by_one(recommender, added)
    return recommender.changed(list(added.values()), gone(), rows)


def _applying(item, catalogue):
    """Returns the attributes of an item that the items of a catalogue have too, with values of the same type."""
    types = {} if catalogue.about is None else catalogue.about.schema
    about = {name: value for name, value in item.about.items() if name in types and newcomers.fits(value, types[name])}
    for name in item.about.keys() - about.keys():
        log.warning("the attribute %s of %r does not fit the catalogue any more, and is left out", name, item.id)
    return about


def _one_by_one(recommender, added):
    """Returns the items, by id, that can be added to a catalogue one after another."""
    now, found = recommender, {}
    for id, item in added.items():
        try:
            now = now.changed([item])
            found[id] = item
        except UserError as error:
            log.warning("%r does not apply any more, and is left out: %s", item.id, error)
    return found
