"""Laws of topics: two items share one if they have a value in common, and a switch is where they do not."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.attributes import topics
from jaxrec.data.interactions import Catalogue
from jaxrec.system.errors import UserError

VALUES = ["War", "Drama", "Comedy"]
sets = st.lists(st.lists(st.sampled_from(VALUES), max_size=3, unique=True), min_size=2, max_size=6)


def catalogue(values, name="genres"):
    return Catalogue(np.arange(len(values)), pl.DataFrame({name: values}, {name: pl.List(pl.String)}))


@given(sets, st.data())
def test_switches_are_those_of_a_plain_loop(values, data):
    found = topics.values(catalogue(values))
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    number = st.integers(0, len(values))
    histories = [data.draw(st.lists(number, min_size=n, max_size=n)) for n in lengths]
    of = lambda item: set(values[item - 1]) if item else set()
    wanted = []
    for history in histories:
        for at, item in enumerate(history):
            before = of(history[at - 1]) if at else set()
            known = before and of(item)
            wanted.append((topics.SAME if before & of(item) else topics.OTHER) if known else 0)
    offsets, items = np.append(0, np.cumsum(lengths)), np.array([i for each in histories for i in each], np.int32)
    assert topics.switches(found, items, offsets).tolist() == wanted
    for first in range(len(items)):  # later items change nothing
        assert (
            topics.switches(found, items[: first + 1], np.minimum(offsets, first + 1)).tolist() == wanted[: first + 1]
        )


def test_the_column_is_the_named_one_or_one_that_is_called_so():
    about = pl.DataFrame(
        {"title": ["a", "b"], "category": ["x", "y"], "Genre": ["War|Drama", "War"], "year": [1990, 1990]}
    )
    of = Catalogue(np.arange(2), about)
    assert topics.column(of) == "Genre" and topics.column(of, "category") == "category"
    assert topics.compared(topics.values(of), np.array([1]), np.array([2])).tolist() == [topics.SAME]
    assert topics.compared(topics.values(of, "category"), np.array([1]), np.array([2])).tolist() == [topics.OTHER]
    assert topics.compared(topics.values(of, "year"), np.array([1]), np.array([2])).tolist() == [topics.SAME]
    with pytest.raises(UserError, match=r"config.topic names mood: .*there are title, category"):
        topics.values(of, "mood")
    with pytest.raises(UserError, match="nothing is known of them"):
        topics.values(Catalogue(np.arange(2)), "mood")
    assert topics.values(Catalogue(np.arange(2))) is None
    assert topics.values(Catalogue(np.arange(2), about.select("title"))) is None


def test_a_column_of_vectors_is_no_topic():
    about = pl.DataFrame({"genres": [[0.5, 1.0], [0.1, 0.2]]})
    assert topics.values(Catalogue(np.arange(2), about)) is None
    with pytest.raises(UserError, match="holds vectors"):
        topics.values(Catalogue(np.arange(2), about), "genres")


def test_many_pairs_are_compared_in_parts(monkeypatch):
    found = topics.values(catalogue([["War"], ["War", "Drama"], ["Comedy"], []]))
    items = np.random.default_rng(0).integers(0, 5, 50)
    whole = topics.switches(found, items, np.array([0, 50]))
    monkeypatch.setattr(topics, "AT_ONCE", 7)
    assert topics.switches(found, items, np.array([0, 50])).tolist() == whole.tolist()
