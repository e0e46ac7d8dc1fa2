"""The users of a log are known by their ids: what happened since comes after what the log holds."""

from jaxrec.data.interactions import from_sequences
from jaxrec.serve.known import Known
from jaxrec.serve.store import Events

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


def test_without_a_store_the_log_alone_is_known(ask, recommender):
    async def work(client, service):
        answer = await client.post("/recommend", json={"user": 7, "k": 3})
        assert [item["id"] for item in answer.json()["items"]] == [item for item, _ in recommender.recommend([1, 2], 3)]
        assert (await client.post("/events", json={"user": 7, "items": [11]})).status_code == 404

    ask(work, known=Known(LOG))
