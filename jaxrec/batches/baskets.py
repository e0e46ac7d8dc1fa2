"""Next-basket training: the events of a basket share a position and together predict each item of the next basket.

A basket is the events with the same time. Their order is not shown: a slot sees its whole basket and those before it,
and a basket's output is the mean over its slots (see `models.baskets`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.stream import Stream, Subsequences
from jaxrec.data import baskets
from jaxrec.data.questions import Split
from jaxrec.data.storage.ragged import slices
from jaxrec.kernels.masks import from_end, same_sequence
from jaxrec.system.errors import UserError


def placed(stream: Stream) -> Stream:
    """Returns the stream with positions that count baskets, and without its last context column, `context.BASKET`.

    Args:
        stream: Stream of rows [R, T], whose positions count events. Without context, every event is its own basket.
    """
    if stream.context is None:
        return stream
    number, segments = stream.context[..., -1], stream.segments
    begins_segment = _changes(segments)
    begins = begins_segment | (number == 0) | _changes(number >> 1)
    count = jnp.cumsum(begins, axis=1)
    positions = count - _running_max(jnp.where(begins_segment, count, 0))
    positions = jnp.where(segments > 0, positions, 0).astype(jnp.int32)
    rest = stream.context[..., :-1] if stream.context.shape[-1] > 1 else None
    return stream._replace(positions=positions, context=rest)


def shown(stream: Stream, length: int) -> Stream:
    """As `placed`, for histories at inference: leaves out their oldest basket if a part of it was cut off.

    Args:
        stream: as for `placed`.
        length: the maximum length of a history; a longer one was cut.
    """
    if stream.context is None:
        return stream
    number, segments = stream.context[..., -1], stream.segments
    whole = (number == 0) | (number & 1 > 0)  # a basket that begins here has all its events
    slot = jnp.arange(segments.shape[1])
    newest_whole = _running_max(jnp.where(whole, slot, -1))
    begin = _running_max(jnp.where(_changes(segments), slot, 0))
    any_whole = (jax.vmap(same_sequence)(segments) & whole[:, None]).any(-1)
    full = stream.positions + jax.vmap(from_end)(segments) + 1 >= length
    left_out = full & any_whole & (newest_whole < begin)
    keep = lambda values: jnp.where(left_out, 0, values)
    return placed(stream._replace(items=keep(stream.items), segments=keep(segments)))


def targets(stream: Stream, most: int) -> tuple:
    """Returns the targets: every event outside a history's first basket, at the last slot of the basket before its own.

    Args:
        stream: as from `placed`.
        most: M, the maximum number of targets of a row.

    Returns:
        The fields of objectives.Targets, [R, M] each; weights are None if the stream has none.
    """
    begins = _changes(stream.segments) | _changes(stream.positions)
    slot = jnp.arange(stream.items.shape[1])
    begin = _running_max(jnp.where(begins, slot, 0))
    asked = (stream.segments > 0) & (stream.positions > 0)
    first = jnp.argsort(~asked, axis=1, stable=True)[:, :most]
    pick = lambda values: jnp.take_along_axis(jnp.where(asked, values, 0), first, axis=1)
    weights = None if stream.weights is None else pick(stream.weights)
    return pick(stream.items), pick(stream.user_index), pick(begin - 1), weights


def over(objective: Any, split: Split, length: int, history: str) -> Any:
    """Returns the Objective with subsequences of whole baskets of a split, as far as they fit.

    Args:
        objective: as from `objectives.next_basket`.
        split: Split.
        length: the maximum number of slots of a subsequence.
        history: "newest" or "windows".

    Raises:
        UserError: if a basket leaves no slot for an event before it.
    """
    begin = baskets.of_log(split.interactions)

    def expected(found):
        indices = slices(found.start, found.start + found.length)
        first = np.repeat(begin[found.start], found.length)
        return indices, (begin[indices] > first).astype(np.float64)

    def made(start, stop, length, history):
        return subsequences(begin, start, stop, length, history, split.interactions.name)

    found = made(split.start, split.stop, length, history)
    owner = np.repeat(np.arange(len(found.length)), found.length)
    number = np.bincount(owner, expected(found)[1], minlength=len(found.length)).astype(np.int64)
    most = np.zeros(length + 1, np.int64)
    np.maximum.at(most, found.length, number)
    return objective._replace(subsequences=made, expected=expected, count=lambda lengths: most[lengths])


def subsequences(
    begin: np.ndarray, start: np.ndarray, stop: np.ndarray, length: int, history: str, name: str = "the log"
) -> Subsequences:
    """Returns subsequences whose first basket is context and whose other baskets are targets.

    If the newest basket and the one before it don't fit together, the older events of the latter are left out.

    Args:
        begin: [N] the index at which each event's basket begins.
        start: [U] where each user's history begins.
        stop: [U] where it ends; a history of one basket has no subsequence.
        length: the maximum number of slots.
        history: "newest", or "windows" over all, so that each basket but the first is a target exactly once.
        name: of the log, for messages.

    >>> found = subsequences(np.array([0, 0, 2, 3, 3]), np.array([0]), np.array([5]), 3, "windows")
    >>> found.start.tolist(), found.length.tolist()
    ([2, 0], [3, 3])

    Raises:
        UserError: if a target basket takes `length` slots or more.
    """
    ends = np.append(np.flatnonzero(np.diff(begin)) + 1, len(begin))
    end_of = lambda at: ends[np.searchsorted(ends, at, side="right")]  # of the basket of an event
    users, start, stop = np.arange(len(start)), np.asarray(start), np.array(stop)
    found = []
    while True:
        users = users[stop[users] > start[users]]
        users = users[begin[stop[users] - 1] > start[users]]
        if not len(users):
            break
        target, earliest = begin[stop[users] - 1], np.maximum(stop[users] - length, start[users])
        if (over := stop[users] - target >= length).any():
            size = int((stop[users] - target)[over].max())
            raise UserError(
                f"{name}: a basket has {size} events, and config.length={length} leaves no slot for one before it: "
                f"set config.length={size + 1} or more"
            )
        first = np.where(begin[earliest] == earliest, earliest, end_of(earliest))
        first = np.where(first < target, first, earliest)
        found.append((users, first, stop[users]))
        if history == "newest":
            break
        stop[users] = end_of(first)
    none = np.zeros(0, np.int64)
    users, first, last = (np.concatenate(parts) for parts in zip((none, none, none), *found, strict=True))
    return Subsequences(first, (last - first).astype(np.int32), users.astype(np.int32))


def _changes(values):
    """Whether a slot's value differs from that of the slot before it; True at a row's first slot. [R, T] bool"""
    return jnp.concatenate([jnp.ones_like(values[:, :1], bool), values[:, 1:] != values[:, :-1]], axis=1)


def _running_max(values):
    """The largest of the values up to each slot, in float32, exact below 2^24: ONNX has no cummax of integers."""
    return jax.lax.cummax(values.astype(jnp.float32), axis=1).astype(values.dtype)
