"""Generalised binary cross-entropy: calibrated for having seen only a share of the negatives."""

import jax
import jax.numpy as jnp


def gbce(items, t):
    """gBCE: (beta softplus(-s+) + sum_k softplus(s-_k)) / (1 + K), beta = 1 - t (1 - alpha), alpha = K / (items - 1).

    Petrov & Macdonald 2023: the probability of the positive is sigmoid(s+)^beta, the power that undoes
    the overconfidence of having seen only K of the others. Its logarithm is linear in beta, so nothing has to be
    clamped, and float32 is enough. t = 0 is `bce`, the mean of its terms; t = 1 is calibrated.
    """

    def slot(positive, negative_K, valid_K):
        beta = 1 - t * (1 - len(negative_K) / (items - 1))
        negatives = jnp.where(valid_K, jax.nn.softplus(negative_K), 0).sum()
        return (beta * jax.nn.softplus(-positive) + negatives) / (1 + len(negative_K))

    return slot
