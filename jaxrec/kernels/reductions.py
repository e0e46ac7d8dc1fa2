"""Reductions over all axes that are fast on a CPU.

On a CPU the first axis is split into `PARTS` equal parts, which are combined elementwise, and the result is reduced.
Without YNN fusion (see `compiler.cpu_options`), XLA's CPU backend combines arrays many times faster than it reduces
one. Accelerators reduce the whole array at once.
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp

from jaxrec.kernels import hardware

PARTS = 8


def largest(x: jax.Array) -> jax.Array:
    """The largest element of an array [N, ...], N at least 1, or of a scalar."""
    if not hardware.is_cpu():
        return x.max()
    partial, rest = partial_reductions(jnp.maximum, x)
    return jnp.maximum(partial.max(initial=-jnp.inf), rest.max(initial=-jnp.inf))


def total(x: jax.Array) -> jax.Array:
    """The sum of all elements of an array [N, ...] or of a scalar."""
    if not hardware.is_cpu():
        return x.sum()
    partial, rest = partial_reductions(jnp.add, x)
    return partial.sum() + rest.sum()


def partial_reductions(
    function: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Splits x into `PARTS` parts of N // PARTS along its first axis and combines them.

    Args:
        function: combines two arrays elementwise, such as jnp.add.
        x: [N, ...], or a scalar, which counts as [1].

    Returns:
        The combined parts [N // PARTS, ...], and the remaining [N % PARTS, ...] of x.
    """
    x = jnp.atleast_1d(x)
    length = len(x) // PARTS
    return reduce(function, (x[i * length : (i + 1) * length] for i in range(PARTS))), x[PARTS * length :]
