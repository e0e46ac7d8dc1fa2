"""When a catalogue changes, remaining items are scored as before, and new ones like the items they resemble."""

import jax
import numpy as np
import polars as pl
import pytest
from recommenders import MODELS, config, featured, params, recommender
from some import some

from jaxrec.data.interactions import Catalogue
from jaxrec.inference import stock
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import AlreadyThere, NewItem
from jaxrec.system.errors import UserError
from jaxrec.training.building import model_for

HISTORY = ["i3", "i17", "i42"]


def scores(rec, history=HISTORY, **rest):
    return dict(rec.recommend(history, k=10_000, exclude_seen=False, **rest))


@pytest.mark.parametrize("name", some(MODELS, "sasrec", "two-tower"))
def test_what_stays_answers_as_before_and_what_is_new_as_what_it_is_like(name):
    rec = recommender(name)
    new = [NewItem("n1", like=["i5"], about={"year": 1990}), NewItem("n2", like=["i5", "i9"])]
    now = rec.changed(new, retired=["i7", "i3"])
    before, after = scores(rec), scores(now)
    assert sorted(after) == sorted({*before, "n1", "n2"} - {"i7", "i3"})
    for id in after.keys() & before.keys():
        np.testing.assert_allclose(after[id], before[id], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["n1"], after["i5"], rtol=1e-5, atol=1e-6)
    about = lambda id: rec.item_vectors().filter(pl.col("id") == id).row(0, named=True)
    both = [about(id) for id in ("i5", "i9")]
    direction = np.mean([each["vector"] for each in both], 0)
    length = np.mean([np.linalg.norm(each["vector"]) for each in both]) / np.linalg.norm(direction)
    bias = np.mean([each.get("bias", 0) for each in both])
    mean = (after["i5"] + after["i9"]) / 2  # the scores are linear in the vectors, but for the bias
    np.testing.assert_allclose(after["n2"] - bias, (mean - bias) * length, rtol=1e-4, atol=1e-5)
    # in a history, a new item counts as the one it is like, and a retired one as before
    assert scores(now, ["i3", "n1"]) == scores(now, ["i3", "i5"])
    few = now.recommend(HISTORY, candidates=["n1", "i7", "i8"], exclude_seen=False)
    assert sorted(id for id, _ in few) == ["i8", "n1"]
    assert {id for id, _ in now.recommend(HISTORY, k=100, where={"year": 1990})} >= {"n1"}
    assert not {"i7", "i3"} & {id for id, _ in now.similar("i5", k=1000)} and now.similar("n1", k=1)[0][0] == "i5"
    assert len(now.item_vectors()) == 62
    assert scores(rec) == before  # the original Recommender is unchanged


def test_items_are_added_without_another_program(monkeypatch):
    monkeypatch.setattr(stock, "ROOM", 64)
    now = recommender("sasrec").changed([NewItem("n0", like=["i0"])])
    scores(now)
    compiled = {**(programs := now.engine._compiled)}
    for number in range(1, 4):
        now = now.changed([NewItem(f"n{number}", like=["n0"])], retired=[f"n{number - 1}"])
        assert f"n{number}" in scores(now) and f"n{number - 1}" not in scores(now)
    assert now.engine._compiled is programs and programs == compiled and now.engine.items == 64
    now = now.changed([NewItem(f"m{number}", like=["i1"]) for number in range(70)])
    assert now.engine.items == 192 and len(scores(now)) == 61 + 70
    assert "n0" in scores(now.changed([NewItem("n0")]))  # a retired item returns


def test_an_item_may_be_told_as_a_mapping():
    rec, new = recommender("sasrec"), {"id": "n", "like": ["i5"], "about": {"year": 1990}}
    assert scores(rec.changed([new])) == scores(rec.changed([NewItem(**new)]))


def test_items_added_together_are_those_added_one_by_one():
    new = [NewItem("n1", like=["i5"]), NewItem("n2", like=["i9", "n1", "i5"]), NewItem("n3", like=["n2"])]
    rec = recommender("gru4rec")  # its items have biases
    together, alone = rec.changed(new), rec
    for item in new:
        alone = alone.changed([item])
    assert scores(together) == scores(alone) and together.similar("n2", 60) == alone.similar("n2", 60)


def test_with_features_a_new_item_is_known_by_its_attributes():
    rec = featured()
    now = rec.changed([NewItem("n1", about={"genres": "B|A"}), NewItem("n2", like=["i4"], about={"genres": "C"})])
    after = scores(now)
    # i0 never trained, so it has no vector of its own either
    alike = rec.changed([NewItem("n3", about={"genres": "A"})])
    np.testing.assert_allclose(scores(alike)["n3"], scores(rec)["i0"], rtol=1e-5)
    assert np.isfinite(after["n1"]) and after["n1"] != after["i4"]
    np.testing.assert_allclose(after["n2"], after["i4"], rtol=1e-5)


@pytest.mark.parametrize(
    ("added", "retired", "message"),
    [
        ([NewItem("i3", like=["i4"])], [], "add: 'i3' is in the catalogue already"),
        ([NewItem("n", like=["i99"])], [], "like: 'i99' is not in the catalogue"),
        ([NewItem("n", like=["m"]), NewItem("m", like=["i1"])], [], "like: 'm' is added after 'n': put it first"),
        ([NewItem("n", like=["n"])], [], "like: 'n' is added after 'n'"),
        ([NewItem("n")], [], "'n' is like no item, and the training has no features"),
        ([NewItem("n", like=["i1"], about={"colour": "red"})], [], "no attribute 'colour': there are 'genres', 'year'"),
        ([NewItem("n", like=["i1"]), NewItem("n", like=["i1"])], [], "add: 'n' is given twice: add it once"),
        ([NewItem("", like=["i1"])], [], "add: an item has an empty id"),
        (["n"], [], "add: 'n' is no NewItem: give them in a list"),
        (NewItem("n", like=["i1"]), [], "add: 'n' is no NewItem: give them in a list"),
        ([{"id": "n", "as": ["i1"]}], [], "is no NewItem"),
        ([NewItem("n", like="i1")], [], "like: 'i1' is a text: give a list of ids"),
        ([], "i1", "retire: 'i1' is a text: give a list of ids"),
        ([], ["i99"], "retire: 'i99' is not in the catalogue"),
    ],
)
def test_a_mistake_is_a_message_and_changes_nothing(added, retired, message):
    rec = recommender("sasrec")
    before = scores(rec)
    with pytest.raises(UserError, match=message):
        rec.changed(added, retired)
    assert scores(rec) == before and rec.offered.all()


def test_an_integer_catalogue_keeps_integers():
    made = config("sasrec")
    catalogue = Catalogue(np.arange(1, 41))
    model = model_for(made, catalogue, 10)
    rec = Recommender(made, model, jax.device_put(params(model)), catalogue, 7)
    now = rec.changed([NewItem(77, like=[3]), NewItem("78", like=["77"])])
    assert {77, 78} <= {id for id, _ in now.recommend([1, 77], k=100, exclude_seen=False)}
    for odd in ("x", " 5", "5 ", "5.0", "\u00a05", "5\n", "05", True, 5.5, 2**63, None):
        with pytest.raises(UserError, match="no integer"):
            rec.changed([NewItem(odd, like=[3])])


@pytest.mark.parametrize(("given", "own"), [(7.0, "7"), (7, "7"), (" i1", " i1"), ("NA", "NA"), (np.int64(8), "8")])
def test_an_id_is_added_as_it_is_found(given, own):
    now = recommender("sasrec", 40).changed([NewItem(given, like=["i1"])])
    assert now.catalogue.ids[40:].tolist() == [own]
    assert own in {id for id, _ in now.recommend([given], k=100, exclude_seen=False)}
    with pytest.raises(AlreadyThere):
        now.changed([NewItem(own, like=["i1"])])


def test_with_an_index_a_changed_catalogue_answers_as_without(monkeypatch):
    pytest.importorskip("faiss")
    exact, near = (recommender("sasrec", 6000, width=16, approximate=each) for each in (False, True))
    monkeypatch.setattr(near.engine, "_exactly_for", None)  # all candidates suffice, before and after any change
    random, histories = np.random.default_rng(0), [[f"i{v}", "n3"] for v in range(20)]
    for first in (0, 30):
        new = [NewItem(f"n{first + v}", like=[f"i{random.integers(6000)}"]) for v in range(30)]
        new[3] = NewItem(new[3].id, like=[exact.recommend(HISTORY, 1)[0][0]])
        best = [id for id, _ in exact.recommend(HISTORY, 2)]  # one in the index, one beside it
        retired = [*best, f"n{first + 1}"]
        exact, near = (each.changed(new, retired) for each in (exact, near))
        assert near.engine.index is not None
        monkeypatch.setattr(near.engine, "_exactly_for", None)
        for theirs, ours in zip(exact.recommend_batch(histories, 20), near.recommend_batch(histories, 20), strict=True):
            assert [id for id, _ in ours] == [id for id, _ in theirs]
            np.testing.assert_allclose([each for _, each in ours], [each for _, each in theirs], rtol=1e-5, atol=1e-5)
        answered = {id for id, _ in near.recommend(HISTORY, 200)}
        assert f"n{first + 3}" in answered and not answered & {*retired}
        assert near.recommend(HISTORY, 5, candidates=[f"n{first + 4}", best[0]])[0][0] == f"n{first + 4}"


def test_what_is_popular_is_so_without_what_is_retired_and_before_what_is_new():
    rec = recommender("sasrec")
    counted = rec.catalogue.counted(np.arange(60))
    known = Recommender(rec.config, rec._model, rec.engine.params, counted, 7, None)
    now = known.changed([NewItem("n1", like=["i5"])], retired=["i59"])
    assert [id for id, _ in now.recommend([], k=100)] == [*(f"i{v}" for v in range(58, -1, -1)), "n1"]
