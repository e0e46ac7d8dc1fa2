"""Columns of times that would not be read, so that events would be in the order of the rows, or ordered by day only."""

import polars as pl

from jaxrec.data import columns as cols, ordering, tabular
from jaxrec.data.files.text import File, short, some
from jaxrec.data.given import Input
from jaxrec.data.tabular import NOTHING, Table
from jaxrec.data.unread import clocks
from jaxrec.data.values import digits, parts_of_dates
from jaxrec.data.values.forms import forms_of
from jaxrec.data.values.spellings import kind_of
from jaxrec.data.values.times import reads_as_days, reads_as_times
from jaxrec.system.errors import UserError

NAMED = {"date", "datetime", "time", "timestamp", "tstamp", "stamp"}  # words in the names of columns of times
YEARS = r"(?:^|[^0-9])(?:(?:19|20)[0-9]{2}|[0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{2})(?:[^0-9]|$)"
DATED = 0.5  # minimum share of values with a year, in a column with such a name


def check(given: Input, file: File | str, table: Table, chosen: dict[str, int], first: bool = True) -> None:
    """Checks that no column of times is overlooked: if no time is recognised, or one without its date or time of day.

    Args:
        given: the input.
        file: the table's file, for messages.
        table: the table.
        chosen: {role: index of the column}.
        first: whether it is the first file of its log; the others have the same columns.

    Raises:
        UserError: if a column of times is overlooked; names it. Also if no time is recognised and the items are dates.
    """
    if "time" in given.columns:
        if "time" in chosen and first:
            clocks.check_named(given, file, table, chosen)
        return
    if "time" in chosen:
        clocks.check(given, file, table, chosen, first)
        return
    if first:
        ordering.check_dates(given.files)
    names, others = table.names, tabular.unread(table, chosen)
    found = tabular.first_values(table, chosen, [chosen["item"], *others])
    parts = [names[at] for at in parts_of_dates.named(names, others) if parts_of_dates.hold(found.get(at), names[at])]
    if len(parts) > 1:
        raise UserError(
            f"{file}: no column is recognised as the time by its name, but {some(parts)} read as parts of one: add "
            f"a column of whole dates (2024-01-31 23:59:00), or take the order of the file with --time {cols.NONE} "
            "(to prepare.py)"
        )
    _check_item(given, file, names, chosen["item"], found, others)
    if timed := [number for number in others if number in found and clocks.are_times(found[number])]:
        timed.sort(key=lambda number: (found[number].n_unique() < 2, -cols.sounds_like_time(names[number])))
        likely = found[timed[0]]
        beside = [at for at in others if at in found and at not in timed and clocks.is_clock(found[at], names[at])]
        apart = [at for at in beside if cols.belong(names[at], names[timed[0]])]
        if apart and reads_as_times(likely) and reads_as_days(likely):
            cols.refuse_clock(names[apart[0]], [names[timed[0]]], file, None, False)
        cols.refuse_order(names, timed, file, _form_of(likely))
    for at in (at for at in others if first and at in found and _may_be_times(found[at], names[at])):
        cure = f"write it like 2014-04-01T03:00:00Z, and take it with --time {cols.flag_of(names, at)}"
        given.say(f"{names[at]}, as {short(str(found[at][0]))}, is not read: if it is the time of the events, {cure}")


def _form_of(values: pl.Series) -> str | None:
    """Returns the --time-format that these times need; None if they need none, "" if they can't be read."""
    if not reads_as_times(values):
        return forms_of(values)
    if values.dtype.is_temporal():
        return None
    form = digits.compact(values.cast(pl.Float64, strict=False).drop_nulls().to_numpy())
    return f"'{form}'" if form else None


def _may_be_times(values: pl.Series, name: str) -> bool:
    """Returns whether values may be dates in an unknown form: text with years, under a name that suggests times."""
    if values.dtype != pl.String or NAMED.isdisjoint(cols.words(name)) or values.n_unique() < 2:
        return False
    plain = values.cast(pl.Float64, strict=False).is_not_null()
    return (values.str.contains(YEARS) & ~plain).sum() > DATED * len(values)


def _check_item(
    given: Input, file: File | str, names: list[str], item: int, found: dict[int, pl.Series], others: list[int]
) -> None:
    """Checks that the items aren't dates, if no time is recognised; notes it if numeric items may be times.

    Args:
        given: the input.
        file: the table's file, for messages.
        names: all column names.
        item: index of the items' column.
        found: {index of a column: its first values}.
        others: indices of the columns that aren't read.

    Raises:
        UserError: if they are dates, unless --ids text declares them ids.
    """
    values = found.get(item, NOTHING)
    if kind_of(given.ids, "item") == "text" or not others or not clocks.are_times(values):
        return
    cure = f"name the items' column with --item, and this one with --time {cols.flag_of(names, item)}"
    text = values if values.dtype.is_temporal() else values.cast(pl.String)
    if not values.dtype.is_temporal() and text.cast(pl.Float64, strict=False).count() > len(text) / 2:
        if not cols.fits("item", names[item]):
            given.say(f"{names[item]}: its numbers, read as items, may be times: if they are, {cure}")
    elif reads_as_times(text) or forms_of(text):
        told = f"{file}: {names[item]} is read as the item, and holds dates"
        raise UserError(f"{told}: {cure}; if these are the items, say --ids text")
