"""Reads lines that each hold a user and items."""

from jaxrec.data.formats import sequences
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ReaderEntry, described


def read(given: Input) -> Interactions:
    """Reads sequences.txt with the files beside it, other lines of a user and items, or "user item" lines."""
    options = (given.ids, given.keep_na_ids, given.time_format, given.format == "sequences")
    return described(given, sequences.read(given.files[0], given.bad, given.say, *options))


READER = ReaderEntry(
    name="sequences",
    read=read,
    begins=lambda file: file.name == sequences.NAME,
    takes=frozenset({"ids", "time_format"}),
    as_table=frozenset({"separator"}),
)
