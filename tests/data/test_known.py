"""Data sets that papers share are recognised, and distinguished from what only looks like them."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jaxrec.data import sources
from jaxrec.data.interactions import Catalogue, from_sequences
from jaxrec.data.known import KNOWN, UNKNOWN, Known, histories, identify, pattern
from jaxrec.data.sources import PUBLIC


@pytest.fixture(scope="module")
def films(real_data):
    return sources.load(str(real_data("ml-100k")))


def test_a_data_set_is_known_with_times_and_without(films):
    assert films.times is not None
    bare = replace(films, times=None, weights=None)
    assert [identify(each).same for each in (films, bare)] == [True, True]
    assert identify(films).words.endswith("943 users, 1,682 items, 100,000 interactions: ml-100k")


def test_other_ids_keep_the_histories_and_another_order_does_not(films):
    renamed = replace(films, catalogue=Catalogue(films.catalogue.ids + 7), users=films.users[::-1])
    swapped = films.items.copy()
    swapped[films.offsets[1:] - 1], swapped[films.offsets[1:] - 2] = (
        films.items[films.offsets[1:] - 2],
        films.items[films.offsets[1:] - 1],
    )
    for data, said in ((renamed, "so only the ids differ"), (replace(films, items=swapped), "do not compare")):
        found = identify(data)
        assert found.name == "ml-100k" and not found.same and said in found.words
        assert "the counts of ml-100k in another order or with other ids" in found.words


def test_other_counts_are_none_of_them():
    assert identify(from_sequences([[1, 2, 3]])).words.endswith(f"({', '.join(KNOWN)})")


def test_every_public_data_set_is_known_or_said_not_to_be():
    assert {*KNOWN, *UNKNOWN} >= {*PUBLIC} >= {*UNKNOWN} and not {*KNOWN} & {*UNKNOWN}
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    assert [name for name in (*KNOWN, *UNKNOWN) if f"`{name}`" not in page] == []


def test_sets_of_equal_counts_are_told_apart_by_their_histories(monkeypatch):
    one, other = from_sequences([[1, 2, 3], [1, 2], [1]]), from_sequences([[1, 3, 2], [1, 2], [1]])
    entry = lambda data: Known(3, 3, 6, histories(data), pattern(data))
    renamed = replace(one, catalogue=Catalogue(one.catalogue.ids + 5))
    known = {"first": entry(other), "second": entry(one), "third": entry(renamed)}
    monkeypatch.setattr("jaxrec.data.known.KNOWN", known)
    assert identify(one).words.endswith("second, the histories of third with other ids: the numbers compare")
    assert identify(other).words.endswith("interactions: first")
    found = identify(replace(one, catalogue=Catalogue(one.catalogue.ids + 9)))
    assert found.name == "second" and not found.same and "the counts of second and third in another" in found.words
    strange = identify(from_sequences([[3, 2, 1], [1, 2], [1]]))
    assert strange.words.endswith("its numbers do not compare") and "first and second and third" in strange.words


@pytest.mark.slow
def test_the_orders_of_ml_1m_differ_in_ids_and_in_a_user(real_data):
    folder = real_data("ml-1m")
    data = sources.load(str(folder))
    less = from_sequences([data.items[a:b] for a, b in itertools.pairwise(data.offsets[:-1])])
    assert identify(less).name == "ml-1m-iclrec" and identify(less).same
    users, items = (pl.read_csv(folder / f"{name}.csv") for name in ("users", "items"))
    ids = items.sort("item_id")["original_movie_id"].to_numpy()
    row, column = np.argsort(users.sort("user_id")["original_user_id"].to_numpy()), np.argsort(ids)
    number = np.empty(len(ids) + 1, np.int32)
    number[column + 1] = np.arange(1, len(ids) + 1)
    turned = [number[data.items[data.offsets[each] : data.offsets[each + 1]]] for each in row]
    official = from_sequences([ids[column][history - 1] for history in turned])
    assert identify(official).words.endswith("ml-1m, the histories of ml-1m-sasrec with other ids: the numbers compare")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in KNOWN if name not in ("ml-1m", "ml-1m-iclrec")])
def test_every_known_data_set_is_the_one_that_lies_here(name, real_data):
    folder = real_data({"ml-1m-sasrec": "ml-1m"}.get(name, name))
    data = sources.load(str(folder))
    assert identify(data).name == name and identify(data).same
    turned = replace(data, items=(np.int32(len(data.catalogue.ids) + 1) - data.items))
    assert "so only the ids differ" in identify(turned).words
