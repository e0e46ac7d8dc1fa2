"""Recommendations for many users at once: a stream of frames in bounded memory, whatever the number of users.

Users are taken in blocks, and within a block in the order of the lengths of their histories: so few programs serve all,
and the slots of a batch are nearly full. A batch is ranked on the device while the next is put together.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxrec.data.interactions import Interactions
from jaxrec.data.ragged import slices
from jaxrec.inference.engine import SLOTS, hidden
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import ranking
from jaxrec.system import arguments

BLOCK = 1 << 15  # users whose answers make one frame
BATCH = 256  # users ranked at once
SCORES = 1 << 24  # and no more of them than make so many scores: 64 MiB


def recommend_users(
    recommender: Recommender,
    interactions: Interactions,
    users: np.ndarray | None = None,
    k: int = 10,
    exclude_seen: bool | None = None,
) -> Iterator[pl.DataFrame]:
    """The k best next items of every user of a log, a frame for some tens of thousands of users.

    Args:
        recommender: of a trained workdir. interactions: the log, which may be any with external ids of the same kind.
        users: numbers of users in the log, in the order of the answer; all of them if None.
        k: items a user; fewer where fewer are left.
        exclude_seen: leave out the items of the user's history; None: as the training's key `seen` says.

    Yields:
        Frames with the columns user, rank (from 1), item and score, in the order of the users and their ranks. Of a
        user without one known item these are the most popular items, as of `Recommender.recommend`.

    Raises:
        UserError: k is no positive integer.
    """
    k = min(arguments.count(k), len(recommender.catalogue.ids))
    exclude = recommender.config.seen == "exclude" if exclude_seen is None else exclude_seen
    users = np.arange(len(interactions.users)) if users is None else np.asarray(users)
    histories = _Histories(recommender, interactions)
    for first in range(0, len(users), BLOCK):
        some = users[first : first + BLOCK]
        items, scores = _block(recommender, histories, some, k, exclude)
        yield _frame(recommender, interactions.users[some], items, scores)


class _Histories:
    """The histories of a log in the numbers of a recommender's catalogue; what it lacks is left out."""

    def __init__(self, recommender, interactions):
        self._numbers = _numbers_of(recommender, interactions)
        self._interactions = interactions
        self.users = _vectors_of(recommender, interactions)

    def of(self, users):
        """(flat numbers, length of each) of these users."""
        offsets = self._interactions.offsets
        start, stop = offsets[users], offsets[users + 1]
        numbers = self._numbers[self._interactions.items[slices(start, stop)]]
        row = np.repeat(np.arange(len(users)), stop - start)[numbers > 0]
        return numbers[numbers > 0], np.bincount(row, minlength=len(users))


def _numbers_of(recommender, interactions):
    """[items of the log + 1] int32: the recommender's number of each of the log's items; 0 where it has none."""
    own, theirs = recommender.catalogue.ids, interactions.catalogue.ids
    numbers = np.zeros(len(theirs) + 1, np.int32)
    if own is theirs or (own.dtype == theirs.dtype and np.array_equal(own, theirs)):
        numbers[1:] = np.arange(1, len(own) + 1)
        return numbers
    for row, id in enumerate(theirs.tolist(), 1):
        known, _ = recommender.numbers([id])
        numbers[row] = known[0] if known else 0
    return numbers


def _vectors_of(recommender, interactions):
    """[users of the log] int32: the row of each user's vector; -1 where the model has none."""
    rows = np.full(len(interactions.users), -1, np.int32)
    if recommender.users is not None:
        known = recommender.users.numbers()
        for user, id in enumerate(interactions.users.tolist()):
            rows[user] = known.get(recommender.users.own(id), -1)
    return rows


def _block(recommender, histories, users, k, exclude):
    """(items [n, k] int32, 0 where none is left; scores [n, k]) of these users, in their order."""
    flat, length = histories.of(users)
    stop = np.cumsum(length)
    items, scores = np.zeros((len(users), k), np.int32), np.full((len(users), k), -np.inf, np.float32)
    order = np.argsort(length, kind="stable")
    unknown, order = order[length[order] == 0], order[length[order] > 0]
    if len(unknown):
        numbers, shares = recommender.popular(k)
        items[unknown, : len(numbers)], scores[unknown, : len(numbers)] = numbers, shares
    size = max(min(BATCH, SCORES // len(recommender.catalogue.ids)), 1)
    pending = []
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        given = _batch(
            recommender.engine, flat, stop[rows] - length[rows], stop[rows], histories.users[users[rows]], size
        )
        pending.append((rows, _program(recommender.engine, k, exclude)(recommender.engine.params, *given)))
        if len(pending) > 1:
            _keep(pending.pop(0), items, scores)
    for each in pending:
        _keep(each, items, scores)
    return items, scores


def _keep(pending, items, scores):
    rows, found = pending
    items[rows], scores[rows] = (np.asarray(values)[: len(rows)] for values in found)


def _batch(engine, flat, start, stop, user, size):
    """(items [size, T], seen [size, S], user [size]) int32 of some histories, T and S in their buckets."""
    newest = np.maximum(start, stop - (engine.length - engine.room))
    slots = min(_bucket(int((stop - newest).max()) + engine.room), engine.length)
    shown = np.zeros((size, slots), np.int32)
    seen = np.zeros((size, _bucket(int((stop - start).max()))), np.int32)
    for into, first in ((shown, newest), (seen, start)):
        row = np.repeat(np.arange(len(first)), stop - first)
        into[row, slices(np.zeros_like(first), stop - first)] = flat[slices(first, stop)]
    users = np.full(size, -1, np.int32)
    users[: len(user)] = user
    return shown, seen, users


def _bucket(number):
    """The bucket of so many slots: a power of two, of 16 at least."""
    return max(1 << (number - 1).bit_length(), SLOTS)


def _program(of, k, exclude):
    """The compiled program of an engine's model for the best k; compiled once a bucket."""
    key = ("bulk", k, exclude)
    if key not in of._compiled:
        of._compiled[key] = jax.jit(partial(_best, of.model, of._objective, k=k, exclude=exclude))
    return of._compiled[key]


def _best(model, objective, params, items_BT, seen_BS, user_B, *, k, exclude):
    hidden_BD = hidden(model, objective, params, items_BT, user_B)
    scores_BV = ranking.dot_all(model.table(params), hidden_BD)
    if exclude:
        row_BS = jnp.broadcast_to(jnp.arange(len(seen_BS))[:, None], seen_BS.shape)
        place_BS = jnp.where(seen_BS > 0, seen_BS - 1, scores_BV.shape[1])
        scores_BV = scores_BV.at[row_BS, place_BS].set(-jnp.inf, mode="drop")
    return ranking.best(scores_BV, k)


def _frame(recommender, ids, items, scores):
    """The rows of these users' items, without those that are none."""
    user, rank = np.nonzero(items > 0)
    return pl.DataFrame(
        {
            "user": _series(ids)[user],
            "rank": (rank + 1).astype(np.int32),
            "item": _series(recommender.catalogue.ids)[items[user, rank] - 1],
            "score": scores[user, rank],
        }
    )


def _series(ids):
    return pl.Series(ids if ids.dtype.kind == "i" else ids.tolist())
