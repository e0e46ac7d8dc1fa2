"""Batched is alone: whatever comes together, every question has its own answer."""

import asyncio

import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.inference.queries import Query
from jaxrec.serve.batching import Batcher, Full, answer
from jaxrec.system.errors import UserError

from .conftest import ITEMS

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
