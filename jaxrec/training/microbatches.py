"""Microbatches: the rows of a step taken some at a time, and how many suit a device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrec.config.keys import Config
from jaxrec.config.parsing import row_width
from jaxrec.kernels import sizes
from jaxrec.models.model import Model


def accumulated(loss_and_grad: Callable, microbatch_rows: int) -> Callable:
    """A loss and gradient over one microbatch of rows after the other: what `loss_and_grad` gives for all of them.

    A CPU's caches hold the activations of one microbatch, and any device's memory those of more rows in all.

    Args:
        loss_and_grad: (params, step.Batch) -> (sum over its slots, gradient, carry or None). The params vary over the
            devices.
        microbatch_rows: of a microbatch; the rows of a batch are a multiple of it.
    """

    def over_microbatches(params, batch):
        number = len(batch.stream.items) // microbatch_rows
        if number == 1:
            return loss_and_grad(params, batch)

        def accumulate(sums, microbatch):
            loss, grads, carry = loss_and_grad(params, microbatch)
            return jax.tree.map(jnp.add, sums, (loss, grads)), carry

        split = lambda tree: jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), tree)
        negatives = None if batch.negatives is None else batch.negatives.split(number)
        microbatches = split(batch._replace(negatives=None))._replace(negatives=negatives)
        zeros = jax.tree.map(jnp.zeros_like, (batch.weights[0], params))
        (loss, grads), carry = jax.lax.scan(accumulate, zeros, microbatches)
        return loss, grads, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carry)

    return over_microbatches


def rows_for(config: Config, model: Model, items: int, share: int, platform: str) -> int:
    """The rows of a microbatch: of the share of a device of this platform, which they divide.

    Those of the configuration are a limit. Else a CPU takes about as many as suit the model, and all where none divide
    so.

    Args:
        config: Config.
        model: models.Model.
        items: of the catalogue.
        share: rows of a step on one device.
    """
    divisors = [rows for rows in range(1, share + 1) if share % rows == 0]
    if config.microbatch_rows:
        return max(rows for rows in divisors if rows <= config.microbatch_rows)
    if platform != "cpu" or not model.microbatch_slots or items > sizes.GRADIENT_ROWS_PER_SLOT * model.microbatch_slots:
        return share
    wanted = model.microbatch_slots / (1 if config.stream == "session-parallel" else row_width(config))
    off, rows = min((max(rows / wanted, wanted / rows), rows) for rows in divisors)
    return rows if off <= 2 else share
