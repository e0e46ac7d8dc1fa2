"""What a model has to beat: scorers that count."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.ragged import slices
from jaxrec.data.splits import training_counts
from jaxrec.ranking import Scorer


class Baseline(NamedTuple):
    """A scorer, how its parameters are counted, and what it asks of a history."""

    scorer: Scorer
    fit: Callable  # (split) -> params, on the host
    queries: Callable  # (split, questions) -> queries, a tree with leading axis Q or None


def _popularity_chunk(counts_V, _query, start, size):
    return jax.lax.dynamic_slice_in_dim(counts_V, start, size)


def _popularity_at(counts_V, _query, items_C):
    return counts_V[items_C - 1]


def _count_items(split):
    # the order of the counts, not the counts: small enough to be exact in float32 too, however large the data
    return np.unique(training_counts(split), return_inverse=True)[1].astype(np.int32)


def _no_query(split, questions):
    return None


class Transitions(NamedTuple):
    """What follows an item in training: row v - 1 has the items that follow item v, in ascending order.

    A score is a place in the order of all pairs (count of the transition, popularity): a small exact integer.
    """

    offsets: Any  # [V + 1] int32
    items: Any  # [E + 1] int32
    scores: Any  # [E + 1] int32
    rest: Any  # [V] int32 the score of an item that never followed
    slots: Any  # [W] int32 0, 1, … W - 1: as wide as the longest row


def _count_transitions(split):
    popularity, items = training_counts(split), split.interactions.items
    total = len(popularity) + 1
    before = slices(split.start, np.maximum(split.stop - 1, split.start))
    pairs, counts = np.unique(np.asarray(items[before], np.int64) * total + items[before + 1], return_counts=True)
    last, following = np.divmod(pairs, total)
    levels = np.unique(popularity, return_inverse=True)[1]
    scores = np.unique(np.append(levels, counts * total + levels[following - 1]), return_inverse=True)[1]
    offsets = np.searchsorted(last, np.arange(1, total + 1)).astype(np.int32)
    slots = np.arange(max(np.diff(offsets).max(), 1), dtype=np.int32)
    rest, scores = np.split(scores.astype(np.int32), [total - 1])
    # one entry of nobody's at the end, so that there is one
    return Transitions(offsets, np.append(following, 0).astype(np.int32), np.append(scores, np.int32(0)), rest, slots)


def _last_items(split, questions):
    return split.interactions.items[questions.stop - 1]


def _row(params, last):
    """The row of item `last`: items [W], scores [W], and which of them are real."""
    start, stop = params.offsets[last - 1], params.offsets[last]
    places = start + params.slots
    return params.items[places], params.scores[places], places < stop


def _transitions_chunk(params, last, start, size):
    items_W, scores_W, real_W = _row(params, last)
    place_W = items_W - 1 - start
    place_W = jnp.where(real_W & (place_W >= 0), place_W, size)
    return jax.lax.dynamic_slice_in_dim(params.rest, start, size).at[place_W].set(scores_W, mode="drop")


def _transitions_at(params, last, items_C):
    items_W, scores_W, real_W = _row(params, last)
    place_C = jnp.searchsorted(jnp.where(real_W, items_W, len(params.rest) + 1), items_C)
    follows = items_W[place_C] == items_C
    return jnp.where(follows & real_W[place_C], scores_W[place_C], params.rest[items_C - 1])


BASELINES = {
    "popularity": Baseline(Scorer(_popularity_chunk, _popularity_at), _count_items, _no_query),
    "transitions": Baseline(Scorer(_transitions_chunk, _transitions_at), _count_transitions, _last_items),
}
