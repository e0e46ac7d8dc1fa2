"""Items added after training, from a table of items."""

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from jaxrec.data.attributes import items
from jaxrec.data.files.text import File, shown
from jaxrec.data.interactions import COUNT, ID, Catalogue, as_ids
from jaxrec.system.errors import UserError

CHUNKS = 64  # maximum chunks of a table; more are slow to read
WRONG = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)  # raised if a value doesn't fit a column
#: column type -> function that parses a text of it
READ = {
    pl.Date: datetime.date.fromisoformat,
    pl.Datetime: datetime.datetime.fromisoformat,
    pl.Time: datetime.time.fromisoformat,
}
#: column type -> what the column holds, and how to write a value, for messages
WRITTEN = {
    pl.Date: "dates there: write it as 2026-03-02",
    pl.Datetime: "dates there: write it as 2026-03-02T08:00:00",
    pl.Time: "times of day there: write it as 08:00:00",
    pl.Boolean: "booleans there: give true or false",
    pl.Float64: "numbers there: give one",
    pl.Int64: "integers there: give one",
}


def joined(catalogue: Catalogue, table: Any) -> Catalogue:
    """Returns the catalogue extended by the new items of a table, with the catalogue's columns and training count 0.

    >>> old = Catalogue(np.array([3, 5]), pl.DataFrame({"genre": ["A", "B"]})).counted(np.array([2, 1]))
    >>> found = joined(old, pl.DataFrame({"item_id": [5, 9], "genre": ["C", "A"]}))
    >>> found.ids.tolist(), found.about["genre"].to_list(), found.counts.tolist()
    ([3, 5, 9], ['A', 'B', 'A'], [2, 1, 0])

    Args:
        catalogue: a workdir's catalogue.
        table: path of a table of items, or an in-memory table.

    Raises:
        UserError: if the table can't be read, or a column's type differs from the catalogue's.
    """
    file, new = items.given(table, catalogue)
    known = pl.Series(catalogue.ids.tolist()).cast(pl.String)
    new = new.filter(~pl.col(ID).is_in(known.implode()))
    return extended(catalogue, _ids(catalogue, file, new[ID]), new, file)


def extended(catalogue: Catalogue, ids: np.ndarray, about: pl.DataFrame, file: File | str = "items") -> Catalogue:
    """Returns the catalogue extended by items that it does not have.

    Args:
        catalogue: Catalogue.
        ids: [N] ids of the type of the catalogue's.
        about: their attributes, one row per item; columns that the catalogue does not have are left out.
        file: where the attributes are from, for messages.

    Raises:
        UserError: if a column's type differs from the catalogue's.
    """
    own = pl.DataFrame() if catalogue.about is None else catalogue.about
    columns = []
    for name, dtype in own.schema.items():
        if name == COUNT:
            columns.append(pl.Series(name, np.zeros(len(ids), np.int64)))
        elif name in about.columns:
            columns.append(_cast(about[name], dtype, file))
        else:
            columns.append(pl.Series(name, [None] * len(ids), dtype))
    every = np.concatenate([catalogue.ids, ids.astype(catalogue.ids.dtype)])
    own = pl.concat([own, pl.DataFrame(columns)])
    return Catalogue(every, (own.rechunk() if own.n_chunks() > CHUNKS else own) if own.width else None)


def _ids(catalogue, file, tokens):
    """Returns the ids of new items, converted to the type of the catalogue's."""
    ids = as_ids(tokens)
    if ids.dtype.kind == catalogue.ids.dtype.kind:
        return ids
    if catalogue.ids.dtype.kind == "i":
        odd = tokens.filter(tokens.cast(pl.Int64, strict=False).is_null())
        said = shown(odd[0] if len(odd) else tokens[0])
        raise UserError(f"{file}: new item {said} is not an integer, as all ids of the training are: mend it")
    return np.array(tokens.to_list(), catalogue.ids.dtype)


def column(name: str, values: Sequence, dtype: Any) -> pl.Series:
    """Returns an attribute of new items as a column of the catalogue; dates may be texts, as in JSON.

    >>> column("released", ["2005-01-31", None], pl.Date).to_list()
    [datetime.date(2005, 1, 31), None]

    Args:
        name: name of the column.
        values: one per item; None where unknown.
        dtype: type of the column in the catalogue.

    Raises:
        UserError: if a value is of another type.
    """
    try:
        return pl.Series(name, [_fitted(value, dtype) for value in values], dtype)
    except WRONG:
        odd = next(value for value in values if not fits(value, dtype))
        cure = WRITTEN.get(dtype.base_type(), f"{dtype}: give one")
        raise UserError(f"about: {name} is {shown(odd)}, and items have {cure}") from None


def fits(value: Any, dtype: Any) -> bool:
    """Returns whether a column of this type can hold a value."""
    try:
        pl.Series([_fitted(value, dtype)], dtype=dtype)
    except WRONG:
        return False
    return True


def _fitted(value, dtype):
    """Returns a value converted for a column of this type. Raises TypeError or ValueError if it is of another type."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(dtype, pl.Struct):
        return value
    if isinstance(dtype, pl.List | pl.Array):
        if isinstance(value, str | bytes | dict):
            raise TypeError("no list")
        return [_fitted(each, dtype.inner) for each in value]
    if dtype.base_type() in READ:
        return _dated(READ[dtype.base_type()](value) if isinstance(value, str) else value, dtype)
    if dtype == pl.String and isinstance(value, int | float):
        return str(value).lower()
    if isinstance(value, bool) != (dtype == pl.Boolean):
        raise TypeError("a boolean, or none")
    return int(value) if dtype.is_integer() and isinstance(value, float) and value.is_integer() else value


def _dated(value, dtype):
    if not isinstance(value, datetime.date | datetime.time):
        raise TypeError("no date")
    if dtype == pl.Date and isinstance(value, datetime.datetime):
        raise TypeError("a date has no time of day")
    if isinstance(value, datetime.datetime) and value.tzinfo and not dtype.time_zone:
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    return value


def _cast(column, dtype, file):
    try:
        return column.cast(dtype)
    except pl.exceptions.PolarsError:
        raise UserError(
            f"{file}: column {column.name} holds {column.dtype}, but {dtype} in the training: convert it to that"
        ) from None
