"""TOP1-max: the target and zero against a soft maximum of the negatives."""

import jax
import jax.numpy as jnp

from jaxrec.training.losses.bpr_max import log_shares
from jaxrec.training.losses.entry import MANY, sampled


def top1_max(positive: jax.Array, negative_K: jax.Array, valid_K: jax.Array) -> jax.Array:
    """TOP1-max: sum_k p_k (sigmoid(s-_k - s+) + sigmoid(s-_k^2)), p the softmax of the negatives.

    Hidasi & Karatzoglou 2018.
    """
    share_K = jnp.exp(log_shares(negative_K, valid_K))
    each_K = jax.nn.sigmoid(negative_K - positive) + jax.nn.sigmoid(negative_K**2)
    return jnp.where(valid_K.any(), (share_K * each_K).sum(), 0)


LOSS = sampled("top1-max", lambda options, items: top1_max, suits=MANY)
