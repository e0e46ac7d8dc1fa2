"""Ranks and the best k, counted over chunks of the catalogue: no sort of it, no [users, items] matrix."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.kernels import shards

BLOCK = 64  # scores that are first known by their maximum
MANY = 1 << 17  # scores from which that is faster than to select among them all
FEW_WANTED = 16  # times as many blocks as wanted items, from which it is so for fewer scores too
CHUNK = 4096  # items scored at once: with 512 queries 8 MB of scores, which stay in the cache


class Scorer(NamedTuple):
    """How items are scored, written for one query. Scores are floating or integer; a NaN is the worst there is.

    The parameters are passed, never closed over: a closure is folded into the program as a constant.
    """

    chunk: Callable  # (params, query, start, size) -> [size], the scores of items start + 1 ... start + size
    at: Callable  # (params, query, items_C) -> [C], the scores of these items


def _dot(table_ND, hidden_D):
    # "highest": on accelerators the default rounds the factors, and makes ties where there are none
    return jnp.dot(table_ND, hidden_D.astype(table_ND.dtype), precision="highest")


def _dot_chunk(params, hidden_D, start, size):
    table_VD, bias_V = params
    scores = _dot(jax.lax.dynamic_slice_in_dim(table_VD, start, size), hidden_D)
    return scores if bias_V is None else scores + jax.lax.dynamic_slice_in_dim(bias_V, start, size)


def _dot_at(params, hidden_D, items_C):
    table_VD, bias_V = params
    scores = _dot(table_VD[items_C - 1], hidden_D)
    return scores if bias_V is None else scores + bias_V[items_C - 1]


#: Of models: params (table_VD, bias_V or None), a query is hidden_D; row v - 1 of the table is item v.
dot = Scorer(_dot_chunk, _dot_at)


def dot_all(params: tuple, hidden_BD: jax.Array) -> jax.Array:
    """The scores of all items. params: (table [V, D], bias [V] or None). [B, D] -> [B, V]"""
    table_VD, bias_V = params
    if hidden_BD.shape[0] == 1:  # on CPU a product of its own, which does not wait for other threads
        scores_BV = _dot(table_VD, hidden_BD[0])[None]
    else:
        scores_BV = jnp.dot(hidden_BD.astype(table_VD.dtype), table_VD.T, precision="highest")
    return scores_BV if bias_V is None else scores_BV + bias_V


def top_k_of_scores(scores_BV: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The best k of each row of scores, exactly, the best first; of equals the lower item first.

    NaN and -inf are never among them: where fewer than k are left, item 0 with -inf fills up.

    Args:
        scores_BV: floating; column v - 1 is item v.
        k: at most V, static.

    Returns:
        (items [B, k] int32, scores [B, k])
    """
    scores_BV = sortable(scores_BV)
    items = scores_BV.shape[1]
    many = items >= max(MANY, 2 * k * BLOCK) or items >= max(MANY // 8, FEW_WANTED * k * BLOCK)
    scores_Bk, place_Bk = top_k_by_blocks(scores_BV, k) if many else jax.lax.top_k(scores_BV, k)
    return jnp.where(scores_Bk > -jnp.inf, place_Bk + 1, 0).astype(jnp.int32), scores_Bk


def top_k_by_blocks(scores_BV: jax.Array, k: int, block: int = BLOCK) -> tuple[jax.Array, jax.Array]:
    """`jax.lax.top_k`, for less where there are many: by the maxima of blocks first. -> (scores, places)

    The k best lie in the k blocks of the highest maxima, of equal ones the first: each of these holds a score that
    comes before all of any other block.
    """
    rows, items = scores_BV.shape
    count = -(-items // block)
    padded = jnp.pad(scores_BV, ((0, 0), (0, count * block - items)), constant_values=-jnp.inf)
    blocks_BNS = padded.reshape(rows, count, block)
    _, chosen_BC = jax.lax.top_k(blocks_BNS.max(-1), min(k, count))
    chosen_BC = jnp.sort(chosen_BC, axis=-1)  # of equals the lower place is to come first again
    kept_BCS = jnp.take_along_axis(blocks_BNS, chosen_BC[..., None], axis=1)
    scores_Bk, at_Bk = jax.lax.top_k(kept_BCS.reshape(rows, -1), k)
    of_Bk = jax.lax.div(at_Bk, jnp.full_like(at_Bk, block))
    return scores_Bk, jnp.take_along_axis(chosen_BC, of_Bk, axis=1) * block + at_Bk - of_Bk * block


@partial(jax.jit, static_argnums=0, static_argnames=("catalogue", "chunk", "axis"))
def ranks(
    scorer: Scorer,
    params: Any,
    queries: Any,
    targets_Q: jax.Array,
    seen_QS: jax.Array,
    *,
    catalogue: int,
    chunk: int = CHUNK,
    axis: str | None = None,
) -> jax.Array:
    """The rank of each query's target among all items but the seen: [Q] int32, from 1.

    That is 1 + the number of other candidates whose score is *not below* the target's, so that ties and NaNs count
    against the scorer (a NaN target is last, a constant scorer hits nothing). Items of one vector score the same bits
    only where a device has several queries to multiply: give it eight or more, as evaluation does.

    Args:
        scorer: Scorer, static.
        params: its own.
        queries: a tree with leading axis Q, or None.
        targets_Q: 1..V. They are candidates, seen or not.
        seen_QS: items that are no candidates: distinct, without the target; 0 is none.
        catalogue: V, static.
        chunk: how many items are scored at once, static.
        axis: of devices, each of which has the params of an equal share of the items, padded with what is no item:
            the shares' counts are summed. None where the params are of all items. Static.
    """
    rows, before = _share(catalogue, axis)
    if axis is not None:
        targets_Q, seen_QS = targets_Q - before, seen_QS - before
    one = partial(_rank, scorer, size=min(chunk, rows), rows=rows, items=catalogue - before, axis=axis)
    return jax.vmap(one, in_axes=(None, 0, 0, 0))(params, queries, targets_Q, seen_QS)


@partial(jax.jit, static_argnums=0, static_argnames=("catalogue", "axis"))
def sampled_ranks(
    scorer: Scorer,
    params: Any,
    queries: Any,
    targets_Q: jax.Array,
    candidates_QC: jax.Array,
    *,
    catalogue: int = 0,
    axis: str | None = None,
) -> jax.Array:
    """The rank of each target among given candidates, by the rule of `ranks`: [Q] int32, from 1.

    Args:
        scorer: as of `ranks`.
        params: as of `ranks`.
        queries: as of `ranks`.
        targets_Q: as of `ranks`.
        candidates_QC: items without the target; 0 is none.
        catalogue: as of `ranks`; only with an axis is it needed.
        axis: as of `ranks`.
    """

    def one(query, target, candidates_C):
        scores = _scores_at(scorer, params, query, jnp.append(target, jnp.maximum(candidates_C, 1)), catalogue, axis)
        return 1 + (_reaches(scores[1:], scores[0]) & (candidates_C > 0)).sum(dtype=jnp.int32)

    return jax.vmap(one)(queries, targets_Q, candidates_QC)


@partial(jax.jit, static_argnums=0, static_argnames=("k", "catalogue", "chunk", "axis"))
def top_k(
    scorer: Scorer,
    params: Any,
    queries: Any,
    seen_QS: jax.Array,
    *,
    k: int,
    catalogue: int,
    chunk: int = CHUNK,
    axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The best k unseen items of each query, exactly, the best first; of equals the lower item first.

    Items that score NaN or -inf are never among them. Where fewer than k are left, item 0 with -inf fills up. Integer
    scores become float32, so they are told apart below 2^24 only.

    Args:
        scorer: as of `ranks`.
        params: as of `ranks`.
        queries: as of `ranks`.
        catalogue: as of `ranks`.
        chunk: as of `ranks`.
        axis: as of `ranks`; the best of every share are merged.
        seen_QS: items to leave out; 0 is none.
        k: static.

    Returns:
        (items [Q, k] int32, scores [Q, k])
    """
    rows, before = _share(catalogue, axis)
    if axis is not None:
        seen_QS = seen_QS - before
    one = partial(_top, scorer, k=k, size=min(chunk, rows), rows=rows, items=catalogue - before, axis=axis)
    items_Qk, scores_Qk = jax.vmap(one, in_axes=(None, 0, 0))(params, queries, seen_QS)
    if axis is None:
        return items_Qk, scores_Qk
    return merged(items_Qk, scores_Qk, before, k=k, axis=axis)


def merged(
    items_Qk: jax.Array, scores_Qk: jax.Array, before: jax.Array | int, *, k: int, axis: str
) -> tuple[jax.Array, jax.Array]:
    """The best k of all shares of a catalogue, of the best of each: (items [Q, k], scores [Q, k]).

    Args:
        items_Qk: the best of this device's share, numbered from its first one; 0 is none.
        scores_Qk: theirs, the best first.
        before: how many items come before the share.
        k: static; at most as many as the shares have together.
        axis: of devices.
    """
    items_Qk = jnp.where(items_Qk > 0, before + items_Qk, 0)
    items_Qn, scores_Qn = (jax.lax.all_gather(x, axis, axis=1, tiled=True) for x in (items_Qk, scores_Qk))
    # the shares are in the order of their items, so that of equals the lower item is still the earlier
    scores_Qk, place_Qk = jax.lax.top_k(scores_Qn, k)
    return jnp.take_along_axis(items_Qn, place_Qk, axis=1), scores_Qk


def sortable(scores: jax.Array) -> jax.Array:
    """Floating scores with the NaNs last, and no -0 below 0."""
    return jnp.where(jnp.isnan(scores), -jnp.inf, jnp.where(scores == 0, 0.0, scores))


def _reaches(scores, own):
    return ~(scores < own)


def _share(catalogue, axis):
    """Of how many items this device has the params, the padding counted in; and how many items come before them."""
    rows = catalogue if axis is None else -(-catalogue // jax.lax.axis_size(axis))
    return rows, shards.first_row(rows, axis)


def _scores_at(scorer, params, query, items_C, catalogue, axis):
    """The scores of items, whichever device has their params."""
    if axis is None:
        return scorer.at(params, query, items_C)
    rows, before = _share(catalogue, axis)
    return _from_its_share(scorer.at(params, query, jnp.clip(items_C - before, 1, rows)), items_C - before, rows, axis)


def _from_its_share(value, item, rows, axis):
    """What the device of an item, counted from its own first, has for it; to the bit, as zeros are added."""
    return shards.total(jnp.where((item >= 1) & (item <= rows), value, jnp.zeros_like(value)), axis)


def _chunk(index, size, rows):
    """Where a chunk starts, and how many of its items an earlier one has had (the last one is pushed back to fit)."""
    start = jnp.minimum(index * size, rows - size)
    return start, index * size - start


def _over_chunks(body, carry, size, rows):
    count = -(-rows // size)
    # a lone chunk without a loop lets the compiler score it once for both passes
    return body(0, carry) if count == 1 else jax.lax.fori_loop(0, count, body, carry)


def _rank(scorer, params, query, target, seen_S, *, size, rows, items, axis):
    def find(index, own):
        start, had = _chunk(index, size, rows)
        scores = scorer.chunk(params, query, start, size)
        place = target - 1 - start
        return jnp.where((place >= had) & (place < size), scores[jnp.clip(place, 0, size - 1)], own)

    def count(index, rank):
        start, had = _chunk(index, size, rows)
        reaches = _reaches(scorer.chunk(params, query, start, size), own)
        place_S = seen_S - 1 - start
        lost_S = reaches[jnp.clip(place_S, 0, size - 1)] & (place_S >= had) & (place_S < size)
        place = jnp.arange(size)
        reaches &= (place >= had) & (place != target - 1 - start)
        if axis is not None:
            reaches &= place < items - start
        return rank + reaches.sum(dtype=jnp.int32) - lost_S.sum(dtype=jnp.int32)

    own = scorer.at(params, query, (target if axis is None else jnp.clip(target, 1, rows))[None])[0]
    if not jnp.issubdtype(own.dtype, jnp.integer):
        # a product may round in another order than the same product in a chunk, and part what is equal
        own = _over_chunks(find, own, size, rows)
    if axis is None:
        return _over_chunks(count, jnp.ones_like(target, jnp.int32), size, rows)
    own = _from_its_share(own, target, rows, axis)
    return 1 + shards.total(_over_chunks(count, jnp.zeros_like(target, jnp.int32), size, rows), axis)


def _top(scorer, params, query, seen_S, *, k, size, rows, items, axis):
    def floating(scores):  # on CPU the best of integers is a full sort, the best of floats is not
        return scores.astype(jnp.float32) if jnp.issubdtype(scores.dtype, jnp.integer) else scores

    def better(index, best):
        start, had = _chunk(index, size, rows)
        scores = sortable(floating(scorer.chunk(params, query, start, size)))
        place_S = seen_S - 1 - start
        place_S = jnp.where((place_S >= 0) & (place_S < size), place_S, size)
        scores = scores.at[place_S].set(-jnp.inf, mode="drop")
        scores = jnp.where(jnp.arange(size) >= had, scores, -jnp.inf)
        if axis is not None:
            scores = jnp.where(jnp.arange(size) < items - start, scores, -jnp.inf)
        scores, places = jax.lax.top_k(scores, min(k, size))
        found = jnp.where(scores > -jnp.inf, start + 1 + places, 0)
        # of equals top_k takes the earlier place, and what was found earlier has the lower number
        scores, places = jax.lax.top_k(jnp.concatenate([best[1], scores]), k)
        return jnp.concatenate([best[0], found])[places], scores

    first = jnp.append(seen_S, 0)[:1]  # a loop's first carry comes from the data: under shard_map it varies as they do
    like = floating(scorer.at(params, query, jnp.maximum(first, 1)))
    none = jnp.zeros_like(first, jnp.int32).repeat(k), jnp.full_like(like, -jnp.inf).repeat(k)
    return _over_chunks(better, none, size, rows)
