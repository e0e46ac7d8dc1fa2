"""What a query says about a history's events has the same effect as in a log."""

import datetime

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.batches import context
from jaxrec.data.interactions import Sessions
from jaxrec.inference.events import _times, context_of, microseconds, type_numbers
from jaxrec.system.errors import UserError

KINDS = ("gap", "weight", "month")


@given(st.lists(st.integers(0, 3_000_000_000), min_size=1, max_size=6).map(sorted))
def test_times_are_read_however_they_are_written(seconds):
    events = context.Events(np.array([0, len(seconds)]), np.array(seconds) * context.SECOND)
    wanted = context.numbers(events, ("gap", "month"))
    dates = [datetime.datetime.fromtimestamp(each, datetime.UTC) for each in seconds]
    far = datetime.timezone(datetime.timedelta(hours=5))
    for times in (
        seconds,
        [float(each) for each in seconds],
        dates,
        [date.isoformat() for date in dates],
        [date.astimezone(far) for date in dates],
        [np.datetime64(each, "s") for each in seconds],
    ):
        np.testing.assert_array_equal(context_of(("gap", "month"), len(seconds), times), wanted)


def test_what_is_not_given_is_unknown():
    found = context_of(KINDS, 2, weights=[1, 5])
    assert (found[:, [0, 2]] == 0).all()
    assert (found[:, 1] > 0).all()
    assert context_of((), 2, times=[1, 2]) is None
    assert (context_of(KINDS, 2) == 0).all()


def test_some_events_may_be_known_and_others_not():
    found = context_of(KINDS, 5, times=[None, 5, 7, None, 9], weights=[1, None, 2, None, 1])
    gap, weight, month = (found > 0).T.tolist()
    assert gap == [False, False, True, False, False]
    assert weight == [True, False, True, False, True]
    assert month == [False, True, True, False, True]
    whole = context_of(KINDS, 2, times=[5, 7], weights=[1, 2])
    assert found[2].tolist() == whole[1].tolist()


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 2), st.integers(0, 4)), max_size=6), st.integers(0, 1))
def test_events_of_items_that_are_not_known_are_none(events, masks):
    """As in training on a filtered log: gap, topic and session refer to the previous known event."""
    kinds = ("gap", "session", "switch", "weight", "type", "moment", "asked_gap")
    times, sessions, items = (list(column) for column in zip(*sorted(events), strict=True)) if events else ([], [], [])
    topics, items = np.array([[0], [1], [2], [1], [2]]), np.array(items, np.int32)
    places = np.flatnonzero(items)

    def shown(at, places):
        of = lambda column: [column[place] for place in at]
        told = {"types": items[at] % 3, "items": items[at], "topics": topics, "sessions": of(sessions)}
        return context_of(kinds, len(at), of(times), of(times), now=9_500, places=places, masks=masks, **told)

    np.testing.assert_array_equal(shown(np.arange(len(items)), places), shown(places, None))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_a_session_begins_where_a_log_would_say_so(sessions):
    starts = np.flatnonzero(np.diff(sessions, prepend=-1))
    events = context.Events(np.array([0, len(sessions)]), sessions=Sessions(np.append(starts, len(sessions)), starts))
    wanted = context.numbers(events, ("session",))
    for ids in (sessions, np.array(sessions), [f"s{each}" for each in sessions]):
        np.testing.assert_array_equal(context_of(("session",), len(sessions), sessions=ids), wanted)


def test_where_a_session_is_not_known_nobody_says_whether_one_begins():
    found = context_of(("session", "gap"), 5, sessions=["a", None, "a", "a", "b"], places=[0, 1, 2, 3, 4])
    assert found[:, 0].tolist() == [2, 0, 0, 1, 2]
    assert context_of(("gap",), 2, sessions=["a", "b"]).tolist() == [[0], [0]]


ASKED = ("gap", "asked_gap", "asked_weekday")


def test_a_history_is_asked_when_it_is_said():
    """The request's time counts at the newest event that the model knows, or at a mask after it; if unset, nowhere."""
    times = [1_700_000_000, 1_700_000_060, 1_700_086_400]
    events = context.Events(np.array([0, 3]), np.array(times) * context.SECOND)
    own, weekday = context.numbers(events, ASKED), 3  # a Wednesday
    np.testing.assert_array_equal(context_of(ASKED, 3, times), own)
    for now in (times[2], datetime.datetime.fromtimestamp(times[2], datetime.UTC), "2023-11-15T22:13:20Z"):
        np.testing.assert_array_equal(context_of(ASKED, 2, times[:2], now=now), own[:2])
        assert context_of(ASKED, 1, now=now).tolist() == [[0, 0, weekday]]
    known = context_of(ASKED, 3, times, now=times[2], places=[0])
    assert known.tolist() == [[0, context.numbers(events, ["gap"])[2, 0], weekday]]
    masks = context_of(ASKED, 2, times[:2], now=times[2], masks=1)
    assert masks.tolist() == [*context.numbers(events, ASKED, masks=True)[:2].tolist(), [0, *own[1, 1:].tolist()]]
    assert context_of(ASKED, 2, times[:2])[-1].tolist() == [*own[1, :1].tolist(), 0, 0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"times": [1]}, "times: 1 for 2 items"),
        ({"times": [5, 3]}, "the one at 1 is before the one at 0"),
        ({"times": ["soon", 3]}, "write it as 2026-"),
        ({"times": [-(10**12), 3]}, "is no time"),
        ({"times": [True, 3]}, "is no time"),
        ({"times": [1_700_000_000_000, 1_700_000_060_000]}, "milliseconds / 1000"),
        ({"now": 1_700_000_000_000}, "milliseconds / 1000"),
        ({"times": [1e300, 3]}, "is no time"),
        ({"now": "tomorrow"}, "now: 'tomorrow' is no date"),
        ({"now": -1e12}, "now: -1000000000000.0 is no time"),
        ({"times": [5, None], "now": 4}, "now: 4 is before the newest of times"),
        ({"weights": [1, 2, 3]}, "weights: 3 for 2 items"),
        ({"weights": [1, "much"]}, "no finite number"),
        ({"weights": [1, float("inf")]}, "no finite number"),
        ({"weights": [1, 10**400]}, "no finite number"),
        ({"sessions": [1]}, "sessions: 1 for 2 items"),
        ({"sessions": [1, 2.5]}, "2.5 is no id of a session"),
        ({"sessions": [True, None]}, "True is no id of a session"),
    ],
)
def test_mistakes_are_named(given, said):
    with pytest.raises(UserError, match=said):
        context_of(KINDS, 2, **given)


@pytest.mark.parametrize(
    ("types", "numbers", "unknown"),
    [
        (None, None, []),
        (["cart", None, " view "], [1, 0, 2], []),
        (["gift", "view", "gift"], [0, 2, 0], ["gift"]),
        ([3, np.int64(3), "x"], [0, 0, 0], ["3", "x"]),
    ],
)
def test_types_are_those_of_the_training(types, numbers, unknown):
    found, strange = type_numbers(types, ["cart", "view"], 3)
    assert (None if found is None else found.tolist(), strange) == (numbers, unknown)


@pytest.mark.parametrize(
    ("types", "said"),
    [
        (["cart"], "types: 1 for 3 items"),
        ("cart", "this is one text"),
        (["cart", 1.5, None], "1.5 is no type"),
        ([True, None, None], "True is no type"),
    ],
)
def test_what_is_no_type_is_named(types, said):
    with pytest.raises(UserError, match=said):
        type_numbers(types, ["cart", "view"], 3)


@given(
    st.one_of(
        st.lists(st.integers(0, 2**33), min_size=1, max_size=4),
        st.lists(st.floats(0, 2**33, allow_nan=False), min_size=1, max_size=4),
    ).map(sorted)
)
def test_times_of_one_type_are_read_as_one_by_one(times):
    assert _times(times, len(times), "").tolist() == [microseconds(time) for time in times]


@given(st.lists(st.integers(0, 2**51), min_size=1, max_size=4).map(sorted))
def test_microseconds_of_a_log_come_back_from_the_seconds_that_a_service_gives(log):
    seconds = [time / context.SECOND for time in log]
    assert _times(seconds, len(log), "").tolist() == [microseconds(each) for each in seconds] == log


MISSING = [None, float("nan"), np.float64("nan"), np.datetime64("NaT")]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_what_is_missing_is_unknown_however_it_is_written(missing):
    kinds = ["gap", "weight", "type", "session"]
    told = lambda missing: {
        "times": [5, missing, 9.0],
        "weights": [missing, 2, missing],
        "types": type_numbers([missing, "view", missing], ["view"], 3)[0],
        "sessions": ["a", missing, "b"],
    }
    np.testing.assert_array_equal(context_of(kinds, 3, **told(missing)), context_of(kinds, 3, **told(None)))


def test_missing_times_of_a_column_are_unknown():
    pd = pytest.importorskip("pandas")
    for column in (
        pd.Series(pd.to_datetime(["2026-01-01", None], utc=True)),
        pd.Series([1.0, None]),
        pd.Series([1, None], dtype="Int64"),
        np.array(["2026-01-01", "NaT"], "datetime64[s]"),
    ):
        assert _times(column, 2, "").tolist()[1] == context.UNKNOWN


@pytest.mark.parametrize("times", [[-(10**12), 2], [1, 1_700_000_000_000], [1, 2**62], [0, 2**64], [1.0, float("inf")]])
def test_what_is_no_time_is_none_among_others_of_its_type(times):
    with pytest.raises(UserError, match="is no time"):
        _times(times, 2, "")


@given(st.lists(st.integers(-(10**10), 10**11), min_size=1, max_size=5).map(sorted))
def test_moments_before_and_after_1970_are_the_same_in_every_form(times):
    dates = [datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=time) for time in times]
    wanted = [time * context.SECOND for time in times]
    for given_as in (times, list(map(float, times)), dates, [date.isoformat() for date in dates]):
        assert _times(given_as, len(times), "").tolist() == wanted
