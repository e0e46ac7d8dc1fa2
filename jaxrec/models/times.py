"""The time between the events of a sequence, as attention uses it: in buckets, or as intervals.

Both use the times of the query and of the keys before it, never that of the item to be predicted.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.kernels.products import summed

BUCKETS = 63  #: number of buckets of the time between events: one for 0 seconds, then two per octave of seconds
FAR = np.iinfo(np.int32).max


def seconds_between(times_BT: jax.Array) -> jax.Array:
    """Returns the seconds from each key to each query: 0 where the key is later, -1 where either time is unknown.

    Args:
        times_BT: int32, as Stream has them.

    Returns:
        [B, T, T] int32: queries, then keys.
    """
    known = (times_BT[:, :, None] >= 0) & (times_BT[:, None] >= 0)
    return jnp.where(known, jnp.maximum(times_BT[:, :, None] - times_BT[:, None], 0), -1)


def buckets(seconds_BQT: jax.Array) -> jax.Array:
    """Returns the bucket of each number of seconds: 0 for 0, then two per octave; BUCKETS where unknown (-1).

    It computes with integers, so the result is exact on any device.

    >>> buckets(jnp.array([-1, 0, 1, 2, 3, 4, 5, 6, 86_400])).tolist()
    [63, 0, 1, 3, 4, 5, 5, 6, 33]
    """
    seconds = jnp.maximum(seconds_BQT, 1)
    octave = 31 - jax.lax.clz(seconds)
    upper = (seconds >> jnp.maximum(octave - 1, 0)) & (octave > 0)
    return jnp.where(seconds_BQT < 0, BUCKETS, jnp.where(seconds_BQT == 0, 0, 1 + 2 * octave + upper))


def by_bucket(learned_NH: jax.Array, bucket_BQK: jax.Array) -> jax.Array:
    """Looks up each head's learned bias of each bucket; 0 where the time is unknown. -> [B, H, Q, K]"""
    bias_NH = jnp.concatenate([learned_NH, jnp.zeros_like(learned_NH[:1])])
    return jnp.moveaxis(bias_NH[bucket_BQK], -1, 1)


def intervals(seconds_BTT: jax.Array, mask_BTT: jax.Array, most: int) -> jax.Array:
    """Returns times between events in units of the sequence's shortest one so far (Li et al. 2020, section 3.2).

    The paper uses the shortest interval of the whole history, which isn't known yet at an early event.

    Args:
        seconds_BTT: as from `seconds_between`.
        mask_BTT: bool, whether a query sees a key.
        most: k, at which longer times are clipped.

    Returns:
        [B, T, T] int32, 0..k; k + 1 where the time is unknown.
    """
    between = jnp.where(mask_BTT & (seconds_BTT > 0), seconds_BTT, FAR)
    shortest_BT = between.min(-1)
    shortest_BT = jnp.where(mask_BTT, shortest_BT[:, None], FAR).min(-1)
    # lax.div equals // for numbers that aren't negative, and the converter to ONNX supports it
    units_BTT = jax.lax.div(seconds_BTT, jnp.broadcast_to(shortest_BT[..., None], seconds_BTT.shape))
    return jnp.where(seconds_BTT < 0, most + 1, jnp.minimum(units_BTT, most))


class Intervals(NamedTuple):
    """Vectors added to the keys and values of all blocks, for the interval to the query and for the position."""

    number: jax.Array | None  #: [B, Q, T] int32 as from `intervals`; None if no time is known
    keys: jax.Array  #: [k + 1, D], for the keys, per interval
    values: jax.Array  #: [k + 1, D], for the values, per interval
    position_keys: jax.Array | None = None  #: [B, T, D]; None without tables of positions
    position_values: jax.Array | None = None  #: [B, T, D]

    def at(self, take: Callable) -> "Intervals":
        """Returns the Intervals of some queries, which `take` selects from [B, Q, T]."""
        return self if self.number is None else self._replace(number=take(self.number))

    def placed(self, keys_BTHd: jax.Array, values_BTHd: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the keys and values plus the vectors of their positions, if any."""
        if self.position_keys is None or self.position_values is None:
            return keys_BTHd, values_BTHd
        like = lambda x_BTD: x_BTD.reshape(keys_BTHd.shape).astype(keys_BTHd.dtype)
        return keys_BTHd + like(self.position_keys), values_BTHd + like(self.position_values)

    def scores(self, scores_BHQK: jax.Array, q_BQHd: jax.Array, part: slice) -> jax.Array:
        """Returns the scores of some queries plus those of their intervals to the keys."""
        if self.number is None:
            return scores_BHQK
        return scores_BHQK + interval_scores(q_BQHd, self.keys, self.number[:, part, : scores_BHQK.shape[-1]])

    def mixed(self, mixed_BQHd: jax.Array, weights_BHQK: jax.Array, part: slice) -> jax.Array:
        """Returns the weighted sums of values of some queries plus those of the interval vectors."""
        if self.number is None:
            return mixed_BQHd
        number_BQK = self.number[:, part, : weights_BHQK.shape[-1]]
        return mixed_BQHd + interval_values(weights_BHQK, self.values, number_BQK)


def interval_scores(q_BQHd: jax.Array, keys_ND: jax.Array, number_BQK: jax.Array) -> jax.Array:
    """Returns the products of queries with the vectors of their intervals to the keys. -> [B, H, Q, K] float32"""
    heads, features = q_BQHd.shape[2:]
    keys_NHd = keys_ND.reshape(-1, heads, features).astype(q_BQHd.dtype)
    scores_BHQN = summed("bqhd,nhd->bhqn", q_BQHd, keys_NHd)
    scores_BHQN = jnp.pad(scores_BHQN, ((0, 0), (0, 0), (0, 0), (0, 1)))
    return jnp.take_along_axis(scores_BHQN, number_BQK[:, None], axis=-1)


def interval_values(weights_BHQK: jax.Array, values_ND: jax.Array, number_BQK: jax.Array) -> jax.Array:
    """Returns the sums of the interval vectors, weighted by the keys' weights, which are first summed per interval.

    Returns:
        [B, Q, H, d]
    """
    rows, heads, queries, _ = weights_BHQK.shape
    number = values_ND.shape[0]
    at = jnp.ogrid[:rows, :heads, :queries]
    sums_BHQN = jnp.zeros((rows, heads, queries, number + 1), jnp.float32)
    sums_BHQN = sums_BHQN.at[*(axis[..., None] for axis in at), number_BQK[:, None]].add(weights_BHQK)
    kind = weights_BHQK.dtype
    values_NHd = values_ND.reshape(number, heads, -1).astype(kind)
    return jnp.einsum("bhqn,nhd->bqhd", sums_BHQN[..., :number].astype(kind), values_NHd)
