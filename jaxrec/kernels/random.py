"""Randomness as a function of (seed, step, global row), and the cheap hash behind dropout.

Nothing random is carried or saved: a run on eight devices draws what a run on one draws, and a resumed run what an
uninterrupted one does.
"""

import jax
import jax.numpy as jnp

IMPL = "threefry2x32"  # whose keys are two words; its own bits are drawn only by what asks jax.random for them


def step_key(seed, step):
    """The key of a step, for what all its rows share."""
    return fold_in(jax.random.key(seed, impl=IMPL), step)


def row_keys(seed, step, rows):
    """Keys of these global rows at this step. int, [], [R] -> keys [R]; different on every row and step."""
    return fold_in(step_key(seed, step), rows)


def site_keys(keys, site):
    """Keys for one place of use (a dropout, the negatives), so that no two places draw the same. [R], int -> [R]."""
    return fold_in(keys, site)


def fold_in(key, number):
    """The key of a number from 0 to 2^31 - 1, by the hash; threefry's fold_in is a loop of many small programs.

    Numbers of one key have different keys: the hash is a bijection for a fixed key, and they are its words 2n, 2n + 1.
    """
    places = 2 * jnp.asarray(number).astype(jnp.uint32)[..., None] + jnp.arange(2, dtype=jnp.uint32)
    return jax.random.wrap_key_data(_hash(jax.random.key_data(key)[..., None, :], places), impl=IMPL)


def random_bits(key, shape):
    """32 random bits an element, from a counter and a key: uint32 of `shape`.

    It fuses into what consumes it, where threefry costs more than the attention that it masks, or a tenth of a step of
    GRU4Rec; it is for dropout and for negatives, 2^32 of them from a key at most.
    """
    places = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        places += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    return _hash(jax.random.key_data(key), places)


def randint(key, shape, bound):
    """int32 of `shape` from 0 to bound - 1, each more or less often by bound / 2^32. bound: int, broadcasts to it."""
    return (random_bits(key, shape) % jnp.asarray(bound).astype(jnp.uint32)).astype(jnp.int32)


def _hash(words, places):
    """An integer mixer (xor-shift and multiply, constants of Wellons' lowbias32, 2018) of places, uint32.

    It is keyed by two words, [..., 2], before and between its two multiplications.
    """
    x = (places * jnp.uint32(0x9E3779B1)) ^ words[..., 0]
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = ((x ^ (x >> 15)) + words[..., 1]) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def dropout(key, x, rate):
    """Zero each element with probability `rate`, scale the rest by 1 / (1 - rate); x itself where there is no key."""
    if key is None or rate == 0.0:
        return x
    keep = random_bits(key, x.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
