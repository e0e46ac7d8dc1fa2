"""Topics of items, from a column of their table, and where the topic changes from one event to the next."""

import numpy as np

from jaxrec.data.attributes import features
from jaxrec.data.columns import plain
from jaxrec.data.files.text import some
from jaxrec.data.interactions import GENRES, Catalogue
from jaxrec.system.errors import UserError

SAME, OTHER = 1, 2  #: two items share a topic, or share none; 0: the topics of one of them are unknown
AT_ONCE = 1 << 16  # pairs of items compared at once


def column(catalogue: Catalogue, name: str = "") -> str | None:
    """Returns the column of the topics: the named one, otherwise one with a common name such as genres; None without.

    Raises:
        UserError: if the items have no column of this name.
    """
    names = [] if catalogue.about is None else catalogue.about.columns
    if name and name not in names:
        there = f"there are {some(names, 30)}" if names else "nothing is known of them: prepare's --items names a table"
        raise UserError(f"config.topic names {name}: items have no such column, {there}")
    called = {plain(each): each for each in reversed(names)}
    return name or next((called[each] for each in GENRES if each in called), None)


def values(catalogue: Catalogue, name: str = "") -> np.ndarray | None:
    """Returns the topics of every item, [V + 1, F] int32: numbers from 1, padded with 0; row 0 is of no item.

    >>> import polars as pl
    >>> about = pl.DataFrame({"genres": ["War|Drama", "Drama", None]})
    >>> values(Catalogue(np.arange(3), about)).tolist()
    [[0, 0], [1, 2], [1, 0], [0, 0]]

    Args:
        catalogue: the items.
        name: name of the column, as for `column`; texts are split into values as in `features.build`.

    Returns:
        The topics; None if there is no column of topics, or none is named and the one found holds no values.

    Raises:
        UserError: as `column`; also if the named column holds no values.
    """
    if (found := column(catalogue, name)) is None:
        return None
    try:
        pairs = features.pairs(catalogue, found)
    except UserError:
        if name:
            raise
        return None  # a column with the name of topics that holds none
    number = pairs["value"].rank("dense").to_numpy().astype(np.int32)
    item = pairs["item"].to_numpy()
    order = np.lexsort((number, item))
    count = np.bincount(item, minlength=len(catalogue.ids) + 1)
    padded = np.zeros((len(count), max(count.max(), 1)), np.int32)
    padded[np.arange(padded.shape[1]) < count[:, None]] = number[order]
    return padded


def compared(topics: np.ndarray, items: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns whether the items of each pair share a topic: SAME, OTHER, or 0 where one has none. [N] uint8"""
    found = np.zeros(len(items), np.uint8)
    for first in range(0, len(items), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        one, other = topics[items[part]], topics[others[part]]
        shared = ((one[:, :, None] == other[:, None, :]) & (one[:, :, None] > 0)).any((1, 2))
        known = (one > 0).any(1) & (other > 0).any(1)
        found[part] = np.where(known, np.where(shared, SAME, OTHER), 0)
    return found


def switches(topics: np.ndarray, items: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Returns whether each event's item shares a topic with the previous one. [N] uint8, as `compared` returns

    >>> topics = np.array([[0], [1], [1], [2]])
    >>> switches(topics, np.array([1, 2, 3, 0, 1]), np.array([0, 5])).tolist()
    [0, 1, 2, 0, 0]

    Args:
        topics: [V + 1, F], from `values`.
        items: [N] item numbers of consecutive histories, 0 for an unknown item.
        offsets: [U + 1] where each history begins; the result for its first event is 0.
    """
    items = np.asarray(items)
    found = np.zeros(len(items), np.uint8)
    found[1:] = compared(topics, items[:-1], items[1:])
    found[offsets[:-1][np.diff(offsets) > 0]] = 0
    return found
