"""The service in this process: what is answered, what is refused, and by which field."""

import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from requests_of import pairs, post
from some import some

import jaxrec
from jaxrec.data.attributes.users import Users
from jaxrec.inference.checking import Checker
from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.serve.limits import Limits
from jaxrec.serve.store import Events

from .conftest import ITEMS, make_workdir


@pytest.mark.parametrize("model", some(["sasrec", "gru4rec", "bert4rec"], "gru4rec"))
def test_every_model_answers_as_from_python(ask, tmp_path, model):
    recommender = jaxrec.load(make_workdir(tmp_path, model)[0])
    histories = [[1, 2, 3], [7], list(range(1, 31))]
    status, answer = post(ask, "/recommend", {"histories": histories, "k": 7}, recommender=recommender)
    assert status == 200
    for history, result in zip(histories, answer["results"], strict=True):
        expected = recommender.recommend(history, 7)
        assert [id for id, _ in pairs(result)] == [id for id, _ in expected]
        assert [score for _, score in pairs(result)] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_settings_and_titles_and_unknown_ids(ask, recommender):
    body = {"history": [1, "2", "x", 99], "k": 3, "exclude_seen": False, "block": [5], "where": {"genres": "Comedy"}}
    status, answer = post(ask, "/recommend", body)
    (expected,) = recommender.answer([Query([1, 2], 3, exclude_seen=False, block=[5], where={"genres": "Comedy"})])
    assert status == 200 and [id for id, _ in pairs(answer)] == [id for id, _ in expected]
    assert answer["unknown"] == ["x", 99]
    assert all(item["title"] == f"Film {item['id']:02}" and item["id"] % 2 == 0 for item in answer["items"])
    status, answer = post(ask, "/recommend", {"history": ["3"], "candidates": ["7", 9, "y"], "k": 5})
    assert {id for id, _ in pairs(answer)} == {7, 9} and answer["unknown"] == ["y"]


def test_of_nothing_known_the_most_popular_are_given_and_marked(ask, recommender):
    counts = recommender.catalogue.counts
    order = [1 + int(place) for place in np.argsort(-counts, kind="stable")]
    share = {id: float(counts[id - 1] / counts.sum()) for id in order}
    expected = lambda ids, k: [(id, share[id]) for id in ids[:k]]
    status, answer = post(ask, "/recommend", {"history": ["x", "99"], "k": 3})
    assert status == 200 and answer["fallback"] is True and answer["unknown"] == ["x", "99"]
    assert pairs(answer) == expected(order, 3)
    body = {"histories": [[], [1], ["x"]], "k": 4, "block": [order[1], "y"], "where": {"genres": "War"}}
    status, answer = post(ask, "/recommend", body)
    assert status == 200 and [each["fallback"] for each in answer["results"]] == [True, False, True]
    assert [each["unknown"] for each in answer["results"]] == [["y"], ["y"], ["x", "y"]]
    wars = [id for id in order if id % 2 and id != order[1]]
    assert pairs(answer["results"][0]) == pairs(answer["results"][2]) == expected(wars, 4)
    assert len(answer["results"][1]["items"]) == 4
    status, answer = post(ask, "/recommend", {"history": [], "candidates": [5, "7", 9], "k": 10})
    assert pairs(answer) == expected([id for id in order if id in (5, 7, 9)], 3)


def test_ids_that_javascript_would_round_are_texts(ask, tmp_path):
    big = 2**53
    path = make_workdir(tmp_path)[0]
    made = jaxrec.load(path)
    ids = np.array([*range(1, ITEMS - 2), big - 1, big, big + 1], np.int64)
    catalogue = made.catalogue._replace(ids=ids)
    recommender = Recommender(made.config, made._model, made.engine.params, catalogue, made.step, made.path)

    async def work(client, _service):
        for one in (big + 1, str(big + 1)):
            body = {"history": [one], "candidates": [big - 1, str(big), big + 1], "exclude_seen": False}
            answer = (await client.post("/recommend", json=body)).json()
            assert {item["id"] for item in answer["items"]} == {big - 1, str(big), str(big + 1)}
            assert answer["unknown"] == []
            similar = (await client.post("/similar", json={"item": one, "k": ITEMS})).json()
            assert str(big) in {item["id"] for item in similar["items"]}
        answer = (await client.post("/recommend", json={"history": [1, big + 7, -big, 7.0]})).json()
        assert answer["unknown"] == [str(big + 7), str(-big)]
        found = (await client.get(f"/items?q={big + 1}&k=1")).json()
        assert found["items"][0]["id"] == str(big + 1)
        assert (await client.post("/influence", json={"history": [str(big)], "items": [big + 1]})).status_code == 200

    ask(work, recommender=recommender, limits=Limits(deadline=30))


def test_events_keep_large_ids(ask, tmp_path):
    async def work(client, service):
        items = [2**60 + 1, str(2**60 + 1), 7]
        assert (await client.post("/events", json={"user": 2**60, "items": items})).json() == {"stored": 3}
        assert service.events.newest(str(2**60), 10) == items

    ask(work, events=Events(tmp_path / "e.db", 10))


def test_beside_a_history_a_user_is_whose_it_is(ask, recommender):
    """A model with user vectors is given the user, and reports those without one; others answer everyone alike."""
    knows = copy.copy(recommender)
    knows.users = Users([7], [True])
    knows._checker = Checker(knows.config, knows.catalogue, knows.users)
    for user, unknown in ((7, []), ("7", []), (8, [8])):
        body = {"history": [1, 2], "user": user, "k": 3}
        assert post(ask, "/recommend", body, recommender=knows)[1]["unknown"] == unknown
        assert post(ask, "/recommend", body)[1] == post(ask, "/recommend", {"history": [1, 2], "k": 3})[1]
        body = {"history": [1, 2], "items": [5], "user": user}
        assert post(ask, "/influence", body)[1] == {"influence": recommender.influence([1, 2], [5]).tolist()}


def test_similar_items_and_influence(ask, recommender):
    status, answer = post(ask, "/similar", {"item": "4", "k": 3})
    assert status == 200 and [id for id, _ in pairs(answer)] == [id for id, _ in recommender.similar(4, 3)]
    status, answer = post(ask, "/influence", {"history": [1, "x", 2], "items": [5, 6]})
    assert status == 200 and answer["influence"] == recommender.influence([1, "x", 2], [5, 6]).tolist()


@pytest.mark.parametrize(
    ("url", "body", "status", "field"),
    [
        ("/recommend", {}, 422, None),
        ("/recommend", {"history": None}, 422, None),
        ("/recommend", {"history": [1], "histories": [[1]]}, 422, None),
        ("/recommend", {"histories": [[1]], "user": 2}, 422, None),
        ("/recommend", b"[", 400, None),
        ("/recommend", b"\xff", 400, None),
        ("/recommend", b'{"history": ["\\ud800"]}', 400, None),
        ("/recommend", b"[" * 100_000, 400, None),
        ("/recommend", {"history": [1, 2.5]}, 422, "history.1"),
        ("/recommend", {"history": [True]}, 422, "history.0"),
        ("/recommend", {"history": "12"}, 422, "history"),
        ("/recommend", {"history": [1] * 1001}, 422, "history"),
        ("/recommend", {"histories": [[1]] * 65}, 422, "histories"),
        ("/recommend", {"histories": []}, 422, "histories"),
        ("/recommend", {"history": [1, 2**53 + 0.0]}, 422, "history.1"),
        ("/recommend", {"history": [1], "k": 19.5}, 422, "k"),
        ("/recommend", {"history": [1], "k": True}, 422, "k"),
        ("/recommend", {"history": [1], "where": {"genres": {"blow": 3}}}, 422, "where.genres"),
        ("/recommend", {"events": [{"item": 1}, {"item": 2, "time": "noon"}]}, 422, "events.1.time"),
        ("/recommend", {"events": [{"item": 1, "time": 1_767_225_600_000}]}, 422, "events.0.time"),
        ("/recommend", {"events": [{"item": 1, "kind": "view"}]}, 422, "events.0.kind"),
        ("/recommend", {"events": [{"item": 1.5}]}, 422, "events.0.item"),
        ("/recommend", {"history": [1], "user_columns": {"gender": ["F"]}}, 422, "user_columns.gender"),
        ("/recommend", {"history": [1], "now": "noon"}, 422, "now"),
        ("/events", {"user": 1, "items": []}, 422, "items"),
        ("/events", {"user": 1, "item": 2, "time": -1e12}, 422, "time"),
        ("/events", {"user": " ", "item": 1}, 422, "user"),
        ("/recommend", {"history": [1], "k": 0}, 422, "k"),
        ("/recommend", {"history": [1], "k": 10**9}, 422, "k"),
        ("/recommend", {"history": [1], "k": "3"}, 422, "k"),
        ("/recommend", {"history": [1], "exclude_sen": True}, 422, "exclude_sen"),
        ("/recommend", {"history": [1], "where": {"colour": "red"}}, 404, "where"),
        ("/recommend", {"history": [1], "where": {"genres": "Westren"}}, 404, "where"),
        ("/recommend", {"history": [1], "where": {"genres": {}}}, 422, "where.genres"),
        ("/recommend", {"history": [1], "candidates": [None]}, 422, "candidates.0"),
        ("/recommend", {"user": 1}, 422, "user"),
        ("/recommend", b'{"history": [%s]}' % (b"1," * 600_000), 413, None),
        ("/similar", {"item": "nobody"}, 404, "item"),
        ("/similar", {}, 422, "item"),
        ("/influence", {"history": ["x"], "items": [1]}, 404, "history"),
        ("/influence", {"history": [1], "items": [1, "x"]}, 404, "items"),
        ("/recommend", {"history": [1], "where": {"x" * 10**5: 1}}, 404, "where"),
        ("/recommend", {"history": [1], "\x1b[31m": 1}, 422, "\\x1b[31m"),
        ("/recommend", {"history": [1], "x" * 999: 1}, 422, f"{'x' * 100} ... (899 more characters)"),
        ("/events", {"user": 1, "item": 2}, 404, None),
        ("/nowhere", {}, 404, None),
        ("/attributes", {}, 405, None),
    ],
)
def test_a_mistake_names_its_field(ask, url, body, status, field):
    got, answer = post(ask, url, body)
    assert got == status, answer
    assert answer["errors"][0]["field"] == field and 0 < len(answer["errors"][0]["message"]) < 600


def test_what_a_path_is_not_asked_by_is_told_of_all_that_it_is(ask):
    async def work(client, _service):
        answer = await client.options("/items")
        assert answer.status_code == 405 and set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
        head = await client.head("/items")
        assert head.status_code == 200 and head.headers["content-type"] == "application/json"

    ask(work)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["history", "histories", "user", "k", "exclude_seen", "candidates", "block", "where", "item"])
bodies = st.binary(max_size=40) | st.dictionaries(fields, anything, max_size=4).map(
    lambda body: json.dumps(body).encode()
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["/recommend", "/similar", "/influence", "/events"]), bodies), min_size=20))
def test_nothing_malformed_breaks_it(ask, requests):
    async def work(client, _service):
        answers = [await client.post(path, content=body) for path, body in requests]
        assert all(answer.status_code == 200 or 400 <= answer.status_code < 500 for answer in answers)
        alive = await client.get("/healthz")
        assert alive.status_code == 200

    ask(work)


@pytest.mark.parametrize("since", [0, -10, -(10**9)])
def test_events_are_a_history(ask, recommender, tmp_path, since):
    events = Events(tmp_path / "events.db", 10)

    async def work(client, _service):
        stored = [
            await client.post("/events", json={"user": "u", "items": [3, "4"], "time": since + 20}),
            await client.post("/events", json={"user": "u", "item": 1, "time": since + 10.5}),
        ]
        assert [answer.json() for answer in stored] == [{"stored": 2}, {"stored": 1}]
        answer = await client.post("/recommend", json={"user": "u", "k": 4})
        assert [item["id"] for item in answer.json()["items"]] == [id for id, _ in recommender.recommend([1, 3, 4], 4)]
        assert (await client.post("/recommend", json={"user": "v"})).status_code == 404

    ask(work, events=events)


def test_titles_are_searched_and_the_popular_come_first(ask, recommender):
    async def work(client, _service):
        get = lambda query: client.get(f"/items?{query}")
        counts = recommender.catalogue.counts
        popular = (await get("")).json()["items"]
        assert len(popular) == 20 and popular[0]["id"] == 1 + int(counts.argmax())
        assert (await get("q=FÍLM%20%2007")).json() == {"items": [{"id": 7, "title": "Film 07"}]}
        assert (await get("q=7&k=1")).json()["items"][0]["id"] == 7
        assert (await get("q=nothing")).json() == {"items": []}
        for wrong in ("k=0", "k=x", "k=201", "q=" + "x" * 201):
            assert (await get(wrong)).status_code == 422

    ask(work)


def test_a_whole_number_is_one_however_it_is_written(ask):
    answers = [
        post(ask, "/recommend", body) for body in (b'{"history": [1, 2], "k": 7}', b'{"history": [1.0, 2e0], "k": 7.0}')
    ]
    assert answers[0] == answers[1] and answers[0][0] == 200 and len(answers[0][1]["items"]) == 7


def test_a_token_is_asked_for(ask):
    async def work(client, _service):
        for path, status in {"/": 200, "/healthz": 200, "/items": 401, "/metrics": 401}.items():
            assert (await client.get(path)).status_code == status
        for header, status in {
            "Bearer s3cr\xe9t": 200,
            "bearer s3cr\xe9t": 200,
            "BEARER   s3cr\xe9t ": 200,
            "Bearer s3cr\xe9": 401,
            "Bearer s3cret": 401,
            "Bearer \xff\xfe": 401,
            "Bearer": 401,
            "Bearers3cr\xe9t": 401,
            "Basic s3cr\xe9t": 401,
            "": 401,
        }.items():
            answer = await client.get("/items", headers={"Authorization": header.encode()})
            assert answer.status_code == status, header
            assert status == 200 or answer.json()["errors"][0]["field"] == "Authorization"

    ask(work, token="s3cr\xe9t")


def test_no_page_from_elsewhere_writes_or_reads(ask, tmp_path):
    event = json.dumps({"user": "u", "item": 1}).encode()

    async def work(client, service):
        async def status(**headers):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await client.post("/events", content=event, headers=headers)).status_code

        assert await status() == 200
        assert await status(Content_Type="application/JSON; charset=utf-8") == 200
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            assert await status(Content_Type=kind) == 415
        assert await status(Host="evil.example") == await status(Host="localhost.evil.example") == 403
        assert await status(Host="localhost:8000", Origin="http://localhost:8000") == 200
        for origin in ("http://evil.example", "null", "http://localhost:9000", "http://localhost.evil.example"):
            assert await status(Host="localhost:8000", Origin=origin) == 403
        assert len(service.events.newest("u", 100)) == 3
        for path in ("/", "/items", "/docs", "/metrics", "/healthz"):
            answer = await client.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 403 and answer.json()["errors"][0]["field"] == "Host"
        answer = await client.get("/items/", headers={"Host": "localhost"})  # no redirect to a host from the request
        assert answer.status_code == 404 and "location" not in answer.headers

    ask(work, events=Events(tmp_path / "e.db", 10))


def test_it_describes_itself(ask):
    async def work(client, _service):
        described = (await client.get("/openapi.json")).json()
        assert {"/recommend", "/similar", "/items", "/events"} <= set(described["paths"])
        for path in ("/", "/docs", "/page.css", "/page.js"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")  # nothing comes from other sites
        await client.post("/recommend", json={"history": [1]})
        metrics = (await client.get("/metrics")).text
        assert 'jaxrec_requests_total{path="/recommend",status="200"} 1.0' in metrics
        ready = (await client.get("/readyz")).json()
        assert ready == {"status": "ready", "step": 1, "items": ITEMS, "batch": 8}

    ask(work)


def test_a_full_queue_refuses_before_a_body_is_read(ask, monkeypatch):
    monkeypatch.setattr("jaxrec.serve.batching.Batcher.full", True)

    async def body():
        raise AssertionError("it was read")
        yield b""

    async def work(client, _service):
        refused = await client.post("/recommend", content=body())
        healthy = await client.get("/healthz")
        return refused, healthy.status_code, (await client.get("/items")).status_code

    refused, *others = ask(work)
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1" and others == [200, 200]
    assert refused.json()["errors"] == [{"field": None, "message": "too many requests wait: try again later"}]
