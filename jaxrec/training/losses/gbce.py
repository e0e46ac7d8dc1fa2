"""Generalised binary cross-entropy: calibrated for sampling only a share of the negatives."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxrec.config.fields import key
from jaxrec.config.keys import SampledOptions
from jaxrec.system.errors import UserError
from jaxrec.training.losses.entry import sampled


def gbce(items: int, t: float) -> Callable:
    """gBCE: (beta softplus(-s+) + sum_k softplus(s-_k)) / (1 + K), beta = 1 - t (1 - alpha), alpha = K / (items - 1).

    Petrov & Macdonald 2023: the probability of the positive is sigmoid(s+)^beta, which corrects the overconfidence due
    to sampling only K negatives. Its logarithm is linear in beta, so float32 is enough, without clamping. t = 0 is the
    mean of `bce`'s terms; t = 1 is calibrated.
    """

    def slot(positive, negative_K, valid_K):
        beta = 1 - t * (1 - len(negative_K) / (items - 1))
        negatives = jnp.where(valid_K, jax.nn.softplus(negative_K), 0).sum()
        return (beta * jax.nn.softplus(-positive) + negatives) / (1 + len(negative_K))

    return slot


def calibration(value: float) -> str | None:
    """From 0 to 1."""
    return None if 0 <= value <= 1 else "it must be from 0 (plain bce) to 1 (calibrated)"


@dataclass(frozen=True)
class GBCEOptions(SampledOptions):
    """The keys of gBCE."""

    gbce_t: float = key(calibration, 0.75)  #: calibration of the scores: 0 is bce, 1 as if every item were a negative


def check(options: GBCEOptions) -> None:
    """Checks that the negatives are uniform, as the calibration assumes."""
    if options.sampling not in ("uniform-unseen", "uniform"):
        raise UserError(
            f"config.loss.sampling is {options.sampling}: gbce is calibrated for uniform negatives. Set "
            "config.loss.sampling=uniform or uniform-unseen"
        )


def slot(options: GBCEOptions, items: int) -> Callable:
    """Returns the loss of a slot.

    Raises:
        UserError: there are more negatives than items.
    """
    if options.negatives >= items:
        raise UserError(
            f"config.loss.negatives is {options.negatives} of a catalogue of {items} items: gbce takes a share of "
            f"them. Set it to {items - 1} or less, or config.loss.name=softmax"
        )
    return gbce(items, options.gbce_t)


LOSS = sampled("gbce", slot, GBCEOptions, check, suits={"negatives": 256})
