"""Items that a user has not met, drawn exactly: no rejection, no collision with the history."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.ragged import distinct, slices
from jaxrec.errors import UserError


class Seen(NamedTuple):
    """Each user's distinct training items in ascending order, back to back."""

    items: Any  #: [M] int32
    offsets: Any  #: [U + 1]


def seen(items, start, stop, catalogue):
    """Seen of the training histories items[start:stop]. Host; one sort of all of them.

    Raises:
        UserError: a user has met the whole catalogue, so that no negative exists.
    """
    lengths = np.asarray(stop) - np.asarray(start)
    user = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    pairs = distinct(user * (catalogue + 1) + items[slices(start, stop)])
    counts = np.bincount(pairs // (catalogue + 1), minlength=len(lengths))
    if len(counts) and counts.max() >= catalogue:
        raise UserError(
            f"user number {counts.argmax() + 1} has all {catalogue} items of the catalogue in the training history: no "
            "negative can be drawn. Use loss.name=softmax, or leave such users out"
        )
    return Seen((pairs % (catalogue + 1)).astype(np.int32), np.append(0, np.cumsum(counts)))


def nth_unseen(nth, low, high, items, steps):
    """The nth (from 0) item outside a sorted set items[low:high], by bisection; all [K] but items [M].

    items[low + j] - 1 - j unseen items precede the set's j-th, a non-decreasing sequence: with j of them at most nth,
    the answer is nth + 1 + j.
    """
    left, right = jnp.zeros_like(nth), jnp.zeros_like(nth) + (high - low)
    for _ in range(steps):
        middle = (left + right) // 2
        before = items[jnp.minimum(low + middle, len(items) - 1)] - 1 - middle
        go_right = (before <= nth) & (left < right)
        left, right = jnp.where(go_right, middle + 1, left), jnp.where(go_right, right, middle)
    return nth + 1 + left


def uniform(key, source, number, seen, catalogue, steps):
    """Negatives for the slots of one row, uniform over what each slot's user has not met in training.

    Args:
        key: the row's. source: [T] user. number: negatives a slot. seen: Seen on the device. catalogue: V.
        steps: bisection steps, enough for the longest set: ceil(log2(longest + 1)).

    Returns:
        [T, number] int32 in 1..V.
    """
    low, high = seen.offsets[source][:, None], seen.offsets[source + 1][:, None]
    nth = jax.random.randint(key, (len(source), number), 0, catalogue - (high - low))
    return nth_unseen(nth, low, high, seen.items, steps)
