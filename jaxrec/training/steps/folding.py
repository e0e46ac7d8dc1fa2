"""Steps of models whose items have features: dropout of items' own vectors, items that train, gradients of the fold."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.kernels import shards
from jaxrec.kernels.random import random_bits
from jaxrec.models.features import Items
from jaxrec.training.steps.own_items import OwnItems

ID_SITE = 2**31 - 6  # the random site: above those of any model's dropouts, below those of the batches


def dropped(key: Any, items: Items, rate: float, axis: str | None = None) -> Items:
    """Returns the Items, in which each item has lost its own vector with this probability.

    Args:
        key: the same on all devices: an item loses its vector for the whole step, as an input and as a target.
        axis: the mesh axis that the items are split over, if they are.
    """
    (rows,), size = items.named.shape, 1 if axis is None else jax.lax.axis_size(axis)
    bits = random_bits(key, (rows * size,))
    bits = bits if axis is None else shards.own_slice(bits, rows, axis)
    return items._replace(named=items.named & (bits >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))))


def among_trained(total: Callable, trained: np.ndarray, axis: str | None = None) -> Callable:
    """Restricts a total over the whole catalogue, as described in `losses.totals`, to the items that train.

    Otherwise the model would learn that items which nobody has met yet, and the features that tell them apart, are
    never the answer.

    Args:
        total: a total of the full softmax.
        trained: [V] bool.
        axis: the mesh axis that the rows of the tables are split over, if they are; rows that pad them never train.
    """
    if axis:
        return _among_split(total, trained, axis)
    if trained.all():
        return total
    rows, place = np.flatnonzero(trained).astype(np.int32), np.append(0, np.cumsum(trained)).astype(np.int32)

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        bias_V = None if bias_V is None else bias_V[rows]
        number = jnp.asarray(place)
        if isinstance(negatives, OwnItems):
            negatives = dataclasses.replace(negatives, item_to_row=number)
        return total(hidden_ND, number[target_N], weight_N, negatives, table_VD[rows], bias_V)

    return summed


def _among_split(total, trained, axis):
    """`among_trained` for split tables: the rows that don't train get the bias -inf, on whichever device they are."""

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        rows = len(table_VD)
        if trained.all():  # a comparison avoids a constant with an element per item
            trained_V = shards.first_row(rows, axis) + jnp.arange(rows) < len(trained)
        else:
            trained_V = shards.own_slice(trained, rows, axis)
        bias_V = jnp.where(trained_V, jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V, -jnp.inf)
        return total(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V)

    return summed


def trained_alone(draw: Callable, axis: str | None = None) -> Callable:
    """Returns a draw of negatives without the items that never train, as in `among_trained`. axis: as there."""

    def drawn(key, keys, targets, sampler_tables):
        negatives, trained = draw(key, keys, targets, sampler_tables), sampler_tables.items.trained
        row = jnp.maximum(negatives.items, 1) - 1
        known = trained[row] if axis is None else shards.look_up(trained.astype(jnp.int32), row, axis) > 0
        return dataclasses.replace(negatives, items=jnp.where(known, negatives.items, 0))

    return drawn


def through(fold: Callable, loss_and_grad: Callable) -> Callable:
    """Returns the loss and gradient of params with features, computed through the folded params.

    The params are folded once per step, however many microbatches it has.

    Args:
        fold: the `fold` of a Folding.
        loss_and_grad: (params, step.Batch) -> (loss, gradient, carry), of the model without features.
    """

    def of_folded(params, batch):
        folded, back = jax.vjp(lambda params: fold(params, batch.items), params)
        loss, grads, carry = loss_and_grad(folded, batch)
        return loss, back(grads)[0], carry

    return of_folded
