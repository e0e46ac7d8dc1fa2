"""Reductions over all axes, of the first by strands: equal parts that are first combined element by element.

Without YNN's fusion (see compiler.cpu_options) XLA's CPU combines vectors many times as fast as the elements of one.
"""

from functools import reduce

import jax.numpy as jnp

STRANDS = 8


def largest(x):
    """The largest of [N, ...], N at least 1, or of a scalar, over all axes."""
    strands, rest = combined(jnp.maximum, x)
    return jnp.maximum(strands.max(initial=-jnp.inf), rest.max(initial=-jnp.inf))


def total(x):
    """The sum of [N, ...], or of a scalar, over all axes."""
    strands, rest = combined(jnp.add, x)
    return strands.sum() + rest.sum()


def combined(function, x):
    """(the function of the strands, [N // STRANDS, ...]; what is left of x after them). A scalar is one of one."""
    x = jnp.atleast_1d(x)
    length = len(x) // STRANDS
    return reduce(function, (x[i * length : (i + 1) * length] for i in range(STRANDS))), x[STRANDS * length :]
