"""Reads tables: CSV, TSV, JSON lines, Parquet, Arrow or a workbook."""

import contextlib
import functools
import re
import shlex
from dataclasses import replace

from jaxrec.data import columns as cols, tabular
from jaxrec.data.files import walking
from jaxrec.data.files.text import File, some
from jaxrec.data.formats import partitions
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished
from jaxrec.data.unread import times
from jaxrec.system.errors import UserError

NUMBERS = re.compile("[0-9]+")
NAMELESS = re.compile(r"|index|level_\d+|Unnamed: \d+(_level_\d+)?|__.*__")  # names given by programs, not people
LOOKED = 100  # maximum number of files searched for a log


def read(given: Input) -> Interactions:
    """Reads a table, as a single file or as shards of one kind."""
    log, relative, widths, first = None, False, {}, None
    given = replace(given, say=functools.cache(given.say))  # shards give the same notes
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.below for file in given.files)}")
        walking.say_copies(given.files, given.say)
    for at, file in enumerate(given.files):
        table = tabular.table(file, given)
        names = table.names
        if len(given.files) > 1 and not {*names} - {*file.keys}:
            given.say(f"not read: {file.below}: it has no columns")
            continue
        _check_width(given, widths, file, names)
        if log is None or first is None:
            chosen = _of_first(given, at, table)
        else:
            try:
                chosen = _as_shard(given, file, table, log.columns, *first)
            except UserError as error:
                raise UserError(f"{error}{_also(given, at, log.columns, *first)}") from None
        times.check(given, file, table, chosen, log is None)
        if log is None:
            first = file, names
            lists = tabular.unread_lists(table, chosen)
            given.say(cols.said(names, chosen, given.columns) + partitions.said(file) + lists)
            if len(given.files) > 1 and "time" not in chosen:
                given.say("no times: a user's events come in the order of the files above, then of their rows")
            log = given.log({role: names[number] for role, number in chosen.items()})
            relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
        elif chosen.keys() != log.columns.keys():
            others = [role for role in chosen if role not in log.columns]
            cure = " ".join(f"--{role} {cols.NONE}" for role in others)
            what = f"has columns for {some(chosen)}, the files before it for {some(log.columns)}"
            raise UserError(f"{file}: {what}: shards have one header; {cure} leaves the others out")
        given.collect(log, file, names, chosen, table.batches)
    if log is None:
        raise UserError(f"{given.name}: no file of it has columns: put interactions there")
    return described(given, finished(given, log, relative), log.columns["item"])


def _check_width(given: Input, widths: dict[int, File], file: File, names: list[str]) -> None:
    """Checks that a shard without a header, whose columns are numbered, has as many columns as those before it.

    Adds its number of columns to `widths`. If the user gave the format, a difference is only noted.

    Raises:
        UserError: if it has another number of columns.
    """
    if names[:1] == cols.numbered(1):
        widths.setdefault(len(names) - len(file.keys), file)
    if len(widths) < 2:
        return
    (width, before), (other, _) = widths.items()
    told = f"without a header, and with {other} columns, where {before} has {width}"
    if given.format is None:
        cure = "put headers above them, take it out if it is no part of the log, or say --format table if they do"
        raise UserError(f"{file}: {told}: so numbers may not name the same columns: {cure}")
    given.say(f"{file}: {told}: both are read by the same numbers")
    widths.pop(other)


def _check_header(
    given: Input, file: File, names: list[str], chosen: dict[str, int], before: File, first: list[str]
) -> None:
    """Checks that a shard is part of the log rather than another table that has users and items too.

    It counts as another table if it and the first file, `before`, each have columns that the other lacks, and they
    share at most half of the columns that aren't read (of the file that has fewer). If the user gave the format, or the
    file names differ only in numbers, this is only noted.

    Raises:
        UserError: if it is another table.
    """
    read = {cols.plain(names[at]) for at in chosen.values()}
    own, theirs = _given_names(names, file), _given_names(first, before)
    more = [name for plain, name in own.items() if plain not in theirs]
    lacks = [name for plain, name in theirs.items() if plain not in own]
    common = own.keys() & theirs.keys() - read
    if not (more and lacks) or 2 * len(common) > min(len(own.keys() - read), len(theirs.keys() - read)):
        return
    if given.format is not None or NUMBERS.sub("", file.below) == NUMBERS.sub("", before.below):
        given.say(f"shards have other columns: some {some(more)}, some {some(lacks)}; all are read as one log")
        return
    alone = "" if file.member else f", or --input {shlex.quote(str(before))}"
    alone += " where that is all of the log" if alone and len(given.files) > 2 else ""
    told = f"{file}: has {some(more)}, but not {some(lacks)}, which {before} has"
    raise UserError(f"{told}: to read them as one log, say --format table; if it is another table, take it out{alone}")


def _given_names(names: list[str], file: File) -> dict[str, str]:
    """Returns {plain name: name} of the columns that people named, without fields of records and keys of folders."""
    other = lambda name: "." in name or name in file.keys or NAMELESS.fullmatch(name.strip())
    return {cols.plain(name): name for name in names if not other(name)}


def _of_first(given: Input, at: int, table: tabular.Table) -> dict[str, int]:
    """Chooses the columns of the first shard. Raises UserError if that fails; says which other file is a log."""
    file = given.files[at]
    try:
        return tabular.choose(table, given.columns, file)
    except UserError:
        for log in given.files[at + 1 : at + LOOKED]:
            with contextlib.suppress(UserError):
                other = tabular.table(log, given)
                chosen = tabular.choose(other, given.columns, log)
                break
        else:
            raise
    columns = {role: other.names[number] for role, number in chosen.items()}
    why = f"its columns ({some(table.names, 30)}) are not those of a log, unlike those of {log}"
    also = _also(given, at, columns, log, other.names)
    raise UserError(f"{file}: {why}: {_cure(given, file, log, table.names)}{also}")


def _as_shard(
    given: Input, file: File, table: tabular.Table, columns: dict[str, str], before: File, first: list[str]
) -> dict[str, int]:
    """Chooses a shard's columns by their names in the first shard where these are unique, otherwise as for the first.

    Args:
        given: the input.
        file: the shard.
        table: its table.
        columns: {role: column name} of the first shard.
        before: the first shard.
        first: the names of its columns.

    Raises:
        UserError: if the shard lacks one of them, or is another table.
    """
    places = {role: cols.places(name, table.names) for role, name in columns.items()}
    if missing := sorted({columns[role] for role, found in places.items() if not found}):
        headless = not any(map(cols.known, table.names))
        cure = "if its first row is no header, put one above it; otherwise " if headless else ""
        cure += _cure(given, file, before, table.names)
        raise UserError(f"{file}: no column {some(missing)}, as {before} has: shards have one header: {cure}")
    named = {role: table.names[found[0]] for role, found in places.items() if len(found) == 1}
    chosen = tabular.choose(table, given.columns | named, file)
    _check_header(given, file, table.names, chosen, before, first)
    return chosen


def _also(given: Input, at: int, columns: dict[str, str], before: File, first: list[str]) -> str:
    """Returns which files after one that is no shard are none either, for its message; "" if there are none.

    Args:
        given: the input.
        at: the index of the file that is no shard.
        columns: as for `_as_shard`, and so are `before` and `first`.
        before: see there.
        first: see there.
    """
    found, quiet = [], replace(given, say=lambda line: None)
    for file in (file for file in given.files[at + 1 : at + LOOKED] if file != before):
        try:
            table = tabular.table(file, quiet)
            if {*table.names} - {*file.keys}:
                _as_shard(quiet, file, table, columns, before, first)
        except UserError:
            found.append(file.below)
    return f"; the same goes for {some(found, 30)}" if found else ""


def _cure(given: Input, file: File, log: File, names: list[str]) -> str:
    """Returns what to do about a file beside a log that has other columns."""
    if file.member:
        return "rename its columns as there, or, if it is no part of the log, take it out"
    if len(given.files) > 2:
        alone = f"--input {shlex.quote(str(log))} where that is all of it"
        return f"rename its columns as there, or, if it is no part of the log, take it out, or {alone}"
    known = (*cols.KNOWN["item"].split(), "id")
    items = f" --items {shlex.quote(str(file))}" if any(cols.plain(name) in known for name in names) else ""
    return f"rename its columns as there, or, if it is no part of the log, --input {shlex.quote(str(log))}{items}"


READER = ReaderEntry(name="table", read=read, takes=ROWS | {"columns", "separator"})
