"""The top k of a large catalogue for many queries at once, in chunks that suit the device."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.kernels import ranking, shards, sizes

WHOLE = 8192  # maximum number of items whose scores are all compared; more are scored in chunks, if one doesn't do
BLOCK = 16  # items per block, of which only the highest score is kept at first
SPARE = 6  # blocks examined beyond k
#: units in the last place by which two products of the same vectors may differ, relative to their lengths
ROUNDING = 8


def top_k_unseen(
    params: Any, hidden_BD: jax.Array, seen_BS: jax.Array, *, k: int, items: int = 0, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Returns the best k items of each query except those it has seen, best first; among ties, the lower item first.

    Each chunk's scores are reduced to the maxima of blocks of items. The best items lie in the blocks with the highest
    maxima, so only these are scored again. If rounding could change the result (the k-th score differs from the maxima
    left out by no more than rounding errors), all scores of the query are compared.

    Args:
        params: (table [V, D], bias [V] or None), as `ranking.dot_all` takes them.
        hidden_BD: the queries.
        seen_BS: int32 items to leave out; 0 is none.
        k: at most V, static.
        items: V, only needed with an axis. Static.
        axis: the device axis that the params are split over: each device has an equal share of them, with padding after
            the last item, and the best of every share are merged. None if the params are of all items. Static.

    Returns:
        (items [B, k] int32, scores [B, k]). Items that score NaN or -inf are never included: if fewer than k are left,
        item 0 with -inf fills the rest.
    """
    if axis is None:
        return _top_k_unseen(params, hidden_BD, seen_BS, k)
    rows = len(params[0])
    before = shards.first_row(rows, axis)
    padding = items - before + 1 + jnp.arange(jax.lax.axis_size(axis) - 1)  # at most this many rows, seen by all
    seen_BS = jnp.concatenate([seen_BS - before, jnp.broadcast_to(padding, (len(seen_BS), len(padding)))], axis=1)
    found_Bk, scores_Bk = _top_k_unseen(params, hidden_BD, seen_BS, min(k, rows))
    return ranking.merged(found_Bk, scores_Bk, before, k=k, axis=axis)


def _top_k_unseen(params, hidden_BD, seen_BS, k):
    items = len(params[0])
    chunk = sizes.ranked_items(len(hidden_BD), items)
    if items <= max(WHOLE, chunk) or items // BLOCK <= k + SPARE:
        return _of_all(params, hidden_BD, seen_BS, k)
    chunk = -(-chunk // BLOCK) * BLOCK
    hidden_BD = hidden_BD.astype(params[0].dtype)
    maxima_BN, longest = _maxima(params, hidden_BD, seen_BS, chunk)
    bound_BC, chosen_BC = jax.lax.top_k(maxima_BN, k + SPARE)
    chosen_BC = jnp.sort(chosen_BC, axis=1)  # so that of equal scores the lower item comes first
    scores_BCS = _scores_in(params, hidden_BD, seen_BS, chosen_BC, chunk)
    scores_Bk, at_Bk = jax.lax.top_k(scores_BCS.reshape(len(hidden_BD), -1), k)
    of_Bk = jax.lax.div(at_Bk, jnp.full_like(at_Bk, BLOCK))
    place_Bk = _first(jnp.take_along_axis(chosen_BC, of_Bk, axis=1), items, chunk) + at_Bk - of_Bk * BLOCK
    error_B = ROUNDING * jnp.finfo(scores_Bk.dtype).eps * longest * jnp.linalg.norm(hidden_BD, axis=1)
    sure_B = scores_Bk.min(1) > bound_BC.min(1) + error_B
    found = (place_Bk + 1).astype(jnp.int32), scores_Bk

    def one(query):
        sure, found_k, hidden_D, seen_S = query
        again = lambda: jax.tree.map(lambda x: x[0], _of_all(params, hidden_D[None], seen_S[None], k))
        return jax.lax.cond(sure, lambda: found_k, again)

    checked = lambda: jax.lax.map(one, (sure_B, found, hidden_BD, seen_BS))
    return jax.lax.cond(sure_B.all(), lambda: found, checked)


def _of_all(params, hidden_BD, seen_BS, k):
    """`top_k_unseen` by the scores of all items."""
    scores_BV = ranking.dot_all(params, hidden_BD)
    place_BS = jnp.where(seen_BS > 0, seen_BS - 1, scores_BV.shape[1])
    return ranking.top_k_of_scores(scores_BV.at[_rows(seen_BS), place_BS].set(-jnp.inf, mode="drop"), k)


def _maxima(params, hidden_BD, seen_BS, chunk):
    """The highest score of each block of unseen items [B, N], and the length of the longest row of the table."""
    table_VD, bias_V = params
    items = len(table_VD)

    def of_chunk(index):
        start = jnp.minimum(index * chunk, items - chunk)  # the last chunk is moved back to fit
        part_CD = jax.lax.dynamic_slice_in_dim(table_VD, start, chunk)
        scores_CB = jnp.dot(part_CD, hidden_BD.T, precision="highest")
        if bias_V is not None:
            scores_CB += jax.lax.dynamic_slice_in_dim(bias_V, start, chunk)[:, None]
        place_BS = seen_BS - 1 - start
        place_BS = jnp.where(place_BS < 0, chunk, place_BS)
        scores_CB = scores_CB.at[place_BS, _rows(seen_BS)].set(-jnp.inf, mode="drop")
        had = jnp.arange(chunk) < index * chunk - start
        scores_CB = jnp.where(had[:, None] | jnp.isnan(scores_CB), -jnp.inf, scores_CB)
        return scores_CB.reshape(-1, BLOCK, len(hidden_BD)).max(1), jnp.square(part_CD).sum(1).max()

    maxima_GNB, squares_G = jax.lax.map(of_chunk, jnp.arange(-(-items // chunk)))
    return maxima_GNB.reshape(-1, len(hidden_BD)).T, jnp.sqrt(squares_G.max())


def _scores_in(params, hidden_BD, seen_BS, chosen_BC, chunk):
    """The scores of the items of some blocks, [B, C, BLOCK]; -inf for seen items, and for those of an earlier chunk.

    chosen_BC: the blocks, in ascending order, so that the block of a seen item is found by binary search.
    """
    table_VD, bias_V = params
    items, (rows, chosen) = len(table_VD), chosen_BC.shape
    last = _last(items, chunk)
    first_BC = _first(chosen_BC, items, chunk)
    place_BCS = first_BC[..., None] + jnp.arange(BLOCK)
    flat_BN = place_BCS.reshape(rows, -1)
    scores_BN = jnp.einsum("bnd,bd->bn", table_VD[flat_BN], hidden_BD, precision="highest")
    if bias_V is not None:
        scores_BN += bias_V[flat_BN]
    scores_BCS = ranking.sortable(scores_BN).reshape(place_BCS.shape)
    # leave out places of the last chunk that the one before has; a block begins at a multiple of BLOCK in its chunk
    scores_BCS = jnp.where(place_BCS < (chosen_BC * BLOCK)[..., None] // chunk * chunk, -jnp.inf, scores_BCS)
    at_BS = seen_BS - 1 + jnp.where(seen_BS > last, last - (items - chunk), 0)
    block_BS = at_BS // BLOCK
    which_BS = jax.vmap(jnp.searchsorted)(chosen_BC, block_BS)
    is_in_BS = jnp.take_along_axis(chosen_BC, jnp.minimum(which_BS, chosen - 1), axis=1) == block_BS
    which_BS = jnp.where(is_in_BS & (seen_BS > 0) & (seen_BS <= items), which_BS, chosen)
    return scores_BCS.at[_rows(seen_BS), which_BS, at_BS % BLOCK].set(-jnp.inf, mode="drop")


def _first(block, items, chunk):
    """The place of a block's first item."""
    begin, last = block * BLOCK, _last(items, chunk)
    return jnp.where(begin >= last, begin - last + items - chunk, begin)


def _last(items, chunk):
    """Where the last chunk would begin if it weren't moved back to fit."""
    return (items - 1) // chunk * chunk


def _rows(seen_BS):
    return jnp.broadcast_to(jnp.arange(len(seen_BS))[:, None], seen_BS.shape)
