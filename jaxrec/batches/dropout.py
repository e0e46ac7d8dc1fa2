"""Leaves out, in training, some of what the model is shown of events and users. Targets stay as they are.

Each row has its own key, so the result doesn't depend on the number of devices.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.stream import Stream
from jaxrec.kernels.random import random_bits, site_keys

# above the sites of any model's dropout, below the cloze's
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
    """Shows only the user at the first slot of each sequence with probability `rate`, so that no event is needed.

    If the slots of position 0 form a basket, this applies to all of them or to none.

    Args:
        stream: Stream of rows [R, T].
        keys: keys [R], one per row.
        rate: the probability.
        kept_K: bool, which columns of the context are shown there: of the user, and of the query time.
    """

    def row(key, segments, positions):
        return _chosen(key, (len(segments) + 1,), rate)[segments] & (positions == 0) & (segments > 0)

    start = jax.vmap(row)(site_keys(keys, START_SITE), stream.segments, stream.positions)
    return stream._replace(start=start, context=jnp.where(start[..., None] & ~kept_K, 0, stream.context))


def drop_asked(stream: Stream, keys: jax.Array, rate: float, asked_K: np.ndarray) -> Stream:
    """Removes the query time at each slot with probability `rate`, so that the model learns to answer without.

    It is drawn per slot, not per sequence: a request without a query time comes after events whose query time is known.

    Args:
        stream: Stream of rows [R, T].
        keys: keys [R], one per row.
        rate: the probability.
        asked_K: bool, which columns of the context hold the query time.
    """
    dropped = jax.vmap(lambda key: _chosen(key, stream.items.shape[1:], rate))(site_keys(keys, ASKED_SITE))
    return stream._replace(context=jnp.where(dropped[..., None] & asked_K, 0, stream.context))


def _chosen(key, shape, rate):
    """A bool array of `shape` whose elements are True with probability `rate`."""
    return random_bits(key, shape) < jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
