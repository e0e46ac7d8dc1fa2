"""How far apart the events of a sequence are, as attention knows it: by buckets of time, or by intervals.

Both know a query's own time and those of the keys before it, never the time of what is asked for.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.kernels.products import summed

BUCKETS = 63  #: of times between events: none, then two an octave of seconds
FAR = np.iinfo(np.int32).max


def seconds_between(times_BT: jax.Array) -> jax.Array:
    """Seconds from each key to each query, 0 where the key is later; -1 where either time is not known.

    Args:
        times_BT: int32, as Stream has them.

    Returns:
        [B, T, T] int32: queries, then keys.
    """
    known = (times_BT[:, :, None] >= 0) & (times_BT[:, None] >= 0)
    return jnp.where(known, jnp.maximum(times_BT[:, :, None] - times_BT[:, None], 0), -1)


def buckets(seconds_BQT: jax.Array) -> jax.Array:
    """Buckets of seconds, exact on any device: 0 for none, then two an octave; BUCKETS where not known.

    >>> buckets(jnp.array([-1, 0, 1, 2, 3, 4, 5, 6, 86_400])).tolist()
    [63, 0, 1, 3, 4, 5, 5, 6, 33]
    """
    seconds = jnp.maximum(seconds_BQT, 1)
    octave = 31 - jax.lax.clz(seconds)
    upper = (seconds >> jnp.maximum(octave - 1, 0)) & (octave > 0)
    return jnp.where(seconds_BQT < 0, BUCKETS, jnp.where(seconds_BQT == 0, 0, 1 + 2 * octave + upper))


def by_bucket(learned_NH: jax.Array, bucket_BQK: jax.Array) -> jax.Array:
    """What is learned of each bucket, for each head; 0 where the time is not known. -> [B, H, Q, K]"""
    bias_NH = jnp.concatenate([learned_NH, jnp.zeros_like(learned_NH[:1])])
    return jnp.moveaxis(bias_NH[bucket_BQK], -1, 1)


def intervals(seconds_BTT: jax.Array, mask_BTT: jax.Array, most: int) -> jax.Array:
    """Times between events in units of the shortest of the sequence so far (Li et al. 2020, section 3.2).

    The paper takes the shortest of the whole history, which at an early event is not known yet.

    Args:
        seconds_BTT: as `seconds_between` gives it.
        mask_BTT: bool, whether a query sees a key.
        most: k, the largest number.

    Returns:
        [B, T, T] int32, 0..k; k + 1 where the time is not known.
    """
    between = jnp.where(mask_BTT & (seconds_BTT > 0), seconds_BTT, FAR)
    shortest_BT = between.min(-1)
    shortest_BT = jnp.where(mask_BTT, shortest_BT[:, None], FAR).min(-1)
    # of what is not negative lax.div is the same as //, and a converter to ONNX knows it
    units_BTT = jax.lax.div(seconds_BTT, jnp.broadcast_to(shortest_BT[..., None], seconds_BTT.shape))
    return jnp.where(seconds_BTT < 0, most + 1, jnp.minimum(units_BTT, most))


class Intervals(NamedTuple):
    """What keys and values of all blocks get added: by the interval to the query, and by their positions."""

    number: jax.Array | None  #: [B, Q, T] int32 as `intervals` gives it; None where no time is known
    keys: jax.Array  #: [k + 1, D], of intervals
    values: jax.Array  #: [k + 1, D]
    position_keys: jax.Array | None = None  #: [B, T, D]; None without tables of positions
    position_values: jax.Array | None = None  #: [B, T, D]

    def at(self, take: Callable) -> "Intervals":
        """The same of the queries that `take` takes of [B, Q, T]."""
        return self if self.number is None else self._replace(number=take(self.number))

    def placed(self, keys_BTHd: jax.Array, values_BTHd: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values with those of their positions."""
        if self.position_keys is None or self.position_values is None:
            return keys_BTHd, values_BTHd
        like = lambda x_BTD: x_BTD.reshape(keys_BTHd.shape).astype(keys_BTHd.dtype)
        return keys_BTHd + like(self.position_keys), values_BTHd + like(self.position_values)

    def scores(self, scores_BHQK: jax.Array, q_BQHd: jax.Array, part: slice) -> jax.Array:
        """The scores of some queries with what their intervals to the keys add."""
        if self.number is None:
            return scores_BHQK
        return scores_BHQK + interval_scores(q_BQHd, self.keys, self.number[:, part, : scores_BHQK.shape[-1]])

    def mixed(self, mixed_BQHd: jax.Array, weights_BHQK: jax.Array, part: slice) -> jax.Array:
        """The sums of values of some queries, by the weights of the keys, with the vectors of the intervals."""
        if self.number is None:
            return mixed_BQHd
        number_BQK = self.number[:, part, : weights_BHQK.shape[-1]]
        return mixed_BQHd + interval_values(weights_BHQK, self.values, number_BQK)


def interval_scores(q_BQHd: jax.Array, keys_ND: jax.Array, number_BQK: jax.Array) -> jax.Array:
    """The products of queries with the vectors of their intervals to the keys. -> [B, H, Q, K] float32"""
    heads, features = q_BQHd.shape[2:]
    keys_NHd = keys_ND.reshape(-1, heads, features).astype(q_BQHd.dtype)
    scores_BHQN = summed("bqhd,nhd->bhqn", q_BQHd, keys_NHd)
    scores_BHQN = jnp.pad(scores_BHQN, ((0, 0), (0, 0), (0, 0), (0, 1)))
    return jnp.take_along_axis(scores_BHQN, number_BQK[:, None], axis=-1)


def interval_values(weights_BHQK: jax.Array, values_ND: jax.Array, number_BQK: jax.Array) -> jax.Array:
    """The vectors of the intervals by the weights of the keys: the weights are summed an interval first.

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
