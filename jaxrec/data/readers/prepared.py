"""Reads prepared folders."""

from jaxrec.data import prepared
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ReaderEntry, described


def read(given: Input) -> Interactions:
    """Reads a folder written by `prepare`."""
    interactions = prepared.load(given.files[0].path.parent)
    return interactions if given.items is None else described(given, interactions)


READER = ReaderEntry(
    name="prepared", read=read, begins=lambda file: file.name == prepared.META, takes=frozenset({"memory"})
)
