"""Histories of drawn lengths, as subsequences and as rows of a Stream, what is asked of them, and read from a row."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.stream import Data, Stream, packing_layout, plan
from jaxrec.kernels.random import row_keys

ROWS, SLOTS = 3, 12  # of `packed`


def bounds(drawn):
    """Starts and stops of histories of these lengths, with that many foreign items after each."""
    lengths, gaps = np.array(drawn).T
    start = np.cumsum(lengths + gaps) - lengths - gaps
    return start, start + lengths


def arranged(lengths, width, seed, epoch, multiple=1, user_index=None):
    """Subsequences of these lengths, one item apart, in rows: (Data, Order)."""
    lengths = np.asarray(lengths)
    start = np.cumsum(lengths + 1) - lengths - 1
    layout, order_of = packing_layout(lengths, width, multiple)
    items = np.arange(1, (lengths + 1).sum() + 1, dtype=np.int32)
    user_index = np.arange(len(lengths), dtype=np.int32) if user_index is None else user_index
    return Data(items, start, user_index, layout), plan(lengths, order_of, len(layout.slot_to_segment), seed, epoch)


def read(row):
    """The subsequences in a row of a Stream, left to right: [(user, items, targets)]; asserts the form of each."""
    row = jax.tree.map(np.asarray, row)
    used = int((row.segments > 0).sum())
    assert (row.segments[:used] > 0).all()
    for values in jax.tree.leaves(row):
        assert not values[used:].any()
    assert row.segments[:used].tolist() == sorted(row.segments[:used].tolist())
    assert sorted(set(row.segments[:used].tolist())) == list(range(1, row.segments.max() + 1))
    subsequences = []
    for segment in range(1, row.segments.max() + 1):
        at = np.flatnonzero(row.segments == segment)
        assert row.positions[at].tolist() == list(range(len(at)))
        assert len(set(row.user_index[at].tolist())) == 1
        subsequences.append((int(row.user_index[at[0]]), row.items[at].tolist(), row.targets[at].tolist()))
    return subsequences


def packed(rows, number=0):
    """The Stream of sequences of these lengths: a slot has an item of its own, and the one above it as target.

    Up to `number` of them the rows that are lacking are empty: of one shape are few programs.
    """
    stream = Stream(*np.zeros((5, max(number, len(rows)), SLOTS), np.int32))
    item, user_index = 0, 0
    for row, lengths in enumerate(rows):
        begin = 0
        for number, length in enumerate(lengths, 1):
            if begin + length > SLOTS:
                break
            at = slice(begin, begin := begin + length)
            stream.items[row, at] = item + 1 + np.arange(length)
            stream.targets[row, at] = stream.items[row, at] + 1
            stream.segments[row, at], stream.positions[row, at] = number, np.arange(length)
            stream.user_index[row, at] = user_index
            item, user_index = item + length + 1, user_index + 1
    return jax.tree.map(jnp.asarray, stream)


def applied(objective, stream, seed=0):
    """What models see of a Stream, and its Targets."""
    keys = row_keys(seed, 0, jnp.arange(len(stream.items)))
    return jax.tree.map(np.asarray, objective.make_targets(stream, keys, most_of(objective, stream)))


def most_of(objective, stream):
    """The most targets of a row, as training counts it: from the lengths of its sequences."""
    counts = [
        objective.count(np.unique(row[row > 0], return_counts=True)[1]).sum() if (row > 0).any() else 0
        for row in np.asarray(stream.segments)
    ]
    return int(max(counts))
