"""Binary cross-entropy over the target and sampled negatives."""

import jax
import jax.numpy as jnp

from jaxrec.training.losses.entry import sampled


def bce(positive: jax.Array, negative_K: jax.Array, valid_K: jax.Array) -> jax.Array:
    """Binary cross-entropy: softplus(-s+) + sum_k softplus(s-_k). Kang & McAuley 2018 for K = 1."""
    return jax.nn.softplus(-positive) + jnp.where(valid_K, jax.nn.softplus(negative_K), 0).sum()


LOSS = sampled("bce", lambda options, items: bce, suits={"negatives": 1})
