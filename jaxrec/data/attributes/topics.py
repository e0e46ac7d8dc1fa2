"""What items are about, by a column of their table, and where that changes from one event to the next."""

import numpy as np

from jaxrec.data.attributes import features
from jaxrec.data.columns import plain
from jaxrec.data.files.text import some
from jaxrec.data.interactions import GENRES, Catalogue
from jaxrec.system.errors import UserError

SAME, OTHER = 1, 2  #: whether an item shares a topic with another; 0: of one of them none is known
AT_ONCE = 1 << 16  # pairs of items that are compared


def column(catalogue: Catalogue, name: str = "") -> str | None:
    """The column of the topics: the named one, else the first that is called as genres or categories are; None: none.

    Raises:
        UserError: items have no column of this name.
    """
    names = [] if catalogue.about is None else catalogue.about.columns
    if name and name not in names:
        there = f"there are {some(names, 30)}" if names else "nothing is known of them: prepare's --items names a table"
        raise UserError(f"config.topic names {name}: items have no such column, {there}")
    called = {plain(each): each for each in reversed(names)}
    return name or next((called[each] for each in GENRES if each in called), None)


def values(catalogue: Catalogue, name: str = "") -> np.ndarray | None:
    """The topics of every item, [V + 1, F] int32: numbers from 1, then 0; row 0 is of no item. None without a column.

    >>> import polars as pl
    >>> about = pl.DataFrame({"genres": ["War|Drama", "Drama", None]})
    >>> values(Catalogue(np.arange(3), about)).tolist()
    [[0, 0], [1, 2], [1, 0], [0, 0]]

    Args:
        name: of the column, as `column` has it; what of a text is a value, `features.build` says.
    """
    if (found := column(catalogue, name)) is None:
        return None
    try:
        pairs = features.pairs(catalogue, found)
    except UserError:
        if name:
            raise
        return None  # a column that is only called so
    number = pairs["value"].rank("dense").to_numpy().astype(np.int32)
    item = pairs["item"].to_numpy()
    order = np.lexsort((number, item))
    count = np.bincount(item, minlength=len(catalogue.ids) + 1)
    padded = np.zeros((len(count), max(count.max(), 1)), np.int32)
    padded[np.arange(padded.shape[1]) < count[:, None]] = number[order]
    return padded


def compared(topics: np.ndarray, items: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each pair of items [N] whether they share a topic: SAME, OTHER, or 0 where one has none. [N] uint8"""
    found = np.zeros(len(items), np.uint8)
    for first in range(0, len(items), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        one, other = topics[items[part]], topics[others[part]]
        shared = ((one[:, :, None] == other[:, None, :]) & (one[:, :, None] > 0)).any((1, 2))
        known = (one > 0).any(1) & (other > 0).any(1)
        found[part] = np.where(known, np.where(shared, SAME, OTHER), 0)
    return found


def switches(topics: np.ndarray, items: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Of each event of histories whether its item shares a topic with the one before. [N] uint8, as of `compared`

    >>> topics = np.array([[0], [1], [1], [2]])
    >>> switches(topics, np.array([1, 2, 3, 0, 1]), np.array([0, 5])).tolist()
    [0, 1, 2, 0, 0]

    Args:
        topics: as of `values`.
        items: [N] numbers, 0 of one that is not known.
        offsets: [U + 1], where histories begin; the first event of each is 0.
    """
    items = np.asarray(items)
    found = np.zeros(len(items), np.uint8)
    found[1:] = compared(topics, items[:-1], items[1:])
    found[offsets[:-1][np.diff(offsets) > 0]] = 0
    return found
