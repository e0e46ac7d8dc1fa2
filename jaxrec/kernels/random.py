"""Random keys as a function of (seed, step, global row), and random bits from a cheap hash.

There is no random state to carry or save: a run draws the same numbers on one device and on eight, and after a resume.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

IMPL = "threefry2x32"  # its keys have two words, as `_hash` needs; threefry itself runs only in calls of jax.random


class Part(NamedTuple):
    """Where a part of an array lies in it."""

    whole: Sequence[int]  #: the shape of the array
    begin: Sequence[int]  #: the index of the part's first element


def step_key(seed: ArrayLike, step: ArrayLike) -> jax.Array:
    """The key for draws that all rows of a step share. [] int, [] int -> key []."""
    return fold_in(jax.random.key(seed, impl=IMPL), step)


def row_keys(seed: ArrayLike, step: ArrayLike, rows: ArrayLike) -> jax.Array:
    """One key per global row, different for every row and step. [] int, [] int, [R] int -> keys [R]."""
    return fold_in(step_key(seed, step), rows)


def site_keys(keys: jax.Array, site: int) -> jax.Array:
    """Keys for one use (such as one dropout layer), independent of those for other uses. keys [R], int -> keys [R]."""
    return fold_in(keys, site)


def fold_in(key: jax.Array, number: ArrayLike) -> jax.Array:
    """As `jax.random.fold_in`, but by the hash, since threefry's compiles to a loop of many small kernels.

    Different numbers give different keys: the two words of the result are the hash at 2n and 2n + 1, and the hash is a
    bijection for a fixed key. `random_bits` draws the same words there, so never draw from a key that is also folded.

    Args:
        key: key [...].
        number: int [...] from 0 to 2^31 - 1, broadcast against `key`.
    """
    places = 2 * jnp.asarray(number).astype(jnp.uint32)[..., None] + jnp.arange(2, dtype=jnp.uint32)
    return jax.random.wrap_key_data(_hash(jax.random.key_data(key)[..., None, :], places), impl=IMPL)


def random_bits(key: jax.Array, shape: Sequence[int], part: Part | None = None) -> jax.Array:
    """Random uint32 of `shape`: a hash of the key and of each element's index, or of its index in the whole of `part`.

    Used for dropout and negatives. The hash fuses into the code that uses its bits, whereas threefry takes longer than
    the attention whose weights it drops. A key gives 2^32 different elements; those of a larger array repeat.
    """
    whole, begin = part or (shape, (0,) * len(shape))
    places = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        at = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        at = at + jnp.uint32(begin[axis]) if begin[axis] else at
        places += at * jnp.uint32(stride % 2**32)
        stride *= whole[axis]
    return _hash(jax.random.key_data(key), places)


def randint(key: jax.Array, shape: Sequence[int], bound: ArrayLike) -> jax.Array:
    """Random int32 of `shape` from 0 to bound - 1.

    Args:
        key: key [].
        shape: of the result.
        bound: int, broadcast to `shape`. Probabilities differ by a relative bound / 2^32 at most.
    """
    return (random_bits(key, shape) % jnp.asarray(bound).astype(jnp.uint32)).astype(jnp.int32)


def _hash(words, places):
    """Hashes indices with a key: an integer mixer by xor-shifts and multiplications (lowbias32, Wellons 2018).

    Args:
        words: [..., 2] uint32, the key; one word enters before the first multiplication, one before the second.
        places: [...] uint32, the indices.

    Returns:
        [...] uint32.
    """
    x = (places * jnp.uint32(0x9E3779B1)) ^ words[..., 0]
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = ((x ^ (x >> 15)) + words[..., 1]) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def dropout(key: jax.Array | None, x: jax.Array, rate: float, part: Part | None = None) -> jax.Array:
    """Sets each element to zero with probability `rate` and scales the others by 1 / (1 - rate); no key, no dropout.

    Of a `part` of an array it drops what it would drop of the whole.
    """
    if key is None or rate == 0.0:
        return x
    keep = random_bits(key, x.shape, part) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
