"""Laws of session_parallel. The flat items are 1, 2, 3, ..., so an item's number is its place in the sessions."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.batches.session_parallel import gather, oldest_first, rows_of, schedule
from jaxrec.batches.stream import Data, next_item_subsequences
from jaxrec.data import interactions

lengths_of = st.lists(st.integers(1, 7), min_size=1, max_size=30)
gather_on_device = jax.jit(gather, static_argnames=("with_targets", "step_rows"))


def read(lengths, lanes, rows, on_device=False):
    """Returns all lanes as Streams of [steps, rows], the first items of sessions, and the steps."""
    lengths = np.asarray(lengths)
    start = np.cumsum(lengths + 1) - lengths - 1
    made = schedule(lengths, lanes, rows)
    items = np.arange(1, (lengths + 1).sum() + 1, dtype=np.int32)
    data = Data(items, start.astype(np.int32), np.arange(len(lengths), dtype=np.int32), made)
    flat = np.arange(len(made.slot_to_segment), dtype=np.int32)
    stream = gather(data, None, flat, step_rows=rows)
    if on_device:
        jax.tree.map(np.testing.assert_array_equal, stream, gather_on_device(data, None, flat, step_rows=rows))
    return jax.tree.map(lambda values: values.reshape(-1, rows), stream), start + 1


def official(lengths, lanes):
    """The authors' loop, in their own terms, but continued to the last event: {lane: [(step, session, place)]}."""
    running, done, following, step = {}, {lane: [] for lane in range(lanes)}, 0, 0
    for lane in range(min(lanes, len(lengths))):
        running[lane], following = (following, 0), following + 1
    while running:
        for lane, (session, place) in list(running.items()):
            done[lane].append((step, session, place))
            running[lane] = session, place + 1
        for lane in sorted(running):
            session, place = running[lane]
            if place == lengths[session]:
                del running[lane]
                if following < len(lengths):
                    running[lane], following = (following, 0), following + 1
        step += 1
    return done


@given(lengths_of, st.integers(1, 8), st.integers(0, 3))
def test_the_schedule_is_the_authors(lengths, lanes, more):
    stream, first = read(lengths, lanes, lanes + more)
    wanted = official(lengths, lanes)
    for lane in range(lanes + more):
        steps = np.flatnonzero(stream.items[:, lane])
        got = [(s, stream.user_index[s, lane], stream.positions[s, lane]) for s in steps]
        assert got == wanted.get(lane, [])
        for s, session, place in got:
            assert stream.items[s, lane] == first[session] + place
            assert stream.targets[s, lane] == first[session] + place + 1


@given(lengths_of, st.integers(1, 8))
def test_every_event_is_a_target_once_and_closed_lanes_have_none(lengths, lanes):
    stream, first = read(lengths, lanes, lanes + 2)
    wanted = np.concatenate([f + 1 + np.arange(length) for f, length in zip(first, lengths, strict=True)])
    assert np.sort(stream.targets[stream.targets > 0]).tolist() == wanted.tolist()
    closed = stream.items == 0
    assert closed[:, lanes:].all() and (stream.segments[~closed] == 1).all()
    assert not any(values[closed].any() for values in jax.tree.leaves(stream))
    assert (~closed).any(axis=1).all()  # no step is empty
    assert len(stream.items) >= np.ceil(sum(lengths) / lanes)


def test_lanes_that_end_together_are_refilled_in_their_order():
    stream, _ = read([2, 1, 2, 5, 1, 1], 3, 3, on_device=True)
    assert stream.user_index.tolist()[:4] == [[0, 1, 2], [0, 3, 2], [4, 3, 5], [0, 3, 0]]
    assert stream.positions.tolist()[:4] == [[0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 2, 0]]


def test_the_oldest_session_is_first():
    data = interactions.from_sequences([[1, 2], [3, 4, 5], [6, 7]])
    subsequences = next_item_subsequences(data.offsets[:-1], data.offsets[1:], 10)
    assert oldest_first(subsequences, data).user_index.tolist() == [0, 1, 2]
    windows = oldest_first(next_item_subsequences(data.offsets[:-1], data.offsets[1:], 1, history="windows"), data)
    assert windows.start.tolist() == [0, 2, 3, 5]
    timed = replace(data, times=np.array([50, 60, 10, 20, 90, 50, 70]))
    assert oldest_first(subsequences, timed).user_index.tolist() == [1, 0, 2]
    assert oldest_first(subsequences, timed).length.tolist() == [2, 1, 1]
    assert oldest_first(subsequences, replace(timed, relative=True)).user_index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("lanes", "rows"), [(32, 32), (50, 56), (3, 8)])
def test_rows_are_a_multiple_of_eight(lanes, rows):
    assert rows_of(lanes) == rows
