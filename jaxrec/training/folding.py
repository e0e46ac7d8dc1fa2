"""A step of a model whose items have features: what is drawn of them, and the gradient through their fold."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.kernels.random import random_bits
from jaxrec.models.features import Items
from jaxrec.training.negatives import Negatives

ID_SITE = 2**31 - 6  # beyond the sites of any model's dropouts, below those of the batches


def dropped(key: Any, items: Items, rate: float) -> Items:
    """The Items of which each loses its own vector with this probability.

    Args:
        key: of all devices: an item loses it in the whole step, as an input and as an answer.
    """
    kept = random_bits(key, items.named.shape) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
    return items._replace(named=items.named & kept)


def among_trained(total: Callable, trained: np.ndarray) -> Callable:
    """A total over a whole catalogue, as `losses.totals` has them, of the items that train alone.

    Else what nobody has met yet would be learnt to be never the answer, and with it the features that tell it apart.

    Args:
        trained: [V] bool.
    """
    if trained.all():
        return total
    rows, place = np.flatnonzero(trained).astype(np.int32), np.append(0, np.cumsum(trained)).astype(np.int32)

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        bias_V = None if bias_V is None else bias_V[rows]
        return total(hidden_ND, jnp.asarray(place)[target_N], weight_N, negatives, table_VD[rows], bias_V)

    return summed


def trained_alone(negatives: Negatives, items: Items) -> Negatives:
    """Negatives without the items that never train: for the reason of `among_trained`."""
    known = items.trained[jnp.maximum(negatives.items, 1) - 1]
    return dataclasses.replace(negatives, items=jnp.where(known, negatives.items, 0))


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
