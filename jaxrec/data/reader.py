"""The interface of log readers, and the last steps that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxrec.config.registry import Entry
from jaxrec.data.attributes import items
from jaxrec.data.files.text import File
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Log

ROWS = frozenset({"only", "ids", "time_format", "quote", "memory"})  #: options of formats with fixed columns


@dataclass(frozen=True, kw_only=True)
class ReaderEntry(Entry):
    """A log format, named by `--format`."""

    kind: ClassVar[str] = "reader"
    name: str
    read: Callable[[Input], Interactions]
    begins: Callable[[File], bool] | None = None  #: whether reading starts from this file; None if all files are shards
    #: supported reading options, among "columns", "only", "ids", "time_format", "separator", "quote" and "memory"
    takes: frozenset[str] = ROWS | {"columns"}
    as_table: frozenset[str] = frozenset()  #: options that, if given, have a file of this format read as a plain table


def finished(given: Input, log: Log, relative: bool = False) -> Interactions:
    """Returns the Interactions of a log whose rows were all added; `relative`: times count from an unknown moment."""
    given.only.close(given.name, log.rows)
    interactions, notes = log.interactions(given.name, relative)
    for note in filter(None, notes):
        given.say(note)
    return interactions


def described(given: Input, interactions: Interactions, column: str | None = None) -> Interactions:
    """Returns the interactions with item attributes from the named table, or one found beside the log.

    Args:
        given: the input.
        interactions: the log's interactions.
        column: the log's column of item ids.
    """
    return items.described(interactions, given.items, given.files, given.name, column, given.say)
