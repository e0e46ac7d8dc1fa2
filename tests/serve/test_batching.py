"""In a batch or alone: whatever is asked together, every question gets its own answer."""

import asyncio

import pytest
from hypothesis import given, settings, strategies as st

import jaxrec
from jaxrec.inference.queries import Query
from jaxrec.serve.batching import Batcher, Full, answer
from jaxrec.serve.store import Events
from jaxrec.system.errors import UserError

from .conftest import ITEMS, make_workdir

ids = st.integers(1, ITEMS)
queries = st.builds(
    Query,
    st.lists(ids, min_size=1, max_size=12),
    st.integers(1, 5),
    exclude_seen=st.booleans(),
    candidates=st.none() | st.lists(ids, max_size=5),
    block=st.lists(ids, max_size=5),
    where=st.sampled_from([{}, {"genres": "War"}, {"genres": ["War", "Comedy"]}]),
    user=st.none(),
)


@settings(max_examples=10)
@given(st.lists(queries, min_size=1, max_size=8))
def test_batched_is_alone(recommender, asked):
    for together, query in zip(answer(recommender, asked), asked, strict=True):
        (alone,) = recommender.answer([query])
        assert [id for id, _ in together] == [id for id, _ in alone] and together.unknown == alone.unknown
        assert [score for _, score in together] == pytest.approx([score for _, score in alone], abs=1e-5)


def test_a_mistake_is_its_own_alone(recommender):
    wrong = Query([1], where={"colour": "red"})
    first, mistake, last = answer(recommender, [Query([1]), wrong, lambda it: it.step])
    assert len(first) == 10 and isinstance(mistake, UserError) and last == 1


def test_what_waits_is_answered_together_and_at_the_end(recommender):
    sizes = []

    async def work():
        batcher = Batcher(recommender, 20, sizes.append)
        batcher.size = 4
        futures = [future for v in range(1, 11) for future in batcher.submit([Query([v], 3)])]
        with pytest.raises(Full):
            batcher.submit([Query([1])] * 30)
        futures[9].cancel()
        await asyncio.to_thread(batcher.close)
        with pytest.raises(Full):
            batcher.submit([Query([1])])
        return await asyncio.gather(*futures[:9])

    answers = asyncio.run(work())
    for v, ranked in enumerate(answers, 1):
        assert [id for id, _ in ranked] == [id for id, _ in recommender.recommend([v], 3)]
    assert max(sizes) == 4 and sum(sizes) == 9


@pytest.mark.slow
def test_the_states_of_users_are_those_of_their_events(ask, tmp_path):
    rec = jaxrec.load(make_workdir(tmp_path / "run", "gru4rec")[0])
    events, happened = Events(tmp_path / "e.db", 10), {"ann": [], "bob": []}

    async def work(client, service):
        for number in range(1, 13):  # at the end more than the 8 that the model sees
            user = ("ann", "bob")[number % 3 == 0]
            happened[user].append(number)
            await client.post("/events", json={"user": user, "item": number})
            for user in ("ann", "bob") if happened["bob"] else ("ann",):
                answer = await client.post("/recommend", json={"user": user, "k": 5})
                found = [(item["id"], item["score"]) for item in answer.json()["items"]]
                want = rec.recommend(happened[user], 5)
                assert [id for id, _ in found] == [id for id, _ in want]
                assert [score for _, score in found] == pytest.approx([score for _, score in want], abs=1e-6)
        assert service.batcher._states.continued > 8

    ask(work, rec, events=events)


def test_what_waits_is_told_as_it_comes_and_as_it_goes(recommender):
    waiting = []

    async def work():
        batcher = Batcher(recommender, 20, wait=waiting.append)
        await asyncio.gather(*batcher.submit([Query([v], 3) for v in range(1, 4)]))
        await asyncio.to_thread(batcher.close)

    asyncio.run(work())
    assert max(waiting) == 3 and waiting[-1] == 0
