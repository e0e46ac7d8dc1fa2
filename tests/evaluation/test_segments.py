"""Segments of questions, by properties of the target and of the user."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jaxrec.data import splits
from jaxrec.data.interactions import Sessions, from_sequences
from jaxrec.evaluation import segments


def test_targets_that_switch_topic_or_begin_a_session_are_segments():
    log = from_sequences([[1, 2, 3, 4], [3, 1, 2], [1, 2, 3], [1, 3, 4], [1, 3, 1]])
    about = pl.DataFrame({"genres": ["War", "War", "Drama", None]})
    sessions = Sessions(np.array([0, 4, 6, 7, 10, 12, 13, 16]), np.arange(7))
    split = splits.last_item(replace(log, catalogue=log.catalogue._replace(about=about), sessions=sessions))
    asked = segments.frame(split, split.test, np.array([9, 1, 5, 20, 2]))
    assert asked["switches_topic"].to_list() == [None, False, True, None, True]
    assert asked["begins_session"].to_list() == [False, True, False, True, False]
    found = {(each["by"].partition(":")[0], each["low"]): each for each in segments.segments(asked)}
    told = lambda by: [(found[by, at]["users"], found[by, at]["metrics"]["mrr"]) for at in (0, 1)]
    assert told("whether the target switches topic") == [(1, 1), (2, pytest.approx((1 / 5 + 1 / 2) / 2))]
    assert told("whether the target begins a session") == [
        (3, pytest.approx((1 / 9 + 1 / 5 + 1 / 2) / 3)),
        (2, pytest.approx((1 + 1 / 20) / 2)),
    ]


def test_activity_is_events_a_day_over_a_day_or_more():
    day = 86_400 * 10**6
    log = from_sequences([[1, 2, 3], [1, 2, 3, 1, 2]])
    times = np.array([0, day // 24, 9 * day, 0, day, 2 * day, 4 * day, 9 * day])
    split = splits.last_item(replace(log, times=times))
    assert segments.frame(split, split.test, np.array([1, 1]))["activity"].to_list() == [2, 1]
