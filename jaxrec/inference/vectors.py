"""The vectors by which a trained model compares users with items: a score is their product, plus the item's bias."""

import numpy as np
import polars as pl

from jaxrec.data.interactions import ID, Catalogue, Interactions
from jaxrec.data.users import Users
from jaxrec.inference.engine import Engine


def item_vectors(engine: Engine, catalogue: Catalogue) -> pl.DataFrame:
    """A row an item: its id, its vector [D] float32, and its bias where the model has any."""
    table_VD, bias_V = engine.output_table()
    frame = pl.DataFrame({ID: catalogue.ids.tolist(), "vector": table_VD.astype(np.float32)})
    return frame if bias_V is None else frame.with_columns(pl.Series("bias", bias_V.astype(np.float32)))


def user_vectors(engine: Engine, catalogue: Catalogue, data: Interactions, users: Users | None = None) -> pl.DataFrame:
    """A row a user of these data: the id, and the vector [D] float32 after the whole history.

    Args:
        catalogue: the model's. users: those of whom the model has vectors, if it has any.

    Users none of whose items is in the catalogue are left out.
    """
    items = numbers_in(catalogue, data)[data.items]
    histories = [items[start:stop] for start, stop in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    histories = [history[history > 0][-engine.length :] for history in histories]
    lengths = np.array([len(history) for history in histories])
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    own = users.numbers() if users else {}
    numbers = np.array([own.get(id, -1) for id in data.users.tolist()], np.int32)
    found = np.zeros((len(histories), engine.output_table()[0].shape[1]), np.float32)
    for first in range(0, len(order), engine.rows):
        block = order[first : first + engine.rows]
        found[block] = engine.hidden([histories[user].tolist() for user in block], numbers[block])
    frame = pl.DataFrame({ID: data.users.tolist(), "vector": found})
    return frame.filter(pl.Series(lengths > 0))


def numbers_in(catalogue: Catalogue, data: Interactions) -> np.ndarray:
    """The catalogue's number of each of the data's items, 0 for one that it lacks. [V + 1] int32, 0 first"""
    ids, theirs = catalogue.ids, data.catalogue.ids
    numbers = np.zeros(len(theirs) + 1, np.int32)
    if ids.dtype.kind == theirs.dtype.kind:
        place = np.minimum(np.searchsorted(ids, theirs), len(ids) - 1)  # ids are sorted
        numbers[1:] = np.where(ids[place] == theirs, place + 1, 0)
    return numbers
