"""Every raw format -> Interactions: one function a format, known by the look of the file or named by the person."""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from jaxrec.data import (
    arrow,
    dialects,
    discover,
    frames,
    histories,
    items,
    partitions,
    prepared,
    sequences,
    tables,
    tabular,
    workbooks,
)
from jaxrec.data import columns as cols
from jaxrec.data.given import Input
from jaxrec.data.ids import KINDS
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch, Log
from jaxrec.data.oddities import Oddities
from jaxrec.data.only import Only
from jaxrec.data.opener import Opener
from jaxrec.data.text import BadRows, File, short, some
from jaxrec.system.errors import UserError

QUOTES = {'"': '"', "none": ""}  # a word for `--quote` -> the character


def read(
    path: Any,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    *,
    items: Any = None,
    ids: str = "",
    keep_na_ids: bool = False,
    time_format: str | None = None,
    only: Sequence[str] = (),
    left_out: Callable[[str, int], None] = lambda step, rows: None,
    separator: str | None = None,
    quote: str = '"',
    allow_large: bool = False,
) -> Interactions:
    """The interactions of a folder, a file, a zip or a glob, in any format that this module knows; or of a frame.

    Args:
        path: where they lie; or a table in memory, as of `arrow`.
        format: a name of FORMATS; found by looking where it is None.
        columns: {"user", "item", "time", "weight", "session": a column's name, its number from 1, or "none"}.
        skip_bad_rows: leave out the rows that can't be used, and say so; else they are an error.
        say: told what was found out: which columns were taken, what unit the times have.
        progress: told how many rows are read, now and then.
        items: a table of the items' titles, prices and the like; None for items.csv, .tsv, .parquet or .jsonl beside
            the log, or what the format has; "" for none. A table in memory too.
        ids: "integer" (1.0 is 1), "text" (as they stand), or "" for what `data.ids` makes of them.
        keep_na_ids: take words for a missing value, as NA, for ids.
        time_format: how dates are written, as strftime has it.
        only: conditions on the rows, as `Only` has them.
        left_out: told the name of every such condition, and how many rows it left out.
        separator: of delimited text: one character, "::", "tab", "space"; found by looking where it is None.
        quote: "none" where quotes are plain characters.
        allow_large: read compressed data that unpack to more than `opener.RATIO` times their size.

    Raises:
        UserError: naming the file, the line, the row and the cure, where a file is missing, broken or ambiguous.
    """
    for name, value, known in (("ids", ids, ("", *KINDS)), ("quote", quote, QUOTES), ("format", format, FORMATS)):
        if value is not None and value not in known:
            raise UserError(f"no {name} {value!r}: choose one of {', '.join(filter(None, known))}")
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
        ids=ids,
        keep_na_ids=keep_na_ids,
        time_format=time_format,
        only=chosen,
        separator=separator,
        quote=QUOTES[quote],
    )
    if arrow.is_frame(path):
        frames.check(given, allow_large)
        return _read(partial(_frame, arrow.to_polars(path)), given, left_out)
    opener = Opener(allow_large)
    found, files = discover.find(str(path), format, opener, say)
    found = found or _look(files[0])
    if format is None and ((columns and found == "amazon") or (separator and found in ("sequences", "amazon"))):
        found = "table"  # whose columns are numbered, and whose separator may be said
    if columns and found in ("prepared", "sequences", "movielens", "amazon"):
        flags = ", ".join(f"--{role}" for role in columns)
        raise UserError(f"{path}: read as {found}, whose columns are known: leave out {flags}, or say --format table")
    _check_flags(str(path), found, bool(only), bool(ids or keep_na_ids), bool(time_format))
    _check_dialect(str(path), found, separator, quote)
    if found == "sequences" and len(files) > 1:
        names = some(file.below for file in files)
        raise UserError(
            f"{path}: {len(files)} files of lines ({names}), where one is read: join them into one, as by cat; or, if "
            "these are rows of a table, prepare them with --format table --user 1 --item 2"
        )
    interactions = _read(FORMATS[found], replace(given, files=files), left_out)
    opener.close()
    return interactions


def _read(reader: Callable[[Input], Interactions], given: Input, left_out: Callable[[str, int], None]) -> Interactions:
    """What a reader makes of its input; says what was skipped, and what `only` left out."""
    interactions = reader(given)
    for note in given.odd.notes() + given.bad.notes():
        given.say(note)
    for step, rows in given.only.steps():
        left_out(step, rows)
    if given.time_format and interactions.times is None:
        raise UserError(f"{given.name}: no times for --time-format: name their column with --time")
    return interactions._replace(name=given.name)


def _check_flags(path: str, format: str, only: bool, ids: bool, time_format: bool) -> None:
    """That a format has what the flags are about."""
    flags = {"--only": only} if format in ("prepared", "sequences") else {}
    flags |= {"--ids and --keep-na-ids": ids, "--time-format": time_format} if format == "prepared" else {}
    if wrong := [flag for flag, is_given in flags.items() if is_given]:
        raise UserError(f"{path}: read as {format}, which has no columns to read so: leave out {some(wrong)}")


def _check_dialect(path: str, format: str, separator: str | None, quote: str) -> None:
    """That a format has the separator and the quotes that the person spoke of."""
    known = {"--separator": separator is not None and format != "table"}
    known["--quote"] = QUOTES[quote] == "" and format in ("prepared", "sequences")
    if wrong := [flag for flag, is_given in known.items() if is_given]:
        raise UserError(f"{path}: read as {format}: leave out {some(wrong)}, or say --format table")


def _look(file: File) -> str:
    """The format of a lone file, by its name and its first lines."""
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


def _separator(line: str) -> str:
    """What parts the fields of MovieLens' first line: the most frequent candidate, a space where there is none."""
    found = max(dialects.SEPARATORS, key=line.count)
    return found if line.count(found) else " "


def _prepared(given: Input) -> Interactions:
    """A folder that `prepare` wrote."""
    interactions = prepared.load(given.files[0].path.parent)
    return interactions if given.items is None else _described(given, interactions)


def _sequences(given: Input) -> Interactions:
    """sequences.txt with what lies beside it; lines of a user and items; or of "user item"."""
    options = (given.ids, given.keep_na_ids, given.time_format, given.format == "sequences")
    return _described(given, sequences.read(given.files[0], given.bad, given.say, *options))


def _table(given: Input) -> Interactions:
    """CSV, TSV, JSON lines, Parquet, Arrow or a workbook; one file, or shards of one kind."""
    log, relative = None, False
    given = replace(given, say=functools.cache(given.say))  # shards have the same to say
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.below for file in given.files)}")
    for file in given.files:
        table = tabular.table(file, given)
        names = table.names
        if log is not None and (missing := set(log.columns.values()) - set(names)):
            raise UserError(
                f"{file}: no column {some(sorted(missing))}, as {given.files[0]} has: shards have one header"
            )
        chosen = tabular.choose(table, given.columns, file) if log is None else _as_before(log, given, file, table)
        tabular.check_order(given, file, table, chosen)
        if log is None:
            lists = tabular.unread_lists(table, chosen)
            given.say(cols.said(names, chosen, given.columns) + partitions.said(file) + lists)
            log = given.log({role: names[number] for role, number in chosen.items()})
            relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
        elif chosen.keys() != log.columns.keys():
            others = [role for role in chosen if role not in log.columns]
            cure = " ".join(f"--{role} {cols.NONE}" for role in others)
            what = f"has columns for {some(chosen)}, the files before it for {some(log.columns)}"
            raise UserError(f"{file}: {what}: shards have one header; {cure} leaves the others out")
        given.collect(log, file, names, chosen, table.batches)
    return _described(given, _histories(given, log, relative), log.columns["item"])


def _as_before(log: Log, given: Input, file: File, table: tabular.Table) -> dict[str, int]:
    """The columns of a shard: those that are called as in the first, where that is one; else as in the first."""
    named = {role: name for role, name in log.columns.items() if table.names.count(name) == 1}
    return tabular.choose(table, given.columns | named, file)


def _frame(frame: pl.DataFrame, given: Input) -> Interactions:
    """A table in memory."""
    log, relative = frames.read(frame, given)
    interactions = _histories(given, log, relative)
    return _described(given, interactions, log.columns["item"]) if given.items is not None else interactions


def _recbole(given: Input) -> Interactions:
    """RecBole's .inter, with the .item of the same name beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    if ":" not in line:
        raise UserError(f"{file}, line 1: {short(line)}: no typed header, as user_id:token is: say --format table")
    names, kinds = dialects.typed(line)
    chosen = cols.choose(names, dialects.with_lists(names, kinds, given.columns), file)
    given.say(cols.said(names, chosen))
    log = given.log({role: names[number] for role, number in chosen.items()})
    lists = [name for name, kind in zip(names, kinds, strict=True) if kind.endswith("_seq")]
    rows = _recbole_rows(file, given, names, kinds)
    table = tabular.Table(names, lists, rows, rows)
    tabular.check_order(given, file, table, chosen)
    given.collect(log, file, names, chosen, table.batches)
    interactions = _histories(given, log)
    beside = file.beside(file.name.removesuffix(".inter") + ".item")
    if given.items is not None or beside is None:
        return _described(given, interactions, log.columns["item"])
    return items.describe(interactions, items.recbole(beside, log.columns["item"]), given.say)


def _recbole_rows(file: File, given: Input, names: list[str], kinds: list[str]):
    """The function that reads the chosen columns of an .inter: {role: number} -> batches.

    A column item_id_list beside item_id holds the items before it, as do those of times and ratings.
    """

    def batches(chosen):
        before = {f"{histories.BEFORE}{role}": f"{names[at]}_list" for role, at in chosen.items()}
        every = chosen | {role: names.index(name) for role, name in before.items() if name in names}
        lists = [role for role, at in every.items() if kinds[at].endswith("_seq") or at not in chosen.values()]
        read = lambda: (
            histories.split(batch, lists)
            for batch in tables.delimited(file, "\t", len(names), every, quote=given.quote, odd=given.odd)
        )
        named = {role: names[at] for role, at in chosen.items()}
        return histories.rows(read, named, given.say, grows=len(every) > len(chosen))

    return batches


def _movielens(given: Input) -> Interactions:
    """MovieLens' ratings.dat, ratings.csv or u.data, with titles and genres from beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    separator = _separator(line)
    names = tables.fields(line, separator)
    if not (header := any(map(cols.known, names))):
        names = ["user", "movieId", "rating", "timestamp"]
    chosen = cols.choose(names, {}, file)
    log = given.log({role: names[at] for role, at in chosen.items()})
    options = {"header": header, "quote": given.quote, "odd": given.odd}
    given.collect(log, file, names, chosen, partial(tables.delimited, file, separator, len(names), **options))
    interactions = _histories(given, log)
    about = None if given.items is not None else items.movielens(file)
    return _described(given, interactions) if about is None else items.describe(interactions, about, given.say)


def _amazon(given: Input) -> Interactions:
    """Amazon's ratings without a header: user, item, rating, time (2014), or item, user, rating, time (2018)."""
    log = given.log({"user": "user", "item": "item", "weight": "rating", "time": "time"})
    names = None
    for file in given.files:
        read = partial(tables.delimited, file, ",", 4, header=False, quote=given.quote, odd=given.odd)
        flipped = any(map(_items_first, itertools.islice(read({"user": 0, "item": 1}), 1)))
        own = ["item", "user", "rating", "time"] if flipped else ["user", "item", "rating", "time"]
        if own != names:
            given.say(f"{file}: columns: {', '.join(own)}" if names else f"columns: {', '.join(own)}")
        names = own
        given.collect(log, file, names, {role: names.index(name) for role, name in log.columns.items()}, read)
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


def _histories(given: Input, log: Log, relative: bool = False) -> Interactions:
    given.only.close(given.name, log.rows)
    interactions, notes = log.interactions(given.name, relative)
    for note in filter(None, notes):
        given.say(note)
    return interactions


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
