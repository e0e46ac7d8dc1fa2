"""Laws of stream.

The flat items of the drawn data sets are 1, 2, 3, ..., so an item's number is its place in the histories.
"""

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy.stats import chisquare
from streams import arranged, bounds, read

from jaxrec.batches import stream
from jaxrec.batches.stream import (
    UNIT,
    Data,
    Order,
    Stream,
    emptied,
    gather,
    history_subsequences,
    next_item_subsequences,
    pack,
    packing_layout,
    padded,
    plan,
    rows_per_step,
    whole_subsequences,
)
from jaxrec.data import sources, splits

seeds = st.integers(0, 2**32 - 1)
gather_on_device = jax.jit(gather, static_argnums=3)
bounded = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=12)


# --- subsequences


@given(bounded, st.integers(1, 8))
def test_newest_pieces_ask_for_all_but_the_first_of_the_newest_items(drawn, length):
    start, stop = bounds(drawn)
    subsequences = next_item_subsequences(start, stop, length)
    sizes = stop - start
    assert subsequences.user_index.tolist() == np.flatnonzero(sizes >= 2).tolist()
    np.testing.assert_array_equal(subsequences.length, np.minimum(sizes - 1, length)[sizes >= 2])
    np.testing.assert_array_equal(subsequences.start + subsequences.length, stop[subsequences.user_index] - 1)


@given(bounded, st.integers(1, 8))
def test_oldest_pieces_begin_with_the_first_item(drawn, length):
    start, stop = bounds(drawn)
    sizes, users = stop - start, np.flatnonzero(stop - start >= 2)
    nexts = next_item_subsequences(start, stop, length, history="oldest")
    np.testing.assert_array_equal(nexts.length, np.minimum(sizes - 1, length)[users])
    whole = whole_subsequences(start, stop, length, history="oldest")
    np.testing.assert_array_equal(whole.length, np.minimum(sizes, length)[users])
    for subsequences in (nexts, whole):
        assert subsequences.user_index.tolist() == users.tolist()
        np.testing.assert_array_equal(subsequences.start, start[users])


@given(bounded, st.integers(1, 8))
def test_windows_ask_for_every_item_but_the_first_exactly_once(drawn, length):
    start, stop = bounds(drawn)
    subsequences = next_item_subsequences(start, stop, length, history="windows")
    assert subsequences.length.max(initial=0) <= length
    asked = [
        (user, index)
        for user, begin, size in zip(subsequences.user_index, subsequences.start, subsequences.length, strict=True)
        for index in range(begin + 1, begin + size + 1)
    ]
    wanted = [(user, index) for user in range(len(start)) for index in range(start[user] + 1, stop[user])]
    assert sorted(asked) == wanted


@given(bounded, st.integers(1, 8))
def test_windows_overlap_by_one_and_only_the_oldest_is_short(drawn, length):
    start, stop = bounds(drawn)
    subsequences = next_item_subsequences(start, stop, length, history="windows")
    for user in range(len(start)):
        mine = np.flatnonzero(subsequences.user_index == user)
        mine = mine[np.argsort(subsequences.start[mine])]
        first = subsequences.start[mine]
        last = first + subsequences.length[mine]  # the last item is only a target
        np.testing.assert_array_equal(first[1:], last[:-1])
        assert (subsequences.length[mine][1:] == length).all()


@given(bounded, st.integers(1, 8).flatmap(lambda length: st.tuples(st.just(length), st.integers(0, length - 1))))
def test_windows_ask_for_every_item_once_after_as_many_as_the_overlap_or_all_there_are(drawn, sizes):
    (start, stop), (length, overlap) = bounds(drawn), sizes
    subsequences = next_item_subsequences(start, stop, length, history="windows", overlap=overlap)
    assert subsequences.length.min(initial=1) >= 1 and subsequences.length.max(initial=0) <= length
    asked = []
    for user, begin, size in zip(subsequences.user_index, subsequences.start, subsequences.length, strict=True):
        for index in range(max(begin, begin + size - (length - overlap)), begin + size):
            assert index - begin >= min(index - start[user], overlap)
            asked.append((user, index + 1))
    assert sorted(asked) == [
        (user, index) for user in range(len(start)) for index in range(start[user] + 1, stop[user])
    ]


@given(bounded, st.integers(1, 8))
def test_histories_are_shown_to_their_last_item(drawn, length):
    start, stop = bounds(drawn)
    subsequences = history_subsequences(start, stop, length)
    np.testing.assert_array_equal(subsequences.length, np.minimum(stop - start, length))
    np.testing.assert_array_equal(subsequences.start + subsequences.length, stop)
    assert subsequences.user_index.tolist() == list(range(len(start)))


# --- packing


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(0, 9), seeds)
def test_with_room_each_subsequence_lies_whole_and_no_row_has_more_than_there_is_room_for(lengths, room, seed):
    layout, order_of = packing_layout(lengths, 9, 1, room)
    assert sorted(order_of) == list(range(len(lengths)))
    for segment, subsequence in enumerate(order_of):
        row, slots = np.nonzero(layout.slot_to_segment == segment)
        assert len(set(row)) == 1 and slots.tolist() == list(layout.begin[segment] + np.arange(lengths[subsequence]))
    most = max(len(set(row[row >= 0])) for row in layout.slot_to_segment)
    assert most <= 9 // max(room, 1) and layout.first.tolist() == [min(r[r >= 0]) for r in layout.slot_to_segment]


def best_fit(lengths, width):
    """Returns the number of rows of best-fit decreasing, one subsequence at a time."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=rooms.__getitem__)] -= length
        else:
            rooms.append(width - length)
    return len(rooms)


@st.composite
def packings(draw):
    width = draw(st.integers(1, 40))
    few = draw(st.lists(st.integers(1, width), min_size=1, max_size=8))  # so that lengths repeat
    return draw(st.lists(st.sampled_from(few), max_size=40)), width


@settings(max_examples=200)
@given(packings())
@example(([7, 7, 3, 3, 2, 2, 2], 13))
def test_every_piece_is_placed_and_no_row_overfull(packing):
    lengths, width = packing
    row_of, rows = pack(lengths, width)
    assert row_of.shape == (len(lengths),)
    loads = np.bincount(row_of, lengths, minlength=rows)
    assert len(loads) == rows  # no empty row at the end
    assert ((loads > 0) & (loads <= width)).all()


@settings(max_examples=200)
@given(packings())
@example(([7, 7, 3, 3, 2, 2, 2], 13))
def test_rows_are_those_of_best_fit_decreasing(packing):
    assert pack(*packing)[1] == best_fit(*packing)


@pytest.mark.parametrize("length", [0, 6])
def test_a_piece_that_fits_no_row_is_an_error(length):
    with pytest.raises(ValueError, match=f"a subsequence of {length} slots does not fit a row of 5"):
        pack([3, length], 5)


def test_nothing_packs_into_one_empty_batch():
    layout, order_of = packing_layout(np.zeros(0, int), 5, 8)
    assert layout.slot_to_segment.tolist() == [[-1] * 5] * 8
    assert len(order_of) == 0


def test_ml_1m_is_packed_to_the_brim(real_data):
    split = splits.last_item(sources.load(str(real_data("ml-1m"))))
    subsequences = next_item_subsequences(split.start, split.stop, 200)
    _, rows = pack(subsequences.length, 200)
    assert rows == 3250
    assert subsequences.length.sum() / (rows * 200) == pytest.approx(0.996, abs=5e-4)


# --- an epoch


@st.composite
def epochs(draw):
    width = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(1, width), min_size=1, max_size=25))
    return lengths, width, draw(seeds), draw(st.integers(0, 1000)), draw(st.sampled_from([1, 3, 8]))


@given(epochs())
def test_an_epoch_shows_every_piece_once_whole_and_in_order(drawn):
    lengths, width, seed, epoch, multiple = drawn
    user_index = np.random.default_rng(seed).integers(1, 2**31, len(lengths), dtype=np.int32)
    data, order = arranged(lengths, width, seed, epoch, multiple, user_index)
    shown = gather(data, order, np.arange(len(order.rows)))
    assert all(
        values.dtype == np.int32 and values.shape == (len(order.rows), width) for values in jax.tree.leaves(shown)
    )
    wanted = [
        (int(user), list(range(begin + 1, begin + size + 1)), list(range(begin + 2, begin + size + 2)))
        for user, begin, size in zip(user_index, data.start, lengths, strict=True)
    ]
    assert sorted(each for row in zip(*jax.tree.leaves(shown), strict=True) for each in read(Stream(*row))) == sorted(
        wanted
    )


@given(epochs())
def test_histories_ask_for_nothing(drawn):
    lengths, width, seed, epoch, _ = drawn
    data, order = arranged(lengths, width, seed, epoch)
    rows = np.arange(len(order.rows))
    asked, shown = gather(data, order, rows), gather(data, order, rows, with_targets=False)
    assert not shown.targets.any()
    jax.tree.map(np.testing.assert_array_equal, shown._replace(targets=asked.targets), asked)


@given(epochs())
def test_rows_are_as_many_every_epoch_and_whole_batches(drawn):
    lengths, width, seed, epoch, multiple = drawn
    layout, order_of = packing_layout(lengths, width, multiple)
    used = pack(lengths, width)[1]
    assert len(layout.slot_to_segment) % multiple == 0
    assert used <= len(layout.slot_to_segment) < used + multiple
    order = plan(np.array(lengths), order_of, len(layout.slot_to_segment), seed, epoch)
    assert sorted(order.rows.tolist()) == list(range(len(layout.slot_to_segment)))


@given(epochs())
def test_pieces_are_permuted_within_their_length_class(drawn):
    lengths, width, seed, epoch, _ = drawn
    lengths = np.array(lengths)
    layout, order_of = packing_layout(lengths, width)
    order = plan(lengths, order_of, len(layout.slot_to_segment), seed, epoch)
    assert sorted(order.segment_assignment.tolist()) == list(range(len(lengths)))
    np.testing.assert_array_equal(lengths[order.segment_assignment], lengths[order_of])


@given(st.tuples(seeds, seeds), st.tuples(seeds, seeds))
@example((0, 1), (1, 0))
@example((5, 0), (5, 1))
def test_the_plan_is_a_function_of_seed_and_epoch(one, other):
    lengths = np.repeat([2, 3, 5], 30)
    layout, order_of = packing_layout(lengths, 10)
    first, again, second = (plan(lengths, order_of, len(layout.slot_to_segment), *pair) for pair in (one, one, other))
    for values, same, others in zip(first, again, second, strict=True):
        np.testing.assert_array_equal(values, same)
        assert np.array_equal(values, others) == (one == other)


def test_every_piece_comes_to_every_place_of_its_class_and_every_row_at_every_time():
    lengths = np.array([4, 2, 4, 2, 4, 2, 4, 4])
    layout, order_of = packing_layout(lengths, 4)
    plans = [plan(lengths, order_of, len(layout.slot_to_segment), 3, epoch) for epoch in range(2000)]
    segment_assignment, rows = (np.stack(values) for values in zip(*plans, strict=True))
    for size in (2, 4):
        at = segment_assignment[:, lengths[order_of] == size]
        counts = [np.bincount(column, minlength=8)[lengths == size] for column in at.T]
        assert chisquare(counts, axis=1).pvalue.min() > 1e-4
    assert chisquare([np.bincount(column) for column in rows.T], axis=1).pvalue.min() > 1e-4


@settings(max_examples=10)
@given(seeds, st.lists(st.integers(0, 7), min_size=3, max_size=3), st.booleans())
def test_numpy_and_jax_gather_the_same(seed, rows, with_targets):
    data, order = arranged([7, 6, 5, 5, 4, 3, 3, 2, 1, 1], 9, seed, 1, multiple=8)
    rows = np.array(rows)
    on_host = gather(data, order, rows, with_targets)
    on_device = gather_on_device(jax.device_put(data), jax.device_put(order), rows, with_targets)
    for got, wanted in zip(*map(jax.tree.leaves, (on_device, on_host)), strict=True):
        assert isinstance(got, jax.Array)
        assert type(wanted) is np.ndarray
        assert got.dtype == wanted.dtype == np.int32
        np.testing.assert_array_equal(got, wanted)


def test_a_memory_map_is_gathered_as_it_is(tmp_path):
    data, order = arranged([4, 3, 2], 5, 0, 0)
    data.items.tofile(tmp_path / "items.bin")
    mapped = data._replace(items=np.memmap(tmp_path / "items.bin", np.int32, "r"))
    jax.tree.map(np.testing.assert_array_equal, gather(mapped, order, np.arange(2)), gather(data, order, np.arange(2)))


def test_places_are_numbered_row_by_row_longest_first():
    layout, order_of = packing_layout([1, 3, 2, 2], 4)
    np.testing.assert_array_equal(layout.slot_to_segment, [[0, 0, 0, 1], [2, 2, 3, 3]])
    assert (layout.first.tolist(), layout.begin.tolist()) == ([0, 2], [0, 3, 0, 2])
    assert order_of.tolist() == [1, 0, 2, 3]
    kept = Order(np.array([1, 0, 3, 2]), np.array([1, 0]))  # row 1 first, and its subsequences swapped
    data = Data(np.arange(10, 30), np.array([0, 2, 6, 9]), np.array([7, 8, 9, 6]), layout)
    assert gather(data, kept, np.array([0])).items.tolist() == [[19, 20, 16, 17]]


# --- batches


@given(st.integers(1, 3000), st.integers(1, 5000), st.floats(0.01, 1))
def test_rows_a_step_hold_the_batch_to_the_nearest_multiple(batch, subsequences, share):
    rows = max(round(share * subsequences), 1)
    got = rows_per_step(batch, subsequences, rows)
    assert got % UNIT == 0
    whole = -(-rows // UNIT) * UNIT
    wanted = min(max(batch * rows / subsequences, UNIT), whole)
    assert UNIT <= got <= whole
    assert abs(got - wanted) <= UNIT / 2


@given(st.integers(1, 20).map(lambda number: number * UNIT), st.integers(1, 300))
def test_devices_have_equal_shares_with_fewer_empty_rows_than_devices(rows, devices):
    assert padded(rows, devices) % devices == 0
    assert rows <= padded(rows, devices) < rows + devices
    assert padded(rows, devices) == rows if 8 % devices == 0 else True


def test_an_emptied_row_is_as_one_that_was_always_empty():
    layout, order_of = packing_layout([1, 3, 2], 4, multiple=3)
    data = Data(np.arange(10, 30), np.array([0, 2, 6]), np.array([7, 8, 9]), layout, np.ones((20, 2)), np.ones(20))
    order = Order(np.arange(3)[order_of], np.arange(3))
    kept = emptied(gather(data, order, np.array([0, 0])), np.array([True, False]))
    for found, wanted in zip(kept, gather(data, order, np.array([0, 2])), strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found is None or found.dtype == wanted.dtype


@pytest.mark.parametrize("with_targets", [True, False])
def test_a_target_has_the_weight_of_its_own_event(with_targets):
    items = np.arange(1, 10, dtype=np.int32)
    found = stream.next_item_subsequences([0, 5], [5, 9], 4)
    layout, order_of = stream.packing_layout(found.length, 4)
    data = stream.Data(items, found.start, found.user_index, layout, weights=items / np.float32(2))
    order = stream.plan(found.length, order_of, layout.rows, 0, 0)
    batch = stream.gather(data, order, np.arange(layout.rows), with_targets)
    np.testing.assert_array_equal(2 * batch.weights, batch.targets if with_targets else batch.items)
