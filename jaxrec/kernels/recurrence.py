"""Linear recurrences along the slots of a row."""

import jax
import jax.numpy as jnp

from jaxrec.kernels import hardware


def linear_recurrence(decay_BTD: jax.Array, input_BTD: jax.Array, before_BD: jax.Array) -> jax.Array:
    """Computes h_t = decay_t * h_(t-1) + input_t, elementwise.

    A sequential scan on a CPU; a parallel scan (Blelloch 1990) on accelerators, which would start a kernel per slot.

    Args:
        decay_BTD: from 0 to 1; 0 resets the state.
        input_BTD: added to the state.
        before_BD: the state before the first slot.

    Returns:
        The state after each slot, [B, T, D].

    >>> decay, added = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 2.0])
    >>> linear_recurrence(decay.reshape(1, 3, 1), added.reshape(1, 3, 1), jnp.array([[4.0]])).ravel().tolist()
    [3.0, 1.5, 2.0]
    """
    if hardware.is_cpu():

        def advance(h_BD, decay_and_input):
            decay_BD, input_BD = decay_and_input
            h_BD = decay_BD * h_BD + input_BD
            return h_BD, h_BD

        by_slot = (jnp.swapaxes(decay_BTD, 0, 1), jnp.swapaxes(input_BTD, 0, 1))
        return jnp.swapaxes(jax.lax.scan(advance, before_BD, by_slot)[1], 0, 1)

    def compose(first, second):  # (decay, input) of two consecutive ranges of slots -> of their union
        return first[0] * second[0], second[0] * first[1] + second[1]

    input_BTD = input_BTD.at[:, 0].add(decay_BTD[:, 0] * before_BD)
    return jax.lax.associative_scan(compose, (decay_BTD, input_BTD), axis=1)[1]
