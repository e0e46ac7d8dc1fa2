"""Attention masks, distance biases and positions, computed from a Stream.

Masks are functions of one row; callers map them over the batch with `jax.vmap`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.kernels import hardware

DISTANCE_BUCKETS = 32  #: number of buckets for distances between slots; half of them hold a single distance
FAR = 128  #: distances from here on share the last bucket


def same_sequence(segments: jax.Array) -> jax.Array:
    """Whether two slots belong to the same sequence. [T] -> [T, T] bool.

    Empty slots (segment 0) see each other, since a softmax over a fully masked row is NaN.
    """
    return segments[:, None] == segments[None, :]


def causal(segments: jax.Array, positions: jax.Array) -> jax.Array:
    """Causal mask: a query (first axis) sees the keys (second axis) of its own sequence that are not later than it.

    Args:
        segments: [T], as in Stream.
        positions: [T], as in Stream.

    Returns:
        [T, T] bool.

    >>> segments, positions = jnp.array([1, 1, 2]), jnp.array([0, 1, 0])
    >>> causal(segments, positions).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    return same_sequence(segments) & (positions[:, None] >= positions[None, :])


def bidirectional(segments: jax.Array, positions: jax.Array) -> jax.Array:
    """Bidirectional mask: a query sees all keys of its own sequence. [T], [T] -> [T, T] bool."""
    return same_sequence(segments)


def alibi_bias(heads: int, queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Attention bias that decreases linearly with distance, instead of position embeddings (ALiBi, Press et al. 2022).

    Head h of H (h = 1, 2, ...) subtracts 2^(-8 h / H) per slot between query and key. Within a sequence, distances
    between slots of the row equal distances between its items; pairs from different sequences are masked anyway.

    Args:
        heads: H, the number of heads.
        queries: [..., Q] the slots of the queries.
        keys: [K] the slots of the keys.

    Returns:
        [..., H, Q, K] float32, to be added to the attention scores.
    """
    slope_H = 2.0 ** (-8 * (jnp.arange(heads) + 1) / heads)
    distance_QK = jnp.abs(queries[..., :, None] - keys)
    return -slope_H[:, None, None] * distance_QK[..., None, :, :]


def distance_buckets(slots: int) -> np.ndarray:
    """The bucket of each distance 0, 1, ..., slots - 1 between a query and an earlier key (T5, Raffel et al. 2020).

    Half of the buckets hold a single distance; the others hold ranges that grow logarithmically up to `FAR`.

    Returns:
        [slots] int32, from 0 to DISTANCE_BUCKETS - 1.

    >>> distance_buckets(200)[[0, 15, 16, 18, 19, 127, 199]].tolist()
    [0, 15, 16, 16, 17, 31, 31]
    """
    exact, distance = DISTANCE_BUCKETS // 2, np.arange(slots)
    wide = exact * np.log(np.maximum(distance, exact) / exact) / np.log(FAR / exact)
    buckets = np.where(distance < exact, distance, exact + wide.astype(np.int32))
    return np.minimum(buckets, DISTANCE_BUCKETS - 1).astype(np.int32)


def from_end(segments: jax.Array) -> jax.Array:
    """The number of later slots in each slot's own sequence; 0 at the newest. [T] int -> [T] int32.

    >>> from_end(jnp.array([1, 1, 1, 2, 2])).tolist()
    [2, 1, 0, 1, 0]
    """
    slots = jnp.arange(len(segments), dtype=jnp.int32)
    if not hardware.is_cpu():  # comparing all pairs is one kernel, and a running minimum several
        return (same_sequence(segments) & (slots > slots[:, None])).sum(1, dtype=jnp.int32)
    ends = jnp.append(segments[1:] != segments[:-1], True)
    end = jnp.where(ends, slots, len(segments)).astype(jnp.float32)  # exact; ONNX has no integer cummin
    return jax.lax.cummin(end, reverse=True).astype(jnp.int32) - slots


def position_of(stream: Any, count: str, length: int) -> jax.Array:
    """The index into a position embedding table for each slot of a Stream.

    Args:
        stream: Stream of rows [B, T].
        count: "from_start": the oldest slot of a sequence has index 0; "from_end": the newest has the last index.
        length: the number of rows of the table.

    Returns:
        [B, T] int32.
    """
    return length - 1 - jax.vmap(from_end)(stream.segments) if count == "from_end" else stream.positions
