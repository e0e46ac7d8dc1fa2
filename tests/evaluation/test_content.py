"""Neighbours by features equal their definition, and draws within a category equal counting."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.data.attributes import features
from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import last_item
from jaxrec.evaluation import content
from jaxrec.evaluation.evaluator import baseline_answers
from jaxrec.kernels import placement
from jaxrec.system.errors import UserError

ITEMS = 15


def made(seed, vectors=True):
    random = np.random.default_rng(seed)
    histories = [random.integers(1, ITEMS + 1, random.integers(3, 12)).tolist() for _ in range(20)]
    log = from_sequences([*histories, [*range(1, ITEMS + 1), 1]])
    genres = ["|".join(random.permutation(list("ABCD"))[: random.integers(0, 4)]) for _ in range(ITEMS)]
    about = {"genre": ["A", "A|B", *genres[2:]]}
    if vectors:
        about["image"] = random.normal(size=(ITEMS, 3)).tolist()
    return last_item(replace(log, catalogue=log.catalogue._replace(about=pl.DataFrame(about))))


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_scores_are_sums_of_cosines_to_the_newest_items(seed, vectors):
    split = made(seed, vectors)
    learnt, asked = content.fit(split), split.test
    counted = split.interactions.catalogue.counted(np.ones(ITEMS, int))
    found = features.build(counted, ["genre", "image"][: 1 + vectors])
    rows = np.zeros((ITEMS, len(found.names)))
    for item in range(ITEMS):
        rows[item, found.values[item][found.values[item] > 0] - 1] = 1
    rows = np.concatenate([-np.log(np.maximum(rows.mean(0), 1e-12)) * rows, found.vectors], axis=1)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    queries = content.newest(learnt, split, asked)
    for question in range(len(asked.target)):
        history = split.interactions.items[asked.start[question] : asked.stop[question]][-content.NEWEST :]
        wanted = rows @ rows[history - 1].sum(0)
        found = np.asarray(content.scorer.chunk(learnt, queries[question], 0, ITEMS))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        some = np.array([3, 1, ITEMS])
        np.testing.assert_allclose(content.scorer.at(learnt, queries[question], some), wanted[some - 1], atol=1e-4)


def test_it_is_a_baseline_and_asks_for_a_table():
    split = made(0)
    found = baseline_answers("item-features", split, "full", "test", placement.local()).result()
    assert found["users"] == len(split.test.target)
    bare = split._replace(interactions=replace(split.interactions, catalogue=from_sequences([[1]]).catalogue))
    with pytest.raises(UserError, match="no column of its items has a value that several"):
        content.fit(bare._replace(start=bare.start[:0], stop=bare.stop[:0]))


@given(st.integers(0, 999), st.booleans())
def test_a_draw_within_the_category_by_counting(seed, every):
    split = made(seed)
    found, asked = features.build(split.interactions.catalogue, ["genre"]), split.test
    sets = [set(row[row > 0].tolist()) for row in found.values]
    chances = pytest.importorskip("benchmarks.features").drawn(split, asked, found, 3, every=every)
    for question, target in enumerate(asked.target):
        history = split.interactions.items[asked.start[question] : asked.stop[question]].tolist()
        own = sets[history[-1] - 1]
        pool = [v for v in range(1, ITEMS + 1) if (sets[v - 1] == own if every else sets[v - 1] & own)]
        pool = [v for v in pool if v not in history]
        assert chances[question] == pytest.approx(min(3 / len(pool), 1) if target in pool else 0.0)
