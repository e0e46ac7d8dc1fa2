"""Totals of sampled losses over a batch: by definition, and a fast equivalent with bounded memory.

A sampled loss is a function of the scores of one slot, (positive [], negative_K, valid_K) -> [], that ignores invalid
negatives. A total is the sum over slots of weight x loss:
(hidden_ND, target_N, weight_N, Negatives, table_VD, bias_V) -> []. With `axis` the rows of the table and the bias are
split over that axis of a mesh, and the rest and the total are the same on all devices along it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxrec.kernels import hardware, products, shards, sizes
from jaxrec.kernels.chunks import chunked


def score(
    hidden_D: jax.Array, item: jax.Array, table_VD: jax.Array, bias_V: jax.Array | None, axis: str | None = None
) -> jax.Array:
    """Returns the float32 score of one item (1..V) at one slot; the factors are rounded to the dtype of `hidden_D`.

    The gathered row is cast, not the table, so that gradients of many slots are summed in the table's float32.
    """
    if hardware.is_cpu():
        row_D = shards.held(table_VD, item - 1, axis)
    else:  # XLA adds the gradients of all lookups at once if each is by an array of rows
        row_D = shards.held(table_VD, item[None] - 1, axis)[0]
    product = jnp.dot(row_D.astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    return shards.total(product if bias_V is None else product + shards.held(bias_V, item - 1, axis), axis)


def scores_of_items(
    hidden_ND: jax.Array, item_N: jax.Array, table_VD: jax.Array, bias_V: jax.Array | None, axis: str | None = None
) -> jax.Array:
    """Returns the `score` of one item at each of N slots. [N]"""
    return jax.vmap(lambda hidden_D, item: score(hidden_D, item, table_VD, bias_V, axis))(hidden_ND, item_N)


def valid_negatives(items: jax.Array, target: jax.Array, own_column: jax.Array | None, keep: bool) -> jax.Array:
    """Which negatives of a slot [K] count: those outside its own column that, unless `keep`, aren't its target."""
    valid = items > 0
    if own_column is not None:
        valid &= jnp.arange(len(items)) != own_column
    return valid if keep else valid & (items != target)


# --- totals: the definitions


def plain(slot_loss: Callable, keep: bool = False, axis: str | None = None) -> Callable:
    """Returns the total of a sampled loss by its definition: a vmap over slots that look up their own negatives.

    Args:
        slot_loss: (positive, negative_K, valid_K) -> [].
        keep: whether negatives that equal the target count.
        axis: the mesh axis that the rows of the table are split over, if they are.
    """

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        def slot(hidden_D, target, own):
            valid_K = valid_negatives(own.items, target, own.own_column, keep)
            item_K = jnp.maximum(own.items, 1)
            negative_K = jax.vmap(lambda item: score(hidden_D, item, table_VD, bias_V, axis))(item_K)
            positive = score(hidden_D, target, table_VD, bias_V, axis)
            negative_K = negative_K if own.shift is None else negative_K - own.shift
            positive = positive if own.own_shift is None else positive - own.own_shift
            return slot_loss(positive, negative_K, valid_K)

        number = len(target_N)
        each_N = jax.vmap(slot)(hidden_ND, jnp.maximum(target_N, 1), negatives.of_each_slot(number))
        return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()

    return summed


# --- totals: the fast forms


def looked_up(slot_loss: Callable, keep: bool = False, axis: str | None = None) -> Callable:
    """Like `plain`, but looks up the rows of targets and negatives at once, so that they have one gradient."""

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        own = negatives.of_each_slot(len(target_N))
        item_NK = jnp.maximum(jnp.concatenate([target_N[:, None], own.items], axis=1), 1)
        held = lambda x: shards.held(x, item_NK.reshape(-1) - 1, axis).reshape(*item_NK.shape, *x.shape[1:])
        rows_NKD = held(table_VD).astype(hidden_ND.dtype).astype(jnp.float32)
        score_NK = (rows_NKD * hidden_ND[:, None].astype(jnp.float32)).sum(-1)
        score_NK = shards.total(score_NK if bias_V is None else score_NK + held(bias_V), axis)
        positive_N, negative_NK = score_NK[:, 0], score_NK[:, 1:]
        negative_NK = negative_NK if own.shift is None else negative_NK - own.shift
        positive_N = positive_N if own.own_shift is None else positive_N - own.own_shift
        valid = partial(valid_negatives, keep=keep)
        valid_NK = jax.vmap(valid)(own.items, item_NK[:, 0], own.own_column)
        each_N = jax.vmap(slot_loss)(positive_N, negative_NK, valid_NK)
        return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()

    return summed


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Chunk:
    """G groups of M slots that share their negatives: a group is one slot, the slots of one row, or a whole batch."""

    scored: Literal["rows", "table", "columns"] = field(metadata={"static": True})  #: what is scored for the negatives:
    # "rows" that are looked up in the table; the whole "table"; or the whole table, of which slots take some "columns"
    hidden: Any  #: [G, M, D]
    positive: Any  #: [G, M] float32, the targets' scores
    weight: Any = None  #: [G, M]
    target: Any = None  #: [G, M]
    own_column: Any = None  #: [G, M], or None
    items: Any = None  #: [G, K], or of "columns" [G, M, K]
    shift: Any = None  #: as items, or None


def total(slot_loss: Callable, keep: bool = False, axis: str | None = None) -> Callable:
    """Returns the total of a sampled loss, equal to `plain(slot_loss, keep, axis)`, but fast and with bounded memory.

    Negatives that are shared by slots are scored by one matrix product per group. For separate negatives, their rows
    are looked up, or, if they are a large part of the catalogue, all items are scored and the wanted ones selected.

    If the table is split, devices exchange the rows of negatives that a whole batch shares. For other negatives, they
    exchange scores: each device scores those whose rows it holds.
    """
    by_chunks = _by_chunks(slot_loss, keep, axis)

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        direct = (plain if hardware.is_cpu() else looked_up)(slot_loss, keep, axis)
        (slots, dim), number = hidden_ND.shape, negatives.items.shape[-1]
        held, shared_by_batch = sizes.held_numbers(), negatives.shared_by == "batch"
        members = slots if shared_by_batch else slots // len(negatives.items)
        if not shared_by_batch and members == 1 and slots * number * dim <= 4 * held:
            return direct(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V)
        target_N = jnp.maximum(target_N, 1)
        bias_V = jnp.zeros_like(table_VD[:, 0], jnp.float32) if bias_V is None else bias_V
        positive_N = scores_of_items(hidden_ND, target_N, table_VD, bias_V, axis)
        positive_N = positive_N if negatives.own_shift is None else positive_N - negatives.own_shift
        of_slots = {
            "hidden": hidden_ND,
            "positive": positive_N,
            "weight": weight_N,
            "target": target_N,
            "own_column": negatives.own_column,
        }
        of_groups = {"items": negatives.items, "shift": negatives.shift}
        if shared_by_batch:
            scored, row_K = "table", jnp.maximum(negatives.items, 1) - 1
            table_VD, bias_V = (shards.look_up(each, row_K, axis) for each in (table_VD, bias_V))
            of_slots = chunked(of_slots, max(held // number, 1))
            chunks = len(of_slots["hidden"])
            of_groups = jax.tree.map(lambda x: jnp.broadcast_to(x, (chunks, 1, number)), of_groups)
            of_slots = jax.tree.map(lambda x: x[:, None], of_slots)
        elif members == 1 and axis is None and len(table_VD) <= sizes.TABLE_ROWS_PER_LOOKUP * number:
            scored, of_all = "columns", of_slots | of_groups
            of_slots = jax.tree.map(lambda x: x[:, None], chunked(of_all, max(held // len(table_VD), 1)))
            of_groups = {}
        else:
            scored = "rows"
            of_slots = jax.tree.map(lambda x: x.reshape(-1, members, *x.shape[1:]), of_slots)
            of_group = number * (dim if members == 1 else max(members, dim))
            of_slots, of_groups = chunked((of_slots, of_groups), max(held // of_group, 1))
        return by_chunks(table_VD, bias_V, Chunk(scored=scored, **of_slots, **of_groups))

    return summed


def _by_chunks(slot_loss, keep, axis):
    """Returns (table, bias, Chunk with a leading axis of chunks) -> []. The forward pass computes the gradients too.

    Since the sum is linear in the slots' losses, the backward pass only scales the gradients: nothing is computed
    twice, and nothing of the size of the scores is kept. Where rows are looked up, their gradients are added to the
    table's in place; otherwise every group scores the whole table. Rows that are looked up may be split over an axis; a
    table that is scored whole is whole on every device.
    """

    def slot(positive, negative_K, weight, target, own_column, items, shift):
        valid_K = valid_negatives(items, target, own_column, keep)
        loss = slot_loss(positive, negative_K if shift is None else negative_K - shift, valid_K)
        return jnp.where(weight > 0, weight * loss, 0)

    def chunk_loss(positive_GM, score_GMK, chunk):
        own = 0 if chunk.scored == "columns" else None  # the axis of the members, if each has items of its own
        if chunk.scored == "columns":
            score_GMK = jnp.take_along_axis(score_GMK, jnp.maximum(chunk.items, 1) - 1, axis=2)
        members = jax.vmap(slot, (0, 0, 0, 0, 0, own, own))
        of_slots = chunk.weight, chunk.target, chunk.own_column, chunk.items, chunk.shift
        return jax.vmap(members)(positive_GM, score_GMK, *of_slots).sum()

    def score_chunk(table_VD, bias_V, chunk):
        """(score_GMK, which rows of the table are scored, these rows)"""
        look_up = chunk.scored == "rows"
        row_GK = jnp.maximum(chunk.items, 1) - 1 if look_up else jnp.arange(len(table_VD))[None]
        over = axis if look_up else None
        rows_GKD = shards.held(table_VD, row_GK, over) if look_up else table_VD[None]
        rows_GKD, bias_GK = rows_GKD.astype(chunk.hidden.dtype), shards.held(bias_V, row_GK, over)
        product = products.by_rows if look_up else products.by_table
        score_GMK = shards.total(product(chunk.hidden, rows_GKD, bias_GK), over)
        return score_GMK, shards.place(row_GK, len(table_VD), over), rows_GKD

    def primal(table_VD, bias_V, chunks):
        def step(loss, chunk):
            return loss + chunk_loss(chunk.positive, score_chunk(table_VD, bias_V, chunk)[0], chunk), None

        return jax.lax.scan(step, jnp.zeros_like(chunks.positive.ravel()[0]), chunks)[0]

    def forward(table_VD, bias_V, chunks):
        over = axis if chunks.scored == "rows" else None

        def step(carry, chunk):
            loss, grad_VD, grad_V = carry
            score_GMK, row_GK, rows_GKD = score_chunk(table_VD, bias_V, chunk)
            each, (grad_GM, share_GMK) = jax.value_and_grad(chunk_loss, (0, 1))(chunk.positive, score_GMK, chunk)
            cast_GMK = share_GMK.astype(rows_GKD.dtype)
            grad_GMD = jnp.einsum("gmk,gkd->gmd", cast_GMK, rows_GKD, preferred_element_type=jnp.float32)
            grad_GKD = jnp.einsum("gmk,gmd->gkd", cast_GMK, chunk.hidden, preferred_element_type=jnp.float32)
            grad_GK = products.member_sums(share_GMK)
            if chunk.scored == "rows":
                grad_VD, grad_V = grad_VD.at[row_GK].add(grad_GKD), grad_V.at[row_GK].add(grad_GK)
            else:
                grad_VD, grad_V = grad_VD + grad_GKD[0], grad_V + grad_GK[0]
            return (loss + each, grad_VD, grad_V), (grad_GMD if over else grad_GMD.astype(rows_GKD.dtype), grad_GM)

        zeros = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), (chunks.positive.ravel()[0], table_VD, bias_V))
        (loss, grad_VD, grad_V), (hidden, positive) = jax.lax.scan(step, zeros, chunks)
        hidden = shards.total(hidden, over).astype(chunks.hidden.dtype)
        of_chunks = Chunk(scored=chunks.scored, hidden=hidden, positive=positive)
        return loss, (grad_VD.astype(table_VD.dtype), grad_V.astype(bias_V.dtype), of_chunks)

    def backward(grads, cotangent):
        return jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), grads)

    summed = jax.custom_vjp(primal)
    summed.defvjp(forward, backward)
    return summed
