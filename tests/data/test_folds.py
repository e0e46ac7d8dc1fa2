"""Laws of rolling folds: nothing of a test is known before it begins, and all questions agree with the log."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, strategies as st
from made_logs import COLUMNS, made_rows

import jaxrec
from jaxrec.data import folds, interactions
from jaxrec.data.folds import DAY
from jaxrec.data.interactions import Sessions, fingerprint, from_sequences
from jaxrec.data.splits import training_items
from jaxrec.system.errors import UserError

DAYS = 40
row = st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, DAYS * 24 - 1))  # user, item, hour
#: with rows at the beginning and the end that fix the length of the log
logs = st.lists(row, max_size=60).map(lambda rows: [*rows, (0, 0, 0), (0, 1, 0), (1, 0, DAYS * 24 - 1)])


def log_of(rows):
    """Interactions of (user, item, hour) rows, sorted by user and then by time; ties keep their order."""
    rows = sorted(rows, key=lambda each: (each[0], each[2]))
    users = sorted({user for user, _, _ in rows})
    data = from_sequences([[f"i{item}" for own, item, _ in rows if own == user] for user in users], users)
    return replace(data, times=np.array([hour for *_, hour in rows]) * DAY // 24, name="log")


def brute(rows, fold, valid):
    """A fold by plain loops: (data, items that train, {question: (history, target, whether it can be answered)})."""
    data = log_of(rows)
    rows = sorted(rows, key=lambda each: (each[0], each[2]))
    inside = [hour for *_, hour in rows if fold.window.since <= hour * DAY // 24 < fold.window.until]
    cut = sorted(inside)[int((1 - valid) * len(inside))] if valid and inside else np.inf
    trains = [f"i{item}" for _, item, hour in rows if hour in inside and hour < cut]
    found = {}
    for at, (user, item, hour) in enumerate(rows):
        before = [f"i{each}" for own, each, _ in rows[:at] if own == user]
        if hour * DAY // 24 >= fold.test.since and before:
            known = [each for each in before if each in trains]
            found[at] = known, f"i{item}", f"i{item}" in trains and bool(known)
    return data, trains, found


@given(logs, st.lists(row, max_size=20), st.integers(0, 3), st.sampled_from([None, 8]))
def test_nothing_from_a_fold_on_changes_what_its_model_trains_and_chooses_on(rows, others, number, train):
    """The future may be anything: other items, other users, or nothing but an event that ends the log."""
    fold = folds.plan(log_of(rows), train, 7, 4)[number]
    past = [each for each in rows if each[2] * DAY // 24 < fold.test.since]
    future = [each for each in [*others, (9, 9, DAYS * 24 - 1)] if each[2] * DAY // 24 >= fold.test.since]
    one, other = (folds.window_of(log_of(each), fold.window) for each in (rows, [*past, *future]))
    assert len(one.items) == sum(fold.window.since <= hour * DAY // 24 for *_, hour in past)
    assert fingerprint(one) == fingerprint(other)
    if len(one.items):
        assert one.times.max() < fold.test.since
        one, other = (folds.latest(each, 0.2) for each in (one, other))
        assert fingerprint(one.interactions) == fingerprint(other.interactions)
        assert one.valid.target.tolist() == other.valid.target.tolist() and not len(one.test.target)


@given(logs, st.integers(0, 3), st.sampled_from([None, 8]), st.sampled_from([0.0, 0.3]))
def test_questions_are_what_the_log_says(rows, number, train, valid):
    plan = folds.plan(log_of(rows), train, 7, 4)
    data, trains, wanted = brute(rows, plan[number], valid)
    asked = folds.asked(data, plan)
    later = asked.fold >= number
    asked = folds.Asked(*(each[later] for each in asked))
    assert asked.at.tolist() == sorted(wanted)
    split, can = folds.question(data, plan[number].window, valid, asked)
    ids = split.interactions.catalogue.ids
    assert ids.tolist() == sorted(set(trains))
    assert sorted(ids[training_items(split) - 1].tolist()) == sorted(trains)
    assert can.tolist() == [each for *_, each in wanted.values()]
    answerable = [(history, target) for history, target, each in wanted.values() if each]
    test, items = split.test, split.interactions.items
    histories = [ids[items[a:b] - 1].tolist() for a, b in zip(test.start, test.stop, strict=True)]
    assert list(zip(histories, ids[test.target - 1].tolist(), strict=True)) == answerable
    users = split.interactions.users[test.source].tolist()
    assert users == data.users[asked.user[can]].tolist()


@given(logs, st.integers(0, 3), st.sampled_from([0.0, 0.3]))
def test_what_is_asked_has_the_numbers_of_what_trained(rows, number, valid):
    data = log_of(rows)
    fold = folds.plan(data, None, 7, 4)[number]
    past = folds.latest(folds.window_of(data, fold.window), valid)
    split, _ = folds.question(data, fold.window, valid, folds.asked(data, [fold]))
    known = len(past.start)
    assert split.interactions.catalogue.ids.tolist() == past.interactions.catalogue.ids.tolist()
    assert split.interactions.users[:known].tolist() == past.interactions.users.tolist()
    assert training_items(split).tolist() == training_items(past).tolist()
    assert (split.stop - split.start)[:known].tolist() == (past.stop - past.start).tolist()
    assert not (split.stop - split.start)[known:].any()
    at = np.concatenate([np.arange(a, b) for a, b in zip(past.valid.start, past.valid.stop, strict=True)] or [[]])
    assert len(at) == (past.valid.stop - past.valid.start).sum() and (past.valid.stop > past.valid.start).all()
    assert past.valid.target.tolist() == past.interactions.items[past.valid.stop].tolist()


def test_a_window_is_what_prepare_writes_of_it():
    log = jaxrec.prepare(made_rows(), **COLUMNS).interactions
    fold = folds.plan(log, 0.2, 0.05, 3)[1]
    dates = [folds.date(each).replace(" ", "T") for each in fold.window]
    same = jaxrec.prepare(made_rows(), **COLUMNS, since=dates[0], until=dates[1])
    assert fingerprint(folds.window_of(log, fold.window)) == same.fingerprint


def test_the_last_of_each_user_and_what_is_new():
    hours = [(0, 0, 1), (0, 1, 30 * 24), (0, 2, 30 * 24 + 1), (0, 0, 38 * 24), (1, 3, 39 * 24), (1, 0, 40 * 24 - 1)]
    data = log_of(hours)
    plan = folds.plan(data, None, 7, 2)
    every, last = (folds.asked(data, plan, each) for each in ("all", "last"))
    assert every.at.tolist() == [1, 2, 3, 5] and every.fold.tolist() == [0, 0, 1, 1]
    assert last.at.tolist() == [2, 3, 5] and last.user.tolist() == [0, 0, 1]
    told = folds.facts(data, plan, every)
    assert [(each["events"], each["questions"], each["users"]) for each in told] == [(2, 2, 1), (3, 2, 2)]
    assert [(each["new_users"], each["new_items"]) for each in told] == [(0, 2), (1, 1)]


def test_weights_and_sessions_go_with_their_events():
    data = log_of([(0, 0, 0), (0, 9, 1), (0, 1, 2), (1, 0, 0), (1, 1, 900), (2, 1, 950), (2, 0, 959)])
    sessions = Sessions(np.array([0, 2, 3, 5, 7]), np.array([5, 6, 7, 8]))
    data = replace(data, weights=np.arange(7, dtype=np.float32), sessions=sessions)
    fold = folds.Fold(folds.Period(0, 3 * DAY // 24), folds.Period(900 * DAY // 24, 960 * DAY // 24))
    data = replace(
        data, items=np.array([1, 3, 2, 1, 2, 2, 1], np.int32), catalogue=interactions.Catalogue(np.arange(3))
    )
    split, _ = folds.question(data, fold.window, 0.25, folds.asked(data, [fold]))
    kept = split.interactions
    assert kept.catalogue.ids.tolist() == [0, 2] and kept.weights.tolist() == [0, 1, 3, 6]
    assert kept.sessions.offsets.tolist() == [0, 2, 3, 4] and kept.sessions.ids.tolist() == [5, 7, 8]
    assert (kept.times[1:3] == np.array([1, 0]) * DAY // 24).all()


@pytest.mark.parametrize("times", [None, np.arange(4) * DAY])
def test_without_dates_there_is_no_backtest(times):
    data = replace(from_sequences([[1, 2], [2, 3]]), times=times, relative=True, name="log.csv")
    with pytest.raises(UserError, match=r"log\.csv has .*jaxrec prepare --time COLUMN"):
        folds.plan(data, 1, 1, 1)


@example(3875, 0.0223958, 0.000625, 36)  # tests of 53.8 s are rounded to 54 s
@given(st.integers(1, 10**9), st.one_of(st.none(), st.floats(0.01, 1e4)), st.floats(0.01, 1e3), st.integers(1, 400))
def test_a_log_that_is_too_short_says_what_fits(seconds, train, test, number):
    data = replace(from_sequences([[1, 2]]), times=np.array([0, seconds * 10**6]), name="log")
    given = {"folds": number, "test-days": test, "train-days": train}
    try:
        plan = folds.plan(data, train, test, number)
    except UserError as error:
        said = str(error)
        assert f"spans {(seconds + 1) / 86400:.3g} days" in said
        cures = re.search(": ([^:]*) would fit$", said)[1].split(", or ")
        for cure in cures if seconds > 3600 else []:
            changed = given | {key: float(value) for key, value in re.findall(r"--([a-z-]+) (\S+)", cure)}
            folds.plan(data, changed["train-days"], changed["test-days"], int(changed["folds"]))
    else:
        assert len(plan) == number and plan[0].window.since >= 0 and plan[-1].test.until > seconds * 10**6
        assert all(one.test.until == other.test.since for one, other in pairwise(plan))


def test_a_table_of_dates_is_read_as_such():
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": ["2024-01-01", "2024-02-01"]})
    fold = folds.plan(jaxrec.prepare(frame).interactions, 14, 7, 1)[0]
    assert [folds.date(each) for each in fold.test] == ["2024-01-25 00:00:01", "2024-02-01 00:00:01"]


def test_who_has_no_item_that_trained_is_asked_nothing():
    """Of the second user's two items only the target trained, and not the one before it."""
    data = log_of([(0, 0, 0), (0, 1, 0), (2, 7, 35 * 24), (2, 0, 36 * 24), (0, 1, DAYS * 24 - 1)])
    fold = folds.plan(data, None, 7, 1)[0]
    asked = folds.asked(data, [fold])
    split, can = folds.question(data, fold.window, 0.0, asked)
    assert data.users[asked.user].tolist() == [0, 2] and can.tolist() == [True, False]
    assert (split.test.stop > split.test.start).all()


def test_a_log_as_long_as_its_folds_is_long_enough():
    log = lambda seconds: replace(from_sequences([[1, 2]]), times=np.array([0, seconds * 10**6]), name="log")
    plan = folds.plan(log(20 * 86_400 - 1), 13, 3.5, 2)  # the last second is included
    assert plan[0].window == (0, 13 * DAY) and plan[-1].test.until == 20 * DAY
    with pytest.raises(UserError, match="would fit"):
        folds.plan(log(20 * 86_400 - 2), 13, 3.5, 2)


@given(st.integers(-5, 5), st.integers(1, 5))
def test_a_period_holds_its_beginning_and_not_its_end(since, length):
    times = np.arange(-9, 15)
    assert times[folds.Period(since, since + length).holds(times)].tolist() == [*range(since, since + length)]
