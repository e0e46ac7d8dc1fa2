"""Columns in folder names, as Hive writes them: day=2024-01-01/part.parquet."""

from collections.abc import Callable, Iterator

import polars as pl

from jaxrec.data.files.text import File, short, some
from jaxrec.data.log import Batch
from jaxrec.data.values.codes import text_of
from jaxrec.data.values.dates import Dates
from jaxrec.system.errors import UserError


def joined(file: File, names: list[str], batches: Callable) -> tuple[list[str], Callable]:
    """Adds the columns in the names of a file's folders, as text, to its own columns.

    Args:
        file: the file.
        names: the file's column names.
        batches: function that reads the columns {role: index}.

    Returns:
        The names of all columns, and the function that reads them.

    Raises:
        UserError: while reading, if a column disagrees with the folder of the same name.
    """
    keys = file.keys
    if not keys:
        return names, batches
    both = [*names, *(key for key in keys if key not in names)]
    twice = {names.index(key): value for key, value in keys.items() if key in names}

    def all_batches(chosen: dict[str, int]) -> Iterator[Batch]:
        inside = {role: number for role, number in chosen.items() if number < len(names)}
        more = {f"{number} to be checked": number for number in twice if number not in inside.values()}
        checked = {role: number for role, number in (inside | more).items() if number in twice}
        folders = [pl.lit(keys[both[at]], pl.String).alias(role) for role, at in chosen.items() if at >= len(names)]
        for batch in batches(inside | more or {"none": 0}):
            for role, number in checked.items():
                _check_same(batch, role, names[number], twice[number])
            yield batch._replace(frame=batch.frame.with_columns(*folders).select(list(chosen)))

    return both, all_batches


def said(file: File) -> str:
    """Returns a description of the columns in folder names, to end the note about the columns; "" if there are none."""
    return f"; in the names of folders: {some(file.keys)}" if file.keys else ""


def _check_same(batch: Batch, role: str, name: str, value: str | None) -> None:
    said = f"{name} is {value} by the folder's name: mend one, or rename the folder"
    column, key = batch.frame[role], pl.Series([value], dtype=pl.String)
    text = text_of(column)
    if text is None:
        raise UserError(f"{batch.file}: column {name} holds {column.dtype}, and {said}")
    same = text.eq_missing(key)
    for read in () if same.all() else (_numbers, _moments):
        same |= (read(text) == read(key)).fill_null(False)
    if not same.all():
        place, row = batch.row((~same).arg_true()[0])
        raise UserError(f"{batch.file}, {place}: {short(row)}: {said}")


def _numbers(text: pl.Series) -> pl.Series:
    """Parses text as numbers, so that month=01 equals 1."""
    return text.cast(pl.Float64, strict=False)


def _moments(text: pl.Series) -> pl.Series:
    """Parses text as times, so that day=2024-01-01 equals its midnight."""
    return Dates().read(text)
