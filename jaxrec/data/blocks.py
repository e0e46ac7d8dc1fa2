"""Blocks of consecutive users, to process a log much larger than memory part by part."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxrec.data.interactions import Interactions, Sessions
from jaxrec.data.storage import maps, ragged


class Block(NamedTuple):
    """Consecutive users of a log, with all of their rows."""

    users: slice
    rows: slice
    data: Interactions  #: only theirs: offsets start at 0, no columns of users, the whole catalogue


def of(data: Interactions, rows: int | None = None) -> Iterator[Block]:
    """Yields the blocks of a log, in order, and releases the pages of memory-mapped arrays after each.

    Args:
        data: the log.
        rows: approximate number of rows per block; maps.ROWS by default.
    """
    for first, last in ragged.spans(data.offsets, rows or maps.ROWS):
        yield of_users(data, first, last)
        maps.release(*per_row(data))


def of_users(data: Interactions, first: int, last: int) -> Block:
    """Returns the block of users `first` to `last` - 1."""
    begin, end = int(data.offsets[first]), int(data.offsets[last])
    part = lambda array: None if array is None else array[begin:end]
    sessions = data.sessions
    if sessions is not None:
        one, other = np.searchsorted(sessions.offsets, (begin, end))
        starts = sessions.offsets[one:other] - begin
        sessions = Sessions(np.append(starts, end - begin), sessions.ids[one:other])
    own = replace(
        data,
        items=data.items[begin:end],
        offsets=data.offsets[first : last + 1] - begin,
        users=data.users[first:last],
        times=part(data.times),
        weights=part(data.weights),
        types=None if data.types is None else data.types._replace(numbers=data.types.numbers[begin:end]),
        sessions=sessions,
        train_sessions=None,
        digest=None,
        user_columns=None,
    )
    return Block(slice(first, last), slice(begin, end), own)


def per_row(data: Interactions) -> list[np.ndarray]:
    """Returns the arrays of a log that have one number per row."""
    arrays = (data.items, data.times, data.weights, None if data.types is None else data.types.numbers)
    return [array for array in arrays if array is not None]
