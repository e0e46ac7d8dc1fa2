"""Dropout of what a model is shown of a batch: items that are left out, and histories that are cut in two.

What is asked stays. Each row draws by its own key, so that one device and eight draw the same.
"""

import jax
import jax.numpy as jnp

from jaxrec.kernels.masks import from_end
from jaxrec.kernels.random import randint, random_bits, site_keys

# beyond the sites of any model's dropouts, below the cloze's
ITEM_SITE, SEQUENCE_SITE, CONTEXT_SITE = 2**31 - 3, 2**31 - 4, 2**31 - 5


def drop_items(stream, keys, rate):
    """The Stream with each item but a sequence's first dropped with this probability: its slot shows the one before.

    Zeros in its place would be divided by next to nothing where a norm meets them, and not every model has a vector
    for what is masked.

    Args:
        keys: of the rows.
    """
    dropped = jax.vmap(lambda key: _chosen(key, stream.items.shape[1:], rate))(site_keys(keys, ITEM_SITE))
    kept = ~dropped | (stream.positions == 0)
    slot = jax.lax.cummax(jnp.where(kept, jnp.arange(stream.items.shape[1]), 0), axis=1)
    return stream._replace(items=jnp.take_along_axis(stream.items, slot, axis=1))


def cut_sequences(stream, keys, rate):
    """The Stream with each sequence of two slots or more cut at a random place, with this probability.

    From there on it is a history of its own, whose positions begin with 0, as if nothing had been before. Segments keep
    their order, and their numbers are no longer all of 1, 2, ...

    Args:
        keys: of the rows.
    """

    def row(key, segments, positions):
        coin, place = jax.random.split(key)
        length = positions + jax.vmap(from_end)(segments[None])[0] + 1
        number = (len(segments) + 1,)  # of segments, and what is none
        begin = 1 + (randint(place, number, 1 << 24)[segments] % jnp.maximum(length - 1, 1))
        after = _chosen(coin, number, rate)[segments] & (positions >= begin) & (segments > 0)
        return jnp.where(segments > 0, 2 * segments - 1 + after, 0), jnp.where(after, positions - begin, positions)

    segments, positions = jax.vmap(row)(site_keys(keys, SEQUENCE_SITE), stream.segments, stream.positions)
    return stream._replace(segments=segments, positions=positions)


def drop_context(stream, keys, rate):
    """The Stream without what is known of events beside their items, of each sequence with this probability.

    So a model learns to answer well where that is not known.

    Args:
        keys: of the rows.
    """

    def row(key, segments, context):
        dropped = _chosen(key, (len(segments) + 1,), rate)[segments]
        return jnp.where(dropped[:, None], 0, context)

    return stream._replace(context=jax.vmap(row)(site_keys(keys, CONTEXT_SITE), stream.segments, stream.context))


def _chosen(key, shape, rate):
    """Which of these are drawn, each with probability `rate`: [shape] bool."""
    return random_bits(key, shape) < jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
