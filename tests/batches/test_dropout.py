"""Laws of dropout of what is shown: what it leaves alone, how often it is, the same on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some
from stepping import assert_close, made, states

from jaxrec.batches.dropout import cut_sequences, drop_asked, drop_items
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


def shown(drop, rate, seed=0):
    keys = row_keys(seed, 0, jnp.arange(ROWS))
    return jax.tree.map(np.asarray, jax.jit(lambda stream, keys: drop(stream, keys, rate))(STREAM, keys))


def test_each_item_but_the_first_is_dropped_as_often_as_is_said_and_the_one_before_is_shown():
    found = shown(drop_items, 0.3)
    dropped = found.items != ITEMS
    assert not dropped[:, POSITIONS == 0].any()
    np.testing.assert_array_equal(found.items[:, 1:], np.where(dropped[:, 1:], found.items[:, :-1], ITEMS[1:]))
    assert np.abs(dropped[:, POSITIONS > 0].mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / ROWS)
    jax.tree.map(np.testing.assert_array_equal, found._replace(items=STREAM.items), STREAM)
    assert (shown(drop_items, 0.3, 1).items != found.items).any()


@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_sequences_are_cut_as_often_as_is_said_anywhere_alike(rate):
    found = shown(cut_sequences, rate)
    jax.tree.map(
        np.testing.assert_array_equal, found._replace(segments=STREAM.segments, positions=STREAM.positions), STREAM
    )
    counts = {}
    for segments, positions in zip(found.segments, found.positions, strict=True):
        assert (segments[SEGMENTS == 0] == 0).all() and (np.diff(segments[SEGMENTS > 0]) >= 0).all()
        begins = np.flatnonzero((np.diff(segments, prepend=0) != 0) & (segments > 0))
        assert (positions[begins] == 0).all() and set(np.flatnonzero(POSITIONS == 0)) <= {*begins, 12, 13, 14}
        assert (np.diff(positions)[np.diff(segments) == 0] == 1 - (segments[1:] == 0)[np.diff(segments) == 0]).all()
        for slot in begins:
            counts[slot] = counts.get(slot, 0) + 1
    for segment, length in enumerate(LENGTHS, 1):
        cuts = [counts.get(slot, 0) / ROWS for slot in np.flatnonzero(POSITIONS * (segment == SEGMENTS))]
        for share in cuts:
            wanted = rate / (length - 1)
            assert abs(share - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / ROWS)


def test_the_time_of_asking_is_dropped_slot_by_slot_and_nothing_else():
    stream = STREAM._replace(context=jnp.ones((*STREAM.items.shape, 3), jnp.int32))
    keys = row_keys(0, 0, jnp.arange(ROWS))
    found = np.asarray(drop_asked(stream, keys, 0.3, np.array([False, True, True])).context)
    assert (found[..., 0] == 1).all()
    np.testing.assert_array_equal(found[..., 1], found[..., 2])
    assert np.abs((found[..., 1] == 0).mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / ROWS)
    apart = [(found[:, slot, 1] == found[:, slot + 1, 1]).mean() for slot in range(14)]
    assert np.abs(np.array(apart) - 0.58).max() < 5 * np.sqrt(0.25 / ROWS)


DROPPING = {"item_dropout": 0.3, "sequence_dropout": 0.5}


@pytest.mark.parametrize(
    "changes", some([{}, {"loss": {"name": "bce", "negatives": 2}, "overlap": 7, "history": "windows"}])
)
def test_many_devices_are_one(changes):
    softmax = {"loss": {"name": "softmax"}, **DROPPING} | changes
    one, two = (states(made(n, **softmax), [4])[0][0] for n in (1, 2))
    assert_close(two, one)
