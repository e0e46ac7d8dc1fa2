"""Splits a step's rows into microbatches, and chooses their size."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrec.config.keys import Config
from jaxrec.config.parsing import row_width
from jaxrec.kernels import sizes
from jaxrec.models.model import Model


def accumulated(loss_and_grad: Callable, microbatch_rows: int) -> Callable:
    """Returns the same loss and gradient, accumulated over microbatches of rows.

    A CPU is faster if the activations of a microbatch fit its caches; on any device microbatches bound the memory.

    Args:
        loss_and_grad: (params, step.Batch) -> (sum over its slots, gradient, carry or None), with params that vary over
            the devices.
        microbatch_rows: rows per microbatch; divides the rows of a batch.
    """

    def over_microbatches(params, batch):
        number = len(batch.stream.items) // microbatch_rows
        if number == 1:
            return loss_and_grad(params, batch)

        def accumulate(sums, microbatch):
            loss, grads, carry = loss_and_grad(params, microbatch._replace(**whole))
            return jax.tree.map(jnp.add, sums, (loss, grads)), carry

        whole = {"items": batch.items, "seen": batch.seen}
        split = lambda tree: jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), tree)
        negatives = None if batch.negatives is None else batch.negatives.split(number)
        parts = batch._replace(negatives=None, **dict.fromkeys(whole))
        microbatches = split(parts)._replace(negatives=negatives)
        zeros = jax.tree.map(jnp.zeros_like, (batch.weights[0], params))
        (loss, grads), carry = jax.lax.scan(accumulate, zeros, microbatches)
        return loss, grads, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carry)

    return over_microbatches


def rows_for(config: Config, model: Model, items: int, share: int, platform: str) -> int:
    """Returns the number of rows per microbatch, which always divides the device's rows.

    `config.microbatch_rows` is an upper bound if it is given. Otherwise a CPU takes about as many slots as suit the
    model, or all rows if no divisor comes close.

    Args:
        config: Config.
        model: Model.
        items: the number of items of the catalogue.
        share: rows per step on one device.
        platform: the platform of the device.
    """
    divisors = [rows for rows in range(1, share + 1) if share % rows == 0]
    if config.microbatch_rows:
        return max(rows for rows in divisors if rows <= config.microbatch_rows)
    if platform != "cpu" or not model.microbatch_slots or items > sizes.GRADIENT_ROWS_PER_SLOT * model.microbatch_slots:
        return share
    wanted = model.microbatch_slots / (1 if config.stream == "session-parallel" else row_width(config))
    off, rows = min((max(rows / wanted, wanted / rows), rows) for rows in divisors)
    return rows if off <= 2 else share
