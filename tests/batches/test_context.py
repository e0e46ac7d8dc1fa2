"""Laws of context: an event's context depends on earlier events only, and is the same in training and at inference."""

import datetime
import zoneinfo

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.batches import context
from jaxrec.data.interactions import Sessions, from_sequences
from jaxrec.system.errors import UserError

DAY = 86_400 * context.SECOND
TIMED = ["gap", "hour", "weekday", "month"]
ASKED = [f"asked_{kind}" for kind in TIMED]


@st.composite
def logs(draw):
    """Events of histories with times and weights."""
    lengths = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    gaps = draw(st.lists(st.integers(0, 400 * DAY), min_size=sum(lengths), max_size=sum(lengths)))
    times = np.concatenate([np.cumsum(part) for part in np.split(np.array(gaps, np.int64), offsets[1:-1])])
    weights = draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=sum(lengths), max_size=sum(lengths)))
    return context.Events(offsets, times.astype(np.int64), weights=np.array(weights, np.float32))


@given(events=logs())
def test_numbers_are_within_their_kinds(events):
    kinds = [*TIMED, "weight"]
    found = context.numbers(events, kinds)
    assert found.shape == (events.offsets[-1], len(kinds))
    for column, kind in enumerate(kinds):
        assert (found[:, column] <= context.KINDS[kind].size).all()
        assert (found[:, column] > 0).all() or kind == "gap"


@given(events=logs(), data=st.data())
def test_what_comes_later_changes_nothing(events, data):
    """A log with a history cut short has the same numbers up to there, as has a history at inference."""
    kinds, whole = [*TIMED, "weight"], context.numbers(events, [*TIMED, "weight"])
    user = data.draw(st.integers(0, len(events.offsets) - 2))
    start, stop = events.offsets[user], events.offsets[user + 1]
    end = data.draw(st.integers(start, stop))
    alone = context.Events(np.array([0, end - start]), events.times[start:end], weights=events.weights[start:end])
    np.testing.assert_array_equal(context.numbers(alone, kinds), whole[start:end])


@given(events=logs())
def test_the_time_of_asking_is_that_of_what_is_asked_for(events):
    """At the slot of the event before, and nothing at a history's newest event; with masks, at the event's own slot."""
    own, ahead = context.numbers(events, TIMED), context.numbers(events, ASKED)
    for start, stop in zip(events.offsets[:-1], events.offsets[1:], strict=True):
        np.testing.assert_array_equal(ahead[start : max(stop - 1, start)], own[start + 1 : stop])
        assert (ahead[stop - 1 : stop] == 0).all()
    np.testing.assert_array_equal(context.numbers(events, ASKED, masks=True), own)


@given(events=logs())
def test_a_question_has_the_numbers_that_its_answer_would_have(events):
    lengths = np.diff(events.offsets)
    stop = events.offsets[1:][lengths > 1]
    found = context.asked_at(["weight", *ASKED], events.times[stop - 2], events.times[stop - 1])
    assert (found[:, 0] == 0).all()
    np.testing.assert_array_equal(found[:, 1:], context.numbers(events, ASKED)[stop - 2])
    unknown = np.full(len(stop), context.UNKNOWN)
    assert (context.asked_at(ASKED, events.times[stop - 1], unknown) == 0).all()
    undated = context.asked_at(ASKED, unknown, events.times[stop - 1])
    assert (undated[:, 0] == 0).all() and (undated[:, 1:] > 0).all()


@given(seconds=st.integers(0, 2_000_000_000), zone=st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/Lima"]))
def test_dates_are_those_of_a_zone(seconds, zone):
    moment = datetime.datetime.fromtimestamp(seconds, zoneinfo.ZoneInfo(zone))
    events = context.Events(np.array([0, 1]), np.array([seconds * context.SECOND]), zone=zone)
    wanted = [[moment.hour + 1, moment.weekday() + 1, moment.month]]
    assert context.numbers(events, ["hour", "weekday", "month"]).tolist() == wanted


@given(events=logs(), shift=st.integers(0, 10**9))
def test_moments_tell_what_is_between_the_events_of_a_history(events, shift):
    found = context.numbers(events, [context.MOMENT])[:, 0]
    seconds = events.times // context.SECOND
    for start, stop in zip(events.offsets[:-1], events.offsets[1:], strict=True):
        np.testing.assert_array_equal(found[start:stop] - 1, seconds[start:stop] - seconds[start:stop][:1])
    later = events._replace(times=events.times + shift * context.SECOND)
    np.testing.assert_array_equal(context.numbers(later, [context.MOMENT])[:, 0], found)


def test_moments_count_from_the_first_that_is_known_and_end_somewhere():
    times = np.array([context.UNKNOWN, 3, 5, 10**12]) * 1
    times[1:] *= context.SECOND
    events = context.Events(np.array([0, 0, 4]), times)
    assert context.numbers(events, [context.MOMENT])[:, 0].tolist() == [0, 1, 3, context.LONGEST]


@given(seconds=st.integers(0, 4_000_000_000))
def test_dates_are_those_of_the_calendar(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    events = context.Events(np.array([0, 1]), np.array([seconds * context.SECOND]))
    wanted = [[moment.hour + 1, moment.weekday() + 1, moment.month]]
    assert context.numbers(events, ["hour", "weekday", "month"]).tolist() == wanted


@given(weights=st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=8))
def test_weights_keep_their_sign_and_order(weights):
    numbers = context.numbers(context.Events(np.array([0, len(weights)]), weights=np.array(weights)), ["weight"])[:, 0]
    middle = 2 + context.PARTS * (context.OCTAVES[1] - context.OCTAVES[0])
    for weight, number in zip(weights, numbers.tolist(), strict=True):
        assert (number == 1) == (weight == 0)
        assert (number > middle) == (weight < 0)
    of = dict(zip(weights, numbers.tolist(), strict=True))
    positive = [of[weight] for weight in sorted(weight for weight in weights if weight > 0)]
    assert positive == sorted(positive)


def test_ratings_are_told_apart():
    events = context.Events(np.array([0, 10]), weights=np.arange(1, 11) / 2)
    assert len(set(context.numbers(events, ["weight"])[:, 0].tolist())) == 10


def test_sessions_begin_where_the_log_says():
    events = context.Events(np.array([0, 5, 6]), sessions=Sessions(np.array([0, 3, 5, 6]), np.arange(3)))
    assert context.numbers(events, ["session"])[:, 0].tolist() == [2, 1, 1, 2, 1, 2]


def test_types_are_numbered_as_the_training_has_them():
    events = context.Events(np.array([0, 3]), types=np.array([2, 0, 1], np.uint8))
    assert context.numbers(events, ["type"])[:, 0].tolist() == [2, 0, 1]


def test_a_switch_is_where_an_item_shares_no_topic_with_the_one_before():
    topics = np.array([[0, 0], [1, 2], [2, 0], [3, 0], [0, 0]])
    events = context.Events(np.array([0, 4, 6]), items=np.array([1, 2, 3, 4, 3, 1]), topics=topics)
    assert context.known(events) == ("switch",)
    assert context.numbers(events, ["switch"])[:, 0].tolist() == [0, 1, 2, 0, 0, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [("gap,now", "'now' is none of gap, hour"), ("gap, gap", "names gap twice"), (",", "'' is none of")],
)
def test_what_is_no_kind_is_said(text, said):
    with pytest.raises(UserError, match=said):
        context.named(text)


@pytest.mark.parametrize("kind", list(context.KINDS))
def test_a_log_that_lacks_what_a_kind_needs_is_told_what_it_has(kind):
    log = from_sequences([[1, 2, 3]])
    with pytest.raises(UserError, match=f"asks for {kind}.*leave config.context empty"):
        context.numbers(context.of_log(log), [kind], log.name)


def test_weights_beyond_the_octaves_are_the_last_of_their_sign():
    low, high = context.OCTAVES
    weights = np.array([2.0 ** (low - 9), 2.0**low, 2.0**high, 2.0 ** (high + 9), 1e30])
    numbers = context.numbers(context.Events(np.array([0, 10]), weights=np.append(weights, -weights)), ["weight"])
    up, down = numbers[:5, 0].tolist(), numbers[5:, 0].tolist()
    middle = 2 + context.PARTS * (high - low)
    assert up == [2, 2, middle, middle, middle]
    assert down == [middle + 1, middle + 1, *[context.KINDS["weight"].size] * 3]
