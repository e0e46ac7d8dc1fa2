"""Tables split over devices answer as one device does: alone, in batches, all users, by states, and after changes."""

from functools import cache

import jax
import numpy as np
import pytest
from recommenders import MODELS, featured, recommender
from some import some

from jaxrec.data.interactions import from_sequences
from jaxrec.inference import placed
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import NewItem
from jaxrec.kernels import best, sizes
from jaxrec.system.errors import UserError

ITEMS = 61  # no number of devices divides it
made = cache(lambda name: featured() if name == "features" else recommender(name, ITEMS))
HISTORIES = [["i3"], ["i3", "i17", "i42"], [f"i{v}" for v in range(2, 40)], ["i60", "nowhere", "i0"]]


def split(rec, devices):
    """The same Recommender with its tables split."""
    mesh = placed.mesh_of(devices)
    params = placed.put(rec._model, jax.device_get(rec._trained), mesh)
    approximate = rec.engine.approximate
    return Recommender(rec.config, rec._model, params, rec.catalogue, rec.step, approximate=approximate, mesh=mesh)


def same(first, second):
    """Checks that lists of answers are equal up to the rounding of scores."""
    for ours, theirs in zip(first, second, strict=True):
        assert [id for id, _ in ours] == [id for id, _ in theirs]
        np.testing.assert_allclose([x for _, x in ours], [x for _, x in theirs], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("name", some([*MODELS, "features"], "sasrec", "features"))
def test_split_tables_answer_as_whole_ones(name, devices):
    one = made(name)
    two = split(one, devices)
    tables = [two.engine.params[table] for table in two.engine.model.item_tables]
    each = [leaf.addressable_shards[0].data.shape[0] for leaf in jax.tree.leaves(tables)]
    assert each == [-(-len(one.catalogue.ids) // devices)] * len(each)
    for k in (1, 7, 1000):
        same(one.recommend_batch(HISTORIES, k=k), two.recommend_batch(HISTORIES, k=k))
        same([one.recommend(HISTORIES[1], k=k)], [two.recommend(HISTORIES[1], k=k)])
    few = {"candidates": ["i1", "i59", "i7"], "exclude_seen": False}
    same([one.recommend(HISTORIES[0], **few)], [two.recommend(HISTORIES[0], **few)])
    same([one.similar("i5", 9)], [two.similar("i5", 9)])
    influences = (each.influence(HISTORIES[1], ["i1", "i59"]) for each in (one, two))
    np.testing.assert_allclose(*influences, rtol=1e-4, atol=1e-5)
    if one.engine.keeps_states:
        same([one.recommend(one.start(HISTORIES[1]))], [two.recommend(two.start(HISTORIES[1]))])
    (ours, bias), (theirs, other) = (each.engine.output_table for each in (one, two))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert (bias is None) == (other is None)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize(("name", "devices"), some([("sasrec", 2), ("sasrec", 8), ("gru4rec", 4)], ("sasrec", 8)))
def test_all_users_are_answered_as_by_whole_tables(name, devices, blocks, monkeypatch):
    if blocks:  # as with large catalogues: the best of each block first
        monkeypatch.setattr(best, "WHOLE", 0)
        monkeypatch.setattr(sizes, "RANKED_ITEMS", 16)
        monkeypatch.setattr(best, "BLOCK", 2)
    one = recommender(name, 509)
    two = split(one, devices)
    random = np.random.default_rng(0)
    log = from_sequences([[f"i{v}" for v in random.integers(0, 520, random.integers(1, 30))] for _ in range(70)])
    for k, exclude in ((3, True), (600, False)):
        ours, theirs = (each.recommend_users(k=k, data=log, exclude_seen=exclude) for each in (one, two))
        assert ours["user"].equals(theirs["user"]) and ours["item"].equals(theirs["item"])
        np.testing.assert_allclose(ours["score"], theirs["score"], rtol=1e-5, atol=1e-5)
    vectors = (each.user_vectors(log)["vector"].to_numpy() for each in (one, two))
    np.testing.assert_allclose(*map(np.stack, vectors), rtol=1e-5, atol=1e-5)


def test_an_index_of_split_tables_finds_what_one_of_whole_tables_finds():
    pytest.importorskip("faiss")
    one = recommender("sasrec", 509, approximate=True)
    two = split(one, 8)
    assert two.engine.approximate
    same(one.recommend_batch(HISTORIES, k=5), two.recommend_batch(HISTORIES, k=5))


@pytest.mark.parametrize("name", some(["sasrec", "features", "bert4rec"], "features"))
def test_a_catalogue_changes_as_that_of_whole_tables(name):
    one, two = made(name), split(made(name), 8)
    about = {"genres": "B|A"} if name == "features" else {}
    new = [NewItem("n1", like=["i5", "i9"]), *([NewItem("n2", about=about)] if about else [])]
    ours, theirs = (each.changed(new, retired=["i7", "i3"]) for each in (one, two))
    same(ours.recommend_batch(HISTORIES, k=100), theirs.recommend_batch(HISTORIES, k=100))
    log = from_sequences([["i3", "n1"], ["i8", "i7"]])
    assert ours.recommend_users(k=80, data=log)["item"].equals(theirs.recommend_users(k=80, data=log)["item"])
    again = (each.changed([NewItem("i7")], retired=["n1"]) for each in (ours, theirs))
    same(*([each.recommend(HISTORIES[1], k=100)] for each in again))


def test_devices_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="item_devices is 3, and there are 8 devices: it can be 1, 2, 4, 8"):
        placed.mesh_of(3)
    with pytest.raises(UserError, match="a whole number of devices"):
        placed.mesh_of(0)
    assert placed.mesh_of(1) is None
