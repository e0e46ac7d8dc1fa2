"""A step of a model whose items have features: what is drawn of them, and the gradient through their fold."""

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

ID_SITE = 2**31 - 6  # beyond the sites of any model's dropouts, below those of the batches


def dropped(key: Any, items: Items, rate: float, axis: str | None = None) -> Items:
    """The Items of which each loses its own vector with this probability.

    Args:
        key: of all devices: an item loses it in the whole step, as an input and as an answer.
        axis: the mesh axis that the items are split over, if they are.
    """
    (rows,), size = items.named.shape, 1 if axis is None else jax.lax.axis_size(axis)
    bits = random_bits(key, (rows * size,))
    bits = bits if axis is None else shards.own_slice(bits, rows, axis)
    return items._replace(named=items.named & (bits >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))))


def among_trained(total: Callable, trained: np.ndarray, axis: str | None = None) -> Callable:
    """A total over a whole catalogue, as `losses.totals` has them, of the items that train alone.

    Else what nobody has met yet would be learnt to be never the answer, and with it the features that tell it apart.

    Args:
        total: of the full softmax.
        trained: [V] bool.
        axis: the mesh axis that the rows of the tables are split over, if they are; what pads them never trains.
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
    """`among_trained` by the bias of the other rows, -inf, as they lie among the rows of every device."""

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        rows = len(table_VD)
        if trained.all():  # a comparison is no constant of a number an item
            trained_V = shards.first_row(rows, axis) + jnp.arange(rows) < len(trained)
        else:
            trained_V = shards.own_slice(trained, rows, axis)
        bias_V = jnp.where(trained_V, jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V, -jnp.inf)
        return total(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V)

    return summed


def trained_alone(draw: Callable, axis: str | None = None) -> Callable:
    """A draw of negatives without the items that never train, as `among_trained` leaves them out. axis: as there."""

    def drawn(key, keys, targets, sampler_tables):
        negatives, trained = draw(key, keys, targets, sampler_tables), sampler_tables.items.trained
        row = jnp.maximum(negatives.items, 1) - 1
        known = trained[row] if axis is None else shards.look_up(trained.astype(jnp.int32), row, axis) > 0
        return dataclasses.replace(negatives, items=jnp.where(known, negatives.items, 0))

    return drawn


def through(fold: Callable, loss_and_grad: Callable) -> Callable:
    """The loss and gradient of params with features, by that of the folded: once a step, however many microbatches.

    Args:
        fold: of a Folding.
        loss_and_grad: (params, step.Batch) -> (loss, gradient, carry), of the model without features.
    """

    def of_folded(params, batch):
        folded, back = jax.vjp(lambda params: fold(params, batch.items), params)
        loss, grads, carry = loss_and_grad(folded, batch)
        return loss, back(grads)[0], carry

    return of_folded
