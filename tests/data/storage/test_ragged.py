"""Lists of different lengths in flat arrays."""

import numpy as np
from hypothesis import given, strategies as st

from jaxrec.data.storage.ragged import distinct, slices, stable_order


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))))
def test_slices_are_the_ranges(ranges):
    start = np.array([first for first, _ in ranges], np.int64)
    stop = start + np.array([length for _, length in ranges], np.int64)
    assert slices(start, stop).tolist() == [i for a, b in zip(start, stop, strict=True) for i in range(a, b)]


@given(st.lists(st.integers(-5, 5)))
def test_distinct_is_the_sorted_set(keys):
    assert distinct(np.array(keys, np.int64)).tolist() == sorted(set(keys))


@given(st.lists(st.integers(0, 2**40)) | st.lists(st.integers(0, 3)))
def test_the_order_of_one_sort_is_the_stable_one(values):
    values = np.array([*values, 1])
    np.testing.assert_array_equal(stable_order(values), np.argsort(values, kind="stable"))
