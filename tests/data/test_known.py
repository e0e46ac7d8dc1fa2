"""Data sets that papers share are recognised, and distinguished from what only looks like them."""

from dataclasses import replace

import numpy as np
import pytest

from jaxrec.data import sources
from jaxrec.data.interactions import Catalogue, from_sequences
from jaxrec.data.known import KNOWN, identify


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


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_every_known_data_set_is_the_one_that_lies_here(name, real_data):
    folder = real_data({"ml-1m-sasrec": "ml-1m"}.get(name, name))
    data = sources.load(str(folder))
    assert identify(data).name == name and identify(data).same
    turned = replace(data, items=(np.int32(len(data.catalogue.ids) + 1) - data.items))
    assert "so only the ids differ" in identify(turned).words
