"""Laws of dropout of what is shown: what it leaves alone, and how often it is."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.dropout import drop_asked
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
