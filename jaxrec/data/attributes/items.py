"""Item attributes, such as titles, genres and prices, read from the tables that come with a data set.

Columns keep their names and types. A text column becomes integers, floats, booleans or dates if all of its values are.
Titles stay text, and so do ids, which are matched with those of the log as text.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.attributes import embeddings
from jaxrec.data.files import beside
from jaxrec.data.files.text import File, fail, pieces, short, some
from jaxrec.data.formats import arrow, columnar, fields, json_lines
from jaxrec.data.formats.dialects import is_number
from jaxrec.data.formats.tables import LONG
from jaxrec.data.interactions import COUNT, GENRES, ID, TITLES, Catalogue, Interactions
from jaxrec.data.values.nested import is_opaque
from jaxrec.data.values.typed import EXACT, typed
from jaxrec.system.errors import UserError

ROWS = 1 << 16  # text rows converted at once
PLACE = " place"  # name of a temporary column of row numbers
#: the escape of a lone UTF-16 surrogate, which a JSON reader would replace by another character
LONE = re.compile(rb"\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]..", re.IGNORECASE)
LITERAL = re.compile(rb"\s*\{\s*u?'")  # how a Python dict literal begins
GENRE_FLAGS = """unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror
Musical Mystery Romance Sci-Fi Thriller War Western"""  # the flags of u.item, after its five other fields


def describe(
    interactions: Interactions, about: pl.DataFrame, say: Callable[[str], None] = lambda line: None
) -> Interactions:
    """Returns the interactions with the item attributes of a table that has `ID`, as text, and any other columns."""
    catalogue = interactions.catalogue
    ids = pl.DataFrame({ID: pl.Series(catalogue.ids.tolist()).cast(pl.String)})
    if len(unknown := ids.join(about, on=ID, how="anti")):
        say(f"{len(unknown):,} of {len(ids):,} items have no row in the table of items{as_in(unknown[ID], ids, about)}")
    aligned = ids.join(about, on=ID, how="left", maintain_order="left").drop(ID)
    return replace(interactions, catalogue=catalogue._replace(about=aligned if aligned.width else None))


def as_in(unknown: pl.Series, ids: pl.DataFrame, about: pl.DataFrame) -> str:
    """Returns an example of an id that has no row in the table, for a note; also one of the table's if none has."""
    other = f", where the table has {short(about[ID][0])}" if len(unknown) == len(ids) and len(about) else ""
    return f", such as {short(unknown[0])}{other}"


def described(
    interactions: Interactions, path: Any, log: list[File], folder: str, column: str | None, say: Callable[[str], None]
) -> Interactions:
    """Returns the interactions with item attributes from a given table, or from one found beside the log.

    Args:
        interactions: the log's interactions.
        path: the table's path, or an in-memory table; None to look for one beside the log; "" for none.
        log: the files of the log.
        folder: the log's path as given; if it is a folder, the table may be in it.
        column: the log's column of item ids; a column of this name in the table is preferred.
        say: receives notes.

    Raises:
        UserError: if the table is missing, damaged, or has none of the log's items; or if two are beside the log.
    """
    file = None if arrow.is_frame(path) else _named(path) if path else None if path == "" else beside.table(log, folder)
    if file is None and not arrow.is_frame(path):
        return interactions
    file, about = given(file or path, interactions.catalogue, column)
    about = looked_over(file, about, say)
    say(f"items: {file}: {some(_said(about), 30)}")
    known = [str(id) for id in interactions.catalogue.ids.tolist()]
    if path is not None and not len(about.filter(pl.col(ID).is_in(known))):
        ids = f"{short(str(about[ID].first()))}, where the log has {short(str(interactions.catalogue.ids[0]))}"
        cure = "name the column of the ids as in the log, or item_id"
        raise UserError(f"{file}: none of its ids is an item of the log; it has {ids}: {cure}")
    return describe(interactions, about, say)


def given(
    path: File | str | os.PathLike | Any, catalogue: Catalogue, column: str | None = None, role: str = "item"
) -> tuple[File | str, pl.DataFrame]:
    """Returns a table of items, from a file or in memory, with ids in the form of the catalogue's, and its name.

    Args:
        path: the file, or an in-memory table.
        catalogue: the catalogue.
        column: the name of the ids' column, as for `table`.
        role: as for `table`.

    Returns:
        (name, table): a name for messages, and the table with the column `ID`, as text, and all others.
    """
    if arrow.is_frame(path):
        file, about = f"{role}s", arrow.to_polars(path)
        about = _each_once(file, _with_ids(file, about, _key(file, about.columns, column, role), role), role)
    else:
        file = path if isinstance(path, File) else _named(os.fspath(path), role)
        about = table(file, column, role)
    return file, _as_integers(file, about, role) if catalogue.ids.dtype.kind == "i" else about


def _as_integers(file: File | str, about: pl.DataFrame, role: str) -> pl.DataFrame:
    """Rewrites ids such as 1.0, as pandas writes integer columns with gaps, as integers; strips spaces around them."""
    ids = about[ID].str.strip_chars().str.replace(r"^(-?[0-9]{1,15})\.0*$", "${1}")
    if (twice := ids.is_duplicated()).any():
        ways = some(map(repr, about[ID].filter(ids == ids.filter(twice)[0])))
        raise UserError(f"{file}: {role} {ids.filter(twice)[0]} has two rows, spelled {ways}: keep one")
    return about.with_columns(ids)


def table(file: File, column: str | None = None, role: str = "item") -> pl.DataFrame:
    """Reads a table of items: Parquet, Arrow, JSON lines or RecBole by file name, otherwise text with a header.

    Args:
        file: the file.
        column: name of the ids' column, if the table has it; otherwise it is recognised by name.
        role: what the rows describe, "item" or "user".

    Returns:
        The column `ID`, as text, all other columns, and one for each array of vectors beside the file.

    Raises:
        UserError: if the file can't be read, has no column of ids, lacks an id, or has two different rows for an id.
    """
    return _each_once(file, embeddings.with_vectors(file, _rows(file, column, role)), role)


def _rows(file: File, column: str | None, role: str) -> pl.DataFrame:
    if file.suffix in columnar.SUFFIXES:
        return _columnar(file, column, role)
    if file.suffix in json_lines.SUFFIXES:
        return _json_lines(file, column, role)
    if file.suffix in (".item", ".user"):
        return _recbole(file, column, role)
    rows = fields.of_csv(file)
    _, header = next(rows)
    return _frame(file, header, _key(file, header, column, role), rows, role)


def looked_over(file: File | str, about: pl.DataFrame, say: Callable[[str], None]) -> pl.DataFrame:
    """Returns a table without columns that have no name, such as an index, or hold empty records; notes what is odd.

    Notes the columns left out, and values of a text file that span lines: if the quotes are plain characters, such
    values have swallowed rows.
    """
    if nameless := [name for name in about.columns if not name.strip()]:
        say(f"{file}: columns without a name are left out: {len(nameless)}; name them to use them")
        about = about.drop(nameless)
    if bare := [name for name, dtype in about.schema.items() if _is_bare(dtype)]:
        say(f"{file}: columns with empty records are left out: {some(bare)}")
        about = about.drop(bare)
    if isinstance(file, str) or file.suffix in (*columnar.SUFFIXES, *json_lines.SUFFIXES):
        return about
    found = [values.filter(values.str.contains("\n")) for values in about.select(pl.col(pl.String))]
    if number := sum(map(len, found)):
        say(
            f"{file}: quoted fields that span several lines: {number:,}, such as "
            f"{short(next(values[0] for values in found if len(values)))}; if quotes are plain characters there, rows "
            'were swallowed: write such fields as """Heroes" for "Heroes'
        )
    return about


def _is_bare(dtype: Any) -> bool:
    """Returns whether a type is, or contains, a record without fields, which Parquet cannot hold."""
    if isinstance(dtype, pl.Struct):
        return not dtype.fields or any(_is_bare(field.dtype) for field in dtype.fields)
    return isinstance(dtype, pl.List | pl.Array) and _is_bare(dtype.inner)


def _said(about: pl.DataFrame) -> Iterator[str]:
    """Yields a description of each column and its type."""
    for name, dtype in about.drop(ID).schema.items():
        kinds = {"text": dtype == pl.String, "integer": dtype.is_integer(), "number": dtype.is_float()}
        yield f"{name} ({next((kind for kind, fits in kinds.items() if fits), str(dtype).lower())})"


def _named(path: str, role: str = "item") -> File:
    try:
        given = Path(path).expanduser()
    except RuntimeError as error:  # no such user
        raise UserError(f"--{role}s {path}: {error}: name the file") from None
    if not given.is_file():
        why = "a folder" if given.is_dir() else "no such file"
        raise UserError(f"--{role}s {path}: {why}: name a table of {role}s, such as {role}s.csv or {role}s.parquet")
    return File(given)


def _columnar(file: File, column: str | None, role: str) -> pl.DataFrame:
    names = columnar.names(file)
    frames = [batch.frame for batch in columnar.read(file, {name: name for name in names})]
    frame = pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    return _with_ids(file, frame, _key(file, names, column, role), role)


def _json_lines(file: File, column: str | None, role: str) -> pl.DataFrame:
    text = b"".join(piece.text for piece in pieces(file))
    if b"\\u" in text and (half := LONE.search(plain := text.replace(b"\\\\", b"  "))):
        line = plain.count(b"\n", 0, half.start())
        row = text.split(b"\n")[line].decode()
        fail(file, line + 1, row, f"{half[0].decode()} is half a character: write the text as UTF-8")
    text = json_lines.as_json(file, text) if LITERAL.match(text) else text
    try:
        frame = pl.read_ndjson(text, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        why = str(error).strip().partition("\n")[0][:120]
        raise UserError(f"{file}: not JSON lines, an object a line ({why}): mend it") from None
    return _with_ids(file, frame, _key(file, frame.columns, column, role), role)


def _with_ids(file: File | str, frame: pl.DataFrame, key: int, role: str) -> pl.DataFrame:
    """Returns a typed table with its ids as text, in the column `ID`."""
    ids = frame.to_series(key)
    if ids.dtype.is_float():
        if not (ids.drop_nulls() == ids.drop_nulls().round()).all() or (ids.abs() >= EXACT).any():
            raise UserError(f"{file}: column {ids.name} holds floats: an id is an integer or a text: write it so")
        ids = ids.cast(pl.Int64)
    if is_opaque(ids.dtype) or ids.dtype.is_temporal() or ids.dtype in (pl.Boolean, pl.Binary):
        raise UserError(f"{file}: column {ids.name} holds {ids.dtype}: an id is an integer or a text")
    ids = ids.cast(pl.String).fill_null("")
    names = _distinct(file, frame.columns, key)
    frame = frame.with_columns(ids).rename(dict(zip(frame.columns, names, strict=True)))
    _check_ids(file, frame, lambda row: f"row {row + 1}", role)
    return frame


def _recbole(file: File, column: str | None, role: str) -> pl.DataFrame:
    """Reads RecBole's .item or .user: tab-separated with a typed header; lists of genres become "A|B"."""
    rows = fields.split(file, "\t")
    _, header = next(rows)
    names = [name.partition(":")[0] for name in header]
    frame = _frame(file, names, _key(file, names, column, role), rows, role)
    listed = [
        each
        for each, kind in zip(frame.columns, header, strict=True)
        if kind.endswith("_seq") and cols.plain(each) in GENRES and frame[each].dtype == pl.String
    ]
    return frame.with_columns(pl.col(listed).str.replace_all(" ", "|", literal=True))


def movielens(ratings: File) -> pl.DataFrame | None:
    """Reads titles and genres beside MovieLens' ratings, from movies.dat, movies.csv or u.item; None if missing."""
    if file := ratings.beside("movies.csv"):
        rows = fields.of_csv(file)
        next(rows)
    elif file := ratings.beside("movies.dat"):
        rows = fields.split(file, LONG, "latin-1")
    elif file := ratings.beside("u.item"):
        rows = ((line, [*row[:2], _flagged(row[5:])]) for line, row in fields.split(file, "|", "latin-1", least=6))
    else:
        return None
    return _each_once(file, _frame(file, [ID, "title", "genres"], 0, rows), "item")


def _flagged(flags: list[str]) -> str:
    return "|".join(genre for genre, flag in zip(GENRE_FLAGS.split(), flags, strict=False) if flag == "1")


def _key(file: File | str, header: list[str], column: str | None = None, role: str = "item") -> int:
    """Returns the index of the column of ids: the one named as in the log, otherwise one with a common name."""
    for name in filter(None, (column, column and column.rpartition(".")[2])):  # events.aid may be called aid here
        if name in header:
            return header.index(name)
    places = {cols.plain(name): place for place, name in reversed(list(enumerate(header)))}
    if (found := next((places[name] for name in [*cols.KNOWN[role].split(), "id"] if name in places), None)) is None:
        where = file if isinstance(file, str) or file.suffix in columnar.SUFFIXES else f"{file}, line 1"
        missing = f"{column}, nor {role}_id" if column and column != f"{role}_id" else f"{role}_id"
        cure = f"rename the column of the {role} ids to {role}_id, or prepare with --{role}s '' to ignore the table"
        if any(map(is_number, header)):
            cure = f"if the first row is no header, put one above it; otherwise {cure}"
        raise UserError(f"{where}: no column {missing}: there are {some(header, 30)}: {cure}")
    return found


def _distinct(file: File | str, header: list[str], key: int) -> list[str]:
    """Returns the column names, with `ID` for the column of ids, and distinct blanks for columns without a name."""
    names = [name or " " * place for place, name in enumerate(header)]
    names[key] = ID
    if ID in header and header[key] != ID:
        cure = f"rename the column {ID}, or remove it"
        fail(file, 1, ",".join(header), f"{header[key]} and {ID} could both be the ids: {cure}")
    if twice := [name for name in names if names.count(name) > 1]:
        fail(file, 1, ",".join(header), f"two columns are {twice[0]}: rename one, or remove it")
    if COUNT in names:
        fail(file, 1, ",".join(header), f"the catalogue keeps its own {COUNT}: rename that column, or remove it")
    return names


def _check_ids(file: File | str, frame: pl.DataFrame, place: Callable[[int], str], role: str) -> None:
    """Checks that each row has an id, and that rows of one id are equal. `place`: row index -> its place, "line 7"."""
    ids = frame[ID]
    row = lambda at: short(",".join("" if value is None else str(value) for value in frame.row(at)))
    if (empty := (ids.str.strip_chars() == "").arg_true()).len():
        raise UserError(f"{file}, {place(empty[0])}: {row(empty[0])}: no {role} id: fill it in, or remove the row")
    if unlike := _unlike(frame):
        first = (ids == ids[unlike[0]]).arg_true()[0]
        keep = "keep one of them" if len(unlike) == 1 else "keep one of them, and likewise for the others"
        cure = f"{role} {ids[unlike[0]]} has {place(first)} already: {keep}"
        raise UserError(f"{file}, {place(unlike[0])}: {row(unlike[0])}: {cure}")


def _unlike(frame: pl.DataFrame) -> list[int]:
    """Returns the indices of the rows that have the id of an earlier row but different values."""
    twice = frame.with_row_index(PLACE).filter(frame[ID].is_duplicated())
    first, found, key = {}, [], frame.columns.index(ID)
    for place, *values in zip(twice[PLACE].to_list(), *(twice[name].to_list() for name in frame.columns), strict=True):
        shown = repr(values)  # in this form NaN equals itself
        if first.setdefault(values[key], shown) != shown:
            found.append(place)
    return found


def _each_once(file: File | str, about: pl.DataFrame, role: str) -> pl.DataFrame:
    """Returns the first row of each id. Raises UserError if rows of an id differ, as in the vectors beside the file."""
    if unlike := _unlike(about):
        raise UserError(f"{file}: {role} {about[ID][unlike[0]]} has rows with different vectors beside it: keep one")
    return about.filter(about[ID].is_first_distinct())


def _frame(file: File, header: list[str], key: int, rows: Iterator, role: str = "item") -> pl.DataFrame:
    """Returns the rows as a table with the column `ID`, and with the types of the other columns inferred from text."""
    names = _distinct(file, header, key)
    empty = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    frames, lines = [empty], [pl.Series([], dtype=pl.Int64)]
    while chunk := list(islice(rows, ROWS)):
        for line, row in chunk:
            if len(row) != len(names):
                cure = f"{len(row)} fields where the header has {len(names)}: quote a field that holds a separator"
                fail(file, line, ",".join(row), cure)
        columns = zip(*(row for _, row in chunk), strict=True)
        frame = pl.DataFrame({n: pl.Series(n, c, pl.String) for n, c in zip(names, columns, strict=True)})
        frames.append(frame := frame.with_columns(pl.exclude(ID).str.strip_chars()))
        _check_ids(file, frame, lambda row, chunk=chunk: f"line {chunk[row][0]}", role)  # fail early
        lines.append(pl.Series([line for line, _ in chunk], dtype=pl.Int64))
    frame, line = pl.concat(frames), pl.concat(lines)
    _check_ids(file, frame, lambda row: f"line {line[row]}", role)
    texts = {name for name in names if name == ID or cols.plain(name) in TITLES}
    return frame.with_columns(typed(frame[name]) for name in names if name not in texts)
