"""Totals of sampled losses: by definition, and fast with bounded memory; equal by law.

A sampled loss is a function of the scores of one slot: (positive [], negative_K, valid_K) -> []; a negative that is not
valid counts for nothing. A total is the sum over slots of weight x loss:
(hidden_ND, target_N, weight_N, negatives.Negatives, table_VD, bias_V) -> [].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


def score(hidden_D, item, table_VD, bias_V):
    """The score of one item (1..V) at one slot, in float32; the factors are rounded to the hidden's type.

    The gathered row is cast, not the table: gradients of many slots are added into the table's own float32.
    """
    product = jnp.dot(table_VD[item - 1].astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    return product if bias_V is None else product + bias_V[item - 1]


def counts(items, target, own_column, keep):
    """Which of a slot's negatives [K] count: those that are items, not the slot's own column, nor, unless kept, its
    target by another draw."""
    valid = items > 0
    if own_column is not None:
        valid &= jnp.arange(len(items)) != own_column
    return valid if keep else valid & (items != target)


# --- totals: the definitions


def plain(slot_loss, keep=False):
    """The total of a sampled loss by its definition: a vmap over slots, each of which looks up its own negatives.

    Args:
        slot_loss: (positive, negative_K, valid_K) -> []. keep: whether a negative that is the target counts.
    """

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        def slot(hidden_D, target, own):
            valid_K = counts(own.items, target, own.own_column, keep)
            item_K = jnp.maximum(own.items, 1)
            negative_K = jax.vmap(lambda item: score(hidden_D, item, table_VD, bias_V))(item_K)
            positive = score(hidden_D, target, table_VD, bias_V)
            negative_K = negative_K if own.shift is None else negative_K - own.shift
            positive = positive if own.own_shift is None else positive - own.own_shift
            return slot_loss(positive, negative_K, valid_K)

        number = len(target_N)
        own = negatives._replace(items=_of_each(negatives.items, number), shift=_of_each(negatives.shift, number))
        each_N = jax.vmap(slot)(hidden_ND, jnp.maximum(target_N, 1), own)
        return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()

    return summed


def _of_each(values, slots):
    """[K], [R, K] or [N, K] -> [N, K]; None as it is."""
    if values is None:
        return None
    values = values.reshape(-1, values.shape[-1])
    return jnp.repeat(values, slots // len(values), axis=0)


# --- totals: the fast forms

HELD = 2**21  # scores, or numbers of looked-up rows, that are held at once
TAKE = 16  # where the catalogue is at most so many times the negatives, scoring all of it beats looking rows up


class Chunk(NamedTuple):
    """G groups of M slots that share their negatives. A slot is a group of one, a row one of its slots, a batch one."""

    hidden: Any  #: [G, M, D]
    positive: Any  #: [G, M] float32, the targets' scores
    weight: Any  #: [G, M]
    target: Any  #: [G, M]
    own_column: Any  #: [G, M], or None
    items: Any  #: [G, K]; or [G, M, K], to be taken from the scores of the whole table
    shift: Any  #: as items, or None


def total(slot_loss, keep=False):
    """The total of a sampled loss: `plain(slot_loss, keep)` with bounded memory, and products for sums.

    Negatives that slots share are scored by one matrix product a group. Slots with negatives of their own look them up,
    or, where these are much of the catalogue, score all of it and take them.
    """
    direct, by_chunks = plain(slot_loss, keep), _by_chunks(slot_loss, keep)

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        (slots, dim), number = hidden_ND.shape, negatives.items.shape[-1]
        each = negatives.items.ndim > 1 and len(negatives.items) == slots
        if each and slots * number * dim <= 4 * HELD:
            return direct(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V)
        target_N = jnp.maximum(target_N, 1)
        bias_V = jnp.zeros_like(table_VD[:, 0], jnp.float32) if bias_V is None else bias_V
        positive_N = jax.vmap(score, (0, 0, None, None))(hidden_ND, target_N, table_VD, bias_V)
        positive_N = positive_N if negatives.own_shift is None else positive_N - negatives.own_shift
        of_slots = (hidden_ND, positive_N, weight_N, target_N, negatives.own_column)
        of_groups = (negatives.items, negatives.shift)
        if negatives.items.ndim == 1:
            row_K = jnp.maximum(negatives.items, 1) - 1
            table_VD, bias_V = table_VD[row_K], bias_V[row_K]
            of_slots = cut(of_slots, max(HELD // number, 1))
            chunks = len(of_slots[0])
            of_groups = jax.tree.map(lambda x: jnp.broadcast_to(x, (chunks, 1, number)), of_groups)
        elif each and len(table_VD) <= TAKE * number:
            of_slots, of_groups = cut((of_slots, of_groups), max(HELD // len(table_VD), 1))
            of_groups = jax.tree.map(lambda x: x[:, None], of_groups)
        else:
            members = slots // len(negatives.items)
            of_slots = jax.tree.map(lambda x: x.reshape(-1, members, *x.shape[1:]), of_slots)
            held = number * (dim if each else max(members, dim))
            of_slots, of_groups = cut((of_slots, of_groups), max(HELD // held, 1))
            return by_chunks(True, table_VD, bias_V, Chunk(*of_slots, *of_groups))
        of_slots = jax.tree.map(lambda x: x[:, None], of_slots)
        return by_chunks(False, table_VD, bias_V, Chunk(*of_slots, *of_groups))

    return summed


def cut(tree, size):
    """Arrays [N, …] -> [chunks, N / chunks, …], each of at most `size`; the last one is filled up with zeros."""
    number = len(jax.tree.leaves(tree)[0])
    chunks = -(-number // size)
    pad = lambda x: jnp.pad(x, ((0, -number % chunks), *((0, 0),) * (x.ndim - 1)))
    return jax.tree.map(lambda x: pad(x).reshape(chunks, -1, *x.shape[1:]), tree)


def _by_chunks(slot_loss, keep):
    """(look up?, table, bias, Chunk with a leading axis of chunks) -> []. Gradients come from the one pass forward.

    As the sum is linear in the slots' losses, the backward pass has only to scale them: nothing is computed twice, and
    nothing of the size of the scores is kept. Where rows are looked up, their gradients are added into the table's
    in place; else the table is scored whole, by every group.
    """

    def slot(positive, negative_K, weight, target, own_column, items, shift):
        valid_K = counts(items, target, own_column, keep)
        loss = slot_loss(positive, negative_K if shift is None else negative_K - shift, valid_K)
        return jnp.where(weight > 0, weight * loss, 0)

    def chunk_loss(positive_GM, score_GMK, chunk):
        if chunk.items.ndim == 3:
            score_GMK = jnp.take_along_axis(score_GMK, jnp.maximum(chunk.items, 1) - 1, axis=2)
        shared = 0 if chunk.items.ndim == 3 else None
        members = jax.vmap(slot, (0, 0, 0, 0, 0, shared, shared))
        return jax.vmap(members)(positive_GM, score_GMK, *chunk[2:]).sum()

    def scores(look_up, table_VD, bias_V, chunk):
        row_GK = jnp.maximum(chunk.items, 1) - 1 if look_up else jnp.arange(len(table_VD))[None]
        rows_GKD = table_VD[row_GK] if look_up else table_VD[None]
        rows_GKD, bias_GK = rows_GKD.astype(chunk.hidden.dtype), bias_V[row_GK]
        if look_up:
            score_GMK = jnp.einsum("gmd,gkd->gmk", chunk.hidden, rows_GKD, preferred_element_type=jnp.float32)
            return score_GMK + bias_GK[:, None], row_GK, rows_GKD
        # Many rows by few slots: in this order a CPU takes a fraction of the time, and a bias within keeps XLA to it.
        score_GKM = jnp.einsum("gkd,gmd->gkm", rows_GKD, chunk.hidden, preferred_element_type=jnp.float32)
        return jnp.swapaxes(score_GKM + bias_GK[..., None], 1, 2), row_GK, rows_GKD

    def primal(look_up, table_VD, bias_V, chunks):
        def step(loss, chunk):
            return loss + chunk_loss(chunk.positive, scores(look_up, table_VD, bias_V, chunk)[0], chunk), None

        return jax.lax.scan(step, jnp.zeros_like(chunks.positive.ravel()[0]), chunks)[0]

    def forward(look_up, table_VD, bias_V, chunks):
        def step(carry, chunk):
            loss, grad_VD, grad_V = carry
            score_GMK, row_GK, rows_GKD = scores(look_up, table_VD, bias_V, chunk)
            each, (grad_GM, share_GMK) = jax.value_and_grad(chunk_loss, (0, 1))(chunk.positive, score_GMK, chunk)
            cast_GMK = share_GMK.astype(rows_GKD.dtype)
            grad_GMD = jnp.einsum("gmk,gkd->gmd", cast_GMK, rows_GKD, preferred_element_type=jnp.float32)
            grad_GKD = jnp.einsum("gmk,gmd->gkd", cast_GMK, chunk.hidden, preferred_element_type=jnp.float32)
            # as a product: XLA's CPU takes longer to add up columns
            grad_GK = jnp.einsum("gmk,gm->gk", share_GMK, jnp.ones_like(share_GMK[..., 0]))
            if look_up:
                grad_VD, grad_V = grad_VD.at[row_GK].add(grad_GKD), grad_V.at[row_GK].add(grad_GK)
            else:
                grad_VD, grad_V = grad_VD + grad_GKD[0], grad_V + grad_GK[0]
            return (loss + each, grad_VD, grad_V), (grad_GMD.astype(rows_GKD.dtype), grad_GM)

        zeros = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), (chunks.positive.ravel()[0], table_VD, bias_V))
        (loss, grad_VD, grad_V), of_slots = jax.lax.scan(step, zeros, chunks)
        return loss, (grad_VD.astype(table_VD.dtype), grad_V.astype(bias_V.dtype), *of_slots)

    def backward(look_up, grads, cotangent):
        grads = jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), grads)
        return grads[0], grads[1], Chunk(*grads[2:], *(None,) * (len(Chunk._fields) - 2))

    summed = jax.custom_vjp(primal, nondiff_argnums=(0,))
    summed.defvjp(forward, backward)
    return summed
