"""Reads raw logs in any supported format, detected or given."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxrec.config import registry
from jaxrec.data import columns as cols, discover, frames
from jaxrec.data.attributes import user_columns
from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.opener import Opener
from jaxrec.data.files.text import BadRows, File, some
from jaxrec.data.formats import arrow, dialects, workbooks
from jaxrec.data.formats.only import Only
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ReaderEntry
from jaxrec.data.storage.spill import MEMORY, Store
from jaxrec.data.values.spellings import kind_of
from jaxrec.system.errors import UserError

QUOTES = {'"': '"', "none": ""}  # value of `--quote` -> the character


def read(
    path: Any,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    *,
    items: Any = None,
    users: Any = None,
    ids: str = "",
    keep_na_ids: bool = False,
    time_format: str | None = None,
    only: Sequence[str] = (),
    left_out: Callable[[str, int], None] = lambda step, rows: None,
    separator: str | None = None,
    quote: str = '"',
    allow_large: bool = False,
    store: Store = MEMORY,
) -> Interactions:
    """Reads the interactions of a folder, file, zip or glob in any supported format, or of an in-memory table.

    Args:
        path: where they are, or an in-memory table, see `arrow`.
        format: name or import path of a reader; None to detect it.
        columns: {"user", "item", "time", "weight", "type", "session": column name, number from 1, or "none"}.
        skip_bad_rows: whether to leave out unusable rows, with a note; otherwise they are an error.
        say: receives notes, such as the chosen columns and the unit of the times.
        progress: receives the number of rows read so far.
        users: path of a table of users, or an in-memory table; None for users.csv and the like beside the log.
        items: path of a table of item attributes, or an in-memory table; None for items.csv, .tsv, .parquet or .jsonl
            beside the log, or the format's own; "" for none.
        ids: "integer" (1.0 is 1), "text" (as written), "" for the rules of `data.ids`; for one role, "user=integer".
        keep_na_ids: whether missing-value markers, such as NA, are ids.
        time_format: strftime format of dates; None to detect it.
        only: conditions on the rows, see `Only`.
        left_out: receives each condition's name and the number of rows that it left out.
        separator: of delimited text: one character, "::", "tab" or "space"; None to detect it.
        quote: "none" if quotes are plain characters.
        allow_large: whether compressed data may unpack to more than `opener.RATIO` times their size.
        store: where the rows are kept while they are read and sorted.

    Raises:
        UserError: if a file is missing, damaged or ambiguous; names the file, the line, the row and a cure.
    """
    kind_of(ids, "item")  # checks it
    if quote not in QUOTES:
        raise UserError(f"no quote {quote!r}: choose one of {', '.join(QUOTES)}")
    if format is not None:
        registry.find("reader", format)
    chosen, separator = Only(only), None if separator is None else dialects.separator(separator)
    columns = {role: "" if name == cols.NONE else name for role, name in (columns or {}).items() if name is not None}
    given = Input(
        name=arrow.name_of(path) if arrow.is_frame(path) else str(path),
        files=[],
        columns=columns,
        bad=BadRows(skip_bad_rows, "Mend such rows, or leave them out: prepare with --on-bad-row skip"),
        odd=Oddities(),
        say=say,
        progress=progress,
        format=format,
        items=items,
        users=users,
        ids=ids,
        keep_na_ids=keep_na_ids,
        time_format=time_format,
        only=chosen,
        separator=separator,
        quote=QUOTES[quote],
        store=store,
    )
    if arrow.is_frame(path):
        frames.check(given, allow_large)
        return _read(partial(frames.read, arrow.to_polars(path)), given, left_out)
    opener = Opener(allow_large)
    found, files = discover.find(str(path), format, opener, say)
    reader = registry.find("reader", found or _look(files[0]))
    said = {name for name, value in {"columns": columns, "separator": separator}.items() if value}
    if format is None and reader.as_table & said:
        reader = registry.find("reader", "table")  # its columns can be numbered, and its separator given
    if columns and "columns" not in reader.takes:
        flags = ", ".join(f"--{role}" for role in columns)
        otherwise = _or_as_table(str(path), reader, files)
        raise UserError(f"{path}: read as {reader.name}, whose columns are known: leave out {flags}{otherwise}")
    _check_flags(str(path), reader, bool(only), bool(ids or keep_na_ids), bool(time_format))
    _check_dialect(str(path), reader, separator, quote, _or_as_table(str(path), reader, files))
    if store.memory is not None and "memory" not in reader.takes:
        raise UserError(
            f"{path}: read as {reader.name}, which reads the whole file into memory: leave out --memory, or write it "
            "as a table with a row per interaction, as CSV or Parquet"
        )
    if reader.name == "sequences" and len(files) > 1:
        names = some(file.below for file in files)
        raise UserError(
            f"{path}: {len(files)} files of lines ({names}), but only one can be read: join them, as with cat; or, "
            "if these are rows of a table, prepare them with --format table --user 1 --item 2"
        )
    interactions = _read(reader.read, replace(given, files=files), left_out)
    opener.close()
    return interactions


def _read(reader: Callable[[Input], Interactions], given: Input, left_out: Callable[[str, int], None]) -> Interactions:
    """Reads an input, and reports skipped rows and those left out by `only`."""
    interactions = reader(given)
    for note in given.odd.notes() + given.bad.notes():
        given.say(note)
    for step, rows in given.only.steps():
        left_out(step, rows)
    if given.time_format and interactions.times is None:
        raise UserError(f"{given.name}: no times for --time-format: name their column with --time")
    return user_columns.described(replace(interactions, name=given.name), given)


def _check_flags(path: str, reader: ReaderEntry, only: bool, ids: bool, time_format: bool) -> None:
    """Checks that the reader supports the given flags."""
    flags = {"only": ("--only", only), "ids": ("--ids and --keep-na-ids", ids)}
    flags["time_format"] = ("--time-format", time_format)
    if wrong := [flag for name, (flag, is_given) in flags.items() if is_given and name not in reader.takes]:
        raise UserError(
            f"{path}: read as {reader.name}, which has no columns to read this way: leave out {some(wrong)}"
        )


def _or_as_table(path: str, reader: ReaderEntry, files: list[File]) -> str:
    """Returns another cure than leaving out options that a reader doesn't support: reading the files as a table."""
    file, alone = files[0], files[0].path == Path(path)
    if reader.name == "prepared" or file.member or (reader.name == "sequences" and not alone):
        return ""
    place = "" if alone else f"--input {shlex.quote(str(file.path))} "
    return f", or say {place}--format table"


def _check_dialect(path: str, reader: ReaderEntry, separator: str | None, quote: str, otherwise: str) -> None:
    """Checks that the reader supports the given separator and quote."""
    known = {"separator": separator is not None, "quote": QUOTES[quote] == ""}
    if wrong := [f"--{name}" for name, is_given in known.items() if is_given and name not in reader.takes]:
        raise UserError(f"{path}: read as {reader.name}: leave out {some(wrong)}{otherwise}")


def _look(file: File) -> str:
    """Detects the format of a single file, by its name and first lines."""
    if discover.kind(file) != "text" or workbooks.recognise(file):
        return "table"
    told, lines = dialects.first_rows(file)
    separator, *others = dialects.candidates(lines, {})
    names = dialects.names_of(lines[0], separator)
    if told or others or any(map(cols.known, names)):
        return "table"
    if separator in (" ", "\t") and file.suffix not in discover.TEXT:
        return "sequences"
    rated = separator == "," and len(names) == 4 and dialects.is_rating(names[2]) and names[3].isdecimal()
    return "amazon" if rated else "table"
