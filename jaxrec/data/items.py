"""What is known of items beside their ids: titles, genres, and any other column of the tables that come with data."""

import csv

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.interactions import ID, Interactions
from jaxrec.data.tables import LONG
from jaxrec.data.text import File, csv_rows, fail, pieces
from jaxrec.errors import UserError

TITLES, GENRES = ("title", "movietitle", "name", "itemname"), ("genres", "genre", "class", "categories", "category")
GENRE_FLAGS = """unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror
Musical Mystery Romance Sci-Fi Thriller War Western"""  # of u.item, after five other fields


def describe(interactions: Interactions, about: pl.DataFrame, say=lambda line: None) -> Interactions:
    """The interactions with what a table says of their items: `ID` as text, and any other column."""
    catalogue = interactions.catalogue
    ids = pl.DataFrame({ID: [str(item) for item in catalogue.ids.tolist()]})
    if unknown := len(ids.join(about, on=ID, how="anti")):
        say(f"{unknown:,} of {len(ids):,} items have no row in the table of items")
    aligned = ids.join(about, on=ID, how="left", maintain_order="left").drop(ID)
    return interactions._replace(catalogue=catalogue._replace(about=aligned if aligned.width else None))


def table(file: File) -> pl.DataFrame:
    """An items.csv: item_id, and title, genres, anything."""
    rows = _csv(file)
    _, header = next(rows)
    key = _key(file, header)
    return _frame(file, header, key, rows)


def recbole(file: File) -> pl.DataFrame:
    """RecBole's .item: tab-separated under a typed header; the words of its genres become "A|B"."""
    rows = _split(file, "\t")
    _, header = next(rows)
    names = [name.partition(":")[0] for name in header]
    frame = _frame(file, names, _key(file, names), rows)
    kinds = dict(zip(frame.columns, header, strict=True))
    if not kinds.get("genres", "").endswith("_seq"):
        return frame
    return frame.with_columns(pl.col("genres").str.replace_all(" ", "|", literal=True))


def movielens(ratings: File) -> pl.DataFrame | None:
    """The titles and genres beside MovieLens' ratings: movies.dat, movies.csv or u.item; None if there are none."""
    if file := ratings.beside("movies.csv"):
        rows = _csv(file)
        next(rows)
        return _frame(file, [ID, "title", "genres"], 0, rows)
    if file := ratings.beside("movies.dat"):
        return _frame(file, [ID, "title", "genres"], 0, _split(file, LONG, "latin-1"))
    if file := ratings.beside("u.item"):
        rows = ((line, [*row[:2], _flagged(row[5:])]) for line, row in _split(file, "|", "latin-1", least=6))
        return _frame(file, [ID, "title", "genres"], 0, rows)
    return None


def _flagged(flags: list[str]) -> str:
    return "|".join(genre for genre, flag in zip(GENRE_FLAGS.split(), flags, strict=False) if flag == "1")


def _key(file: File, header: list[str]) -> int:
    found = [number for number, name in enumerate(header) if cols.plain(name) in cols.KNOWN["item"].split()]
    if not found:
        fail(file, 1, ",".join(header), "no column item_id: name the column of the item ids so")
    return found[0]


def _frame(file: File, header: list[str], key: int, rows) -> pl.DataFrame:
    """Rows -> a table with the columns ID, title, genres and the others; text, stripped."""
    names = list(header)
    for wanted, aliases in (("title", TITLES), ("genres", GENRES)):
        alias = next((number for number, name in enumerate(names) if cols.plain(name) in aliases), None)
        if alias is not None and wanted not in names:
            names[alias] = wanted
    names[key] = ID
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        fail(file, 1, ",".join(header), f"two columns are {twice}: rename one, or remove it")
    seen, columns = {}, [[] for _ in names]
    for line, row in rows:
        if len(row) != len(names):
            cure = f"{len(row)} fields where the header has {len(names)}: quote a field that holds a separator"
            fail(file, line, ",".join(row), cure)
        item = row[key].strip()
        if item in seen:
            fail(file, line, ",".join(row), f"item {item} has line {seen[item]} already: keep one of them")
        seen[item] = line
        for column, value in zip(columns, row, strict=True):
            column.append(value.strip())
    return pl.DataFrame(dict(zip(names, columns, strict=True)), schema=dict.fromkeys(names, pl.String))


def _csv(file: File):
    """(number of the line, fields) of a CSV file, the header first, its names stripped."""
    line, first = 0, True
    rows = csv_rows(_numbered(file, count := [0]), strict=True)
    try:
        for row in rows:
            start, line = line + 1, count[0]
            if row:
                yield start, [name.strip() for name in row] if first else row
                first = False
    except csv.Error as error:
        raise UserError(f"{file}, line {line + 1}: not CSV ({error}): mend the quotes") from None
    if first:
        raise UserError(f"{file}, line 1: the file is empty: give it a header and rows, or remove it")


def _numbered(file: File, count: list[int]):
    """The lines of a file with their ends, and in `count` how many they are so far."""
    for piece in pieces(file):
        for text in piece.lines():
            count[0] += 1
            yield f"{text}\n"


def _split(file: File, separator: str, encoding: str = "utf-8", least: int = 1):
    """(number of the line, fields) of a file without quotes."""
    empty = True
    for piece in pieces(file, encoding=encoding):
        for line, text in enumerate(piece.lines(), piece.first):
            if not text.strip():
                continue
            fields = text.split(separator)
            if len(fields) < least:
                fail(file, line, text, f"{len(fields)} fields where {least} or more are expected: mend the line")
            yield line, fields
            empty = False
    if empty:
        raise UserError(f"{file}, line 1: the file is empty: fetch it again, or remove it")
