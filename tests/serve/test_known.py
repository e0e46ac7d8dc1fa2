"""The users of a log are known by their ids, and later events come after those of the log."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import recommenders
from hypothesis import given, strategies as st

from jaxrec.data.interactions import Sessions, from_sequences
from jaxrec.serve.histories import joined
from jaxrec.serve.known import Known
from jaxrec.serve.limits import Limits
from jaxrec.serve.store import Events

SHOWN = recommenders.recommender("sasrec", context="gap,session", time_bias=True)
LOG = from_sequences([[5, 3, 9], [1, 2]], ["ann", 7])


def test_a_history_is_of_the_user_and_of_nobody_else():
    known = Known(LOG)
    assert len(known) == 2
    assert known.newest("ann", 10) == [5, 3, 9] and known.newest("ann", 2) == [3, 9]
    assert known.newest(7, 10) == known.newest("7", 10) == [1, 2]
    assert known.newest("bob", 10) == known.newest("ann", 0) == []


def test_a_user_of_the_log_is_asked_for_by_id(ask, recommender, tmp_path):
    async def work(client, service):
        asked = lambda user: client.post("/recommend", json={"user": user, "k": 3})
        before = (await asked("ann")).json()["items"]
        assert [item["id"] for item in before] == [item for item, _ in recommender.recommend([5, 3, 9], 3)]
        await client.post("/events", json={"user": "ann", "items": [11]})
        after = (await asked("ann")).json()["items"]
        assert [item["id"] for item in after] == [item for item, _ in recommender.recommend([5, 3, 9, 11], 3)]
        unknown = await asked("bob")
        assert unknown.status_code == 404 and "there is no event of 'bob'" in unknown.text

    ask(work, events=Events(tmp_path / "events.db", 10), known=Known(LOG))


@pytest.mark.parametrize(("relative", "since"), [(False, 0), (True, 0), (False, -(10**9) - 0.5)])
def test_a_user_has_the_answer_by_id_that_all_users_have_together(ask, relative, since):
    """This holds for a log with sessions and with times, before 1970 and even from an unknown moment."""
    seconds, starts = [5, 5, 90, 4000, 10**8, 10**8, 10**8 + 1, 2 * 10**8], np.array([0, 1, 4, 6, 8])
    log = from_sequences([["i1", "i2", "i3", "i4"], ["i5", "i6", "i7", "i8"]], ["ann", "bob"])
    log = replace(
        log,
        times=((np.array(seconds) + since) * 10**6).astype(np.int64),
        relative=relative,
        sessions=Sessions(starts, np.arange(4)),
    )

    async def work(client, service):
        asked = [client.post("/recommend", json={"user": user, "k": 9}) for user in ("ann", "bob")]
        return [(item["id"], item["score"]) for each in asked for item in (await each).json()["items"]]

    found, wanted = ask(work, recommender=SHOWN, known=Known(log)), SHOWN.recommend_users("all", 9, log)
    assert [id for id, _ in found] == wanted["item"].to_list()
    np.testing.assert_allclose([score for _, score in found], wanted["score"], atol=1e-5)


@pytest.mark.parametrize(("body", "store"), [({"now": 1_700_000_000}, False), ({}, True)])
def test_times_from_an_unknown_moment_are_not_compared_with_dates(ask, tmp_path, body, store):
    log = replace(from_sequences([["i1", "i2"]], ["ann"]), times=np.array([0, 10**6]), relative=True)
    shown = recommenders.recommender("sasrec", context="gap,asked_gap")

    async def work(client, service):
        if store:
            await client.post("/events", json={"user": "ann", "item": "i3", "time": 1_700_000_000})
        items = (await client.post("/recommend", json={"user": "ann", "k": 5} | body)).json()["items"]
        return [item["id"] for item in items]

    wanted = shown.recommend(["i1", "i2", "i3"][: 2 + store], 5, **body)
    events = Events(tmp_path / "events.db", 10) if store else None
    assert ask(work, recommender=shown, events=events, known=Known(log)) == [item for item, _ in wanted]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_what_is_older_than_the_limit_is_left_out_too(ask, recommender, tmp_path, most):
    """Seen items are those of a log and of stored events, however many; a model sees no more than its length."""
    history, length = [5, 3, 9, 5, 11, 2, 8, *range(20, 40)], recommender.engine.length
    log, store = from_sequences([history[:7]], ["ann"]), Events(tmp_path / "events.db", 30)

    async def work(client, service):
        for item in history[7:]:  # a request may have as many events as a history
            assert (await client.post("/events", json={"user": "ann", "item": item})).status_code == 200
        body = {"user": "ann", "k": 20}
        answers = [await client.post("/recommend", json=body | more) for more in ({}, {"exclude_seen": False})]
        return [[item["id"] for item in answer.json()["items"]] for answer in answers]

    found = ask(work, limits=Limits(history=most, deadline=30), events=store, known=Known(log))
    for ids, exclude in zip(found, (None, False), strict=True):
        assert ids == [item for item, _ in recommender.recommend(history, 20, exclude_seen=exclude)]
    assert length < len(history[7:]) and not set(found[0]) & set(history)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-6, 6)), max_size=12), st.data())
def test_events_that_a_log_and_a_store_both_have_are_there_once(events, data):
    """As after a training on stored events, whichever of them the log has and the store still keeps."""
    events = sorted(((str(item), time / 2) for item, time in events), key=lambda event: event[1])
    where = data.draw(st.lists(st.sampled_from(["log", "store", "both"]), min_size=len(events), max_size=len(events)))
    before = [event for event, place in zip(events, where, strict=True) if place != "store"]
    here = [event for event, place in zip(events, where, strict=True) if place != "log"]
    found = joined(before, here)
    assert [time for _, time in found] == sorted(time for _, time in found)
    second = lambda events: Counter((item, time // 1) for item, time in events)
    assert second(found) == second(before) | second(here)


def test_without_a_store_the_log_alone_is_known(ask, recommender):
    async def work(client, service):
        answer = await client.post("/recommend", json={"user": 7, "k": 3})
        assert [item["id"] for item in answer.json()["items"]] == [item for item, _ in recommender.recommend([1, 2], 3)]
        assert (await client.post("/events", json={"user": 7, "items": [11]})).status_code == 404

    ask(work, known=Known(LOG))
