"""A table of any kind: its columns, and their rows."""

import functools
from pathlib import Path

from jaxrec.data import columns as cols
from jaxrec.data import dialects, histories, tables, workbooks
from jaxrec.data.text import File, short, some
from jaxrec.errors import UserError

JSON = (".json", ".jsonl", ".ndjson")


def columns_of(file: File, given):
    """The columns of a table, and the function that reads those that are chosen: {role: number} -> batches.

    Args:
        given: the `readers.Input`.
    """
    names, read = _reader_of(file, given)
    say = functools.cache(given.say)  # shards have the same to say

    def batches(chosen):
        named = {role: names[at] for role, at in chosen.items()}
        return histories.rows(lambda: read(chosen), named, say)

    return names, batches


def _reader_of(file: File, given):
    suffix = Path(file.name).suffix.lower()
    if suffix in tables.COLUMNAR:
        _check_undelimited(file, given)
        names = tables.columnar_names(file)
        return names, lambda chosen: tables.columnar(file, {role: names[at] for role, at in chosen.items()})
    if workbooks.recognise(file):
        _check_undelimited(file, given)
        return workbooks.read(file, given.columns)
    if suffix in JSON or tables.first_line(file).startswith("{"):
        _check_undelimited(file, given)
        names = tables.keys(file)
        return names, lambda chosen: tables.json_lines(file, {role: names[at] for role, at in chosen.items()})
    found = dialects.find(file, given.columns, given.separator, given.quote)
    if not found.header:
        given.say(f"{file}: no header, the first row is {short(found.first)}")
    options = {"quote": found.quote, "before": found.before, "odd": given.odd}
    return found.names, lambda chosen: tables.delimited(
        file, found.separator, len(found.names), chosen, found.header, **options
    )


def _check_undelimited(file: File, given) -> None:
    """That nothing was said of separators and quotes that a file does not have."""
    said = {"--separator": given.separator is not None, "--quote": not given.quote}
    if wrong := [flag for flag, is_given in said.items() if is_given]:
        raise UserError(f"{file}: no delimited text: leave out {some(wrong)}")


def choose(names: list[str], given: dict[str, str], file: File) -> dict[str, int]:
    """`columns.choose`, of columns that may hold records."""
    fields = [name for name in names if any(name.startswith(f"{other}.") for other in names)]
    try:
        chosen = cols.choose(names, given, file)
    except UserError as error:
        known = [name for name in fields if cols.plain(name.rpartition(".")[2]) in cols.KNOWN["item"].split()]
        hint = f"; a field of a record is named so: --item {(known or fields)[0]}" if fields else ""
        raise UserError(f"{error}{hint}") from None
    for role, at in chosen.items():
        if within := [name for name in fields if name.startswith(f"{names[at]}.")]:
            raise UserError(f"{file}: {names[at]} holds records: name a field of theirs, as --{role} {within[0]}")
    return chosen
