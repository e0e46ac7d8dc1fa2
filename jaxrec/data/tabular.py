"""Reads tables of any format by their columns and rows."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import polars as pl

from jaxrec.data import columns as cols, discover
from jaxrec.data.columns import ROLES
from jaxrec.data.files.text import File, short, some
from jaxrec.data.formats import columnar, dialects, histories, json_lines, partitions, tables, workbooks
from jaxrec.data.given import Input
from jaxrec.data.log import Batch
from jaxrec.data.values import joined, nested
from jaxrec.data.values.nested import is_opaque
from jaxrec.system.errors import UserError

NAMED = [role for role in ROLES if role not in cols.UNREAD]  # roles recognised by column names
NOTHING = pl.Series([], dtype=pl.String)
SAMPLE = 1000  # values examined to decide whether a column holds times


class Table(NamedTuple):
    """A file as a table."""

    names: list[str]  #: column names, with those of the file's folders and nested fields: events.aid
    lists: list[str]  #: the columns that are lists of plain values
    batches: Callable  #: {role: index of the column} -> batches, with a row per entry of lists of items
    peek: Callable  #: as `batches`, for when only the first rows are needed


def table(file: File, given: Input) -> Table:
    """Returns the table of a file."""
    names, lists, read, peek = _reader_of(file, given)
    every, batches = partitions.joined(file, names, _unrolled(names, read, given.say))
    return Table(every, lists, batches, partitions.joined(file, names, _unrolled(names, peek or read, _nothing))[1])


def records(schema: Mapping, read: Callable, peek: Callable, say: Callable[[str], None]) -> Table:
    """Returns the table of columns {name: type}, possibly nested. `read`, `peek`: {role: name} -> batches."""
    names, lists, read, peek = _records(schema, read, peek)
    return Table(names, lists, _unrolled(names, read, say), _unrolled(names, peek, _nothing))


def _nothing(line: str) -> None:
    """Ignores a note."""


def _unrolled(names: list[str], read: Callable, say: Callable[[str], None]) -> Callable:
    """Returns the function that reads the chosen columns with a row per entry of lists of items."""
    named = lambda chosen: {role: names[at] for role, at in chosen.items()}
    return lambda chosen: histories.rows(lambda: read(chosen), named(chosen), say)


def _reader_of(file: File, given: Input):
    """Returns the column names, those of lists, and the functions `batches` and `peek` (None if the same)."""
    kind = discover.kind(file)
    if given.store.memory is not None and (whole := _read_whole(file, kind)):
        raise UserError(f"{file}: {whole}, which is read into memory whole: leave out --memory, or write it as Parquet")
    if kind in ("parquet", "arrow"):
        _check_undelimited(file, given)
        head = lambda columns: iter([Batch(columnar.head(file, columns), file, lambda index: (f"row {index + 1}", ""))])
        return _records(columnar.schema(file), functools.partial(columnar.read, file, odd=given.odd), head)
    if workbooks.recognise(file):
        _check_undelimited(file, given)
        names, read = workbooks.read(file, given.columns, given.odd)
        return names, [], read, None
    if kind == "json":
        _check_undelimited(file, given)
        return _records(json_lines.schema(file), functools.partial(json_lines.read, file))
    found = dialects.find(file, given.columns, given.separator, given.quote)
    if not found.header:
        given.say(f"{file}: no header, the first row is {short(found.first)}")
    options = {"quote": found.quote, "before": found.before, "odd": given.odd}
    read = lambda chosen: tables.delimited(file, found.separator, len(found.names), chosen, found.header, **options)
    return found.names, [], read, None


def _read_whole(file: File, kind: str) -> str:
    """Returns what a file is that can't be read in parts; "" if it can be."""
    if kind == "arrow" and columnar.is_stream(file):
        return "an Arrow stream"
    return "a workbook" if workbooks.recognise(file) else ""


def _records(schema, read, peek=None):
    """Like `_reader_of`, for columns {name: type} with nested records. `read`, `peek`: {role: name} -> batches."""
    names = nested.paths(schema)
    named = lambda read: lambda chosen: read({role: names[at] for role, at in chosen.items()})
    return names, nested.lists(schema), named(read), peek and named(peek)


def _check_undelimited(file: File, given: Input) -> None:
    """Checks that no separator or quote is given for a file without them."""
    said = {"--separator": given.separator is not None, "--quote": not given.quote}
    if wrong := [flag for flag, is_given in said.items() if is_given]:
        raise UserError(f"{file}: not delimited text: leave out {some(wrong)}")


def choose(table: Table, given: dict[str, str], file: File | str) -> dict[str, int]:
    """Like `columns.choose`, but also recognises nested fields, and lists named like items, item_ids or item_list."""
    names, texts = table.names, {}
    for role in ("item", "time"):
        known = cols.KNOWN[role].split()
        if role not in given and not any(cols.plain(name) in known for name in names):
            plural = [name for name in names if not _singular(name).isdisjoint(known)]
            texts |= _texts(table, [name for name in plural if name not in table.lists])
            lists = [name for name in plural if name in table.lists or histories.are_lists(texts.get(name, NOTHING))]
            if len(lists) == 1:
                given = given | {role: lists[0]}
            elif role == "item" and not lists:
                _check_joined({name: texts[name] for name in plural if name in texts}, file)
    fields = [name for name in names if any(name.startswith(f"{other}.") for other in names)]
    given = given | _beside(given, fields)
    try:
        chosen = cols.choose(names, given, file, NAMED)
    except UserError as error:
        known = [name for name in fields if cols.plain(name.rpartition(".")[2]) in cols.KNOWN["item"].split()]
        hint = f"; for a field of a record, --item {(known or fields)[0]}" if fields else ""
        raise UserError(f"{error}{hint}") from None
    for role, at in chosen.items():
        if within := [name for name in fields if name.startswith(f"{names[at]}.")]:
            raise UserError(f"{file}: {names[at]} holds records: name one of their fields, as --{role} {within[0]}")
    return chosen


def _beside(given: dict[str, str], fields: list[str]) -> dict[str, str]:
    """Returns the time field beside the item field in its record, by name: events.ts for events.aid."""
    record = given.get("item", "").rpartition(".")[0]
    if given.get("item") not in fields or "time" in given:
        return {}
    within = {cols.plain(name.rpartition(".")[2]): name for name in fields if name.rpartition(".")[0] == record}
    known = [within[name] for name in cols.KNOWN["time"].split() if name in within]
    return {"time": known[0]} if known else {}


def unread_lists(table: Table, chosen: dict[str, int]) -> str:
    """Returns a note about lists of items, recognised by name, that aren't read."""
    known, read = cols.KNOWN["item"].split(), [table.names[at] for at in chosen.values()]
    named = [name for name in table.names if not _singular(name).isdisjoint(known) and name not in read]
    texts = _texts(table, [name for name in named if name not in table.lists])
    lists = [name for name in named if name in table.lists or histories.are_lists(texts.get(name, NOTHING))]
    return f"; {lists[0]} is not read: --item {lists[0]} reads its lists as histories" if lists else ""


def _texts(table: Table, columns: list[str]) -> dict[str, pl.Series]:
    """Returns {name: first values} of those of the columns that are text."""
    parents = [name for name in table.names if any(other.startswith(f"{name}.") for other in table.names)]
    wanted = {f"column {name}": table.names.index(name) for name in columns if name not in parents}
    first = next(iter(table.peek(wanted)), None) if wanted else None
    if first is None:
        return {}
    found = {name.removeprefix("column "): first.frame[name].drop_nulls().head(SAMPLE) for name in wanted}
    return {name: values for name, values in found.items() if values.dtype == pl.String and len(values)}


def _check_joined(texts: dict[str, pl.Series], file: File | str) -> None:
    """Checks that no column {name: its first values} holds histories as text other than lists.

    Raises:
        UserError: if one does.
    """
    for name, values in texts.items():
        distinct = values.unique(maintain_order=True)
        found = joined.example(distinct, len(distinct), len(values), len(values))
        if found and found[1]:
            raise UserError(joined.refusal(file, name, found[0], f"--item {name} --ids text"))


def _singular(name: str) -> set[str]:
    """Returns the possible singular names of a list column: item_id for item_ids and item_id_list."""
    bare = cols.plain(name).removesuffix("list")
    return {bare, bare.removesuffix("s")}


def unread(table: Table, chosen: dict[str, int]) -> list[int]:
    """Returns the indices of the columns that aren't read, without records whose fields are columns."""
    names = table.names
    parents = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    return [number for number, name in enumerate(names) if number not in chosen.values() and name not in parents]


def first_values(table: Table, chosen: dict[str, int], numbers: list[int]) -> dict[int, pl.Series]:
    """Returns the first values of the columns with a plain value per row, or per entry of the lists of items.

    Categories become text; bytes and objects are left out.
    """
    item = table.names[chosen["item"]]
    wanted = [number for number in numbers if _goes_with(table, table.names[number], item)]
    ids = {role: number for role, number in chosen.items() if role not in cols.UNREAD}
    columns = ids | {f"column {number}": number for number in wanted if number not in ids.values()}
    first = next(iter(table.peek(columns)), None) if wanted else None
    if first is None:
        return {}
    names = {number: name for name, number in columns.items()}
    found = {number: first.frame[names[number]].drop_nulls().head(SAMPLE) for number in wanted}
    words = (pl.Categorical, pl.Enum)
    found = {at: values.cast(pl.String) if values.dtype in words else values for at, values in found.items()}
    other = (pl.Binary, pl.Object)
    return {at: values for at, values in found.items() if not is_opaque(values.dtype) and values.dtype not in other}


def _goes_with(table: Table, name: str, item: str) -> bool:
    """Returns whether a column has a value per row, or per entry of the lists of items."""
    within = [name.rpartition(".")[0], item.rpartition(".")[0]]
    return name not in table.lists or (item in table.lists and within[0] == within[1])
