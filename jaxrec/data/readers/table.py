"""Reads tables: CSV, TSV, JSON lines, Parquet, Arrow or a workbook."""

import functools
from dataclasses import replace

from jaxrec.data import (
    columns as cols,
    partitions,
    tabular,
)
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Log
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished
from jaxrec.data.text import File, some
from jaxrec.system.errors import UserError


def read(given: Input) -> Interactions:
    """Reads a table, as a single file or as shards of one kind."""
    log, relative = None, False
    given = replace(given, say=functools.cache(given.say))  # shards give the same notes
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
    assert log is not None, "a log has a file"
    return described(given, finished(given, log, relative), log.columns["item"])


def _as_before(log: Log, given: Input, file: File, table: tabular.Table) -> dict[str, int]:
    """Chooses a shard's columns: by the names of the first shard where they are unique, otherwise as for the first."""
    named = {role: name for role, name in log.columns.items() if table.names.count(name) == 1}
    return tabular.choose(table, given.columns | named, file)


READER = ReaderEntry(name="table", read=read, takes=ROWS | {"columns", "separator"})
