"""Counts what the splits of a log would hold, as `splits.describe` does, without making arrays of all rows."""

import numpy as np

from jaxrec.data import blocks, event_types, splits
from jaxrec.data.interactions import Interactions, by_session

TRAINS, VALID, TEST, NEITHER = range(4)


def described(interactions: Interactions, name: str) -> dict:
    """Returns what `splits.describe` returns for the split of this name with its default options."""
    if name == "sessions" and not event_types.asked(interactions):
        return sessions(interactions)
    return splits.describe(splits.split(interactions, name))


def sessions(interactions: Interactions, q: float = 0.9, valid: float = 0.1) -> dict:
    """Returns what `splits.describe` returns for `splits.sessions`, block by block.

    >>> from dataclasses import replace
    >>> from jaxrec.data.interactions import from_sequences
    >>> log = replace(from_sequences([[1, 2], [1, 3, 2], [1, 2, 4, 1]]), train_sessions=2)
    >>> sessions(log) == splits.describe(splits.sessions(log))
    True
    """
    data = by_session(interactions)
    order, trains = splits.training_first(data, q)
    part = np.full(len(data.users), TEST, np.int8)  # of each session
    part[order[:trains]] = TRAINS
    part[order[trains - splits.validating(trains, valid) : trains]] = VALID
    lengths = np.diff(data.offsets)
    trained, known = np.zeros((2, len(data.catalogue.ids) + 1), bool)
    for block in blocks.of(data):
        row = np.repeat(part[block.users], lengths[block.users])
        trained[block.data.items[row == TRAINS]] = True
        known[block.data.items[row < TEST]] = True
    left = np.zeros(len(part), np.int64)
    for block in blocks.of(data):
        left[block.users] = np.diff(_before(known[block.data.items])[block.data.offsets])
    given = int(lengths[part == TEST].sum())
    part[(part == TEST) & (left < 2)] = NEITHER
    cold = np.zeros(NEITHER + 1, np.int64)
    for block in blocks.of(data):
        items, own = block.data.items, np.repeat(part[block.users], lengths[block.users])
        before = _before(known[items])
        first = before[:-1] == np.repeat(before[block.data.offsets[:-1]], lengths[block.users])
        cold += np.bincount(own[known[items] & ~first & ~trained[items]], minlength=len(cold))
    rows = lambda which: int(left[part == which].sum())
    sequences = lambda which: int(((part == which) & (lengths > 0)).sum())
    return {
        "sequences": sequences(TRAINS),
        "interactions": rows(TRAINS),
        "valid": rows(VALID) - sequences(VALID),
        "test": rows(TEST) - sequences(TEST),
        "cold_valid": int(cold[VALID]),
        "cold_test": int(cold[TEST]),
        "left_out": given - rows(TEST),
    }


def _before(mask: np.ndarray) -> np.ndarray:
    """Returns the number of rows in a mask before each index. [n] -> [n + 1]"""
    return np.append(0, np.cumsum(mask))
