"""A table of any kind: its columns, and their rows."""

import functools
from pathlib import Path

from jaxrec.data import columns as cols
from jaxrec.data import dialects, histories, nested, tables, workbooks
from jaxrec.data.text import File, short, some
from jaxrec.errors import UserError

JSON = (".json", ".jsonl", ".ndjson")


def columns_of(file: File, given):
    """The columns of a table, those that hold lists, and the function that reads the chosen: {role: number} -> batches.

    Args:
        given: the `readers.Input`.
    """
    names, lists, read = _reader_of(file, given)

    def batches(chosen):
        named = {role: names[at] for role, at in chosen.items()}
        return histories.rows(lambda: read(chosen), named, given.say)

    return names, lists, batches


def _reader_of(file: File, given):
    suffix = Path(file.name).suffix.lower()
    if suffix in tables.COLUMNAR:
        _check_undelimited(file, given)
        return _records(tables.columnar_schema(file), functools.partial(tables.columnar, file))
    if workbooks.recognise(file):
        _check_undelimited(file, given)
        names, read = workbooks.read(file, given.columns)
        return names, [], read
    if suffix in JSON or tables.first_line(file).startswith("{"):
        _check_undelimited(file, given)
        return _records(tables.json_schema(file), functools.partial(tables.json_lines, file))
    found = dialects.find(file, given.columns, given.separator, given.quote)
    if not found.header:
        given.say(f"{file}: no header, the first row is {short(found.first)}")
    options = {"quote": found.quote, "before": found.before, "odd": given.odd}
    read = lambda chosen: tables.delimited(file, found.separator, len(found.names), chosen, found.header, **options)
    return found.names, [], read


def _records(schema, read):
    """What `columns_of` gives, of columns {name: type} with records within. `read`: of {role: name}."""
    names = nested.paths(schema)
    return names, nested.lists(schema), lambda chosen: read({role: names[at] for role, at in chosen.items()})


def _check_undelimited(file: File, given) -> None:
    """That nothing was said of separators and quotes that a file does not have."""
    said = {"--separator": given.separator is not None, "--quote": not given.quote}
    if wrong := [flag for flag, is_given in said.items() if is_given]:
        raise UserError(f"{file}: no delimited text: leave out {some(wrong)}")


def choose(names: list[str], lists: list[str], given: dict[str, str], file: File) -> dict[str, int]:
    """`columns.choose`, of columns that may hold records, or lists: these are known as items, item_ids, item_list."""
    for role in ("item", "time"):
        known = cols.KNOWN[role].split()
        plural = [name for name in lists if not _singular(name).isdisjoint(known)]
        if role not in given and len(plural) == 1 and not any(cols.plain(name) in known for name in names):
            given = given | {role: plural[0]}
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


def _singular(name: str) -> set[str]:
    """What one of a column of lists may be called: item_id of item_ids and item_id_list."""
    bare = cols.plain(name).removesuffix("list")
    return {bare, bare.removesuffix("s")}
