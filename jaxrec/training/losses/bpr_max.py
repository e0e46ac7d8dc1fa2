"""BPR-max: the target against a soft maximum of its negatives, with a regularization of their scores."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxrec.config.fields import key, not_negative
from jaxrec.config.keys import SampledOptions
from jaxrec.training.losses.entry import MANY, sampled


def bpr_max(bpreg: float, elu: float) -> Callable:
    """BPR-max: -log sum_k p_k sigmoid(s+ - s-_k) + bpreg sum_k p_k s-_k^2, p the softmax of the negatives.

    Hidasi & Karatzoglou 2018, computed in log space. With elu > 0, scores below 0 become elu (exp s - 1), as in the
    authors' code.
    """

    def slot(positive, negative_K, valid_K):
        if elu:
            positive, negative_K = jax.nn.elu(positive, elu), jax.nn.elu(negative_K, elu)
        log_share_K = log_shares(negative_K, valid_K)
        ranked = -jax.nn.logsumexp(log_share_K + jax.nn.log_sigmoid(positive - negative_K))
        loss = ranked + bpreg * (jnp.exp(log_share_K) * negative_K**2).sum()
        return jnp.where(valid_K.any(), loss, 0)

    return slot


def log_shares(negative_K: jax.Array, valid_K: jax.Array) -> jax.Array:
    """Returns the log-softmax over the valid negatives; over all if none is valid, so that the gradient is finite."""
    return jax.nn.log_softmax(jnp.where(valid_K | ~valid_K.any(), negative_K, -jnp.inf))


@dataclass(frozen=True)
class BPRMaxOptions(SampledOptions):
    """The keys of BPR-max."""

    bpreg: float = key(not_negative, 1.0)  #: weight of the squared scores of the negatives
    elu: float = key(not_negative, 0.0)  #: scores below 0 become elu (exp s - 1); 0 leaves them


LOSS = sampled("bpr-max", lambda options, items: bpr_max(options.bpreg, options.elu), BPRMaxOptions, suits=MANY)
