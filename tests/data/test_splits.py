"""Laws of data.splits."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.config import registry
from jaxrec.data import splits
from jaxrec.data.interactions import Sessions, by_session, from_sequences
from jaxrec.data.reading import read
from jaxrec.data.splits import by_time, describe, in_words, last_item, quantile, sessions, split
from jaxrec.data.storage.ragged import slices
from jaxrec.system.errors import UserError

histories = st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=6)


def parts(split, user):
    """(training items, validation, test) of a user, the latter two as [(history, target)], or [] without a question."""
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
    mapped = replace(data, items=np.memmap(tmp_path / "items.bin", np.int32, "r"))
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


# --- by time


@st.composite
def timed(draw, relative=False):
    """Interactions whose times never decrease within a history; they are few, so that some are equal."""
    lists = draw(histories)
    times = [sorted(draw(st.lists(st.integers(0, 20), min_size=len(x), max_size=len(x)))) for x in lists]
    times = np.array([t for some in times for t in some], np.int64)
    weights = np.arange(len(times), dtype=np.float32)
    return replace(from_sequences(lists), times=times, weights=weights, relative=relative, name="toys")


shares = st.floats(0.01, 0.99)


def asked(split, questions):
    """(source, history, target) of every question."""
    items = split.interactions.items
    columns = (column.tolist() for column in questions)
    return [(source, items[start:stop].tolist(), target) for source, start, stop, target in zip(*columns, strict=True)]


def by_hand(data):
    """Every history as a list of (time, item, weight)."""
    rows = list(zip(*(x.tolist() for x in (data.times, data.items, data.weights)), strict=True))
    return [rows[a:b] for a, b in itertools.pairwise(data.offsets.tolist())]


@given(timed(), shares)
def test_by_time_is_what_it_says(data, q):
    split = by_time(data, q)
    lists, times = by_hand(data), sorted(data.times.tolist())
    cut = times[int(q * len(times))] if times else 0
    before = [t for t in times if t < cut]
    cut_valid = before[int(q * len(before))] if before else cut
    valid, test = [], []
    for user, history in enumerate(lists):
        train = split.interactions.items[split.start[user] : split.stop[user]].tolist()
        assert train == ([item for time, item, _ in history if time < cut_valid] if before else [])
        known = [row for row in history if row[0] < cut]
        if len(known) > 1 and known[-1][0] >= cut_valid:
            valid.append((user, [item for _, item, _ in known[:-1]], known[-1][1]))
        if len(history) > 1 and history[-1][0] >= cut:
            test.append((user, [item for _, item, _ in history[:-1]], history[-1][1]))
    assert asked(split, split.valid) == valid and asked(split, split.test) == test


@given(timed(), shares)
def test_by_time_nothing_comes_after_what_is_asked(data, q):
    """Trained events precede all targets, and validated ones test targets; no history is later than its own target."""
    split = by_time(data, q)
    trained = data.times[slices(split.start, split.stop)]
    valid, test = (data.times[questions.stop] for questions in (split.valid, split.test))
    for earlier, later in ((trained, valid), (trained, test), (valid, test)):
        if len(earlier) and len(later):
            assert earlier.max() < later.min()
    for questions in (split.valid, split.test):
        for start, stop in zip(questions.start, questions.stop, strict=True):
            assert (data.times[start:stop] <= data.times[stop]).all()


@given(st.lists(st.integers(0, 9), min_size=1), shares)
def test_no_more_than_the_share_comes_before_the_quantile(times, q):
    cut = quantile(np.array(times), q)
    assert cut in times
    assert sum(t < cut for t in times) <= q * len(times) < sum(t <= cut for t in times)


@pytest.mark.parametrize("of", [by_time, sessions])
@pytest.mark.parametrize(("times", "said"), [(None, "there are no times"), (np.arange(3), "from an unknown moment")])
def test_times_that_are_no_moments_are_told(of, times, said):
    data = replace(from_sequences([[1, 2], [3]]), times=times, relative=True, name="toys")
    with pytest.raises(UserError, match=f"^toys: .*{said}.*split by last-item"):
        of(data)


# --- sessions


@st.composite
def in_sessions(draw):
    """Interactions whose test sessions are given by number or by time; users are the sessions, or have several each."""
    data = draw(timed())
    if draw(st.booleans()) and len(data.items):
        cuts = draw(st.sets(st.integers(0, len(data.items))))
        offsets = np.array(sorted({*cuts, *data.offsets.tolist()}))
        ids = np.arange(len(offsets) - 1) + 100
        data = replace(data, sessions=Sessions(offsets, ids))
    if draw(st.booleans()):
        number = draw(st.integers(0, len(data.users)))  # counts histories, as in by_session
        relative = draw(st.booleans())
        data = replace(data, train_sessions=number, relative=relative)
    return data


valids = st.sampled_from([0.0, 0.1, 0.5, 0.999])


@given(in_sessions(), shares, valids)
def test_sessions_are_what_they_say(data, q, valid):
    split = sessions(data, q, valid)
    flat = by_session(data)
    histories = [(row, user) for row, user in zip(by_hand(flat), flat.users.tolist(), strict=True)]
    if data.train_sessions is not None:
        train, test = (
            [h for h in part if h[0]] for part in (histories[: data.train_sessions], histories[data.train_sessions :])
        )
    else:
        histories = sorted((h for h in histories if h[0]), key=lambda h: h[0][0][0])
        times = sorted(data.times.tolist())
        late = [h[0][-1][0] >= times[int(q * len(times))] for h in histories]
        train, test = ([h for h, is_late in zip(histories, late, strict=True) if is_late == part] for part in (0, 1))
    known = sorted({item for row, _ in train for _, item, _ in row})
    assert split.interactions.catalogue.ids.tolist() == data.catalogue.ids[np.array(known, int) - 1].tolist()
    number = {item: v for v, item in enumerate(known, 1)}
    test = [([event for event in row if event[1] in number], user) for row, user in test]
    whole = train + [h for h in test if len(h[0]) > 1]
    new = split.interactions
    assert new.users.tolist() == [user for _, user in whole]
    assert by_hand(new) == [[(time, number[item], weight) for time, item, weight in row] for row, _ in whole]
    assert (new.train_sessions, new.sessions, new.items.dtype) == (len(train), None, np.int32)

    some = min(max(int(valid * len(train)), 1), len(train) - 1) if valid and train else 0
    lists = [[number[item] for _, item, _ in row] for row, _ in whole]
    for s, items in enumerate(lists):
        trains = new.items[split.start[s] : split.stop[s]].tolist()
        assert trains == (items if s < len(train) - some else [])
    prefixes = [(s, items[:j], items[j]) for s, items in enumerate(lists) for j in range(1, len(items))]
    assert asked(split, split.test) == [each for each in prefixes if each[0] >= len(train)]
    assert asked(split, split.valid) == [each for each in prefixes if len(train) - some <= each[0] < len(train)]


@given(in_sessions(), shares)
def test_by_time_no_training_session_reaches_into_the_test(data, q):
    split = sessions(replace(data, train_sessions=None, relative=False), q, 0.5)
    new = split.interactions
    first = new.offsets[new.train_sessions]
    if 0 < first < len(new.items):
        last = new.times[new.offsets[new.train_sessions + 1 :] - 1]  # the last event of every test session
        assert new.times[:first].max() <= last.min()
    starts = new.times[new.offsets[:-1]]
    for part in np.split(starts, [new.train_sessions]):
        assert (np.diff(part) >= 0).all()


@given(in_sessions(), shares, valids)
def test_what_was_split_is_split_again_as_it_was(data, q, valid):
    split = sessions(data, q, valid)
    again = sessions(split.interactions, q, valid)
    for got, wanted in zip(again[1:3], split[1:3], strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert [asked(again, part) for part in again[3:5]] == [asked(split, part) for part in split[3:5]]


def test_test_events_that_cannot_be_asked_are_counted():
    data = replace(from_sequences([[1, 2], [2, 1], [1, 9, 2], [9, 1], [9, 9, 9]]), train_sessions=2)
    assert sessions(data, valid=0).left_out == 1 + 2 + 3
    assert "6 test events left out" in in_words(sessions(data, valid=0))


def test_training_histories_in_parts_train_with_all_their_parts():
    """train_sessions counts histories, which are the lines of sequences.txt; the sessions are their parts."""
    data = replace(from_sequences([[1, 2, 3, 1], [2, 3], [3, 1]], users=["a", "b", "c"]), train_sessions=2)
    parted = replace(data, sessions=Sessions(np.array([0, 2, 4, 6, 8]), np.arange(4)))
    made = sessions(parted, valid=0)
    assert (made.interactions.train_sessions, len(made.test.target)) == (3, 1)
    assert (made.stop[:3] - made.start[:3]).tolist() == [2, 2, 2]


def test_one_session_trains_and_two_give_one_to_validate():
    data = from_sequences([[1, 2], [2, 1], [1, 2, 1]])
    counts = [len(sessions(replace(data, train_sessions=n), valid=0.1).valid.target) for n in (1, 2)]
    assert counts == [0, 1]


@pytest.mark.parametrize("name", ["rsc15-100k", "diginetica"])
def test_the_events_of_real_sessions_are_those_counted_by_others(real_data, name):
    folder = real_data(name)
    trains = json.loads((folder / "stats.json").read_text())["train_sessions"]
    split = sessions(replace(read(folder), train_sessions=trains), valid=0)
    assert describe(split)["test"] == {"rsc15-100k": 10_152, "diginetica": 60_858}[name]


# --- all


@given(in_sessions())
def test_the_counts_are_those_of_the_lists(data):
    for name in registry.names("split"):
        if name == "by-time" and data.relative:
            continue
        made = split(data, name, 0.7, 0.3)
        trained = [made.interactions.items[a:b].tolist() for a, b in zip(made.start, made.stop, strict=True) if a < b]
        items = {item for some in trained for item in some}
        wanted = {"sequences": len(trained), "interactions": sum(map(len, trained)), "left_out": made.left_out}
        for part in ("valid", "test"):
            questions = asked(made, getattr(made, part))
            wanted |= {part: len(questions), f"cold_{part}": sum(target not in items for _, _, target in questions)}
        assert describe(made) == wanted


@given(in_sessions())
def test_types_are_those_of_the_last_item(data):
    for name in registry.names("split"):
        if name == "by-time" and data.relative:
            continue
        made = split(data, name)
        assert made.start.dtype == made.stop.dtype == np.int64
        assert len(made.start) == len(made.stop) == len(made.interactions.users)
        for questions in (made.valid, made.test):
            assert [array.dtype for array in questions] == [np.int32, np.int64, np.int64, np.int32]


@given(st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=6), min_size=2, max_size=6), st.integers(1, 8))
def test_targets_that_repeat_are_those_that_the_history_holds(lists, at_once):
    data = replace(from_sequences(lists), train_sessions=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "ITEMS_AT_ONCE", at_once)
        for made in (last_item(data), sessions(data, valid=0)):
            wanted, test = 0, made.test
            for start, stop, target in zip(test.start, test.stop, test.target, strict=True):
                wanted += int(target) in made.interactions.items[start:stop]
            assert splits.repeated_targets(made.interactions, test) == wanted


@pytest.mark.parametrize(
    ("repeats", "words", "advised"),
    [
        (0, "none of the 200 targets repeats", False),
        (1, "1 of 200 targets repeats", False),
        (2, "2 of 200 targets repeat an", False),
        (3, "3 of 200 targets repeat an", True),
        (200, "all 200 targets repeat", True),
    ],
)
def test_the_key_seen_is_advised_where_over_one_percent_of_last_items_repeat(repeats, words, advised):
    data = from_sequences([[1, 2, 1] if user < repeats else [1, 2, 3] for user in range(200)])
    assert splits.repeats_in_words(splits.repeated_targets(data, last_item(data).test), 200).startswith(words)
    said = splits.advice(data)
    assert bool(said) == advised and (not said or (words in said and "--config.seen=keep" in said))
