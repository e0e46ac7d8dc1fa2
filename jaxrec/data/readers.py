"""Every raw format -> Interactions: one function a format, known by the look of the file or named by the person."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data import discover, items, partitions, prepared, sequences, tables
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch, Log
from jaxrec.data.opener import Opener
from jaxrec.data.text import BadRows, File, short, some
from jaxrec.errors import UserError

SEPARATORS = (tables.LONG, "\t", ",", ";", "|")


class Input(NamedTuple):
    """What a reader is given."""

    name: str  # as the person wrote it
    files: list[File]  # in the order of their names
    columns: dict[str, str]  # {role: column} as the person said
    bad: BadRows
    say: Callable[[str], None]
    progress: Callable[[int], None]
    items: str | None  # the table of items, as the person said


def read(
    path: str | Path,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    items: str | None = None,
    allow_large: bool = False,
) -> Interactions:
    """The interactions of a folder, a file, a zip or a glob, in any format that this module knows.

    Args:
        format: a name of FORMATS; found by looking where it is None.
        columns: {"user", "item", "time", "weight", "session": a column's name, or its number from 1}.
        skip_bad_rows: leave out the rows that can't be used, and say so; else they are an error.
        say: told what was found out: which columns were taken, what unit the times have.
        progress: told how many rows are read, now and then.
        items: a table of the items' titles, prices and the like; None for items.csv, .tsv, .parquet or .jsonl beside
            the log, or what the format has; "" for none.
        allow_large: read compressed data that unpack to more than `opener.RATIO` times their size.

    Raises:
        UserError: naming the file, the line, the row and the cure, where a file is missing, broken or ambiguous.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"no format {format!r}: choose one of {', '.join(FORMATS)}")
    opener = Opener(allow_large)
    found, files = discover.find(str(path), format, opener, say)
    found = found or _look(files[0])
    columns = {role: name for role, name in (columns or {}).items() if name is not None}
    if columns and format is None and found == "amazon":
        found = "table"  # whose columns are numbered
    if columns and found in ("prepared", "sequences", "movielens", "amazon"):
        flags = ", ".join(f"--{role}" for role in columns)
        raise UserError(f"{path}: read as {found}, whose columns are known: leave out {flags}, or say --format table")
    bad = BadRows(skip_bad_rows, "Mend such rows, or leave them out: prepare with --on-bad-row skip")
    interactions = FORMATS[found](Input(str(path), files, columns, bad, say, progress, items))
    opener.close()
    for note in bad.notes():
        say(note)
    return interactions._replace(name=str(path))


def _look(file: File) -> str:
    """The format of a lone file, by its name and its first line."""
    if discover.kind(file) != "text":
        return "table"
    line = tables.first_line(file)
    separator = _separator(line)
    names = tables.fields(line, separator)
    if any(map(cols.known, names)):
        return "table"
    if separator in (" ", "\t") and file.suffix not in discover.TEXT:
        return "sequences"
    rated = separator == "," and len(names) == 4 and _is_rating(names[2]) and names[3].isdecimal()
    return "amazon" if rated else "table"


def _separator(line: str) -> str:
    """What parts the fields of a first line: the most frequent of the candidates, a space where there is none."""
    found = max(SEPARATORS, key=line.count)
    return found if line.count(found) else " "


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_rating(text: str) -> bool:
    return _is_number(text) and 0 <= float(text) <= 10


def _prepared(given: Input) -> Interactions:
    """A folder that `prepare` wrote."""
    interactions = prepared.load(given.files[0].path.parent)
    return interactions if given.items is None else _described(given, interactions)


def _sequences(given: Input) -> Interactions:
    """sequences.txt with what lies beside it; lines of a user and items; or of "user item"."""
    return _described(given, sequences.read(given.files[0], given.bad, given.say))


def _table(given: Input) -> Interactions:
    """CSV, TSV, JSON lines, Parquet or Arrow; one file, or shards of one kind."""
    log, relative = None, False
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.below for file in given.files)}")
    for file in given.files:
        names, batches = partitions.joined(file, *_columns_of(file, given))
        if log is not None and (missing := set(log.columns.values()) - set(names)):
            raise UserError(
                f"{file}: no column {some(sorted(missing))}, as {given.files[0]} has: shards have one header"
            )
        chosen = cols.choose(names, given.columns, file)
        if log is None:
            given.say(cols.said(names, chosen) + partitions.said(file))
            log = Log({role: names[number] for role, number in chosen.items()}, given.bad)
            relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
        elif chosen.keys() != log.columns.keys():
            raise UserError(f"{file}: has columns for {some(chosen)}, the files before it for {some(log.columns)}")
        _collect(given, log, batches(chosen))
    return _named(given, log, relative)


def _columns_of(file: File, given: Input):
    """The columns of a table, and the batches of those that are chosen."""
    if (kind := discover.kind(file)) in ("parquet", "arrow"):
        names = tables.columnar_names(file)
        return names, lambda chosen: tables.columnar(file, {role: names[at] for role, at in chosen.items()})
    line = tables.first_line(file)
    if kind == "json":
        names = tables.keys(file)
        return names, lambda chosen: tables.json_lines(file, {role: names[at] for role, at in chosen.items()})
    separator = _separator(line)
    names = tables.fields(line, separator)
    numbered = given.columns and all(name.isdecimal() for name in given.columns.values() if name)
    header = not numbered or any(map(cols.known, names))
    if not header:
        _check_headless(file, separator, given)
        given.say(f"{file}: no header, the first row is {short(line)}")
        names = [f"column {number}" for number in range(1, len(names) + 1)]
    return names, lambda chosen: tables.delimited(file, separator, len(names), chosen, header)


def _check_headless(file: File, separator: str, given: Input) -> None:
    """That the first row is none of names: words where the second has numbers."""
    rows = [tables.fields(line, separator) for line in tables.first_lines(file)[:2]]
    at = [int(name) - 1 for name in given.columns.values() if name]
    if len(rows) == 2 and max(at) < min(map(len, rows)):
        first, second = ([_is_number(row[number]) for number in at] for row in rows)
        if all(second) and not any(first):
            raise UserError(f"{file}, line 1: {short(','.join(rows[0]))}: looks like a header: name the columns by it")


def _recbole(given: Input) -> Interactions:
    """RecBole's .inter, with the .item of the same name beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    if ":" not in line:
        raise UserError(f"{file}, line 1: {short(line)}: no typed header, as user_id:token is: name another --format")
    names = [name.partition(":")[0] for name in line.split("\t")]
    chosen = cols.choose(names, given.columns, file)
    given.say(cols.said(names, chosen))
    log = Log({role: names[number] for role, number in chosen.items()}, given.bad)
    _collect(given, log, tables.delimited(file, "\t", len(names), chosen))
    interactions = _histories(given, log)
    beside = file.beside(file.name.removesuffix(".inter") + ".item")
    if given.items is not None or beside is None:
        return _described(given, interactions, log.columns["item"])
    return items.describe(interactions, items.recbole(beside, log.columns["item"]), given.say)


def _movielens(given: Input) -> Interactions:
    """MovieLens' ratings.dat, ratings.csv or u.data, with titles and genres from beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    separator = _separator(line)
    names = tables.fields(line, separator)
    if not (header := any(map(cols.known, names))):
        names = ["user", "movieId", "rating", "timestamp"]
    chosen = cols.choose(names, {}, file)
    log = Log({role: names[at] for role, at in chosen.items()}, given.bad)
    _collect(given, log, tables.delimited(file, separator, len(names), chosen, header))
    interactions = _histories(given, log)
    about = None if given.items is not None else items.movielens(file)
    return _described(given, interactions) if about is None else items.describe(interactions, about, given.say)


def _amazon(given: Input) -> Interactions:
    """Amazon's ratings without a header: user, item, rating, time (2014), or item, user, rating, time (2018)."""
    log = Log({"user": "user", "item": "item", "weight": "rating", "time": "time"}, given.bad)
    flipped = None

    def in_order(batches):
        nonlocal flipped
        for batch in batches:
            if flipped is None:
                flipped = _items_first(batch)
                given.say(f"columns: {'item, user' if flipped else 'user, item'}, rating, time")
            yield batch._replace(frame=batch.frame.rename({"user": "item", "item": "user"})) if flipped else batch

    for file in given.files:
        chosen = {"user": 0, "item": 1, "weight": 2, "time": 3}
        _collect(given, log, in_order(tables.delimited(file, ",", 4, chosen, header=False)))
    return _described(given, _histories(given, log))


def _items_first(batch: Batch) -> bool:
    """Whether the first of the two columns of ids holds Amazon's items."""
    first, second = _asins(batch.frame["user"]), _asins(batch.frame["item"])
    if max(first, second) < 0.9 or abs(first - second) < 0.5:
        raise UserError(
            f"{batch.file}: four columns without a header: which is the user, which the item? "
            "Say --user 1 --item 2 --weight 3 --time 4, or as it is"
        )
    return first > second


def _asins(tokens: pl.Series) -> float:
    """The share of a column's first tokens that are Amazon's item numbers: B and nine more, or an ISBN."""
    return tokens.drop_nulls().head(1000).str.contains(r"^(B[0-9A-Z]{9}|[0-9]{9}[0-9X])$").mean() or 0.0


def _collect(given: Input, log: Log, batches: Iterator[Batch]) -> None:
    for batch in batches:
        log.add(batch)
        given.progress(log.rows)


def _histories(given: Input, log: Log, relative: bool = False) -> Interactions:
    interactions, notes = log.interactions(given.name, relative)
    for note in filter(None, notes):
        given.say(note)
    return interactions


def _named(given: Input, log: Log, relative: bool) -> Interactions:
    """The histories of a table, with what is known of its items."""
    return _described(given, _histories(given, log, relative), log.columns["item"])


def _described(given: Input, interactions: Interactions, column: str | None = None) -> Interactions:
    """The interactions with the table of items that was named, or lies beside the log.

    Args:
        column: of the item ids in the log.
    """
    return items.described(interactions, given.items, given.files, given.name, column, given.say)


#: a name for `--format` -> the reader
FORMATS = {
    "prepared": _prepared,
    "sequences": _sequences,
    "table": _table,
    "recbole": _recbole,
    "movielens": _movielens,
    "amazon": _amazon,
}
