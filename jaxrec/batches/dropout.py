"""Leaves out, in training, some of what is known of events and users. Targets stay as they are.

Each row is drawn by its own key, so that the result doesn't depend on the number of devices.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.stream import Stream
from jaxrec.kernels.random import random_bits, site_keys

# beyond the sites of any model's dropouts, below the cloze's
CONTEXT_SITE, ASKED_SITE, START_SITE = (2**31 - site for site in (5, 7, 8))


def drop_context(stream: Stream, keys: jax.Array, rate: float) -> Stream:
    """Removes the context of each sequence with probability `rate`, so that the model learns to do without.

    Args:
        stream: Stream of rows [R, T].
        keys: keys [R], one per row.
        rate: the probability.
    """

    def row(key, segments, context):
        dropped = _chosen(key, (len(segments) + 1,), rate)[segments]
        return jnp.where(dropped[:, None], 0, context)

    return stream._replace(context=jax.vmap(row)(site_keys(keys, CONTEXT_SITE), stream.segments, stream.context))


def start_bare(stream: Stream, keys: jax.Array, rate: float, kept_K: np.ndarray) -> Stream:
    """Shows the first slot of each sequence as its user alone with probability `rate`, so that no event is needed.

    Slots of position 0 that are one basket are all shown so, or none is.

    Args:
        stream: Stream of rows [R, T].
        keys: keys [R], one per row.
        rate: the probability.
        kept_K: bool, which columns of the context are shown there: of the user, and of the time of asking.
    """

    def row(key, segments, positions):
        return _chosen(key, (len(segments) + 1,), rate)[segments] & (positions == 0) & (segments > 0)

    start = jax.vmap(row)(site_keys(keys, START_SITE), stream.segments, stream.positions)
    return stream._replace(start=start, context=jnp.where(start[..., None] & ~kept_K, 0, stream.context))


def drop_asked(stream: Stream, keys: jax.Array, rate: float, asked_K: np.ndarray) -> Stream:
    """Removes the time of asking at each slot with probability `rate`, so that the model learns to answer without.

    By slot and not by sequence: a question that does not say when it is asked comes after events of which it is known.

    Args:
        stream: Stream of rows [R, T].
        keys: keys [R], one per row.
        rate: the probability.
        asked_K: bool, which columns of the context are of the time of asking.
    """
    dropped = jax.vmap(lambda key: _chosen(key, stream.items.shape[1:], rate))(site_keys(keys, ASKED_SITE))
    return stream._replace(context=jnp.where(dropped[..., None] & asked_K, 0, stream.context))


def _chosen(key, shape, rate):
    """A bool array of `shape` whose elements are True with probability `rate`."""
    return random_bits(key, shape) < jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
