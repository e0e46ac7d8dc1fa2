"""Tables of any format, by their columns and rows."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import polars as pl

from jaxrec.data import columns as cols, discover, ordering
from jaxrec.data.columns import ROLES
from jaxrec.data.files.text import File, short, some
from jaxrec.data.formats import columnar, dialects, histories, json_lines, partitions, tables, workbooks
from jaxrec.data.given import Input
from jaxrec.data.log import Batch
from jaxrec.data.values import joined, nested, parts_of_dates
from jaxrec.data.values.forms import forms_of, looks_like_times
from jaxrec.data.values.spellings import kind_of
from jaxrec.data.values.times import reads_as_clock, reads_as_days, reads_as_times
from jaxrec.system.errors import UserError

NAMED = [role for role in ROLES if role not in cols.UNREAD]  # roles recognised by column names
CLOCKS = {"hour", "hr", "hourofday", "minute", "timeofday", "clock"}  # names of times of day, or of parts of them
NOTHING = pl.Series([], dtype=pl.String)
SAMPLE = 1000  # values examined to decide whether a column holds times


class Table(NamedTuple):
    """A file as a table."""

    names: list[str]  #: column names, with those of the file's folders and nested fields: events.aid
    lists: list[str]  #: the columns that are lists of plain values
    batches: Callable  #: {role: index of the column} -> batches, with a row per entry of lists of items
    peek: Callable  #: as `batches`, but only the first rows are needed


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
    """As `_reader_of`, for columns {name: type} with nested records. `read`, `peek`: {role: name} -> batches."""
    names = nested.paths(schema)
    named = lambda read: lambda chosen: read({role: names[at] for role, at in chosen.items()})
    return names, nested.lists(schema), named(read), peek and named(peek)


def _check_undelimited(file: File, given: Input) -> None:
    """Checks that no separator or quote is given for a file without them."""
    said = {"--separator": given.separator is not None, "--quote": not given.quote}
    if wrong := [flag for flag, is_given in said.items() if is_given]:
        raise UserError(f"{file}: no delimited text: leave out {some(wrong)}")


def choose(table: Table, given: dict[str, str], file: File | str) -> dict[str, int]:
    """As `columns.choose`; also recognises nested fields, and lists named like items, item_ids or item_list."""
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
        hint = f"; a field of a record is named so: --item {(known or fields)[0]}" if fields else ""
        raise UserError(f"{error}{hint}") from None
    for role, at in chosen.items():
        if within := [name for name in fields if name.startswith(f"{names[at]}.")]:
            raise UserError(f"{file}: {names[at]} holds records: name a field of theirs, as --{role} {within[0]}")
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
    return f"; {lists[0]} is not read: --item {lists[0]} takes its lists for histories" if lists else ""


def _texts(table: Table, columns: list[str]) -> dict[str, pl.Series]:
    """Returns the first values of those columns that are text, {name: values}."""
    parents = [name for name in table.names if any(other.startswith(f"{name}.") for other in table.names)]
    wanted = {f"column {name}": table.names.index(name) for name in columns if name not in parents}
    first = next(iter(table.peek(wanted)), None) if wanted else None
    if first is None:
        return {}
    found = {name.removeprefix("column "): first.frame[name].drop_nulls().head(SAMPLE) for name in wanted}
    return {name: values for name, values in found.items() if values.dtype == pl.String and len(values)}


def _check_joined(texts: dict[str, pl.Series], file: File | str) -> None:
    """Checks that no column {name: its first values} holds histories that are no lists.

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


def check_order(given: Input, file: File | str, table: Table, chosen: dict[str, int], first: bool = True) -> None:
    """Checks that no column of times is passed over: none is recognised, or one without its dates or times of day.

    Args:
        given: the input.
        file: of the table, for messages.
        table: the table.
        chosen: {role: index of the column}.
        first: whether it is the first of its log; others have the same columns.

    Raises:
        UserError: if there is one; names it. Also if the items are dates, and no times are known.
    """
    if "time" in given.columns:
        return
    if "time" in chosen:
        _check_clock(given, file, table, chosen, first)
        return
    if first:
        ordering.check_dates(given.files)
    names = table.names
    parents = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    others = [number for number, name in enumerate(names) if number not in chosen.values() and name not in parents]
    found = _first_values(table, chosen, [chosen["item"], *others])
    parts = [names[at] for at in parts_of_dates.named(names, others) if parts_of_dates.hold(found.get(at), names[at])]
    if len(parts) > 1:
        raise UserError(
            f"{file}: no column is known as the time by its name, but {some(parts)} read as parts of one: put a column "
            f"of whole dates beside them (2024-01-31 23:59:00), or take the order of the file with --time {cols.NONE} "
            "(to prepare.py)"
        )
    _check_item(given, file, names, chosen["item"], found, others)
    if timed := [number for number in others if number in found and _are_times(found[number])]:
        timed.sort(key=lambda number: (found[number].n_unique() < 2, -cols.sounds_like_time(names[number])))
        likely = found[timed[0]]
        cols.refuse_order(names, timed, file, None if reads_as_times(likely) else forms_of(likely))


def _are_times(values: pl.Series) -> bool:
    return reads_as_times(values) or looks_like_times(values)


def _check_item(
    given: Input, file: File | str, names: list[str], item: int, found: dict[int, pl.Series], others: list[int]
) -> None:
    """Checks that the items are no dates, where no times are known; notes if their numbers may be times.

    Args:
        given: the input.
        file: for messages.
        names: all column names.
        item: index of the items' column.
        found: {index of a column: its first values}.
        others: indices of the columns that aren't read.

    Raises:
        UserError: if they are, unless --ids text says that these are ids.
    """
    values = found.get(item, NOTHING)
    if kind_of(given.ids, "item") == "text" or not others or not _are_times(values):
        return
    cure = f"name the items' column with --item, and this one with --time {cols.flag_of(names, item)}"
    text = values if values.dtype.is_temporal() else values.cast(pl.String)
    if not values.dtype.is_temporal() and text.cast(pl.Float64, strict=False).count() > len(text) / 2:
        if not cols.fits("item", names[item]):
            given.say(f"{names[item]}: its numbers, read as items, may be times: if they are, {cure}")
    elif reads_as_times(text) or forms_of(text):
        told = f"{file}: {names[item]} is read as the item, and holds dates"
        raise UserError(f"{told}: {cure}; if these are the items, say --ids text")


def _check_clock(given: Input, file: File | str, table: Table, chosen: dict[str, int], first: bool) -> None:
    """Checks that the time recognised holds no times of day whose dates are in another column, nor their days alone.

    Raises:
        UserError: if it does; names both.
    """
    names, time = table.names, chosen["time"]
    others = [at for at in range(len(names)) if at not in chosen.values()]
    known = [at for at in others if cols.is_time(names[at])]
    parts = [names[at] for at in parts_of_dates.named(names, others)]
    found = _first_values(table, chosen, [time, *known]) if known or len(parts) > 1 else {}
    clock, dates = _apart(found, time, given.time_format)
    if clock is None and others and first:
        days = found or _first_values(table, chosen, [time])
        if time in days and reads_as_days(days[time], given.time_format):
            unknown = [at for at in others if at not in known]
            _check_hours(given, file, names, _first_values(table, chosen, unknown), time)
    if clock is None and (finer := _finer(found, time, given.time_format)) is not None:
        cols.refuse_days(names[time], names[finer], file)
    if clock is None or (dates is None and len(parts) < 2):
        return
    forms = None if dates is None or reads_as_times(found[dates]) else forms_of(found[dates])
    numbers = not found[clock].dtype.is_temporal() and found[clock].cast(pl.Float64, strict=False).count() > 0
    cols.refuse_clock(names[clock], parts if dates is None else [names[dates]], file, forms, numbers)


def _check_hours(given: Input, file: File | str, names: list[str], found: dict[int, pl.Series], time: int) -> None:
    """Checks that no times of day are left out beside a time of days alone; says columns that may be such.

    Args:
        given: says which.
        file: for messages.
        names: all column names.
        found: {index of a column: its first values}, of those that aren't read and aren't known as times.
        time: index of the time.

    Raises:
        UserError: if a column is named as times of day, or as parts of them, and holds several.
    """
    several = {at: values for at, values in found.items() if values.n_unique() > 1 and reads_as_clock(values)}
    if named := [names[at] for at in several if cols.plain(names[at]) in CLOCKS]:
        cols.refuse_clock(some(named), [names[time]], file, None, False)
    numbers = lambda values: values.dtype.is_numeric() or values.cast(pl.Float64, strict=False).count() > 0
    if clocks := [names[at] for at in several if found[at].dtype == pl.Time or not numbers(found[at])]:
        joined = (
            "if it is when they were, join the two into one column (2024-01-31 23:59:00), and name that with --time"
        )
        given.say(f"{names[time]} holds days alone, and {clocks[0]}, which is not read, times of day: {joined}")
        return
    ordered = [at for at, values in found.items() if values.n_unique() > 1 and numbers(values)]
    if places := [names[at] for at in ordered if cols.sounds_like_order(names[at])]:
        cures = f"join the two into one column of numbers, or take --time {cols.flag_of(names, names.index(places[0]))}"
        told = f"{names[time]} holds days alone: if {places[0]}, which is not read, is the order within a day"
        given.say(f"{told}, {cures} where no history is longer than a day")


def _apart(found: dict[int, pl.Series], time: int, form: str | None) -> tuple[int | None, int | None]:
    """Returns a column of times of day and that of their dates, one of which is the time; None for what isn't found."""
    clocks = [at for at, values in found.items() if reads_as_clock(values)]
    if time in clocks:
        others = {at: values for at, values in found.items() if at not in clocks}
        return time, next((at for at in others if reads_as_times(others[at]) or looks_like_times(others[at])), None)
    return (clocks[0], time) if clocks and time in found and reads_as_days(found[time], form) else (None, None)


def _finer(found: dict[int, pl.Series], time: int, form: str | None) -> int | None:
    """Returns a column of dates with their times of day, if the time holds days alone; None if there is none."""
    if time not in found or not reads_as_days(found[time], form):
        return None
    others = (at for at in found if at != time and reads_as_times(found[at]))
    return next((at for at in others if not reads_as_days(found[at])), None)


def _first_values(table: Table, chosen: dict[str, int], numbers: list[int]) -> dict[int, pl.Series]:
    """Returns the first values of those columns that have plain ones a row, or an entry of the lists of items."""
    item = table.names[chosen["item"]]
    wanted = [number for number in numbers if _goes_with(table, table.names[number], item)]
    ids = {role: number for role, number in chosen.items() if role not in cols.UNREAD}
    columns = ids | {f"column {number}": number for number in wanted if number not in ids.values()}
    first = next(iter(table.peek(columns)), None) if wanted else None
    if first is None:
        return {}
    names = {number: name for name, number in columns.items()}
    found = {number: first.frame[names[number]].drop_nulls().head(SAMPLE) for number in wanted}
    return {number: values for number, values in found.items() if not values.dtype.is_nested()}


def _goes_with(table: Table, name: str, item: str) -> bool:
    """Returns whether a column has a value per row, or per entry of the lists of items."""
    within = [name.rpartition(".")[0], item.rpartition(".")[0]]
    return name not in table.lists or (item in table.lists and within[0] == within[1])
