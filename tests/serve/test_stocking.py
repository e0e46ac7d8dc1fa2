"""Changes of the catalogue: in every answer from the next request on, after a restart, and with a new checkpoint."""

import asyncio
import json
import os

import jax
import numpy as np
import pytest

from jaxrec.inference import stock
from jaxrec.serve import app, stocking
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
        assert found[NEW] == pytest.approx(found[3]) and found[1001] == pytest.approx((found[3] + found[4]) / 2, 1e-4)
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
        ({"add": [{"id": 3, "like": [4]}]}, 404, "3 is in the catalogue already"),
        ({"add": [{"id": NEW}]}, 404, "1000 is like no item"),
        ({"add": [{"id": NEW, "like": [999]}]}, 404, "999 is not in the catalogue"),
        ({"add": [{"id": NEW, "like": [3], "about": {"colour": 1}}]}, 404, "no attribute 'colour'"),
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
    with pytest.raises(UserError, match="another service changes its catalogue there"):
        Stocking(kept)
    os.close(first._file)
    with open(kept, "ab") as file:
        file.write(b'{"add": [], "ret')  # a crash: nobody was told that it is in force
    again = Stocking(kept)
    offered = lambda rec: {id for id, _ in rec.recommend([1], k=10_000, exclude_seen=False)}
    now = again.onto(recommender)
    assert offered(now) == offered(rec) == {*range(1, ITEMS + 1), 41, 2000} - {7}
    np.testing.assert_allclose(now.engine.params["items"][ITEMS + 2], rec.engine.params["items"][ITEMS + 2])
    assert kept.read_bytes().endswith(b"\n")
    kept.write_text("{}\n")
    os.close(again._file)
    with pytest.raises(UserError, match=r"changes\.jsonl, line 1: no change of a catalogue"):
        Stocking(kept)


@pytest.mark.slow
def test_tables_are_lengthened_while_the_shorter_ones_answer(ask, recommender, kept, monkeypatch):
    for module in (stock, app, stocking):
        monkeypatch.setattr(module, "ROOM", 16)
    keeping = Stocking(kept)

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

    ask(work, keeping.onto(recommender), stocking=keeping)


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
