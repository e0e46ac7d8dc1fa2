"""Randomness as a function of (seed, step, global row), and the cheap hash behind dropout.

Nothing random is carried or saved: a run on eight devices draws what a run on one draws, and a resumed run what an
uninterrupted one does.
"""

import jax
import jax.numpy as jnp


def step_key(seed, step):
    """The key of a step, for what all its rows share."""
    return jax.random.fold_in(jax.random.key(seed), step)


def row_keys(seed, step, rows):
    """Keys of these global rows at this step. int, [], [R] -> keys [R]; different on every row and step."""
    key = step_key(seed, step)
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def site_keys(keys, site):
    """Keys for one place of use (a dropout, the negatives), so that no two places draw the same. [R], int -> [R]."""
    return jax.vmap(lambda key: jax.random.fold_in(key, site))(keys)


def hash_bits(key, shape):
    """32 random bits an element, from a counter and a key: uint32 of `shape`.

    An integer mixer (xor-shift and multiply, constants of Wellons' lowbias32, 2018) keyed before and between its two
    multiplications. It fuses into what consumes it, where threefry costs more than the attention that it masks, or
    a tenth of a step of GRU4Rec; it is for dropout and for negatives by popularity, 2^32 of them from a key at most.
    """
    first, second = jax.random.key_data(key)
    counter = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        counter += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    x = (counter * jnp.uint32(0x9E3779B1)) ^ first
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = ((x ^ (x >> 15)) + second) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def dropout(key, x, rate):
    """Zero each element with probability `rate`, scale the rest by 1 / (1 - rate); x itself where there is no key."""
    if key is None or rate == 0.0:
        return x
    keep = hash_bits(key, x.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
