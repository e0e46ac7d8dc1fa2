"""Linear recurrences over the slots of rows."""

import jax
import jax.numpy as jnp


def linear_recurrence(decay_BTD, input_BTD, before_BD):
    """h_t = decay_t h_(t-1) + input_t, feature by feature. -> h [B, T, D]

    One slot after the other on a CPU; an accelerator, which would start a kernel a slot, takes a tree of products over
    the slots (Blelloch 1990).

    Args:
        decay_BTD: from 0 to 1; where it is 0, nothing of what was before goes on.
        input_BTD: what is added.
        before_BD: h before the first slot.

    >>> decay, added = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 2.0])
    >>> linear_recurrence(decay.reshape(1, 3, 1), added.reshape(1, 3, 1), jnp.array([[4.0]])).ravel().tolist()
    [3.0, 1.5, 2.0]
    """
    if jax.default_backend() == "cpu":

        def slot(h_BD, given):
            decay_BD, input_BD = given
            h_BD = decay_BD * h_BD + input_BD
            return h_BD, h_BD

        by_slot = (jnp.swapaxes(decay_BTD, 0, 1), jnp.swapaxes(input_BTD, 0, 1))
        return jnp.swapaxes(jax.lax.scan(slot, before_BD, by_slot)[1], 0, 1)

    def after(first, second):  # two stretches of slots are one: its decay, and what it makes of a state of zero
        return first[0] * second[0], second[0] * first[1] + second[1]

    input_BTD = input_BTD.at[:, 0].add(decay_BTD[:, 0] * before_BD)
    return jax.lax.associative_scan(after, (decay_BTD, input_BTD), axis=1)[1]
