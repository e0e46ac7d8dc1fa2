"""Arrays cut into chunks, so that what is made of them need not be held all at once."""

import jax
import jax.numpy as jnp


def chunked(tree, size):
    """Arrays [N, ...] -> [chunks, N / chunks, ...], each of at most `size`; the last is filled up with zeros."""
    number = len(jax.tree.leaves(tree)[0])
    chunks = -(-number // size)
    pad = lambda x: jnp.pad(x, ((0, -number % chunks), *((0, 0),) * (x.ndim - 1)))
    return jax.tree.map(lambda x: pad(x).reshape(chunks, -1, *x.shape[1:]), tree)
