"""Columns of times that a table has and nobody reads: then the order of its rows would count, or days alone."""

import polars as pl

from jaxrec.data import columns as cols, ordering
from jaxrec.data.files.text import File, short, some
from jaxrec.data.given import Input
from jaxrec.data.tabular import NOTHING, SAMPLE, Table
from jaxrec.data.values import digits, parts_of_dates
from jaxrec.data.values.forms import forms_of, looks_like_times
from jaxrec.data.values.spellings import kind_of
from jaxrec.data.values.times import reads_as_clock, reads_as_days, reads_as_times
from jaxrec.system.errors import UserError

CLOCKS = {"hour", "hr", "hourofday", "minute", "timeofday", "clock"}  # names of times of day, or of parts of them
DATED = 0.5  # minimum share of values with digits, in a column that is called as times are


def check(given: Input, file: File | str, table: Table, chosen: dict[str, int], first: bool = True) -> None:
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
        if "time" in chosen and first:
            _check_named(given, file, table, chosen)
        return
    if "time" in chosen:
        _check_clock(given, file, table, chosen, first)
        return
    if first:
        ordering.check_dates(given.files)
    names, others = table.names, _unread(table, chosen)
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
        clocks = [at for at in others if at in found and at not in timed and _is_clock(found[at], names[at])]
        if clocks and reads_as_times(likely) and reads_as_days(likely):
            cols.refuse_clock(names[clocks[0]], [names[timed[0]]], file, None, False)
        cols.refuse_order(names, timed, file, _form_of(likely))
    for at in (at for at in others if first and at in found and _may_be_times(found[at], names[at])):
        cure = f"write it like 2014-04-01T03:00:00Z, and take it with --time {cols.flag_of(names, at)}"
        given.say(f"{names[at]}, as {short(str(found[at][0]))}, is not read: if it says when, {cure}")


def _unread(table: Table, chosen: dict[str, int]) -> list[int]:
    """Returns the indices of the columns that aren't read, without records whose fields are columns."""
    names = table.names
    parents = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    return [number for number, name in enumerate(names) if number not in chosen.values() and name not in parents]


def _form_of(values: pl.Series) -> str | None:
    """Returns the --time-format that these times need; None if they can be read without, "" if they can't be read."""
    if not reads_as_times(values):
        return forms_of(values)
    if values.dtype.is_temporal():
        return None
    form = digits.compact(values.cast(pl.Float64, strict=False).drop_nulls().to_numpy())
    return f"'{form}'" if form else None


def _is_clock(values: pl.Series, name: str) -> bool:
    """Returns whether values are several times of day: text such as 20:30, or numbers of a column that is called so."""
    numbers = values.dtype.is_numeric() or values.cast(pl.Float64, strict=False).count() > 0
    if values.dtype != pl.Time and numbers and cols.plain(name) not in CLOCKS:
        return False
    return values.n_unique() > 1 and reads_as_clock(values)


def _may_be_times(values: pl.Series, name: str) -> bool:
    """Returns whether values are text in a form that is not known, in a column whose name speaks of times."""
    if values.dtype != pl.String or cols.sounds_like_time(name) < 1 or values.n_unique() < 2 or reads_as_clock(values):
        return False
    plain = values.cast(pl.Float64, strict=False).is_not_null()
    return bool((values.str.contains(r"[0-9].*[0-9]") & ~plain).mean() > DATED)


def _check_named(given: Input, file: File | str, table: Table, chosen: dict[str, int]) -> None:
    """Says columns of times of day beside a time of days alone, which the person named."""
    names, time = table.names, chosen["time"]
    found = _first_values(table, chosen, [time, *_unread(table, chosen)])
    if time not in found or not reads_as_days(found[time], given.time_format):
        return
    if clocks := [at for at, values in found.items() if at != time and _is_clock(values, names[at])]:
        _say_clock(given, names[time], names[clocks[0]])


def _say_clock(given: Input, days: str, clock: str) -> None:
    cure = "if it is when they were, join the two into one column (2024-01-31 23:59:00), and name that with --time"
    given.say(f"{days} holds days alone, and {clock}, which is not read, times of day: {cure}")


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
    constant = first and time in found and len(found[time]) > 1 and found[time].n_unique() == 1
    if constant and (vary := [at for at in known if found[at].n_unique() > 1 and _are_times(found[at])]):
        same = f"{names[time]} is {short(str(found[time][0]))} in all of the first {len(found[time]):,} rows"
        given.say(f"{same}, and {names[vary[0]]} differs: --time {cols.flag_of(names, vary[0])} takes it instead")
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
        _say_clock(given, names[time], clocks[0])
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
