"""Under load and at its limits the service says so, and recovers."""

import asyncio
import threading

import pytest

from jaxrec.inference.queries import Query
from jaxrec.serve import limits
from jaxrec.serve.limits import Limits


class Slow:
    """A recommender that waits for `gate` before it answers."""

    def __init__(self, recommender):
        self.gate, self.begun, self._recommender = threading.Event(), threading.Event(), recommender

    def answer(self, queries):
        self.begun.set()
        self.gate.wait(10)
        return self._recommender.answer(queries)

    def __getattr__(self, name):
        return getattr(self._recommender, name)


def test_a_full_queue_answers_503_and_recovers(ask, recommender):
    slow = Slow(recommender)

    async def work(client, service):
        service.batcher.size = 1
        request = lambda: client.post("/recommend", json={"history": [1]})
        first = [asyncio.create_task(request())]
        await asyncio.to_thread(slow.begun.wait, 10)
        first += [asyncio.create_task(request()) for _ in range(4)]
        while service.batcher.waiting < 4:
            await asyncio.sleep(0.001)
        refused = await asyncio.gather(*(request() for _ in range(20)))
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(503, "1")}
        assert (await client.get("/readyz")).status_code == 503 and (await client.get("/healthz")).status_code == 200
        slow.gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*first)} == {200}
        assert (await request()).status_code == 200

    ask(work, recommender=slow, limits=Limits(queue=4, histories=4))


def test_a_deadline_is_kept(ask, recommender):
    recommender.answer([Query([1], Limits().k)])  # compiled before the clock runs
    slow = Slow(recommender)

    async def work(client, service):
        late = await asyncio.gather(*(client.post("/recommend", json={"history": [1]}) for _ in range(3)))
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in late} == {(503, "1")}
        slow.gate.set()
        assert (await client.post("/recommend", json={"history": [1]})).status_code == 200

    ask(work, recommender=slow, limits=Limits(deadline=1))


def test_a_swap_drops_nothing(ask, path, recommender):
    async def work(client, service):
        async def swap():
            for _ in range(20):
                service.take(recommender.renewed("1"))
                await asyncio.sleep(0.005)

        swapping = asyncio.create_task(swap())
        while not swapping.done():
            answers = await asyncio.gather(*(client.post("/recommend", json={"history": [v]}) for v in range(1, 9)))
            assert {answer.status_code for answer in answers} == {200}
        await swapping

    ask(work)


def test_limits_are_read():
    assert limits.parse(["history=5", "deadline=0.5"]) == Limits(history=5, deadline=0.5)
    for wrong, said in {
        "histry=5": "no limit 'histry'",
        "k=x": "no number",
        "k=0": "above 0",
        "queue=3": "never fits",
        "connections=2000000000": "needs 2000000096 descriptors",
        "idle=nan": "above 0",
        "deadline=1e300": r"below 2\^31",
        "history=1000000000000000000000000": r"below 2\^31",
    }.items():
        with pytest.raises(limits.UserError, match=said):
            limits.parse([wrong])


def test_a_queue_may_be_as_long_as_a_request_has_histories():
    assert limits.parse(["queue=64"]) == Limits(queue=64)


@pytest.mark.parametrize(("descriptors", "connections"), [(1 << 20, 1024), (1024, 928), (200, 104), (100, 50), (1, 1)])
def test_by_default_connections_leave_descriptors_for_the_rest_or_half_of_them(monkeypatch, descriptors, connections):
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert limits.Limits().connections == connections
