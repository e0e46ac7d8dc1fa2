"""What may look at what, as arrays made from the stream: functions of one row, mapped over the batch at the call."""

import jax
import jax.numpy as jnp
import numpy as np

DISTANCE_BUCKETS = 32  #: that distances between slots are told apart by, half of them of one distance each
FAR = 128  #: slots apart, from which on all distances are one bucket


def same_sequence(segments):
    """Whether two slots belong to one sequence. [T] -> [T, T] bool.

    Empty slots (segment 0) see each other, so that no row of the mask is empty: a softmax over nothing is NaN.
    """
    return segments[:, None] == segments[None, :]


def causal(segments, positions):
    """Whether query (first axis) may attend to key (second): the same sequence, not later. [T], [T] -> [T, T] bool.

    >>> segments, positions = jnp.array([1, 1, 2]), jnp.array([0, 1, 0])
    >>> causal(segments, positions).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    return same_sequence(segments) & (positions[:, None] >= positions[None, :])


def bidirectional(segments, positions):
    """Whether query may attend to key: the same sequence, both ways. [T], [T] -> [T, T] bool."""
    return same_sequence(segments)


def nearness(heads, queries, keys):
    """What a score loses by distance, in the place of positions (ALiBi: Press et al. 2022): [..., H, Q, K] float32.

    Head h of H loses 2^(-8 h / H) a slot between query and key. Of slots of one sequence that is how far apart its
    items are, wherever in the row it lies; what other sequences lose is masked anyway.

    Args:
        heads: H.
        queries: [..., Q] slots of a row.
        keys: [K].
    """
    slope_H = 2.0 ** (-8 * (jnp.arange(heads) + 1) / heads)
    distance_QK = jnp.abs(queries[..., :, None] - keys)
    return -slope_H[:, None, None] * distance_QK[..., None, :, :]


def distance_buckets(slots):
    """Which bucket each distance backwards falls into, from 0 to slots - 1 (T5: Raffel et al. 2020). -> [slots] int32

    Half of the buckets are one distance each, the others ever wider ranges, even on a logarithmic scale, up to `FAR`.

    >>> distance_buckets(200)[[0, 15, 16, 18, 19, 127, 199]].tolist()
    [0, 15, 16, 16, 17, 31, 31]
    """
    exact, distance = DISTANCE_BUCKETS // 2, np.arange(slots)
    wide = exact * np.log(np.maximum(distance, exact) / exact) / np.log(FAR / exact)
    buckets = np.where(distance < exact, distance, exact + wide.astype(np.int32))
    return np.minimum(buckets, DISTANCE_BUCKETS - 1).astype(np.int32)


def from_end(segments):
    """How many slots of its own sequence follow each slot: 0 at the newest. [T] int -> [T] int32.

    >>> from_end(jnp.array([1, 1, 1, 2, 2])).tolist()
    [2, 1, 0, 1, 0]
    """
    slots = jnp.arange(len(segments), dtype=jnp.int32)
    ends = jnp.append(segments[1:] != segments[:-1], True)
    end = jnp.where(ends, slots, len(segments)).astype(jnp.float32)  # exact, and ONNX has no such minimum of integers
    return jax.lax.cummin(end, reverse=True).astype(jnp.int32) - slots


def position_of(stream, count, length):
    """The row of a table of `length` positions for each slot of a Stream: [B, T] int32.

    Args:
        count: "from_start", or "from_end", by which the newest slot of every sequence has the last row.
    """
    return length - 1 - jax.vmap(from_end)(stream.segments) if count == "from_end" else stream.positions
