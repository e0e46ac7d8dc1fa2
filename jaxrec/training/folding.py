"""A step of a model whose items have features: what is drawn of them, and the gradient through their fold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.kernels.random import random_bits
from jaxrec.models.features import Items

ID_SITE = 2**31 - 5  # beyond the sites of any model's dropouts, below those of the batches


def dropped(key: Any, items: Items, rate: float) -> Items:
    """The Items of which each loses its own vector with this probability.

    Args:
        key: of all devices: an item loses it in the whole step, as an input and as an answer.
    """
    kept = random_bits(key, items.named.shape) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
    return items._replace(named=items.named & kept)


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
