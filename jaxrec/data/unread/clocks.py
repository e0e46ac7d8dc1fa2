"""Times of day in a column beside the days: if they weren't read, events of a day would be in the order of the rows."""

import polars as pl

from jaxrec.data import columns as cols, tabular
from jaxrec.data.files.text import File, short, some
from jaxrec.data.given import Input
from jaxrec.data.tabular import Table
from jaxrec.data.values import parts_of_dates
from jaxrec.data.values.forms import forms_of, looks_like_times
from jaxrec.data.values.times import reads_as_clock, reads_as_days, reads_as_times

CLOCKS = {"hour", "hr", "hourofday", "minute", "timeofday", "clock"}  # names of times of day or of their parts


def check(given: Input, file: File | str, table: Table, chosen: dict[str, int], first: bool) -> None:
    """Checks that the recognised time doesn't hold times of day, or days, alone, with the rest in another column.

    Notes columns that may be better, if the time is constant or may lack its times of day.

    Args:
        given: the input.
        file: the table's file, for messages.
        table: the table.
        chosen: {role: index of the column}, with a time.
        first: whether it is the first file of its log.

    Raises:
        UserError: if the time is split in two columns; names both.
    """
    names, time = table.names, chosen["time"]
    others = [at for at in range(len(names)) if at not in chosen.values()]
    known = [at for at in others if cols.is_time(names[at])]
    parts = [names[at] for at in parts_of_dates.named(names, others)]
    found = tabular.first_values(table, chosen, [time, *known]) if known or len(parts) > 1 else {}
    clock, dates = _apart(found, time, given.time_format)
    constant = first and time in found and len(found[time]) > 2 and found[time].n_unique() == 1
    if constant and (vary := [at for at in known if at in found and found[at].n_unique() > 1 and are_times(found[at])]):
        same = f"{names[time]} is {short(str(found[time][0]))} in all of the first {len(found[time]):,} rows"
        given.say(f"{same}, and {names[vary[0]]} differs: --time {cols.flag_of(names, vary[0])} takes it instead")
    if clock is None and others and first:
        days = found or tabular.first_values(table, chosen, [time])
        if time in days and reads_as_days(days[time], given.time_format):
            unknown = [at for at in others if at not in known]
            _check_hours(given, file, names, tabular.first_values(table, chosen, unknown), time)
    if clock is None and (finer := _finer(found, time, given.time_format)) is not None:
        cols.refuse_days(names[time], names[finer], file)
    if clock is None or (dates is None and len(parts) < 2):
        return
    forms = None if dates is None or reads_as_times(found[dates]) else forms_of(found[dates])
    numbers = not found[clock].dtype.is_temporal() and found[clock].cast(pl.Float64, strict=False).count() > 0
    cols.refuse_clock(names[clock], parts if dates is None else [names[dates]], file, forms, numbers)


def check_named(given: Input, file: File | str, table: Table, chosen: dict[str, int]) -> None:
    """Notes a column of times of day, if the time column that the user named holds days alone."""
    names, time = table.names, chosen["time"]
    found = tabular.first_values(table, chosen, [time, *tabular.unread(table, chosen)])
    if time not in found or not reads_as_days(found[time], given.time_format):
        return
    if clocks := [at for at, values in found.items() if at != time and is_clock(values, names[at])]:
        _say_clock(given, names[time], names[clocks[0]])


def is_clock(values: pl.Series, name: str) -> bool:
    """Returns whether values are different times of day: text such as 20:30, or numbers under a name such as hour."""
    if not reads_as_clock(values) or values.n_unique() < 2:
        return False
    numbers = values.dtype.is_numeric() or values.cast(pl.Float64, strict=False).count() > 0
    return values.dtype == pl.Time or not numbers or cols.plain(name) in CLOCKS


def are_times(values: pl.Series) -> bool:
    """Returns whether nearly all values are times, or text that looks like times."""
    return reads_as_times(values) or looks_like_times(values)


def _check_hours(given: Input, file: File | str, names: list[str], found: dict[int, pl.Series], time: int) -> None:
    """Checks that no times of day are left out beside a time of days alone; notes columns that may be times of day.

    Args:
        given: receives the notes.
        file: the table's file, for messages.
        names: all column names.
        found: {index of a column: its first values}, for columns that aren't read and aren't known as times.
        time: index of the time.

    Raises:
        UserError: if a column is named as times of day, or parts of them, and its values differ.
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
    """Returns the columns of the times of day and of their dates, one of which is the time; None if not found."""
    clocks = [at for at, values in found.items() if reads_as_clock(values)]
    if time in clocks:
        others = {at: values for at, values in found.items() if at not in clocks}
        return time, next((at for at in others if reads_as_times(others[at]) or looks_like_times(others[at])), None)
    return (clocks[0], time) if clocks and time in found and reads_as_days(found[time], form) else (None, None)


def _finer(found: dict[int, pl.Series], time: int, form: str | None) -> int | None:
    """Returns a column of dates with times of day, if the time holds days alone; None if there is none."""
    if time not in found or not reads_as_days(found[time], form):
        return None
    others = (at for at in found if at != time and reads_as_times(found[at]))
    return next((at for at in others if not reads_as_days(found[at])), None)


def _say_clock(given: Input, days: str, clock: str) -> None:
    cure = (
        "if these are the times of day of the events, join the two into one column (2024-01-31 23:59:00), and name "
        "that with --time"
    )
    given.say(f"{days} holds days alone, and {clock}, which is not read, times of day: {cure}")
