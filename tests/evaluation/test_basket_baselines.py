"""Laws of baselines for baskets: the order of the rows of a basket changes no score."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from some import some

from jaxrec.data import baskets
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation.baselines import BASELINES, _matrix

ITEMS = 9
BY_MATRIX = ("als", "bpr")  # they read a log only by `_matrix`, and their library isn't exact with several threads


def log(seed, users=12):
    """Histories of baskets of one to four items."""
    random = np.random.default_rng(seed)
    sizes = [random.integers(1, 5, random.integers(2, 6)) for _ in range(users)]
    histories = [random.integers(1, ITEMS + 1, own.sum()).tolist() for own in sizes]
    histories[0][:0], sizes[0] = list(range(1, ITEMS + 1)), np.append(ITEMS, sizes[0])
    found = from_sequences(histories)
    about = pl.DataFrame({"genres": ["War|Drama", "War", "Drama"] * (ITEMS // 3)})
    times = np.concatenate([np.repeat(np.arange(len(own)), own) for own in sizes])
    return replace(found, times=times, catalogue=found.catalogue._replace(about=about)), random


def shuffled(data, random):
    """The same log with the rows of every basket in another order."""
    order = np.lexsort((random.random(len(data.items)), baskets.of_log(data)))
    return replace(data, items=data.items[order])


def scores(name, data, part="test"):
    """Every item's score for every question, by both functions of the scorer."""
    split = baskets.last_basket(data)
    baseline, questions = BASELINES[name], getattr(split, part)
    learnt = baseline.fit(split)
    params, queries = jax.tree.map(jnp.asarray, (baseline.params(learnt), baseline.queries(learnt, split, questions)))
    items = jnp.arange(1, ITEMS + 1)
    one = lambda row: (baseline.scorer.chunk(params, row, 0, ITEMS), baseline.scorer.at(params, row, items))
    if queries is None:
        return [np.asarray(each)[None] for each in one(None)]
    return [np.asarray(each) for each in jax.jit(jax.vmap(one))(queries)]


@pytest.mark.parametrize("name", some([each for each in BASELINES if each not in BY_MATRIX], "transitions"))
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_within_a_basket_changes_no_score(name, seed):
    if name == "item-knn":
        pytest.importorskip("implicit")
    data, random = log(seed)
    other = shuffled(data, random)
    for one, two in zip(scores(name, data), scores(name, other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_order_within_a_basket_changes_no_matrix():
    pytest.importorskip("scipy")
    data, random = log(3)
    one, two = (
        _matrix(split, split.start, split.stop) for split in map(baskets.last_basket, (data, shuffled(data, random)))
    )
    assert (one != two).nnz == 0 and (one.indices == two.indices).all()


@pytest.mark.slow
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32 - 1))
def test_transitions_are_from_each_item_of_a_basket_to_each_of_the_next(seed):
    data, _ = log(seed)
    split = baskets.last_basket(data)
    counts, popularity = np.zeros((ITEMS + 1, ITEMS + 1), int), np.zeros(ITEMS + 1, int)
    of_user = []
    for start, stop in zip(split.start, split.stop, strict=True):
        sets = lambda stop, start=start: [
            data.items[start:stop][data.times[start:stop] == time] for time in np.unique(data.times[start:stop])
        ]
        own = sets(stop)
        for before, after in itertools.pairwise(own):
            np.add.at(counts, (np.repeat(before, len(after)), np.tile(after, len(before))), 1)
        np.add.at(popularity, np.concatenate(own), 1)
        of_user.append(sets)
    last = [of_user[user](stop)[-1] for user, stop in zip(split.test.source, split.test.stop, strict=True)]
    wanted = np.stack([counts[basket].sum(0) * 10_000 + popularity for basket in last])[:, 1:]
    order = lambda values: np.stack([np.unique(row, return_inverse=True)[1] for row in values])
    for found in scores("transitions", data):
        np.testing.assert_array_equal(order(found), order(wanted))
