"""Laws of data.storage.maps and blocks: working in parts gives the same as working on the whole."""

from dataclasses import replace
from unittest import mock

import numpy as np
from hypothesis import given, strategies as st

from jaxrec.data import blocks, counted, splits
from jaxrec.data.interactions import Sessions, from_sequences
from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import spans

numbers = st.lists(st.one_of(st.integers(-5, 5), st.integers(-(2**62), 2**62)), min_size=1, max_size=60)


@given(numbers, st.data())
def test_the_nth_is_that_of_the_sorted(values, data):
    place = data.draw(st.integers(0, len(values) - 1))
    with mock.patch.object(maps, "ROWS", 4):
        assert maps.nth(np.array(values), place) == sorted(values)[place]


def resident(array):
    """KiB of the pages of a mapped array that are in this process's memory."""
    at, found = array.__array_interface__["data"][0], None
    with open("/proc/self/smaps") as file:
        for line in file:
            head = line.split()[0]
            if "-" in head and not head.endswith(":"):
                begin, end = (int(each, 16) for each in head.split("-"))
                found = begin <= at < end
            elif found and line.startswith("Rss:"):
                return int(line.split()[1])
    raise AssertionError("not mapped")


def test_pages_leave_memory_after_their_turn(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(1 << 20))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert array.sum() == (1 << 19) * ((1 << 20) - 1)
    assert resident(array) == 1 << 13 or resident(array) > 8000
    maps.release(array[5:])
    assert resident(array) == 0
    assert sum(int(part.sum()) for part in maps.pieces(array, 1000)) == (1 << 19) * ((1 << 20) - 1)
    assert resident(array) < 200
    assert maps.take(array, np.arange(0, 1 << 20, 1000)).tolist() == [*range(0, 1 << 20, 1000)]
    assert resident(array) < 200


def test_what_was_written_to_a_private_map_stays(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10))
    array = np.load(tmp_path / "a.npy", mmap_mode="c")
    array[3] = 77
    maps.release(array, array[2:], np.arange(3))
    assert array[3] == 77
    shared = np.load(tmp_path / "a.npy", mmap_mode="r+")
    shared[3] = 78
    maps.release(shared)
    assert shared[3] == 78


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 7))
def test_blocks_hold_whole_users_in_order(lengths, rows):
    found = spans(np.append(0, np.cumsum(lengths)), rows)
    assert [user for first, last in found for user in range(first, last)] == [*range(len(lengths))]
    for first, last in found:
        assert last > first
        assert sum(lengths[first:last]) <= rows or last - first == 1
        assert last == len(lengths) or sum(lengths[first : last + 1]) > rows, "as many as there is room for"


@st.composite
def logs(draw):
    """A log with times, perhaps with sessions, perhaps with a number of training sessions."""
    histories = [[1, 2], *draw(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=8))]
    data = from_sequences(histories)
    parts = [np.sort(draw(st.lists(st.integers(0, 30), min_size=len(each), max_size=len(each)))) for each in histories]
    data = replace(data, times=np.concatenate(parts).astype(np.int64))
    if draw(st.booleans()):
        inside = draw(st.lists(st.integers(0, len(data.items)), max_size=4))
        borders = np.union1d(data.offsets, np.array(inside, np.int64))
        data = replace(data, sessions=Sessions(borders, np.arange(len(borders) - 1)))
    elif draw(st.booleans()):
        data = replace(data, train_sessions=draw(st.integers(1, len(histories))))
    return data


@given(logs(), st.integers(1, 9))
def test_splits_by_parts_are_those_at_once(data, rows):
    for name in ("last-item", "sessions", "by-time"):
        whole = splits.split(data, name)
        with mock.patch.object(maps, "ROWS", rows):
            assert counted.described(data, name) == splits.describe(whole)
            parted = splits.split(data, name)
            assert splits.training_counts(parted).tolist() == splits.training_counts(whole).tolist()
        for one, other in zip(
            whole[1:3] + whole.valid + whole.test, parted[1:3] + parted.valid + parted.test, strict=True
        ):
            assert (one.tolist(), one.dtype) == (other.tolist(), other.dtype)


@given(logs(), st.integers(1, 9))
def test_blocks_are_the_log(data, rows):
    found = list(blocks.of(data, rows))
    assert [len(each.data.items) for each in found] == [each.rows.stop - each.rows.start for each in found]
    join = lambda arrays: [each for array in arrays for each in array.tolist()]
    assert join(each.data.items for each in found) == data.items.tolist()
    assert join(np.diff(each.data.offsets) for each in found) == np.diff(data.offsets).tolist()
    if data.sessions is not None:
        assert join(each.data.sessions.ids for each in found) == data.sessions.ids.tolist()
        assert (
            join(each.data.sessions.offsets[:-1] + each.rows.start for each in found)
            == data.sessions.offsets[:-1].tolist()
        )
