"""Ranks and top k, computed over chunks of the catalogue, without sorting it and without a [users, items] matrix."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.kernels import shards, sizes

BLOCK = 64  # scores per block, of which only the maximum is used at first
MANY = 1 << 17  # number of scores from which blocks are faster than selecting among all scores
FEW_WANTED = 16  # blocks per wanted item from which this holds for fewer scores too


class Scorer(NamedTuple):
    """How items are scored, written for one query. Scores are floating-point or integers; NaN is the worst score.

    The parameters are passed, never closed over: a closure would become a constant in the compiled program.
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


#: The Scorer of models: params are (table_VD, bias_V or None), a query is hidden_D; row v - 1 of the table is item v.
dot = Scorer(_dot_chunk, _dot_at)


def dot_all(params: tuple, hidden_BD: jax.Array) -> jax.Array:
    """The scores of all items. params: (table [V, D], bias [V] or None). [B, D] -> [B, V]"""
    table_VD, bias_V = params
    if hidden_BD.shape[0] == 1:  # on a CPU this is a different product, which doesn't wait for other threads
        scores_BV = _dot(table_VD, hidden_BD[0])[None]
    else:
        scores_BV = jnp.dot(hidden_BD.astype(table_VD.dtype), table_VD.T, precision="highest")
    return scores_BV if bias_V is None else scores_BV + bias_V


def top_k_of_scores(scores_BV: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Returns the exact top k of each row of scores, best first; among ties, the lower item first.

    NaN and -inf are never included: if fewer than k scores are left, item 0 with -inf fills the rest.

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
    """As `jax.lax.top_k`, but faster for many scores: selects blocks by their maxima first. -> (scores, places)

    The k best scores lie in the k blocks with the highest maxima (among ties, the first blocks): each of these has a
    score that comes before all scores of any other block.
    """
    rows, items = scores_BV.shape
    count = -(-items // block)
    padded = jnp.pad(scores_BV, ((0, 0), (0, count * block - items)), constant_values=-jnp.inf)
    blocks_BNS = padded.reshape(rows, count, block)
    _, chosen_BC = jax.lax.top_k(blocks_BNS.max(-1), min(k, count))
    chosen_BC = jnp.sort(chosen_BC, axis=-1)  # so that among ties the lower place comes first
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
    chunk: int | None = None,
    axis: str | None = None,
) -> jax.Array:
    """Returns the rank of each query's target among all items except the seen ones: [Q] int32, from 1.

    That is 1 + the number of other candidates whose score is *not below* the target's, so that ties and NaNs count
    against the scorer (a NaN target is last, a constant scorer hits nothing). Items with equal vectors have bitwise
    equal scores only if a device multiplies several queries: pass eight or more, as evaluation does.

    Args:
        scorer: Scorer, static.
        params: the scorer's.
        queries: a tree with leading axis Q, or None.
        targets_Q: 1..V. They are candidates, seen or not.
        seen_QS: items that aren't candidates: distinct, without the target; 0 is none.
        catalogue: V, static.
        chunk: how many items are scored at once, static; None for what suits the device.
        axis: the device axis that the items are split over: each device has the params of an equal share of them, with
            padding after the last item, and the shares' counts are summed. None if the params are of all items. Static.
    """
    rows, before = _share(catalogue, axis)
    if axis is not None:
        targets_Q, seen_QS = targets_Q - before, seen_QS - before
    size = min(chunk or sizes.ranked_items(len(targets_Q), rows), rows)
    one = partial(_rank, scorer, size=size, rows=rows, items=catalogue - before, axis=axis)
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
    """Returns the rank of each target among given candidates, by the rule of `ranks`: [Q] int32, from 1.

    Args:
        scorer: as for `ranks`.
        params: as for `ranks`.
        queries: as for `ranks`.
        targets_Q: as for `ranks`.
        candidates_QC: items without the target; 0 is none.
        catalogue: as for `ranks`; only needed with an axis.
        axis: as for `ranks`.
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
    chunk: int | None = None,
    axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the exact top k unseen items of each query, best first; among ties, the lower item first.

    Items that score NaN or -inf are never included: if fewer than k are left, item 0 with -inf fills the rest. Integer
    scores become float32, which is exact only below 2^24.

    Args:
        scorer: as for `ranks`.
        params: as for `ranks`.
        queries: as for `ranks`.
        catalogue: as for `ranks`.
        chunk: as for `ranks`.
        axis: as for `ranks`; the best of every share are merged.
        seen_QS: items to leave out; 0 is none.
        k: static.

    Returns:
        (items [Q, k] int32, scores [Q, k])
    """
    rows, before = _share(catalogue, axis)
    if axis is not None:
        seen_QS = seen_QS - before
    size = min(chunk or sizes.ranked_items(len(seen_QS), rows), rows)
    one = partial(_top, scorer, k=k, size=size, rows=rows, items=catalogue - before, axis=axis)
    items_Qk, scores_Qk = jax.vmap(one, in_axes=(None, 0, 0))(params, queries, seen_QS)
    if axis is None:
        return items_Qk, scores_Qk
    return merged(items_Qk, scores_Qk, before, k=k, axis=axis)


def merged(
    items_Qk: jax.Array, scores_Qk: jax.Array, before: jax.Array | int, *, k: int, axis: str
) -> tuple[jax.Array, jax.Array]:
    """Merges the best items of each share of a catalogue into the top k of all: (items [Q, k], scores [Q, k]).

    Args:
        items_Qk: the best items of this device's share, numbered from 1 within it; 0 is none.
        scores_Qk: their scores, best first.
        before: how many items come before the share.
        k: static; at most as many as the shares have together.
        axis: the device axis.
    """
    items_Qk = jnp.where(items_Qk > 0, before + items_Qk, 0)
    items_Qn, scores_Qn = (jax.lax.all_gather(x, axis, axis=1, tiled=True) for x in (items_Qk, scores_Qk))
    # the shares are in the order of their items, so that among ties the lower item still comes first
    scores_Qk, place_Qk = jax.lax.top_k(scores_Qn, k)
    return jnp.take_along_axis(items_Qn, place_Qk, axis=1), scores_Qk


def sortable(scores: jax.Array) -> jax.Array:
    """Makes floating-point scores sort correctly: NaN becomes -inf, and -0 becomes 0."""
    return jnp.where(jnp.isnan(scores), -jnp.inf, jnp.where(scores == 0, 0.0, scores))


def _reaches(scores, own):
    return ~(scores < own)


def _share(catalogue, axis):
    """Returns how many items this device has the params of, including padding, and how many items come before them."""
    rows = catalogue if axis is None else -(-catalogue // jax.lax.axis_size(axis))
    return rows, shards.first_row(rows, axis)


def _scores_at(scorer, params, query, items_C, catalogue, axis):
    """The scores of items, whichever device has their params."""
    if axis is None:
        return scorer.at(params, query, items_C)
    rows, before = _share(catalogue, axis)
    return _from_its_share(scorer.at(params, query, jnp.clip(items_C - before, 1, rows)), items_C - before, rows, axis)


def _from_its_share(value, item, rows, axis):
    """Returns the value of the device that has the item (numbered in its share); exact, as only zeros are added."""
    return shards.total(jnp.where((item >= 1) & (item <= rows), value, jnp.zeros_like(value)), axis)


def _chunk(index, size, rows):
    """Where a chunk starts, and how many of its items an earlier chunk has (the last chunk is moved back to fit)."""
    start = jnp.minimum(index * size, rows - size)
    return start, index * size - start


def _over_chunks(body, carry, size, rows):
    count = -(-rows // size)
    # without a loop, the compiler scores a single chunk once for both passes
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
        # take the score from its chunk: the product alone may round differently, and break a tie
        own = _over_chunks(find, own, size, rows)
    if axis is None:
        return _over_chunks(count, jnp.ones_like(target, jnp.int32), size, rows)
    own = _from_its_share(own, target, rows, axis)
    return 1 + shards.total(_over_chunks(count, jnp.zeros_like(target, jnp.int32), size, rows), axis)


def _top(scorer, params, query, seen_S, *, k, size, rows, items, axis):
    def floating(scores):  # on a CPU top_k sorts all integers, but not all floats
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
        # among ties top_k takes the earlier place, and earlier chunks have the lower items
        scores, places = jax.lax.top_k(jnp.concatenate([best[1], scores]), k)
        return jnp.concatenate([best[0], found])[places], scores

    first = jnp.append(seen_S, 0)[:1]  # made from the data, so that under shard_map the first carry varies as they do
    like = floating(scorer.at(params, query, jnp.maximum(first, 1)))
    none = jnp.zeros_like(first, jnp.int32).repeat(k), jnp.full_like(like, -jnp.inf).repeat(k)
    return _over_chunks(better, none, size, rows)
