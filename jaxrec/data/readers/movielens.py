"""Reads MovieLens ratings, with titles and genres."""

from functools import partial

from jaxrec.data import columns as cols
from jaxrec.data.attributes import items
from jaxrec.data.discover import RATINGS
from jaxrec.data.formats import dialects, tables
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished


def _separator(line: str) -> str:
    """Returns the separator of a MovieLens file: the most frequent candidate in its first line, or a space."""
    found = max(dialects.SEPARATORS, key=line.count)
    return found if line.count(found) else " "


def read(given: Input) -> Interactions:
    """Reads MovieLens' ratings.dat, ratings.csv or u.data, with titles and genres from the files beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    separator = _separator(line)
    names = tables.fields(line, separator)
    if not (header := any(map(cols.known, names))):
        names = ["user", "movieId", "rating", "timestamp"]
    chosen = cols.choose(names, {}, file)
    given.say(cols.said(names, chosen))
    log = given.log({role: names[at] for role, at in chosen.items()})
    options = {"header": header, "quote": given.quote, "odd": given.odd}
    given.collect(log, file, names, chosen, partial(tables.delimited, file, separator, len(names), **options))
    interactions = finished(given, log)
    about = None if given.items is not None else items.movielens(file)
    return described(given, interactions) if about is None else items.describe(interactions, about, given.say)


READER = ReaderEntry(name="movielens", read=read, begins=lambda file: file.name in RATINGS, takes=ROWS)
