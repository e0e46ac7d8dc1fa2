"""Reads tables: CSV, TSV, JSON lines, Parquet, Arrow or a workbook."""

import functools
import shlex
from dataclasses import replace

from jaxrec.data import columns as cols, tabular
from jaxrec.data.files.text import File, some
from jaxrec.data.formats import partitions
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Log
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished
from jaxrec.system.errors import UserError

LOOKED = 100  # files looked at for one that is a log


def read(given: Input) -> Interactions:
    """Reads a table, as a single file or as shards of one kind."""
    log, relative = None, False
    given = replace(given, say=functools.cache(given.say))  # shards give the same notes
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.below for file in given.files)}")
    for file in given.files:
        table = tabular.table(file, given)
        names = table.names
        if len(given.files) > 1 and not {*names} - {*file.keys}:
            given.say(f"not read: {file.below}: it has no columns")
            continue
        chosen = _of_first(given, file, table) if log is None else _as_before(log, given, file, table)
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
    if log is None:
        raise UserError(f"{given.name}: no file of it has columns: put interactions there")
    return described(given, finished(given, log, relative), log.columns["item"])


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
    if file.member or len(given.files) > 2:
        return "rename its columns as there, or, if it is no part of the log, take it out"
    known = (*cols.KNOWN["item"].split(), "id")
    items = f" --items {shlex.quote(str(file))}" if any(cols.plain(name) in known for name in names) else ""
    return f"rename its columns as there, or, if it is no part of the log, --input {shlex.quote(str(log))}{items}"


READER = ReaderEntry(name="table", read=read, takes=ROWS | {"columns", "separator"})
