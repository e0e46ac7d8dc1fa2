"""Items added after training, from a table of items."""

from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import items
from jaxrec.data.interactions import COUNT, ID, Catalogue, as_ids
from jaxrec.data.text import shown
from jaxrec.system.errors import UserError

CHUNKS = 64  # of a table of items; more are slow to read


def joined(catalogue: Catalogue, table: Any) -> Catalogue:
    """Returns the catalogue extended by a table's new items, with the catalogue's columns and training count 0.

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
    return _extended(catalogue, file, new.filter(~pl.col(ID).is_in(known.implode())))


def extended(catalogue: Catalogue, table: pl.DataFrame) -> Catalogue:
    """Returns the catalogue extended by all items of a table, none of which it has: as `joined`, without a search."""
    return _extended(catalogue, *items.given(table, catalogue))


def _extended(catalogue, file, new):
    about = pl.DataFrame() if catalogue.about is None else catalogue.about
    columns = []
    for name, dtype in about.schema.items():
        if name == COUNT:
            columns.append(pl.Series(name, np.zeros(len(new), np.int64)))
        elif name in new.columns:
            columns.append(_cast(new[name], dtype, file))
        else:
            columns.append(pl.Series(name, [None] * len(new), dtype))
    ids = as_ids(new[ID])
    if ids.dtype.kind != catalogue.ids.dtype.kind:
        if catalogue.ids.dtype.kind == "i":
            odd = new[ID].filter(new[ID].cast(pl.Int64, strict=False).is_null())
            said = shown(odd[0] if len(odd) else new[ID][0])
            raise UserError(f"{file}: item {said} is new and no integer, as all ids of the training are: mend it")
        ids = np.array(new[ID].to_list(), catalogue.ids.dtype)
    every = np.concatenate([catalogue.ids, ids.astype(catalogue.ids.dtype)])
    about = pl.concat([about, pl.DataFrame(columns)])
    return Catalogue(every, (about.rechunk() if about.n_chunks() > CHUNKS else about) if about.width else None)


def _cast(column, dtype, file):
    try:
        return column.cast(dtype)
    except pl.exceptions.PolarsError:
        raise UserError(
            f"{file}: column {column.name} holds {column.dtype}, and {dtype} in the training: give it so"
        ) from None
