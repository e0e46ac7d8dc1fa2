"""Laws of the dropout of context: what it leaves alone, and how often it happens."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.dropout import drop_asked, drop_context, start_bare
from jaxrec.batches.stream import Stream
from jaxrec.kernels.random import row_keys

ROWS = 400
LENGTHS = (5, 1, 2, 4)
SEGMENTS = np.repeat([1, 2, 3, 4, 0], [*LENGTHS, 3]).astype(np.int32)
POSITIONS = np.concatenate([np.arange(n) for n in (*LENGTHS, 3)]) * (SEGMENTS > 0)
ITEMS = np.arange(1, 16) * (SEGMENTS > 0)
STREAM = Stream(
    *(jnp.asarray(np.tile(each, (ROWS, 1)), jnp.int32) for each in (ITEMS, ITEMS, SEGMENTS, POSITIONS, ITEMS))
)


def test_the_time_of_asking_is_dropped_slot_by_slot_and_nothing_else():
    stream = STREAM._replace(context=jnp.ones((*STREAM.items.shape, 3), jnp.int32))
    keys = jax.jit(row_keys)(0, 0, jnp.arange(ROWS))
    found = np.asarray(drop_asked(stream, keys, 0.3, np.array([False, True, True])).context)
    assert (found[..., 0] == 1).all()
    np.testing.assert_array_equal(found[..., 1], found[..., 2])
    assert np.abs((found[..., 1] == 0).mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / ROWS)
    apart = [(found[:, slot, 1] == found[:, slot + 1, 1]).mean() for slot in range(14)]
    assert np.abs(np.array(apart) - 0.58).max() < 5 * np.sqrt(0.25 / ROWS)


def test_the_context_of_a_sequence_is_dropped_whole_or_not_at_all():
    stream = STREAM._replace(context=jnp.ones((*STREAM.items.shape, 2), jnp.int32))
    found = np.asarray(drop_context(stream, jax.jit(row_keys)(0, 0, jnp.arange(ROWS)), 0.3).context)
    gone = []
    for number in range(1, len(LENGTHS) + 1):
        own = found[:, number == SEGMENTS].reshape(ROWS, -1)
        assert (own == own[:, :1]).all()
        gone.append(own[:, 0] == 0)
    assert np.abs(np.mean(gone, axis=1) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / ROWS)
    assert abs((gone[0] == gone[1]).mean() - 0.58) < 5 * np.sqrt(0.25 / ROWS)  # independently of each other


def test_a_sequence_begins_bare_at_its_first_slot_alone_which_shows_its_user():
    stream = STREAM._replace(context=jnp.ones((*STREAM.items.shape, 2), jnp.int32))
    found = start_bare(stream, jax.jit(row_keys)(0, 0, jnp.arange(ROWS)), 0.3, np.array([False, True]))
    start, shown = np.asarray(found.start), np.asarray(found.context)
    first = (SEGMENTS > 0) & (POSITIONS == 0)
    assert not start[:, ~first].any()
    assert np.abs(start[:, first].mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / ROWS)
    np.testing.assert_array_equal(shown[..., 0] == 0, start)
    assert (shown[..., 1] == 1).all()


def test_what_is_dropped_of_one_thing_tells_nothing_of_another():
    """One key gives three independent draws: of the context, of bare starts, and of the query time."""
    stream = STREAM._replace(context=jnp.ones((*STREAM.items.shape, 1), jnp.int32))
    keys, first = jax.jit(row_keys)(0, 0, jnp.arange(ROWS)), (SEGMENTS > 0) & (POSITIONS == 0)
    gone = [
        np.asarray(drop_context(stream, keys, 0.3).context)[:, first, 0] == 0,
        np.asarray(drop_asked(stream, keys, 0.3, np.array([True])).context)[:, first, 0] == 0,
        np.asarray(start_bare(stream, keys, 0.3, np.array([True])).start)[:, first],
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs((gone[one] == gone[other]).mean() - 0.58) < 5 * np.sqrt(0.25 / gone[0].size)
