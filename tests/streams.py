"""Histories of drawn lengths, as subsequences and as rows of a Stream, and how to read such a row."""

import jax
import numpy as np

from jaxrec.batches.stream import Data, packing_layout, plan


def bounds(drawn):
    """Starts and stops of histories, drawn as (length, number of foreign items that follow)."""
    lengths, gaps = np.array(drawn).T
    start = np.cumsum(lengths + gaps) - lengths - gaps
    return start, start + lengths


def arranged(lengths, width, seed, epoch, multiple=1, user_index=None):
    """Subsequences of these lengths, one item apart, arranged in rows: (Data, Order)."""
    lengths = np.asarray(lengths)
    start = np.cumsum(lengths + 1) - lengths - 1
    layout, order_of = packing_layout(lengths, width, multiple)
    items = np.arange(1, (lengths + 1).sum() + 1, dtype=np.int32)
    user_index = np.arange(len(lengths), dtype=np.int32) if user_index is None else user_index
    return Data(items, start, user_index, layout), plan(lengths, order_of, len(layout.slot_to_segment), seed, epoch)


def read(row):
    """The subsequences in a row of a Stream, left to right: [(user, items, targets)]; asserts that it is valid."""
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
