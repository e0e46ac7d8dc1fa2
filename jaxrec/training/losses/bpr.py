"""Bayesian personalised ranking."""

import jax
import jax.numpy as jnp

from jaxrec.training.losses.entry import sampled


def bpr(positive: jax.Array, negative_K: jax.Array, valid_K: jax.Array) -> jax.Array:
    """Bayesian personalised ranking: the mean of -log sigmoid(s+ - s-_k). Rendle et al. 2009; Hidasi et al. 2016."""
    each_K = jnp.where(valid_K, jax.nn.softplus(negative_K - positive), 0)
    return each_K.sum() / jnp.maximum(valid_K.sum(), 1)


LOSS = sampled("bpr", lambda options, items: bpr, suits={"negatives": 1})
