"""Changes of the catalogue: in every answer from the next request on, after a restart, and with a new checkpoint."""

import asyncio
import json
import os
import threading

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import jaxrec
from jaxrec.inference import stock
from jaxrec.inference.stock import NewItem
from jaxrec.serve import app, stocking
from jaxrec.serve.database import Unavailable
from jaxrec.serve.limits import Limits
from jaxrec.serve.stocking import Stocking
from jaxrec.system.errors import UserError

from .conftest import ITEMS, make_workdir, save, until

NEW = 1000


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "changes.jsonl"


def post(client, path, **body):
    return client.post(path, content=json.dumps(body))


def test_what_is_added_and_retired_is_so_in_every_answer(ask, recommender, kept):
    keeping = Stocking(kept)

    async def work(client, service):
        best = lambda **more: post(client, "/recommend", history=[5], k=200, exclude_seen=False, **more)
        ids = lambda answer: {item["id"] for item in answer.json()["items"]}
        scores = lambda answer: {item["id"]: item["score"] for item in answer.json()["items"]}
        new = {"id": NEW, "like": [3], "about": {"title": "Brand new", "genres": "War"}}
        changed = await post(client, "/items", add=[new, {"id": "1001", "like": [NEW, 4]}], retire=[7])
        assert changed.json() == {"added": 2, "retired": 1, "items": ITEMS + 1}
        found = scores(await best())
        assert found.keys() == {*range(1, ITEMS + 1), NEW, 1001} - {7}
        alike = recommender.changed([NewItem(1001, like=[3, 4])]).recommend([5], k=200, exclude_seen=False)
        assert found[NEW] == pytest.approx(found[3]) and found[1001] == pytest.approx(dict(alike)[1001], 1e-4)
        assert ids(await best(where={"genres": "War"})) >= {NEW} and 7 not in ids(await best(candidates=[7, 8]))
        assert (await best(candidates=[7])).json()["items"] == []
        similar = await post(client, "/similar", item=3, k=1)
        assert similar.json()["items"][0] | {"score": 1} == {"id": NEW, "score": 1, "title": "Brand new"}
        search = lambda text: client.get("/items", params={"q": text})
        assert ids(await search("brand")) == {NEW} and not ids(await search("Film 07"))
        assert 7 not in ids(await search("7"))
        assert (await client.get("/readyz")).json()["items"] == ITEMS + 1
        genres = (await client.get("/attributes")).json()["attributes"]
        assert any(each["name"] == "genres" for each in genres)
        back = await post(client, "/items", add=[{"id": 7}], retire=[NEW])
        assert back.json() == {"added": 1, "retired": 1, "items": ITEMS + 1}
        assert {7} <= ids(await best()) and NEW not in ids(await best())
        assert (await post(client, "/recommend", history=[NEW])).json()["fallback"] is False

    ask(work, keeping.onto(recommender), stocking=keeping)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"add": [{"id": 3, "like": [4]}]}, 409, "3 is in the catalogue already"),
        ({"add": [{"id": NEW, "like": [4]}, {"id": str(NEW), "like": [5]}]}, 409, "1000 is given twice"),
        ({"add": [{"id": " 7", "like": [3]}]}, 404, "no integer"),
        ({"add": [{"id": "7.0", "like": [3]}]}, 404, "no integer"),
        ({"add": [{"id": NEW}]}, 404, "1000 is like no item"),
        ({"add": [{"id": NEW, "like": [999]}]}, 404, "999 is not in the catalogue"),
        ({"add": [{"id": NEW, "like": [3], "about": {"colour": 1}}]}, 404, "no attribute 'colour'"),
        ({"add": [{"id": NEW, "like": [3], "about": {"genres": ["War", 5]}}]}, 404, '"field":"about"'),
        ({"add": [{"id": "new", "like": [3]}]}, 404, "no integer"),
        ({"retire": [999]}, 404, "999 is not in the catalogue"),
        ({"add": [{"like": [3]}]}, 422, "required"),
        ({"retire": [True]}, 422, "should"),
    ],
)
def test_a_mistake_changes_nothing_and_is_not_kept(ask, recommender, kept, body, status, message):
    keeping = Stocking(kept)

    async def work(client, service):
        answer = await post(client, "/items", **body)
        assert answer.status_code == status and message in answer.text, answer.text
        assert (await client.get("/readyz")).json()["items"] == ITEMS

    ask(work, keeping.onto(recommender), stocking=keeping)
    assert kept.read_text() == ""


def test_without_a_file_the_catalogue_does_not_change(ask):
    async def work(client, service):
        answer = await post(client, "/items", retire=[3])
        assert answer.status_code == 404 and "--stock FILE" in answer.text

    ask(work)


def test_a_change_that_can_not_be_written_is_not_in_force(ask, recommender, kept, monkeypatch):
    keeping = Stocking(kept)

    def full(*_):
        raise OSError(28, "No space left on device")

    async def work(client, service):
        with monkeypatch.context() as patch:
            patch.setattr(stocking.os, "fsync", full)
            answer = await post(client, "/items", retire=[3])
        assert answer.status_code == 503 and "No space left" in answer.text
        assert (await client.get("/readyz")).json()["items"] == ITEMS
        assert (await post(client, "/items", retire=[4])).json()["items"] == ITEMS - 1

    ask(work, keeping.onto(recommender), stocking=keeping)
    assert [json.loads(line)["retire"] for line in kept.read_text().splitlines()] == [[4]]


def test_what_was_changed_is_so_after_a_restart_and_with_another_catalogue(recommender, kept):
    first = Stocking(kept)
    rec = first.changed(first.onto(recommender), [stock.NewItem(NEW, [3]), stock.NewItem(41, [4])], [7])
    rec = first.changed(rec, [stock.NewItem(2000, [NEW])], [NEW])
    with pytest.raises(UserError, match="another service keeps its changes there"):
        Stocking(kept)
    os.close(first._file)
    with open(kept, "ab") as file:
        file.write(b'{"add": [], "ret')  # a crash, before anybody was told that the change is in force
    again = Stocking(kept)
    offered = lambda rec: {id for id, _ in rec.recommend([1], k=10_000, exclude_seen=False)}
    now = again.onto(recommender)
    assert offered(now) == offered(rec) == {*range(1, ITEMS + 1), 41, 2000} - {7}
    np.testing.assert_allclose(now.engine.params["items"][ITEMS + 2], rec.engine.params["items"][ITEMS + 2])
    assert kept.read_bytes().endswith(b"\n")
    kept.write_text("{}\n")
    os.close(again._file)
    with pytest.raises(UserError, match=r"changes\.jsonl, line 1: not a change of a catalogue"):
        Stocking(kept)


def test_a_change_that_could_not_be_written_leaves_nothing_behind(recommender, kept, monkeypatch):
    keeping = Stocking(kept)
    rec = keeping.onto(recommender)
    with monkeypatch.context() as patch:
        patch.setattr(stocking.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(Unavailable):
            keeping.changed(rec, [stock.NewItem(NEW, [3, 4, 5, 6])], [])
    keeping.changed(rec, [], [7])  # shorter than the line that failed
    assert [json.loads(line)["retire"] for line in kept.read_text().splitlines()] == [[7]]


@pytest.fixture
def two(kept, tmp_path):
    """The Stockings of two processes of a service."""
    return [Stocking(kept, tmp_path / "turns") for _ in range(2)]


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 5)), max_size=8))
def test_two_processes_have_the_same_changes_in_the_same_order(recommender, tmp_path_factory, asked):
    folder = tmp_path_factory.mktemp("stock")
    both = [Stocking(folder / "changes", folder / "turns") for _ in range(2)]
    recs = [each.onto(recommender) for each in both]
    for who, add, retire in asked:
        with both[who].turn():
            recs[who] = both[who].followed(recs[who])
            try:
                recs[who] = both[who].changed(recs[who], [stock.NewItem(NEW + add, [1 + add])], [1 + retire])
            except UserError:
                continue  # the item is there already
        assert both[1 - who].is_behind and not both[who].is_behind
    now = [each.followed(rec) for each, rec in zip(both, recs, strict=True)]
    assert not any(each.is_behind for each in both)
    np.testing.assert_array_equal(now[0].catalogue.ids, now[1].catalogue.ids)
    np.testing.assert_array_equal(now[0].offered, now[1].offered)
    np.testing.assert_array_equal(now[0].engine.params["items"], now[1].engine.params["items"])
    again = Stocking(folder / "changes").onto(recommender)
    assert again.catalogue.ids.tolist() == now[0].catalogue.ids.tolist() and (again.offered == now[0].offered).all()
    for each in both:
        os.close(each._file)


def test_a_change_of_another_process_is_in_every_answer_from_the_next_request_on(ask, recommender, two):
    mine, others = two

    async def work(client, service):
        other = others.onto(recommender)
        ids = lambda answer: {item["id"] for item in answer.json()["items"]}
        best = lambda: post(client, "/recommend", history=[5], k=200, exclude_seen=False)
        with others.turn():
            other = others.changed(other, [stock.NewItem(NEW, [3], {"title": "Brand new"})], [7])
        several = await asyncio.gather(*(best() for _ in range(5)))
        assert all(ids(each) == {*range(1, ITEMS + 1), NEW} - {7} for each in several)
        asked = [
            ("/similar", {"item": NEW}, lambda answer: answer.json()["items"]),
            ("/titles", {"items": [NEW]}, lambda answer: answer.json()["items"][0]["title"] == "Brand new"),
            ("/items", {"q": "brand"}, lambda answer: ids(answer) == {NEW}),
            ("/readyz", {}, lambda answer: answer.json()["items"] == ITEMS + 1 - 5),
        ]
        for item, (path, body, holds) in enumerate(asked, 10):  # each is the first request after a change
            with others.turn():
                other = others.changed(other, [], [item])
            got = path in ("/items", "/readyz")
            answer = await (client.get(path, params=body) if got else post(client, path, **body))
            assert answer.status_code == 200 and holds(answer), (path, answer.text)
        assert (await post(client, "/items", add=[], retire=[20])).json()["items"] == ITEMS + 1 - 6

    ask(work, mine.onto(recommender), stocking=mine)


def test_half_a_line_of_a_process_that_died_is_removed(recommender, two, kept):
    kept.write_bytes(b'{"add": [], "ret')
    assert two[0].is_behind and two[1].is_behind
    with two[0].turn():
        assert two[0].followed(recommender) is recommender
    assert kept.read_bytes() == b"" and not two[0].is_behind and not two[1].is_behind


@pytest.mark.slow
def test_where_two_processes_have_different_catalogues_each_takes_what_applies(recommender, two, tmp_path):
    new = jaxrec.load(make_workdir(tmp_path / "new", items=ITEMS + 10)[0])  # only one process has the new training
    ahead, behind = two[0].onto(new), two[1].onto(recommender)
    with two[1].turn():
        two[1].changed(behind, [stock.NewItem(ITEMS + 1, [3]), stock.NewItem(NEW, [ITEMS + 1])], [5])
    with two[0].turn():
        now = two[0].followed(ahead)
    assert now.catalogue.ids.tolist() == [*range(1, ITEMS + 11), NEW] and not now.offered[4]
    assert now.offered.sum() == ITEMS + 10 and not two[0].is_behind


def test_changes_that_can_not_be_read_are_a_503(ask, recommender, two, kept, caplog):
    async def work(client, service):
        with open(kept, "ab") as file:
            file.write(b'{"strange": 1}\n')
        answer = await post(client, "/recommend", history=[5])
        assert answer.status_code == 503 and str(kept) not in answer.text
        assert "line 1: not a change of a catalogue" in caplog.text

    ask(work, two[0].onto(recommender), stocking=two[0])


@pytest.mark.slow
def test_tables_are_lengthened_while_the_shorter_ones_answer(ask, recommender, kept, monkeypatch):
    for module in (stock, app):
        monkeypatch.setattr(module, "ROOM", 16)
    keeping = Stocking(kept)
    assert keeping.onto(recommender).engine.items == -(-(ITEMS + 16) // 16) * 16

    async def work(client, service):
        rows = service.batcher.recommender.engine.items
        for number in range(40):
            answer = await post(client, "/items", add=[{"id": NEW + number, "like": [3]}], retire=[])
            assert answer.status_code == 200
            await asyncio.sleep(0.05)
        while service._growing.locked():
            await asyncio.sleep(0.05)
        assert service.batcher.recommender.engine.items > rows
        found = (await post(client, "/recommend", history=[5], k=200)).json()["items"]
        assert len(found) == ITEMS - 1 + 40

    ask(work, keeping.onto(recommender), Limits(deadline=50, batch=1), stocking=keeping)


@pytest.mark.slow
def test_a_new_checkpoint_and_a_new_catalogue_have_the_changes(serve, tmp_path, kept):
    path, state = make_workdir(tmp_path / "old")
    make_workdir(tmp_path / "new", items=ITEMS + 10)
    link = tmp_path / "current"
    link.symlink_to("old")
    flags = "--workdir", link, "--watch", "--checkpoint", "latest", "--stock", kept, "--limit", "batch=2"
    served = serve(*flags)
    ready = lambda: served.client.get("/readyz").json()
    ids = lambda: {item["id"] for item in served.post("/recommend", history=[2], k=200).json()["items"]}
    assert served.post("/items", add=[{"id": NEW, "like": [3]}], retire=[9]).status_code == 200
    before = ids()
    save(path, 2, state._replace(params=jax.tree.map(lambda x: -x, state.params)))
    until(lambda: ready()["step"] == 2)
    assert ids() == before and served.post("/items", retire=[8]).status_code == 200
    (tmp_path / "next").symlink_to("new")
    os.replace(tmp_path / "next", link)
    until(lambda: ready()["items"] == ITEMS + 10 + 1 - 2)
    assert ids() == {*range(1, ITEMS + 11), NEW} - {2, 8, 9}
    served.stop()
    assert {NEW} <= (found := ids_of(serve(*flags))) and not {8, 9} & found


def ids_of(served):
    found = {item["id"] for item in served.post("/recommend", history=[2], k=200).json()["items"]}
    served.stop()
    return found


def test_many_new_items_at_once_are_compiled_for_before_they_are_in_force(ask, recommender, kept, monkeypatch):
    for module in (stock, app):
        monkeypatch.setattr(module, "ROOM", 16)
    keeping = Stocking(kept)

    async def work(client, service):
        rows = service.batcher.recommender.engine.items
        many = [{"id": NEW + number, "like": [3]} for number in range(rows)]
        assert (await post(client, "/items", add=many, retire=[])).status_code == 200
        now = service.batcher.recommender
        assert now.engine.items > rows and {key[2][0] for key in now.engine._compiled if key[0] == "best"} >= {1, 2, 4}

    ask(work, keeping.onto(recommender), Limits(deadline=50, batch=4), stocking=keeping)


def test_attributes_are_those_of_the_catalogue_in_force(ask, recommender, kept, monkeypatch):
    keeping = Stocking(kept)

    async def work(client, service):
        computing, go_on, real = threading.Event(), threading.Event(), app.facets

        def slow(about):
            computing.set()
            go_on.wait(20)
            return real(about)

        monkeypatch.setattr(app, "facets", slow)
        asked = asyncio.ensure_future(client.get("/attributes"))
        await asyncio.to_thread(computing.wait, 20)
        new = {"id": NEW, "like": [3], "about": {"genres": "Horror"}}
        assert (await post(client, "/items", add=[new], retire=[])).status_code == 200
        go_on.set()
        await asked
        assert "Horror" in (await client.get("/attributes")).text

    ask(work, keeping.onto(recommender), stocking=keeping)
