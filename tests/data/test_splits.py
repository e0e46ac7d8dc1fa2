"""Laws of jaxrec.data.splits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import last_item

histories = st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=6)


def parts(split, user):
    """The training items, and the one question of each kind as (history, target), or None where there is none."""
    items = split.interactions.items

    def question(questions):
        (at,) = np.nonzero(questions.source == user)
        assert len(at) <= 1
        return [(items[questions.start[q] : questions.stop[q]].tolist(), int(questions.target[q])) for q in at]

    return items[split.start[user] : split.stop[user]].tolist(), question(split.valid), question(split.test)


@given(histories)
def test_train_then_validation_then_test_is_the_history(lists):
    data = from_sequences(lists)
    split = last_item(data)
    for user in range(len(lists)):
        history = data.items[data.offsets[user] : data.offsets[user + 1]].tolist()
        train, valid, test = parts(split, user)
        if len(history) < 3:
            assert (train, valid, test) == (history, [], [])
        else:
            assert [*train, valid[0][1], test[0][1]] == history
            assert valid[0][0] == train
            assert test[0][0] == [*train, valid[0][1]]


@given(histories)
def test_types_and_shapes(lists):
    split = last_item(from_sequences(lists))
    assert split.start.dtype == split.stop.dtype == np.int64
    assert split.start.shape == split.stop.shape == (len(lists),)
    for questions in (split.valid, split.test):
        assert [array.dtype for array in questions] == [np.int32, np.int64, np.int64, np.int32]
        assert len({array.shape for array in questions}) == 1


def test_a_memory_map_stays_one(tmp_path):
    data = from_sequences([[1, 2, 3, 4], [4, 3, 2]])
    data.items.tofile(tmp_path / "items.bin")
    mapped = data._replace(items=np.memmap(tmp_path / "items.bin", np.int32, "r"))
    split = last_item(mapped)
    assert split.interactions.items is mapped.items
    for got, wanted in zip((*split.valid, *split.test), (*last_item(data).valid, *last_item(data).test), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert type(got) is np.ndarray


def test_the_offsets_are_left_alone():
    data = from_sequences([[1, 2, 3, 4], [4, 3, 2]])
    before = data.offsets.copy()
    split = last_item(data)
    split.start[:] = split.stop[:] = 0
    np.testing.assert_array_equal(data.offsets, before)
