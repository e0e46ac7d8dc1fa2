"""What a reader of a format is to the rest of jaxrec; and what all of them end with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxrec.config.registry import Entry
from jaxrec.data import items
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Log
from jaxrec.data.text import File

ROWS = frozenset({"only", "ids", "time_format", "quote"})  #: of formats whose columns are known


@dataclass(frozen=True, kw_only=True)
class ReaderEntry(Entry):
    """A format of logs, by its name for `--format`."""

    kind: ClassVar[str] = "reader"
    name: str
    read: Callable[[Input], Interactions]
    begins: Callable[[File], bool] | None = None  #: whether a file is the one to begin with; None: all are its shards
    #: what a person may say of how it is read: "columns", "only", "ids", "time_format", "separator", "quote"
    takes: frozenset[str] = ROWS | {"columns"}
    as_table: frozenset[str] = frozenset()  #: what, where it was said, makes a file that looks so a plain table


def finished(given: Input, log: Log, relative: bool = False) -> Interactions:
    """The interactions of a log that is read whole. relative: whether its times count from an unknown moment."""
    given.only.close(given.name, log.rows)
    interactions, notes = log.interactions(given.name, relative)
    for note in filter(None, notes):
        given.say(note)
    return interactions


def described(given: Input, interactions: Interactions, column: str | None = None) -> Interactions:
    """The interactions with the table of items that was named, or lies beside the log.

    Args:
        column: of the item ids in the log.
    """
    return items.described(interactions, given.items, given.files, given.name, column, given.say)
