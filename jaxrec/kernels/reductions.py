"""Reductions over all axes, by partial reductions: of equal parts of the first axis, combined element by element.

Without YNN's fusion (see compiler.cpu_options) XLA's CPU combines vectors many times as fast as the elements of one.
"""

from functools import reduce

import jax.numpy as jnp

PARTS = 8


def largest(x):
    """The largest of [N, ...], N at least 1, or of a scalar, over all axes."""
    partial, rest = partial_reductions(jnp.maximum, x)
    return jnp.maximum(partial.max(initial=-jnp.inf), rest.max(initial=-jnp.inf))


def total(x):
    """The sum of [N, ...], or of a scalar, over all axes."""
    partial, rest = partial_reductions(jnp.add, x)
    return partial.sum() + rest.sum()


def partial_reductions(function, x):
    """(the function of all parts, [N // PARTS, ...]; what is left of x after them). A scalar is one of one."""
    x = jnp.atleast_1d(x)
    length = len(x) // PARTS
    return reduce(function, (x[i * length : (i + 1) * length] for i in range(PARTS))), x[PARTS * length :]
