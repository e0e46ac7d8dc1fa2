"""What a request, the store and a log say of events and users, and which of them takes precedence."""

from dataclasses import replace

import numpy as np
import polars as pl
import recommenders

from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import Types, UserColumns, from_sequences
from jaxrec.serve.known import Known
from jaxrec.serve.limits import Limits
from jaxrec.serve.store import Events


def test_a_model_is_shown_what_is_known_of_events(ask, tmp_path):
    """Times and weights from a request, the store and a log reach `recommend` unchanged."""
    shown = recommenders.recommender("sasrec", context="gap,weight,asked_gap,asked_hour")
    log = from_sequences([["i1", "i2"]], ["ann"])
    log = replace(log, times=np.array([100, 160]) * 10**6, weights=np.array([1, 5], np.float32))
    log = replace(log, times=log.times + 1_700_000_000 * 10**6)
    seconds = (log.times // 10**6).tolist()

    async def work(client, _service):
        async def answer(**body):
            items = (await client.post("/recommend", json=body | {"k": 4})).json()["items"]
            return [item["id"] for item in items]

        wanted = lambda *args, **known: [item for item, _ in shown.recommend(*args, k=4, **known)]
        given = {"times": seconds, "weights": [1, 5]}
        assert await answer(history=["i1", "i2"], **given) == wanted(["i1", "i2"], **given)
        assert await answer(user="ann") == wanted(["i1", "i2"], **given)
        await client.post("/events", json={"user": "ann", "item": "i3", "time": seconds[1] + 7})
        since = {"times": [*seconds, seconds[1] + 7], "weights": [1, 5, None]}
        assert await answer(user="ann") == wanted(["i1", "i2", "i3"], **since)
        body = {"history": ["i1", "i2"], "items": ["i5"], **given}
        moved = (await client.post("/influence", json=body)).json()["influence"]
        np.testing.assert_allclose(moved, shown.influence(["i1", "i2"], ["i5"], **given), rtol=1e-5)
        now = {"now": seconds[1] + 3600}
        assert await answer(history=["i1", "i2"], **given, **now) == wanted(["i1", "i2"], **given, **now)
        assert await answer(user="ann", now=1.0) == wanted(["i1", "i2", "i3"], **since, now=seconds[1] + 7)
        several = {"histories": [["i1", "i2"], ["i4"]], "k": 4} | now
        results = (await client.post("/recommend", json=several)).json()["results"]
        ranked = shown.recommend_batch(several["histories"], k=4, **now)
        assert [[item["id"] for item in each["items"]] for each in results] == [[i for i, _ in r] for r in ranked]
        untold, moved = moved, (await client.post("/influence", json=body | now)).json()["influence"]
        assert not np.allclose(moved, untold, rtol=1e-3)
        np.testing.assert_allclose(moved, shown.influence(["i1", "i2"], ["i5"], **given, **now), rtol=1e-5)
        for wrong, said in (
            ({"now": 5, **given}, "now is before the newest of times"),
            ({"times": [1.0]}, "1 times for 2 events: give one each, or null"),
            ({"times": [2, 1]}, "times decrease: give the events oldest first"),
            ({"weights": [1, "x"]}, "valid number"),
        ):
            refused = await client.post("/recommend", json={"history": ["i1", "i2"], **wrong})
            assert refused.status_code == 422 and said in refused.text

    ask(work, recommender=shown, events=Events(tmp_path / "e.db", 10), known=Known(log), limits=Limits(deadline=60))


def test_a_model_is_shown_what_was_done(ask, tmp_path):
    """From a request's types or events, from the store, and from a log."""
    shown = recommenders.recommender("sasrec", context="type,gap,weight", types=("cart", "view"))
    log = from_sequences([["i1", "i2"]], ["ann"])
    log = replace(log, types=Types(np.array([2, 1], np.uint8), ("buy", "view")))

    async def work(client, _service):
        async def answer(**body):
            found = (await client.post("/recommend", json=body | {"k": 20})).json()
            return [item["id"] for item in found["items"]], found["unknown"]

        def wanted(*args, **known):
            found = shown.recommend(*args, k=20, **known)
            return [item for item, _ in found], found.unknown

        given = {"times": [5, 9], "weights": [1, None], "types": ["view", "gift"]}
        of = wanted(["i1", "i2"], **given)
        assert of[1] == ["gift"] and of[0] != wanted(["i1", "i2"])[0]
        assert await answer(history=["i1", "i2"], **given) == of
        events = [{"item": "i1", "time": 5, "weight": 1, "type": "view"}, {"item": "i2", "time": 9, "type": "gift"}]
        assert await answer(events=events) == of
        assert await answer(events=[{"item": "i1"}, {"item": "i2"}]) == await answer(history=["i1", "i2"])
        assert await answer(user="ann") == wanted(["i1", "i2"], types=["view", "buy"])
        posted = {"user": "ann", "item": "i3", "time": 7, "type": "cart", "weight": 4}
        assert (await client.post("/events", json=posted)).json() == {"stored": 1}
        since = {"types": ["view", "buy", "cart"], "times": [None, None, 7], "weights": [None, None, 4]}
        assert await answer(user="ann") == wanted(["i1", "i2", "i3"], **since)
        body = {"history": ["i1", "i2"], "items": ["i5"], **given}
        moved = (await client.post("/influence", json=body)).json()["influence"]
        np.testing.assert_allclose(moved, shown.influence(["i1", "i2"], ["i5"], **given), rtol=1e-5)
        for wrong, said in (
            ({"events": events, "history": ["i1"]}, "this has history and events"),
            ({"events": events, "times": [1, 2]}, "times belong to history: give each in its event"),
            ({"events": events[::-1]}, "times decrease: give the events oldest first"),
            ({"events": [{"time": 3}]}, "Field required"),
            ({"events": [{"item": 1, "what": 3}]}, "no such field"),
            ({"history": ["i1"], "types": ["view", "cart"]}, "2 types for 1 events: give one each, or null"),
            ({"history": ["i1"], "types": [3]}, "should be a valid string"),
        ):
            refused = await client.post("/recommend", json=wrong)
            assert refused.status_code == 422 and said in refused.text, refused.text

    ask(work, recommender=shown, events=Events(tmp_path / "e.db", 10), known=Known(log), limits=Limits(deadline=60))


def test_a_model_is_shown_where_sessions_begin(ask, tmp_path):
    shown = recommenders.recommender("sasrec", context="session")

    async def work(client, _service):
        async def answer(**body):
            found = await client.post("/recommend", json=body | {"k": 20})
            return [(item["id"], item["score"]) for item in found.json()["items"]]

        wanted = lambda sessions: list(shown.recommend(["i1", "i2", "i3"], 20, sessions=sessions))
        ids = ["a", "a", 7]
        assert len({str(wanted(each)) for each in (ids, ["a", "b", "b"], ["a", None, 7], None)}) == 4
        events = [{"item": f"i{v}", "session": id} for v, id in enumerate(ids, 1)]
        assert await answer(events=events) == await answer(history=["i1", "i2", "i3"], sessions=ids) == wanted(ids)
        for time, event in enumerate(events):
            await client.post("/events", json=event | {"user": "ann", "time": time})
        assert await answer(user="ann") == wanted(ids)
        body = {"history": ["i1", "i2"], "items": ["i5"], "sessions": [1, 2]}
        moved = (await client.post("/influence", json=body)).json()["influence"]
        np.testing.assert_allclose(moved, shown.influence(["i1", "i2"], ["i5"], sessions=[1, 2]), rtol=1e-5)
        for wrong, said in (({"sessions": [1]}, "1 sessions for 2 events"), ({"sessions": [1, True]}, "sessions.1")):
            refused = await client.post("/recommend", json={"history": ["i1", "i2"]} | wrong)
            assert refused.status_code == 422 and said in refused.text, refused.text

    ask(work, recommender=shown, events=Events(tmp_path / "e.db", 10), limits=Limits(deadline=60))


def test_a_model_is_shown_what_is_known_of_users(ask, tmp_path):
    """From a request, from events, or from a log, in this order, for each column."""
    columns = (Column("gender", values=("F", "M")), Column("age", ends=(20.0, 40.0)))
    shown = recommenders.recommender("sasrec", columns=columns)
    about = pl.DataFrame({"gender": ["M"], "age": [33], "zip": ["x"]})
    log = replace(from_sequences([["i1", "i2"]], ["ann"]), user_columns=UserColumns(about))

    async def work(client, _service):
        async def answer(**body):
            found = (await client.post("/recommend", json=body | {"k": 20})).json()
            return [item["id"] for item in found["items"]], found["unknown"]

        def wanted(history=("i1", "i2"), **known):
            found = shown.recommend(list(history), k=20, user_columns=known)
            return [item for item, _ in found], found.unknown

        assert await answer(history=["i1", "i2"], user_columns={"gender": "F"}) == wanted(gender="F") != wanted()
        assert await answer(history=["i1", "i2"], user_columns={"gender": "X"}) == (wanted()[0], ["X"])
        assert await answer(user="ann") == wanted(gender="M", age=33)
        assert await answer(user="ann", user_columns={"age": 5}) == wanted(gender="M", age=5)
        history = ["i1", "i2"]
        for told, gender in (({"gender": "F"}, "F"), ({"age": None}, "F"), ({"gender": None}, "M")):  # null forgets
            history.append("i2")
            event = {"user": "ann", "item": "i2", "user_columns": told}
            assert (await client.post("/events", json=event)).json() == {"stored": 1}
            assert await answer(user="ann") == wanted(history, gender=gender, age=33)
            assert await answer(user="ann", user_columns={"age": 5}) == wanted(history, gender=gender, age=5)
        body = {"history": ["i1", "i2"], "items": ["i5"], "user_columns": {"gender": "F"}}
        moved = (await client.post("/influence", json=body)).json()["influence"]
        np.testing.assert_allclose(
            moved, shown.influence(["i1", "i2"], ["i5"], user_columns={"gender": "F"}), rtol=1e-5
        )
        for status, wrong in ((404, {"zip": 1}), (422, {"gender": ["F"]})):
            refused = await client.post("/recommend", json={"history": ["i1"], "user_columns": wrong})
            assert refused.status_code == status and refused.json()["errors"][0]["field"].startswith("user_columns")

    ask(work, recommender=shown, known=Known(log), events=Events(tmp_path / "e.db", 10), limits=Limits(deadline=60))
