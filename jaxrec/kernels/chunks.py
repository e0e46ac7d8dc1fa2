"""Splits arrays into chunks, to bound the memory of what is computed from them."""

from typing import Any

import jax
import jax.numpy as jnp


def chunked(tree: Any, size: int) -> Any:
    """Splits arrays along their first axis into chunks of equal length, padding the last one with zeros.

    Args:
        tree: arrays [N, ...].
        size: the maximum length of a chunk.

    Returns:
        The tree with arrays [chunks, length, ...]; `length` may be smaller than `size`.
    """
    number = len(jax.tree.leaves(tree)[0])
    chunks = -(-number // size)
    pad = lambda x: jnp.pad(x, ((0, -number % chunks), *((0, 0),) * (x.ndim - 1)))
    return jax.tree.map(lambda x: pad(x).reshape(chunks, -1, *x.shape[1:]), tree)
