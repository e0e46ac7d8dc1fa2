"""The segments of slots are the same whether all rows are computed at once or some on demand."""

import numpy as np
from hypothesis import given, strategies as st

from jaxrec.batches import slots
from jaxrec.batches.stream import Data, gather, packing_layout, plan


@given(st.lists(st.integers(1, 9), max_size=25), st.integers(0, 9), st.integers(1, 5), st.data())
def test_rows_are_those_of_the_whole(lengths, room, multiple, data):
    asked = np.array(lengths, np.int64), 9, multiple, room
    (made, order_of), (lazy, again) = packing_layout(*asked), packing_layout(*asked, host=True)
    assert order_of.tolist() == again.tolist() and lazy.rows == made.rows == len(made.slot_to_segment)
    rows = np.array(data.draw(st.lists(st.integers(0, made.rows - 1), max_size=7)), np.int64)
    found = lazy.slot_to_segment[rows]
    np.testing.assert_array_equal(found, made.slot_to_segment[rows])
    assert found.dtype == made.slot_to_segment.dtype == np.int32
    if not lengths:
        return
    start, user = np.cumsum(lengths) - lengths, np.arange(len(lengths), dtype=np.int32)
    of = lambda layout: Data(np.arange(1, sum(lengths) + 2, dtype=np.int32), start, user, layout)
    order = plan(np.array(lengths), order_of, made.rows, 0, 0)
    for ours, theirs in zip(gather(of(lazy), order, rows), gather(of(made), order, rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=25), st.integers(1, 9))
def test_the_whole_is_each_segment_where_it_begins(lengths, at_once):
    segments, (layout, order_of) = [], packing_layout(lengths, 4, host=True)
    before, slots.SLOTS = slots.SLOTS, at_once
    try:
        whole = layout.slot_to_segment.whole()
    finally:
        slots.SLOTS = before
    for row in whole.tolist():
        used = [segment for segment in row if segment >= 0]
        assert row == used + [-1] * (4 - len(used))
        segments += used
    assert segments == np.repeat(np.arange(len(lengths)), np.array(lengths)[order_of]).tolist()
