"""The programs of an engine, as pure functions of a model's params."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.objectives import Objective
from jaxrec.batches.stream import Stream
from jaxrec.kernels import ranking, shards
from jaxrec.models.model import Model

START = -1  # stands for the item of an empty history, in models with `starts`


def hidden(
    model: Model,
    objective: Objective,
    params: Any,
    items_BT: jax.Array,
    user_B: jax.Array | None = None,
    context_BTK: jax.Array | np.ndarray | None = None,
) -> jax.Array:
    """Returns the hidden vector that scores each history's next item. [B, T], 0 after the newest -> [B, D] float32

    Args:
        model: the Model.
        objective: the Objective.
        params: the model's.
        items_BT: int32 histories; START alone for a user without one.
        user_B: [B] int32 numbers of users, -1 for unknown users; None: all are unknown.
        context_BTK: as in Stream; None for a model without context.
    """
    start_BT = items_BT == START if model.starts else None
    items_BT = jnp.abs(items_BT) if model.starts else items_BT
    length_B = (items_BT > 0).sum(-1) + objective.num_mask_slots
    slots = jnp.broadcast_to(jnp.arange(items_BT.shape[1], dtype=jnp.int32), items_BT.shape)
    real = slots < length_B[:, None]
    zeros = jnp.zeros_like(items_BT)
    user_index = zeros - 1 if user_B is None else zeros + user_B[:, None]
    stream = Stream(items_BT, zeros, real.astype(jnp.int32), jnp.where(real, slots, 0), user_index, context_BTK)
    stream = stream._replace(start=start_BT)
    last = model.encode_at(params, objective.mask_inputs(stream), jnp.maximum(length_B - 1, 0)[:, None])[:, 0]
    return model.head(params, last).astype(jnp.float32)


def top_k(
    table: tuple, hidden_BD: jax.Array, allowed_BV: jax.Array, *, k: int, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Returns the best k allowed items by an output embedding (table [V, D], bias [V] or None): items, scores, [B, k].

    With `axis`, an axis of devices, each has an equal share of the table and of `allowed_BV`; padding is not allowed.
    """
    return _best(ranking.dot_all(table, hidden_BD), allowed_BV, k, axis)


def lengths(model: Model, params: Any) -> jax.Array:
    """Returns the L2 norms of the rows of the output table, [V] float32, above 0."""
    return jnp.maximum(jnp.linalg.norm(model.output_embedding(params)[0], axis=1), 1e-12)


def similar(
    model: Model, params_and_lengths: tuple[Any, jax.Array], units_ND: jax.Array, allowed_NV: jax.Array, *, k: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the best k allowed items by the cosines between vectors of length 1 and the rows of the output table.

    Args:
        model: the Model.
        params_and_lengths: the model's params, and the norms of those rows, [V].
        units_ND: the vectors.
        allowed_NV: as for `top_k`.
        k: at least 1.
    """
    params, length_V = params_and_lengths
    table_VD, _ = model.output_embedding(params)
    return _best(ranking.dot_all((table_VD, None), units_ND) / length_V, allowed_NV, k, model.item_axis)


def _best(scores_BV, allowed_BV, k, axis):
    rows = allowed_BV.shape[1]
    found = ranking.top_k_of_scores(jnp.where(allowed_BV, scores_BV, -jnp.inf), min(k, rows))
    return found if axis is None else ranking.merged(*found, shards.first_row(rows, axis), k=k, axis=axis)


def answer(
    model: Model,
    objective: Objective,
    params: Any,
    items_BT: jax.Array,
    allowed_BV: jax.Array,
    user_B: jax.Array | None = None,
    context_BTK: jax.Array | np.ndarray | None = None,
    *,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns the best k allowed items after each history, as one program."""
    hidden_BD = hidden(model, objective, params, items_BT, user_B, context_BTK)
    return top_k(model.output_embedding(params), hidden_BD, allowed_BV, k=k, axis=model.item_axis)


def begin(model: Model, params: Any, items_BT: jax.Array) -> tuple[Any, jax.Array]:
    """Returns the carry and the hidden vector [B, D] after whole histories, of a model with a carry.

    Args:
        model: the Model.
        params: the model's.
        items_BT: int32 histories, left-padded with 0; position 0, that of the oldest item, resets the carry.
    """
    real_BT, zeros_BT = items_BT > 0, jnp.zeros_like(items_BT)
    slots_BT = jnp.arange(items_BT.shape[1], dtype=jnp.int32) - (~real_BT).sum(-1, keepdims=True)
    stream = Stream(items_BT, zeros_BT, real_BT.astype(jnp.int32), jnp.maximum(slots_BT, 0), zeros_BT - 1)
    hidden_BTD, carry = model.encode(params, stream)
    return carry, model.head(params, hidden_BTD[:, -1]).astype(jnp.float32)


def advance(
    model: Model, params: Any, carry: Any, hidden_1D: jax.Array, items_T: jax.Array, count: jax.Array
) -> tuple[Any, jax.Array]:
    """Returns the carry and the hidden vector [1, D] after the first `count` of the items [T] int32."""

    def one(i, state):
        item_11, zero = items_T[i].reshape(1, 1), jnp.zeros((1, 1), jnp.int32)
        # position 0 would begin a new sequence and reset the carry
        stream = Stream(item_11, zero, zero + 1, zero + 1, zero - 1)
        hidden_11D, carry = model.encode(params, stream, state[0])
        return carry, model.head(params, hidden_11D[:, 0]).astype(jnp.float32)

    return jax.lax.fori_loop(0, count, one, (carry, hidden_1D))
