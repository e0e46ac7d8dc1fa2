"""Cross-entropy of the target against itself and sampled negatives."""

import jax
import jax.numpy as jnp

from jaxrec.kernels import reductions


def sampled_softmax(positive, negative_K, valid_K):
    """Cross-entropy of the target against itself and the negatives: log(exp s+ + sum_k exp s-_k) - s+.

    Jean et al. 2015; the correction by expected counts (logQ) is made to the scores before.
    """
    negative_K = jnp.where(valid_K, negative_K, -jnp.inf)
    peak = jnp.maximum(reductions.largest(jax.lax.stop_gradient(negative_K)), jax.lax.stop_gradient(positive))
    return jnp.log(jnp.exp(negative_K - peak).sum() + jnp.exp(positive - peak)) + peak - positive
