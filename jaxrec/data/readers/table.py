"""Reads tables: CSV, TSV, JSON lines, Parquet, Arrow or a workbook."""

import functools
import shlex
from dataclasses import replace

from jaxrec.data import columns as cols, tabular
from jaxrec.data.discover import kind
from jaxrec.data.files.text import File, some
from jaxrec.data.formats import partitions
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Log
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished
from jaxrec.system.errors import UserError

LACKING = 1 / 3  # share of the keys that objects of another table lack
LOOKED = 100  # files looked at for one that is a log


def read(given: Input) -> Interactions:
    """Reads a table, as a single file or as shards of one kind."""
    log, relative, widths, first = None, False, {}, []
    given = replace(given, say=functools.cache(given.say))  # shards give the same notes
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.below for file in given.files)}")
    for file in given.files:
        table = tabular.table(file, given)
        names = table.names
        if len(given.files) > 1 and not {*names} - {*file.keys}:
            given.say(f"not read: {file.below}: it has no columns")
            continue
        _check_width(widths, file, names)
        chosen = _of_first(given, file, table) if log is None else _as_before(log, given, file, table)
        tabular.check_order(given, file, table, chosen)
        if log is not None:
            _check_header(given, file, names, first)
        if log is None:
            first = names
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
    if log is None:
        raise UserError(f"{given.name}: no file of it has columns: put interactions there")
    return described(given, finished(given, log, relative), log.columns["item"])


def _check_width(widths: dict[int, File], file: File, names: list[str]) -> None:
    """Checks that shards without headers, whose columns are numbered, have as many as those before. Adds this one's.

    Raises:
        UserError: if it has others.
    """
    if names[:1] == cols.numbered(1):
        widths.setdefault(len(names), file)
    if len(widths) > 1:
        (width, before), (other, _) = widths.items()
        raise UserError(
            f"{file}: without a header, and with {other} columns, where {before} has {width}: numbers don't name the "
            "same ones in both: put headers above them, or, if it is no part of the log, take it out"
        )


def _check_header(given: Input, file: File, names: list[str], first: list[str]) -> None:
    """Checks that a shard is a part of the log: that it doesn't have other columns in the place of some of the first's.

    Objects may lack some keys. Where the format is given, it is only said.

    Raises:
        UserError: if it has.
    """
    plain = lambda names: {*map(cols.plain, names)}
    lacks = [name for name in first if cols.plain(name) not in plain(names)]
    more = [name for name in names if cols.plain(name) not in plain(first)]
    if not (lacks and more) or (kind(file) == "json" and len(lacks) < LACKING * len(first)):
        return
    told = f"{file}: has {some(more)}, and not {some(lacks)}, as {given.files[0]} has"
    if given.format is not None:
        given.say(f"{told}; both are read as one log")
        return
    cure = f"--input {shlex.quote(str(given.files[0]))}" if not file.member else "unzip it, and name the log"
    raise UserError(f"{told}: if it is another table, {cure}; to read them as one log, say --format table")


def _of_first(given: Input, file: File, table: tabular.Table) -> dict[str, int]:
    """Chooses the columns of the first shard; where that fails, says which file is a log."""
    try:
        return tabular.choose(table, given.columns, file)
    except UserError:
        log = next((each for each in given.files[1:LOOKED] if _is_log(each, given)), None)
        if log is None:
            raise
        why = f"its columns ({some(table.names, 30)}) are no log's, as those of {log} are"
        raise UserError(f"{file}: {why}: {_cure(given, file, log, table.names)}") from None


def _is_log(file: File, given: Input) -> bool:
    """Returns whether the columns of a file can be chosen."""
    try:
        tabular.choose(tabular.table(file, given), given.columns, file)
    except UserError:
        return False
    return True


def _as_before(log: Log, given: Input, file: File, table: tabular.Table) -> dict[str, int]:
    """Chooses a shard's columns: by the names of the first shard where they are unique, otherwise as for the first.

    Raises:
        UserError: if it lacks one.
    """
    places = {role: cols.places(name, table.names) for role, name in log.columns.items()}
    if missing := sorted({log.columns[role] for role, found in places.items() if not found}):
        first, headless = given.files[0], not any(map(cols.known, table.names))
        cure = "if its first row is no header, put one above it; otherwise " if headless else ""
        cure += _cure(given, file, first, table.names)
        raise UserError(f"{file}: no column {some(missing)}, as {first} has: shards have one header: {cure}")
    named = {role: table.names[found[0]] for role, found in places.items() if len(found) == 1}
    return tabular.choose(table, given.columns | named, file)


def _cure(given: Input, file: File, log: File, names: list[str]) -> str:
    """Returns what to do about a file that lies beside a log and has other columns."""
    if file.member:
        return "rename its columns as there, or, if it is no part of the log, take it out"
    if len(given.files) > 2:
        alone = f"--input {shlex.quote(str(log))} where that is all of it"
        return f"rename its columns as there, or, if it is no part of the log, take it out, or {alone}"
    known = (*cols.KNOWN["item"].split(), "id")
    items = f" --items {shlex.quote(str(file))}" if any(cols.plain(name) in known for name in names) else ""
    return f"rename its columns as there, or, if it is no part of the log, --input {shlex.quote(str(log))}{items}"


READER = ReaderEntry(name="table", read=read, takes=ROWS | {"columns", "separator"})
